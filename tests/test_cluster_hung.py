"""Nodes that are there and do nothing any more: after which time, and what follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from simulation.clock import VirtualLoop
from test_cluster_config import settings_of
from test_cluster_placement import A, Cluster, in_virtual_time, report

from rm360_async.cluster.dask_coordinator import opened_link
from rm360_async.cluster.dask_node import connected
from rm360_async.cluster.hung import Bounds, bounds_of, end_hung
from rm360_async.cluster.scheduler_file import read_scheduler_file
from rm360_async.domain.errors import Cause, Fault
from rm360_async.pipeline.job import Job

BOUNDS = Bounds(silent=90, extraction=600)


class Ended:
    """The streams that were ended, with the second at which each was."""

    def __init__(self, cluster: Cluster) -> None:
        self.at: dict[str, float] = {}
        self._cluster = cluster

    async def disconnect(self, address: str) -> None:
        self.at[address] = self._cluster.clock.monotonic()


def test_the_bounds_are_those_of_the_config(tmp_path: Path) -> None:
    text = "processing: {extraction_minutes: 20}\ncluster: {scheduler_file: c.json, lost_after_seconds: 40}\n"
    assert bounds_of(settings_of(tmp_path, text)) == Bounds(silent=70, extraction=1800)


def test_a_node_that_reports_nothing_is_lost() -> None:
    async def main(loop: VirtualLoop) -> None:
        cluster = Cluster(loop, "mute", "well")
        ended = Ended(cluster)
        cluster.silent.add(("mute", "reserve"))
        cluster.member("well").downloading.add(A)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end_hung, cluster.nodes, ended.disconnect, BOUNDS, cluster.clock)
            tasks.start_soon(_report_on, cluster, "well")
            with pytest.raises(Fault, match="mute was lost") as caught:
                await cluster.stages.reserve(Job(A, clock=cluster.clock))
            tasks.cancel_scope.cancel()
        assert caught.value.cause is Cause.NODE_LOST and list(cluster.slots()) == ["well"]
        assert list(ended.at) == ["tcp://mute"] and 90 < ended.at["tcp://mute"] <= 95

    in_virtual_time(main)


@pytest.mark.parametrize("progresses", [False, True])
def test_a_node_whose_extraction_stands_still_is_lost_and_its_folder_given_up(progresses: bool) -> None:
    async def main(loop: VirtualLoop) -> None:
        cluster = Cluster(loop, "n1")
        ended, job = Ended(cluster), await cluster.begun(A)
        cluster.silent.add(("n1", "extract"))
        caught: list[Fault] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end_hung, cluster.nodes, ended.disconnect, BOUNDS, cluster.clock)
            tasks.start_soon(_extract, cluster, job, caught)
            await anyio.sleep(1)
            number = cluster.numbers["n1"]
            for second in range(1500):
                is_queued = second < 800
                done = second if progresses and not is_queued else 0
                values = report(number, done_bytes=done, files=0, writes_output=not is_queued)
                cluster.nodes.received("tcp://n1", values)
                await anyio.sleep(1)
            tasks.cancel_scope.cancel()
        if progresses:
            assert not ended.at and not cluster.nodes.abandoned
            return
        assert 1400 < ended.at["tcp://n1"] < 1420, "600 seconds after it had its turn"
        assert [fault.cause for fault in caught] == [Cause.NODE_LOST] and len(cluster.nodes.abandoned) == 1

    in_virtual_time(main)


def test_a_coordinator_that_was_stopped_itself_hears_the_nodes_first() -> None:
    async def main(loop: VirtualLoop) -> None:
        cluster = Cluster(loop, "n1")
        ended = Ended(cluster)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end_hung, cluster.nodes, ended.disconnect, BOUNDS, cluster.clock)
            tasks.start_soon(_report_on, cluster, "n1")
            await anyio.sleep(7)
            loop._jumping.seconds += 500
            await anyio.sleep(30)
            tasks.cancel_scope.cancel()
        assert not ended.at

    in_virtual_time(main)


def test_the_end_of_a_membership_reaches_the_node(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f"cluster: {{scheduler_file: {tmp_path}/c.json}}\n")
    removed: list[str] = []

    class Events:
        def __init__(self) -> None:
            self.addresses: list[str] = []

        def added(self, address: str) -> None:
            self.addresses.append(address)

        def removed(self, address: str) -> None:
            removed.append(address)

        def received(self, address: str, message: dict[str, Any]) -> None:
            return

        def drain(self, name: str) -> str:
            return ""

    async def main() -> None:
        events = Events()
        async with opened_link(settings.cluster, events) as link:
            address = read_scheduler_file(tmp_path / "c.json")
            assert address is not None
            async with connected(address) as node:
                with anyio.fail_after(10):
                    await link.disconnect(events.addresses[0])
                    await node.wait_closed()
            await link.disconnect(events.addresses[0])
        assert removed == events.addresses

    anyio.run(main)


async def _report_on(cluster: Cluster, name: str) -> None:
    while True:
        cluster.loop.call_later(0.1, cluster.nodes.received, f"tcp://{name}", {**report(0), "steps": []})
        await anyio.sleep(1)


async def _extract(cluster: Cluster, job: Job, caught: list[Fault]) -> None:
    try:
        await cluster.stages.extract(job)
    except Fault as fault:
        caught.append(fault)
