"""Sixteen nodes in virtual time, which are killed, hang and wake up, are cut off, leave and come back."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from simulation.cluster import Laws, play

from rm360_async.cluster import losses, nodes, stages
from rm360_async.cluster.members import Member
from rm360_async.domain.names import Performance


@pytest.mark.parametrize("seed", range(4))
def test_the_laws_hold(seed: int) -> None:
    world = play(seed)
    assert not world.laws.broken.total(), {law: count for law, count in world.laws.broken.items() if count}
    assert sum(world.published.values()) == len(world.planned)
    assert min(world.events[what] for what in ("killed", "hung", "cut off", "left")) > 0, world.events
    assert world.events["sealed after its loss"] > 0, "some nodes worked on after they were given up"


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
