"""The coordinator's end of the streams: Dask's scheduler in this process, of which nothing but membership is used."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any, Protocol

import anyio
import psutil
from distributed import Scheduler, SchedulerPlugin
from distributed.comm.addressing import parse_address, parse_host_port, unparse_address, unparse_host_port

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
from rm360_async.config.parsers import host_and_port
from rm360_async.config.settings import Cluster
from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.exception_groups import unwraps_faults
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
        address = self._scheduler.listeners[0].listen_address
        protocol, (host, port) = parse_address(address)[0], parse_host_port(address)
        listens_on = ipaddress.ip_address(host)
        hosts = _own_addresses(listens_on.version) if listens_on.is_unspecified else [host]
        return tuple(unparse_address(protocol, unparse_host_port(each, port)) for each in hosts)

    def send(self, address: str, message: Values) -> None:
        """Send a message to a node, in order; one that is gone gets nothing."""
        self._scheduler.worker_send(address, {"op": OPERATION, "text": json.dumps(message)})

    async def disconnect(self, address: str) -> None:
        """End the stream to a node, which joins again if it can; nothing happens if it is gone."""
        await self._scheduler.remove_worker(address, stimulus_id="hangs")


def _own_addresses(version: int) -> list[str]:
    """Return the addresses of this machine by which others reach it, or else that of loopback."""
    family, loopback = (AF_INET, "127.0.0.1") if version == 4 else (AF_INET6, "::1")
    found = [each.address for every in psutil.net_if_addrs().values() for each in every if each.family == family]
    others = [each for each in found if "%" not in each and not ipaddress.ip_address(each).is_loopback]
    return others or [loopback]  # one with % is that of a link, and has another name on each machine of it


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
        await _start(scheduler, cluster.listen)
        scheduler.add_plugin(_Watch(events))
        link = CoordinatorLink(scheduler)
        coordinator = CoordinatorAddress(link.addresses, cluster.tls, own_keys)
        await on_disk_thread(write_scheduler_file, cluster.scheduler_file, coordinator)
        where = " or ".join(link.addresses)
        log.info(f"nodes find this run at {where}: rm360 node --scheduler-file {cluster.scheduler_file}")
        async with removed_at_end(cluster.scheduler_file, coordinator), _fault_if_ended(scheduler):
            yield link
    finally:
        with anyio.move_on_after(10, shield=True):
            await scheduler.close()


async def _start(scheduler: Scheduler, listen: str) -> None:
    try:
        await scheduler
    except RuntimeError as error:  # what Dask makes of any failure
        if not isinstance(error.__cause__, OSError):
            raise
        hint = "another run may listen there; choose another port, or 0 for any"
        message = f"cannot listen on {listen}: {error.__cause__.strerror or error.__cause__}"
        raise Fault(Cause.NOT_WRITABLE, message, hint) from error


@asynccontextmanager
async def _fault_if_ended(scheduler: Scheduler) -> AsyncIterator[None]:
    """Raise Fault(UNKNOWN) if the scheduler ends before the block does: no node could reach the run any more."""

    async def watch() -> None:
        await scheduler.finished()
        hint = "start the run again, which continues; report it if it happens again"
        raise Fault(Cause.UNKNOWN, "Dask's scheduler has ended in the middle of the run", hint)

    with unwraps_faults():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            yield
            tasks.cancel_scope.cancel()


async def _require_unused(path: Path, tls: Path | None) -> None:
    """Raise Fault(NOT_WRITABLE) if another run uses the file: its nodes could not find it any more."""
    written = await on_disk_thread(read_scheduler_file, path, tls)
    if written is not None and await reachable(written) is not None:
        hint = "give each config a cluster.scheduler_file of its own"
        raise Fault(Cause.NOT_WRITABLE, f"another run has the nodes of {path}", hint)


def _new_scheduler(cluster: Cluster, keys: Keys) -> Scheduler:
    host, port = host_and_port(cluster.listen)
    return Scheduler(
        protocol="tls://",
        host=unparse_host_port(host),  # an IPv6 address is to be in brackets
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
