"""Every way in which a run loses nodes, or what they need: nothing is lost, nothing is charged, little is repeated."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_checks import (
    NAMES,
    ON_DRIVE,
    assert_as_on_one_machine,
    assert_little_was_asked_again,
    charged_tries,
    performances_in,
    published_folders,
)
from cluster_processes import ClusterNode, coordinator, outcomes, scheduler_file
from drive_server import DriveServer
from instance import barrier_at, wait_until, wait_until_reached
from small_disk import NoSmallDisk, SmallDisk
from workspace import Workspace

from rm360_async.cli.main import main

pytestmark = pytest.mark.slow
SHORT_WAITS = json.dumps({"rm360_async.cluster.stages": {"_FULL_SECONDS": 1.0}})
KILL_AT_E0 = {"point": "extraction begun", "side": "worker", "match": "e0", "do": "kill_parent"}


@pytest.fixture
def server(drive_server: DriveServer, monkeypatch: pytest.MonkeyPatch) -> DriveServer:
    """Return the Drive emulator with some performances; waits of the coordinator are short."""
    drive_server.put(*NAMES)
    monkeypatch.setenv("RM360_FAULT_CONSTANTS", SHORT_WAITS)
    return drive_server


@pytest.fixture
def small_disk(server: DriveServer) -> Iterator[SmallDisk]:
    """Give a disk of two megabytes."""
    try:
        with SmallDisk(server.workspace, 2 * 2**20) as disk:
            yield disk
    except NoSmallDisk as reason:
        pytest.skip(str(reason))


def test_killed_nodes_cost_no_try_but_the_third_in_a_row_does(server: DriveServer) -> None:
    """Each of three nodes is killed by what e0 does to it; one that comes back uses what it has on its disk."""
    workspace = server.workspace
    with coordinator(workspace, **ON_DRIVE, processing__downloads=2) as run:
        lost = [ClusterNode(workspace, f"n{number}", hooks=[KILL_AT_E0]) for number in range(3)]
        for node in lost:
            node.process.wait(60)
        again = performances_in(*lost)
        with ClusterNode(workspace, "n0") as back:
            assert run.wait() == 0, run.output + workspace.log() + back.output
            assert_little_was_asked_again(server, again, 4)
            charged = dict.fromkeys(
                re.findall(r"3 nodes in a row were lost while they had (\S+): n", workspace.log()), 1
            )
            assert_as_on_one_machine(workspace, NAMES, [back], steps=[ON_DRIVE], charged=charged)
    assert "0018/e0" in charged, "others may have been there each time, too"
    assert outcomes(workspace)["0018/e0"] == {"pending": 2, "waiting": 1, "completed": 1}


@pytest.mark.parametrize(
    "arguments", [pytest.param((), id="completing", marks=pytest.mark.long), pytest.param(("--force",), id="force")]
)
def test_a_node_that_wakes_up_again_changes_nothing(server: DriveServer, arguments: tuple[str, ...]) -> None:
    """It had sealed what was to replace or to complete a published folder when it was stopped."""
    workspace = server.workspace
    first = {**ON_DRIVE, "extraction__cameras": "all" if arguments else ["25"]}
    assert workspace.run(**first) == 0
    server.drive.log.clear()
    barrier, hook = barrier_at(workspace, "sealed", "sealed", side="worker")
    with coordinator(workspace, *arguments, **ON_DRIVE) as run, ClusterNode(workspace, "n1", hooks=[hook]) as one:
        wait_until_reached(barrier)
        one.signal(signal.SIGSTOP)
        again = performances_in(one)
        barrier.touch()  # the extraction ends, and its node cannot report it
        with ClusterNode(workspace, "n2") as two:
            assert run.wait() == 0, run.output + workspace.log() + two.output
            assert "removed what a lost node was writing" in workspace.log()
            before = published_folders(workspace)
            one.signal(signal.SIGCONT)
            wait_until(lambda: "the run is gone" in one.output, "the node knows that it was given up")
            assert published_folders(workspace) == before
            assert_little_was_asked_again(server, again, 2)
            steps = [first, ON_DRIVE]
            assert_as_on_one_machine(workspace, NAMES, [two], times=2, steps=steps)


@pytest.mark.long
def test_nodes_that_are_to_leave_finish_what_they_extract(
    server: DriveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """One gets TERM, the other is drained; a third goes on."""
    workspace, file = server.workspace, str(scheduler_file(server.workspace))
    barrier, hook = barrier_at(workspace, "writes", "file list written", side="worker")
    with (
        coordinator(workspace, **ON_DRIVE, processing__downloads=1) as run,
        ClusterNode(workspace, "n1", hooks=[hook]) as one,
        ClusterNode(workspace, "n2", hooks=[hook]) as two,
    ):
        one.wait_joined()
        two.wait_joined()
        wait_until(lambda: not any(each["jobs"] < 1 for each in node_states(workspace, capsys)), "both have something")
        assert main(["node", "--scheduler-file", file, "--drain", "n7"]) == 2
        assert "no node is called n7; the nodes are: n1, n2" in capsys.readouterr().err
        assert main(["node", "--scheduler-file", file, "--drain", "n1"]) == 0
        assert "node n1 finishes" in capsys.readouterr().out
        wait_until(
            lambda: ("n1", "leaving") in [(each["name"], each["state"]) for each in node_states(workspace, capsys)],
            "status shows it",
        )
        two.signal(signal.SIGTERM)
        wait_until(lambda: "node n2 leaves" in workspace.log(), "the run knows that it leaves")
        barrier.touch()
        assert (one.wait(), two.wait()) == (0, 143)
        with ClusterNode(workspace, "n3") as three:
            assert run.wait() == 0, run.output + workspace.log() + three.output
            assert_little_was_asked_again(server, performances_in(one, two), 3)
            assert_as_on_one_machine(workspace, NAMES, [three], steps=[ON_DRIVE])
    assert "was lost" not in workspace.log()


def node_states(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the nodes as `status --json` lists them."""
    capsys.readouterr()
    assert workspace.command("status", "--json") == 0
    running = json.loads(capsys.readouterr().out)["running"]
    return [node for run in running for node in run["progress"].get("nodes", ())]


