"""`rm360 doctor --rebuild`: the ledger made again from the published folders.

Theory of operation. The folders are the truth about content, so the ledger is only an index and can be made from
them. What is lost is history, counters and what is not published: the next run lists that again, and tries again what
had failed. The old ledger is renamed first, under its lock, so no other process works with it; a kill between that and
the end leaves no ledger or an empty one, which the next run fills likewise.
"""

from __future__ import annotations

import os

from anyio.to_thread import run_sync

from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.ledger import (
    Claims,
    ImportResult,
    Ledger,
    ManifestWriter,
    import_existing,
    ledger_path,
    lock_path,
    quarantine,
)
from rm360_async.system.linux import is_there

_NAMED = 20


async def rebuild(settings: Settings) -> int:
    """Set the ledger aside and make it again; print what came of it and return 0, or 1 where anything was unreadable.

    Raises Fault(LEDGER) while a run is going on, or when the output folder is not there or cannot be read: an
    unmounted disk must not become a ledger in which nothing is done.
    """
    storage = settings.storage
    if not storage.output_dir.is_dir():
        raise Fault(Cause.LEDGER, f"there is no folder {storage.output_dir} to rebuild from", "is its disk mounted?")
    os.scandir(storage.output_dir).close()  # one that cannot be read is told before anything is set aside
    path = ledger_path(storage.manifest_path)
    kept = None
    if is_there(path):
        kept = await run_sync(quarantine, path)
    else:
        with Claims(lock_path(path), read_only=True) as claims:
            if claims.others_at_work():
                raise Fault(Cause.LEDGER, f"the ledger {path} is in use", "end the running instances first")
    async with Ledger.open(path) as ledger:
        with Claims(lock_path(path)) as claims:
            taken = await import_existing(ledger, storage.manifest_path, storage.output_dir)
            await ManifestWriter(storage.manifest_path, ledger, claims).finish()
    if kept is not None:
        print(f"the old ledger is kept as {kept}")
    if taken is not None:
        _print_result(taken)
    print(f"{path} is made again")
    return 1 if taken is not None and taken.problems else 0


def _print_result(result: ImportResult) -> None:
    print(f"{result.completed} published performances entered")
    if result.copy is not None:
        print(f"the old manifest is kept as {result.copy}")
    for problem in result.problems[:_NAMED]:
        print(f"could not be read: {problem}")
    if len(result.problems) > _NAMED:
        print(f"and {len(result.problems) - _NAMED} more that could not be read")
