/* Preloaded into a run: its calls on a folder are slow, or do not return, and those of its event loop are recorded.

   RM360_DISK_PROCESS   a part of the command line of the process; in any other nothing happens
   RM360_DISK_BELOW     the folder
   RM360_DISK_DELAY_US  how long each call takes that names a file below it or syncs or locks one, in microseconds
   RM360_DISK_GATE      while this file exists, no call on a file below it returns, but for close, which waits for
                        nothing in a process that has not written to the file
   RM360_DISK_RECORD    a file: every call of the main thread on any file, from READY=1 on, adds "call path" to it, and
                        raises SIGUSR1, by which Python's faulthandler adds the stack */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char *below, *gate;
static int record = -1, ready;
static long delay;
static pid_t self;
static __thread int inside;

__attribute__((constructor)) static void begin(void) {
    char line[1 << 16];
    const char *process = getenv("RM360_DISK_PROCESS"), *path = getenv("RM360_DISK_RECORD");
    int file = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? 0 : syscall(SYS_read, file, line, sizeof line);
    if (file >= 0) syscall(SYS_close, file);
    for (ssize_t at = 0; at < size; at++)
        if (line[at] == 0) line[at] = ' ';
    if (!process || size <= 0 || !memmem(line, size, process, strlen(process))) return;
    self = getpid();
    below = getenv("RM360_DISK_BELOW"), gate = getenv("RM360_DISK_GATE");
    delay = getenv("RM360_DISK_DELAY_US") ? atol(getenv("RM360_DISK_DELAY_US")) : 0;
    if (path) record = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

static void wait_us(long us) {
    struct timespec time = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&time, NULL);
}

static int is_of_memory(const char *path) {
    return path[0] != '/' || !strncmp(path, "/proc/", 6) || !strncmp(path, "/dev/", 5) || !strncmp(path, "/sys/", 5);
}

/* Called before each call; `folder` is a descriptor, of the file itself if `path` is NULL. */
static void before(const char *call, int folder, const char *path) {
    char link[64], place[PATH_MAX], line[PATH_MAX + 64];
    if (!self || inside || getpid() != self) return;
    int error = errno, named = path != NULL;
    inside = 1;
    if (!path || path[0] != '/') {
        snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
        ssize_t size = syscall(SYS_readlinkat, AT_FDCWD, link, place, sizeof place / 2);
        place[size < 0 ? 0 : size] = 0;
        if (path && size > 0) snprintf(place + size, sizeof place - size, "/%s", path);
        path = place;
    }
    if (ready && record >= 0 && syscall(SYS_gettid) == self && !is_of_memory(path)) {
        int size = snprintf(line, sizeof line, "%s %s\n", call, path);
        syscall(SYS_write, record, line, size);
        raise(SIGUSR1);
    }
    if (below && !strncmp(path, below, strlen(below)) && strcmp(call, "close")) {
        if (delay && (named || strstr(call, "sync") || strstr(call, "lock"))) wait_us(delay);
        while (gate && syscall(SYS_faccessat, AT_FDCWD, gate, F_OK) == 0) wait_us(2000);
    }
    inside = 0;
    errno = error;
}

