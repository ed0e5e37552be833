"""Which bytes of a file are requested next: pure, and without a clock."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable

from rm360_async.system.spans import Span, join_spans

MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES = 2**20, 8 * 2**20
_SEGMENT_SECONDS = 2.0
"""A connection receives one segment for so long: a round trip is little beside it, and the first files are still
finished one after another."""
_SEGMENTS_EACH = 2
"""Segments that each connection gets of what is left, so that all of them are busy until the end."""


class SegmentQueue:
    """The spans of one file that are wanted and that no connection has begun, in order of their offset."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._spans = join_spans(spans, 0)

    @property
    def total(self) -> int:
        """Return the number of bytes in the queue."""
        return sum(end - start for start, end in self._spans)

    def __bool__(self) -> bool:
        return bool(self._spans)

    def put(self, span: Span) -> None:
        """Add a span; what did not arrive comes back at its place, not at the end."""
        if span[0] < span[1]:
            insort(self._spans, span)
            self._spans = join_spans(self._spans, 0)

    def extend(self, spans: Iterable[Span]) -> None:
        """Add many spans."""
        self._spans = join_spans([*self._spans, *spans], 0)

    def take(self, max_bytes: int) -> Span | None:
        """Take the first span, at most `max_bytes` of it; None if the queue is empty."""
        if not self._spans:
            return None
        start, end = self._spans[0]
        if end - start <= max_bytes:
            return self._spans.pop(0)
        self._spans[0] = (start + max_bytes, end)
        return start, start + max_bytes


def segment_bytes(queued_bytes: int, connections: int, rate: float) -> int:
    """Return the size of the next segment, of `queued_bytes` that no connection has begun.

    `rate` is what one connection brings, in bytes a second; 0 if that is not known yet.
    """
    fair_share = queued_bytes // (_SEGMENTS_EACH * max(1, connections))
    return max(MIN_SEGMENT_BYTES, min(MAX_SEGMENT_BYTES, fair_share, int(rate * _SEGMENT_SECONDS)))
