"""Look into one file on a remote without downloading it: `inspect` and `cameras analyze` of remote:path."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from anyio.to_thread import run_sync

from rm360_async.domain.errors import BadRequest, Cause, Fault
from rm360_async.domain.record import RemoteFile
from rm360_async.download.ranges.cost import index_spans
from rm360_async.download.ranges.discovery import discovery_rounds
from rm360_async.download.ranges.probe import RangesUnsupported, probe_range_support
from rm360_async.download.ranges.range_client import RangeClient, RangeRefused, RangeSource
from rm360_async.download.ranges.range_connections import ServerAddress
from rm360_async.download.rclone import Remote, RequestQuota, find_rclone, rclone_environment
from rm360_async.download.rclone.server import RequestRate
from rm360_async.system.sparse_file import SparseFile

Found = TypeVar("Found")
_CONNECTIONS = 16
_TRIES = 4


def is_remote(target: Path) -> bool:
    """Tell whether a target is a path on a remote (`gdrive:0018/0018_s3_all_raw.smc`), and no file that is here."""
    return ":" in str(target) and not target.exists()


async def look_into(target: str, look: Callable[[SparseFile], Found]) -> Found:
    """Return what `look` finds in a remote file, of which only what it reads is fetched.

    Raises BadRequest for a target that is no path of a file, Fault for what the remote answers.
    """
    where, slash, name = target.rpartition("/")
    if not slash:
        where, _, name = target.rpartition(":")
        where += ":"
    if not name.endswith(".smc"):
        raise BadRequest(f"{target}: give the path of one .smc, e.g. gdrive:0018/0018_s3_all_raw.smc")
    remote = Remote(where, "", find_rclone(), rclone_environment(os.environ))
    listed = await remote.stat(name)
    with (
        tempfile.TemporaryDirectory(prefix="rm360-look-") as folder,
        SparseFile(Path(folder) / f"{name}.sparse", listed.size) as file,
    ):
        return await _fetch_and_look(remote, listed, file, look)


async def _fetch_and_look(
    remote: Remote, listed: RemoteFile, file: SparseFile, look: Callable[[SparseFile], Found]
) -> Found:
    allowance, words = RequestQuota(), ""
    for _ in range(_TRIES):  # what was fetched stays
        try:
            return await _once(remote, listed, file, look, allowance.rate())
        except RangeRefused as refused:
            if fault := await remote.explain_refusal(listed, refused.offset):
                raise fault from refused
            allowance.slow_down()
            words = refused.message
    raise Fault(
        Cause.SERVER_ERROR,
        f"ranges of {listed.path} are refused: {words}",
        "try again later, or download the file and look into that",
    )


async def _once(
    remote: Remote, listed: RemoteFile, file: SparseFile, look: Callable[[SparseFile], Found], rate: RequestRate
) -> Found:
    async with remote.serve(rate) as served:
        lines = RangeClient(ServerAddress(served.port, served.user, served.password), _CONNECTIONS, lambda size: None)

        def work() -> Found:
            probe_range_support(lines, {listed.path: file})
            found: list[Found] = []
            for _ in discovery_rounds(lambda: found.append(look(file)), [file]):
                found.clear()
                lines.fetch((RangeSource(listed.path, file), span) for span in index_spans(file))
            return found[-1]

        try:
            return await run_sync(work)
        except RangesUnsupported as rangeless:
            raise Fault(Cause.UNREADABLE, str(rangeless), "download the file and look into that") from rangeless
        finally:
            lines.close()
