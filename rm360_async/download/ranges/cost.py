"""What fetching ranges costs: which spans to ask for, and whether the whole file is the better way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rm360_async.system.spans import Span, in_pieces, joined
from rm360_async.system.sparse_file import SparseFile

_INDEX_GAP = 16 * 1024
_GAPS = (256 * 1024, 64 * 1024, 16 * 1024, 4 * 1024, 0)
"""Bytes between two wanted spans that are fetched along; a request costs as much as some of them."""
_WASTE = 0.04
"""The share of the wanted bytes that may be fetched along."""
_PIECE = 8 * 2**20
MAX_SHARE = 0.6
"""Of the file: above it the whole file is fetched, which can be compared with its md5 and asked for in one request."""
_REQUEST = 256 * 1024
"""Bytes that a line of 30 MB/s brings while a request waits for its turn among those that Drive allows."""
_MOST_PIECES = 512
_BLOCK = 4096
"""Bytes of a block of the disk, of which a sparse file has whole ones."""


@dataclass(frozen=True)
class Cost:
    """What ranges come to in the end: requests, those made included, and bytes of disk."""

    requests: int
    here: int

    def is_too_expensive(self, size: int) -> bool:
        """Tell whether the whole file of `size` bytes is the better way."""
        return self.here > MAX_SHARE * size or self.here + self.requests * _REQUEST > size


def index_spans(file: SparseFile) -> list[Span]:
    """Return what to ask for of the index that is wanted of a file."""
    return in_pieces(joined(file.index, _INDEX_GAP), _PIECE)


def data_spans(wanted: Iterable[Span]) -> list[Span]:
    """Return what to ask for, so that all data that is wanted of a file is here."""
    wanted = list(wanted)
    total = sum(end - start for start, end in wanted)
    spans = wanted
    for gap in _GAPS:
        spans = joined(wanted, gap)
        if sum(end - start for start, end in spans) <= total * (1 + _WASTE):
            break
    return in_pieces(spans, max(_PIECE, total // _MOST_PIECES))


def gap_spans(file: SparseFile) -> list[Span]:
    """Return all that a file lacks, as few spans as that takes: small islands in it are fetched again."""
    return in_pieces(joined(file.missing(0, file.size), _GAPS[0]), 4 * _PIECE)


def bytes_on_disk(files: Sequence[SparseFile], spans: Sequence[Sequence[Span]]) -> int:
    """Return the bytes of disk that files take once some spans of each are here too."""
    found = 0
    for file, each in zip(files, spans, strict=True):
        blocks = ((start // _BLOCK, -(-end // _BLOCK)) for start, end in (*file.here(), *each))
        found += sum(end - start for start, end in joined(blocks, 0)) * _BLOCK
    return found
