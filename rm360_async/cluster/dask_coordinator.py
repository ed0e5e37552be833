"""The coordinator's end of the streams: Dask's scheduler in this process, of which nothing but membership is used."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import AF_INET
from typing import Any, Protocol

import anyio
import psutil
from distributed import Scheduler, SchedulerPlugin

from rm360_async.cluster.dask_node import reachable
from rm360_async.cluster.dask_settings import DRAIN, LOOPBACK, OPERATION, configure_dask, security_of
from rm360_async.cluster.key_files import Keys, require_keys
from rm360_async.cluster.keys import new_keys
from rm360_async.cluster.scheduler_file import (
    CoordinatorAddress,
    read_scheduler_file,
    removed_at_end,
    write_scheduler_file,
)
from rm360_async.cluster.values import Values
from rm360_async.config.settings import Cluster
from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.log import logger

log = logger(__name__)
_HANDLERS = ("identity", "register-worker", "heartbeat_worker", "connection_stream", "unregister")
_STREAM_HANDLERS = ("worker-status-change", "keep-alive", "log-event")


class StreamEvents(Protocol):
    """What the coordinator does about its nodes; addresses are those of their streams."""

    def added(self, address: str) -> None:
        """Greet a node that has just connected."""

    def removed(self, address: str) -> None:
        """Note that a node is gone: its stream broke, or it was silent for too long."""

    def received(self, address: str, message: Values) -> None:
        """Take a message of a node."""

    def drain(self, name: str) -> str:
        """Have a node finish what it has, and leave; return a sentence, which begins with "error:" without such one."""


class CoordinatorLink:
    """The streams to all nodes."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the addresses that nodes may connect to: if it listens on all interfaces, that of each but loopback.

        Dask knows one, of the interface that leads to the internet, and that of loopback where none does.
        """
        protocol, host, port = _parts(self._scheduler.listeners[0].listen_address)
        if not ipaddress.ip_address(host).is_unspecified:
            return (f"{protocol}://{host}:{port}",)
        found = [each.address for every in psutil.net_if_addrs().values() for each in every if each.family == AF_INET]
        others = [address for address in found if not ipaddress.ip_address(address).is_loopback]
        return tuple(f"{protocol}://{address}:{port}" for address in others or ["127.0.0.1"])

    def send(self, address: str, message: Values) -> None:
        """Send a message to a node, in order; one that is gone gets nothing."""
        self._scheduler.worker_send(address, {"op": OPERATION, "text": json.dumps(message)})

    async def disconnect(self, address: str) -> None:
        """End the stream to a node, which joins again if it can; nothing happens if it is gone."""
        await self._scheduler.remove_worker(address, stimulus_id="hangs")


class _Watch(SchedulerPlugin):
    name = OPERATION

    def __init__(self, events: StreamEvents) -> None:
        self._events = events

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        self._events.added(worker)

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        self._events.removed(worker)


@asynccontextmanager
async def opened_link(cluster: Cluster, events: StreamEvents) -> AsyncIterator[CoordinatorLink]:
    """Listen for nodes while the block runs, and write the file in which they find this run."""
    assert cluster.scheduler_file is not None, "no cluster without a scheduler file"
    configure_dask()
    await _require_unused(cluster.scheduler_file, cluster.tls)
    own_keys = new_keys() if cluster.tls is None else None
    scheduler = _new_scheduler(cluster, own_keys or require_keys(cluster.tls or Path()))
    _restrict(scheduler, events)
    try:
        await scheduler
    except OSError as error:
        hint = "another run may listen there; choose another port, or 0 for any"
        raise Fault(Cause.NOT_WRITABLE, f"cannot listen on {cluster.listen}: {error}", hint) from error
    try:
        scheduler.add_plugin(_Watch(events))
        link = CoordinatorLink(scheduler)
        coordinator = CoordinatorAddress(link.addresses, cluster.tls, own_keys)
        write_scheduler_file(cluster.scheduler_file, coordinator)
        where = " or ".join(link.addresses)
        log.info(f"nodes find this run at {where}: rm360 node --scheduler-file {cluster.scheduler_file}")
        with removed_at_end(cluster.scheduler_file, coordinator):
            yield link
    finally:
        with anyio.move_on_after(10, shield=True):
            await scheduler.close()


async def _require_unused(path: Path, tls: Path | None) -> None:
    """Raise Fault(NOT_WRITABLE) if another run uses the file: its nodes could not find it any more."""
    written = read_scheduler_file(path, tls)
    if written is not None and await reachable(written) is not None:
        hint = "give each config a cluster.scheduler_file of its own"
        raise Fault(Cause.NOT_WRITABLE, f"another run has the nodes of {path}", hint)


def _parts(address: str) -> tuple[str, str, int]:
    """Return protocol, host and port of an address."""
    protocol, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    return protocol, host.strip("[]"), int(port)


def _new_scheduler(cluster: Cluster, keys: Keys) -> Scheduler:
    _, host, port = _parts(cluster.listen)
    return Scheduler(
        protocol="tls://",
        host=host,
        port=port,
        dashboard=False,
        dashboard_address=LOOPBACK,  # it serves HTTP all the same, on all interfaces by default
        security=security_of(keys),
        worker_ttl=cluster.lost_after_seconds,
    )


def _restrict(scheduler: Scheduler, events: StreamEvents) -> None:
    """Leave only the operations of membership: a client of Dask could have any function run."""

    def receive(worker: str, text: str) -> None:
        events.received(worker, json.loads(text))

    def drain(name: str) -> str:
        return events.drain(name)

    handlers = {name: each for name, each in scheduler.handlers.items() if name in _HANDLERS}
    scheduler.handlers = {**handlers, DRAIN: drain}
    kept = {name: each for name, each in scheduler.stream_handlers.items() if name in _STREAM_HANDLERS}
    scheduler.stream_handlers = {**kept, OPERATION: receive}
