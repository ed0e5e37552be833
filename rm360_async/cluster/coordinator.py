"""The coordinator's parts in `rm360 run`: opened for a run whose config has a `cluster:`."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from rm360_async.cluster.abandoned import remove_abandoned
from rm360_async.cluster.dask_coordinator import opened_link
from rm360_async.cluster.hung import bounds_of, end_hung
from rm360_async.cluster.join import nonce_file
from rm360_async.cluster.nodes import Nodes
from rm360_async.cluster.stages import ClusterStages
from rm360_async.cluster.values import Values
from rm360_async.domain.errors import Fault
from rm360_async.ledger import Ledger
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.stages.stages import Stages
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import logger

log = logger(__name__)
_NODES_KEY = "nodes"
"""Key of the ledger's metadata: the names of the nodes that the last run had."""


@asynccontextmanager
async def opened_cluster(stages: Stages, ledger: Ledger, scheduler: Scheduler) -> AsyncIterator[ClusterStages]:
    """Give the stages of a run whose nodes do the work, and listen for these while the block runs."""
    settings = stages.settings
    send, receive = anyio.create_memory_object_stream[Values](math.inf)
    async with nonce_file(settings) as check, send, receive:
        expected = json.loads(await ledger.hints.get_meta(_NODES_KEY) or "[]")
        nodes = Nodes(check, send.send_nowait, scheduler.ended, expected)
        async with opened_link(settings.cluster, nodes) as link, anyio.create_task_group() as tasks:
            nodes.send = link.send
            tasks.start_soon(_record_notes, receive, ledger)
            tasks.start_soon(end_hung, nodes, link.disconnect, bounds_of(settings))
            yield _cluster_stages(stages, nodes, scheduler)
            nodes.is_closing = True
            tasks.cancel_scope.cancel()
        await on_disk_thread(remove_abandoned, nodes.abandoned)


def _cluster_stages(stages: Stages, nodes: Nodes, scheduler: Scheduler) -> ClusterStages:
    parts: dict[str, Any] = dict(vars(stages))
    return ClusterStages(**parts, nodes=nodes, scheduler=scheduler)


async def _record_notes(notes: anyio.abc.ObjectReceiveStream[Values], ledger: Ledger) -> None:
    """Record what downloads on nodes have found out of the remote's files; what cannot be is dropped."""
    async for note in notes:
        try:
            await _record_note(note, ledger)
        except Fault as fault:  # costs a repeated request
            log.warning(f"cannot record what a node has found out: {fault}")
        except Exception:  # no node of this version sends such a note
            log.exception(f"dropped what a node has found out: {note}")


async def _record_note(note: Values, ledger: Ledger) -> None:
    if "quota" in note:
        remote, path, until = note["quota"]
        await ledger.hints.record_quota(str(remote), str(path), float(until))
    elif "nodes" in note:
        await ledger.hints.set_meta(_NODES_KEY, json.dumps(note["nodes"]))
    elif note["meta"][0].startswith("mismatch "):
        key, value = note["meta"]
        await ledger.hints.set_meta(str(key), str(value))
