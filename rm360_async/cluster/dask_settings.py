"""How Dask is used: without its tasks, dashboards and profiler, and always with keys."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import dask
from distributed.security import Security

from rm360_async.cluster.key_files import Keys

OPERATION = "rm360"
"""The operation of the streams that carries a message: JSON text, so that no message is ever a pickle."""
DRAIN = "rm360-drain"
LOOPBACK = "127.0.0.1:0"
_SETTINGS: dict[str, Any] = {
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.admin.event-loop": "asyncio",
    "distributed.comm.timeouts.connect": "10s",
    "distributed.comm.timeouts.tcp": "30s",
}


def configure_dask() -> None:
    """Set what this program needs of Dask, whatever the user's Dask configuration says: nothing of that is used.

    It could end the scheduler when that has no tasks, end a node after some time, or have either load other programs.
    """
    dask.config.refresh(paths=[], env={})
    dask.config.set(_SETTINGS)
    warnings.filterwarnings("ignore", "Couldn't detect a suitable IP address", RuntimeWarning)  # all are tried
    warnings.filterwarnings("ignore", "get_ipv6 is deprecated", FutureWarning)  # which Dask itself uses for [::]
    logging.getLogger("distributed").setLevel(logging.ERROR)  # what is worth a line, rm360 logs itself


def security_of(keys: Keys) -> Security:
    """Return the keys as Dask takes them, for mutual TLS: it reads nothing of anybody who does not have them."""
    names, parts = ("scheduler", "worker", "client"), (("cert", keys.certificate), ("key", keys.key))
    roles = {f"tls_{name}_{part}": value for name in names for part, value in parts}
    return Security(tls_ca_file=keys.authority, require_encryption=True, **roles)
