"""Whole runs that are killed, stopped and crowded: what is published is whole, and nothing is done twice or left."""

from __future__ import annotations

import os
import pty
import random
import shutil
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from instance import (
    Hook,
    Instance,
    RecordingRclone,
    barrier_at,
    command_lines,
    processes_of,
    wait_until,
    wait_until_reached,
)
from tiny_smc import Tiny
from workspace import Workspace, tree

from rm360_async.store.marker import MARKER

ROUNDS = int(os.environ.get("RM360_ROUNDS", "8"))
SLOW = {"RCLONE_BWLIMIT": "1M"}
LARGE = Tiny(part="e1", filler=500_000)
"""4 MB: seconds of a slow download."""


def fill(workspace: Workspace, count: int, subject: str = "0018", filler: int = 300) -> list[str]:
    """Put performances e0, e1 ... on the remote; return their names."""
    for number in range(count):
        workspace.put(f"{subject}/{subject}_e{number}_raw.smc", Tiny(subject, f"e{number}", filler=filler))
    return [f"{subject}/e{number}" for number in range(count)]


def published(workspace: Workspace) -> dict[str, tuple[int, int]]:
    """Return each published folder with what tells whether it was replaced: inode and time of its marker."""
    markers = [marker for marker in workspace.output.glob(f"*/[!.]*/{MARKER}")]
    stats = {str(marker.parent.relative_to(workspace.output)): marker.stat() for marker in markers}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def content(workspace: Workspace, name: str) -> dict[str, bytes]:
    return {path: data for path, data in tree(workspace.folder(name)).items() if path != MARKER}


def outcomes(workspace: Workspace) -> dict[str, list[str]]:
    """Return how the attempts at each performance ended, in order; "" for one that is open."""
    query = (
        "SELECT subject || '/' || name, outcome FROM attempt JOIN performance ON performance.id = attempt.performance"
        " ORDER BY attempt.id"
    )
    with closing(sqlite3.connect(workspace.root / "work" / "MANIFEST.sqlite")) as ledger:
        found: dict[str, list[str]] = {}
        for name, outcome in ledger.execute(query):
            found.setdefault(name, []).append(outcome)
    return found


def assert_settled(workspace: Workspace, names: list[str]) -> None:
    """All is published, noted once, and nothing is left: no process, staging, part, lease, open attempt."""
    assert sorted(published(workspace)) == sorted(names)
    assert {name: row["status"] for name, row in workspace.manifest().items()} == dict.fromkeys(names, "completed")
    assert workspace.leftovers() == [] and list((workspace.temp / ".leases").glob("*.lease")) == []
    assert command_lines(workspace) == []
    assert all("" not in ended and ended.count("completed") <= 1 for ended in outcomes(workspace).values())


def parent_killed(point: str, **more: Any) -> Hook:
    return {"point": point, "side": "worker", "do": "kill_parent", **more}


STEPS: list[Hook] = [
    {"point": "attempt begun"},
    {"point": "part committed"},
    parent_killed("new file written", nth=5),
    parent_killed("sealed"),
    {"point": "published"},
    {"point": "completion recorded"},
    {"point": "spooled file removed"},
    {"point": "manifest written"},
]
"""The moments at which a run is killed, one after another."""
MORE_STEPS: list[Hook] = [
    {"point": "ledger made"},
    {"point": "plan applied"},
    {"point": "ticket added"},
    {"point": "lease granted"},
    {"point": "committing part"},
    parent_killed("sealing"),
    {"point": "publishing"},
    {"point": "folder renamed"},
    {"point": "published"},
    {"point": "ratio recorded"},
    {"point": "completion recorded"},
    {"point": "ticket dropped"},
    {"point": "manifest in place"},
]


