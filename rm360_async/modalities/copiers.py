"""The processes that check, hash and write pictures.

Theory of operation. Whoever reads the index (HDF5, one thread) hands out batches of ranges of open files, in turn;
each copying process reads a picture, checks it, writes it and answers with what it wrote, in order. They are
processes because a thread that comes back from a system call waits for Python's lock: two threads took 2.3 times
as long as two processes, and were no quicker than none. They are forked, for the open files and for 5 ms instead
of 200, before any thread is started; they never touch HDF5; and they die with us, whatever we die of.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

from rm360_async.errors import Cause, Fault
from rm360_async.linux import die_with
from rm360_async.package import NewFiles
from rm360_async.record import ListedFile
from rm360_async.smc import Blob, Refusal, check

Task = tuple[str, Blob]
"""The new file's path without its suffix, and its bytes: a range of an open file, whole there."""
Outcome = ListedFile | str
"""What was written, or why it was not."""

_PROCESSES = 2
_IN_MEMORY = 4 * 2**20
"""Bytes: a larger blob, which no frame is, is copied by the kernel."""


class Copiers:
    """Two copying processes, started when the first batch comes."""

    def __init__(self, files: NewFiles) -> None:
        self._files = files
        self._started: list[tuple[ForkProcess, Connection]] = []
        self._sent: deque[int] = deque()
        self._turn = 0

    def send(self, batch: Sequence[Task]) -> None:
        """Hand out a batch; the caller takes one back for every few that it sends, or the pipes fill up."""
        if not self._started:
            self._start()
        places = [(stem, blob.descriptor, blob.offset, blob.size) for stem, blob in batch]
        with suppress(OSError):  # it has died, which `take` tells
            self._started[self._turn][1].send_bytes(json.dumps(places).encode())
        self._sent.append(self._turn)
        self._turn = (self._turn + 1) % _PROCESSES

    def take(self) -> list[Outcome]:
        """Wait for the oldest batch; return its outcomes in order, or raise the first Fault in it."""
        process, connection = self._started[self._sent.popleft()]
        try:
            answer = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            raise _death(process) from None
        if isinstance(answer, dict):
            raise Fault(Cause.from_word(answer["cause"]), answer["message"], answer["hint"])
        return [each if isinstance(each, str) else _listed(*each) for each in answer]

    def stop(self) -> None:
        """End the processes; what they are in the midst of is not written any more when this returns."""
        for process, connection in self._started:
            connection.close()
            process.kill()
            process.join()
        self._started.clear()

    def _start(self) -> None:
        forks = multiprocessing.get_context("fork")
        for _ in range(_PROCESSES):
            ours, theirs = forks.Pipe()
            process = forks.Process(target=_serve, args=(theirs, self._files, os.getpid()), daemon=True)
            process.start()
            theirs.close()
            self._started.append((process, ours))


def _serve(connection: Connection, files: NewFiles, parent: int) -> None:
    """Answer batches until there is nobody to answer."""
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # our parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    buffer = memoryview(bytearray(_IN_MEMORY))
    with suppress(EOFError, ConnectionError):
        while True:
            connection.send_bytes(json.dumps(_answer(json.loads(connection.recv_bytes()), files, buffer)).encode())


def _answer(batch: list[tuple[str, int, int, int]], files: NewFiles, buffer: memoryview) -> object:
    """Return the outcomes of a batch, or the Fault that ended it, as JSON can hold them."""
    try:
        done = (copy_blob(stem, Blob(file, at, size), files, buffer) for stem, file, at, size in batch)
        return [each if isinstance(each, str) else (each.path, each.size, (each.hash or b"").hex()) for each in done]
    except Fault as fault:
        return {"cause": fault.cause.word, "message": fault.message, "hint": fault.hint}


def _listed(path: str, size: int, hashed: str) -> ListedFile:
    return ListedFile(path, size, bytes.fromhex(hashed))


def copy_blob(stem: str, blob: Blob, files: NewFiles, buffer: memoryview) -> Outcome:
    """Check and write one blob by way of a buffer; return what was written, or why nothing was."""
    try:
        if blob.size <= len(buffer):
            blob = blob.read_into(buffer)
        relative = stem + check(blob).suffix
        if blob.data is not None:
            return files.write(relative, blob.data)
        return files.copy(relative, blob.descriptor, blob.offset, blob.size)
    except Refusal as refusal:
        return refusal.reason
    except EOFError as error:
        raise Fault(Cause.UNKNOWN, f"{stem} cannot be copied: {error}") from error
    except OSError as error:
        raise Fault(Cause.UNKNOWN, f"the .smc cannot be read at {stem}: {error.strerror}") from error


def _death(process: ForkProcess) -> Fault:
    process.join()
    code = process.exitcode or 0
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return Fault(Cause.WORKER_DIED, f"a copying process of the extraction {how}")
