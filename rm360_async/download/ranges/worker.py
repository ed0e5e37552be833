"""The child process that downloads ranges: `python -m rm360_async.download.ranges.worker JOB`, JOB as JSON.

It writes JSON lines: `progress` (bytes downloaded), `discovering` (true or false), and last a result, which is one of
- `done`: the bytes of disk that the files take;
- `too_expensive`: the bytes of disk and the requests that the ranges would cost, with `whole_is_cheaper`: true if the
  whole files cost less, false if the ranges only need more space than the job allows;
- `refused`: the path, the offset, the message, and whether the server rejected the request (see `RangeRefused`);
- `ranges_unsupported`: the path of a file of which other bytes arrived than were requested;
- `fault`: cause, message and hint; `error`: errno and text of an error of the disk.
The password of the rclone that serves the remote is in the environment, where no other user can read it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Kind
from rm360_async.download.ranges.cost import Cost, bytes_on_disk, data_spans, gap_spans, index_spans
from rm360_async.download.ranges.discovery import discover_ranges, discovery_rounds, find_broken_spans
from rm360_async.download.ranges.job import PASSWORD_VARIABLE, RangeJob
from rm360_async.download.ranges.probe import RangesUnsupported, probe_range_support
from rm360_async.download.ranges.range_client import RangeClient, RangeRefused, RangeSource
from rm360_async.download.ranges.range_connections import ServerAddress
from rm360_async.system.spans import Span, Spans
from rm360_async.system.sparse_file import SparseFile
from rm360_async.system.worker_protocol import MessageWriter, limit_ourselves

_CONNECTIONS = 48


class _TooExpensive(Exception):
    def __init__(self, cost: Cost, whole_is_cheaper: bool) -> None:
        super().__init__(cost)
        self.cost, self.whole_is_cheaper = cost, whole_is_cheaper


class _RangeWorker:
    """Does one job. Images that the index has named so far are downloaded while the rest of it is discovered."""

    def __init__(
        self, job: RangeJob, files: dict[Kind, SparseFile], client: RangeClient, messages: MessageWriter
    ) -> None:
        self.job, self.client, self.messages = job, client, messages
        self.raw, self.anno = files.get(Kind.RAW), files.get(Kind.ANNO)
        self.files = list(files.values())
        self.sources = [RangeSource(job.files[kind].path, file) for kind, file in files.items()]
        self.size = sum(file.size for file in self.files)
        self.requested = [Spans() for _ in self.files]
        """The data of each file that was requested in the background, whether it has arrived or not."""

    def run(self) -> int:
        """Download what the job needs; return the bytes of disk that the files then take.

        Raises _TooExpensive before the ranges cost too much, RangesUnsupported, RangeRefused and Fault.
        """
        paths = [source.path for source in self.sources]
        probe_range_support(self.client, dict(zip(paths, self.files, strict=True)))
        if self.job.whole_files:
            return self._download_whole_files()
        for _ in discovery_rounds(self._discover, self.files):
            index = [index_spans(file) for file in self.files]
            self._request_data(index)
            self.client.fetch(self._with_sources(index))
        cost = self._request_data(None)
        self.client.wait_for_background()
        self._download_broken_again()
        return cost.disk_bytes

    def _download_whole_files(self) -> int:
        self._request_in_background([gap_spans(file) for file in self.files])
        self.client.wait_for_background()
        return self.size

    def _request_data(self, index: list[list[Span]] | None) -> Cost:
        """Request the data that is known to be needed, if there is space for it besides the `index` spans.

        `index` is None once the index is complete; then there must be space for all data. Returns the cost so far.
        """
        is_complete, index = index is None, index or [[] for _ in self.files]
        pairs = list(zip(self.files, self.requested, strict=True))
        data = [data_spans(_without(file.data, requested)) for file, requested in pairs]
        spans = [[*a, *b, *c] for a, b, c in zip(index, self.requested, data, strict=True)]
        cost = Cost(self.client.requests + sum(map(len, (*index, *data))), bytes_on_disk(self.files, spans))
        if cost.is_too_expensive(self.size) and not self.job.ignore_cost:
            raise _TooExpensive(cost, whole_is_cheaper=True)
        if cost.disk_bytes <= self.job.max_bytes:
            self._request_in_background(data)
        elif is_complete or bytes_on_disk(self.files, index) > self.job.max_bytes:
            raise _TooExpensive(cost, whole_is_cheaper=False)
        return cost

    def _request_in_background(self, spans: list[list[Span]]) -> None:
        for requested, new in zip(self.requested, spans, strict=True):
            for span in new:
                requested.add(*span)
        self.client.fetch_in_background(self._with_sources(spans))

    def _download_broken_again(self) -> None:
        """Download once more the images that are not whole: one that is still broken is damaged at the source."""
        with self._discovering():
            broken = find_broken_spans(self.job.extract_job, self.raw, self.anno)
        inodes = [os.fstat(file.descriptor).st_ino for file in self.files]
        self.client.fetch(self._with_sources([broken.get(inode, []) for inode in inodes]))

    def _discover(self) -> None:
        with self._discovering():
            discover_ranges(self.job.extract_job, self.raw, self.anno)

    @contextmanager
    def _discovering(self) -> Iterator[None]:
        """Report that no bytes are due for a while."""
        self.messages.line({"discovering": True})
        yield
        self.messages.line({"discovering": False})

    def _with_sources(self, spans: list[list[Span]]) -> list[tuple[RangeSource, Span]]:
        pairs = zip(self.sources, spans, strict=True)
        return [(source, span) for source, of_file in pairs for span in of_file]


def _without(wanted: Spans, requested: Spans) -> list[Span]:
    return [gap for span in wanted for gap in requested.missing(*span)]


class _ByteCounter:
    """Counts the bytes that arrive and reports them."""

    def __init__(self, messages: MessageWriter) -> None:
        self._messages = messages
        self.total = 0

    def __call__(self, size: int) -> None:
        self.total += size
        self._messages.progress(self.total)


def main(arguments: list[str]) -> int:
    """Do the job in `arguments`; the exit code is 0 whenever the last line tells the result."""
    job = RangeJob.from_json(arguments[0])
    limit_ourselves(job.memory_bytes)
    messages = MessageWriter()
    received = _ByteCounter(messages)
    address = ServerAddress(job.port, job.user, os.environ.pop(PASSWORD_VARIABLE, ""))
    client = RangeClient(address, _CONNECTIONS, received)
    try:
        result = _run(job, client, messages)
    except OSError as error:
        result = {"error": [error.errno or 0, error.strerror or str(error)]}
    finally:
        client.close()
    messages.line({**result, "fetched": received.total, "requests": client.requests})
    return 0


def _run(job: RangeJob, client: RangeClient, messages: MessageWriter) -> dict[str, Any]:
    """Return the result of a job. Raises OSError for a file that cannot be written."""
    with ExitStack() as stack:
        messages.line({"discovering": True})  # the bytes that are here already are verified
        files = {kind: stack.enter_context(SparseFile(Path(file.local), file.size)) for kind, file in job.files.items()}
        messages.line({"discovering": False})
        stack.callback(client.close)  # before the files: its threads write to them
        return _result(_RangeWorker(job, files, client, messages))


def _result(worker: _RangeWorker) -> dict[str, Any]:
    try:
        return {"done": worker.run()}
    except _TooExpensive as error:
        cost = [error.cost.disk_bytes, error.cost.requests]
        return {"too_expensive": cost, "whole_is_cheaper": error.whole_is_cheaper}
    except RangesUnsupported as error:
        return {"ranges_unsupported": error.path}
    except RangeRefused as error:
        return {"refused": [error.path, error.offset, error.message, error.rejected]}
    except Fault as fault:
        return {"fault": [fault.cause.code, fault.message, fault.hint]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
