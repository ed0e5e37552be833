"""Numbers that users read are true: durations, sizes, shares, sums over attempts, and what a dry run promises."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from drive_server import DriveServer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_run_resume import Killed
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.domain.counts import count_states
from rm360_async.domain.forecast import busy_seconds
from rm360_async.domain.formatting import duration_text, percent_text, share, size_text
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.service.snapshot import ActiveJob, bar_text

UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


def value_of(text: str) -> float:
    """Return the number that a text such as `3 h 20 min` or `5.97 GB` means."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+) (\w+)", text))


@settings(deadline=None)
@given(st.floats(0, 1e10))
@example(86_399.0)
@example(23 * 3600 + 59.9 * 60)
@example(47 * 3600 + 3599.0)
@example(89.6)
def test_a_duration_is_within_its_rounding_and_never_has_60_minutes_or_24_hours(seconds: float) -> None:
    text = duration_text(seconds)
    smallest = UNITS[text.rsplit(" ", 1)[1]]
    assert abs(value_of(text) - seconds) <= smallest / 2 + 1e-6 * seconds
    parts = re.findall(r"(\d+) (\w+)", text)
    assert not [each for each in parts[1:] if int(each[0]) >= {"min": 60, "h": 24}[each[1]]]


@settings(deadline=None)
@given(st.floats(0, 1e9), st.floats(0, 1e6))
def test_a_longer_duration_never_reads_as_a_shorter_one(seconds: float, more: float) -> None:
    assert value_of(duration_text(seconds)) <= value_of(duration_text(seconds + more))


@settings(deadline=None)
@given(st.integers(0, 2**50))
@example(1023 * 2**20)
@example(2**20 - 1)
@example(round(999.7 * 2**20))
def test_a_size_has_three_digits_and_the_next_unit_from_1024_on(size: int) -> None:
    text = size_text(size)
    assert re.fullmatch(r"\d{1,4}(\.\d{1,2})? (B|KB|MB|GB|TB)", text), text
    assert abs(value_of(text) - size) <= 0.006 * size
    assert float(text.split()[0]) < 1024 or size >= 1000 * 2**40


@settings(deadline=None)
@given(st.floats(-1e12, 1e15), st.floats(-10, 1e12))
def test_no_share_is_beyond_the_whole(done: float, total: float) -> None:
    assert 0 <= share(done, total) <= 1
    percent = int(percent_text(done, total).removesuffix(" %"))
    assert 0 <= percent <= 100 and (percent < 100 or done >= total)


@settings(deadline=None)
@given(st.integers(0, 10**12), st.integers(0, 10**12), st.floats(0, 1e9))
def test_a_bar_never_shows_more_done_than_there_is(done: int, total: int, rate: float) -> None:
    job = ActiveJob("0018/e0", "downloading", min(done, total), total, 3.0, rate, "")
    text = bar_text(job)
    if total:
        shown, of = re.findall(r"([\d.]+ [KMGT]?B) of ([\d.]+ [KMGT]?B)", text)[0]
        assert value_of(shown) <= value_of(of)
        assert int(text.split(" %")[0]) <= 100


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=8))
def test_time_in_which_anything_was_going_on_is_counted_once(spans: list[tuple[int, int]]) -> None:
    spans = [(min(span), max(span)) for span in spans]
    seconds = {second for began, ended in spans for second in range(began, ended)}
    assert busy_seconds(spans) == len(seconds)


@settings(deadline=None)
@given(st.lists(st.sampled_from(list(Stage)), max_size=30))
def test_the_counts_of_states_add_up_and_a_damaged_one_is_completed(stages: list[Stage]) -> None:
    rows = [
        PerformanceRow(Performance("0018", f"e{n}"), stage, verdict="damaged: gaps" if n % 2 else "complete")
        for n, stage in enumerate(stages)
    ]
    counts = count_states(rows)
    parts = (counts.completed, counts.failed, counts.waiting, counts.running, counts.pending)
    assert sum(parts) == counts.planned == len(rows) and counts.damaged <= counts.completed
    assert sum(int(number) for number in re.findall(r"(?:^|, )(\d+) ", str(counts))) == len(rows)


