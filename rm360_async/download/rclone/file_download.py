"""The download of one remote file into a part file, and the reason of one that ended early."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.record import RemoteFile
from rm360_async.download.rclone.command import RcloneCommand
from rm360_async.download.rclone.errors import is_incomplete_listing
from rm360_async.download.rclone.part_hasher import PartHasher
from rm360_async.download.rclone.stall import StallPolicy
from rm360_async.download.rclone.transfer import OnBytes, TransferResult, open_part, run_transfer, size_of
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.exception_groups import unwraps_faults
from rm360_async.system.fault_points import reach

_NO_FILE_MATCHED = 9


@dataclass(frozen=True)
class FileDownload:
    """Downloads `file`; `stat` looks a path up again, and raises Fault(NOT_FOUND) if the remote no longer has it."""

    rclone: RcloneCommand
    file: RemoteFile
    stat: Callable[[str], Awaitable[RemoteFile]]
    policy: StallPolicy

    async def run(self, part: Path, on_bytes: OnBytes, expected_md5: Callable[[], Awaitable[str | None]]) -> str:
        """Download what the part lacks; `expected_md5` runs meanwhile and gives what to compare with; see `Remote`."""
        hasher = PartHasher(part)
        with unwraps_faults():
            async with open_part(part, self.file.size) as descriptor:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(hasher.follow)
                    tasks.start_soon(self._complete, descriptor, on_bytes, hasher)
                    expected = await expected_md5()
                fault = self._compare(await size_of(descriptor), hasher.md5, expected)
                reach("part compared")
                if fault is not None:
                    await on_disk_thread(part.unlink)
                    raise fault
                await on_disk_thread(os.fsync, descriptor)
        return hasher.md5

    async def explain_refusal(self, offset: int) -> Fault | None:
        """Return why the byte at `offset` is refused, None if it is not; see `Remote.explain_refusal`."""
        ended = await self.rclone.run(self.rclone.cat_line(self.file, offset, 1))
        if ended.returncode == 0 and len(ended.stdout) == 1:
            return None
        return await self._explain(offset, TransferResult(ended.returncode, ended.stderr))

    async def _complete(self, descriptor: int, on_bytes: OnBytes, hasher: PartHasher) -> None:
        """Download what the part lacks, and then let the hasher end. Raises Fault if the download ends early."""
        offset, size = await size_of(descriptor), self.file.size
        if offset == size:  # a request from the end on would be refused (416)
            on_bytes(offset)
        else:
            command = self.rclone.cat_line(self.file, offset, size - offset)
            result = await run_transfer(command, self.rclone.env, descriptor, self.policy, on_bytes)
            reach("part downloaded")
            received = await size_of(descriptor)
            if received < size:
                raise await self._explain(received, result)
        hasher.finish()

    async def _explain(self, received: int, result: TransferResult) -> Fault:
        """Return why a download ended after `received` bytes of the file."""
        action, progress = f"downloading {self.file.path} from {self.rclone}", f"{received} of {self.file.size} bytes"
        truncated = Fault(Cause.TRUNCATED, f"{action}: it ended after {progress}")
        if result.stalled:
            return Fault(Cause.STALL, f"{action}: {result.stalled}, at {progress}")
        if not is_incomplete_listing(result.stderr):
            if result.returncode == 0:
                return truncated
            if result.returncode == _NO_FILE_MATCHED:
                return await self._look_up_again() or truncated
        fault = self.rclone.fault(result.returncode, result.stderr, action)
        if fault.cause is not Cause.NOT_FOUND:
            return fault
        refused = Fault(Cause.SERVER_ERROR, f"{fault.message}, though it lists the file")
        return await self._look_up_again() or refused

    async def _look_up_again(self) -> Fault | None:
        """Return the fault of a lookup, None if the file is there: a listing decides that, not a refusal."""
        try:
            await self.stat(self.file.path)
        except Fault as fault:
            return fault
        return None

    def _compare(self, size: int, md5: str, expected_md5: str | None) -> Fault | None:
        """Return Fault(MISMATCH) if a complete part is not the remote's file, else None."""
        path = self.file.path
        if size != self.file.size:
            return Fault(Cause.MISMATCH, f"{path}: {size} bytes arrived, the remote lists {self.file.size}")
        if expected_md5 is not None and expected_md5 != md5:
            return Fault(Cause.MISMATCH, f"{path}: the md5 of what arrived is {md5}, the remote lists {expected_md5}")
        return None
