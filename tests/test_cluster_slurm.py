"""The nodes of a run as jobs of a real Slurm: preempted, cancelled, out of time, and without their run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm
from cluster_processes import coordinator, outcomes
from instance import ROOT, wait_until
from test_cluster import assert_as_on_one_machine
from tiny_smc import Tiny
from workspace import Workspace

pytestmark = [
    pytest.mark.skipif(slurm.missing() is not None, reason=str(slurm.missing())),
    pytest.mark.xdist_group("slurm"),
    pytest.mark.slow,
]
NAMES = [f"e{number}" for number in range(9)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have a Slurm of three nodes of one core each."""
    with slurm.running_slurm(tmp_path_factory.mktemp("slurm")):
        yield


@pytest.fixture
def filled(workspace: Workspace, cluster: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """Return a workspace whose downloads take some seconds each; no job is left afterwards."""
    for name in NAMES:
        workspace.put(f"0018/0018_{name}_raw.smc", Tiny(part=name, filler=60_000))
    monkeypatch.setenv("RCLONE_BWLIMIT", "250k")
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.setenv("VENV", sys.prefix)
    yield workspace
    slurm.output_of("scancel", "--user", "root")
    wait_until(lambda: not jobs(), "all jobs have ended")


def settings(workspace: Workspace) -> dict[str, Any]:
    """Return what the config of a run has beside the scheduler file."""
    return {"processing__downloads": 1, "cluster__temp_dir": f"{workspace.root}/disk-$SLURM_ARRAY_TASK_ID/temp"}


def submit(workspace: Workspace, *options: str) -> None:
    """Submit three nodes; the config is that of the run that was started before."""
    command = [str(ROOT / "scripts" / "slurm-nodes"), str(workspace.root / "config.yaml"), "--jobs", "3", *options]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)


def jobs(state: str = "") -> list[str]:
    """Return the ids of the jobs that there are, of those in a state."""
    options = ["--states", state] if state else []
    return slurm.output_of("squeue", "-h", "--array", "-o", "%A", *options).split()


def joined(workspace: Workspace) -> int:
    """Return how often a node has joined."""
    return workspace.log().count("has joined")


def test_preempted_nodes_join_again_and_cost_no_try(filled: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCLONE_BWLIMIT", "60k")  # Slurm may take 17 s to preempt
    with coordinator(filled, **settings(filled)) as run:
        submit(filled, "--time=60")
        wait_until(lambda: joined(filled) == 3, "three nodes have joined")
        slurm.output_of("sbatch", "-p", "urgent", "-N3", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 3")
        wait_until(lambda: filled.log().count(" leaves: SIG") == 3, "all nodes were preempted")
        wait_until(lambda: jobs("PENDING"), "they are queued again")
        while joined(filled) < 4 and run.process.poll() is None:
            for job in jobs("PENDING"):  # Slurm waits for two minutes otherwise
                subprocess.run(["scontrol", "update", f"jobid={job}", "starttime=now"], check=False)
            time.sleep(0.5)
        assert run.wait() == 0, run.output + filled.log()
    assert "was lost" not in filled.log()
    assert_as_on_one_machine(filled, NAMES, [])


def test_a_cancelled_node_costs_no_try(filled: Workspace) -> None:
    with coordinator(filled, **settings(filled)) as run:
        submit(filled)
        wait_until(lambda: joined(filled) == 3, "three nodes have joined")
        slurm.output_of("scancel", "--signal=KILL", "--full", jobs()[0])
        assert run.wait() == 0, run.output + filled.log()
    assert "was lost" in filled.log() or "is gone" in filled.log()
    assert_as_on_one_machine(filled, NAMES, [])
    assert not any(set(counts) - {"completed", "pending"} for counts in outcomes(filled).values())


def test_no_job_outlives_its_run_by_more_than_its_idle_minutes(filled: Workspace) -> None:
    with coordinator(filled, **settings(filled)) as run:
        submit(filled, "--idle-minutes", "0.1")
        wait_until(lambda: joined(filled) == 3, "three nodes have joined")
        run.signal(signal.SIGKILL)
        run.wait()
    wait_until(lambda: not jobs(), "the jobs have ended by themselves")
    logs = "".join(path.read_text() for path in Path(filled.root, "work", "logs", "slurm").glob("*.log"))
    assert logs.count("idle for 0.1 minutes") == 3
