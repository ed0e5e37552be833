"""Jobs on their way to a node, without processes: the real placement and stages, nodes that answer as the test says."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from simulation.clock import START, SimulatedTime, VirtualLoop, run_virtually
from simulation.cluster import RECORD, NoCheck, OutputLease, SimulatedLog, SimulatedStages

from rm360_async.cluster import stages as cluster_stages
from rm360_async.cluster.members import Member
from rm360_async.cluster.nodes import Nodes
from rm360_async.cluster.values import Values, fault_values, outcome_values
from rm360_async.domain.clock import Clock
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.scheduler import Scheduler

A, B, C = (Performance("0018", name) for name in ("e0", "e1", "s1_all"))
NETWORK, TOO_LARGE = Fault(Cause.NETWORK, "reset"), Fault(Cause.TOO_LARGE, "needs 9 GB in temp_dir")


class Cluster:
    """A coordinator's nodes; `faults` and `silent` say how a node answers to a step, "" is any node."""

    def __init__(self, loop: VirtualLoop, *names: str) -> None:
        time = SimulatedTime(loop, START)
        self.loop, self.clock = loop, Clock(time.now, time.elapsed, lambda: 0.5)
        self.nodes = Nodes(cast(Any, NoCheck()), lambda note: None, {}, clock=self.clock)
        self.nodes.send = self._send
        self.faults: dict[tuple[str, str], Fault] = {}
        self.silent: set[tuple[str, str]] = set()
        self.numbers: dict[str, int] = {}
        """The number of the last step of each node."""
        log = SimulatedLog(cast(Any, SimpleNamespace(planned=[A, B, C])))
        nothing = dict.fromkeys(("downloader", "range_downloader", "budget", "worker_limits", "workers"))
        parts: dict[str, Any] = {"settings": None, "job_log": log, "clock": self.clock, **nothing}
        self.stages = SimulatedStages(**parts, nodes=self.nodes, scheduler=Scheduler(clock=self.clock))
        for name in names:
            self.join(name)

    def join(self, name: str, slots: int = 1) -> Member:
        facts = {"name": name, "slots": slots, "workers": 1, "host": "h", "spooled": {}, "free_bytes": 9}
        self.nodes.received(f"tcp://{name}", {"kind": "join", **facts})
        return self.member(name)

    def member(self, name: str) -> Member:
        return self.nodes.members[f"tcp://{name}"]

    def slots(self) -> dict[str, set[Performance]]:
        return {member.name: member.downloading for member in self.nodes.members.values()}

    def outcome(self, name: str, number: int, job: Job, fault: Fault | None = None, **more: Any) -> Values:
        values = {**outcome_values(job), "spooled_bytes": 5}
        fault_or_none = None if fault is None else fault_values(fault)
        return {
            "kind": "outcome", "number": number, "fault": fault_or_none, "job": values, "fetched_bytes": 0, **more,
        }  # fmt: skip

    def _send(self, address: str, message: Values) -> None:
        name = address.removeprefix("tcp://")
        if message["kind"] != "step":
            return
        self.numbers[name], step = message["number"], message["step"]
        if not {(name, step), ("", step)} & self.silent:
            fault = self.faults.get((name, step), self.faults.get(("", step)))
            outcome = self.outcome(name, message["number"], Job(A), fault, record=RECORD)
            self.loop.call_later(0.1, self.nodes.received, address, outcome)

    async def begun(self, performance: Performance) -> Job:
        """Return a job whose download has failed, which keeps its lease."""
        job = Job(performance, clock=self.clock)
        await self.stages.look_up_sources(job)
        await self.stages.reserve(job)
        self.faults["", "download"] = NETWORK
        with pytest.raises(Fault, match="reset"):
            await self.stages.download(job)
        assert job.holds_bytes
        return job


