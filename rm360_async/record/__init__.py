"""What a published folder claims, and the check of a folder against it.

The marker `.extraction_complete` is written last, so a folder that has one under its final name is whole. It
is small (one read per performance when a run starts); the names, sizes and hashes of all files stand beside
it in `.extraction_files.csv`, which only checks read. A folder that a check found damaged, and that is to be
extracted again, has `.extraction_damaged` in the place of the marker: the disk tells it, whatever becomes of
the ledger.
"""

from rm360_async.record.check import Checked, Depth, Flaw, FlawKind, check_folder
from rm360_async.record.files import FILE_LIST, HASH, ListedFile, read_file_list, read_files, write_files
from rm360_async.record.hashing import hash_of, hash_of_range
from rm360_async.record.marker import (
    DAMAGED,
    MARKER,
    SCHEMA,
    EarlierRecord,
    LeftOut,
    Record,
    SourceFile,
    parse_marker,
    read_marker,
)

__all__ = [
    "DAMAGED",
    "FILE_LIST",
    "HASH",
    "MARKER",
    "SCHEMA",
    "Checked",
    "Depth",
    "EarlierRecord",
    "Flaw",
    "FlawKind",
    "LeftOut",
    "ListedFile",
    "Record",
    "SourceFile",
    "check_folder",
    "hash_of",
    "hash_of_range",
    "parse_marker",
    "read_file_list",
    "read_files",
    "read_marker",
    "write_files",
]
