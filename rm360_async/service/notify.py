"""`notify`: a command of the user that is run when something happens to a run: it ends, fails, waits, is stopped.

Theory of operation. The command is a list of arguments, and no shell has a part in it. It gets a summary as JSON on its
standard input, and as words in its environment (RM360_EVENT, RM360_TITLE, RM360_TEXT ...). Whatever it does, the run is
not harmed: it has a process group of its own, a deadline, and an end (TERM, then KILL) at that deadline; of what it
prints only the end is kept; its input is a file in memory, so it need not read it; and a command that is missing or
fails is one warning in the log. A signal ends the wait for it.

`EventWatch` decides from the snapshots of a run what has happened. The same event is reported again only after it was
over, and at most once an hour; that a run cannot continue, with the same words, at most once a day, although systemd
starts it again every five minutes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.notification import NotifyEvent
from rm360_async.ledger import Ledger
from rm360_async.service.end_summary import RunSummary
from rm360_async.service.snapshot import Snapshot
from rm360_async.system.files import write_all
from rm360_async.system.log import logger
from rm360_async.system.processes import PIPE, Tail, child_process

log = logger(__name__)
DEADLINE_SECONDS = 30.0
"""How long the command may take; then its process group is ended."""
WATCH_SECONDS = 30.0
"""How often a run is examined for events."""
IDLE_SECONDS = 600.0
"""How long nothing is downloaded or extracted, or will be, before that is reported."""
REPEAT_SECONDS = 3600.0
REPEAT_FAILURE_SECONDS = 86_400.0
_OUTPUT_BYTES = 2048
_DRAIN_SECONDS = 1.0
"""How long output is still read after the command has ended, which a process that it left behind may hold open."""
_TITLES = {NotifyEvent.DISK_LOW: "disk low"}
_MAX_TEXT_CHARS = 16_000
"""An argument or a variable can have 128 KiB."""


@dataclass
class EventWatch:
    """Finds events in the snapshots of a run, each once."""

    idle_seconds: float = IDLE_SECONDS
    _failed: int | None = None
    _idle_since: float | None = None
    _active: set[NotifyEvent] = field(default_factory=set)
    _reported: dict[NotifyEvent, float] = field(default_factory=dict)

    def events(self, snapshot: Snapshot) -> list[tuple[NotifyEvent, str]]:
        """Return what is to be reported now, each with its reason."""
        reasons = {
            NotifyEvent.FAILED: self._failure(snapshot),
            NotifyEvent.DISK_LOW: next((job.note for job in snapshot.in_hand if job.lacks_disk), ""),
        }
        reasons[NotifyEvent.WAITING] = "" if reasons[NotifyEvent.DISK_LOW] else self._wait(snapshot)
        news = [(event, reason) for event, reason in reasons.items() if self._is_new(event, reason, snapshot.at)]
        if NotifyEvent.FAILED in dict(news):
            self._failed = snapshot.failed
        return news

    def _failure(self, snapshot: Snapshot) -> str:
        if self._failed is None:  # those that failed in earlier runs
            self._failed = snapshot.failed
        count = snapshot.failed - self._failed
        return f"{count} more performance{'s have' if count > 1 else ' has'} failed" if count > 0 else ""

    def _wait(self, snapshot: Snapshot) -> str:
        """Return why nothing is done, once that has lasted or is known to last; "" while anything is done."""
        notes = [job.note for job in snapshot.in_hand if job.note]
        if len(notes) < len(snapshot.in_hand) or not (snapshot.trouble or notes or snapshot.waiting):
            self._idle_since = None
            return ""
        since = self._idle_since = snapshot.at if self._idle_since is None else self._idle_since
        only_waits = not snapshot.in_hand and not snapshot.pending and snapshot.next_due is not None
        until = snapshot.next_due if only_waits and snapshot.next_due is not None else snapshot.at
        return snapshot.line() if until - since >= self.idle_seconds else ""

    def _is_new(self, event: NotifyEvent, reason: str, now: float) -> bool:
        if not reason:
            self._active.discard(event)
            return False
        if event in self._active or now - self._reported.get(event, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._reported[event] = now
        if event is not NotifyEvent.FAILED:  # which is counted
            self._active.add(event)
        return True


class Notifications:
    """Runs the command of `notify` for the events that the config lists."""

    def __init__(self, settings: Settings, *, seconds: float = DEADLINE_SECONDS) -> None:
        self._settings, self._seconds = settings, seconds
        self.log_path = ""
        """The log of the run, once it is open."""
        self._started = time.time()
        self._end_reported = False

    def is_wanted(self, event: NotifyEvent) -> bool:
        """Return True if the command is to be run for this event."""
        return bool(self._settings.notify.command) and event in self._settings.notify.on

    async def at_end(self, event: NotifyEvent, code: int, summary: RunSummary) -> None:
        """Report the end of the run."""
        self._end_reported = True
        await self.send(event, "", summary, code)

    async def cannot_continue(self, reason: str, ledger: Ledger | None = None) -> None:
        """Report that the run ends because it cannot continue, unless a run has reported just that today."""
        if self._end_reported or not self.is_wanted(NotifyEvent.FAILED):
            return
        self._end_reported = True
        if ledger is None or await _is_news(ledger, reason):
            await self.send(NotifyEvent.FAILED, reason, RunSummary(), ExitCode.CANNOT_CONTINUE)

    async def send(self, event: NotifyEvent, reason: str, summary: RunSummary, code: int | None = None) -> None:
        """Run the command for an event, if it is wanted; its failure is logged. `code`: the exit code at the end."""
        if not self.is_wanted(event):
            return
        values = self._values(event, reason, summary, code)
        command = list(self._settings.notify.command)
        problem = await run_hook(command, environment(values), json.dumps(values).encode(), self._seconds)
        if problem:
            log.warning(f"notify.command {command[0]} failed for the event {event.value}: {problem}")
        else:
            log.info(f"notify.command was run for the event {event.value}")

    def _values(self, event: NotifyEvent, reason: str, summary: RunSummary, code: int | None) -> dict[str, Any]:
        storage, host = self._settings.storage, os.uname().nodename
        what = ", ".join(part for part in (reason, str(summary.counts)) if part) or "nothing was done"
        title = f"rm360 {_TITLES.get(event, event.value)}: {what} ({storage.output_dir.parent.name} on {host})"
        lines = [title, *(_row_text(row) for row in summary.as_json()["unpublished"]), *summary.remarks]
        return {
            "event": event.value,
            "title": " ".join(title.split())[:_MAX_TEXT_CHARS],
            "text": "\n".join(lines)[:_MAX_TEXT_CHARS],
            "reason": reason,
            "exit_code": code,
            "host": host,
            "pid": os.getpid(),
            "started": self._started,
            "at": time.time(),
            "output_dir": str(storage.output_dir),
            "manifest": str(storage.manifest_path),
            "log": self.log_path,
            **summary.as_json(),
        }


def _row_text(row: Mapping[str, Any]) -> str:
    return f"{row['performance']}: {row['status']}: {row['reason']}"


def environment(values: Mapping[str, Any]) -> dict[str, str]:
    """Return this process's environment with each plain value of a summary as a word, e.g. RM360_EXIT_CODE."""
    words = {
        f"RM360_{name.upper()}": "" if value is None else str(value).replace("\0", "")
        for name, value in values.items()
        if not isinstance(value, list)
    }
    return {**os.environ, **words}


