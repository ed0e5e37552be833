"""What downloading ranges costs: which spans to request, and whether the whole file would cost less."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rm360_async.system.spans import Span, join_spans, split_spans
from rm360_async.system.sparse_file import SparseFile

_INDEX_GAP_BYTES = 16 * 1024
_DATA_GAP_BYTES = (256 * 1024, 64 * 1024, 16 * 1024, 4 * 1024, 0)
"""Gaps between two wanted spans that may be downloaded along, tried in order; a request costs as much as some bytes."""
_MAX_WASTE = 0.04
"""The share of the wanted bytes that may be downloaded along."""
_PIECE_BYTES = 8 * 2**20
_MAX_PIECES = 512
MAX_SHARE = 0.6
"""Of the file: above it the whole file is downloaded, in one request, and can be compared with its md5."""
_REQUEST_BYTES = 256 * 1024
"""What a connection of 30 MB/s downloads while a request waits for its turn among those that Drive allows."""
_BLOCK_BYTES = 4096
"""The disk allocates whole blocks, also for a sparse file."""


@dataclass(frozen=True)
class Cost:
    """What ranges cost in the end: requests, including those already made, and bytes of disk."""

    requests: int
    disk_bytes: int

    def is_too_expensive(self, size: int) -> bool:
        """Return True if the whole files, of `size` bytes, cost less."""
        return self.disk_bytes > MAX_SHARE * size or self.disk_bytes + self.requests * _REQUEST_BYTES > size


def index_spans(file: SparseFile) -> list[Span]:
    """Return the spans to request for the part of the index that is wanted of a file."""
    return split_spans(join_spans(file.requested_index, _INDEX_GAP_BYTES), _PIECE_BYTES)


def data_spans(wanted: Iterable[Span]) -> list[Span]:
    """Return the spans to request for all data that is wanted of a file."""
    wanted = list(wanted)
    total = _size_of(wanted)
    spans = wanted
    for gap in _DATA_GAP_BYTES:
        spans = join_spans(wanted, gap)
        if _size_of(spans) <= total * (1 + _MAX_WASTE):
            break
    return split_spans(spans, max(_PIECE_BYTES, total // _MAX_PIECES))


def bytes_on_disk(files: Sequence[SparseFile], spans: Sequence[Sequence[Span]]) -> int:
    """Return the bytes of disk that files take once some spans of each have been downloaded too."""
    total = 0
    for file, more in zip(files, spans, strict=True):
        blocks = ((start // _BLOCK_BYTES, -(-end // _BLOCK_BYTES)) for start, end in (*file.present_spans(), *more))
        total += _size_of(join_spans(blocks, 0)) * _BLOCK_BYTES
    return total


def _size_of(spans: Iterable[Span]) -> int:
    return sum(end - start for start, end in spans)
