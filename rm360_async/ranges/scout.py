"""The child that fetches ranges: `python -m rm360_async.ranges.scout ORDER`, one JSON object.

It says JSON lines: `progress` (bytes fetched), and last one of `done`, `dear` (what it would cost; `too_dear`:
the whole file is the better way, else more room is needed first), `refused` (path, offset, words), `fault`, `error`.
The password of the rclone that serves the remote comes by the environment, where no other user can read it.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rm360_async.blocks import Span, SparseFile, joined
from rm360_async.catalog import Kind
from rm360_async.dialogue import Speaker, limit_ourselves
from rm360_async.errors import Fault
from rm360_async.ranges.cost import INDEX_GAP, Cost, cost_of, data_spans, gap_spans
from rm360_async.ranges.http import Address, Lines, Refused, Source
from rm360_async.ranges.looking import broken_spans, look_for
from rm360_async.ranges.order import PASSWORD, Order
from rm360_async.ranges.rounds import rounds

_CONNECTIONS = 32


class _Dear(Exception):
    def __init__(self, cost: Cost, for_ever: bool) -> None:
        super().__init__(cost)
        self.cost, self.for_ever = cost, for_ever


class _Scout:
    """Carries out one order."""

    def __init__(self, order: Order, sources: dict[Kind, Source], lines: Lines) -> None:
        self.order, self.sources, self.lines = order, list(sources.values()), lines
        self.files = {kind: source.file for kind, source in sources.items()}
        self.size = sum(source.file.size for source in self.sources)

    def work(self) -> Cost:
        """Fetch what is wanted; return what it took. Raises _Dear before it would cost too much."""
        if self.order.whole:
            return self._fetch([gap_spans(source.file) for source in self.sources])
        for _ in rounds(self._look, [source.file for source in self.sources]):
            self._fetch([joined(source.file.index, INDEX_GAP) for source in self.sources])
        cost = self._fetch([data_spans(source.file) for source in self.sources])
        self._fetch_broken_again()
        return cost

    def _fetch_broken_again(self) -> None:
        """Fetch once more what is not whole: what is then still broken is so at the source."""
        broken = broken_spans(self.order.job, self.files.get(Kind.RAW), self.files.get(Kind.ANNO))
        spans = [broken.get(os.fstat(source.file.descriptor).st_ino, []) for source in self.sources]
        self.lines.fetch((source, span) for source, each in zip(self.sources, spans, strict=True) for span in each)

    def _look(self) -> None:
        look_for(self.order.job, self.files.get(Kind.RAW), self.files.get(Kind.ANNO))

    def _fetch(self, spans: list[list[Span]]) -> Cost:
        cost = cost_of([source.file for source in self.sources], spans)
        too_dear = not self.order.at_any_cost and cost.too_dear(self.size, self.lines.requests)
        if not self.order.whole and (too_dear or cost.here > self.order.most_bytes):
            raise _Dear(cost, too_dear)
        wanted = [(source, span) for source, each in zip(self.sources, spans, strict=True) for span in each]
        self.lines.fetch(wanted)
        return cost


def main(arguments: list[str]) -> int:
    """Carry out the order in `arguments`; the exit code is 0 whenever the last line tells the outcome."""
    order = Order.from_json(arguments[0])
    limit_ourselves(order.memory_bytes)
    say = Speaker()
    fetched = 0

    def on_bytes(size: int) -> None:
        nonlocal fetched
        fetched += size
        say.progress(fetched)

    address = Address(order.port, order.user, os.environ.pop(PASSWORD, ""))
    lines = Lines(address, _CONNECTIONS, on_bytes)
    try:
        with ExitStack() as opened:
            sources = {
                kind: Source(file.path, opened.enter_context(SparseFile(Path(file.local), file.size)))
                for kind, file in order.files.items()
            }
            outcome = _outcome(_Scout(order, sources, lines))
            lines.close()
    except OSError as error:
        outcome = {"error": [error.errno or 0, error.strerror or str(error)]}
    finally:
        lines.close()
    say.line({**outcome, "fetched": fetched, "requests": lines.requests})
    return 0


def _outcome(scout: _Scout) -> dict[str, Any]:
    try:
        return {"done": scout.work().here}
    except _Dear as dear:
        return {"dear": [dear.cost.here, dear.cost.requests], "too_dear": dear.for_ever}
    except Refused as refused:
        return {"refused": [refused.path, refused.start, refused.words]}
    except Fault as fault:
        return {"fault": [fault.cause.word, fault.message, fault.hint]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
