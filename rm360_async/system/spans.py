"""Ranges of bytes as half-open pairs (start, end), and sets of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Span = tuple[int, int]


class SpanSet:
    """A set of bytes as sorted, disjoint spans that do not touch."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.total = 0
        """The number of bytes in the set."""
        for start, end in spans:
            self.add(start, end)

    def __iter__(self) -> Iterator[Span]:
        return iter(list(zip(self._starts, self._ends, strict=True)))

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, end: int) -> None:
        """Add a span to the set; an empty one changes nothing."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
            self.total -= sum(self._ends[first:last]) - sum(self._starts[first:last])
        self._starts[first:last], self._ends[first:last] = [start], [end]
        self.total += end - start

    def covers(self, start: int, end: int) -> bool:
        """Return True if all bytes of a span are in the set."""
        if start >= end:
            return True
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and self._ends[index] >= end

    def missing(self, start: int, end: int) -> list[Span]:
        """Return the parts of a span that are not in the set, in order."""
        gaps = []
        for index in range(max(0, bisect_right(self._ends, start)), len(self._starts)):
            if self._starts[index] >= end:
                break
            if start < self._starts[index]:
                gaps.append((start, self._starts[index]))
            start = self._ends[index]
        return [*gaps, (start, end)] if start < end else gaps


def join_spans(spans: Iterable[Span], max_gap: int) -> list[Span]:
    """Return the spans in order, those that are at most `max_gap` bytes apart as one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start - joined[-1][1] <= max_gap:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def split_spans(spans: Iterable[Span], max_bytes: int) -> list[Span]:
    """Return the spans cut into pieces of at most `max_bytes`."""
    return [(offset, min(offset + max_bytes, end)) for start, end in spans for offset in range(start, end, max_bytes)]
