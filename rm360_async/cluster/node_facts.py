"""What a node reports of itself when it joins, and why it cannot."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import anyio

from rm360_async.budget import SystemDisk
from rm360_async.cluster.join import own_versions
from rm360_async.config import Settings
from rm360_async.domain.clock import SYSTEM_CLOCK
from rm360_async.domain.errors import Answer, Cause, Fault
from rm360_async.download import spool
from rm360_async.download.rclone import Remote
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.mounts import file_system, is_network
from rm360_async.system.os_errors import os_errors

_ROOT_SECONDS, _ROOT_PAUSE_SECONDS = 60.0, 5.0
"""How long a remote is waited for that does not answer, and between two questions."""


async def node_facts(settings: Settings, remotes: list[Remote], nonce_path: Path) -> dict[str, Any]:
    """Return the facts that `JoinCheck.refusal` looks at; `problem` is what this node knows by itself."""
    problem = None
    try:
        await on_disk_thread(_require_folders, settings)
        for remote in remotes:
            await remote.features()
            await _require_root(remote)
    except Fault as fault:
        problem = str(fault)
    return {
        "host": platform.node(),
        "pid": os.getpid(),
        "versions": own_versions(),
        "time": SYSTEM_CLOCK.now(),
        "problem": problem,
        **await on_disk_thread(_nonce, nonce_path),
        **await on_disk_thread(_spool, settings.storage.temp_dir),
    }


async def _require_root(remote: Remote) -> None:
    """Raise Fault if this machine does not see what the remote holds, e.g. because its login is not that of the run.

    What may pass is waited for, for some time. A limit of the account says nothing about this machine.
    """
    fault = Fault(Cause.UNREACHABLE, f"{remote} did not answer within {_ROOT_SECONDS:.0f} s")
    with anyio.move_on_after(_ROOT_SECONDS):
        while True:
            try:
                await remote.check()
                return
            except Fault as failure:
                fault = failure
            if fault.cause is Cause.RATE_LIMIT:
                return
            if fault.cause.answer is not Answer.BACK_OFF:
                break
            await anyio.sleep(_ROOT_PAUSE_SECONDS)
    raise Fault(fault.cause, f"this machine does not see what the run does: {fault.message}", fault.hint)


def _require_folders(settings: Settings) -> None:
    temp_dir, output_dir = settings.storage.temp_dir, settings.storage.output_dir
    with os_errors("create the folder", temp_dir, "check cluster.temp_dir", Cause.NOT_WRITABLE):
        temp_dir.mkdir(parents=True, exist_ok=True)
    kind = file_system(temp_dir)
    if is_network(kind):
        message = f"{temp_dir} is on {kind}, a network file system, where no downloads belong"
        raise Fault(Cause.NOT_WRITABLE, message, "give --temp-dir, a folder on a disk of this machine")
    if not os.access(output_dir, os.W_OK | os.X_OK):
        reason = "this user may not write in it" if output_dir.exists() else "there is none on this machine"
        raise Fault(
            Cause.NOT_WRITABLE, f"cannot write in output_dir {output_dir}: {reason}", "mount it, or fix its mode"
        )


def _nonce(path: Path) -> dict[str, str]:
    try:
        return {"nonce": path.read_text(), "nonce_problem": ""}
    except (OSError, ValueError) as error:
        return {"nonce": "", "nonce_problem": f"cannot be read: {getattr(error, 'strerror', None) or error}"}


def _spool(temp_dir: Path) -> dict[str, Any]:
    """Return what the spool has, by performance, and the free bytes of its disk."""
    spooled: dict[str, int] = {}
    free_bytes = 0
    if temp_dir.is_dir():
        free_bytes = SystemDisk().space(temp_dir).free_bytes
        for path in [*temp_dir.iterdir(), *(each.path for each in spool.quarantined(temp_dir))]:
            performance = spool.performance_of(path)
            if performance is not None and not path.name.endswith(".map"):
                spooled[str(performance)] = spooled.get(str(performance), 0) + spool.allocated_bytes(path)
    return {"spooled": spooled, "free_bytes": free_bytes}