#define CALL(type, name, parameters, arguments, folder, path)                    \
    type name parameters {                                                       \
        before(#name, folder, path);                                             \
        return ((type(*) parameters)dlsym(RTLD_NEXT, #name))arguments;           \
    }
#define OF_PATH(type, name, parameters, arguments) CALL(type, name, parameters, arguments, AT_FDCWD, path)
#define OF_FILE(type, name, parameters, arguments) CALL(type, name, parameters, arguments, file, NULL)
#define AT(type, name, parameters, arguments) CALL(type, name, parameters, arguments, folder, path)

#define OPENS(name)                                                              \
    int name(const char *path, int flags, ...) {                                 \
        va_list more;                                                            \
        va_start(more, flags);                                                   \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                \
        va_end(more);                                                            \
        before(#name, AT_FDCWD, path);                                           \
        return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name))(path, flags, mode); \
    }
#define OPENS_AT(name)                                                           \
    int name(int folder, const char *path, int flags, ...) {                     \
        va_list more;                                                            \
        va_start(more, flags);                                                   \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                \
        va_end(more);                                                            \
        before(#name, folder, path);                                             \
        return ((int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #name))(folder, path, flags, mode); \
    }
#define LOCKS(name)                                                              \
    int name(int file, int command, ...) {                                       \
        va_list more;                                                            \
        va_start(more, command);                                                 \
        void *argument = va_arg(more, void *);                                   \
        va_end(more);                                                            \
        if (command == F_SETLK || command == F_SETLKW || command == F_GETLK || command == F_OFD_SETLK || \
            command == F_OFD_SETLKW || command == F_OFD_GETLK)                   \
            before("lock", file, NULL);                                          \
        return ((int (*)(int, int, ...))dlsym(RTLD_NEXT, #name))(file, command, argument); \
    }

OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
LOCKS(fcntl)
LOCKS(fcntl64)
OF_PATH(FILE *, fopen, (const char *path, const char *mode), (path, mode))
OF_PATH(FILE *, fopen64, (const char *path, const char *mode), (path, mode))
OF_PATH(DIR *, opendir, (const char *path), (path))
OF_FILE(DIR *, fdopendir, (int file), (file))
CALL(struct dirent *, readdir, (DIR * entries), (entries), dirfd(entries), NULL)
CALL(struct dirent64 *, readdir64, (DIR * entries), (entries), dirfd(entries), NULL)
OF_PATH(int, stat, (const char *path, struct stat *result), (path, result))
OF_PATH(int, stat64, (const char *path, struct stat64 *result), (path, result))
OF_PATH(int, lstat, (const char *path, struct stat *result), (path, result))
OF_PATH(int, lstat64, (const char *path, struct stat64 *result), (path, result))
OF_FILE(int, fstat, (int file, struct stat *result), (file, result))
OF_FILE(int, fstat64, (int file, struct stat64 *result), (file, result))
AT(int, fstatat, (int folder, const char *path, struct stat *result, int flags), (folder, path, result, flags))
AT(int, fstatat64, (int folder, const char *path, struct stat64 *result, int flags), (folder, path, result, flags))
OF_PATH(int, __xstat, (int version, const char *path, struct stat *result), (version, path, result))
OF_PATH(int, __xstat64, (int version, const char *path, struct stat64 *result), (version, path, result))
OF_PATH(int, __lxstat, (int version, const char *path, struct stat *result), (version, path, result))
OF_PATH(int, __lxstat64, (int version, const char *path, struct stat64 *result), (version, path, result))
OF_FILE(int, __fxstat, (int version, int file, struct stat *result), (version, file, result))
OF_FILE(int, __fxstat64, (int version, int file, struct stat64 *result), (version, file, result))
OF_PATH(int, statvfs, (const char *path, struct statvfs *result), (path, result))
OF_PATH(int, statvfs64, (const char *path, struct statvfs64 *result), (path, result))
OF_FILE(int, fstatvfs, (int file, struct statvfs *result), (file, result))
OF_FILE(int, fstatvfs64, (int file, struct statvfs64 *result), (file, result))
OF_PATH(int, access, (const char *path, int mode), (path, mode))
AT(int, faccessat, (int folder, const char *path, int mode, int flags), (folder, path, mode, flags))
OF_PATH(ssize_t, readlink, (const char *path, char *target, size_t size), (path, target, size))
AT(ssize_t, readlinkat, (int folder, const char *path, char *target, size_t size), (folder, path, target, size))
OF_PATH(int, mkdir, (const char *path, mode_t mode), (path, mode))
AT(int, mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode))
OF_PATH(int, rmdir, (const char *path), (path))
OF_PATH(int, unlink, (const char *path), (path))
AT(int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags))
OF_PATH(int, rename, (const char *path, const char *target), (path, target))
AT(int, renameat, (int folder, const char *path, int to, const char *target), (folder, path, to, target))
AT(int, renameat2, (int folder, const char *path, int to, const char *target, unsigned int flags),
   (folder, path, to, target, flags))
OF_PATH(int, link, (const char *path, const char *target), (path, target))
AT(int, linkat, (int folder, const char *path, int to, const char *target, int flags),
   (folder, path, to, target, flags))
CALL(int, symlink, (const char *target, const char *path), (target, path), AT_FDCWD, path)
OF_PATH(int, chmod, (const char *path, mode_t mode), (path, mode))
OF_FILE(int, fchmod, (int file, mode_t mode), (file, mode))
AT(int, fchmodat, (int folder, const char *path, mode_t mode, int flags), (folder, path, mode, flags))
AT(int, utimensat, (int folder, const char *path, const struct timespec times[2], int flags),
   (folder, path, times, flags))
OF_FILE(int, ftruncate, (int file, off_t size), (file, size))
OF_FILE(int, ftruncate64, (int file, off64_t size), (file, size))
OF_PATH(int, truncate64, (const char *path, off64_t size), (path, size))
OF_FILE(int, fsync, (int file), (file))
OF_FILE(int, fdatasync, (int file), (file))
OF_FILE(int, syncfs, (int file), (file))
OF_FILE(int, sync_file_range, (int file, off64_t start, off64_t size, unsigned int flags), (file, start, size, flags))
OF_FILE(int, flock, (int file, int operation), (file, operation))
OF_FILE(ssize_t, read, (int file, void *data, size_t size), (file, data, size))
OF_FILE(ssize_t, pread, (int file, void *data, size_t size, off_t at), (file, data, size, at))
OF_FILE(ssize_t, pread64, (int file, void *data, size_t size, off64_t at), (file, data, size, at))
OF_FILE(ssize_t, write, (int file, const void *data, size_t size), (file, data, size))
OF_FILE(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at))
OF_FILE(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at))
OF_FILE(int, close, (int file), (file))

ssize_t send(int to, const void *data, size_t size, int flags) {
    if (size >= 7 && !memcmp(data, "READY=1", 7)) ready = 1;
    return ((ssize_t(*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send"))(to, data, size, flags);
}
