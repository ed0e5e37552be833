"""Staged .smc files: their names in temp_dir, and what the names prove.

A part is `0018_s1_all_raw.<fingerprint>.smc.part`, a whole file the same without `.part`. The fingerprint
comes from the size, md5 and time that the remote listed: bytes of a changed file are never joined with
those of its earlier self. A file gets its whole name only after its size and md5 equal the listing and it
was synced, so the name alone is evidence after a crash. Whole files whose extraction failed, or that the
user wants to keep, are set aside in `kept/`; they are no staging any more, and are taken back when wanted.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from rm360_async.catalog import Kind, Performance, file_name
from rm360_async.record import SourceFile

KEPT = "kept"
_OURS = re.compile(r"\d{4}_\w+_(?:raw|anno)\.[0-9a-f]{8}\.smc(?:\.part)?")


def fingerprint(source: SourceFile) -> str:
    """Return eight hex digits that change when the remote's file does."""
    identity = f"{source.size}|{source.md5 or source.modified or ''}"
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def whole_path(temp_dir: Path, performance: Performance, kind: Kind, source: SourceFile) -> Path:
    """Return the place of the whole staged file."""
    stem = file_name(performance, kind).removesuffix(".smc")
    return temp_dir / f"{stem}.{fingerprint(source)}.smc"


def part_path(whole: Path) -> Path:
    """Return the place of the part that becomes `whole`."""
    return whole.with_name(whole.name + ".part")


def kept_path(whole: Path) -> Path:
    """Return the place where a whole file is set aside."""
    return whole.parent / KEPT / whole.name


def settle_part(part: Path, whole: Path) -> None:
    """Give a synced, compared part its whole name, durably."""
    part.rename(whole)
    _sync_folder(whole.parent)


def set_aside(whole: Path) -> Path:
    """Move a whole file to `kept/`; return its new place."""
    kept = kept_path(whole)
    kept.parent.mkdir(exist_ok=True)
    whole.rename(kept)
    return kept


def take_back(whole: Path) -> bool:
    """Move a file of that name back from `kept/`; False when there is none."""
    try:
        kept_path(whole).rename(whole)
    except FileNotFoundError:
        return False
    return True


def remove(path: Path) -> None:
    """Remove one staged file, durably; nothing happens when it is gone."""
    path.unlink(missing_ok=True)
    if path.parent.exists():
        _sync_folder(path.parent)


def outdated(temp_dir: Path, performance: Performance, kind: Kind, current: Path) -> list[Path]:
    """Return parts and whole files of the same source whose remote file has changed since."""
    return [path for path in staged(temp_dir, performance, kind) if path not in (current, part_path(current))]


def staged(temp_dir: Path, performance: Performance, kind: Kind) -> list[Path]:
    """Return all parts and whole files of one source that are staged."""
    stem = file_name(performance, kind).removesuffix(".smc")
    return sorted([*temp_dir.glob(f"{stem}.????????.smc"), *temp_dir.glob(f"{stem}.????????.smc.part")])


def is_ours(path: Path) -> bool:
    """Tell whether a file in temp_dir has the name of a staged one, part or whole."""
    return _OURS.fullmatch(path.name) is not None


def is_part(path: Path) -> bool:
    """Tell whether a staged file's name says that it never arrived whole."""
    return path.name.endswith(".smc.part")


def begun(temp_dir: Path) -> set[str]:
    """Return the stems (`0018_s1_all_raw`) of which parts or whole files are staged."""
    names = [path.name for path in temp_dir.glob("*.smc*")] if temp_dir.is_dir() else []
    return {name.split(".", 1)[0] for name in names}


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