@pytest.mark.long
def test_a_coordinator_that_is_stopped_continues_with_what_its_nodes_have(server: DriveServer) -> None:
    workspace = server.workspace
    barrier, hook = barrier_at(workspace, "extracts", "sealed", side="worker")
    with (
        ClusterNode(workspace, "n1", hooks=[hook]) as one,
        ClusterNode(workspace, "n2", hooks=[hook]) as two,
    ):
        with coordinator(workspace, **ON_DRIVE, processing__grace_seconds=1) as run:
            wait_until_reached(barrier)
            run.signal(signal.SIGTERM)
            assert run.wait() == 143
        barrier.touch()
        wait_until(lambda: "the run is gone" in one.output and "the run is gone" in two.output, "both know it")
        assert any(name.endswith(".smc") for node in (one, two) for name in node.spooled), "something had arrived"
        with coordinator(workspace, **ON_DRIVE) as run:
            assert run.wait() == 0, run.output + workspace.log() + one.output + two.output
        assert_little_was_asked_again(server, (), 2)
        assert_as_on_one_machine(workspace, NAMES, [one, two], steps=[ON_DRIVE])


def test_a_coordinator_killed_at_each_step_of_its_own_continues(server: DriveServer) -> None:
    workspace, points = server.workspace, ("downloaded on a node", "ready to extract on a node", "extracted on a node")
    with ClusterNode(workspace, "n1") as one, ClusterNode(workspace, "n2") as two:
        for point in points:
            with coordinator(workspace, **ON_DRIVE, hooks=[{"point": point, "do": "kill"}]) as run:
                assert run.wait() == -signal.SIGKILL, run.output
            wait_until(lambda: one.knows_the_end and two.knows_the_end, "both know it")
        with coordinator(workspace, **ON_DRIVE) as run:
            assert run.wait() == 0, run.output + workspace.log() + one.output + two.output
        in_flight = [*NAMES] * len(points)  # at a kill: each is smaller than the buffer of a connection
        assert_little_was_asked_again(server, in_flight, 2 * (len(points) + 1))
        assert_as_on_one_machine(workspace, NAMES, [one, two], steps=[ON_DRIVE])


