"""Sixteen nodes in virtual time, which are killed, hang and wake up, are cut off, leave and come back."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import pytest
from simulation.cluster import TIGHT, Laws, play

from rm360_async.cluster import hung, losses, nodes, stages
from rm360_async.cluster.members import Member, open_slots
from rm360_async.cluster.node_lease import NodeLease
from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Performance
from rm360_async.pipeline.job import Job


@pytest.mark.parametrize("seed", range(4))
def test_the_laws_hold(seed: int) -> None:
    world = play(seed)
    assert not world.laws.broken.total(), {law: count for law, count in world.laws.broken.items() if count}
    assert sum(world.published.values()) == len(world.planned) - world.events["too large"]
    happens = ("killed", "hung", "cut off", "left", "fell silent", "stood still")
    assert min(world.events[what] for what in happens) > 0, world.events
    assert world.events["sealed after its loss"] > 0, "some nodes worked on after they were given up"


@pytest.mark.parametrize("seed", range(4))
def test_the_laws_hold_with_one_download_at_a_time_and_small_spools(seed: int) -> None:
    world = play(seed, TIGHT)
    assert not world.laws.broken.total(), {law: count for law, count in world.laws.broken.items() if count}
    assert sum(world.published.values()) == len(world.planned) - world.events["too large"]


def test_with_one_name_for_all_attempts_a_late_one_writes_where_another_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rm360_async.cluster.stages.secrets.token_hex", lambda size: "0" * 8)
    assert play(1).laws.broken[Laws.ONCE]


def test_a_loss_that_counts_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "MAX_LOSSES", 0)
    assert play(1).laws.broken[Laws.FREE]


def test_a_placement_by_free_slots_alone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_slots(_: Performance, members: Iterable[Member], now: float) -> tuple[Member | None, bool]:
        free = [member for member in members if member.is_open(now) and member.free_slots]
        return max(free, key=lambda member: member.free_slots, default=None), False

    monkeypatch.setattr(nodes, "choose_member", by_slots)
    assert play(1).laws.broken[Laws.KEPT]


def test_claims_ahead_of_slots_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages.ClusterStages, "_coming", lambda self: -3)
    assert play(1).laws.broken[Laws.SLOT]


def test_a_node_that_gets_nothing_beside_pending_work_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages.ClusterStages, "_coming", lambda self: 12)
    assert play(1).laws.broken[Laws.BUSY]


def test_a_slot_that_is_waited_for_by_what_holds_space_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = stages.ClusterStages.reserve

    async def wait_for_slot(self: stages.ClusterStages, job: Job) -> None:
        while isinstance(job.lease, NodeLease) and not job.lease.member.lost and not job.lease.member.free_slots:
            await anyio.sleep(1)
        if isinstance(job.lease, NodeLease) and job.lease.member.lost:
            await self.nodes.place(job)
        await real(self, job)

    monkeypatch.setattr(stages.ClusterStages, "reserve", wait_for_slot)
    assert any(play(seed, TIGHT).laws.broken[Laws.ENDS] for seed in range(4)), "both wait for ever"
    assert any(play(seed).laws.broken[Laws.OWNED] for seed in range(4)), "the slot on another node is nobody's"


def test_a_fault_that_counts_as_too_small_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = stages.ClusterStages._reserve_on

    async def any_fault(self: stages.ClusterStages, job: Job, lease: NodeLease) -> bool:
        try:
            return await real(self, job, lease)
        except Fault:
            lease.member.too_small_for.add(job.performance)
            raise

    monkeypatch.setattr(stages.ClusterStages, "_reserve_on", any_fault)
    assert play(1, TIGHT).laws.broken[Laws.SMALL]


def test_what_waits_for_a_large_node_and_counts_against_small_ones_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_all(self: nodes.Nodes) -> int:
        anywhere = sum(1 for is_for_one in self.waiting.values() if not is_for_one)
        return open_slots(self.members.values(), self._clock.monotonic()) - anywhere

    monkeypatch.setattr(nodes.Nodes, "open_slots", by_all)
    assert any(play(seed, TIGHT).laws.broken[Laws.BUSY] for seed in range(4))


def test_a_node_that_hangs_and_is_waited_for_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hung, "hung", lambda members, bounds, now: {})
    assert play(1).laws.broken[Laws.HUNG]
