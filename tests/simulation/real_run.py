"""A real run over a slow line, with faults: what it took, and how every attempt ended.

It goes through the real rclone, workers and disk against the Drive emulator. The run's own limit caps the line, far
below what the machine can do: else the processor, which a busy machine shares out anew every second, would be the line.
While it runs, the same remote is asked about a file again and again, so what an answer costs (starting rclone included)
is known for this machine at this time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median

import anyio
import pytest
from drive_emulator import Rule
from drive_server import DriveServer

from rm360_async.config import load_settings
from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Kind, Performance, Structure, remote_path
from rm360_async.ledger import Attempt, opened
from rm360_async.stages.remotes import connect
from simulation.catalogue import MB

RETRY_DELAY = 2.0
_PROBE_SECONDS = 2.0
SUBJECT = "0018"
FAULTS = (("e2", Cause.NETWORK, 0.55), ("e5", Cause.SERVER_ERROR, None))
"""Performance, cause, and the share of the file after which the fault happens; None: before its first byte."""
_RULES = (
    Rule("userRateLimitExceeded", path="*_e6_raw.smc", times=1),  # ends no attempt while other bytes arrive
    Rule("close", path="*_e2_raw.smc", times=3),  # the body, what goes on from there, and the question why
    Rule("backendError", path="*_e5_raw.smc", times=2),  # the request, and the question why
)


@dataclass(frozen=True)
class Form:
    """How large the run is: bytes of each file, and bytes a second of the line."""

    sizes: tuple[int, ...]
    rate: int
    downloads: int = 2

    @property
    def names(self) -> list[str]:
        """Return the names of the performances."""
        return [f"e{number}" for number in range(len(self.sizes))]


SHORT = Form(tuple(size * MB for size in (6, 9, 7, 8, 5, 6, 9)), 2 * 2**20)
"""50 MB: half a minute."""


def long_form(total: int) -> Form:
    """Return the form for so many bytes, over a line of 8 MiB/s."""
    return Form(tuple(total * size // sum(SHORT.sizes) for size in SHORT.sizes), 8 * 2**20)


@dataclass(frozen=True)
class RealRun:
    """What a real run took: seconds of a mean answer, and of the middle extraction; and its history."""

    exit_code: int
    answer_seconds: float
    extract_seconds: float
    attempts: tuple[Attempt, ...]


def run_for_real(server: DriveServer, form: Form, monkeypatch: pytest.MonkeyPatch) -> RealRun:
    """Run the service over a capped line, with the faults."""
    for name, size in zip(form.names, form.sizes, strict=True):
        server.put(name, filler=size // 8)
    places = {f"*_{name}_raw.smc": int((at or 0) * size_of(server, name)) for name, _, at in FAULTS}
    server.drive.rules = [replace(rule, at=places.get(rule.path, 0)) for rule in _RULES]
    monkeypatch.setenv("RCLONE_BWLIMIT", str(form.rate) + "B")
    config = server.config(
        processing__downloads=form.downloads,
        processing__workers=2,
        processing__retry_delay=RETRY_DELAY,
        processing__fetch="whole",
    )
    with _probes(server, str(config)) as answers:
        code = server.workspace.command("run")
    attempts = anyio.run(_attempts, server)
    extract = median(each.seconds["extract"] for each in attempts if "extract" in each.seconds)
    return RealRun(code, mean(answers), extract, attempts)


@contextmanager
def _probes(server: DriveServer, config: str) -> Iterator[list[float]]:
    """Ask the remote about a file every now and then; gives the seconds that each answer took.

    The first one is there before the block begins, so the remote has hashed its files.
    """
    remote = connect(load_settings(Path(config)))[0]
    path = remote_path(Structure.SINGLE, Performance(SUBJECT, "e0"), Kind.RAW)
    anyio.run(remote.stat, path)
    answers: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        while True:
            began = time.monotonic()
            anyio.run(remote.stat, path)
            answers.append(time.monotonic() - began)
            if ended.wait(_PROBE_SECONDS):
                return

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join()


async def _attempts(server: DriveServer) -> tuple[Attempt, ...]:
    async with opened(server.workspace.root / "work" / "MANIFEST.csv") as (ledger, _):
        return tuple(await ledger.attempts.all())


def size_of(server: DriveServer, name: str) -> int:
    return server.file(name).stat().st_size
