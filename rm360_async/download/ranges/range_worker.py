"""The work of the discovery process: find the ranges that a job needs, and have them downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rm360_async.domain.names import Kind
from rm360_async.download.ranges.cost import Cost, bytes_on_disk, data_spans, index_spans
from rm360_async.download.ranges.discovery import discover_ranges, discovery_rounds, find_broken_spans
from rm360_async.download.ranges.job import RangeJob
from rm360_async.download.ranges.requests import RangeRequests
from rm360_async.system.spans import Span, SpanSet
from rm360_async.system.sparse_file import SparseFile
from rm360_async.system.worker import MessageWriter


class TooExpensive(Exception):
    """The ranges would cost too much. `whole_is_cheaper`: more than the whole files; else more space than there is."""

    def __init__(self, cost: Cost, whole_is_cheaper: bool) -> None:
        super().__init__(cost)
        self.cost, self.whole_is_cheaper = cost, whole_is_cheaper


class RangeWorker:
    """Does one job. Images that the index has named so far are downloaded while the rest of it is discovered."""

    def __init__(
        self, job: RangeJob, files: dict[Kind, SparseFile], requests: RangeRequests, messages: MessageWriter
    ) -> None:
        self.job, self.requests, self.messages = job, requests, messages
        self.raw, self.anno = files.get(Kind.RAW), files.get(Kind.ANNO)
        self.files = list(files.values())
        self.size = sum(file.size for file in self.files)
        self.requested = [SpanSet() for _ in self.files]
        """The data of each file that was requested in the background, whether it has arrived or not."""

    def run(self) -> int:
        """Download what the job needs; return the bytes of disk that the files then take.

        Raises TooExpensive before the ranges cost too much, and Fault.
        """
        for _ in discovery_rounds(self._discover, self.files):
            index = [index_spans(file) for file in self.files]
            self._request_data(index)
            self.requests.fetch(index)
        cost = self._request_data(None)
        self.requests.wait_for_background()
        self._download_broken_again()
        return cost.disk_bytes

    def _request_data(self, index: list[list[Span]] | None) -> Cost:
        """Request the data that is known to be needed, if there is space for it besides the `index` spans.

        `index` is None once the index is complete; then there must be space for all data. Returns the cost so far.
        """
        is_complete, index = index is None, index or [[] for _ in self.files]
        pairs = list(zip(self.files, self.requested, strict=True))
        data = [data_spans(_without(file.requested_data, requested)) for file, requested in pairs]
        spans = [[*a, *b, *c] for a, b, c in zip(index, self.requested, data, strict=True)]
        cost = Cost(self.requests.requests + sum(map(len, (*index, *data))), bytes_on_disk(self.files, spans))
        if cost.is_too_expensive(self.size) and not self.job.ignore_cost:
            raise TooExpensive(cost, whole_is_cheaper=True)
        if cost.disk_bytes <= self.job.max_bytes:
            self._request_in_background(data)
        elif is_complete or bytes_on_disk(self.files, index) > self.job.max_bytes:
            raise TooExpensive(cost, whole_is_cheaper=False)
        return cost

    def _request_in_background(self, spans: list[list[Span]]) -> None:
        for requested, new in zip(self.requested, spans, strict=True):
            for span in new:
                requested.add(*span)
        self.requests.fetch_in_background(spans)

    def _download_broken_again(self) -> None:
        """Download once more the images that are not whole: one that is still broken is damaged at the source."""
        with self._discovering():
            broken = find_broken_spans(self.job.extract_job, self.raw, self.anno)
        inodes = [os.fstat(file.descriptor).st_ino for file in self.files]
        self.requests.fetch([broken.get(inode, []) for inode in inodes])

    def _discover(self) -> None:
        with self._discovering():
            discover_ranges(self.job.extract_job, self.raw, self.anno)

    @contextmanager
    def _discovering(self) -> Iterator[None]:
        """Report that no bytes are due for a while."""
        self.messages.send({"discovering": True})
        yield
        self.messages.send({"discovering": False})


def _without(wanted: SpanSet, requested: SpanSet) -> list[Span]:
    return [gap for span in wanted for gap in requested.missing(*span)]