@pytest.mark.parametrize("steps", [STEPS, pytest.param(MORE_STEPS, marks=pytest.mark.slow)])
def test_killed_at_every_step_it_goes_on(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory, steps: list[Hook]
) -> None:
    names = fill(workspace, len(steps) - 2)
    kept: dict[str, tuple[int, int]] = {}
    for step in steps:
        with Instance(workspace, hooks=[{"do": "kill", **step}], processing__workers=1) as run:
            assert run.wait() == -signal.SIGKILL, f"{step} was never reached:\n{run.output}"
        wait_until(lambda: not command_lines(workspace), "all children gone")
        now = published(workspace)
        assert {name: now.get(name) for name in kept} == kept, f"{step}: a published folder was touched"
        kept = now
    assert 0 < len(kept) < len(names)
    with Instance(workspace) as run:
        assert run.wait() == 0
    assert_settled(workspace, names)
    assert {name: published(workspace)[name] for name in kept} == kept
    undisturbed = Workspace(tmp_path_factory.mktemp("undisturbed"), workspace.monkeypatch)
    fill(undisturbed, len(names))
    assert undisturbed.run() == 0
    assert {name: content(workspace, name) for name in names} == {name: content(undisturbed, name) for name in names}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_any_time_it_goes_on(workspace: Workspace) -> None:
    names = fill(workspace, 12, filler=20_000)
    seconds = random.Random(ROUNDS)
    kept: dict[str, tuple[int, int]] = {}
    for _ in range(ROUNDS):
        with Instance(workspace) as run:
            time.sleep(seconds.uniform(0.5, 4))
        now = published(workspace)
        assert {name: now.get(name) for name in kept} == kept
        kept = now
        wait_until(lambda: not command_lines(workspace), "all children gone")
        if len(kept) == len(names):
            victim = seconds.choice(names)
            (workspace.folder(victim) / MARKER).unlink()
            workspace.folder(victim).rename(workspace.root / f"removed{random.random()}")
            del kept[victim]
    with Instance(workspace) as run:
        assert run.wait() == 0
    assert (
        sorted(published(workspace)) == sorted(names) and workspace.leftovers() == [] and command_lines(workspace) == []
    )


def _has_arrived(workspace: Workspace, size: float) -> bool:
    return workspace.present_bytes() > size


@pytest.mark.slow
def test_ten_kills_in_one_download_ask_for_no_byte_twice(workspace: Workspace) -> None:
    size = workspace.put("0018/0018_e1_raw.smc", LARGE).stat().st_size
    rclone, sizes = RecordingRclone(workspace), [0]
    for kill in range(1, 11):
        with Instance(workspace, environment={"RCLONE_BWLIMIT": "2M"}):
            wait_until(partial(_has_arrived, workspace, kill * size / 11), f"kill {kill}")
        wait_until(lambda: not command_lines(workspace), "the rclone gone")
        sizes.append(workspace.present_bytes())
    with Instance(workspace) as run:
        assert run.wait() == 0
    present = [int(line.split("present=")[1].split()[0]) for line in rclone.downloads()]
    # a kill may come before the line is written
    assert set(present) <= set(sizes) and sizes == sorted(sizes), "each goes on from the bytes that were there"
    assert_settled(workspace, ["0018/e1"])


def test_a_run_without_work_takes_away_the_lease_that_a_killed_one_left(workspace: Workspace) -> None:
    names = fill(workspace, 1)
    with Instance(workspace, hooks=[{"point": "spooled file removed", "do": "kill"}]) as run:
        assert run.wait() == -signal.SIGKILL
    wait_until(lambda: not command_lines(workspace), "all children gone")
    assert list(published(workspace)) == names and list((workspace.temp / ".leases").glob("*.lease"))
    assert workspace.run() == 0
    assert_settled(workspace, names)


