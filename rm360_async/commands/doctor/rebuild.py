"""`rm360 doctor --rebuild`: rebuild the ledger from the published folders.

Theory of operation. The folders are the truth about content, so the ledger is only an index, which can be rebuilt
from them. What is lost is the history, the counters and the marks of failures, which are tried again. The old
ledger is renamed first, under its lock, so no process is using it; a kill between that and the end leaves no ledger
or an empty one, which the next run fills in the same way.
"""

from __future__ import annotations

import os
from pathlib import Path

from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.exit_code import ExitCode
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
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.files import path_exists

_MAX_PROBLEMS_SHOWN = 20


async def rebuild(settings: Settings) -> int:
    """Rename the old ledger, rebuild it, and print the result; SOME_FAILED if a folder could not be read.

    Raises Fault(LEDGER) while a run is active, or if the output folder does not exist or cannot be read: a disk that
    is not mounted must not become a ledger in which nothing is done.
    """
    storage = settings.storage
    if not storage.output_dir.is_dir():
        raise Fault(Cause.LEDGER, f"there is no folder {storage.output_dir} to rebuild from", "is its disk mounted?")
    os.scandir(storage.output_dir).close()  # raises if it cannot be read, before anything is changed
    path = ledger_path(storage.manifest_path)
    old_ledger = await _rename_old_ledger(path)
    async with Ledger.open(path) as ledger:
        with Claims(lock_path(path)) as claims:
            result = await import_existing(ledger, storage.manifest_path, storage.output_dir)
            await ManifestWriter(storage.manifest_path, ledger, claims).finish()
    if old_ledger is not None:
        print(f"the old ledger is kept as {old_ledger}")
    if result is not None:
        _print_result(result)
    print(f"rebuilt {path}")
    return ExitCode.SOME_FAILED if result is not None and result.problems else ExitCode.DONE


async def _rename_old_ledger(path: Path) -> Path | None:
    """Rename the old ledger, if there is one; raise Fault(LEDGER) if a running instance uses it."""
    if path_exists(path):
        return await on_disk_thread(quarantine, path)
    with Claims(lock_path(path), read_only=True) as claims:
        if claims.is_used_by_others():
            raise Fault(Cause.LEDGER, f"the ledger {path} is in use", "end the running instances first")
    return None


def _print_result(result: ImportResult) -> None:
    print(f"{result.completed} published performances entered")
    if result.copy is not None:
        print(f"the old manifest is kept as {result.copy}")
    for problem in result.problems[:_MAX_PROBLEMS_SHOWN]:
        print(f"could not be read: {problem}")
    if len(result.problems) > _MAX_PROBLEMS_SHOWN:
        print(f"and {len(result.problems) - _MAX_PROBLEMS_SHOWN} more that could not be read")
