"""Mutations of the bytes of a small .smc: what disks, transfers and attackers do to a file.

Each takes the bytes of an intact file and returns changed bytes; the same `Random` gives the same bytes. Metadata is
everything that no stored image or array occupies; it is known, so that its few bytes can be changed on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import h5py

_BLOCK = 512
_HDF5_SIGNATURES = re.compile(rb"TREE|SNOD|HEAP|GCOL|OHDR|OCHK|BTHD|BTLF|FRHP|FHDB|FSHD|BTIN")


@dataclass(frozen=True)
class SourceBytes:
    """The bytes of a file, and the ranges (offset, size) of its bulk data and of its metadata."""

    data: bytes
    bulk: tuple[tuple[int, int], ...]
    metadata: tuple[tuple[int, int], ...]


def read_source(path: Path) -> SourceBytes:
    """Return the bytes of an intact .smc, with its contiguous datasets as bulk data."""
    bulk: list[tuple[int, int]] = []

    def visit(_: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.id.get_offset() is not None and node.id.get_storage_size():
            bulk.append((node.id.get_offset(), node.id.get_storage_size()))

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    data = path.read_bytes()
    return SourceBytes(data, tuple(sorted(bulk)), tuple(_gaps_between(sorted(bulk), len(data))))


def _gaps_between(bulk: list[tuple[int, int]], end: int) -> list[tuple[int, int]]:
    gaps, at = [], 0
    for offset, size in bulk:
        if offset > at:
            gaps.append((at, offset - at))
        at = max(at, offset + size)
    return [*gaps, (at, end - at)] if at < end else gaps


def truncated(source: SourceBytes, random: Random) -> bytes:
    """Cut the end off: anywhere, at a block, or just a few bytes."""
    size = len(source.data)
    length = random.choice(
        (random.randrange(size), random.randrange(size) // _BLOCK * _BLOCK, size - random.randint(1, 16))
    )
    return source.data[:length]


def flipped_metadata(source: SourceBytes, random: Random) -> bytes:
    """Change one to four bytes of metadata, often to a meaningful value."""
    data = bytearray(source.data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data[_metadata_offset(source, random)] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
    return bytes(data)


def flipped_bulk(source: SourceBytes, random: Random) -> bytes:
    """Change one to eight bytes of stored images and arrays."""
    data = bytearray(source.data)
    for _ in range(random.randint(1, 8)):
        data[_random_offset(source.bulk or source.metadata, random)] ^= random.randint(1, 255)
    return bytes(data)


def overwritten_metadata(source: SourceBytes, random: Random) -> bytes:
    """Overwrite a run of metadata with noise, ones, or a run from another place."""
    data = bytearray(source.data)
    length = min(random.choice((2, 4, 8, 16, 40, 200)), len(data) - 1)
    start = min(_metadata_offset(source, random), len(data) - length)
    other = min(_random_offset(source.metadata, random), len(data) - length)
    fill = (random.randbytes(length), b"\xff" * length, source.data[other : other + length])
    data[start : start + length] = random.choice(fill)
    return bytes(data)


def zeroed_blocks(source: SourceBytes, random: Random) -> bytes:
    """Zero one to three blocks of 512 bytes, as a lost sector reads."""
    data = bytearray(source.data)
    for _ in range(random.randint(1, 3)):
        start = _metadata_offset(source, random) // _BLOCK * _BLOCK
        data[start : start + _BLOCK] = bytes(min(_BLOCK, len(data) - start))
    return bytes(data)


def spliced(source: SourceBytes, random: Random) -> bytes:
    """Remove a piece, double it, or move it elsewhere, which displaces everything after it."""
    data = source.data
    start = random.randrange(len(data))
    end = min(len(data), start + random.choice((1, 7, 512, 4096, 20_000)))
    piece = data[start:end]
    if random.random() < 0.3:
        return data[:start] + data[end:]
    if random.random() < 0.5:
        return data[:end] + piece + data[end:]
    target = random.randrange(len(data))
    return (data[:target] + piece + data[target + len(piece) :])[: len(data)]


def crossed_pointers(source: SourceBytes, random: Random) -> bytes:
    """Point one to three of the file's internal addresses elsewhere: trees and heaps with cycles."""
    data = bytearray(source.data)
    known = [match.start() for match in _HDF5_SIGNATURES.finditer(source.data)]
    pointers = [at for at in _aligned(source) if int.from_bytes(source.data[at : at + 8], "little") in set(known)]
    if not pointers:
        return flipped_metadata(source, random)
    for _ in range(random.randint(1, 3)):
        at = random.choice(pointers)
        nearest = max((start for start in known if start <= at), default=0)
        target = random.choice((nearest, random.choice(known), random.choice(known), at))
        data[at : at + 8] = target.to_bytes(8, "little")
    return bytes(data)


def _aligned(source: SourceBytes) -> list[int]:
    return [at for start, size in source.metadata for at in range(start // 8 * 8, start + size - 7, 8)]


def _metadata_offset(source: SourceBytes, random: Random) -> int:
    """Return an offset in the metadata, most often one in use: the format of the release leaves much of it empty."""
    offsets = [_random_offset(source.metadata, random) for _ in range(8)]
    return next((at for at in offsets if source.data[at] not in (0, 255)), offsets[0])


def _random_offset(ranges: tuple[tuple[int, int], ...], random: Random) -> int:
    start, size = random.choices(ranges, [size for _, size in ranges])[0]
    return start + random.randrange(size)


MUTATIONS: dict[str, Callable[[SourceBytes, Random], bytes]] = {
    function.__name__: function
    for function in (
        truncated,
        flipped_metadata,
        flipped_bulk,
        overwritten_metadata,
        zeroed_blocks,
        spliced,
        crossed_pointers,
    )
}
"""Every mutation by name."""
