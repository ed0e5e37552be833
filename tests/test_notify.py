"""`notify`: the user's command is run with a summary when a run ends, fails, waits or is stopped, and harms nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from instance import Instance, barrier_at, wait_until, wait_until_reached
from tiny_smc import Tiny
from workspace import Workspace

import rm360_async
from rm360_async.config import load_settings
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.notification import NotifyEvent
from rm360_async.service.notify import IDLE_SECONDS, REPEAT_SECONDS, EventWatch, run_hook
from rm360_async.service.snapshot import ActiveJob, Snapshot

PACKAGE = Path(rm360_async.__file__).parent
HOOK = """#!/bin/sh
number=$(ls "{folder}" | wc -l)
env > "{folder}/$number.env"
cat > "{folder}/$number.json.part"
mv "{folder}/$number.json.part" "{folder}/$number.json"
"""


def script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


class Reports:
    """A command that keeps the summary and the environment of each of its calls."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "reports"
        self.folder.mkdir()
        self.command = [script(root / "hook", HOOK.format(folder=self.folder))]

    def summaries(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))]

    def words(self) -> list[dict[str, str]]:
        lines = [path.read_text().splitlines() for path in sorted(self.folder.glob("*.env"))]
        return [dict(line.split("=", 1) for line in each if line.startswith("RM360_")) for each in lines]


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    return Reports(tmp_path)


def test_the_end_of_a_run_is_reported(workspace: Workspace, reports: Reports) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    assert workspace.run(notify__command=reports.command) == 0
    (summary,), (words,) = reports.summaries(), reports.words()
    assert (summary["event"], summary["exit_code"], summary["planned"], summary["completed"]) == ("done", 0, 1, 1)
    assert summary["bytes_published"] > 0 and summary["bytes_fetched"] > 0 and summary["unpublished"] == []
    assert Path(summary["log"]).read_text().count("EXTRACTION SUMMARY") == 1
    assert (words["RM360_EVENT"], words["RM360_EXIT_CODE"], words["RM360_COMPLETED"]) == ("done", "0", "1")
    assert words["RM360_TITLE"].startswith("rm360 done: 1 completed (1 damaged) (work on ")
    assert words["RM360_MANIFEST"] == str(workspace.root / "work" / "MANIFEST.csv")


def test_failures_and_waits_are_reported_with_their_reasons(workspace: Workspace, reports: Reports) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    workspace.put("0018/0018_e1_raw.smc", b"no HDF5 at all")
    assert workspace.run(notify__command=reports.command) == 1
    (summary,) = reports.summaries()
    assert (summary["event"], summary["exit_code"], summary["failed"], summary["completed"]) == ("failed", 1, 1, 1)
    (failed,) = summary["unpublished"]
    assert (failed["performance"], failed["status"]) == ("0018/e1", "failed") and failed["reason"]
    assert "0018/e1: failed: " in summary["text"] and "1 completed (1 damaged), 1 failed" in summary["title"]


def test_a_run_that_cannot_continue_is_reported_once_a_day(workspace: Workspace, reports: Reports) -> None:
    """systemd starts it again every five minutes."""
    (workspace.root / "rclone.conf").write_text("")
    for _ in range(2):
        assert workspace.run(notify__command=reports.command, processing__max_retries=0) == 3
    (summary,) = reports.summaries()
    assert (summary["event"], summary["exit_code"]) == ("failed", 3) and "lab" in summary["reason"]


def test_only_the_listed_events_are_reported(workspace: Workspace, reports: Reports) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    assert workspace.run(notify__command=reports.command, notify__on=["failed", "stopped"]) == 0
    assert reports.summaries() == []


