"""Why a remote refuses a byte: asked of `rclone cat`, whose messages tell more than those of an rclone that serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.record import RemoteFile
from rm360_async.download.rclone.command import RcloneCommand
from rm360_async.download.rclone.errors import is_incomplete_listing

_NO_FILE_MATCHED = 9


async def explain_refusal(
    rclone: RcloneCommand, file: RemoteFile, offset: int, stat: Callable[[str], Awaitable[RemoteFile]]
) -> Fault | None:
    """Request the byte at `offset`; return why it is refused, None if it comes.

    `stat` looks a path up again, and raises Fault(NOT_FOUND) if the remote no longer has it: a listing decides that,
    not a refusal.
    """
    ended = await rclone.run(rclone.cat_line(file, offset, 1))
    if ended.returncode == 0 and len(ended.stdout) == 1:
        return None
    action = f"downloading {file.path} from {rclone}"
    truncated = Fault(Cause.TRUNCATED, f"{action}: it ended after {offset} of {file.size} bytes")
    if not is_incomplete_listing(ended.stderr):
        if ended.returncode == 0:
            return truncated
        if ended.returncode == _NO_FILE_MATCHED:
            return await _look_up(file, stat) or truncated
    fault = rclone.fault(ended.returncode, ended.stderr, action)
    if fault.cause is not Cause.NOT_FOUND:
        return fault
    refused = Fault(Cause.SERVER_ERROR, f"{fault.message}, though it lists the file")
    return await _look_up(file, stat) or refused


async def _look_up(file: RemoteFile, stat: Callable[[str], Awaitable[RemoteFile]]) -> Fault | None:
    try:
        await stat(file.path)
    except Fault as fault:
        return fault
    return None
