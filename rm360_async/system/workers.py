"""Start workers, give each its job, and read its messages: the service's side of the protocol (see `worker`).

A worker is a process of its own for one job. `single_worker` starts a Python for it; `WorkerTemplate` forks it from a
process that has done the imports already (see `worker_template`).
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.import_path import python_path
from rm360_async.system.pipes import PipeReader, PipeWriter
from rm360_async.system.processes import Tail, kill_group, python_process
from rm360_async.system.worker_environment import worker_environment

OnMessage = Callable[[dict[str, Any]], None]
Answers = MemoryObjectReceiveStream[str]
_START_FUNCTION = "rm360_async.system.worker:start_worker"
_TEMPLATE_FUNCTION = "rm360_async.system.worker_template:serve_forks"
_MAX_STDERR_BYTES = 8192
_MAX_LINE_BYTES = 2**26
"""The record of a file with many left-out frames is long; the garbage of a broken worker is longer."""
_MAX_STATUS_BYTES = 1024
_EXIT_SECONDS = 5.0
"""For a killed worker to be reported by its template, before the template is killed too."""
NOT_STARTED_HINT = "`rm360 doctor CONFIG` starts one as a run does, and says what it needs"


class WorkerProcess(Protocol):
    """A worker: its standard streams, and its end."""

    @property
    def stdin(self) -> ByteSendStream | None:
        """Return the stream for the job."""

    @property
    def stdout(self) -> ByteReceiveStream | None:
        """Return the stream of messages."""

    @property
    def stderr(self) -> ByteReceiveStream | None:
        """Return the stream of errors."""

    @property
    def returncode(self) -> int | None:
        """Return the exit code (negative: the signal that killed it), None before its end."""

    async def wait(self) -> int:
        """Wait for the end; return the exit code."""


@dataclass(frozen=True)
class WorkerEnd:
    """How a worker ended: its exit code (negative: killed by that signal), and the end of its errors."""

    exit_code: int | None
    stderr: str

    def reason(self) -> str:
        """Return the end as the rest of a sentence that begins with the process."""
        lines = self.stderr.strip().splitlines()
        if self.exit_code == -signal.SIGKILL:
            return "was killed by SIGKILL (by hand, or by the system because memory was short)"
        if self.exit_code is not None and self.exit_code < 0:
            return f"was killed by {signal.Signals(-self.exit_code).name}"
        return f"ended with exit code {self.exit_code}" + (f": {lines[-1]}" if lines else "")


async def run_worker(
    worker: AbstractAsyncContextManager[WorkerProcess],
    job: str,
    on_message: OnMessage,
    answers: Answers | None = None,
) -> WorkerEnd:
    """Have a worker do its job, passing on each message, until it has ended.

    Lines that are not messages, such as those that a library prints, are ignored. `answers` are further lines for its
    standard input. Raises Fault(NOT_STARTED) if the
    worker could not be started, or ended before it read its job.
    """
    errors, messages, sending = Tail(_MAX_STDERR_BYTES), _Messages(on_message), anyio.CancelScope()
    async with worker as process:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(errors.drain, process.stderr)
            tasks.start_soon(_send_job, process.stdin, job, answers, sending)
            await messages.read(process.stdout)
            sending.cancel()
        end = WorkerEnd(await process.wait(), errors.text)
    if not messages.started:
        raise not_started(end)
    return end


def not_started(end: WorkerEnd) -> Fault:
    """Return the fault of a worker that ended before it read a job; it names a folder of PYTHONPATH that may be why."""
    message, hint = f"a worker process {end.reason()}, before it had begun", NOT_STARTED_HINT
    named = [folder for folder in python_path() if folder in end.stderr]
    if named:
        message, hint = f"{message}; PYTHONPATH names {', '.join(named)}", "unset PYTHONPATH, or remove what is there"
    return Fault(Cause.NOT_STARTED, message, hint)


async def _send_job(
    stream: ByteSendStream | None, job: str, answers: Answers | None, sending: anyio.CancelScope
) -> None:
    """Send the job, and then the answers until the scope is cancelled."""
    if stream is None:
        return
    with sending, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # it has died, which its output shows
        await stream.send(job.encode() + b"\n")
        while answers is not None:
            await stream.send((await answers.receive()).encode() + b"\n")
    with anyio.CancelScope(shield=True), suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await stream.aclose()


class _Messages:
    """Reads JSON lines; the first message says that the worker has started."""

    def __init__(self, on_message: OnMessage) -> None:
        self.started = False
        self._on_message = on_message

    async def read(self, stream: ByteReceiveStream | None) -> None:
        """Read a stream to its end."""
        if stream is None:
            return
        line = bytearray()
        async for chunk in stream:
            line_end, *line_starts = chunk.split(b"\n")
            line += line_end
            for line_start in line_starts:
                self._parse(bytes(line))
                line = bytearray(line_start)
            del line[_MAX_LINE_BYTES:]

    def _parse(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        if isinstance(message, dict):
            if self.started:
                self._on_message(message)
            self.started = self.started or "started" in message


def single_worker(
    module: str, memory_bytes: int, variables: Mapping[str, str] | None = None
) -> AbstractAsyncContextManager[Process]:
    """Return a worker in a Python process of its own; `variables` are added to its environment."""
    env = {**worker_environment(), **(variables or {})}
    return python_process(_START_FUNCTION, (module, str(memory_bytes)), env=env)


class WorkerTemplate:
    """A context manager that forks workers from one process, which is started when it is first needed.

    `modules` are imported before the first fork; a worker may use others.
    """

    def __init__(self, *modules: str) -> None:
        self._modules = modules
        self._stack = AsyncExitStack()
        self._starting = anyio.Lock()
        self._process: Process | None = None
        self._requests: socket.socket | None = None

    async def __aenter__(self) -> WorkerTemplate:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._close()

    async def start(self) -> None:
        """Start the process, if it is not running, and wait until its imports are done. Raises Fault(NOT_STARTED)."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                await self._close()
                await self._start()

    @asynccontextmanager
    async def worker(self, module: str, memory_bytes: int, name: str = "") -> AsyncIterator[WorkerProcess]:
        """Fork a worker for the length of the block; when the block is left, it and what it started have ended.

        `name` is what `ps` shows. Raises Fault(NOT_STARTED).
        """
        await self.start()
        request = {"module": module, "memory": str(memory_bytes), "name": name}
        with anyio.CancelScope(shield=True):  # between fork and return a cancelled task would leave it without owner
            worker = await self._fork(json.dumps(request).encode())
        try:
            yield worker
        finally:
            with anyio.CancelScope(shield=True):
                await self._end(worker)

    async def _start(self) -> None:
        self._requests, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._stack.callback(self._requests.close)
        with child_end:
            process = python_process(
                _TEMPLATE_FUNCTION, self._modules, env=worker_environment(), stdin=child_end.fileno()
            )
            self._process = await self._stack.enter_async_context(process)
        assert self._process.stdout is not None
        try:
            await self._process.stdout.receive()
        except anyio.EndOfStream:
            errors = Tail(_MAX_STDERR_BYTES)
            await errors.drain(self._process.stderr)
            raise not_started(WorkerEnd(await self._process.wait(), errors.text)) from None

    async def _close(self) -> None:
        stack, self._stack = self._stack, AsyncExitStack()
        self._process = self._requests = None
        await stack.aclose()

    async def _fork(self, request: bytes) -> _ForkedWorker:
        with ExitStack() as child_ends:
            pipes: list[int] = []
            given: list[int] = []
            for is_input in (True, False, False, False):  # standard input, output and errors; the status
                reader, writer = os.pipe()
                own, child = (writer, reader) if is_input else (reader, writer)
                pipes.append(own)
                given.append(child)
                child_ends.callback(os.close, child)
            worker = _ForkedWorker(*pipes)
            try:
                assert self._requests is not None
                socket.send_fds(self._requests, [request], given)
            except OSError as error:
                await worker.aclose()
                raise Fault(
                    Cause.NOT_STARTED, f"no worker can be forked: {error.strerror}", NOT_STARTED_HINT
                ) from error
        try:
            await worker.read_pid()
        except BaseException:
            await worker.aclose()
            raise
        return worker

    async def _end(self, worker: _ForkedWorker) -> None:
        """Kill a worker that has not ended, and what is left of its process group, and wait."""
        with suppress(ProcessLookupError):
            if worker.returncode is None:
                os.killpg(worker.pid, signal.SIGKILL)
        with anyio.move_on_after(_EXIT_SECONDS) as timeout, suppress(Fault):
            await worker.wait()
        if timeout.cancelled_caught:  # the template does not report it, perhaps because it was stopped
            await self._close()
        await kill_group(worker.pid)
        await worker.aclose()


