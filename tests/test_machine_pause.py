"""Children that cannot begin: the machine's fault, found before a download, or ended by a pause of the run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import Any

import pytest
from instance import Instance, RecordingRclone, wait_until
from test_run_crash import assert_settled, fill, outcomes
from workspace import Workspace

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.retry import MAX_THROTTLE_SECONDS, RetryPolicy, machine_pause
from rm360_async.pipeline.machine_pause import MachinePause

NOT_STARTED = Fault(Cause.NOT_STARTED, "a worker process ended with exit code 1: no memory, before it had begun")
NAMES = [Performance("0018", f"e{number}") for number in range(4)]


def test_a_worker_that_cannot_start_ends_the_run_before_anything_is_downloaded(workspace: Workspace) -> None:
    fill(workspace, 2)
    rclone = RecordingRclone(workspace)
    hook = {"point": "worker launched", "side": "worker", "do": "kill"}
    with Instance(workspace, hooks=[hook]) as run:
        assert run.wait() == 3
    assert rclone.downloads() == [] and "was killed by SIGKILL" in run.output and "rm360 doctor" in run.output
    assert {row["status"] for row in workspace.manifest().values()} <= {"pending"}
    with Instance(workspace) as run:
        assert run.wait() == 0


def test_a_first_worker_that_is_killed_ends_no_run(workspace: Workspace) -> None:
    """The kernel that lacks memory for a moment takes any process."""
    names = fill(workspace, 1)
    hook = {"point": "worker launched", "side": "worker", "do": "kill", "once": str(workspace.root / "once")}
    with Instance(workspace, hooks=[hook]) as run:
        assert run.wait() == 0
    assert "trying again: a worker process was killed by SIGKILL" in workspace.log()
    assert_settled(workspace, names)


def test_workers_that_die_before_they_begin_pause_the_run(workspace: Workspace) -> None:
    names = fill(workspace, 8)
    rclone = RecordingRclone(workspace)
    hook = {"point": "worker begins", "side": "worker", "match": "0018/", "do": "kill"}
    limits: dict[str, Any] = {"processing__downloads": 1, "processing__workers": 1, "processing__max_retries": 0}
    with Instance(workspace, hooks=[hook], **limits) as run:
        wait_until(lambda: "ERROR" in workspace.log(), "the pause")
        assert "paused: the processes of 3 performances in a row ended before they began" in workspace.log()
        downloaded = len(rclone.downloads())
        assert downloaded <= 3 + 2, "one more was downloaded already, and one under way"
        run.signal(signal.SIGTERM)
        assert run.wait() == 143
    assert len(rclone.downloads()) <= downloaded + 1
    assert {row["status"] for row in workspace.manifest().values()} <= {"pending", "waiting"}
    assert "failed" not in {end for ends in outcomes(workspace).values() for end in ends}
    with Instance(workspace, processing__max_retries=0) as run:
        assert run.wait() == 0
    assert_settled(workspace, names)


def test_a_limit_of_the_batch_system_below_the_workers_is_kept(workspace: Workspace) -> None:
    """Grid Engine's h_vmem is a hard limit of address space, which no process may raise."""
    names = fill(workspace, 1)
    with Instance(workspace, prefix=["prlimit", f"--as={3 * 2**30}"], processing__worker_memory_gb=64) as run:
        assert run.wait() == 0
    assert_settled(workspace, names)


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs root, to give up what it may do")
def test_an_oom_score_that_may_not_be_lowered_is_kept(workspace: Workspace) -> None:
    """Kubernetes gives its pods a score of up to 1000, and takes the right to lower it."""
    names = fill(workspace, 1)
    drop = "exec setpriv --inh-caps=-all --bounding-set=-all"
    refused = subprocess.run(
        ["sh", "-c", f"echo 1000 >/proc/self/oom_score_adj && {drop} sh -c 'echo 500 >/proc/self/oom_score_adj'"],
        capture_output=True,
        check=False,
    )
    if refused.returncode == 0:
        pytest.skip("this system lets anyone lower the score")
    prefix = ["sh", "-c", f'echo 1000 >/proc/self/oom_score_adj && {drop} "$@"', "sh"]
    with Instance(workspace, prefix=prefix) as run:
        assert run.wait() == 0
    assert_settled(workspace, names)


@pytest.mark.anyio
async def test_the_pause_ends_when_a_trial_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    shown: list[str] = []
    answers: list[Fault | None] = [NOT_STARTED, NOT_STARTED, None]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def probe() -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    monkeypatch.setattr("rm360_async.pipeline.machine_pause.anyio.sleep", sleep)
    pause = MachinePause(probe, shown.append, RetryPolicy())
    for name in NAMES[:3]:
        assert not pause.paused()
        pause.record_failure(name, NOT_STARTED)
    assert pause.paused() and "3 performances in a row" in shown[-1] and "no memory" in shown[-1]
    await pause.wait()
    assert not pause.paused() and shown[-1] == "" and answers == []
    assert slept == [machine_pause(0), machine_pause(1), machine_pause(2)]


def test_only_different_performances_in_a_row_pause() -> None:
    async def probe() -> None:
        return

    pause = MachinePause(probe, lambda trouble: None, RetryPolicy())
    for _ in range(5):
        pause.record_failure(NAMES[0], NOT_STARTED)
    assert not pause.paused(), "one performance alone may be the reason"
    pause.record_failure(NAMES[1], NOT_STARTED)
    pause.record_failure(NAMES[2], Fault(Cause.DAMAGED, "damaged"))
    pause.record_failure(NAMES[3], NOT_STARTED)
    assert not pause.paused(), "one that is damaged shows that workers begin"


def test_trials_grow_rarer_up_to_a_bound() -> None:
    pauses = [machine_pause(probes) for probes in range(100)]
    assert pauses == sorted(pauses) and pauses[0] == 60 and pauses[-1] == MAX_THROTTLE_SECONDS
