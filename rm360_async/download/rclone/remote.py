"""One remote: what it holds, and how to download from it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial

from anyio.to_thread import run_sync

from rm360_async.domain.errors import Answer, Cause, Fault
from rm360_async.domain.names import Structure
from rm360_async.domain.record import RemoteFile, RemoteFolder
from rm360_async.download.rclone.command import FEW_TRIES, ONE_TRY, RcloneCommand
from rm360_async.download.rclone.lister import NO_FOLDER, Listed, Lister, entry_messages
from rm360_async.download.rclone.listing import (
    RemoteFeatures,
    RemoteListing,
    escape_filter,
    group_by_performance,
    include_filters,
    may_hold,
    parse_features,
    wanted_folders,
)
from rm360_async.download.rclone.missing import explain_missing, explain_options
from rm360_async.download.rclone.refusal import explain_refusal
from rm360_async.download.rclone.remote_config import config_path, locate_entry
from rm360_async.download.rclone.server import RcloneServer, serve_remote
from rm360_async.system.fault_points import reach

_LOG = logging.getLogger(__name__)
_CHECK_FOLDER = "check google_drive.remote_name and root_folder_id, and that the folder is shared with this account"


class Remote:
    """A remote that rclone knows, with the folder on it that contains the release; see `RcloneCommand`."""

    def __init__(self, name: str, root_folder_id: str, binary: str, env: Mapping[str, str]) -> None:
        self._rclone = RcloneCommand(name, root_folder_id, binary, env)
        self._known_features: RemoteFeatures | None = None

    def __str__(self) -> str:
        return str(self._rclone)

    async def check(self) -> None:
        """List the remote's root folder once.

        Raises Fault: REMOTE_UNKNOWN naming the remotes that exist, AUTH, or any other reason why it does not answer.
        """
        ended = await self._rclone.run(self._rclone.line("lsf", "--max-depth", "1", "--dirs-only", *ONE_TRY))
        if ended.returncode == 0 or entry_messages(ended) is not None:
            return  # an entry that cannot be read is a matter of the listing
        fault = self._rclone.fault(ended.returncode, ended.stderr, f"opening {self}")
        if ended.returncode == NO_FOLDER or fault.cause is Cause.NOT_FOUND:
            hints = (_CHECK_FOLDER, *await explain_options(self._rclone))
            raise Fault(Cause.REMOTE_UNKNOWN, fault.message, "; ".join(hints))
        if fault.cause.answer is Answer.STOP:
            raise await self._with_location(fault)
        raise fault

    async def _with_location(self, fault: Fault) -> Fault:
        """Return a fault of rclone or its config with the place to look at, and the remotes that there are."""
        message, rclone = fault.message, self._rclone
        if "didn't find section" in message:
            message += f"; there is {await rclone.configured_remotes()}"
        path = await config_path(rclone.binary, rclone.env)
        location = "" if path is None else await run_sync(locate_entry, path, rclone.env, rclone.remote, fault.message)
        return Fault(fault.cause, message, "; ".join(part for part in (fault.hint, location) if part))

    async def list_files(self, structure: Structure, subjects: Sequence[str] | None) -> RemoteListing:
        """Return what the remote holds of some subjects, or of all (None), in one listing.

        It contains md5s where the remote knows them without reading the files. A subject without a folder is simply
        not in the listing; one that may be incomplete is a Fault, never an empty listing.
        """
        if subjects is not None and not subjects:
            return RemoteListing()
        filters, folders = include_filters(structure, subjects), wanted_folders(structure, subjects)
        features = await self.features()
        lister = Lister(
            self._rclone, features, partial(may_hold, folders), md5=features.md5_is_free, action=f"listing {self}"
        )
        listed = await self._list(lister, [*filters, *FEW_TRIES])
        reach("remote listed")
        if features.is_local:
            _LOG.info("%s is a folder of this machine; symbolic links in it are followed", self)
        listing = group_by_performance(listed.files, structure)
        listing = replace(listing, passed_over=tuple(listed.passed_over), follows_links=features.is_local)
        if not listing.has_all(subjects):
            listing = replace(listing, notes=tuple(await explain_missing(self._rclone, structure)))
        return listing

    async def stat(self, path: str, *, read: bool = False) -> RemoteFile:
        """Return one file as the remote has it now, with its md5 where the remote knows it.

        With `read`, a remote that stores no md5 (a local folder) reads the whole file for it. Raises Fault: NOT_FOUND
        only if a complete listing lacks the file, DUPLICATE_NAME, or why the listing failed.
        """
        return next(file for file in await self.list_beside(path, read=read) if file.path == path)

    async def list_beside(self, path: str, *, read: bool = False) -> list[RemoteFile]:
        """Return a file, and those beside it in its folder if they come with their md5s for free; see `stat`."""
        features, action = await self.features(), f"looking up {path} on {self}"
        folder, _, _ = path.rpartition("/")
        pattern = f"/{escape_filter(folder)}/*.smc" if features.md5_is_free and folder else f"/{escape_filter(path)}"
        lister = Lister(self._rclone, features, partial(_is_above, path), features.md5_is_free or read, action)
        listed = await self._list(lister, ["--include", pattern, *ONE_TRY])
        file = next((each for each in listed.files if each.path == path), None)
        if file is None and listed.passed_over:
            raise Fault(Cause.FORBIDDEN, f"{action}: {listed.passed_over[0]}")
        if file is None:
            raise Fault(Cause.NOT_FOUND, f"{path} is not on {self}")
        require_unique(file)
        reach("remote file looked up")
        return listed.files

    def serve(self, folder: RemoteFolder | None = None) -> AbstractAsyncContextManager[RcloneServer]:
        """Serve the remote, or one folder of it, on loopback for many ranges of its files (see `server`)."""
        command = self._rclone.line("serve", "restic", *ONE_TRY, folder=folder)
        return serve_remote(command, self._rclone.env, f"serving {self}")

    async def explain_refusal(self, file: RemoteFile, offset: int) -> Fault | None:
        """Request one byte of a file of which a range was refused; return the reason, None if the byte comes now."""
        return await explain_refusal(self._rclone, file, offset, self.stat)

    async def expected_md5(self, file: RemoteFile) -> str | None:
        """Return the md5 to compare a download with; a remote that stores none reads the whole file for it.

        If that fails, only the size is compared: the download itself shows what is wrong with the file.
        """
        features = await self.features()
        if file.md5 is not None or not features.has_md5 or features.md5_is_free:
            return file.md5
        try:
            return (await self.stat(file.path, read=True)).md5
        except Fault as fault:
            _LOG.warning("no md5 to compare %s with: %s", file.path, fault)
            return None

    async def _list(self, lister: Lister, filters: Sequence[str]) -> Listed:
        try:
            return await lister.list_files(filters)
        except Fault as fault:
            if fault.cause is Cause.NOT_FOUND:  # the root itself, so it is not about one performance
                raise Fault(Cause.REMOTE_UNKNOWN, fault.message, _CHECK_FOLDER) from fault
            raise

    async def features(self) -> RemoteFeatures:
        """Return what the remote can do; it is asked once."""
        if self._known_features is None:
            action = f"asking {self} for its features"
            ended = await self._rclone.run(self._rclone.line("backend", "features", *ONE_TRY))
            if ended.returncode != 0:
                raise self._rclone.fault(ended.returncode, ended.stderr, action)
            self._known_features = parse_features(ended.stdout, action)
        return self._known_features


def _is_above(path: str, other: str) -> bool:
    """Return True if `other` is the path itself, or a folder above it."""
    return f"{path}/".startswith(f"{other}/")


def require_unique(file: RemoteFile) -> None:
    """Raise Fault(DUPLICATE_NAME) for a file whose path the remote holds twice."""
    if file.duplicate:
        message = f"{file.path} is there twice on the remote, and it is unknown which one is right"
        raise Fault(Cause.DUPLICATE_NAME, message, "rename or remove one of them, or run: rclone dedupe")
