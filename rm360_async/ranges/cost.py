"""What fetching ranges costs: which spans to ask for, and whether the whole file is the better way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rm360_async.blocks import Span, SparseFile, in_pieces, joined

INDEX_GAP = 16 * 1024
_GAPS = (256 * 1024, 64 * 1024, 16 * 1024, 4 * 1024, 0)
"""Bytes between two wanted spans that are fetched along; a request costs as much as some of them."""
_WASTE = 0.04
"""The share of the wanted bytes that may be fetched along."""
_PIECE = 8 * 2**20
MOST_SHARE = 0.6
"""Of the file: above it the whole file is fetched, which can be compared with its md5 and asked for in one request."""
MOST_REQUESTS = 6000
_MOST_PIECES = 512


@dataclass(frozen=True)
class Cost:
    """What is still to be fetched: bytes, requests; and bytes that will then be here."""

    bytes: int
    requests: int
    here: int

    def too_dear(self, size: int, asked: int) -> bool:
        """Tell whether the whole file of `size` bytes is the better way, after `asked` requests."""
        return self.here > MOST_SHARE * size or self.requests + asked > MOST_REQUESTS


def data_spans(file: SparseFile) -> list[Span]:
    """Return what to ask for, so that all data that is wanted of a file is here."""
    wanted = list(file.data)
    total = sum(end - start for start, end in wanted)
    spans = wanted
    for gap in _GAPS:
        spans = joined(wanted, gap)
        if sum(end - start for start, end in spans) <= total * (1 + _WASTE) or len(spans) > MOST_REQUESTS:
            break
    return in_pieces(spans, max(_PIECE, total // _MOST_PIECES))


def gap_spans(file: SparseFile) -> list[Span]:
    """Return all that a file lacks, as few spans as that takes: small islands in it are fetched again."""
    return in_pieces(joined(file.present.missing(0, file.size), _GAPS[0]), 4 * _PIECE)


def cost_of(files: Sequence[SparseFile], spans: Sequence[Sequence[Span]]) -> Cost:
    """Return the cost of fetching some spans of each file."""
    asked = sum(end - start for each in spans for start, end in each)
    here = 0
    for file, each in zip(files, spans, strict=True):
        gaps = (gap for span in each for gap in file.present.missing(*span))
        here += file.present.total + sum(end - start for start, end in gaps)
    return Cost(asked, sum(map(len, spans)), here)
