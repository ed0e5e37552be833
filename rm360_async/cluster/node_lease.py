"""What a job holds while a node works on it: the node's spool, and the coordinator's promise of the output disk."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from rm360_async.budget import Lease
from rm360_async.cluster.members import Member


class NodeLease:
    """A place on a node, and output that was promised; `on_release` returns the place (see `job.DiskLease`)."""

    def __init__(self, member: Member, output: Lease, on_release: Callable[[str], None]) -> None:
        self.member, self.output, self._on_release = member, output, on_release
        self.ended = ""
        """How the job has ended, see `values`; "" while it goes on, or will be continued."""
        self._is_released = False

    def record_written(self, output_bytes: int, output_files: int) -> None:
        """Record how much of the output is on disk."""
        self.output.record_written(output_bytes, output_files)

    async def release(self) -> None:
        """Return both; does nothing the second time."""
        if self._is_released:
            return
        self._is_released = True
        self._on_release(self.ended)
        with anyio.CancelScope(shield=True):
            await self.output.release()
