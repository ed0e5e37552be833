"""The listing of `rm360 clean`, and the removal.

Theory of operation. Between the listing and the answer to its question a run may have started. So everything is listed
again, and only what both lists have is removed: a performance's files while its row is claimed, a spooled file also
while no lease for it can be granted. What a process uses at that moment is skipped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from rm360_async.budget import BUSY_SECONDS, Busy, leased_names
from rm360_async.commands.clean.removable import ItemKind, Removable, RemovableItem, list_removable
from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.formatting import size_text
from rm360_async.domain.names import Performance, output_folder
from rm360_async.download import spool
from rm360_async.ledger import Claims, ledger_path, opened
from rm360_async.store.replacement import remove_staging
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.os_errors import os_errors

_MAX_SHOWN = 20


class InUse(Exception):
    """Another process uses an item at this moment."""


def listing_text(found: Removable) -> str:
    """Return what may go as text: by kind, with sizes, then the sum and what stays."""
    lines = []
    for kind in ItemKind:
        items = [item for item in found.items if item.kind is kind]
        if items:
            lines.append(f"{kind.value}: {len(items)}, {_size(items)}")
            lines += [f"  {size_text(item.bytes):>8}  {item.path}" for item in items[:_MAX_SHOWN]]
            lines += [f"  and {len(items) - _MAX_SHOWN} more"] if len(items) > _MAX_SHOWN else []
    total = f"in all {len(found.items)}, {_size(found.items)}" if found.items else "nothing to remove"
    return "\n".join([*lines, total, *found.remarks])


def _size(items: Sequence[RemovableItem]) -> str:
    return size_text(sum(item.bytes for item in items))


async def remove(settings: Settings, listed: Removable) -> int:
    """Remove what was listed and still may go; print what was removed and what not; return the exit code."""
    paths = {item.path for item in listed.items}
    items = [item for item in (await list_removable(settings)).items if item.path in paths]
    if not ledger_path(settings.storage.manifest_path).exists():
        return await on_disk_thread(_remove_all, settings, items, {}, None)
    async with opened(settings.storage.manifest_path, create=True) as (ledger, claims):
        numbers = await ledger.row_numbers()
        return await on_disk_thread(_remove_all, settings, items, numbers, claims)


def _remove_all(
    settings: Settings, items: Sequence[RemovableItem], numbers: Mapping[Performance, int], claims: Claims | None
) -> int:
    removed: list[RemovableItem] = []
    code = ExitCode.DONE
    for item in items:
        try:
            with _claimed(numbers.get(item.performance) if item.performance else None, claims):
                _remove(settings, item)
            removed.append(item)
        except InUse:
            print(f"in use, stays: {item.path}", file=sys.stderr)
        except Fault as fault:
            print(str(fault), file=sys.stderr)
            code = ExitCode.SOME_FAILED
    print(f"removed {len(removed)}, {_size(removed)}")
    return code


@contextmanager
def _claimed(number: int | None, claims: Claims | None) -> Iterator[None]:
    """Hold the claim of a performance, if the ledger knows it; raise InUse if a process has it."""
    if number is None or claims is None:
        yield
        return
    if not claims.claim(number):
        raise InUse
    try:
        yield
    finally:
        claims.release(number)


def _remove(settings: Settings, item: RemovableItem) -> None:
    with os_errors("remove", item.path):
        if item.kind is ItemKind.STAGING and item.performance is not None:
            moved = remove_staging(item.path, output_folder(settings.storage.output_dir, item.performance))
            if moved is None:
                raise InUse
            if moved.remaining:
                raise Fault(Cause.IN_THE_WAY, "; ".join(moved.messages), "check its owner and mode")
            for message in moved.messages:
                print(message)
        elif item.kind is ItemKind.LOG:
            item.path.unlink(missing_ok=True)
        else:
            _remove_spooled(settings, item)


def _remove_spooled(settings: Settings, item: RemovableItem) -> None:
    while True:
        with suppress(Busy), leased_names(settings.storage.temp_dir) as leased:
            if item.path.name in leased:
                raise InUse
            spool.remove(item.path)
            return
        time.sleep(BUSY_SECONDS)