def test_no_rclone_and_no_worker_outlives_a_killed_run(workspace: Workspace) -> None:
    fill(workspace, 2, filler=30_000)
    rclone = RecordingRclone(workspace)
    barrier, hook = barrier_at(workspace, "barrier", "sealing", side="worker", match="e0")
    rclone.hold_file.touch()
    with Instance(workspace, hooks=[hook], environment={"RCLONE_BWLIMIT": "64k"}, processing__downloads=1):
        wait_until(lambda: rclone.downloads("e0"), "a download")
        rclone.hold_file.unlink()
        wait_until(lambda: any(workspace.temp.glob("*e0*.sparse")), "some bytes")
        wait_until(lambda: any(" serve " in command for command in command_lines(workspace)), "an rclone that serves")
    wait_until(lambda: not command_lines(workspace), "the rclone gone")
    with Instance(workspace, hooks=[hook]):
        wait_until_reached(barrier)
        assert any("rm360_async.extraction.worker" in command for command in command_lines(workspace))
    wait_until(lambda: not command_lines(workspace), "the worker gone")


def test_term_lets_the_extraction_end_and_the_next_run_goes_on_in_the_part(workspace: Workspace) -> None:
    fill(workspace, 3)
    workspace.put("0018/0018_e1_raw.smc", LARGE)
    rclone = RecordingRclone(workspace)
    barrier, hook = barrier_at(workspace, "barrier", "sealing", side="worker", match="e0")
    with Instance(workspace, hooks=[hook], environment=SLOW, processing__downloads=1) as run:
        wait_until_reached(barrier)
        wait_until(lambda: workspace.present_bytes("e1"), "some bytes of the next one")
        run.signal(signal.SIGTERM)
        wait_until(lambda: "running extractions may finish" in workspace.log(), "the signal answered")
        barrier.touch()
        assert run.wait() == 143
    size = workspace.present_bytes()
    assert size > 0 and list(published(workspace)) == ["0018/e0"] and len(rclone.downloads()) == 2
    assert [row["status"] for row in workspace.manifest().values()] == ["completed", "pending", "pending"]
    assert outcomes(workspace) == {"0018/e0": ["completed"], "0018/e1": ["interrupted"]}
    with Instance(workspace) as run:
        assert run.wait() == 0
    assert f"present={size} " in rclone.downloads("e1")[1] and len(rclone.downloads()) == 4
    assert_settled(workspace, ["0018/e0", "0018/e1", "0018/e2"])


def test_after_the_grace_what_is_extracted_is_broken_off(workspace: Workspace) -> None:
    fill(workspace, 1)
    barrier, hook = barrier_at(workspace, "barrier", "sealing", side="worker")
    with Instance(workspace, hooks=[hook], processing__grace_seconds=0.3) as run:
        wait_until_reached(barrier)
        run.signal(signal.SIGTERM)
        assert run.wait() == 143
    assert (
        command_lines(workspace) == [] and not list(workspace.output.glob("*/.*")) and len(workspace.leftovers()) == 1
    )
    with Instance(workspace) as run:
        assert run.wait() == 0
    assert_settled(workspace, ["0018/e0"])


def test_a_second_signal_stops_at_once(workspace: Workspace) -> None:
    """Although the worker answers no signal but KILL."""
    fill(workspace, 2)
    workspace.put("0018/0018_e1_raw.smc", LARGE)
    barrier, hook = barrier_at(workspace, "barrier", "sealing", side="worker")
    with Instance(workspace, hooks=[hook], environment=SLOW, processing__grace_seconds=3600) as run:
        wait_until_reached(barrier)
        os.kill(worker_of(workspace), signal.SIGSTOP)
        run.signal(signal.SIGINT)
        wait_until(lambda: "a second signal stops at once" in workspace.log(), "the first signal answered")
        run.signal(signal.SIGINT)
        assert run.wait() == 3, "the grace of an hour is not waited out"
    assert command_lines(workspace) == [] and not list(workspace.output.glob("*/.*")) and published(workspace) == {}
    assert "EXTRACTION SUMMARY" in workspace.log() and "Traceback" not in run.output
    assert set(workspace.manifest()) == {"0018/e0", "0018/e1"}


