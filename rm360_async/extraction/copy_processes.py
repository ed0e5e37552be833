"""The processes that check, hash and write pictures.

Theory of operation. Whoever reads the index (HDF5, one thread) hands out batches of ranges of open files;
each copying process reads a picture, checks it, writes it and answers with what it wrote, in order. They are
processes because a thread that comes back from a system call waits for Python's lock: two threads took 2.3 times
as long as two processes, and were no quicker than none. They are forked, for the open files and for 5 ms instead
of 200, and never touch HDF5. Where we are killed, the kernel kills them with us (Linux), or they find nobody at
the other end; signals to our whole group are ours to answer, so they pass them over.
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
from rm360_async.smc import Blob, UnreadableData, check
from rm360_async.store.file_list import ListedFile
from rm360_async.store.file_writer import NewFiles
from rm360_async.system.fault_points import reach
from rm360_async.system.linux import die_with

Task = tuple[str, Blob]
"""The new file's path without its suffix, and its bytes: a range of an open file, whole there."""
CopyResult = ListedFile | str
"""What was written, or why it was not."""

_PROCESSES = 2
_IN_MEMORY = 4 * 2**20
"""Bytes: a larger blob, which no frame is, is copied by the kernel."""
_ANSWERED_BY_US = {signal.SIGINT, signal.SIGTERM}


class Copiers:
    """At most two copying processes."""

    def __init__(self, files: NewFiles) -> None:
        self._files = files
        self._started: list[tuple[ForkProcess, Connection]] = []
        self._sent: deque[int] = deque()
        """Which process has each batch that is underway."""

    def send(self, batch: Sequence[Task]) -> None:
        """Hand out a batch; the caller takes one back for every few that it sends, or the pipes fill up."""
        chosen = self._least_busy()
        places = [(stem, blob.descriptor, blob.offset, blob.size) for stem, blob in batch]
        with suppress(OSError):  # it has died, which `take` tells
            self._started[chosen][1].send_bytes(json.dumps(places).encode())
        self._sent.append(chosen)
        reach("batch sent")

    def take(self) -> list[CopyResult]:
        """Wait for the oldest batch; return its outcomes in order, or raise the first Fault in it.

        A process that dies is Fault(WORKER_DIED); one that lacks memory is a MemoryError, as if we lacked it.
        """
        process, connection = self._started[self._sent.popleft()]
        try:
            answer = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            raise _death(process) from None
        reach("batch received")
        if isinstance(answer, dict):
            raise _failure(**answer)
        return [each if isinstance(each, str) else _listed(*each) for each in answer]

    def stop(self) -> None:
        """End the processes; what they are in the midst of is not written any more when this returns."""
        for process, connection in self._started:
            connection.close()
            process.kill()
        for process, _ in self._started:
            process.join()
        self._started.clear()
        reach("copy processes ended")

    def _least_busy(self) -> int:
        """Return the process for the next batch; another one is only started when all have something to do."""
        load = [self._sent.count(number) for number in range(len(self._started))]
        if len(load) < _PROCESSES and 0 not in load:
            self._start()
            return len(load)
        return load.index(min(load))

    def _start(self) -> None:
        forks = multiprocessing.get_context("fork")
        ours, theirs = forks.Pipe()
        foreign = [ours, *(connection for _, connection in self._started)]
        process = forks.Process(target=_serve, args=(theirs, foreign, self._files, os.getpid()), daemon=True)
        with _no_signals():  # what Python raises in the midst of a fork is lost, or happens in the child, too
            try:
                process.start()
            except OSError as error:
                raise Fault(Cause.UNKNOWN, f"a copying process cannot be started: {error.strerror}") from error
            self._started.append((process, ours))
        theirs.close()


@contextmanager
def _no_signals() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ANSWERED_BY_US)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, foreign: Sequence[Connection], files: NewFiles, parent: int) -> None:
    """Answer batches until there is nobody to answer; `foreign` are the ends of others that a fork hands on."""
    for number in _ANSWERED_BY_US:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ANSWERED_BY_US)
    die_with(parent)
    for each in foreign:
        each.close()
    buffer = memoryview(bytearray(_IN_MEMORY))
    with suppress(EOFError, ConnectionError):
        while True:
            connection.send_bytes(json.dumps(_answer(json.loads(connection.recv_bytes()), files, buffer)).encode())


def _answer(batch: list[tuple[str, int, int, int]], files: NewFiles, buffer: memoryview) -> object:
    """Return the outcomes of a batch, or what ended it, as JSON can hold them."""
    try:
        done = (copy_blob(stem, Blob(file, at, size), files, buffer) for stem, file, at, size in batch)
        return [each if isinstance(each, str) else (each.path, each.size, (each.hash or b"").hex()) for each in done]
    except Fault as fault:
        return {"word": fault.cause.code, "message": fault.message, "hint": fault.hint}
    except Exception as error:  # noqa: BLE001 - a mistake of ours, which the parent raises
        return {"word": type(error).__name__, "message": f"{type(error).__name__}: {error}", "hint": ""}


def _failure(word: str, message: str, hint: str) -> Fault | MemoryError:
    if word == MemoryError.__name__:
        return MemoryError("in a copying process")
    if word in {cause.code for cause in Cause}:
        return Fault(Cause.from_code(word), message, hint)
    return Fault(Cause.WORKER_DIED, f"a copying process of the extraction failed: {message}", hint)


def _listed(path: str, size: int, hashed: str) -> ListedFile:
    return ListedFile(path, size, bytes.fromhex(hashed))


def copy_blob(stem: str, blob: Blob, files: NewFiles, buffer: memoryview) -> CopyResult:
    """Check and write one blob by way of a buffer; return what was written, or why nothing was."""
    try:
        if blob.size <= len(buffer):
            blob = blob.read_into(buffer)
        relative = stem + check(blob).suffix
        reach("image checked")
        if blob.data is not None:
            return files.write(relative, blob.data)
        return files.copy(relative, blob.descriptor, blob.offset, blob.size)
    except UnreadableData as refusal:
        return refusal.reason
    except EOFError as error:
        raise Fault(Cause.UNKNOWN, f"{stem} cannot be copied: {error}") from error
    except OSError as error:
        raise Fault(Cause.UNKNOWN, f"the .smc cannot be read at {stem}: {error.strerror}") from error


def _death(process: ForkProcess) -> Fault:
    process.join()
    code = process.exitcode or 0
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    short = " (by hand, or by the system because memory was short)" if code == -signal.SIGKILL else ""
    return Fault(Cause.WORKER_DIED, f"a copying process of the extraction {how}{short}")