async def run_hook(command: Sequence[str], env: Mapping[str, str], content: bytes, seconds: float) -> str:
    """Run a command with `content` on its standard input; return why it failed, or ""."""
    output, errors = Tail(_OUTPUT_BYTES), Tail(_OUTPUT_BYTES)
    code: int | None = None
    try:
        with anyio.move_on_after(seconds), _memory_file(content) as stdin:
            async with (
                child_process(command, env=env, stdin=stdin, stdout=PIPE, stderr=PIPE) as process,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(output.drain, process.stdout)
                tasks.start_soon(errors.drain, process.stderr)
                code = await process.wait()
                tasks.cancel_scope.deadline = anyio.current_time() + _DRAIN_SECONDS
    except (Fault, OSError) as error:  # no further process, or no memory for its input
        return str(error)
    if code == 0:
        return ""
    printed = " ".join((errors.text or output.text).split())[-_OUTPUT_BYTES // 4 :]
    how = f"it did not end within {seconds:g} s and was ended" if code is None else f"exit code {code}"
    return f"{how}: {printed}" if printed else how


@contextmanager
def _memory_file(content: bytes) -> Iterator[int]:
    """Give the descriptor of a file in memory: a command that does not read its input holds nothing up."""
    descriptor = os.memfd_create("rm360-notify")
    try:
        write_all(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


async def watch_events(
    take_snapshot: Callable[[], Snapshot],
    summarize: Callable[[], Awaitable[RunSummary]],
    notifications: Notifications,
    *,
    seconds: float = WATCH_SECONDS,
) -> None:
    """Report what happens while a run is active, until cancelled."""
    watch = EventWatch()
    while True:
        for event, reason in watch.events(take_snapshot()):
            if notifications.is_wanted(event):
                try:
                    await notifications.send(event, reason, await summarize())
                except Fault as fault:  # every write to the ledger meets it too, and is decided about there
                    log.warning(f"cannot report the event {event.value}: {fault}")
        await anyio.sleep(seconds)


async def _is_news(ledger: Ledger, reason: str) -> bool:
    """Return True unless a run has reported the same failure lately; remember it. A ledger that fails knows nothing."""
    try:
        before = json.loads(await ledger.hints.get_meta(_REPORTED_KEY) or "{}")
        if before.get("reason") == reason and 0 <= time.time() - before.get("at", 0) < REPEAT_FAILURE_SECONDS:
            return False
        await ledger.hints.set_meta(_REPORTED_KEY, json.dumps({"at": time.time(), "reason": reason}))
    except (Fault, ValueError) as error:
        log.debug(f"whether this failure was reported before is not known: {error}")
    return True


_REPORTED_KEY = "reported failure"
