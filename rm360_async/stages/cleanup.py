"""Cleanup: what becomes of the files in the spool."""

from __future__ import annotations

from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Kind
from rm360_async.download import spool
from rm360_async.pipeline.job import Job
from rm360_async.system.log import logger
from rm360_async.system.os_errors import os_errors

log = logger(__name__)


async def cleanup(job: Job, settings: Settings, *, published: bool) -> None:
    """Remove (published) or quarantine (failed) the job's files; one that cannot be moved is logged and stays.

    Of a published performance nothing is left in the spool, however its bytes had come before a kill; whether its
    whole files are removed or quarantined is `processing.delete_smc_after_extraction`.
    """
    temp_dir = settings.storage.temp_dir
    every_file = [path for kind in Kind for path in spool.files_of(temp_dir, job.performance, kind)]
    for path in every_file if published else list(job.spooled.values()):
        await _put_away(path, remove=published and settings.processing.delete_smc_after_extraction)
    job.spooled.clear()
    job.spooled_bytes = 0


async def _put_away(path: Path, *, remove: bool) -> None:
    try:
        with os_errors("remove", path):
            if await anyio.Path(path).exists():
                remove = remove or spool.is_unfinished(path)  # nobody can use a part of a file
                await run_sync(spool.remove if remove else spool.quarantine, path)
    except Fault as fault:
        log.warning(f"a downloaded file stays in the spool: {fault}", file=path.name)
