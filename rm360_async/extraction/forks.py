"""Processes that an extraction forks from itself, to work beside it.

Theory of operation. They are processes because a thread that returns from a system call waits for Python's lock: two
threads took 2.3 times as long as two processes, and were not faster than none. They are forked, which hands on the
open files and takes 5 ms instead of 200, and never touch HDF5. If the extraction process is killed, the kernel kills
them with it (Linux), or they find the pipe closed. They ignore signals to the whole process group: the extraction
process answers them. Their answers are JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.store.file_list import ListedFile
from rm360_async.store.file_writer import FileWriter
from rm360_async.system.linux import die_with_parent

_IGNORED_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
TaskFunction = Callable[[FileWriter, Callable[[ListedFile], None]], list[str]]
"""Writes files, reports each, and returns notes."""


class ForkRefused(Exception):
    """The system allows no further process; what it would have done is done by the extraction process itself."""


class Fork:
    """A forked process that runs `target(connection, *arguments)`; `name` begins the sentences about it.

    `inherited` are the other processes' pipe ends in this process, which the fork must close. Raises
    ForkRefused.
    """

    def __init__(
        self, name: str, target: Callable[..., None], arguments: Sequence[object], inherited: Sequence[Connection] = ()
    ) -> None:
        self.name = name
        forks = multiprocessing.get_context("fork")
        self.connection, child_end = forks.Pipe()
        self.process: ForkProcess = forks.Process(
            target=_run, args=(target, child_end, (self.connection, *inherited), os.getpid(), arguments), daemon=True
        )
        with _signals_blocked():  # an exception that a signal raises during a fork is lost, or raised in the child too
            try:
                self.process.start()
            except OSError as error:
                self.connection.close()
                raise ForkRefused(f"{name} cannot be started: {error.strerror}") from error
            finally:
                child_end.close()

    def receive(self) -> Any:
        """Wait for an answer and return it, or raise the error that it reports.

        A process that died raises Fault(WORKER_DIED); one that ran out of memory raises MemoryError, as this process
        would.
        """
        try:
            answer = json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            raise self._death_fault() from None
        if "error" in answer:
            raise _reported_error(self.name, *answer["error"])
        return answer["result"]

    def kill(self) -> None:
        """Kill the process; `join` waits for it."""
        self.connection.close()
        self.process.kill()

    def join(self) -> None:
        """Wait for the end of the process; it writes nothing more once this returns."""
        self.process.join()

    def _death_fault(self) -> Fault:
        self.process.join()
        code = self.process.exitcode or 0
        end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        guess = " (by hand, or by the system because memory was short)" if code == -signal.SIGKILL else ""
        return Fault(Cause.WORKER_DIED, f"{self.name} {end}{guess}")


@contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(
    target: Callable[..., None],
    connection: Connection,
    inherited: Sequence[Connection],
    parent: int,
    arguments: Sequence[object],
) -> None:
    """Run in the forked process. The signals stay blocked, so that programs that it starts do not get them either."""
    die_with_parent(parent)
    for other in inherited:
        other.close()
    target(connection, *arguments)


def answer(connection: Connection, function: Callable[[], object]) -> None:
    """Send the result of a function as JSON, or the error that ended it."""
    try:
        message = {"result": function()}
    except Fault as fault:
        message = {"error": [fault.cause.code, fault.message, fault.hint]}
    except Exception as error:  # noqa: BLE001 - a bug, which the parent raises
        message = {"error": [type(error).__name__, f"{type(error).__name__}: {error}", ""]}
    connection.send_bytes(json.dumps(message).encode())


def try_fork() -> None:
    """Fork a process that does nothing. Raises ForkRefused, and Fault(WORKER_DIED)."""
    fork = Fork("a process of the extraction", _answer_nothing, ())
    fork.receive()
    fork.join()


def _answer_nothing(connection: Connection) -> None:
    answer(connection, lambda: None)


def _reported_error(name: str, code: str, message: str, hint: str) -> Fault | MemoryError:
    if code == MemoryError.__name__:
        return MemoryError(f"in {name}")
    if code in {cause.code for cause in Cause}:
        return Fault(Cause.from_code(code), message, hint)
    return Fault(Cause.WORKER_DIED, f"{name} failed: {message}", hint)


def file_values(file: ListedFile) -> tuple[str, int, str]:
    """Return a listed file as values for JSON."""
    return file.path, file.size, (file.hash or b"").hex()


def listed_file(path: str, size: int, hashed: str) -> ListedFile:
    """Return the listed file from the values of `file_values`."""
    return ListedFile(path, size, bytes.fromhex(hashed))


class ForkedTask:
    """One function that writes files in a forked process, while the extraction goes on. Raises ForkRefused."""

    def __init__(self, name: str, function: TaskFunction, writer: FileWriter, inherited: Sequence[Connection]) -> None:
        self._fork = Fork(f"the process that {name}", _do_task, (function, writer), inherited)

    def finish(self) -> tuple[list[ListedFile], list[str]]:
        """Wait for the end; return the written files and the notes, or raise what ended the function (see `Fork`)."""
        files, notes = self._fork.receive()
        self._fork.join()
        return [listed_file(*each) for each in files], notes

    def stop(self) -> None:
        """Kill the process and the programs that it runs (ffmpeg), if it is still running, and wait."""
        for pid in _children_of(self._fork.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._fork.kill()
        self._fork.join()


def _children_of(pid: int | None) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended
        return []


def _do_task(connection: Connection, function: TaskFunction, writer: FileWriter) -> None:
    files: list[ListedFile] = []

    def run() -> object:
        notes = function(writer, files.append)
        return [file_values(each) for each in files], notes

    with suppress(ConnectionError):
        answer(connection, run)