def test_nodes_on_which_all_fails_are_set_aside_and_not_the_performances(
    server: DriveServer, small_disk: SmallDisk
) -> None:
    """On one every extraction dies, the disk of the other has become read-only."""
    workspace = server.workspace
    dies = {"point": "source opened", "side": "worker", "do": "segv"}
    options = ["--temp-dir", str(small_disk.mount_point / "temp")]
    with (
        ClusterNode(workspace, "n1", hooks=[dies]) as one,
        ClusterNode(workspace, "n2", *options, prefix=small_disk.enter) as two,
        coordinator(workspace, **ON_DRIVE, processing__downloads=2, processing__retry_delay=0.2) as run,
    ):
        two.wait_joined()
        small_disk.make_read_only("temp")
        excluded = "node {} gets no jobs for a while"
        wait_until(lambda: excluded.format("n1") in workspace.log(), "n1 is excluded")
        wait_until(lambda: excluded.format("n2") in workspace.log(), "n2 is excluded")
        again = performances_in(one, two)
        with ClusterNode(workspace, "n3") as three:
            assert run.wait() == 0, run.output + workspace.log() + three.output
            assert_as_on_one_machine(workspace, NAMES, [three], steps=[ON_DRIVE], charged=None)
            assert_little_was_asked_again(server, [*again, *NAMES], 3)  # some were still on their way
    assert charged_tries(workspace).total() <= 2, "until it is known that it is the node"


def test_the_shared_disk_is_promised_once_and_may_be_full(server: DriveServer, small_disk: SmallDisk) -> None:
    """It has room for two performances, which every node sees; then it is full while two are extracted."""
    workspace = server.workspace
    output, ledger = small_disk.mount_point / "subjects", workspace.root / "work" / "MANIFEST.csv"
    settings = {**ON_DRIVE, "storage__output_dir": str(output), "storage__manifest_path": str(ledger)}
    settings |= {"storage__log_dir": str(workspace.root / "work" / "logs")}
    barrier, hook = barrier_at(workspace, "opened", "source opened", side="worker")
    small_disk.fill(leave=220_000)
    enter = small_disk.enter
    with (
        coordinator(workspace, **settings, cluster__workers=2, prefix=enter) as run,
        ClusterNode(workspace, "n1", hooks=[hook], prefix=enter) as one,
        ClusterNode(workspace, "n2", hooks=[hook], prefix=enter) as two,
    ):
        wait_until_reached(barrier)
        wait_until(lambda: "Insufficient storage space" in workspace.log(), "the others wait")
        time.sleep(1)
        assert len(performances_in(one, two)) == 2, "each node alone has seen space for two"
        small_disk.fill()
        barrier.touch()
        wait_until(lambda: workspace.log().count("Insufficient storage space") >= 2, "extractions wait, too")
        small_disk.remove_filler()
        freed = time.monotonic()
        assert run.wait() == 0, run.output + workspace.log() + one.output + two.output
        assert time.monotonic() - freed < 15
        workspace.output = small_disk.outside_path / "subjects"
        workspace.config(**{**settings, "storage__output_dir": str(workspace.output)})
        assert_little_was_asked_again(server, (), 2)
        assert_as_on_one_machine(workspace, NAMES, [one, two], steps=[ON_DRIVE])
    assert "gets no jobs for a while" not in workspace.log()


@pytest.mark.long
def test_a_node_whose_disk_is_full_gets_nothing_while_another_has_space(
    server: DriveServer, small_disk: SmallDisk
) -> None:
    workspace = server.workspace
    small_disk.fill(leave=20_000)
    options = ["--temp-dir", str(small_disk.mount_point / "temp")]
    with coordinator(workspace, **ON_DRIVE) as run, ClusterNode(workspace, "n1", *options, prefix=small_disk.enter):
        wait_until(lambda: "Insufficient storage space" in workspace.log(), "it waits for space")
        with ClusterNode(workspace, "n2") as two:
            assert run.wait() == 0, run.output + workspace.log() + two.output
            assert_little_was_asked_again(server, (), 2)
            assert_as_on_one_machine(workspace, NAMES, [two], steps=[ON_DRIVE])
    assert "node n1 gets no jobs for a while, because its disk is full" in workspace.log()