def test_a_killed_template_of_workers_costs_an_attempt_at_most_and_the_run_goes_on(workspace: Workspace) -> None:
    """The process that workers are forked from is killed with one at work: another is started for the next."""
    fill(workspace, 2)
    barrier, hook = barrier_at(workspace, "barrier", "sealing", side="worker", match="e0")
    with Instance(workspace, hooks=[hook]) as run:
        wait_until_reached(barrier)
        status = Path(f"/proc/{worker_of(workspace)}/status").read_text()
        os.kill(int(status.partition("PPid:")[2].split()[0]), signal.SIGKILL)
        barrier.touch()
        assert run.wait() == 0
    assert_settled(workspace, ["0018/e0", "0018/e1"])
    assert outcomes(workspace)["0018/e0"][-1] == "completed" and len(outcomes(workspace)["0018/e0"]) == 2


def worker_of(workspace: Workspace) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(folder.name) in processes_of(workspace) and (folder / "comm").read_text().startswith("0018/"):
                return int(folder.name)
    raise AssertionError("there is no worker")


QUOTA = '[ "$1" = serve -o "$1" = cat ] && echo "googleapi: Error 403: downloadQuotaExceeded" >&2 && exit 1'
IDLE: dict[str, tuple[dict[str, Any], str, str]] = {
    "lease": (
        {"limits__min_free_space_gb": shutil.disk_usage(tempfile.gettempdir()).total / 2**30 - 1},
        "",
        "Insufficient storage",
    ),
    "quota": ({}, QUOTA, "waiting, until 20"),
    "listing": ({}, '[ "$1" = lsjson ] && exec sleep 1000', ""),
}


@pytest.mark.parametrize("waits_for", IDLE)
def test_a_signal_while_waiting_ends_the_run_cleanly(workspace: Workspace, waits_for: str) -> None:
    fill(workspace, 1)
    overrides, lines, words = IDLE[waits_for]
    rclone = RecordingRclone(workspace)
    rclone.write_script(lines)
    with Instance(workspace, **overrides) as run:
        wait_until(lambda: words in workspace.log() if words else "lsjson" in rclone.call_log.read_text(), waits_for)
        run.signal(signal.SIGTERM)
        assert run.wait() == 143
    assert (
        command_lines(workspace) == []
        and "stopping" in workspace.log()
        and "Traceback" not in run.output + workspace.log()
    )


def test_what_the_starter_ignores_stays_ignored(workspace: Workspace) -> None:
    fill(workspace, 1)
    barrier, hook = barrier_at(workspace, "barrier", "sealing", side="worker")
    with Instance(workspace, hooks=[hook], prefix=["env", "--ignore-signal=HUP,INT"]) as run:
        wait_until_reached(barrier)
        run.signal(signal.SIGHUP)
        run.signal(signal.SIGINT)
        barrier.touch()
        assert run.wait() == 0
    assert "stopping" not in workspace.log()
    assert_settled(workspace, ["0018/e0"])


