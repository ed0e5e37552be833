"""A node's end of the stream: a worker of Dask that is given no tasks."""

from __future__ import annotations

import json
import math
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from distributed import Worker
from distributed.comm.addressing import get_address_host, get_address_host_port, unparse_host_port
from distributed.comm.core import CommClosedError, connect
from distributed.utils import get_ip

from rm360_async.cluster.dask_settings import DRAIN, LOOPBACK, OPERATION, configure_dask, security_of
from rm360_async.cluster.scheduler_file import CoordinatorAddress
from rm360_async.cluster.values import Values

_CONNECT_SECONDS = 5.0
_HANDLERS = ("identity", "connection_stream")
_STREAM_HANDLERS = ("close", "worker-status-change", "remove-worker")


class NodeLink:
    """The stream to the coordinator; `messages` are those that it sends."""

    def __init__(self, worker: Worker, messages: MemoryObjectReceiveStream[Values]) -> None:
        self._worker, self.messages = worker, messages

    def send(self, message: Values) -> None:
        """Send a message to the coordinator, in order; nothing happens once it is gone."""
        with suppress(CommClosedError):
            self._worker.batched_stream.send({"op": OPERATION, "text": json.dumps(message)})

    async def wait_closed(self) -> None:
        """Return once the coordinator is gone, or has removed this node."""
        await self._worker.finished()


async def reachable(coordinator: CoordinatorAddress) -> CoordinatorAddress | None:
    """Return the first address that answers; None if none does: the file of a run that was killed stays."""
    for address in coordinator.addresses:
        candidate = replace(coordinator, addresses=(address,))
        if await _answers(candidate):
            return candidate
    return None


async def _answers(coordinator: CoordinatorAddress) -> bool:
    configure_dask()
    arguments = security_of(coordinator.keys()).get_connection_args("worker")
    try:
        host, port = get_address_host_port(coordinator.address)
        with anyio.fail_after(_CONNECT_SECONDS):
            await (await anyio.connect_tcp(host, port)).aclose()  # Dask goes on asking a port that is closed
        comm = await connect(coordinator.address, timeout=_CONNECT_SECONDS, **arguments)
    except (OSError, TimeoutError, ValueError):  # the last one: of an address that is none
        return False
    await comm.close()
    return True


async def request_drain(coordinator: CoordinatorAddress, name: str) -> str:
    """Ask a run to let a node leave; return its answer. Raises OSError if it does not answer."""
    found = await reachable(coordinator)
    if found is None:
        raise OSError(f"nothing answers at {' or '.join(coordinator.addresses)}")
    coordinator = found
    arguments = security_of(coordinator.keys()).get_connection_args("client")
    comm = await connect(coordinator.address, timeout=_CONNECT_SECONDS, **arguments)
    try:
        await comm.write({"op": DRAIN, "name": name, "reply": True})
        return str(await comm.read())
    finally:
        await comm.close()


@asynccontextmanager
async def connected(coordinator: CoordinatorAddress) -> AsyncIterator[NodeLink]:
    """Be a member of the coordinator's cluster while the block runs. Raises OSError if it does not answer."""
    send, receive = anyio.create_memory_object_stream[Values](math.inf)
    with tempfile.TemporaryDirectory(prefix="rm360-node-") as scratch, send, receive:
        worker = _new_worker(coordinator, scratch)
        _restrict(worker, send)
        try:
            await _start(worker)
            yield NodeLink(worker, receive)
        finally:
            with anyio.move_on_after(10, shield=True):
                await worker.close(timeout=5, executor_wait=False, nanny=False)


async def _start(worker: Worker) -> None:
    try:
        with anyio.fail_after(4 * _CONNECT_SECONDS):
            await worker
    except (RuntimeError, ValueError) as error:  # what Dask makes of a coordinator that has just ended
        raise OSError(f"cannot join: {error}") from error


def _new_worker(coordinator: CoordinatorAddress, scratch: str) -> Worker:
    host = get_ip(get_address_host(coordinator.address))
    return Worker(
        coordinator.address,
        name=uuid.uuid4().hex,  # a node that comes back may not be gone yet for the coordinator
        nthreads=1,
        memory_limit=0,  # or Dask would pause at 80 % of the machine's memory
        host=unparse_host_port(host),  # by default all interfaces; an IPv6 address is to be in brackets
        local_directory=scratch,
        dashboard=False,
        dashboard_address=LOOPBACK,  # it serves HTTP all the same, on all interfaces by default
        security=security_of(coordinator.keys()),
    )


def _restrict(worker: Worker, messages: MemoryObjectSendStream[Values]) -> None:
    """Leave only the operations of membership: others would run any function."""

    def receive(text: str) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the session is over
            messages.send_nowait(json.loads(text))

    worker.handlers = {name: each for name, each in worker.handlers.items() if name in _HANDLERS}
    kept = {name: each for name, each in worker.stream_handlers.items() if name in _STREAM_HANDLERS}
    worker.stream_handlers = {**kept, OPERATION: receive}
