"""The spool: downloaded .smc files in temp_dir, their names, and what the names prove.

A whole file is `0018_s1_all_raw.<fingerprint>.smc`. The fingerprint comes from the size, md5 and time that the remote
listed: bytes of a changed file are never joined with those of an earlier version. A file gets that name only after its
size and md5 equal the listing and it was synced, so the name alone is evidence after a crash. Before that, or if it is
not needed whole, `.smc.sparse` holds what has arrived, and its `.map` says what that is (see `system.sparse_file`).
Version 0.2.0 left a `.smc.part`, the start of a file; it becomes a sparse file. Whole files whose extraction failed,
or that the user wants to keep, are quarantined in `kept/`; they do not count as spooled any more, and are restored
when they are needed again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rm360_async.domain.names import Kind, Performance, Structure, file_name, parse_remote_path
from rm360_async.domain.record import SourceFile
from rm360_async.system.fault_points import reach
from rm360_async.system.files import sync_folder
from rm360_async.system.sparse_file import is_sparse, map_path, write_prefix_map

QUARANTINE = "kept"
"""Name of the quarantine folder in temp_dir."""
_SPOOL_NAME = re.compile(r"\d{4}_\w+_(?:raw|anno)\.[0-9a-f]{8}\.smc(?:\.part|\.sparse(?:\.map)?)?")
_UNFINISHED = (".smc.part", ".smc.sparse", ".smc.sparse.map")


def fingerprint(source: SourceFile) -> str:
    """Return eight hex digits that change if the remote's file does."""
    identity = f"{source.size}|{source.md5 or source.modified or ''}"
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def whole_path(temp_dir: Path, performance: Performance, kind: Kind, source: SourceFile) -> Path:
    """Return the path of the whole file."""
    stem = file_name(performance, kind).removesuffix(".smc")
    return temp_dir / f"{stem}.{fingerprint(source)}.smc"


def sparse_path(whole: Path) -> Path:
    """Return the path of the sparse file that holds ranges of what would be `whole`."""
    return whole.with_name(whole.name + ".sparse")


def whole_paths(whole: Path) -> list[Path]:
    """Return every path that the whole file may have."""
    return [whole, quarantine_path(whole)]


def all_paths(whole: Path) -> list[Path]:
    """Return every path that bytes of a file may have in the spool."""
    sparse = sparse_path(whole)
    return [whole, _prefix_path(whole), sparse, map_path(sparse)]


def quarantine_path(whole: Path) -> Path:
    """Return the path of a whole file in the quarantine."""
    return whole.parent / QUARANTINE / whole.name


def _prefix_path(whole: Path) -> Path:
    return whole.with_name(whole.name + ".part")


def adopt_prefix(whole: Path) -> None:
    """Go on with the start of a file that version 0.2.0 has left; a sparse file that is there already is kept."""
    prefix, sparse = _prefix_path(whole), sparse_path(whole)
    if not prefix.exists():
        return
    if sparse.exists():
        prefix.unlink()
        return
    write_prefix_map(prefix, map_path(sparse))
    prefix.rename(sparse)
    reach("prefix adopted")


def commit(sparse: Path, whole: Path) -> None:
    """Give a sparse file that is complete, compared and synced its whole name, durably."""
    reach("committing part")
    sparse.rename(whole)
    map_path(sparse).unlink(missing_ok=True)
    sync_folder(whole.parent)
    reach("part committed")


def quarantine(whole: Path) -> Path:
    """Move a whole file to the quarantine; return its new path."""
    quarantined = quarantine_path(whole)
    quarantined.parent.mkdir(exist_ok=True)
    whole.rename(quarantined)
    return quarantined


@dataclass(frozen=True)
class QuarantinedFile:
    """One whole file in the quarantine; `modified` is in unix seconds."""

    path: Path
    performance: Performance | None
    """None for a file that is not a spooled one by its name."""
    bytes: int
    modified: float


def quarantined(temp_dir: Path) -> list[QuarantinedFile]:
    """Return the files in the quarantine, the oldest first."""
    folder = temp_dir / QUARANTINE
    files = []
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # another instance has just restored it
            status = path.lstat()
            files.append(QuarantinedFile(path, performance_of(path), status.st_size, status.st_mtime))
    return sorted(files, key=lambda file: (file.modified, file.path))


