"""The shell of a run: words, progress, summary, metrics, notifications, the unit."""

from __future__ import annotations

import asyncio
import io
import re
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from instance import Instance, barrier_at, wait_until_reached
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.budget import Budget
from rm360_async.commands import status
from rm360_async.domain.clock import Clock
from rm360_async.domain.errors import Cause
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.formatting import duration_text, size_text, time_text
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.pipeline.job import StageProgress
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.service.console import render
from rm360_async.service.end_summary import exit_code
from rm360_async.service.metrics import Metrics
from rm360_async.service.progress import Progress
from rm360_async.service.snapshot import Snapshot, bar_text

ROOT = Path(__file__).resolve().parent.parent
TERM = ExitCode.TERMINATED
A, B, C, D = (Performance("0018", f"e{number}") for number in range(4))


def test_sizes_and_durations_are_readable() -> None:
    assert [size_text(n) for n in (0, 999, 2048, 5.97 * 2**30, 1010 * 2**30)] == [
        "0 B", "999 B", "2 KB", "5.97 GB", "1010 GB",
    ]  # fmt: skip
    assert [duration_text(n) for n in (5, 600, 12_000, 200_000, float("inf"))] == [
        "5 s", "10 min", "3 h 20 min", "2 d 8 h", "unknown",
    ]  # fmt: skip


def test_an_end_that_no_calendar_holds_is_unknown() -> None:
    assert [time_text(moment) for moment in (1.2e14, float("inf"), float("nan"))] == ["unknown"] * 3


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def progress(tmp_path: Path) -> tuple[Progress, Time, list[int]]:
    """A run of four: A done, B downloading half of 1000 bytes, C pending, D waiting."""
    scheduler = Scheduler()
    scheduler.update(A, PlannedState(Stage.COMPLETED))
    scheduler.update(B, PlannedState(Stage.PENDING))
    job = asyncio.run(scheduler.next_job())
    assert job is not None
    job.progress = StageProgress(90.0, done_bytes=500, total_bytes=1000)
    job.fetched_bytes = 500
    scheduler.update(C, PlannedState(Stage.PENDING))
    scheduler.update(D, PlannedState(Stage.WAITING, Cause.FILE_QUOTA, "", time.time() + 3600))
    fetched, clock = [0], Time()
    sizes = dict.fromkeys((A, B, C, D), 1000)
    budget = Budget(tmp_path, tmp_path, 1, 0)
    return Progress(scheduler, sizes, budget, lambda: fetched[0], Clock(monotonic=clock)), clock, fetched


def test_a_snapshot_counts_bytes_and_expects_an_end(progress: tuple[Progress, Time, list[int]]) -> None:
    looker, clock, fetched = progress
    assert looker.snapshot().expected_end is None
    clock.now, fetched[0] = 110.0, 500
    snapshot = looker.snapshot()
    assert (snapshot.planned, snapshot.completed, snapshot.pending, snapshot.waiting) == (4, 1, 1, 1)
    assert (snapshot.left, snapshot.rate, snapshot.fetched) == (2500, 50.0, 500)
    assert snapshot.expected_end is not None and snapshot.expected_end > time.time() + 3000, "the quota is waited for"
    assert Snapshot.from_dict(snapshot.as_dict()) == snapshot
    (line,) = snapshot.in_hand
    assert bar_text(line).startswith("50 %, 500 B of 1000 B, ")


def test_the_live_picture_shows_each_one_in_hand(progress: tuple[Progress, Time, list[int]]) -> None:
    console = Console(record=True, width=140, file=open("/dev/null", "w"))  # noqa: SIM115 (the console's)
    console.print(render(progress[0].snapshot()))
    text = console.export_text()
    console.file.close()
    assert "0018/e1" in text and "downloading" in text and "1 of 4 completed, 1 waiting" in text


def test_a_snapshot_says_first_what_is_wrong(progress: tuple[Progress, Time, list[int]]) -> None:
    """`line` is what the log, `rm360 status` and systemd's status line show."""
    progress[0].scheduler.pause(60, "asking again: the remote does not accept this login")
    snapshot = progress[0].snapshot()
    assert snapshot.line().startswith("asking again: the remote does not accept this login, 1 of 4 completed")
    assert Snapshot.before_plan(1.0, "cannot start yet").line() == "cannot start yet"
    of_earlier_version = {key: value for key, value in snapshot.as_dict().items() if key != "trouble"}
    assert Snapshot.from_dict(of_earlier_version).trouble == ""


