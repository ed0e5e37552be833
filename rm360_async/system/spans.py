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
        """How many bytes are in the set."""
        for start, end in spans:
            self.add(start, end)

    def __iter__(self) -> Iterator[Span]:
        return iter(list(zip(self._starts, self._ends, strict=True)))

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, end: int) -> None:
        """Put a span into the set; an empty one changes nothing."""
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
        """Tell whether all of a span is in the set."""
        if start >= end:
            return True
        place = bisect_right(self._starts, start) - 1
        return place >= 0 and self._ends[place] >= end

    def missing(self, start: int, end: int) -> list[Span]:
        """Return what of a span is not in the set, in order."""
        gaps = []
        for place in range(max(0, bisect_right(self._ends, start)), len(self._starts)):
            if self._starts[place] >= end:
                break
            if start < self._starts[place]:
                gaps.append((start, self._starts[place]))
            start = self._ends[place]
        return [*gaps, (start, end)] if start < end else gaps


def join_spans(spans: Iterable[Span], gap: int) -> list[Span]:
    """Return the spans in order, those at most `gap` bytes apart as one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start - found[-1][1] <= gap:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def split_spans(spans: Iterable[Span], largest: int) -> list[Span]:
    """Return the spans cut into pieces of at most `largest` bytes."""
    return [(at, min(at + largest, end)) for start, end in spans for at in range(start, end, largest)]
