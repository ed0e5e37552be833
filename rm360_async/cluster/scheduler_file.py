"""The file in which nodes find a run: JSON, as Dask writes it, and the keys, or where these are."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio

from rm360_async import __version__
from rm360_async.cluster.key_files import Keys, require_keys, require_private
from rm360_async.domain.errors import Cause
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.files import write_atomically
from rm360_async.system.os_errors import os_errors


@dataclass(frozen=True)
class CoordinatorAddress:
    """Where a run listens for nodes, and the keys that it needs: in a folder, or those that it has made for itself."""

    addresses: tuple[str, ...]
    """Of each of its interfaces; a node takes the first that answers."""
    tls: Path | None
    own_keys: Keys | None = None

    @property
    def address(self) -> str:
        """Return the first address."""
        return self.addresses[0]

    def keys(self) -> Keys:
        """Return the keys. Raises Fault(NOT_WRITABLE) if they are missing, or others may have them."""
        return self.own_keys or require_keys(self.tls or Path())


def write_scheduler_file(path: Path, coordinator: CoordinatorAddress) -> None:
    """Write the file in one step; who may not read keys in it, may not read it. Raises Fault(NOT_WRITABLE)."""
    value: dict[str, object] = {"type": "Scheduler", "address": coordinator.address, "workers": {}}
    tls = None if coordinator.tls is None else str(coordinator.tls)
    value |= {"rm360": __version__, "addresses": coordinator.addresses, "tls": tls}
    if coordinator.own_keys is not None:
        value["keys"] = asdict(coordinator.own_keys)
    hint, is_private = "check cluster.scheduler_file", coordinator.own_keys is not None
    with os_errors("write", path, hint, Cause.NOT_WRITABLE):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(value).encode(), durable=False, private=is_private)


def read_scheduler_file(path: Path, tls: Path | None = None) -> CoordinatorAddress | None:
    """Return what the file says; None without a file, or for one that is not whole or another program's.

    `tls`: the keys are in that folder on this machine. Raises Fault(NOT_WRITABLE) for keys that others may know.
    """
    with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        value = json.loads(path.read_bytes())
        addresses, folder = tuple(map(str, value["addresses"])), tls or value["tls"]
        if folder:
            return CoordinatorAddress(addresses, Path(folder))
        require_private(path, "remove it; a run writes it again when it starts")
        return CoordinatorAddress(addresses, None, Keys(**value["keys"]))
    return None


def why_no_run(path: Path) -> str:
    """Return why `read_scheduler_file` finds no run, in a few words."""
    try:
        path.read_bytes()
    except FileNotFoundError:
        return "there is no such file" + ("" if path.parent.is_dir() else f", and no folder {path.parent}")
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return "it is not the scheduler_file of a run"


@asynccontextmanager
async def removed_at_end(path: Path, coordinator: CoordinatorAddress) -> AsyncIterator[None]:
    """Remove the file when the block ends, unless it is that of another run by then."""
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await on_disk_thread(_remove, path, coordinator)


def _remove(path: Path, coordinator: CoordinatorAddress) -> None:
    found = read_scheduler_file(path)
    if found is not None and found.addresses == coordinator.addresses:
        with suppress(OSError):
            path.unlink()
