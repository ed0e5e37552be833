"""Read parts of an .smc file on a remote without downloading it: `inspect` and `cameras analyze` of remote:path."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from rm360_async.config import Settings
from rm360_async.domain.errors import BadRequest, Cause, Fault
from rm360_async.domain.names import Kind, Performance, remote_path
from rm360_async.domain.record import RemoteFile
from rm360_async.download.account import Account
from rm360_async.download.accounts import Accounts
from rm360_async.download.ranges.cost import index_spans
from rm360_async.download.ranges.discovery import discovery_rounds
from rm360_async.download.rclone import Remote, StallPolicy, find_rclone, rclone_environment
from rm360_async.download.rclone.missing import path_on
from rm360_async.download.segment_fetcher import RangesUnsupported
from rm360_async.service.startup import list_remote
from rm360_async.stages.remotes import connect
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.sparse_file import SparseFile

Result = TypeVar("Result")
Read = Callable[[SparseFile, str], Result]
"""Reads a file; the text is how messages and results name it."""
_NOT_THERE = (Cause.NOT_FOUND, Cause.REMOTE_UNKNOWN)
_ROOT_HINT = (
    "a path starts at the root of the remote, not at root_folder_id of a config; for that: rm360 inspect CONFIG"
    " SUBJECT/PERFORMANCE"
)
_ENDED = object()


def is_remote(target: Path) -> bool:
    """Return True if a target is a path on a remote (`gdrive:0018/0018_s3_all_raw.smc`) and not a local file."""
    return ":" in str(target) and not target.exists()


async def read_remote_smc(target: str, read: Read[Result]) -> Result:
    """Return the result of `read` for a remote file, of which only the bytes that `read` needs are downloaded.

    `read` is called again and again, each time with more of the file, so it must have no side effects. Raises
    BadRequest if the target is not the path of an .smc file, and Fault if the remote refuses.
    """
    folder, slash, name = target.rpartition("/")
    if not slash:
        folder, _, name = target.rpartition(":")
        folder += ":"
    if not name.endswith(".smc"):
        raise BadRequest(f"{target}: give the path of one .smc file, e.g. gdrive:0018/0018_s3_all_raw.smc")
    remote = Remote(folder, "", find_rclone(), rclone_environment(os.environ))
    try:
        return await _read_file(remote, name, partial(_named, read, target))
    except Fault as fault:
        if fault.cause in _NOT_THERE or "folder was not found" in fault.message:
            raise Fault(fault.cause, fault.message, f"{fault.hint}; {_ROOT_HINT}".removeprefix("; ")) from fault
        raise


async def read_performance(settings: Settings, performance: Performance, read: Read[Result]) -> list[Result]:
    """Return the result of `read` for each file that a performance has on the remote of a config; see above."""
    remote, structure = connect(settings)[0], settings.google_drive.structure
    listing = await list_remote(settings, remote)
    files = listing.files.get(performance)
    if not files:
        others = sorted(each.name for each in listing.files if each.subject == performance.subject)
        holds = f"it has {', '.join(others)} of {performance.subject}" if others else "; ".join(listing.notes)
        raise Fault(Cause.NOT_FOUND, f"{remote} has no file of {performance}", holds)
    paths = [remote_path(structure, performance, kind) for kind in Kind if kind in files]
    return [await _read_file(remote, path, partial(_named, read, path_on(str(remote), path))) for path in paths]


async def _read_file(remote: Remote, path: str, read: Callable[[SparseFile], Result]) -> Result:
    remote_file = await remote.stat(path)
    with (
        tempfile.TemporaryDirectory(prefix="rm360-remote-") as temp_dir,
        SparseFile(Path(temp_dir) / f"{path.rpartition('/')[2]}.sparse", remote_file.size) as sparse,
    ):
        accounts = Accounts([remote], StallPolicy())
        async with accounts.running():
            return await _download_and_read(accounts[0], remote_file, sparse, read)


def _named(read: Read[Result], name: str, sparse: SparseFile) -> Result:
    return read(sparse, name)


async def _download_and_read(
    account: Account, remote_file: RemoteFile, sparse: SparseFile, read: Callable[[SparseFile], Result]
) -> Result:
    results: list[Result] = []
    rounds = discovery_rounds(lambda: results.append(read(sparse)), [sparse])
    try:
        async with account.transfer(remote_file, sparse, lambda size: None) as transfer:
            while await on_disk_thread(next, rounds, _ENDED) is not _ENDED:
                results.clear()
                transfer.want(index_spans(sparse), urgent=True)
                account.connections.start_more()
                await transfer.wait_until_arrived()
    except RangesUnsupported as error:
        raise Fault(Cause.UNREADABLE, str(error), "download the file first") from error
    return results[-1]