def test_a_stop_is_reported(workspace: Workspace, reports: Reports) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    barrier, hook = barrier_at(workspace, "download", "stage recorded")
    with Instance(workspace, hooks=[hook], notify__command=reports.command) as run:
        wait_until_reached(barrier)
        run.signal(signal.SIGTERM)
        barrier.touch()
        assert run.wait() == 143
    assert [(each["event"], each["exit_code"]) for each in reports.summaries()] == [("stopped", 143)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("#!/bin/sh\nexit 3\n", "exit code 3"),
        ("#!/bin/sh\necho the mail server refused >&2; exit 1\n", "exit code 1: the mail server refused"),
        ("#!/bin/sh\nkill -9 $$\n", "exit code -9"),
        ("no program", "exit code 127: cannot start "),
        (None, "exit code 127: cannot start "),
    ],
)
def test_a_command_that_fails_is_one_warning(
    workspace: Workspace, tmp_path: Path, text: str | None, problem: str
) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    path = script(tmp_path / "broken", text) if text is not None else str(tmp_path / "missing")
    assert workspace.run(notify__command=[path]) == 0
    (line,) = [line for line in workspace.log().splitlines() if "for the event" in line]
    assert "WARNING" in line and f"failed for the event done: {problem}" in line


def processes_with(word: str) -> list[int]:
    """Return the processes whose environment has a word."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and word.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.anyio
@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\nsleep 600\n",
        "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n",
        "#!/bin/sh\n(trap '' TERM; sleep 600) &\nsleep 600\n",
        "#!/bin/sh\nyes a line of a flood\n",
        "#!/bin/sh\nyes a line of a flood >&2\n",
    ],
    ids=["hangs", "ignores TERM", "leaves a process", "floods", "floods errors"],
)
async def test_a_command_that_does_not_end_is_ended(tmp_path: Path, text: str) -> None:
    word = f"RM360_TEST_MARK={tmp_path}"
    command = [script(tmp_path / "hook", text)]
    with anyio.fail_after(60):
        problem = await run_hook(command, {**os.environ, "RM360_TEST_MARK": str(tmp_path)}, b"x" * 2**20, 0.5)
    assert problem.startswith("it did not end within 0.5 s and was ended")
    assert len(problem) < 2000
    wait_until(lambda: not processes_with(word), "every process of the command has ended")


@pytest.mark.anyio
async def test_a_command_that_leaves_a_process_in_another_session_is_not_waited_for(tmp_path: Path) -> None:
    command = [script(tmp_path / "hook", f"#!/bin/sh\nsetsid sleep 600 &\necho $! > {tmp_path}/pid\n")]
    started = time.monotonic()
    assert await run_hook(command, os.environ, b"", 300.0) == ""
    assert time.monotonic() - started < 200
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_signal_ends_the_wait_for_the_command(workspace: Workspace, tmp_path: Path) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    command = [script(tmp_path / "hook", f"#!/bin/sh\ntouch {tmp_path}/begun\nexec sleep 600\n")]
    with Instance(workspace, notify__command=command) as run:
        wait_until((tmp_path / "begun").exists, "the command runs")
        run.signal(signal.SIGINT)
        assert run.wait() == 0
    assert "EXTRACTION SUMMARY" in workspace.log()


def job(**changes: Any) -> ActiveJob:
    return replace(ActiveJob("0018/e0", "downloading", 1, 2, 3.0, 4.0, ""), **changes)


def snapshot(at: float, **changes: Any) -> Snapshot:
    return replace(Snapshot(at, 3, 0, 0, 0, 2, (job(),), 0, 0, 0, 0.0, None, None, None), **changes)


def test_new_failures_are_reported_and_those_of_earlier_runs_are_not() -> None:
    watch = EventWatch()
    assert watch.events(snapshot(0, failed=2)) == []
    assert watch.events(snapshot(30, failed=3)) == [(NotifyEvent.FAILED, "1 more performance has failed")]
    assert watch.events(snapshot(60, failed=5)) == [], "at most once an hour"
    news = watch.events(snapshot(31 + REPEAT_SECONDS, failed=6))
    assert news == [(NotifyEvent.FAILED, "3 more performances have failed")]


def test_a_long_wait_is_reported_once_it_has_lasted() -> None:
    watch, waits = EventWatch(), {"in_hand": (job(note="paused"),), "trouble": "the remote refuses this login"}
    assert watch.events(snapshot(0)) == watch.events(snapshot(100, **waits)) == []
    assert watch.events(snapshot(99 + IDLE_SECONDS, **waits)) == []
    ((event, reason),) = watch.events(snapshot(100 + IDLE_SECONDS, **waits))
    assert event is NotifyEvent.WAITING and reason.startswith("the remote refuses this login")
    assert watch.events(snapshot(5000 + IDLE_SECONDS, **waits)) == [], "it is the same wait"


def test_a_wait_that_is_known_to_be_long_is_reported_at_once() -> None:
    quota = {"in_hand": (), "pending": 0, "waiting": 3, "next_due": 86_400.0}
    ((event, reason),) = EventWatch().events(snapshot(0, **quota))
    assert event is NotifyEvent.WAITING and "next retry" in reason
    assert EventWatch().events(snapshot(0, **{**quota, "next_due": 60.0})) == []


def test_a_start_that_is_kept_waiting_is_reported() -> None:
    watch = EventWatch()
    assert watch.events(Snapshot.before_plan(0.0, "cannot start yet: no connection")) == []
    news = watch.events(Snapshot.before_plan(IDLE_SECONDS, "cannot start yet: no connection"))
    assert news == [(NotifyEvent.WAITING, "cannot start yet: no connection")]


def test_a_full_disk_is_reported_and_is_not_also_a_wait() -> None:
    full = {"in_hand": (job(note="Insufficient storage space: 1 GB free", lacks_disk=True),)}
    watch = EventWatch()
    assert watch.events(snapshot(0, **full)) == [(NotifyEvent.DISK_LOW, "Insufficient storage space: 1 GB free")]
    assert watch.events(snapshot(IDLE_SECONDS * 2, **full)) == []
    assert watch.events(snapshot(IDLE_SECONDS * 2 + 1)) == []
    assert [event for event, _ in watch.events(snapshot(2 * REPEAT_SECONDS, **full))] == [NotifyEvent.DISK_LOW]


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"notify__command": "mail me"}, "is not a list; write a program and its arguments, which no shell reads"),
        ({"notify__command": ["mail", 3]}, "notify.command[1]: 3 is not text; write each argument in quotes"),
        ({"notify__command": [""]}, "notify.command[0]: is empty"),
        ({"notify__on": ["don"]}, '"don" is not an event; did you mean done?'),
        ({"notify__on": []}, "notify.on: the list is empty"),
        ({"notify__comand": []}, "notify.comand: unknown key; did you mean command?"),
    ],
)
def test_what_is_wrong_in_the_section_is_said(workspace: Workspace, values: dict[str, Any], hint: str) -> None:
    with pytest.raises(BadRequest) as error:
        load_settings(workspace.config(**values))
    assert hint in str(error.value)


RECIPES = re.findall(r"```yaml\n(notify:.*?)```", (PACKAGE / "service" / "NOTIFY.md").read_text(), re.DOTALL)


@pytest.mark.anyio
@pytest.mark.parametrize("recipe", RECIPES)
async def test_each_recipe_is_a_valid_config_and_runs(workspace: Workspace, recipe: str) -> None:
    programs = workspace.root / "programs"
    programs.mkdir()
    for name in ("mail", "curl", "jq", "sbatch"):
        script(programs / name, f'#!/bin/sh\necho "{name}: $*"\ncat\n')
    path = workspace.config()
    path.write_text(path.read_text() + recipe)
    command = [
        part.replace("/home/me/bin/report-run", str(programs / "mail")) for part in load_settings(path).notify.command
    ]
    words = {"RM360_TITLE": "the title", "RM360_TEXT": "the text", "SLACK_WEBHOOK": "https://slack.example"}
    env = {**words, "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(workspace.root)}
    command = ["sh", "-c", '"$@" > "$HOME/printed"', "sh", *command]
    assert await run_hook(command, env, b'{"text": "the text"}', 30.0) == ""
    printed = (workspace.root / "printed").read_text()
    assert "the text" in printed or "sbatch" in printed


def test_the_key_on_is_text_although_yaml_reads_it_as_true(workspace: Workspace) -> None:
    path = workspace.config()
    path.write_text(path.read_text() + "notify: {command: [a, b c], on: [done, disk_low]}\n")
    notify = load_settings(path).notify
    assert (notify.command, notify.on) == (("a", "b c"), (NotifyEvent.DONE, NotifyEvent.DISK_LOW))
