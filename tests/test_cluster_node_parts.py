"""The parts of a node and of its coordinator, in this process: jobs that are released, notes, what Dask is told."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from workspace import Workspace

from rm360_async.cluster import node_facts as node_facts_module
from rm360_async.cluster.coordinator import _record_notes
from rm360_async.cluster.join import JoinCheck, own_versions
from rm360_async.cluster.node_facts import node_facts
from rm360_async.cluster.node_jobs import NodeJobs
from rm360_async.cluster.nodes import Nodes
from rm360_async.cluster.notes import NodeNotes
from rm360_async.cluster.values import PUBLISHED, Values, fault_values, outcome_values
from rm360_async.config import load_settings
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.download.accounts import Accounts
from rm360_async.extraction.worker_client import ExtractionWorkers
from rm360_async.ledger import Ledger
from rm360_async.pipeline.job import Job
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


# --- what a node does not see


async def test_a_node_that_does_not_see_the_root_folder_says_so_when_it_joins(workspace: Workspace) -> None:
    settings = load_settings(workspace.config())
    workspace.output.mkdir(parents=True)
    nonce = workspace.root / "nonce"
    nonce.write_text("abc")
    assert (await node_facts(settings, connect(settings), nonce))["problem"] is None
    workspace.remote.rename(workspace.root / "moved")
    problem = (await node_facts(settings, connect(settings), nonce))["problem"]
    assert problem.startswith("this machine does not see what the run does: opening lab"), problem
    assert "is shared with this account" in problem


async def test_a_remote_that_never_answers_is_waited_for_some_time(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        (workspace.root / "rclone.conf").write_text(f"[lab]\ntype = webdav\nurl = {url}\n")
        monkeypatch.setattr(node_facts_module, "_ROOT_SECONDS", 0.5)
        settings = load_settings(workspace.config())
        workspace.output.mkdir(parents=True)
        facts = await node_facts(settings, connect(settings), workspace.root / "nonce")
    assert "lab did not answer within 0 s" in facts["problem"]


class Cluster:
    """The nodes of a run, as their coordinator sees them: each download ends with the same fault."""

    def __init__(self, workspace: Workspace, fault: Fault, **slots: int) -> None:
        settings, self.fault = load_settings(workspace.config()), fault
        self.nodes = Nodes(JoinCheck(settings, workspace.root / "nonce", "abc"), lambda note: None, {})
        self.nodes.send = self._answer
        for name, number in slots.items():
            facts: Values = {"problem": None, "versions": own_versions(), "nonce": "abc", "nonce_problem": ""}
            facts |= {"name": name, "slots": number, "workers": 1, "host": name, "spooled": {}, "free_bytes": 1}
            self.nodes.received(name, {"kind": "join", "time": SYSTEM_CLOCK.now(), **facts})

    def _answer(self, address: str, message: Values) -> None:
        if message["kind"] == "step":
            outcome = {"fault": fault_values(self.fault), "job": outcome_values(Job(A)), "fetched_bytes": 0}
            self.nodes.received(address, {"kind": "outcome", "number": message["number"], **outcome})

    async def download(self, performance: Performance) -> tuple[str, Cause]:
        """Place a job, and have it downloaded; return on which node, and why it failed."""
        job = Job(performance)
        member = await self.nodes.place(job)
        try:
            await self.nodes.steps.perform(job, member, "download", {})
        except Fault as fault:
            return member.name, fault.cause
        finally:
            self.nodes.free_slot(member, performance)
        raise AssertionError


@pytest.mark.parametrize("cause", [Cause.NOT_FOUND, Cause.FORBIDDEN])
async def test_a_file_that_a_node_does_not_see_is_tried_on_others_and_then_given_up(
    workspace: Workspace, cause: Cause
) -> None:
    cluster = Cluster(workspace, Fault(cause, "0018/0018_e0_raw.smc is not on lab"), n1=9, n2=1, n3=2)
    assert [await cluster.download(A) for _ in range(3)] == [
        ("n1", Cause.NODE_UNFIT),
        ("n3", Cause.NODE_UNFIT),
        ("n2", cause),
    ]
    alone = Cluster(workspace, Fault(cause, "no"), n1=9)
    assert [await alone.download(A) for _ in range(3)] == [("n1", Cause.NODE_UNFIT)] * 2 + [("n1", cause)]


async def test_a_node_that_sees_none_of_several_files_gets_nothing_for_a_while(workspace: Workspace) -> None:
    cluster = Cluster(workspace, Fault(Cause.NOT_FOUND, "no"), n1=9, n2=1)
    names = [Performance("0018", f"e{number}") for number in range(4)]
    nodes = [(await cluster.download(each))[0] for each in names]
    assert nodes == ["n1", "n1", "n1", "n2"]
