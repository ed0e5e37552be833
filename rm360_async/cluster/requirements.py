"""What a machine needs to work in a cluster: Dask, and for the run a ledger on a disk of its own; needs no library."""

from __future__ import annotations

from importlib.util import find_spec

from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.mounts import file_system, is_network

INSTALL = "pip install '.[cluster]' in the checkout"
"""What installs Dask."""


def has_dask() -> bool:
    """Return True if Dask.distributed is installed; does not import it."""
    return find_spec("distributed") is not None


def require_local_ledger(settings: Settings) -> None:
    """Raise Fault(NOT_WRITABLE) for the ledger of a cluster's run that is not on a disk of this machine."""
    path = settings.storage.manifest_path
    kind = file_system(path.parent)
    if settings.cluster.is_used and is_network(kind):
        message = f"the ledger beside {path} is on {kind}, where its locks cannot be relied on"
        raise Fault(Cause.NOT_WRITABLE, message, "set storage.manifest_path to a disk of this machine")
