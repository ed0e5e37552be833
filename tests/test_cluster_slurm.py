"""The nodes of a run as jobs of a real Slurm: crashed, preempted, out of time, cancelled, killed, without their run."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm
from cluster_checks import assert_as_on_one_machine
from cluster_processes import coordinator, outcomes
from instance import ROOT, Instance, wait_until
from recipes import command_of
from tiny_smc import Tiny
from workspace import Workspace

if reason := slurm.missing():
    pytest.skip(reason, allow_module_level=True)

pytestmark = pytest.mark.slow
NAMES = [f"e{number}" for number in range(10)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Have a Slurm of three nodes for one job each; its folder."""
    folder = tmp_path_factory.mktemp("slurm")
    with slurm.running_slurm(folder):
        yield folder


@pytest.fixture
def filled(workspace: Workspace, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """Return a workspace whose downloads take some seconds each; no job is left afterwards."""
    for name in NAMES:
        workspace.put(f"0018/0018_{name}_raw.smc", Tiny(part=name, filler=60_000))
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.setenv("VENV", sys.prefix)
    yield workspace
    slurm.output_of("scancel", "--user", "root")
    wait_until(lambda: not slurm.jobs(), "all jobs have ended")


def settings(workspace: Workspace) -> dict[str, Any]:
    """Return what the config of a run has beside the scheduler file."""
    return {"processing__downloads": 1, "cluster__temp_dir": f"{workspace.root}/disk-$SLURM_ARRAY_TASK_ID/temp"}


def submit(workspace: Workspace, *options: str) -> str:
    """Submit three nodes as README says; the config is that of the run that was started before. Returns the array."""
    command = shlex.split(command_of("Recipe 3", "scripts/slurm-nodes"))
    assert command[:4] == ["scripts/slurm-nodes", "lab.yaml", "--jobs", "8"]
    command[1:4] = [str(workspace.root / "config.yaml"), "--jobs", "3", *options]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout.strip()


def log_has(workspace: Workspace, *lines: str) -> bool:
    """Return True if the log of the run has all of them."""
    return all(line in workspace.log() for line in lines)


def joined(workspace: Workspace) -> int:
    """Return how often a node has joined."""
    return workspace.log().count("has joined")


def assert_right(workspace: Workspace) -> None:
    """All is as one machine leaves it, and no attempt was charged."""
    assert_as_on_one_machine(workspace, NAMES, [])
    ended = sum(outcomes(workspace).values(), Counter())
    assert not set(ended) - {"completed", "pending", "crashed"}, ended
    assert workspace.command("verify", "--deep") == 0


@pytest.mark.long
def test_nodes_that_slurm_takes_away_join_again_and_cost_no_try(
    filled: Workspace, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine crashes, the time of a job comes to its end, another is preempted; then one is cancelled."""
    monkeypatch.setenv("RCLONE_BWLIMIT", "60k")
    with coordinator(filled, **settings(filled)) as run:
        array = submit(filled)
        wait_until(lambda: joined(filled) == 3, "three nodes have joined")
        machines = {number: slurm.node_of(f"{array}_{number}") for number in (1, 2, 3)}
        slurm.output_of("scontrol", "update", f"jobid={array}_2", "timelimit=10")  # minutes: the signal is due now
        urgent = ["-p", "urgent", "-w", machines[3], "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1"]
        slurm.output_of("sbatch", *urgent)
        slurm.crash(cluster, machines[1])
        slurm.output_of("scontrol", "update", f"nodename={machines[1]}", "state=down", "reason=crash")
        wait_until(lambda: log_has(filled, f"node slurm-{array}-1 is gone"), "the crash was noticed")
        wait_until(lambda: log_has(filled, f"node slurm-{array}-3 leaves: SIGTERM"), "one was preempted")
        slurm.boot(cluster, machines[1])  # at once it would get the end of the job that it had
        _wait_for_joins(filled, run, 5)
        wait_until(lambda: log_has(filled, f"node slurm-{array}-2 leaves: SIGUSR1"), "the time limit was announced")
        slurm.output_of("scancel", f"{array}_3")
        monkeypatch.setenv("RCLONE_BWLIMIT", "off")
        submit(filled)  # what is left is done by more nodes, sooner
        assert run.wait() == 0, run.output + filled.log()
    assert filled.log().count("leaves: SIGTERM") == 2 and filled.log().count(" was lost while ") <= 1
    assert_right(filled)


def _wait_for_joins(workspace: Workspace, run: Instance, count: int) -> None:
    """Wait until nodes have joined so often; jobs that were queued again need not wait for Slurm's two minutes."""
    while joined(workspace) < count and run.process.poll() is None:
        slurm.start_waiting_jobs()
        time.sleep(0.5)


def test_no_job_outlives_its_run_and_a_killed_job_costs_no_try(
    filled: Workspace, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCLONE_BWLIMIT", "500k")
    with coordinator(filled, **settings(filled)) as run:
        submit(filled, "--idle-minutes", "0.1")
        wait_until(lambda: joined(filled) == 3, "three nodes have joined")
        run.signal(signal.SIGKILL)
        run.wait()
    wait_until(lambda: not slurm.jobs(), "the jobs have ended by themselves")
    logs = "".join(path.read_text() for path in Path(filled.root, "work", "logs", "slurm").glob("*.log"))
    assert logs.count("idle for 0.1 minutes") == 3
    with coordinator(filled, **settings(filled)) as run:
        array = submit(filled, "--idle-minutes", "0.3")
        wait_until(lambda: joined(filled) == 6, "three nodes have joined")
        slurm.kill_processes(cluster, slurm.node_of(f"{array}_1"))
        assert run.wait() == 0, run.output + filled.log()
    assert log_has(filled, f"node slurm-{array}-1 is gone")
    assert_right(filled)
