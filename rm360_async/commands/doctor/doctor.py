"""`rm360 doctor`: run all checks of what a run depends on; they change nothing."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path

import anyio

from rm360_async.budget import SystemDisk
from rm360_async.commands.doctor import disks, ledger, machine, remote
from rm360_async.commands.doctor.cluster import check_cluster
from rm360_async.commands.doctor.result import CheckResult, as_dict, as_text, exit_code, fail, fail_of, ok, warn
from rm360_async.config import Settings, load_settings
from rm360_async.domain.check_status import CheckState
from rm360_async.domain.errors import BadRequest, Fault
from rm360_async.domain.formatting import size_text
from rm360_async.service.run_plan import RunPlan, estimate_plan, make_plan
from rm360_async.service.startup import list_remote
from rm360_async.stages.remotes import connect
from rm360_async.system.disk_threads import on_disk_thread

_REMOTE_TIMEOUT_SECONDS = 600.0
"""For all answers of the remote; listing 500 folders takes a minute or two."""
_FRAME_BYTES = 250_000
"""Typical size of a published image, to estimate the number of files."""
_MAX_PERFORMANCES_SHOWN = 10


async def run_checks(config: Path, as_json: bool) -> int:
    """Print the results of all checks; return the exit code."""
    results = [result async for result in check_all(config)]
    code = exit_code(results)
    print(json.dumps(as_dict(results, code), indent=1) if as_json else as_text(results))
    return code


async def check_all(config: Path) -> AsyncIterator[CheckResult]:
    """Yield the result of each check; without a valid config only the checks that need none."""
    try:
        settings = load_settings(config)
    except BadRequest as error:
        settings = None
        for problem in error.problems:
            yield fail("config", problem)
    else:
        yield ok("config", f"{config} is valid")
    for result in machine.check_machine(settings, time.time()):
        yield result
    for result in await machine.check_worker(settings):
        yield result
    if settings is None:
        return
    async for result in _check_with_config(settings):
        yield result


async def _check_with_config(settings: Settings) -> AsyncIterator[CheckResult]:
    """Yield the checks of folders, ledger and remotes; what cannot be read is named and left out."""
    unreadable = await on_disk_thread(disks.unreadable_folders, settings)
    for result in unreadable.values():
        yield result
    for result in await _check_in_thread("disks", lambda: disks.check_disks(settings, unreadable)):
        yield result
    for result in await _check_in_thread("cluster", lambda: check_cluster(settings)):
        yield result
    if "manifest" in unreadable:
        yield warn("ledger", "not checked, because its folder cannot be read")
    else:
        async for result in ledger.check_ledger(settings):
            yield result
    async for result in _check_remotes(settings, with_plan=not unreadable):
        yield result
    if unreadable:
        yield warn("work", "not checked, because a folder of the config cannot be read")


async def _check_in_thread(subject: str, check: Callable[[], Iterable[CheckResult]]) -> list[CheckResult]:
    """Run a check that may block in a thread; an OSError becomes a result."""
    try:
        return await on_disk_thread(lambda: list(check()))
    except OSError as error:
        text = f"cannot read {error.filename or 'a folder'}: {error.strerror}"
        return [fail(subject, text, "check the path and its permissions")]


async def _check_remotes(settings: Settings, *, with_plan: bool) -> AsyncIterator[CheckResult]:
    """Yield the checks of rclone, the remotes and the listing; a remote that does not answer is a result too."""
    results: list[CheckResult] = []
    with anyio.move_on_after(_REMOTE_TIMEOUT_SECONDS) as timeout:
        try:
            async for result in remote.check_remotes(settings):
                results.append(result)
            if with_plan and not any(
                result.subject == "remote" and result.state is CheckState.FAIL for result in results
            ):
                results += await _check_listing(settings)
        except (Fault, BadRequest) as error:
            results.append(fail_of("remote", error) if isinstance(error, Fault) else fail("config", str(error)))
    for result in results:
        yield result
    if timeout.cancelled_caught:
        text = f"no answer within {_REMOTE_TIMEOUT_SECONDS:.0f} s"
        yield fail("remote", text, "check the network, and run: rclone lsd REMOTE:")


async def _check_listing(settings: Settings) -> list[CheckResult]:
    listing = await list_remote(settings, connect(settings)[0])
    results = list(remote.check_listing(settings, listing, time.time()))
    if not listing.files:
        return results
    rows = await ledger.read_rows(settings)
    plan = await on_disk_thread(make_plan, settings, listing, rows, time.time())
    return [*results, *await on_disk_thread(lambda: list(_check_plan(settings, plan)))]


def _check_plan(settings: Settings, plan: RunPlan) -> Iterator[CheckResult]:
    """Yield what a run would do, and whether that fits on the disks."""
    for remark in plan.remarks:
        yield warn("work", remark, "check the section extraction of the config")
    estimate_plan(settings, plan, {}, plan.unfinished())
    for performance, reason in list(plan.too_large(settings).items())[:_MAX_PERFORMANCES_SHOWN]:
        yield fail("work", f"{performance} {reason}", "check the section limits of the config")
    space = SystemDisk().space(settings.storage.output_dir)
    needed, to_download = sum(plan.bytes_to_write().values()), sum(plan.bytes_to_download(settings).values())
    available = space.free_bytes - settings.limits.min_free_bytes
    sizes = f"{size_text(to_download)} to download, {size_text(needed)} to write"
    text = f"{len(plan.unfinished())} of {len(plan.states)} performances to do, {sizes}"
    files = needed // _FRAME_BYTES
    if needed > available:
        fits = f"output_dir has space for {size_text(max(0, available))}: a run pauses when it is full"
        yield warn("work", f"{text}; {fits}", "free some space, or select less")
    elif space.free_files is not None and files > space.free_files:
        yield warn("work", f"{text}, about {files} files; output_dir has {space.free_files} free inodes")
    else:
        yield ok("work", text)
