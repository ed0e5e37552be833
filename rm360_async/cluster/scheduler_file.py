"""The file in which nodes find a run: JSON, as Dask writes it, and where the keys are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rm360_async import __version__
from rm360_async.domain.errors import Cause
from rm360_async.system.files import write_atomically
from rm360_async.system.os_errors import os_errors


@dataclass(frozen=True)
class CoordinatorAddress:
    """Where a run listens for nodes, and the folder of the keys that it needs; None on the run's own machine."""

    addresses: tuple[str, ...]
    """Of each of its interfaces; a node takes the first that answers."""
    tls: Path | None

    @property
    def address(self) -> str:
        """Return the first address."""
        return self.addresses[0]


def write_scheduler_file(path: Path, coordinator: CoordinatorAddress) -> None:
    """Write the file in one step. Raises Fault(NOT_WRITABLE)."""
    value: dict[str, object] = {"type": "Scheduler", "address": coordinator.address, "workers": {}}
    tls = None if coordinator.tls is None else str(coordinator.tls)
    value |= {"rm360": __version__, "addresses": coordinator.addresses, "tls": tls}
    hint = "check cluster.scheduler_file"
    with os_errors("write", path, hint, Cause.NOT_WRITABLE):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(value).encode(), durable=False)


def read_scheduler_file(path: Path, tls: Path | None = None) -> CoordinatorAddress | None:
    """Return what the file says; None without a file, or for one that is not whole or another program's.

    `tls`: the keys are in that folder on this machine.
    """
    with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        value = json.loads(path.read_bytes())
        addresses, folder = tuple(map(str, value["addresses"])), tls or value["tls"]
        needs_keys = addresses[0].startswith("tls://")
        return CoordinatorAddress(addresses, Path(folder) if folder and needs_keys else None)
    return None


@contextmanager
def removed_at_end(path: Path, coordinator: CoordinatorAddress) -> Iterator[None]:
    """Remove the file when the block ends, unless it is that of another run by then."""
    try:
        yield
    finally:
        found = read_scheduler_file(path)
        if found is not None and found.addresses == coordinator.addresses:
            with suppress(OSError):
                path.unlink()
