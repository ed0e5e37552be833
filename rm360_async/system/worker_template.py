"""A process that has imported what workers need, and forks one worker after the other from itself.

Theory of operation. Importing numpy and h5py takes 0.2 s of CPU, as much as everything else that a small performance
costs. So one process, the template, imports them once and waits; for each job it forks, which takes some
milliseconds, and the fork is a fresh worker: it has opened nothing, has limits and a process group of its own, does
one job and ends. The template itself never touches data and runs no thread.

Requests are datagrams on its standard input: module, memory limit and name of the worker (JSON), with four
descriptors: the worker's three standard streams, and a pipe on which the template writes the worker's process id and,
when it has ended, its wait status. The workers die with the template, and the template with the service.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from importlib import import_module

from rm360_async.system.linux import die_with_parent, set_process_name
from rm360_async.system.worker import MessageWriter, start_worker

_MAX_REQUEST_BYTES = 2**16
_STREAMS = 3


def serve_forks(*modules: str) -> int:
    """Import the modules, then fork workers until the other end of standard input is closed."""
    messages = MessageWriter()
    for module in modules:
        import_module(module)
    gc.freeze()  # so that a collection in a fork copies no page of the template
    messages.send({"started": True})
    with socket.socket(fileno=os.dup(0)) as requests:
        _Template(requests).serve()
    return 0


class _Template:
    """The loop of the template; `_status_pipes` has those of the workers that have not ended, by process id."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._status_pipes: dict[int, int] = {}
        self._wakeup, wakeup_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._inherited = (self._wakeup, wakeup_end)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wakeup_end)

    def serve(self) -> None:
        """Answer requests and report the ends of workers."""
        poll = select.poll()
        poll.register(self._requests, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wakeup in ready:
                os.read(self._wakeup, 4096)
                self._report_ended()
            if self._requests.fileno() in ready:
                request, descriptors, _, _ = socket.recv_fds(self._requests, _MAX_REQUEST_BYTES, _STREAMS + 1)
                if not request:
                    return
                self._start(json.loads(request), descriptors)

    def _start(self, request: dict[str, str], descriptors: list[int]) -> None:
        *streams, status_pipe = descriptors
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            _write(status_pipe, f"error {error.strerror}\n")
            os.close(status_pipe)
        else:
            if pid == 0:
                self._become_worker(request, streams, status_pipe, parent)
            with suppress(OSError):  # the worker does it as well; whoever comes first
                os.setpgid(pid, pid)
            self._status_pipes[pid] = status_pipe
            _write(status_pipe, f"{pid}\n")
        for stream in streams:
            os.close(stream)

    def _become_worker(self, request: dict[str, str], streams: list[int], status_pipe: int, parent: int) -> None:
        """Do a worker's work in the forked process, and end it."""
        code = 1
        try:
            os.setpgid(0, 0)
            die_with_parent(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            self._requests.close()
            for descriptor in (*streams, status_pipe, *self._inherited, *self._status_pipes.values()):
                os.close(descriptor)
            set_process_name(request["name"])
            code = start_worker(request["module"], request["memory"])
        except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
            traceback.print_exc()
        finally:
            with suppress(OSError, ValueError):
                sys.stderr.flush()
            os._exit(code)

    def _report_ended(self) -> None:
        while self._status_pipes:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            status_pipe = self._status_pipes.pop(pid)
            _write(status_pipe, f"{status}\n")
            os.close(status_pipe)


def _write(descriptor: int, text: str) -> None:
    with suppress(OSError):  # the service has ended, and this process is about to be killed
        os.write(descriptor, text.encode())
