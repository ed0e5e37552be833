"""The child that fetches ranges: `python -m rm360_async.download.ranges.worker ORDER`, one JSON object.

It says JSON lines: `progress` (bytes fetched), `looking` (true, false), and last one of `done`, `dear` (what it
would cost; `too_dear`: the whole file is the better way, else more room is needed first), `refused` (path, offset,
words, whether not a byte of it came), `rangeless` (the path of a file of which other bytes came than were asked for),
`fault`, `error`.
The password of the rclone that serves the remote comes by the environment, where no other user can read it.
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
from rm360_async.download.ranges.range_client import (
    RangeClient,
    RangeRefused,
    RangeSource,
    RangesUnsupported,
    ServerAddress,
    probe_range_support,
)
from rm360_async.system.spans import Span, Spans
from rm360_async.system.sparse_file import SparseFile
from rm360_async.system.worker_protocol import MessageWriter, limit_ourselves

_CONNECTIONS = 48


class _TooExpensive(Exception):
    def __init__(self, cost: Cost, for_ever: bool) -> None:
        super().__init__(cost)
        self.cost, self.for_ever = cost, for_ever


class _RangeWorker:
    """Carries out one order. Pictures that the index has told by now come while the rest of it is asked for."""

    def __init__(
        self, order: RangeJob, by_kind: dict[Kind, SparseFile], lines: RangeClient, say: MessageWriter
    ) -> None:
        self.order, self.by_kind, self.lines, self.say = order, by_kind, lines, say
        self.files = list(by_kind.values())
        self.sources = [RangeSource(order.files[kind].path, file) for kind, file in by_kind.items()]
        self.size = sum(file.size for file in self.files)
        self.begun = [Spans() for _ in self.sources]
        """What was asked for of the data of each file, and may be here or not."""

    def work(self) -> int:
        """Fetch what is wanted; return the bytes of disk that it takes. Raises _Dear before it would cost too much."""
        probe_range_support(
            self.lines, {source.path: file for source, file in zip(self.sources, self.files, strict=True)}
        )
        if self.order.whole_files:
            self._begin([gap_spans(file) for file in self.files])
            self.lines.finish()
            return self.size
        for _ in discovery_rounds(self._look, self.files):
            index = [index_spans(file) for file in self.files]
            self._begin_data(index)
            self.lines.fetch(self._of_sources(index))
        cost = self._begin_data(None)
        self.lines.finish()
        self._fetch_broken_again()
        return cost.here

    def _begin_data(self, index: list[list[Span]] | None) -> Cost:
        """Ask for the pictures that are known by now, if there is room for them, beside the next of the index.

        That is None once it is complete; then all must fit.
        """
        complete, index = index is None, index or [[] for _ in self.files]
        fresh = [data_spans(_without(file.data, begun)) for file, begun in zip(self.files, self.begun, strict=True)]
        spans = [[*more, *begun, *new] for more, begun, new in zip(index, self.begun, fresh, strict=True)]
        cost = Cost(self.lines.requests + sum(map(len, (*index, *fresh))), bytes_on_disk(self.files, spans))
        if cost.is_too_expensive(self.size) and not self.order.ignore_cost:
            raise _TooExpensive(cost, for_ever=True)
        if cost.here <= self.order.max_bytes:
            self._begin(fresh)
        elif complete or bytes_on_disk(self.files, index) > self.order.max_bytes:
            raise _TooExpensive(cost, for_ever=False)
        return cost

    def _begin(self, spans: list[list[Span]]) -> None:
        for begun, each in zip(self.begun, spans, strict=True):
            for span in each:
                begun.add(*span)
        self.lines.begin(self._of_sources(spans))

    def _fetch_broken_again(self) -> None:
        """Fetch once more what is not whole: what is then still broken is so at the source."""
        with self._looking():
            broken = find_broken_spans(self.order.extract_job, self.by_kind.get(Kind.RAW), self.by_kind.get(Kind.ANNO))
        self.lines.fetch(self._of_sources([broken.get(os.fstat(file.descriptor).st_ino, []) for file in self.files]))

    def _look(self) -> None:
        with self._looking():
            discover_ranges(self.order.extract_job, self.by_kind.get(Kind.RAW), self.by_kind.get(Kind.ANNO))

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Say that no bytes are due for a while."""
        self.say.line({"looking": True})
        yield
        self.say.line({"looking": False})

    def _of_sources(self, spans: list[list[Span]]) -> list[tuple[RangeSource, Span]]:
        return [(source, span) for source, each in zip(self.sources, spans, strict=True) for span in each]


def _without(wanted: Spans, begun: Spans) -> list[Span]:
    return [gap for span in wanted for gap in begun.missing(*span)]


def main(arguments: list[str]) -> int:
    """Carry out the order in `arguments`; the exit code is 0 whenever the last line tells the outcome."""
    order = RangeJob.from_json(arguments[0])
    limit_ourselves(order.memory_bytes)
    say = MessageWriter()
    fetched = 0

    def on_bytes(size: int) -> None:
        nonlocal fetched
        fetched += size
        say.progress(fetched)

    address = ServerAddress(order.port, order.user, os.environ.pop(PASSWORD_VARIABLE, ""))
    lines = RangeClient(address, _CONNECTIONS, on_bytes)
    try:
        with ExitStack() as opened:
            say.line({"looking": True})  # what is here is proved
            files = {
                kind: opened.enter_context(SparseFile(Path(file.local), file.size))
                for kind, file in order.files.items()
            }
            say.line({"looking": False})
            outcome = _outcome(_RangeWorker(order, files, lines, say))
            lines.close()
    except OSError as error:
        outcome = {"error": [error.errno or 0, error.strerror or str(error)]}
    finally:
        lines.close()
    say.line({**outcome, "fetched": fetched, "requests": lines.requests})
    return 0


def _outcome(scout: _RangeWorker) -> dict[str, Any]:
    try:
        return {"done": scout.work()}
    except _TooExpensive as dear:
        return {"too_expensive": [dear.cost.here, dear.cost.requests], "whole_is_cheaper": dear.for_ever}
    except RangesUnsupported as rangeless:
        return {"ranges_unsupported": rangeless.path}
    except RangeRefused as refused:
        return {"refused": [refused.path, refused.start, refused.words, refused.unopened]}
    except Fault as fault:
        return {"fault": [fault.cause.code, fault.message, fault.hint]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
