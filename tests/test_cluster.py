"""One run on several nodes, which are lost in every way: what is published is what one machine publishes, once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_checks import NAMES, assert_as_on_one_machine, fill
from cluster_processes import ClusterNode, coordinator, outcomes, scheduler_file
from drive_emulator import ROOT_ID, Rule
from drive_server import DriveServer
from instance import barrier_at, wait_until, wait_until_reached
from small_disk import NoSmallDisk, SmallDisk
from tiny_smc import Tiny
from workspace import Workspace, overwrite

from rm360_async.cli.main import main
from rm360_async.store.marker import MARKER

__all__ = ["assert_as_on_one_machine"]


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    """Return a workspace with some performances on its remote."""
    return fill(workspace)


def test_three_nodes_do_what_one_machine_does(filled: Workspace) -> None:
    with (
        coordinator(filled, processing__downloads=1) as run,
        ClusterNode(filled, "n1") as one,
        ClusterNode(filled, "n2") as two,
    ):
        assert run.wait() == 0, run.output + filled.log() + one.output + two.output
        assert_as_on_one_machine(filled, NAMES, [one, two])
        assert sum(outcomes(filled).values(), Counter()) == {"completed": len(NAMES)}
    assert "node n1 has joined" in filled.log() and "node n2 has joined" in filled.log()
    for name in ("n1", "n2"):  # with a slot each, both get something
        assert "downloading 0018/0018_e" in (filled.root / "work" / "logs" / f"node-{name}.log").read_text()


def test_a_killed_node_costs_no_try(filled: Workspace) -> None:
    barrier, hook = barrier_at(filled, "opened", "part opened")
    with coordinator(filled) as run, ClusterNode(filled, "n1", hooks=[hook]) as one:
        wait_until_reached(barrier)
        with ClusterNode(filled, "n2") as two:
            two.wait_joined()
            one.kill()
            assert run.wait() == 0, run.output + filled.log() + two.output
            assert_as_on_one_machine(filled, NAMES, [two])
    ended = sum(outcomes(filled).values(), Counter())
    assert ended["completed"] == len(NAMES) and set(ended) == {"completed", "pending"}, ended
    assert "node n1 was lost" in filled.log()


def published_folders(workspace: Workspace) -> dict[str, tuple[int, int]]:
    """Return inode and time of each published folder and of its marker."""
    folders = [marker.parent for marker in workspace.output.glob(f"*/[!.]*/{MARKER}")]
    found = [*folders, *(folder / MARKER for folder in folders)]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


@pytest.mark.parametrize("arguments", [(), ("--force",)])
def test_a_node_that_wakes_up_again_changes_nothing(filled: Workspace, arguments: tuple[str, ...]) -> None:
    if arguments:
        assert filled.run() == 0
    barrier, hook = barrier_at(filled, "sealed", "sealed", side="worker")
    with coordinator(filled, *arguments) as run, ClusterNode(filled, "n1", hooks=[hook]) as one:
        wait_until_reached(barrier)
        one.signal(signal.SIGSTOP)
        barrier.touch()  # the extraction ends, and its node cannot report it
        with ClusterNode(filled, "n2") as two:
            assert run.wait() == 0, run.output + filled.log() + two.output
            assert "removed what a lost node was writing" in filled.log()
            before = published_folders(filled)
            one.signal(signal.SIGCONT)
            wait_until(lambda: "the run is gone" in one.output, "the node knows that it was given up")
            assert published_folders(filled) == before
            assert_as_on_one_machine(filled, NAMES, [two], times=2 if arguments else 1)


def test_a_node_that_is_to_leave_finishes_its_extractions(filled: Workspace) -> None:
    barrier, hook = barrier_at(filled, "writes", "file list written", side="worker")
    with coordinator(filled) as run, ClusterNode(filled, "n1", hooks=[hook]) as one:
        wait_until_reached(barrier)
        with ClusterNode(filled, "n2") as two:
            two.wait_joined()
            one.signal(signal.SIGTERM)
            wait_until(lambda: "node n1 leaves" in filled.log(), "the run knows that it leaves")
            barrier.touch()
            assert one.wait() == 143
            assert run.wait() == 0, run.output + filled.log() + one.output + two.output
            assert_as_on_one_machine(filled, NAMES, [two])
    assert "was lost" not in filled.log()
    assert sum(outcomes(filled).values(), Counter())["completed"] == len(NAMES)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_coordinator_that_ends_continues_with_what_its_nodes_have(filled: Workspace, number: signal.Signals) -> None:
    barrier, hook = barrier_at(filled, "extracts", "sealed", side="worker")
    with ClusterNode(filled, "n1", hooks=[hook]) as one, ClusterNode(filled, "n2", hooks=[hook]) as two:
        with coordinator(filled, processing__grace_seconds=1) as run:
            wait_until_reached(barrier)
            run.signal(number)
            assert run.wait() == (-signal.SIGKILL if number == signal.SIGKILL else 143)
        barrier.touch()
        wait_until(lambda: "the run is gone" in one.output and "the run is gone" in two.output, "both know it")
        whole = [name for node in (one, two) for name in node.spooled if name.endswith(".smc")]
        marks = {node: len(node.output) for node in (one, two)}
        with coordinator(filled) as run:
            assert run.wait() == 0, run.output + filled.log() + one.output + two.output
        assert_as_on_one_machine(filled, NAMES, [one, two])
        assert whole, "something had arrived"
        again = "".join(node.output[mark:] for node, mark in marks.items())
        for name in whole:
            assert f"downloading 0018/{name.split('.')[0]}.smc" not in again, f"{name} was downloaded again"


def test_a_run_without_cluster_imports_nothing_of_dask(filled: Workspace) -> None:
    program = "import sys; from rm360_async.cli.main import main; code = main(sys.argv[1:]);"
    program += " sys.exit(code or any(name in sys.modules for name in ('dask', 'distributed', 'tornado')))"
    ended = subprocess.run([sys.executable, "-c", program, "run", str(filled.config())], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_a_node_without_a_disk_is_refused_at_both_ends(filled: Workspace) -> None:
    with coordinator(filled) as run, ClusterNode(filled, "n1", "--temp-dir", "$NO_SUCH_VARIABLE/x") as node:
        assert node.wait() == 3
        sentence = (
            "no folder for downloads on this node: $NO_SUCH_VARIABLE/x has a variable that this node does not know"
        )
        assert sentence in node.output
        wait_until(lambda: f"node n1 was refused: {sentence}" in filled.log(), "the run says it too")
        with ClusterNode(filled, "n2"):
            assert run.wait() == 0


def test_two_runs_do_not_share_their_nodes(filled: Workspace) -> None:
    with coordinator(filled) as run:
        wait_until(lambda: scheduler_file(filled).exists(), "the first run listens")
        with coordinator(filled) as other:
            assert other.wait() == 3 and "another run has the nodes of" in other.output
        with ClusterNode(filled, "n1"):
            assert run.wait() == 0


def test_an_idle_node_ends(workspace: Workspace) -> None:
    with ClusterNode(workspace, "n1", "--idle-minutes", "0.02") as node:
        assert node.wait() == 0
        assert "idle for 0.02 minutes" in node.output


@pytest.fixture
def filled_drive(drive_server: DriveServer) -> DriveServer:
    """Return the Drive emulator with some performances."""
    drive_server.put(*NAMES, filler=3000)
    return drive_server


def on_drive(**overrides: Any) -> dict[str, Any]:
    return {"google_drive__remote_name": "gdrive", "google_drive__root_folder_id": ROOT_ID, **overrides}


def test_a_limit_that_one_node_meets_silences_all_and_one_probes(filled_drive: DriveServer) -> None:
    workspace, drive = filled_drive.workspace, filled_drive.drive
    drive.rules.append(Rule("userRateLimitExceeded", skip=2, times=-1))
    settings = on_drive(processing__retry_delay=3, processing__downloads=1)
    with (
        coordinator(workspace, **settings) as run,
        ClusterNode(workspace, "n1") as one,
        ClusterNode(workspace, "n2") as two,
    ):
        wait_until(lambda: "asks for fewer requests" in workspace.log(), "a limit was met")
        time.sleep(6)
        drive.rules.clear()
        cleared = time.monotonic()
        assert run.wait() == 0, run.output + workspace.log() + one.output + two.output
    assert filled_drive.tries() == 0
    refused = [request for request in drive.log if request.op == "media" and request.status == 403]
    print(len(refused), cleared - refused[0].began, [round(r.began - refused[0].began, 1) for r in refused])
    assert len(refused) <= 12


def test_a_quota_that_one_node_meets_is_known_to_all(filled_drive: DriveServer) -> None:
    workspace, drive = filled_drive.workspace, filled_drive.drive
    drive.rules.append(Rule("downloadQuotaExceeded", path="*_e3_raw.smc"))
    with (
        coordinator(workspace, "--no-wait", **on_drive()) as run,
        ClusterNode(workspace, "n1"),
        ClusterNode(workspace, "n2"),
    ):
        assert run.wait() == 1, run.output + workspace.log()
    assert filled_drive.statuses() == {**dict.fromkeys(NAMES, "completed"), "e3": "waiting"}
    assert "quota of this file" in filled_drive.error_of("e3")
    asked = len(drive.media("*_e3_raw.smc"))
    with coordinator(workspace, "--no-wait", **on_drive()) as run, ClusterNode(workspace, "n3"):
        assert run.wait() == 1
    assert len(drive.media("*_e3_raw.smc")) == asked, "no node asks again"


def test_status_lists_the_nodes_and_a_drained_one_leaves(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    barrier, hook = barrier_at(filled, "writes", "file list written", side="worker")
    with coordinator(filled) as run, ClusterNode(filled, "n1", hooks=[hook]) as one, ClusterNode(filled, "n2") as two:
        two.wait_joined()
        wait_until_reached(barrier)
        file = str(scheduler_file(filled))
        assert main(["node", "--scheduler-file", file, "--drain", "n7"]) == 2
        assert "no node is called n7; the nodes are: n1, n2" in capsys.readouterr().err
        assert main(["node", "--scheduler-file", file, "--drain", "n1"]) == 0
        assert "node n1 finishes" in capsys.readouterr().out
        wait_until(lambda: _node_states(filled, capsys).get("n1") == "leaving", "status shows it")
        barrier.touch()
        assert one.wait() == 0
        assert run.wait() == 0, run.output + filled.log() + two.output
        assert_as_on_one_machine(filled, NAMES, [two])
    assert sum(outcomes(filled).values(), Counter()) == {"completed": len(NAMES)}, "a drained node finishes"


def _node_states(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    capsys.readouterr()
    assert workspace.command("status", "--json") == 0
    running = json.loads(capsys.readouterr().out)["running"]
    return {node["name"]: node["state"] for run in running for node in run["progress"].get("nodes", ())}


@pytest.mark.parametrize("fetch", ["whole", "ranges"])
def test_folders_are_completed_through_nodes(filled: Workspace, fetch: str) -> None:
    first: dict[str, Any] = {"extraction__cameras": ["25"], "processing__fetch": fetch}
    second: dict[str, Any] = {"processing__fetch": fetch}
    with ClusterNode(filled, "n1") as one, ClusterNode(filled, "n2") as two:
        for step in (first, second):
            with coordinator(filled, **step) as run:
                assert run.wait() == 0, run.output + filled.log() + one.output + two.output
        assert_as_on_one_machine(filled, NAMES, [one, two], times=2, steps=[first, second])


def test_pairs_are_joined_through_nodes(workspace: Workspace) -> None:
    workspace.structure, workspace.subjects = "separate_anno_raw", "all"
    workspace.put("raw/0018/0018_e0_raw.smc", Tiny("0018", "e0", calibration=False))
    anno = Tiny("0018", "e0", images=False, masks=True, audio=False, anno=True)
    workspace.put("anno/0018/0018_e0_anno.smc", anno)
    with coordinator(workspace) as run, ClusterNode(workspace, "n1") as node:
        assert run.wait() == 0, run.output + workspace.log() + node.output
        assert_as_on_one_machine(workspace, ["e0"], [node])


def test_a_damaged_file_fails_as_on_one_machine_and_can_be_retried(filled: Workspace) -> None:
    whole = (filled.remote / "0018" / "0018_e2_raw.smc").read_bytes()
    filled.put("0018/0018_e2_raw.smc", whole[:40_000])
    with ClusterNode(filled, "n1") as node:
        with coordinator(filled) as run:
            assert run.wait() == 1, run.output + filled.log() + node.output
        assert filled.status_of("0018/e2") == "failed"
        kept = [path.name for path in (node.temp_dir / "kept").iterdir()]
        assert len(kept) == 1 and kept[0].startswith("0018_e2_raw"), "the file is in the node's quarantine"
        filled.put("0018/0018_e2_raw.smc", whole)
        assert filled.command("retry") == 0
        with coordinator(filled) as run:
            assert run.wait() == 0, run.output + filled.log() + node.output
        assert {row["status"] for row in filled.manifest().values()} == {"completed"}


def test_a_node_that_cannot_reach_the_remote_is_refused_and_the_others_work(filled: Workspace) -> None:
    empty = filled.root / "other.conf"
    empty.write_text("[another]\ntype = alias\nremote = /\n")
    with coordinator(filled) as run, ClusterNode(filled, "n1", RCLONE_CONFIG=str(empty)) as broken:
        assert broken.wait() == 3
        assert "lab" in broken.output and "the run refused this node" in broken.output
        with ClusterNode(filled, "n2"):
            assert run.wait() == 0, run.output + filled.log()
    assert "node n1 was refused" in filled.log()


@pytest.fixture
def small_disk(filled: Workspace) -> Iterator[SmallDisk]:
    """Give a disk of a megabyte."""
    try:
        with SmallDisk(filled, 2**20) as disk:
            yield disk
    except NoSmallDisk as reason:
        pytest.skip(str(reason))


def test_a_node_whose_disk_is_full_gets_nothing_while_another_has_space(
    filled: Workspace, small_disk: SmallDisk
) -> None:
    small_disk.fill(leave=20_000)
    options = ["--temp-dir", str(small_disk.mount_point / "temp")]
    with coordinator(filled) as run, ClusterNode(filled, "n1", *options, prefix=small_disk.enter) as full:
        full.wait_joined()
        wait_until(lambda: "Insufficient storage space" in filled.log(), "it waits for space")
        with ClusterNode(filled, "n2") as two:
            assert run.wait() == 0, run.output + filled.log() + full.output + two.output
            assert_as_on_one_machine(filled, NAMES, [two])
    assert "node n1 gets no jobs for a while, because its disk is full" in filled.log()
    assert sum(outcomes(filled).values(), Counter()) == {"completed": len(NAMES)}


def test_what_is_too_large_for_one_node_goes_to_another(filled: Workspace, small_disk: SmallDisk) -> None:
    filled.put("0018/0018_e9_raw.smc", Tiny(part="e9", filler=300_000))
    barrier, hook = barrier_at(filled, "opened", "part opened")
    options = ["--temp-dir", str(small_disk.mount_point / "temp")]
    settings: dict[str, Any] = {"cluster__lost_after_seconds": 30}
    with coordinator(filled, **settings) as run, ClusterNode(filled, "n2", "--downloads", "1", hooks=[hook]) as large:
        wait_until_reached(barrier)  # with its only slot taken
        with ClusterNode(filled, "n1", *options, prefix=small_disk.enter) as small:
            wait_until(lambda: filled.log().count("published") == len(NAMES) - 1, "the small node has done the others")
            barrier.touch()
            assert run.wait() == 0, run.output + filled.log() + small.output + large.output
            assert "0018_e9" not in small.output and "0018_e9" in large.output
    assert {row["status"] for row in filled.manifest().values()} == {"completed"}


def test_a_damaged_folder_is_repaired_through_nodes(filled: Workspace) -> None:
    with ClusterNode(filled, "n1") as node:
        with coordinator(filled) as run:
            assert run.wait() == 0, run.output + filled.log() + node.output
        picture = next((filled.folder("0018/e3") / "images").rglob("*.jpg"))
        overwrite(picture, b"damaged")
        assert filled.command("verify", "--deep", "--repair") != 0
        with coordinator(filled) as run:
            assert run.wait() == 0, run.output + filled.log() + node.output
    assert picture.read_bytes() != b"damaged"
    assert filled.command("verify", "--deep") == 0
