"""`rm360 doctor`: everything that a run needs, looked at in one go; nothing is changed."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from rm360_async.budget import SystemDisk
from rm360_async.commands.doctor import disks, ledger, machine, remote
from rm360_async.commands.doctor.result import CheckResult, as_dict, as_text, fail, fail_of, ok, warn
from rm360_async.config import Settings, load_settings
from rm360_async.domain.check_status import CheckState
from rm360_async.domain.errors import BadRequest, Fault
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.formatting import size_text
from rm360_async.download.rclone import RemoteListing
from rm360_async.service.run_plan import RunPlan, estimate_plan, make_plan
from rm360_async.service.startup import connect, list_remote

_PATIENCE = 600.0
"""Seconds for the remote to answer everything; a listing of 500 folders takes a minute or two."""
_FRAME_BYTES = 250_000
_NAMED = 10


async def run_checks(config: Path, as_json: bool) -> int:
    """Print what was found; return 0 without a fail, 1 with one, 2 when the config itself is wrong."""
    lines = [line async for line in look(config)]
    bad_config = any(line.about == "config" and line.state is CheckState.FAIL for line in lines)
    failed = any(line.state is CheckState.FAIL for line in lines)
    code = ExitCode.BAD_REQUEST if bad_config else ExitCode.SOME_FAILED if failed else ExitCode.DONE
    print(json.dumps(as_dict(lines, code), indent=1) if as_json else as_text(lines))
    return code


async def look(config: Path) -> AsyncIterator[CheckResult]:
    """Yield every line; what needs the config is left out when there is none."""
    try:
        settings = load_settings(config)
    except BadRequest as error:
        settings = None
        for problem in error.problems:
            yield fail("config", problem)
    else:
        yield ok("config", f"{config} is well-formed")
    for line in _machine(settings):
        yield line
    if settings is None:
        return
    for line in await _safely("disks", lambda: disks.look_at_disks(settings)):
        yield line
    async for line in ledger.look_at_ledger(settings):
        yield line
    async for line in _far_away(settings):
        yield line


def _machine(settings: Settings | None) -> Iterable[CheckResult]:
    yield from machine.versions()
    yield machine.user()
    yield machine.clock(time.time())
    yield machine.open_files()
    yield machine.ffmpeg()
    if settings is not None:
        yield machine.memory(settings)


async def _safely(about: str, check: Callable[[], Iterable[CheckResult]]) -> list[CheckResult]:
    """Do a check that may block, in a thread; what it could not even ask is a line too."""
    try:
        return await run_sync(lambda: list(check()))
    except OSError as error:
        return [fail(about, f"{error.filename or 'a folder'}: {error.strerror}", "check the path and its permissions")]


async def _far_away(settings: Settings) -> AsyncIterator[CheckResult]:
    """Yield what needs rclone and the remote; an answer that never comes is a line too."""
    lines: list[CheckResult] = []
    with anyio.move_on_after(_PATIENCE) as scope:
        try:
            async for line in remote.look_at_rclone(settings):
                lines.append(line)
            if not any(line.about == "remote" and line.state is CheckState.FAIL for line in lines):
                lines += await _listing(settings)
        except (Fault, BadRequest) as error:
            lines.append(fail_of("remote", error) if isinstance(error, Fault) else fail("config", str(error)))
    for line in lines:
        yield line
    if scope.cancelled_caught:
        yield fail("remote", f"no answer within {_PATIENCE:.0f} s", "check the network, and: rclone lsd REMOTE:")


async def _listing(settings: Settings) -> list[CheckResult]:
    listing = await list_remote(settings, connect(settings)[0])
    lines = list(remote.look_at_listing(settings, listing, time.time()))
    if not listing.files:
        return lines
    rows = await ledger.rows_of(settings)
    plan = await run_sync(make_plan, settings, listing, rows, time.time())
    return [*lines, *await run_sync(lambda: list(_work(settings, plan, listing)))]


def _work(settings: Settings, plan: RunPlan, listing: RemoteListing) -> Iterable[CheckResult]:
    """Yield whether what is left to do fits on the disk."""
    for remark in plan.remarks:
        yield warn("work", remark, "check extraction in the config")
    estimate_plan(settings, plan, {}, plan.unfinished())
    for each, reason in list(plan.too_large(settings).items())[:_NAMED]:
        yield fail("work", f"{each} {reason}", "see limits in the config")
    space = SystemDisk().space(settings.storage.output_dir)
    wanted = sum(found.staging_bytes(settings.processing.fetch) for found in plan.estimates.values())
    room = space.free_bytes - settings.limits.min_free_bytes
    text = f"{len(plan.unfinished())} of {len(plan.states)} performances to do, {size_text(wanted)} to fetch"
    files = wanted // _FRAME_BYTES
    if wanted > room:
        yield warn("work", f"{text}; output_dir has room for {size_text(max(0, room))}: a run pauses when it is full")
    elif space.free_files is not None and files > space.free_files:
        yield warn("work", f"{text}, about {files} files; output_dir has {space.free_files} inodes")
    else:
        yield ok("work", text)