def performance_of(path: Path) -> Performance | None:
    """Return the performance that a spooled file belongs to by its name; None for any other file."""
    stem = path.name.split(".", 1)[0]
    parsed = parse_remote_path(Structure.SINGLE, f"{stem[:4]}/{stem}.smc")
    return parsed[0] if parsed is not None and is_spool_file(path) else None


def is_whole(whole: Path) -> bool:
    """Return True if the whole file is in the spool, restored from the quarantine if it was there. Raises OSError."""
    return whole.exists() or restore(whole)


def size_of(path: Path) -> int:
    """Return the bytes of a file, 0 for one that does not exist. Raises OSError."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def restore(whole: Path) -> bool:
    """Move a file back from the quarantine; return False if it is not there."""
    try:
        quarantine_path(whole).rename(whole)
    except FileNotFoundError:
        return False
    return True


def remove(path: Path) -> None:
    """Remove one file of the spool, durably, a sparse one with its map; nothing happens if it is gone."""
    path.unlink(missing_ok=True)
    if is_sparse(path):
        map_path(path).unlink(missing_ok=True)
    if path.parent.exists():
        sync_folder(path.parent)
    reach("spooled file removed")


def outdated_files(temp_dir: Path, performance: Performance, kind: Kind, current: Path) -> list[Path]:
    """Return the files of the same source that came from an earlier version of the remote's file."""
    return [path for path in files_of(temp_dir, performance, kind) if path not in all_paths(current)]


def files_of(temp_dir: Path, performance: Performance, kind: Kind) -> list[Path]:
    """Return all parts, sparse and whole files of one source that are in the spool."""
    stem = file_name(performance, kind).removesuffix(".smc") + "."
    # not by glob, which compiles a pattern for each name and keeps the last some hundred
    names = os.listdir(temp_dir) if temp_dir.is_dir() else []  # noqa: PTH208
    return sorted(temp_dir / name for name in names if name.startswith(stem) and _SPOOL_NAME.fullmatch(name))


def is_spool_file(path: Path) -> bool:
    """Return True if a file in temp_dir has the name of a spooled one, part or whole."""
    return _SPOOL_NAME.fullmatch(path.name) is not None


def is_unfinished(path: Path) -> bool:
    """Return True if a file's name says that it never arrived whole."""
    return path.name.endswith(_UNFINISHED)


def stems(temp_dir: Path) -> set[str]:
    """Return the stems (`0018_s1_all_raw`) of all files in the spool."""
    return {stem_of(path) for path in temp_dir.glob("*.smc*")} if temp_dir.is_dir() else set()


def bytes_by_stem(temp_dir: Path) -> dict[str, int]:
    """Return the bytes of disk that the spooled files of each stem take; the quarantine is not counted."""
    taken: dict[str, int] = {}
    for path in temp_dir.glob("*.smc*") if temp_dir.is_dir() else ():
        with suppress(FileNotFoundError):  # another instance has just removed it
            if is_spool_file(path) and not path.name.endswith(".map"):
                taken[stem_of(path)] = taken.get(stem_of(path), 0) + allocated_bytes(path)
    return taken


def bytes_of(wholes: Iterable[Path]) -> int:
    """Return the bytes on the disk of some whole files, or of what there is of them. Raises OSError."""
    paths = [path for whole in wholes for path in all_paths(whole)]
    return sum(allocated_bytes(path) for path in paths if path.exists())


def allocated_bytes(path: Path) -> int:
    """Return the bytes of a file that are on the disk: without its holes. Raises OSError."""
    status = path.stat()
    return min(status.st_size, status.st_blocks * 512)


def stems_of(performance: Performance) -> list[str]:
    """Return the stems that files of a performance have in the spool."""
    return [file_name(performance, kind).removesuffix(".smc") for kind in Kind]


def stem_of(path: Path) -> str:
    """Return the stem (`0018_s1_all_raw`) of a file in the spool."""
    return path.name.split(".", 1)[0]
