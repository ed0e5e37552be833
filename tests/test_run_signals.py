"""A signal to every process of a job, as batch systems and systemd send it: nothing is failed or charged by it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from instance import Instance, RecordingRclone, barrier_at, command_lines, wait_until, wait_until_reached
from test_run_crash import LARGE, SLOW, assert_settled, fill, outcomes, published
from workspace import Workspace


def family(pid: int) -> list[int]:
    """Return the process and all its descendants, the youngest first."""
    children: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children += [int(child) for child in tasks.read_text().split()]
    return [*(each for child in children for each in family(child)), pid]


def signal_all(pid: int, number: signal.Signals, lead_seconds: float = 0.0) -> None:
    """Send a signal to all descendants of a process, and so much later to itself."""
    *descendants, own = family(pid)
    for each in descendants:
        with suppress(ProcessLookupError):
            os.kill(each, number)
    time.sleep(lead_seconds)
    os.kill(own, number)


@pytest.mark.parametrize("lead_seconds", [0.0, 0.2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_to_all_lets_the_extraction_end(workspace: Workspace, number: signal.Signals, lead_seconds: float) -> None:
    fill(workspace, 2)
    barrier, hook = barrier_at(workspace, "barrier", "sealing", side="worker", match="e0")
    limits: dict[str, Any] = {"processing__max_retries": 0, "processing__downloads": 1, "processing__workers": 1}
    with Instance(workspace, hooks=[hook], **limits) as run:
        wait_until_reached(barrier)
        signal_all(run.process.pid, number, lead_seconds)
        wait_until(lambda: "a second signal stops at once" in workspace.log(), "the signal answered")
        barrier.touch()
        assert run.wait() == 128 + number
    assert list(published(workspace)) == ["0018/e0"] and "ERROR" not in workspace.log()
    assert workspace.status_of("0018/e1") == "pending" and command_lines(workspace) == []


def test_one_while_folders_are_imported_leaves_the_manifest_as_it_is(workspace: Workspace) -> None:
    """A table of the folders that were imported so far would say that all others are gone."""
    fill(workspace, 1)
    images = workspace.folder("0018/e0") / "images" / "cam_25"
    images.mkdir(parents=True)
    (images / "frame_000000.jpg").write_bytes(b"earlier")
    (workspace.folder("0018/e0") / ".extraction_complete").write_text("2025-01-01 done\n")
    manifest = workspace.root / "work" / "MANIFEST.csv"
    manifest.write_text("of an earlier tool")
    barrier, hook = barrier_at(workspace, "barrier", "folders imported")
    with Instance(workspace, hooks=[hook]) as run:
        wait_until_reached(barrier)
        run.signal(signal.SIGTERM)
        barrier.touch()
        assert run.wait() == 143
    assert manifest.read_text() == "of an earlier tool"
    assert workspace.run() == 0
    assert workspace.status_of("0018/e0") == "completed"
    assert manifest.with_name("MANIFEST.csv.earlier").read_text() == "of an earlier tool"


@pytest.mark.parametrize("lead_seconds", [0.0, 0.2])
def test_one_to_all_charges_no_download(workspace: Workspace, lead_seconds: float) -> None:
    fill(workspace, 1)
    workspace.put("0018/0018_e1_raw.smc", LARGE)
    RecordingRclone(workspace)
    with Instance(workspace, environment=SLOW, processing__max_retries=0) as run:
        wait_until(lambda: workspace.present_bytes("e1"), "some bytes")
        signal_all(run.process.pid, signal.SIGTERM, lead_seconds)
        assert run.wait() == 143
    assert workspace.status_of("0018/e1") == "pending" and "ERROR" not in workspace.log()
    assert outcomes(workspace)["0018/e1"] == ["interrupted"]
    with Instance(workspace, processing__max_retries=0) as run:
        assert run.wait() == 0
    assert_settled(workspace, ["0018/e0", "0018/e1"])


def test_an_rclone_that_someone_ends_is_started_again(workspace: Workspace) -> None:
    fill(workspace, 1)
    workspace.put("0018/0018_e1_raw.smc", LARGE)
    rclone = RecordingRclone(workspace)
    with Instance(workspace, environment=SLOW, processing__retry_delay=0) as run:
        wait_until(lambda: workspace.present_bytes("e1"), "some bytes")
        for pid in family(run.process.pid):
            with suppress(OSError):
                if b"\0restic\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGTERM)
        wait_until(lambda: "rclone that serves a remote has ended" in workspace.log(), "the death")
        assert run.wait() == 0
    assert len(rclone.downloads("e1")) == 1 and outcomes(workspace)["0018/e1"] == ["completed"]
    assert_settled(workspace, ["0018/e0", "0018/e1"])
