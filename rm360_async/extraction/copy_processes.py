"""The processes that check, hash and write images.

Theory of operation. The extraction process reads the index (HDF5, one thread) and sends batches of ranges of open
files. Each copy process reads an image, checks it, writes it and answers with what it wrote, in order. They are
processes because a thread that returns from a system call waits for Python's lock: two threads took 2.3 times as
long as two processes, and were not faster than none. They are forked, which hands on the open files and takes 5 ms
instead of 200, and never touch HDF5. If the extraction process is killed, the kernel kills them with it (Linux), or
they find the pipe closed. They ignore signals to the whole process group: the extraction process answers them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

from rm360_async.domain.errors import Cause, Fault
from rm360_async.smc import Blob, UnreadableData, check_picture
from rm360_async.store.file_list import ListedFile
from rm360_async.store.file_writer import FileWriter
from rm360_async.system.fault_points import reach
from rm360_async.system.linux import die_with_parent

CopyTask = tuple[str, Blob]
"""The new file's path without its suffix, and its bytes: one complete range of an open file."""
CopyResult = ListedFile | str
"""The file that was written, or the reason why it was not."""

_MAX_PROCESSES = 2
_BUFFER_BYTES = 4 * 2**20
"""The kernel copies larger blobs; no frame is as large."""
_IGNORED_SIGNALS = {signal.SIGINT, signal.SIGTERM}


class CopyProcesses:
    """At most two copy processes, started when they are needed."""

    def __init__(self, files: FileWriter) -> None:
        self._files = files
        self._started: list[tuple[ForkProcess, Connection]] = []
        self._in_flight: deque[int] = deque()
        """The index of the process that has each batch, oldest first."""

    def send(self, batch: Sequence[CopyTask]) -> None:
        """Send a batch to a process; the caller receives one for every few that it sends, or the pipes fill up."""
        chosen = self._least_busy()
        ranges = [(stem, blob.descriptor, blob.offset, blob.size) for stem, blob in batch]
        with suppress(OSError):  # it has died, which `receive` reports
            self._started[chosen][1].send_bytes(json.dumps(ranges).encode())
        self._in_flight.append(chosen)
        reach("batch sent")

    def receive(self) -> list[CopyResult]:
        """Wait for the oldest batch; return its results in order, or raise the first Fault in it.

        A process that died raises Fault(WORKER_DIED); one that ran out of memory raises MemoryError, as this process
        would.
        """
        process, connection = self._started[self._in_flight.popleft()]
        try:
            answer = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            raise _death_fault(process) from None
        reach("batch received")
        if isinstance(answer, dict):
            raise _reported_error(**answer)
        return [each if isinstance(each, str) else _listed_file(*each) for each in answer]

    def stop(self) -> None:
        """Kill the processes; they write nothing more once this returns."""
        for process, connection in self._started:
            connection.close()
            process.kill()
        for process, _ in self._started:
            process.join()
        self._started.clear()
        reach("copy processes ended")

    def _least_busy(self) -> int:
        """Return the index of the process for the next batch; start another one only when all are busy."""
        load = [self._in_flight.count(number) for number in range(len(self._started))]
        if len(load) < _MAX_PROCESSES and 0 not in load:
            self._start()
            return len(load)
        return load.index(min(load))

    def _start(self) -> None:
        forks = multiprocessing.get_context("fork")
        own_end, child_end = forks.Pipe()
        others = [own_end, *(connection for _, connection in self._started)]
        process = forks.Process(target=_serve, args=(child_end, others, self._files, os.getpid()), daemon=True)
        with _signals_blocked():  # an exception that a signal raises during a fork is lost, or raised in the child too
            try:
                process.start()
            except OSError as error:
                raise Fault(Cause.UNKNOWN, f"a copy process cannot be started: {error.strerror}") from error
            self._started.append((process, own_end))
        child_end.close()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, others: Sequence[Connection], files: FileWriter, parent: int) -> None:
    """Answer batches until the pipe is closed; `others` are pipe ends of other processes that the fork handed on."""
    for number in _IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED_SIGNALS)
    die_with_parent(parent)
    for other in others:
        other.close()
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with suppress(EOFError, ConnectionError):
        while True:
            connection.send_bytes(json.dumps(_answer(json.loads(connection.recv_bytes()), files, buffer)).encode())


def _answer(batch: list[tuple[str, int, int, int]], files: FileWriter, buffer: memoryview) -> object:
    """Return the results of a batch, or the error that ended it, as a value for JSON."""
    try:
        results = (copy_blob(stem, Blob(file, offset, size), files, buffer) for stem, file, offset, size in batch)
        return [each if isinstance(each, str) else (each.path, each.size, (each.hash or b"").hex()) for each in results]
    except Fault as fault:
        return {"code": fault.cause.code, "message": fault.message, "hint": fault.hint}
    except Exception as error:  # noqa: BLE001 - a bug, which the parent raises
        return {"code": type(error).__name__, "message": f"{type(error).__name__}: {error}", "hint": ""}


def _reported_error(code: str, message: str, hint: str) -> Fault | MemoryError:
    if code == MemoryError.__name__:
        return MemoryError("in a copy process")
    if code in {cause.code for cause in Cause}:
        return Fault(Cause.from_code(code), message, hint)
    return Fault(Cause.WORKER_DIED, f"a copy process of the extraction failed: {message}", hint)


def _listed_file(path: str, size: int, hashed: str) -> ListedFile:
    return ListedFile(path, size, bytes.fromhex(hashed))


def copy_blob(stem: str, blob: Blob, files: FileWriter, buffer: memoryview) -> CopyResult:
    """Check and write one blob, through `buffer` if it fits; return the written file, or why nothing was written."""
    try:
        if blob.size <= len(buffer):
            blob = blob.read_into(buffer)
        relative = stem + check_picture(blob).suffix
        reach("image checked")
        if blob.data is not None:
            return files.write(relative, blob.data)
        return files.copy(relative, blob.descriptor, blob.offset, blob.size)
    except UnreadableData as error:
        return error.reason
    except EOFError as error:
        raise Fault(Cause.UNKNOWN, f"{stem} cannot be copied: {error}") from error
    except OSError as error:
        raise Fault(Cause.UNKNOWN, f"the .smc cannot be read at {stem}: {error.strerror}") from error


def _death_fault(process: ForkProcess) -> Fault:
    process.join()
    code = process.exitcode or 0
    end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    guess = " (by hand, or by the system because memory was short)" if code == -signal.SIGKILL else ""
    return Fault(Cause.WORKER_DIED, f"a copy process of the extraction {end}{guess}")
