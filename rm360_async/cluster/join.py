"""What is compared when a node joins: that it sees the same output folder, and runs the same program."""

from __future__ import annotations

import glob
import os
import platform
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio

from rm360_async import __version__
from rm360_async.cluster.node_settings import settings_values
from rm360_async.cluster.values import Values
from rm360_async.config import Settings
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.errors import Cause
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.files import create_file
from rm360_async.system.os_errors import os_errors

_MAX_CLOCK_SECONDS = 30.0
"""Quotas and waits are moments of the wall clock."""


def own_versions() -> dict[str, str]:
    """Return the versions that have to be the same on all machines."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"rm360": __version__, "Python": python, "distributed": version("distributed")}


@dataclass(frozen=True)
class JoinCheck:
    """What the coordinator sends to a new node, and compares its answer with."""

    settings: Settings
    nonce_path: Path
    nonce: str
    clock: Clock = SYSTEM_CLOCK

    def welcome(self) -> Values:
        """Return what a node needs to know before it can join."""
        return {"settings": settings_values(self.settings), "nonce_path": str(self.nonce_path)}

    def refusal(self, facts: dict[str, Any]) -> str | None:
        """Return why a node may not join, in a sentence; None if it may."""
        if facts["problem"]:
            return str(facts["problem"])
        own, other = own_versions(), facts["versions"]
        names = [name for name in own if own[name] != other.get(name)]
        if names:
            different = ", ".join(f"{name} {other.get(name)} there, {own[name]} here" for name in names)
            return f"its versions differ: {different}; install the same on all machines"
        if facts["nonce"] != self.nonce:
            return (
                f"{self.settings.storage.output_dir} is not the folder that the run writes to: {self.nonce_path.name}"
                f" {facts['nonce_problem'] or 'has another content'}; mount the same file system on all machines"
            )
        seconds = abs(facts["time"] - self.clock.now())
        if seconds > _MAX_CLOCK_SECONDS:
            return f"its clock differs by {seconds:.0f} s; run an NTP service on all machines"
        return None


@asynccontextmanager
async def nonce_file(settings: Settings) -> AsyncIterator[JoinCheck]:
    """Have a file with a secret in the output folder while the block runs. Raises Fault(NOT_WRITABLE)."""
    nonce = secrets.token_hex(16)
    path = await on_disk_thread(_write_nonce, settings.storage.output_dir, nonce)
    try:
        yield JoinCheck(settings, path, nonce)
    finally:
        with anyio.CancelScope(shield=True), suppress(OSError):
            await on_disk_thread(path.unlink)


def _write_nonce(folder: Path, nonce: str) -> Path:
    own = f".rm360-run-{platform.node()}"
    # a name that no node has asked for, so that none knows it absent
    path = folder / f"{own}-{os.getpid()}-{nonce[:8]}"
    with os_errors("write", path, "check storage.output_dir", Cause.NOT_WRITABLE):
        for left in folder.glob(f"{glob.escape(own)}-*"):
            if not _is_running(left.name):
                left.unlink(missing_ok=True)
        create_file(path, nonce.encode())
    return path


def _is_running(name: str) -> bool:
    """Return True if the process of this machine lives that has made the file of this name."""
    number = name.split("-")[-2]
    return number.isdecimal() and Path("/proc", number).exists()
