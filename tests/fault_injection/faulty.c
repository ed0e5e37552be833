/* Preloaded into runs: chosen calls on files below a folder fail, or write less than was asked for.

   RM360_FAULTY_BELOW     the folder
   RM360_FAULTY_CALLS     ",write,fsync," and so on
   RM360_FAULTY_PROCESS   a part of the command line of the processes that fail
   RM360_FAULTY_FIRST     the first of a process's calls that fails (from 1)
   RM360_FAULTY_ERROR     the errno; 0 lets every other call write only a part
   RM360_FAULTY_HAPPENED  a file that is created when a call fails
   RM360_FAULTY_ONCE      1: only the call that creates that file fails, and no other
   RM360_FAULTY_STOPPED   while this file exists, no call fails */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *below, *calls, *happened, *stopped;
static int active, once, first, number;
static atomic_int counted;

static int exists(const char *path) { return syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0; }

__attribute__((constructor)) static void begin(void) {
    char line[1 << 16];
    const char *process = getenv("RM360_FAULTY_PROCESS");
    below = getenv("RM360_FAULTY_BELOW"), calls = getenv("RM360_FAULTY_CALLS");
    happened = getenv("RM360_FAULTY_HAPPENED"), stopped = getenv("RM360_FAULTY_STOPPED");
    if (!below || !calls || !happened || !stopped || !process) return;
    once = atoi(getenv("RM360_FAULTY_ONCE")), first = atoi(getenv("RM360_FAULTY_FIRST"));
    number = atoi(getenv("RM360_FAULTY_ERROR"));
    int file = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? 0 : syscall(SYS_read, file, line, sizeof line);
    if (file >= 0) close(file);
    for (ssize_t at = 0; at < size; at++)
        if (line[at] == 0) line[at] = ' ';
    active = size > 0 && memmem(line, size, process, strlen(process)) != NULL;
}

static int fails(const char *call, int folder, const char *path) {
    char name[64], link[64], place[PATH_MAX];
    if (!active) return 0;
    snprintf(name, sizeof name, ",%s,", call);
    if (!strstr(calls, name) || exists(stopped)) return 0;
    if (!path || (path[0] != '/' && folder >= 0)) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t size = syscall(SYS_readlinkat, AT_FDCWD, link, place, sizeof place - 1);
        if (size < 0) return 0;
        place[size] = 0, path = place;
    }
    if (strncmp(path, below, strlen(below)) != 0 || atomic_fetch_add(&counted, 1) + 1 < first) return 0;
    int file = syscall(SYS_openat, AT_FDCWD, happened, O_WRONLY | O_CREAT | O_CLOEXEC | (once ? O_EXCL : 0), 0666);
    if (file < 0) return 0;
    syscall(SYS_close, file);
    errno = number;
    return 1;
}

static size_t part(size_t size) { return size < 2 || atomic_load(&counted) % 2 ? size : 1 + size / 3; }

#define NEXT(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

#define WRITES(name, ...)                                                        \
    if (fails(#name, to, NULL)) {                                              \
        if (number) return -1;                                                   \
        size = part(size);                                                       \
    }

ssize_t write(int to, const void *data, size_t size) {
    WRITES(write)
    return NEXT(ssize_t, "write", int, const void *, size_t)(to, data, size);
}
ssize_t pwrite64(int to, const void *data, size_t size, off64_t at) {
    WRITES(pwrite)
    return NEXT(ssize_t, "pwrite64", int, const void *, size_t, off64_t)(to, data, size, at);
}
ssize_t pwrite(int to, const void *data, size_t size, off_t at) { return pwrite64(to, data, size, at); }
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *there, size_t size, unsigned int flags) {
    WRITES(copy_file_range)
    return NEXT(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned int)(from, at, to, there,
                                                                                                 size, flags);
}

#define ON_FILE(name)                                                            \
    int name(int file) {                                                         \
        if (number && fails(#name, file, NULL)) return -1;                     \
        return NEXT(int, #name, int)(file);                                      \
    }
ON_FILE(fsync)
ON_FILE(fdatasync)
ON_FILE(syncfs)

int ftruncate64(int file, off64_t size) {
    if (number && fails("ftruncate", file, NULL)) return -1;
    return NEXT(int, "ftruncate64", int, off64_t)(file, size);
}
int ftruncate(int file, off_t size) { return ftruncate64(file, size); }
int rename(const char *old, const char *new) {
    if (number && fails("rename", AT_FDCWD, new)) return -1;
    return NEXT(int, "rename", const char *, const char *)(old, new);
}
int renameat2(int from, const char *old, int to, const char *new, unsigned int flags) {
    if (number && fails("rename", to, new)) return -1;
    return NEXT(int, "renameat2", int, const char *, int, const char *, unsigned int)(from, old, to, new, flags);
}
int unlink(const char *path) {
    if (number && fails("unlink", AT_FDCWD, path)) return -1;
    return NEXT(int, "unlink", const char *)(path);
}
int unlinkat(int folder, const char *path, int flags) {
    if (number && fails("unlink", folder, path)) return -1;
    return NEXT(int, "unlinkat", int, const char *, int)(folder, path, flags);
}
int mkdir(const char *path, mode_t mode) {
    if (number && fails("mkdir", AT_FDCWD, path)) return -1;
    return NEXT(int, "mkdir", const char *, mode_t)(path, mode);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    if (number && fails("mkdir", folder, path)) return -1;
    return NEXT(int, "mkdirat", int, const char *, mode_t)(folder, path, mode);
}
int linkat(int from, const char *old, int to, const char *new, int flags) {
    if (number && fails("link", to, new)) return -1;
    return NEXT(int, "linkat", int, const char *, int, const char *, int)(from, old, to, new, flags);
}

int flock(int file, int operation) {
    if (number && fails("flock", file, NULL)) return -1;
    return NEXT(int, "flock", int, int)(file, operation);
}

#define OPENS(name)                                                              \
    int name(const char *path, int flags, ...) {                                 \
        va_list more;                                                            \
        va_start(more, flags);                                                   \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                \
        va_end(more);                                                            \
        if (number && flags & O_CREAT && fails("create", AT_FDCWD, path)) return -1; \
        return NEXT(int, #name, const char *, int, ...)(path, flags, mode);      \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                                           \
    int name(int folder, const char *path, int flags, ...) {                     \
        va_list more;                                                            \
        va_start(more, flags);                                                   \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                \
        va_end(more);                                                            \
        if (number && flags & O_CREAT && fails("create", folder, path)) return -1; \
        return NEXT(int, #name, int, const char *, int, ...)(folder, path, flags, mode); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)
