"""The processes that check, hash and write images.

Theory of operation. The extraction process reads the index (HDF5, one thread) and sends batches of ranges of open
files. Each copy process (see `forks`) reads an image, checks it, writes it and answers with what it wrote, in order.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection

from rm360_async.domain.errors import Cause, Fault
from rm360_async.extraction.forks import Fork, ForkRefused, answer, file_values, listed_file
from rm360_async.smc import Blob, UnreadableData, check_picture
from rm360_async.store.file_list import ListedFile
from rm360_async.store.file_writer import FileWriter
from rm360_async.system.fault_points import reach

CopyTask = tuple[str, Blob]
"""The new file's path without its suffix, and its bytes: one complete range of an open file."""
CopyResult = ListedFile | str
"""The file that was written, or the reason why it was not."""

_MAX_PROCESSES = 2
_BUFFER_BYTES = 4 * 2**20
"""The kernel copies larger blobs; no frame is as large."""


class CopyProcesses:
    """At most two copy processes, started when they are needed."""

    def __init__(self, files: FileWriter) -> None:
        self._files = files
        self._started: list[Fork] = []
        self._max_processes = _MAX_PROCESSES
        self._in_flight: deque[int] = deque()
        """The index of the process that has each batch, oldest first."""

    @property
    def connections(self) -> list[Connection]:
        """Return the ends of the pipes that another fork of this process must close."""
        return [fork.connection for fork in self._started]

    def send(self, batch: Sequence[CopyTask]) -> None:
        """Send a batch to a process; the caller receives one for every few that it sends, or the pipes fill up.

        Raises ForkRefused if the system allows not even one process.
        """
        chosen = self._least_busy()
        ranges = [(stem, blob.descriptor, blob.offset, blob.size) for stem, blob in batch]
        with suppress(OSError):  # it has died, which `receive` reports
            self._started[chosen].connection.send_bytes(json.dumps(ranges).encode())
        self._in_flight.append(chosen)
        reach("batch sent")

    def receive(self) -> list[CopyResult]:
        """Wait for the oldest batch; return its results in order, or raise the first error in it (see `Fork`)."""
        results = self._started[self._in_flight.popleft()].receive()
        reach("batch received")
        return [each if isinstance(each, str) else listed_file(*each) for each in results]

    def stop(self) -> None:
        """Kill the processes; they write nothing more once this returns."""
        for fork in self._started:
            fork.kill()
        for fork in self._started:
            fork.join()
        self._started.clear()
        reach("copy processes ended")

    def _least_busy(self) -> int:
        """Return the index of the process for the next batch; start another one only when all are busy."""
        load = [self._in_flight.count(number) for number in range(len(self._started))]
        if len(load) >= self._max_processes or 0 in load:
            return load.index(min(load))
        try:
            self._start()
        except ForkRefused:
            if not load:
                raise
            self._max_processes = len(load)  # go on with those that there are
            return load.index(min(load))
        return len(load)

    def _start(self) -> None:
        self._started.append(Fork("a copy process of the extraction", _serve, (self._files,), self.connections))


def _serve(connection: Connection, files: FileWriter) -> None:
    """Answer batches until the pipe is closed."""
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with suppress(EOFError, ConnectionError):
        while True:
            batch = json.loads(connection.recv_bytes())
            answer(connection, partial(_copy_batch, batch, files, buffer))


def _copy_batch(batch: list[tuple[str, int, int, int]], files: FileWriter, buffer: memoryview) -> object:
    """Return the results of a batch as values for JSON."""
    results = (copy_blob(stem, Blob(file, offset, size), files, buffer) for stem, file, offset, size in batch)
    return [each if isinstance(each, str) else file_values(each) for each in results]


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
