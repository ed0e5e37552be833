"""The rclone that serves one account for a run: started when it is first needed, and again after its end."""

from __future__ import annotations

import anyio
from anyio.abc import TaskGroup

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.record import RemoteFolder
from rm360_async.download.rclone import RcloneServer, Remote
from rm360_async.system.log import logger

log = logger(__name__)


class ServerProcess:
    """Keeps one serving rclone, in a task of its own.

    `folder`: of several with one path, which the rclone that serves the remote could not tell apart.
    """

    def __init__(self, remote: Remote, folder: RemoteFolder | None = None) -> None:
        self.remote, self.folder = remote, folder
        self._server: RcloneServer | None = None
        self._stop = anyio.Event()
        self._starting = anyio.Lock()

    async def address(self, tasks: TaskGroup | None) -> RcloneServer:
        """Return where the account is served, once it is. Raises the Fault with which rclone did not start."""
        async with self._starting:
            if self._server is None or self._server.ended.is_set():
                if tasks is None:
                    raise Fault(Cause.NETWORK, f"serving {self.remote}: the run is ending")
                self._stop = anyio.Event()
                outcome = await tasks.start(self._serve, self._stop)
                if isinstance(outcome, Fault):
                    raise outcome
                self._server = outcome
            return self._server

    def restart(self) -> None:
        """End the rclone that is running; the next connection starts another."""
        self._stop.set()
        self._server = None

    async def _serve(self, stop: anyio.Event, *, task_status: anyio.abc.TaskStatus[RcloneServer | Fault]) -> None:
        try:
            async with self.remote.serve(self.folder) as server, anyio.create_task_group() as waiting:
                task_status.started(server)

                async def wait_for(event: anyio.Event) -> None:
                    await event.wait()
                    waiting.cancel_scope.cancel()

                waiting.start_soon(wait_for, stop)
                waiting.start_soon(wait_for, server.ended)
        except Fault as fault:
            task_status.started(fault)
            return
        if not stop.is_set():
            what = "the rclone that serves a remote has ended; the next request starts another"
            log.warning(what, remote=str(self.remote))