class _ForkedWorker:
    """A worker that the template forked, at the other ends of its pipes."""

    def __init__(self, stdin: int, stdout: int, stderr: int, status: int) -> None:
        self.stdin, self.stdout, self.stderr = PipeWriter(stdin), PipeReader(stdout), PipeReader(stderr)
        self._status = BufferedByteReceiveStream(PipeReader(status))
        self.pid = 0
        self.returncode: int | None = None

    async def read_pid(self) -> None:
        """Wait for the process id. Raises Fault(NOT_STARTED)."""
        answer = await self._status_line()
        if not answer.isdecimal():
            reason = answer.removeprefix("error ") or "the process that forks workers has died"
            raise Fault(Cause.NOT_STARTED, f"no worker can be forked: {reason}", NOT_STARTED_HINT)
        self.pid = int(answer)

    async def wait(self) -> int:
        """Wait for the end; return the exit code. Raises Fault(NOT_STARTED) if the template died, and so the worker."""
        if self.returncode is None:
            status = await self._status_line()
            if not status:
                raise Fault(Cause.NOT_STARTED, "the process that forks workers has died", NOT_STARTED_HINT)
            self.returncode = os.waitstatus_to_exitcode(int(status))
        return self.returncode

    async def aclose(self) -> None:
        """Close the pipes."""
        for stream in (self.stdin, self.stdout, self.stderr, self._status):
            await stream.aclose()

    async def _status_line(self) -> str:
        try:
            return (await self._status.receive_until(b"\n", _MAX_STATUS_BYTES)).decode()
        except (anyio.IncompleteRead, anyio.EndOfStream):
            return ""
