"""The list `.extraction_files.csv`: path, bytes and hash of every file that a folder was published with."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

FILE_LIST = ".extraction_files.csv"
HASH = "xxh3_128"
"""The name of the hash, which is the name of its column; a list of an earlier version lacks the column."""
_HASH_BYTES = 16


@dataclass(frozen=True)
class ListedFile:
    """One published file: path below the folder, size in bytes, and its hash (16 bytes) where it is listed."""

    path: str
    size: int
    hash: bytes | None = None


def write_files(target: TextIO, files: Iterable[ListedFile]) -> None:
    """Write the list, row by row: there may be hundreds of thousands."""
    rows = csv.writer(target, lineterminator="\n")
    rows.writerow(("path", "bytes", HASH))
    rows.writerows((file.path, file.size, file.hash.hex() if file.hash else "") for file in files)


def read_files(folder: Path) -> Iterator[ListedFile]:
    """Yield every file of a folder's list. Raises OSError, and ValueError for a list that is damaged."""
    with (folder / FILE_LIST).open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        try:
            for row in rows:
                yield ListedFile(row["path"], int(row["bytes"]), _hash(row.get(HASH)))
        except (csv.Error, KeyError, TypeError, UnicodeError, ValueError) as error:
            raise ValueError(f"its line {rows.line_num + 1} cannot be read") from error


def _hash(text: str | None) -> bytes | None:
    if not text:
        return None
    value = bytes.fromhex(text)
    if len(value) != _HASH_BYTES:
        raise ValueError(f"{text!r} is not a hash")
    return value


def read_file_list(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield (path below the folder, size in bytes) of every file that the folder was published with."""
    for file in read_files(folder):
        yield file.path, file.size
