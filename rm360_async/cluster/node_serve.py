"""Join a run with all parts of a node open, and work for it until one of both ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from rm360_async.cluster.dask_node import NodeLink
from rm360_async.cluster.leaving import Leaving
from rm360_async.cluster.node_facts import node_facts
from rm360_async.cluster.node_jobs import NodeJobs
from rm360_async.cluster.node_log import logged_to_file
from rm360_async.cluster.node_options import NodeOptions
from rm360_async.cluster.node_session import NodeSession
from rm360_async.cluster.node_settings import node_settings
from rm360_async.cluster.notes import NodeNotes
from rm360_async.cluster.values import Values
from rm360_async.config import Settings
from rm360_async.domain.errors import BadRequest, Cause, Fault
from rm360_async.download.accounts import MAX_DOWNLOADS
from rm360_async.extraction.worker_client import ExtractionWorkers
from rm360_async.stages.remotes import build_accounts, connect
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import logger

log = logger(__name__)


async def serve(link: NodeLink, options: NodeOptions, leaving: Leaving) -> None:
    """Join the run at the other end of the link, and work for it until one of both ends it.

    Raises Fault(NOT_WRITABLE) if the run refuses this node.
    """
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_when_closed, link, tasks)
        welcome = await _next(link, "welcome")
        async with _opened_session(link, options, welcome) as session:
            await session.work(leaving, tasks)
        tasks.cancel_scope.cancel()


async def _cancel_when_closed(link: NodeLink, tasks: TaskGroup) -> None:
    await link.wait_closed()
    tasks.cancel_scope.cancel()


async def _next(link: NodeLink, *kinds: str) -> Values:
    """Return the next message of some kinds."""
    while True:
        message = await link.messages.receive()
        if message["kind"] in kinds:
            return message


@asynccontextmanager
async def _opened_session(link: NodeLink, options: NodeOptions, welcome: Values) -> AsyncIterator[NodeSession]:
    """Join with all parts open: the process that extractions are forked from, connections, the budget."""
    try:
        settings = node_settings(welcome["settings"], options.temp_dir, options.downloads)
    except BadRequest as error:
        link.send({"kind": "join", "name": options.name, "problem": str(error)})
        await _next(link, "refused")
        raise Fault(Cause.NOT_WRITABLE, f"the run refused this node: {error}") from error
    remotes = await on_disk_thread(connect, settings)
    notes = NodeNotes(
        lambda *quota: link.send({"kind": "note", "quota": quota}),
        lambda *meta: link.send({"kind": "note", "meta": meta}),
    )
    accounts = build_accounts(settings, remotes)
    async with ExtractionWorkers() as workers:
        jobs = NodeJobs(settings, accounts, workers, notes)
        facts = await node_facts(settings, remotes, Path(welcome["nonce_path"]))
        if not facts["problem"]:
            facts["problem"] = await _probe(workers, jobs)
        name = await _join(link, options, settings, facts)
        session = NodeSession(link, jobs, accounts, settings)
        async with logged_to_file(settings, name), accounts.running(notes, session.count_nodes):
            try:
                yield session
            finally:
                await jobs.release_all()


async def _probe(workers: ExtractionWorkers, jobs: NodeJobs) -> str | None:
    try:
        await workers.probe(jobs.worker_limits)
    except Fault as fault:
        return str(fault)
    return None


async def _join(link: NodeLink, options: NodeOptions, settings: Settings, facts: dict[str, Any]) -> str:
    """Return the name that this node has in the run."""
    processing = settings.processing
    slots = processing.downloads or MAX_DOWNLOADS
    link.send({"kind": "join", "name": options.name, "slots": slots, "workers": processing.worker_count, **facts})
    answer = await _next(link, "accepted", "refused")
    if answer["kind"] == "refused":
        raise Fault(Cause.NOT_WRITABLE, f"the run refused this node: {answer['reason']}")
    log.info(f"joined as {answer['name']}: {slots} downloads, {processing.worker_count} extractions at once")
    return str(answer["name"])
