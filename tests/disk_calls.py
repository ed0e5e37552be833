"""A slow or silent disk for a run, a record of the disk calls of its event loop, and its messages to systemd."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("disk_calls.c")
_FRAME = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>\S+)')


def build_library(folder: Path) -> Path:
    """Compile the library that `disk_environment` preloads; skips the test where there is no C compiler."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler (cc) to build the preloaded library")
    library = folder / "disk_calls.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


def disk_environment(
    library: Path,
    below: Path,
    *,
    delay_seconds: float = 0.0,
    gate: Path | None = None,
    record: Path | None = None,
    process: str = "rm360_async run",
) -> dict[str, str]:
    """Return the variables that make the disk of a run slow or silent, or record its calls (see disk_calls.c)."""
    variables = {
        "LD_PRELOAD": str(library),
        "RM360_DISK_PROCESS": process,
        "RM360_DISK_BELOW": str(below),
        "RM360_DISK_DELAY_US": str(round(delay_seconds * 1e6)),
    }
    more = {"RM360_DISK_GATE": gate, "RM360_DISK_RECORD": record}
    return variables | {name: str(path) for name, path in more.items() if path is not None}


@dataclass(frozen=True)
class DiskCall:
    """A call of the event loop's thread on a file, with the Python functions that led to it, the innermost first."""

    call: str
    path: str
    stack: tuple[str, ...]

    def has(self, function: str) -> bool:
        """Return True if a function whose `file.py:name` ends so led to it."""
        return any(frame.endswith(function) for frame in self.stack)

    def __str__(self) -> str:
        ours = [frame for frame in self.stack if frame.startswith("rm360_async/")]
        return f"{self.call} {self.path} in {' < '.join((ours or list(self.stack))[:4])}"


def recorded_calls(record: Path) -> list[DiskCall]:
    """Return the calls that were recorded."""
    calls: list[DiskCall] = []
    for line in record.read_text(errors="replace").splitlines():
        if match := _FRAME.match(line):
            file = match["file"].rpartition("/rm360_async/")
            frame = f"rm360_async/{file[2]}" if file[1] else match["file"]
            calls[-1] = DiskCall(calls[-1].call, calls[-1].path, (*calls[-1].stack, f"{frame}:{match['function']}"))
        elif line and not line.startswith(("Current thread", "Stack (most", "  ")):
            call, _, path = line.partition(" ")
            calls.append(DiskCall(call, path, ()))
    return calls


@dataclass
class ServiceManager:
    """Stands in for systemd: what a service has sent it, each with its moment (monotonic)."""

    address: str
    messages: list[tuple[float, str]] = field(default_factory=list)

    def count(self, message: str) -> int:
        """Return how often a message has come."""
        return sum(text == message for _, text in list(self.messages))

    def environment(self, watchdog_seconds: float) -> dict[str, str]:
        """Return the variables that systemd sets; the service feeds a watchdog twice as often as it bites."""
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(round(watchdog_seconds * 1e6))}


@contextmanager
def service_manager() -> Iterator[ServiceManager]:
    """Listen for the messages of a service."""
    manager = ServiceManager(f"@rm360-test-{os.getpid()}-{time.monotonic_ns()}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + manager.address[1:])

        def listen() -> None:
            while message := listener.recv(4096):
                manager.messages.append((time.monotonic(), message.decode()))

        listening = threading.Thread(target=listen)
        listening.start()
        try:
            yield manager
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.sendto(b"", "\0" + manager.address[1:])
            listening.join()
