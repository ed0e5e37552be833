"""One run on several nodes, which are lost in every way: what is published is what one machine publishes, once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_checks import NAMES, assert_as_on_one_machine, fill
from cluster_processes import ClusterNode, coordinator, outcomes
from instance import barrier_at, wait_until, wait_until_reached
from small_disk import NoSmallDisk, SmallDisk
from tiny_smc import Tiny
from workspace import Workspace, overwrite


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    """Return a workspace with some performances on its remote."""
    return fill(workspace)


def test_two_nodes_do_what_one_machine_does(filled: Workspace) -> None:
    barrier, hook = barrier_at(filled, "opened", "part opened")
    with (
        coordinator(filled, processing__downloads=1) as run,
        ClusterNode(filled, "n1", hooks=[hook]) as one,
        ClusterNode(filled, "n2", hooks=[hook]) as two,
    ):
        one.wait_joined()
        two.wait_joined()
        barrier.touch()
        assert run.wait() == 0, run.output + filled.log() + one.output + two.output
        assert_as_on_one_machine(filled, NAMES, [one, two])
        assert sum(outcomes(filled).values(), Counter()) == {"completed": len(NAMES)}
    assert "node n1 has joined" in filled.log() and "node n2 has joined" in filled.log()
    for name in ("n1", "n2"):  # with a slot each, both get something
        assert "downloading 0018/0018_e" in (filled.root / "work" / "logs" / f"node-{name}.log").read_text()


def test_a_run_without_cluster_imports_nothing_of_dask(filled: Workspace) -> None:
    program = "import sys; from rm360_async.cli.main import main; code = main(sys.argv[1:]);"
    program += " sys.exit(code or any(name in sys.modules for name in ('dask', 'distributed', 'tornado')))"
    ended = subprocess.run([sys.executable, "-c", program, "run", str(filled.config())], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_an_idle_node_ends(workspace: Workspace) -> None:
    with ClusterNode(workspace, "n1", "--idle-minutes", "0.02") as node:
        assert node.wait() == 0
        assert "idle for 0.02 minutes" in node.output


def test_pairs_are_joined_through_nodes(workspace: Workspace) -> None:
    workspace.structure, workspace.subjects = "separate_anno_raw", "all"
    workspace.put("raw/0018/0018_e0_raw.smc", Tiny("0018", "e0", calibration=False))
    anno = Tiny("0018", "e0", images=False, masks=True, audio=False, anno=True)
    workspace.put("anno/0018/0018_e0_anno.smc", anno)
    with coordinator(workspace) as run, ClusterNode(workspace, "n1") as node:
        assert run.wait() == 0, run.output + workspace.log() + node.output
        assert_as_on_one_machine(workspace, ["e0"], [node])


@pytest.fixture
def small_disk(filled: Workspace) -> Iterator[SmallDisk]:
    """Give a disk of a megabyte."""
    try:
        with SmallDisk(filled, 2**20) as disk:
            yield disk
    except NoSmallDisk as reason:
        pytest.skip(str(reason))


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


def test_nodes_that_do_not_fit_are_refused_at_both_ends_and_the_others_work(filled: Workspace) -> None:
    """One has no disk, one lacks the remote, and another run may not have the nodes of this one."""
    empty = filled.root / "other.conf"
    empty.write_text("[another]\ntype = alias\nremote = /\n")
    with (
        coordinator(filled) as run,
        ClusterNode(filled, "n1", "--temp-dir", "$NO_SUCH_VARIABLE/x") as diskless,
        ClusterNode(filled, "n2", RCLONE_CONFIG=str(empty)) as cut_off,
    ):
        assert diskless.wait() == 3 and cut_off.wait() == 3
        sentence = (
            "no folder for downloads on this node: $NO_SUCH_VARIABLE/x has a variable that this node does not know"
        )
        assert sentence in diskless.output
        assert "lab" in cut_off.output and "the run refused this node" in cut_off.output
        wait_until(lambda: f"node n1 was refused: {sentence}" in filled.log(), "the run says it too")
        assert "node n2 was refused" in filled.log()
        with coordinator(filled) as other:
            assert other.wait() == 3 and "another run has the nodes of" in other.output
        with ClusterNode(filled, "n3") as node:
            assert run.wait() == 0, run.output + filled.log()
            assert_as_on_one_machine(filled, NAMES, [node])


@pytest.mark.long
def test_failing_retrying_completing_and_repairing_work_through_nodes(filled: Workspace) -> None:
    """By ranges one camera, then all; e2 is cut short at first, and a picture of e3 is damaged in the end."""
    by_ranges: dict[str, Any] = {"processing__fetch": "ranges"}
    first: dict[str, Any] = {**by_ranges, "extraction__cameras": ["25"]}
    whole = (filled.remote / "0018" / "0018_e2_raw.smc").read_bytes()
    filled.put("0018/0018_e2_raw.smc", whole[:40_000])
    with ClusterNode(filled, "n1") as one, ClusterNode(filled, "n2") as two:
        with coordinator(filled, **first) as run:
            assert run.wait() == 1, run.output + filled.log() + one.output + two.output
        assert filled.status_of("0018/e2") == "failed"
        filled.put("0018/0018_e2_raw.smc", whole)
        assert filled.command("retry") == 0
        with coordinator(filled, **by_ranges) as run:
            assert run.wait() == 0, run.output + filled.log() + one.output + two.output
        picture = next((filled.folder("0018/e3") / "images").rglob("*.jpg"))
        overwrite(picture, b"damaged")
        assert filled.command("verify", "--deep", "--repair") != 0
        with coordinator(filled, processing__fetch="whole") as run:
            assert run.wait() == 0, run.output + filled.log() + one.output + two.output
        times = {**dict.fromkeys(NAMES, 2), "e2": 1, "e3": 3}
        assert_as_on_one_machine(filled, NAMES, [one, two], times=times, steps=[first, by_ranges], charged=None)


@pytest.mark.long
def test_damaged_files_are_kept_on_their_node_within_bounds(filled: Workspace) -> None:
    for name in ("e1", "e2", "e3"):
        path = filled.remote / "0018" / f"0018_{name}_raw.smc"
        path.write_bytes(path.read_bytes()[:40_000])

    def kept(node: ClusterNode) -> list[str]:
        return sorted(path.name[:7] for path in (node.temp_dir / "kept").iterdir())

    with ClusterNode(filled, "n1") as node:
        with coordinator(filled, "--performance", "e1,e2") as run:
            assert run.wait() == 1, run.output + filled.log() + node.output
        wait_until(lambda: kept(node) == ["0018_e1", "0018_e2"], "both are kept")
        with coordinator(filled, "--performance", "e1,e2,e3", storage__keep_failed_gb=50_000 / 2**30) as run:
            assert run.wait() == 1, run.output + filled.log() + node.output
        wait_until(lambda: kept(node) == ["0018_e3"], "there is room for one")