def in_virtual_time(test: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    ended = []

    async def main(loop: VirtualLoop) -> None:
        with anyio.fail_after(3600):
            await test(loop)
        ended.append(True)

    run_virtually(main, lambda: None)
    assert ended


def test_what_holds_space_does_not_wait_for_a_slot_that_waits_for_that_space() -> None:
    async def main(loop: VirtualLoop) -> None:
        cluster = Cluster(loop, "n1")
        holder, other = await cluster.begun(A), Job(B, clock=cluster.clock)
        cluster.silent.add(("n1", "reserve"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cluster.stages.reserve, other)
            await anyio.sleep(1)
            assert cluster.slots() == {"n1": {B}}
            cluster.silent.clear()
            with anyio.fail_after(60):
                await cluster.stages.reserve(holder)
            assert cluster.slots() == {"n1": {A, B}} and cluster.nodes.open_slots() == 0
            tasks.cancel_scope.cancel()

    in_virtual_time(main)


def test_a_holder_that_is_lost_leaves_no_slot_behind() -> None:
    async def main(loop: VirtualLoop) -> None:
        cluster = Cluster(loop, "n1", "n2")
        holder = await cluster.begun(A)
        lease = cast(Any, holder.lease)
        lease.member.downloading.add(B)
        cluster.silent.add(("", "reserve"))
        loop.call_later(5, cluster.nodes.removed, lease.member.address)
        with pytest.raises(Fault) as caught:
            await cluster.stages.reserve(holder)
        assert caught.value.cause is Cause.NODE_LOST
        assert list(cluster.slots().values()) == [set()] and lease.output.is_released

    in_virtual_time(main)


def test_only_a_node_that_says_so_is_too_small() -> None:
    async def main(loop: VirtualLoop) -> None:
        cluster = Cluster(loop, "n1")
        cluster.faults["n1", "reserve"] = NETWORK
        job = Job(A, clock=cluster.clock)
        with pytest.raises(Fault, match="reset"):
            await cluster.stages.reserve(job)
        assert not cluster.member("n1").too_small_for
        cluster.faults["n1", "reserve"] = TOO_LARGE
        with pytest.raises(Fault, match="9 GB"):
            await cluster.stages.reserve(job)
        cluster.join("n2")
        await cluster.stages.reserve(job)
        assert cluster.slots() == {"n1": set(), "n2": {A}}

    in_virtual_time(main)


def test_what_waits_for_the_large_node_leaves_the_small_ones_to_others() -> None:
    async def main(loop: VirtualLoop) -> None:
        cluster = Cluster(loop, "small", "large")
        cluster.member("small").too_small_for.add(A)
        cluster.member("large").downloading.add(B)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cluster.stages.nodes.place, Job(A, clock=cluster.clock))
            await anyio.sleep(5)
            assert cluster.nodes.open_slots() == 1
            assert not cluster.nodes.has_open_beside(cluster.member("large"), A)
            cluster.nodes.free_slot(cluster.member("large"), B)
            await anyio.sleep(1)
            assert cluster.slots() == {"small": set(), "large": {A}}
            tasks.cancel_scope.cancel()

    in_virtual_time(main)


def test_what_no_node_can_hold_any_more_is_too_large_and_without_nodes_it_waits() -> None:
    async def main(loop: VirtualLoop) -> None:
        cluster = Cluster(loop)
        with anyio.move_on_after(60) as waited:
            await cluster.nodes.place(Job(A, clock=cluster.clock))
        assert waited.cancelled_caught and not cluster.nodes.waiting
        cluster.join("small").too_small_for.add(A)
        cluster.join("large").downloading.add(B)
        loop.call_later(5, cluster.nodes.removed, "tcp://large")
        with anyio.fail_after(60), pytest.raises(Fault, match="no node has a temp_dir that can ever hold") as caught:
            await cluster.nodes.place(Job(A, clock=cluster.clock))
        assert caught.value.cause is Cause.TOO_LARGE and not cluster.nodes.waiting

    in_virtual_time(main)


@pytest.mark.parametrize("ends", ["fault", "cancellation"])
def test_an_end_while_the_reservation_is_made_returns_the_place(ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs: list[OutputLease] = []

    async def reservation(self: SimulatedStages, job: Job) -> Values:
        if ends == "fault":
            raise Fault(Cause.LEDGER, "disk I/O error")
        await anyio.sleep_forever()
        return {}

    async def promise(self: SimulatedStages, job: Job) -> OutputLease:
        outputs.append(OutputLease())
        return outputs[-1]

    monkeypatch.setattr(SimulatedStages, "_reservation", reservation)
    monkeypatch.setattr(SimulatedStages, "_promise_output", promise)

    async def main(loop: VirtualLoop) -> None:
        cluster = Cluster(loop, "n1")
        with anyio.move_on_after(5):
            with pytest.raises(Fault, match="disk I/O") if ends == "fault" else anyio.CancelScope():
                await cluster.stages.reserve(Job(A, clock=cluster.clock))
        assert cluster.slots() == {"n1": set()} and [each.is_released for each in outputs] == [True]

    in_virtual_time(main)


def test_a_ledger_that_cannot_be_written_before_a_download_returns_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: SimulatedLog, job: Job, spooled_bytes: int) -> None:
        raise Fault(Cause.DISK_FULL, "no space left")

    monkeypatch.setattr(SimulatedLog, "record_spooled", fail)

    async def main(loop: VirtualLoop) -> None:
        cluster = Cluster(loop, "n1")
        job = Job(A, clock=cluster.clock)
        await cluster.stages.reserve(job)
        with pytest.raises(Fault, match="no space left"):
            await cluster.stages.download(job)
        assert cluster.slots() == {"n1": set()}

    in_virtual_time(main)


def test_a_kept_lease_on_a_disk_that_is_full_is_given_up_for_another_node() -> None:
    async def main(loop: VirtualLoop) -> None:
        cluster = Cluster(loop, "n1")
        job = await cluster.begun(A)
        cluster.join("n2")
        cluster.silent.add(("n1", "reserve"))
        job.progress.lacks_disk = True
        await cluster.stages.reserve(job)
        assert cast(Any, job.lease).member.name == "n2" and cluster.slots() == {"n1": set(), "n2": {A}}
        assert cluster.clock.monotonic() < cluster_stages._FULL_EXCLUSION_SECONDS

    in_virtual_time(main)


def test_the_output_of_an_extraction_that_failed_is_promised_once() -> None:
    async def main(loop: VirtualLoop) -> None:
        cluster = Cluster(loop, "n1")
        job = await cluster.begun(A)
        cluster.silent.add(("n1", "extract"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_extract, cluster, job, [])
            await anyio.sleep(1)
            output, number = cast(Any, job.lease).output, cluster.numbers["n1"]
            cluster.nodes.received("tcp://n1", report(number, done_bytes=7, files=1))
            assert output.written == (7, 1)
            died = Fault(Cause.WORKER_DIED, "killed")
            cluster.nodes.received("tcp://n1", cluster.outcome("n1", number, job, died))
        assert output.written == (0, 0) and not output.is_released

    in_virtual_time(main)


def test_a_step_is_ended_by_its_own_node_alone() -> None:
    async def main(loop: VirtualLoop) -> None:
        cluster = Cluster(loop, "n1")
        job = await cluster.begun(A)
        cluster.join("n2")
        cluster.silent.add(("n1", "extract"))
        ended: list[Fault] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_extract, cluster, job, ended)
            await anyio.sleep(1)
            number, died = cluster.numbers["n1"], Fault(Cause.WORKER_DIED, "killed")
            cluster.nodes.received("tcp://n2", report(number, done_bytes=7, files=1))
            cluster.nodes.received("tcp://n2", cluster.outcome("n2", number, job, died))
            await anyio.sleep(1)
            assert not ended and job.progress.done_bytes == 0
            cluster.nodes.received("tcp://n1", cluster.outcome("n1", number, job, died))
        assert ended

    in_virtual_time(main)


def report(number: int, **progress: Any) -> Values:
    """Return the report of a node with one extraction."""
    step = {"number": number, "total_bytes": 9, "note": "", "lacks_disk": False, "writes_output": True, **progress}
    line = {"free_bytes": 1, "rate": 0.0, "has_room": True, "connections": 0, "held_back_by": ""}
    return {"kind": "progress", "steps": [{"fetched_bytes": 0, **step}], **line}


async def _extract(cluster: Cluster, job: Job, ended: list[Fault]) -> None:
    with pytest.raises(Fault, match="killed") as caught:
        await cluster.stages.extract(job)
    ended.append(caught.value)