def test_metrics_are_a_file_that_prometheus_reads(progress: tuple[Progress, Time, list[int]], tmp_path: Path) -> None:
    path = tmp_path / "rm360.prom"
    Metrics(path).write(progress[0].snapshot())
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }
    assert samples["rm360_performances", "completed"] == 1 and samples["rm360_in_hand", "downloading"] == 1
    assert samples[("rm360_left_bytes",)] == 2500
    assert list(tmp_path.glob("*.prom*")) == [path]


@pytest.mark.parametrize(
    ("stages", "remarks", "stop_code", "code"),
    [
        ([Stage.COMPLETED, Stage.COMPLETED], [], None, 0),
        ([Stage.COMPLETED, Stage.FAILED], [], None, 1),
        ([Stage.DOWNLOAD_FAILED, Stage.FAILED], [], TERM, 1),
        ([Stage.COMPLETED, Stage.PENDING], [], None, 1),
        ([Stage.COMPLETED, Stage.PENDING], [], TERM, 143),
        ([Stage.COMPLETED, Stage.PENDING], [], ExitCode.INTERRUPTED, 130),
        ([Stage.FAILED, Stage.WAITING], [], TERM, 143),
        ([Stage.EXTRACTING], [], TERM, 143),
        ([Stage.COMPLETED, Stage.COMPLETED], [], TERM, 0),
        ([Stage.COMPLETED], ["the remote lists nothing for subject 9999"], TERM, 1),
        ([Stage.PENDING], [], ExitCode.CANNOT_CONTINUE, 3),
        ([Stage.WAITING], [], None, 1),
        ([], ["the remote lists nothing for subject 9999"], None, 1),
    ],
)
def test_the_exit_code_comes_from_the_ledger(
    stages: list[Stage], remarks: list[str], stop_code: ExitCode | None, code: int
) -> None:
    assert exit_code([PerformanceRow(A, stage) for stage in stages], remarks, stop_code) == code


def test_a_run_tells_systemd_where_it_is(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    address = workspace.root / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        said: list[str] = []

        def listen() -> None:  # all the while: the system queues only a few
            while message := listener.recv(4096):
                said.append(message.decode())

        listening = threading.Thread(target=listen)
        listening.start()
        assert workspace.run(storage__metrics_path=str(workspace.root / "rm360.prom")) == 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(address))
        listening.join()
    assert said[0] == "READY=1" and "WATCHDOG=1" in said
    assert any(message.startswith("STATUS=0 of 1 completed") for message in said)
    assert said[-1] == "STOPPING=1"
    assert 'rm360_performances{state="completed"} 1.0' in (workspace.root / "rm360.prom").read_text()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_live_picture_has_a_line_for_each_job_and_folds_the_totals(
    progress: tuple[Progress, Time, list[int]], width: int
) -> None:
    snapshot = progress[0].snapshot()
    jobs = [replace(snapshot.in_hand[0], performance=f"0018/h{n}_7bk", rate=5e6, fetched=1) for n in range(9)]
    full = replace(snapshot, in_hand=tuple(jobs), free=2**36, expected_end=snapshot.at + 7200, rate=5e7)
    console = Console(record=True, width=width, height=12, file=io.StringIO())
    console.print(render(full))
    lines = console.export_text().splitlines()
    assert all(len(line) <= width for line in lines) and "…" not in "".join(lines)
    assert [line.split()[0] for line in lines if line.startswith("0018/")] == [f"0018/h{n}_7bk" for n in range(6)]
    assert all("50 %" in line for line in lines if line.startswith("0018/")) and "and 3 more" in lines
    assert ("━" in lines[0]) is (width > 40) and ("500 B of 1000 B" in lines[0]) is (width > 100)
    assert " ".join(" ".join(lines).split()).endswith("64 GB free on the output disk")


def test_the_log_above_the_live_picture_looks_like_the_log_elsewhere(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("TERM", "xterm")
    assert workspace.run(logging__console_output=True) == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capfd.readouterr().err)
    line = next(line for line in workspace.log().splitlines() if "published 0018/e0" in line)
    assert line in shown and "of 1 ended" in shown


def test_status_says_when_a_stopped_run_was_last_heard_of(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    barrier, hook = barrier_at(workspace, "extraction", "stage recorded")
    with Instance(workspace, hooks=[hook]) as run:
        wait_until_reached(barrier)
        capsys.readouterr()
        assert workspace.command("status") == 0
        assert "last heard" not in capsys.readouterr().out
        run.signal(signal.SIGSTOP)
        monkeypatch.setattr(status, "STALE_SECONDS", 0.0)
        assert workspace.command("status") == 0
        shown = capsys.readouterr().out
        run.signal(signal.SIGCONT)
    assert re.search(r"running: pid \d+ on .*, last heard of \d+ s ago \(stopped", shown) and "s left" not in shown
