"""The list `.extraction_files.csv`: path, size and hash of every file that a folder was published with."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

FILE_LIST = ".extraction_files.csv"
EXPORT_RECORD, EXPORT_LIST = ".rm360_export.json", ".rm360_export_files.csv"
"""The record of an export, and the list of its files: written by `export`, replaced with it."""
HASH_NAME = "xxh3_128"
"""The name of the hash and of its column, which the list of an earlier version lacks."""
_HASH_BYTES = 16


@dataclass(frozen=True)
class ListedFile:
    """One published file: path below the folder, size in bytes, and hash (16 bytes) if the list has it."""

    path: str
    size: int
    hash: bytes | None = None


def write_file_list(target: TextIO, files: Iterable[ListedFile]) -> None:
    """Write the list, row by row: there may be hundreds of thousands of files."""
    rows = csv.writer(target, lineterminator="\n")
    rows.writerow(("path", "bytes", HASH_NAME))
    rows.writerows((file.path, file.size, file.hash.hex() if file.hash else "") for file in files)


def read_file_list(folder: Path, name: str = FILE_LIST) -> Iterator[ListedFile]:
    """Yield every file of a folder's list. Raises OSError, and ValueError for a damaged list."""
    with (folder / name).open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        try:
            for row in rows:
                yield ListedFile(row["path"], int(row["bytes"]), _parse_hash(row.get(HASH_NAME)))
        except (csv.Error, KeyError, TypeError, UnicodeError, ValueError) as error:
            raise ValueError(f"line {rows.line_num + 1} cannot be read") from error


def _parse_hash(text: str | None) -> bytes | None:
    if not text:
        return None
    value = bytes.fromhex(text)
    if len(value) != _HASH_BYTES:
        raise ValueError(f"{text!r} is not a hash")
    return value
