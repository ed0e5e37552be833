"""The ledger of a cluster's run lies on a disk of its own machine; needs no library."""

from __future__ import annotations

from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.mounts import file_system, is_network


def require_local_ledger(settings: Settings) -> None:
    """Raise Fault(NOT_WRITABLE) for the ledger of a cluster's run that is not on a disk of this machine."""
    path = settings.storage.manifest_path
    kind = file_system(path.parent)
    if settings.cluster.is_used and is_network(kind):
        message = f"the ledger beside {path} is on {kind}, where its locks cannot be relied on"
        raise Fault(Cause.NOT_WRITABLE, message, "set storage.manifest_path to a disk of this machine")
