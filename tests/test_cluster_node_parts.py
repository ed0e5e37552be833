"""The parts of a node and of its coordinator, in this process: jobs that are released, notes, what Dask is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from workspace import Workspace

from rm360_async.cluster.coordinator import _record_notes
from rm360_async.cluster.node_jobs import NodeJobs
from rm360_async.cluster.notes import NodeNotes
from rm360_async.cluster.values import PUBLISHED, Values
from rm360_async.config import load_settings
from rm360_async.domain.clock import Clock
from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance
from rm360_async.download.accounts import Accounts
from rm360_async.extraction.worker_client import ExtractionWorkers
from rm360_async.ledger import Ledger
from rm360_async.stages.remotes import connect, stall_policy_of

pytestmark = pytest.mark.anyio
A = Performance("0018", "e0")


def notes(noted: list[Any] | None = None) -> NodeNotes:
    taken = [] if noted is None else noted
    return NodeNotes(lambda *each: taken.append(each), lambda *each: taken.append(each), Clock(now=lambda: 100.0))


# --- jobs


async def test_a_step_that_waits_behind_a_release_begins_with_a_job_of_its_own(workspace: Workspace) -> None:
    settings = load_settings(workspace.config())
    accounts = Accounts(connect(settings), stall_policy_of(settings))
    jobs, message = NodeJobs(settings, accounts, ExtractionWorkers(), notes()), {"step": "?", "performance": str(A)}
    outcomes: list[Values] = []

    async def perform() -> None:
        outcomes.append(await jobs.perform(message))

    await perform()
    held = jobs._jobs[A]
    async with anyio.create_task_group() as tasks, held.lock:  # a step that is ending
        tasks.start_soon(jobs.release, A, PUBLISHED)
        tasks.start_soon(perform)
        tasks.start_soon(jobs.release, A)
        await anyio.wait_all_tasks_blocked()
    assert [Cause.from_code(each["fault"]["cause"]) for each in outcomes] == [Cause.UNKNOWN] * 2
    assert "has no step ?" in outcomes[1]["fault"]["message"]
    assert jobs._jobs.get(A) is not held


# --- notes


async def test_a_node_forgets_the_quotas_of_a_file_that_the_run_has_forgotten() -> None:
    noted: list[Any] = []
    memory = notes(noted)
    await memory.record_quota("lab", "a.smc", 200.0)
    await memory.record_quota("lab", "b.smc", 200.0)
    memory.fill_quotas(["a.smc", "c.smc"], [("lab", "c.smc", 300.0)])
    assert [await memory.quota_until("lab", f"{name}.smc") for name in "abc"] == [None, 200.0, 300.0]
    assert noted == [("lab", "a.smc", 200.0), ("lab", "b.smc", 200.0)]


@pytest.mark.parametrize(
    "odd", [{}, {"quota": ["lab"]}, {"quota": ["lab", "a", "soon"]}, {"meta": [1, 2]}, {"meta": ["mismatch a"]}]
)
async def test_an_odd_note_is_dropped_and_the_next_one_recorded(
    tmp_path: Path, odd: Values, caplog: pytest.LogCaptureFixture
) -> None:
    async with Ledger.open(tmp_path / "ledger.sqlite", now=lambda: 100.0) as ledger:
        send, receive = anyio.create_memory_object_stream[Values](10)
        async with send:
            send.send_nowait(odd)
            send.send_nowait({"quota": ["lab", "a.smc", 200]})
        async with receive:
            await _record_notes(receive, ledger)
        assert await ledger.hints.quotas() == {("lab", "a.smc"): 200.0}