def fetched_bytes(workspace: Workspace) -> int:
    """Return the bytes of all attempts in the ledger."""
    with closing(sqlite3.connect(workspace.root / "work" / "MANIFEST.sqlite")) as ledger:
        total: int = ledger.execute("SELECT sum(fetched) FROM attempt").fetchone()[0]
    return total


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_what_ended_attempts_have_downloaded_is_counted(
    drive_server: DriveServer, number: signal.Signals, code: int
) -> None:
    killed = Killed(drive_server)
    for _ in range(2):
        assert killed.end_in_the_middle(number) == code
    killed.finish()
    sent = sum(request.sent for request in drive_server.downloads_of("e0"))
    assert 0.99 * killed.size <= fetched_bytes(drive_server.workspace) <= sent


def dry_run(workspace: Workspace, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert workspace.command("run", "--dry-run", "--json", *arguments) == 0
    plan: dict[str, Any] = json.loads(capsys.readouterr().out)
    return plan


def published_bytes(workspace: Workspace, *names: str) -> int:
    folders = [workspace.folder(f"0018/{name}") for name in names]
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "selection",
    [
        {},
        {"extraction__modalities": ["audio"]},
        {"extraction__cameras": [25], "processing__fetch": "ranges"},
        {"extraction__modalities": ["audio", "images"], "extraction__cameras": [25], "processing__fetch": "ranges"},
    ],
)
def test_a_dry_run_promises_what_the_run_then_does(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], selection: dict[str, Any]
) -> None:
    """Once files of the kind have been extracted: before, an estimate knows the release, which these files are not."""
    parts = [f"s{number}_all" for number in (1, 2, 4, 5)]
    for part in parts:
        workspace.put(f"0018/0018_{part}_raw.smc", Tiny(part=part, frames=8, filler=60_000))
    assert workspace.run("--performance", "s1_all", **selection) == 0
    before = fetched_bytes(workspace)
    plan = dry_run(workspace, capsys)
    assert workspace.run(**selection) == 0
    assert plan["bytes_to_download"] == pytest.approx(fetched_bytes(workspace) - before, rel=0.05)
    assert plan["bytes_to_write"] == pytest.approx(published_bytes(workspace, *parts[1:]), rel=0.10)
    done = dry_run(workspace, capsys)
    assert (done["bytes_to_download"], done["bytes_to_write"], done["seconds"]) == (0, 0, None)


def test_a_dry_run_counts_what_is_downloaded_already(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = Killed(drive_server)
    assert dry_run(drive_server.workspace, capsys)["bytes_to_download"] == killed.size
    killed.end_in_the_middle(signal.SIGKILL)
    left = dry_run(drive_server.workspace, capsys)["bytes_to_download"]
    before = sum(request.sent for request in drive_server.downloads_of("e0"))
    killed.finish()
    then = sum(request.sent for request in drive_server.downloads_of("e0")) - before
    assert left == pytest.approx(then, rel=0.05) and left < killed.size


def test_a_dry_run_gives_a_duration_at_a_rate(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    size = workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0", filler=60_000)).stat().st_size
    workspace.config()
    plan = dry_run(workspace, capsys, "--at", "1KB/s")
    assert (plan["bytes_to_download"], plan["bound_by"]) == (size, "line")
    assert plan["seconds"] == pytest.approx(size / 1024)


def test_a_dry_run_says_like_doctor_that_nothing_could_start(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    workspace.config(limits__min_free_space_gb=1_000_000)
    assert workspace.command("run", "--dry-run") == 0
    problems = [line for line in capsys.readouterr().out.splitlines() if line.startswith("cannot start: ")]
    assert len(problems) == 2 and "output_dir: " in problems[0] and "nothing could be downloaded" in problems[0]
    workspace.command("doctor")
    doctor = capsys.readouterr().out
    for problem in problems:
        assert problem.split(": ", 2)[2].split(": nothing")[0].split(" free;")[1] in doctor
    (workspace.root / "in the way").touch()
    workspace.config(
        storage__output_dir=str(workspace.root / "in the way" / "subjects"), storage__temp_dir=str(workspace.temp)
    )
    (problem,) = dry_run(workspace, capsys)["cannot_start"]
    assert problem.startswith("output_dir: cannot read ")
