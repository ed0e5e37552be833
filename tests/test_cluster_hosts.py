"""The nodes of a run on pretended hosts, with keys: the network is cut, and the shared file system has caches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hosts
import pytest
from cluster_checks import NAMES, assert_as_on_one_machine, fill, published_folders
from cluster_processes import ClusterNode, coordinator
from instance import barrier_at, wait_until, wait_until_reached
from workspace import Workspace

from rm360_async.cli.main import main

pytestmark = [pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing())), pytest.mark.slow]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[hosts.Hosts[hosts.Host]]:
    """Have three hosts, the first for the coordinator."""
    with hosts.pretended_hosts(3, tmp_path / "scratch") as found:
        yield found


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    """Return a workspace with some performances, and the keys of a cluster."""
    fill(workspace)
    assert main(["node", "--make-keys", str(workspace.root / "keys")]) == 0
    return workspace


def settings(workspace: Workspace, host: hosts.Host) -> dict[str, Any]:
    """Return what the coordinator's config has beside the scheduler file, and where it runs."""
    tls = {"cluster__listen": "tls://0.0.0.0:0", "cluster__tls": str(workspace.root / "keys")}
    return {**tls, "prefix": host.enter}


def node(workspace: Workspace, host: hosts.Host, **more: Any) -> ClusterNode:
    """Start a node on a host; it has the name of the host, and its disk."""
    return ClusterNode(
        workspace, f"host{host.number}", "--temp-dir", str(workspace.root / "scratch/rm360"), prefix=host.enter, **more
    )


def test_a_host_that_is_cut_off_is_lost_and_changes_nothing_afterwards(
    filled: Workspace, three: hosts.Hosts[hosts.Host]
) -> None:
    first, second, third = three.hosts
    barrier, hook = barrier_at(filled, "sealed", "sealed", side="worker")
    with coordinator(filled, **settings(filled, first)) as run, node(filled, second, hooks=[hook]) as one:
        wait_until_reached(barrier)
        three.cut(second)
        barrier.touch()  # the extraction ends on a host that nothing can hear
        with node(filled, third) as two:
            wait_until(lambda: "node host1 is gone" in filled.log(), "the cut was noticed")
            assert run.wait() == 0, run.output + filled.log() + one.output + two.output
            before = published_folders(filled)
            three.reconnect(second)
            wait_until(lambda: "the run is gone" in one.output, "the node knows that it was given up")
            assert published_folders(filled) == before
        assert_as_on_one_machine(filled, NAMES, [])


@pytest.mark.skipif(hosts.missing("sshfs") is not None, reason=str(hosts.missing("sshfs")))
def test_a_file_system_with_caches_and_without_atomic_renames(
    filled: Workspace, three: hosts.Hosts[hosts.Host]
) -> None:
    """sshfs refuses RENAME_NOREPLACE and RENAME_EXCHANGE, and lists what it has cached; a ledger there is refused."""
    real, place = filled.root / "shared", filled.output
    real.mkdir()
    place.mkdir(parents=True)
    for host in three.hosts:
        host.mount_sshfs(real, place)
    first, second, third = three.hosts
    with node(filled, second) as one, node(filled, third) as two:
        ledger: dict[str, Any] = {"storage__manifest_path": str(place / "MANIFEST.csv")}
        with coordinator(filled, **settings(filled, first), **ledger) as run:
            assert run.wait() == 3
            assert not list(place.iterdir()), "nothing was written there"
            assert f"the ledger beside {place}/MANIFEST.csv is on fuse.sshfs" in run.output
        for options in ((), ("--force",)):
            with coordinator(filled, *options, **settings(filled, first)) as run:
                assert run.wait() == 0, run.output + filled.log() + one.output + two.output
    place.rmdir()
    place.symlink_to(real)
    assert_as_on_one_machine(filled, NAMES, [], times=2)
