"""The nodes of a run on pretended hosts, with keys: the network is cut, and the shared file system has caches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hosts
import pytest
from cluster_processes import ClusterNode, coordinator, outcomes
from instance import barrier_at, wait_until, wait_until_reached
from test_cluster import assert_as_on_one_machine
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.cli.main import main

pytestmark = [pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing())), pytest.mark.slow]
NAMES = [f"e{number}" for number in range(6)]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[hosts.Hosts]:
    """Have three hosts, the first for the coordinator."""
    with hosts.pretended_hosts(3, tmp_path / "scratch") as found:
        yield found


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    """Return a workspace with some performances, and the keys of a cluster."""
    for name in NAMES:
        workspace.put(f"0018/0018_{name}_raw.smc", Tiny(part=name))
    assert main(["node", "--make-keys", str(workspace.root / "keys")]) == 0
    return workspace


def settings(workspace: Workspace, host: hosts.Host) -> dict[str, Any]:
    """Return what the coordinator's config has beside the scheduler file, and where it runs."""
    tls = {"cluster__listen": "tls://0.0.0.0:0", "cluster__tls": str(workspace.root / "keys")}
    return {**tls, "cluster__lost_after_seconds": 60, "prefix": host.enter}


def node(workspace: Workspace, host: hosts.Host, **more: Any) -> ClusterNode:
    """Start a node on a host; it has the name of the host, and its disk."""
    return ClusterNode(
        workspace, f"host{host.number}", "--temp-dir", str(workspace.root / "scratch/rm360"), prefix=host.enter, **more
    )


def test_a_host_that_is_cut_off_is_lost_and_joins_again(filled: Workspace, three: hosts.Hosts) -> None:
    first, second, third = three.hosts
    barrier, hook = barrier_at(filled, "sealed", "sealed", side="worker")
    with coordinator(filled, **settings(filled, first)) as run, node(filled, second, hooks=[hook]) as one:
        wait_until_reached(barrier)
        three.cut(second)
        barrier.touch()  # the extraction ends on a host that nothing can hear
        with node(filled, third) as two:
            wait_until(lambda: "node host1 is gone" in filled.log(), "the cut was noticed")
            three.reconnect(second)
            assert run.wait() == 0, run.output + filled.log() + one.output + two.output
        assert_as_on_one_machine(filled, NAMES, [])
    assert sum(outcomes(filled).values(), Counter())["completed"] == len(NAMES)


@pytest.mark.skipif(hosts.missing("sshfs") is not None, reason=str(hosts.missing("sshfs")))
@pytest.mark.parametrize("arguments", [(), ("--force",)])
def test_a_file_system_with_caches_and_without_atomic_renames(
    filled: Workspace, three: hosts.Hosts, arguments: tuple[str, ...]
) -> None:
    """sshfs refuses RENAME_NOREPLACE and RENAME_EXCHANGE, and lists what it has cached."""
    real, place = filled.root / "shared", filled.output
    real.mkdir()
    place.mkdir(parents=True)
    for host in three.hosts:
        host.mount_sshfs(real, place)
    first, second, third = three.hosts
    with node(filled, second) as one, node(filled, third) as two:
        for options in [(), arguments] if arguments else [()]:
            with coordinator(filled, *options, **settings(filled, first)) as run:
                assert run.wait() == 0, run.output + filled.log() + one.output + two.output
    place.rmdir()
    place.symlink_to(real)
    assert_as_on_one_machine(filled, NAMES, [], times=2 if arguments else 1)
