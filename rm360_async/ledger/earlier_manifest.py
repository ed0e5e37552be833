"""Keep the MANIFEST.csv that an earlier tool left: it is copied before a new ledger's table takes its place.

The ledger remembers that it was kept; from then on, and once the folders are imported, the file is the ledger's own.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from rm360_async.domain.errors import Cause
from rm360_async.ledger.ledger import Ledger
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.files import free_name, replacement_of, write_all
from rm360_async.system.os_errors import os_errors

IMPORTED_KEY = "imported"
"""Key of the ledger's metadata: when all existing folders had been imported, so that it is done once."""
_COPIED_KEY = "manifest copied"
"""Key of the ledger's metadata: the copy of the MANIFEST.csv that was there before, "" if there was none."""


async def keep_earlier_manifest(ledger: Ledger, manifest_path: Path, *, record: bool = True) -> Path | None:
    """Copy a MANIFEST.csv that is older than the ledger, once, and return the copy; None if there is none.

    `record`: False where the ledger can only be read; the next one who asks then finds the same copy.
    Raises Fault(NOT_WRITABLE) or Fault(DISK_FULL) if it cannot be copied.
    """
    copied = await ledger.hints.get_meta(_COPIED_KEY)
    if copied is not None:
        return manifest_path.with_name(copied) if copied else None
    if await ledger.hints.get_meta(IMPORTED_KEY) is not None:  # by a version that recorded no copy
        return None
    hint = "check its permissions, or set storage.manifest_path"
    with os_errors("keep a copy of", manifest_path, hint, Cause.NOT_WRITABLE):
        copy = await on_disk_thread(_copy, manifest_path)
    if record:
        await ledger.hints.set_meta(_COPIED_KEY, copy.name if copy is not None else "")
    return copy


def _copy(path: Path) -> Path | None:
    """Copy the file durably to `<name>.earlier`, or the next free name; None if there is no file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    copy = free_name(path.with_name(f"{path.name}.earlier"), same_as=path)
    with replacement_of(copy) as temporary:
        write_all(temporary.descriptor, content)
        shutil.copystat(path, temporary.path)
    return copy