def test_ctrl_c_for_the_whole_group_and_a_closed_terminal(workspace: Workspace, request: pytest.FixtureRequest) -> None:
    """The live display's terminal goes away under it: what is in hand is published all the same."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored, rightly
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, before))
    fill(workspace, 2)
    barrier, hook = barrier_at(workspace, "barrier", "sealing", side="worker", match="e0")
    with Instance(workspace, hooks=[hook], processing__downloads=1, processing__workers=1) as run:
        wait_until_reached(barrier)
        os.killpg(run.process.pid, signal.SIGINT)
        wait_until(lambda: "a second signal stops at once" in workspace.log(), "the signal answered")
        barrier.touch()
        assert run.wait() == 130
    assert list(published(workspace)) == ["0018/e0"]
    barrier, hook = barrier_at(workspace, "second", "sealing", side="worker", match="e1")
    master, slave = pty.openpty()
    config = workspace.config(logging__console_output=True)
    with Instance(workspace, hooks=[hook], config=config, terminal=slave) as run:
        os.close(slave)
        wait_until_reached(barrier)
        os.close(master)  # sends HUP to the session whose terminal it was
        wait_until(lambda: workspace.log().count("a second signal stops at once") == 2, "the HUP answered")
        barrier.touch()
        assert run.wait() == 0
    assert_settled(workspace, ["0018/e0", "0018/e1"])


DEATHS = {"e0": "kill", "e1": "segv", "e2": "hang", "e3": "exhaust_memory"}
WORDS = {
    "e0": "was killed by SIGKILL",
    "e1": "was killed by SIGSEGV",
    "e2": "did not end within 0.1 minutes",
    "e3": "needed more than 2 GB of memory (processing.worker_memory_gb)",
}


def test_each_death_of_a_worker_costs_an_attempt_of_its_own_performance_only(workspace: Workspace) -> None:
    names = fill(workspace, 5)
    rclone = RecordingRclone(workspace)
    hooks: list[Hook] = [
        {"point": "sealing", "side": "worker", "match": f"/{name}", "do": do} for name, do in DEATHS.items()
    ]
    limits: dict[str, Any] = {"processing__extraction_minutes": 0.1, "processing__worker_memory_gb": 2}
    with Instance(workspace, hooks=hooks, processing__max_retries=0, **limits) as run:
        assert run.wait() == 1
    for name, words in WORDS.items():
        row = workspace.manifest()[f"0018/{name}"]
        assert row["status"] == "failed" and words in row["error"], row
    assert workspace.status_of("0018/e4") == "completed"
    assert all(len(ended) == 1 for ended in outcomes(workspace).values())
    assert workspace.log().count("ERROR") == 4 and command_lines(workspace) == []
    assert workspace.command("retry") == 0
    once: list[Hook] = [{**hook, "once": str(workspace.root / hook["do"])} for hook in hooks if hook["do"] != "hang"]
    with Instance(workspace, hooks=once, **limits) as run:
        assert run.wait() == 0
    assert outcomes(workspace) == {
        **{f"0018/{name}": ["failed", "waiting", "completed"] for name in ("e0", "e1", "e3")},
        "0018/e2": ["failed", "completed"],
        "0018/e4": ["completed"],
    }
    assert len(rclone.downloads()) == len(names), "what is staged is not fetched again"
    assert_settled(workspace, names)


def test_three_runs_at_once_share_the_work(workspace: Workspace) -> None:
    names = fill(workspace, 3) + fill(workspace, 2, "0019")
    workspace.subjects = ["0018", "0019"]
    rclone = RecordingRclone(workspace)
    config = workspace.config(processing__workers=1)
    choices = [[], ["--subject", "0018"], ["--subject", "0019"]]
    with ExitStack() as stack:
        runs = [stack.enter_context(Instance(workspace, *choice, config=config)) for choice in choices]
        assert [run.wait() for run in runs] == [0, 0, 0], workspace.log()
    assert {name: ended for name, ended in outcomes(workspace).items()} == {name: ["completed"] for name in names}
    assert len(rclone.downloads()) == len(names)
    assert_settled(workspace, names)


def test_the_work_of_a_killed_run_is_taken_over_at_once(workspace: Workspace) -> None:
    names = fill(workspace, 4)
    config = workspace.config(processing__workers=1, processing__downloads=1)
    barrier, hook = barrier_at(workspace, "barrier", "committing part")
    after = {"point": "published", "do": "kill"}
    with ExitStack() as stack:
        first = stack.enter_context(Instance(workspace, config=config, hooks=[hook]))
        wait_until_reached(barrier)
        second = stack.enter_context(Instance(workspace, config=config, hooks=[after]))
        third = stack.enter_context(Instance(workspace, config=config))
        assert second.wait() == -signal.SIGKILL
        wait_until(lambda: len(published(workspace)) == len(names) - 1, "all but the one in the first one's hand")
        assert third.process.poll() is None, "it waits for what is in the first one's hand"
        first.kill()
        assert third.wait() == 0
    assert_settled(workspace, names)
    assert (
        Counter(outcome for ended in outcomes(workspace).values() for outcome in ended)["completed"] == len(names) - 1
    )
    assert "was published by a run that was killed" in workspace.log()
