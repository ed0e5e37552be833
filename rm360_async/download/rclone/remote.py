"""One remote: what it holds, and how a file of it gets here."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from rm360_async.domain.errors import BadRequest, Cause, Fault
from rm360_async.domain.names import Structure
from rm360_async.domain.record import RemoteFile
from rm360_async.download.rclone.errors import classify_failure, is_incomplete_listing
from rm360_async.download.rclone.listing import (
    RemoteListing,
    escape_filter,
    group_by_performance,
    include_filters,
    parse_listing,
)
from rm360_async.download.rclone.server import RcloneServer, RequestRate, serve_remote
from rm360_async.download.rclone.transfer import (
    OnBytes,
    PartHasher,
    StallPolicy,
    TransferResult,
    open_part,
    run_download,
)
from rm360_async.system.fault_points import reach
from rm360_async.system.os_errors import os_fault
from rm360_async.system.processes import run_to_end

_LOG = logging.getLogger(__name__)
_NO_MATCH = 9
_NO_FOLDER = 3
# Files are named by --include below the remote's root, never by a path behind its name: rclone looks such a path
# up first, and words every refusal that it meets there as "directory not found" (exit 3). In this form it tells.
# rclone retries nothing itself: its back-off is long, silent, per process and blind to quotas; ours is in one
# place. A question on a terminal would hang for ever. These act alike in rclone 1.60 and 1.75.
_ALWAYS = (
    *("--retries", "1", "--timeout", "60s", "--contimeout", "20s"),
    *("--drive-stop-on-download-limit", "--drive-acknowledge-abuse", "--ask-password=false", "--use-json-log"),
)

# With its read-ahead rclone holds back up to 1 MiB of a slow stream (32 KiB without): a trickle would look
# like silence, and what is held back when rclone is killed has to be fetched again.
_CAT = ("--error-on-no-transfer", "--buffer-size", "0")
_ONE_TRY = ("--low-level-retries", "1")
# A listing of 500 folders asks many times, and one refusal would cost all of it: rclone may ask again (2 s).
_FEW_TRIES = ("--low-level-retries", "3")
_CHECK_THE_FOLDER = "check google_drive.remote_name and root_folder_id, and that the folder is shared with this account"


class Remote:
    """A remote as rclone knows it, with the folder on it that holds the release.

    `name`: `gdrive`, `gdrive:`, `gdrive:some/folder`, or a connection string such as `:local:/data`.
    `root_folder_id`: a Drive folder id; other remotes ignore it. `program`: the path of rclone; `env`: its
    environment (see `program`). Raises BadRequest for a name that rclone would read as an option.
    """

    def __init__(
        self, name: str, root_folder_id: str, program: str, env: Mapping[str, str], pace: StallPolicy | None = None
    ) -> None:
        if not name or name.startswith("-") or not name.isprintable():
            raise BadRequest(f"google_drive.remote_name: {name!r} is not the name of a remote; see: rclone listremotes")
        self.name = name if ":" in name or name.startswith(("/", ".")) else f"{name}:"
        self._root = ("--drive-root-folder-id", root_folder_id) if root_folder_id else ()
        self._program, self._env, self._pace = program, env, pace or StallPolicy()
        self._hashes: _Hashes | None = None

    def __str__(self) -> str:
        head, colon, path = self.name.partition(":")
        return head.split(",")[0] + (colon + path if path else "") if head else self.name.split(",")[0]

    async def check(self) -> None:
        """Look into the remote's folder once.

        Raises Fault: REMOTE_UNKNOWN naming the remotes there are, AUTH, or what else keeps it from answering.
        """
        ended = await run_to_end(self._command("lsf", "--max-depth", "1", "--dirs-only", *_ONE_TRY), env=self._env)
        if ended.returncode == 0:
            return
        fault = classify_failure(ended.returncode, ended.stderr, f"looking into {self}", self._hint_name)
        if fault.cause is Cause.REMOTE_UNKNOWN:
            raise Fault(fault.cause, f"{fault.message}; there is {await self._known()}", fault.hint)
        if ended.returncode == _NO_FOLDER or fault.cause is Cause.NOT_FOUND:
            raise Fault(Cause.REMOTE_UNKNOWN, fault.message, _CHECK_THE_FOLDER)
        raise fault

    async def listing(self, structure: Structure, subjects: Sequence[str] | None) -> RemoteListing:
        """Return what the remote holds of some subjects, or of all (None), in one listing.

        md5s are in it where the remote knows them without reading the files. A subject without a folder is
        simply not in the answer; an answer that may lack something is a Fault, never an empty listing.
        """
        if subjects is not None and not subjects:
            return RemoteListing()
        filters = include_filters(structure, subjects)
        hashes = await self._known_hashes()
        found = await self._list([*filters, *_FEW_TRIES], md5=hashes.free, doing=f"listing {self}")
        reach("remote listed")
        return group_by_performance(found, structure)

    async def stat(self, path: str, *, read: bool = False) -> RemoteFile:
        """Return one file as the remote has it now, with its md5 where the remote knows it.

        With `read`, a remote that keeps no md5 (a local folder) reads the whole file for it. Raises
        Fault: NOT_FOUND only when a clean listing lacks it, DUPLICATE_NAME, or why it cannot be told.
        """
        hashes = await self._known_hashes()
        doing = f"looking up {path} on {self}"
        found = await self._list(
            ["--include", f"/{escape_filter(path)}", *_ONE_TRY], md5=hashes.free or read, doing=doing
        )
        listed = next((file for file in found if file.path == path), None)
        if listed is None:
            raise Fault(Cause.NOT_FOUND, f"{path} is not on {self}")
        _refuse_duplicate(listed)
        reach("remote file looked up")
        return listed

    async def fetch(self, listed: RemoteFile, part: Path, on_bytes: OnBytes = lambda _: None) -> str:
        """Download one file into `part`, going on where an earlier attempt ended; return its md5 in hex.

        The part is then whole, compared (size, and md5 where the remote has one) and synced. `on_bytes`
        gets the part's size as it grows. When this raises, the part is kept for the next attempt, except
        after Fault(MISMATCH). Also raises Fault: UNREADABLE (0 bytes), DUPLICATE_NAME, STALL, TRUNCATED,
        DISK_FULL, NOT_WRITABLE, and whatever the remote answered (see `faults`).
        """
        _refuse_duplicate(listed)
        if listed.size == 0:
            raise Fault(Cause.UNREADABLE, f"{listed.path} is empty (0 bytes) on the remote", "ask its owner")
        follower, told = PartHasher(part), [listed]
        with open_part(part, listed.size) as descriptor:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follower.follow)
                tasks.start_soon(self._have_md5_read, told)
                fault = await self._download(listed, descriptor, on_bytes)
                if fault is not None:
                    tasks.cancel_scope.cancel()
                follower.finish()
            if fault is None:
                fault = _compared(told[-1], os.fstat(descriptor).st_size, follower, part)
                reach("part compared")
            if fault is not None and fault.cause is Cause.MISMATCH:
                await anyio.to_thread.run_sync(part.unlink)
            if fault is not None:
                raise fault
            await anyio.to_thread.run_sync(os.fsync, descriptor)
        return follower.md5

    def serve(self, rate: RequestRate) -> AbstractAsyncContextManager[RcloneServer]:
        """Serve the remote on loopback for many ranges of its files (see `serving`)."""
        return serve_remote(self._command("serve", "restic", *_ONE_TRY), self._env, rate, f"serving {self}")

    async def explain_refusal(self, listed: RemoteFile, offset: int) -> Fault | None:
        """Ask for one byte of a file of which a range was refused; return the reason, None when it comes now."""
        span = ("--offset", str(offset), "--count", "1")
        command = self._command("cat", "--include", f"/{escape_filter(listed.path)}", *span, *_CAT, *_ONE_TRY)
        ended = await run_to_end(command, env=self._env)
        if ended.returncode == 0 and len(ended.stdout) == 1:
            return None
        return await self._why_short(listed, offset, TransferResult(ended.returncode, ended.stderr))

    async def _have_md5_read(self, told: list[RemoteFile]) -> None:
        """Have a remote that keeps no md5 read the file for it, beside the download; what it says is added.

        One that fails here leaves the size to compare with: the download itself says what is wrong with the file.
        """
        hashes = await self._known_hashes()
        if told[0].md5 is None and hashes.md5 and not hashes.free:
            try:
                told.append(replace(told[0], md5=(await self.stat(told[0].path, read=True)).md5))
            except Fault as fault:
                _LOG.warning("the md5 of %s cannot be had: %s", told[0].path, fault)

    async def _download(self, listed: RemoteFile, descriptor: int, on_bytes: OnBytes) -> Fault | None:
        offset = os.fstat(descriptor).st_size
        if offset == listed.size:  # asking from the end on would be refused (416)
            on_bytes(offset)
            return None
        span = ("--offset", str(offset), "--count", str(listed.size - offset))
        command = self._command("cat", "--include", f"/{escape_filter(listed.path)}", *span, *_CAT, *_ONE_TRY)
        outcome = await run_download(command, self._env, descriptor, self._pace, on_bytes)
        reach("part downloaded")
        size = os.fstat(descriptor).st_size
        return None if size >= listed.size else await self._why_short(listed, size, outcome)

    async def _why_short(self, listed: RemoteFile, size: int, outcome: TransferResult) -> Fault:
        doing = f"downloading {listed.path} from {self}"
        short = Fault(Cause.TRUNCATED, f"{doing}: it ended after {size} of {listed.size} bytes")
        if outcome.stalled:
            return Fault(Cause.STALL, f"{doing}: {outcome.stalled}, at {size} of {listed.size} bytes")
        if outcome.returncode == 0 and not is_incomplete_listing(outcome.stderr):
            return short
        if outcome.returncode == _NO_MATCH and not is_incomplete_listing(outcome.stderr):
            return await self._gone(listed.path) or short
        fault = classify_failure(outcome.returncode, outcome.stderr, doing, self._hint_name)
        if fault.cause is not Cause.NOT_FOUND:
            return fault
        refused = Fault(Cause.SERVER_ERROR, f"{fault.message}, though it lists the file")
        return await self._gone(listed.path) or refused

    async def _gone(self, path: str) -> Fault | None:
        """Return the fault of looking a file up again; None when it is there: a listing decides, not a refusal."""
        try:
            await self.stat(path)
        except Fault as fault:
            return fault
        return None

    async def _list(self, filters: Sequence[str], *, md5: bool, doing: str) -> list[RemoteFile]:
        hashing = ("--hash", "--hash-type", "md5") if md5 else ()
        command = self._command("lsjson", "--recursive", "--files-only", "--no-mimetype", *hashing, *filters)
        ended = await run_to_end(command, env=self._env)
        if ended.returncode != 0 or is_incomplete_listing(ended.stderr):
            fault = classify_failure(ended.returncode, ended.stderr, doing, self._hint_name)
            if fault.cause is Cause.NOT_FOUND:  # the root itself: nothing of one performance
                raise Fault(Cause.REMOTE_UNKNOWN, fault.message, _CHECK_THE_FOLDER)
            raise fault
        return parse_listing(ended.stdout, doing)

    async def _known_hashes(self) -> _Hashes:
        if self._hashes is None:
            doing = f"asking {self} for its features"
            ended = await run_to_end(self._command("backend", "features", *_ONE_TRY), env=self._env)
            if ended.returncode != 0:
                raise classify_failure(ended.returncode, ended.stderr, doing, self._hint_name)
            self._hashes = _hashes(ended.stdout, doing)
        return self._hashes

    async def _known(self) -> str:
        ended = await run_to_end([self._program, "listremotes", "--ask-password=false"], env=self._env)
        return ", ".join(ended.stdout.decode(errors="replace").split()) or "no remote at all"

    @property
    def _hint_name(self) -> str:
        return (str(self).partition(":")[0] or "REMOTE") + ":"

    def _command(self, verb: str, *arguments: str) -> list[str]:
        return [self._program, verb, *arguments, *_ALWAYS, *self._root, self.name]


@dataclass(frozen=True)
class _Hashes:
    """Whether the remote has md5s, and whether it gives them without reading the files."""

    md5: bool
    free: bool


def _hashes(features: bytes, doing: str) -> _Hashes:
    try:
        said = json.loads(features)
        md5 = "md5" in (said["Hashes"] or ())
        return _Hashes(md5, md5 and not said["Features"]["SlowHash"])
    except (ValueError, KeyError, TypeError) as error:
        raise Fault(Cause.UNKNOWN, f"{doing}: rclone's answer cannot be read ({error!r})") from error


def _refuse_duplicate(listed: RemoteFile) -> None:
    if listed.duplicate:
        message = f"{listed.path} is there twice on the remote, and nobody can say which one is right"
        raise Fault(Cause.DUPLICATE_NAME, message, "rename or remove one of them, or run: rclone dedupe")


def _compared(listed: RemoteFile, size: int, follower: PartHasher, part: Path) -> Fault | None:
    """Return what is wrong with a part that rclone is done with, or None."""
    if follower.error is not None:
        return os_fault(follower.error, "read", part, "check storage.temp_dir", Cause.NOT_WRITABLE)
    if size != listed.size:
        return Fault(Cause.MISMATCH, f"{listed.path}: {size} bytes arrived, the remote lists {listed.size}")
    if listed.md5 is not None and listed.md5 != follower.md5:
        message = f"{listed.path}: the md5 of what arrived is {follower.md5}, the remote lists {listed.md5}"
        return Fault(Cause.MISMATCH, message)
    return None
