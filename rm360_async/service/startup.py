"""What a run does first: find rclone, connect to the remotes of the config, and list them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from rm360_async.config import Settings
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.doubt import Attendance, Doubt, confirmed, is_believed, patience_at_start, question_delay
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.formatting import duration_text
from rm360_async.domain.retry import RetryPolicy
from rm360_async.domain.terms import single_names
from rm360_async.download.rclone import Remote, RemoteListing
from rm360_async.system.log import logger
from rm360_async.system.systemd import Notifier

log = logger(__name__)
_WATCHDOG_SECONDS = 60.0


@dataclass(frozen=True)
class RunOptions:
    """Options of `rm360 run` that are not in the config."""

    force: bool = False
    dry_run: bool = False
    wait: bool = True
    rate: float | None = None
    """Bytes a second of the line, for the duration that a dry run prints; None: as downloads went so far."""

    config: str = ""
    """The path of the config, for the log."""
    verbose: bool = False
    """Log from DEBUG on, whatever the config says."""
    quiet: bool = False
    """Show only warnings and errors on the console; the file has everything."""
    as_json: bool = False
    """Print JSON on standard output: the plan of a dry run, or a line for each event of a run."""

    attendance: Attendance = Attendance.SCRIPT

    def replaces_published(self, settings: Settings) -> bool:
        """Return True if published folders are to be extracted again and replaced."""
        return self.force or settings.processing.force_reextract


async def list_remote(settings: Settings, remote: Remote) -> RemoteListing:
    """Return what the remote has of the configured subjects; raise Fault, with a hint, if it cannot be listed."""
    try:
        return await remote.list_files(settings.google_drive.structure, single_names(settings.extraction.subjects))
    except Fault:
        await remote.check()  # raises a more helpful Fault if the remote cannot be reached at all
        raise


def attendance_of(environment: Mapping[str, str]) -> Attendance:
    """Return who is there when this process fails; systemd's variables are also those of a desktop's terminals."""
    if sys.stderr.isatty():
        return Attendance.TERMINAL
    is_service = any(name in environment for name in ("NOTIFY_SOCKET", "INVOCATION_ID"))
    return Attendance.SERVICE if is_service else Attendance.SCRIPT


OnTrouble = Callable[[str], Awaitable[None]]


async def list_patiently(
    settings: Settings,
    remotes: list[Remote],
    retry_policy: RetryPolicy,
    clock: Clock = SYSTEM_CLOCK,
    attendance: Attendance = Attendance.SCRIPT,
    on_trouble: OnTrouble | None = None,
) -> RemoteListing:
    """Return the listing of the first remote once all remotes answer; ask again while a failure may be temporary.

    How long that is depends on the failure and on who is there (`domain.doubt`); then the Fault is raised. `on_trouble`
    gets what is wrong each time, and "" once all remotes have answered.
    """
    doubts: dict[Cause, Doubt] = {}
    while True:
        try:
            listing = await _list_all(settings, remotes)
        except Fault as fault:
            doubt = doubts[fault.cause] = confirmed(doubts.get(fault.cause), fault, clock.monotonic(), 0)
            if is_believed(doubt, patience_at_start(fault.cause, attendance, retry_policy)):
                raise
            delay = question_delay(fault.cause, doubt, retry_policy, clock.chance())
            log.warning(f"retrying in {duration_text(delay)}: {fault}")
            if on_trouble is not None:
                await on_trouble(f"cannot start yet, asking again: {fault}")
            await anyio.sleep(delay)
        else:
            if doubts and on_trouble is not None:
                await on_trouble("")
            return listing


async def _list_all(settings: Settings, remotes: list[Remote]) -> RemoteListing:
    for other in remotes[1:]:  # report a broken login now, not when a quota makes this remote necessary
        await other.check()
    return await list_remote(settings, remotes[0])


@asynccontextmanager
async def service_heartbeat() -> AsyncIterator[Notifier]:
    """Report to systemd that the service is up, and feed its watchdog until the block ends; gives the notifier.

    The service is up as soon as its event loop runs: what comes first (creating folders, importing ten thousand
    published ones, a network that is late) may take longer than systemd waits for a start. One task feeds the watchdog
    all the time, so what is watched is the event loop and nothing else: a disk or a remote that does not answer is not
    cured by a restart. An error of the block is raised as it is.
    """
    notifier, failure = Notifier.from_environment(), None
    notifier.notify_ready()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_feed_watchdog, notifier)
        try:
            yield notifier
        except BaseException as error:  # noqa: BLE001 - raised below, outside of the group
            failure = error
        tasks.cancel_scope.cancel()
    notifier.close()
    if failure is not None:
        raise failure


async def _feed_watchdog(notifier: Notifier) -> None:
    while True:
        notifier.feed_watchdog()
        await anyio.sleep(notifier.watchdog_seconds or _WATCHDOG_SECONDS)
