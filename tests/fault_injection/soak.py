"""One long session: many tiny performances on an emulated Drive in bad weather, with restarts and config changes.

Each performance may fail as often as the weather wants and must be published once in the end, and soon: performances
that were never begun may not pass one that is due again. Memory, open files and files on disk may not grow meanwhile.
"""

from __future__ import annotations

import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import pytest
from drive_emulator import ROOT_ID, Drive, Rule, serve
from instance import Instance
from tiny_smc import Tiny
from workspace import Workspace

from fault_injection.result import Case
from fault_injection.session import kill_all, wait

KINDS = {"weather": "refusals, breaks, networks that go, kills, stops and config changes over one long session"}
_SETTINGS: dict[str, Any] = {
    "google_drive__remote_name": "gdrive",
    "google_drive__root_folder_id": ROOT_ID,
    "processing__max_retries": 100,
    "processing__retry_delay": 0.2,
    "processing__quota_wait_hours": 0.002,
    "processing__stall_seconds": 3,
    "processing__grace_seconds": 2,
}
_FILES = ("downloadQuotaExceeded", "backendError", "reset", "close", "stall", "short", "corrupt", "notFound")
"""Kinds of rules that meet some downloads."""
_ACCOUNT = ("userRateLimitExceeded", "rateLimitExceeded", "authError", "internalError")
"""Kinds of rules that meet any request of an account."""
_CHANGES: dict[str, tuple[Any, ...]] = {
    "processing__downloads": (1, 2, 4),
    "processing__workers": (1, 2),
    "processing__fetch": ("auto", "ranges", "whole"),
    "processing__retry_delay": (0.1, 0.5),
    "logging__level": ("INFO", "DEBUG"),
}
_PART_NAMES = [*(f"e{number}" for number in range(12)), "h0", "h2", *(f"s{number}_all" for number in range(1, 7))]
_SECONDS_PER_PERFORMANCE = 4.0
_PASSED_SHARE = 0.2
"""Of all performances: how many that were never begun may come before one that is due again."""
_SERVICE_MB, _OPEN_FILES, _WORK_FILES = 200.0, 150, 200
_STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM)


@dataclass
class Soak:
    """A session over `count` performances; a run that lasts is stopped after about `restart_seconds`."""

    case: Case
    root: Path
    count: int
    restart_seconds: float = 60.0
    violations: list[str] = field(default_factory=list)
    weather: Counter[str] = field(default_factory=Counter)
    peaks: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = self.case.random
        self.root.mkdir(parents=True)
        subjects = [f"{number:04d}" for number in range(18, 18 + -(-self.count // len(_PART_NAMES)))]
        with pytest.MonkeyPatch.context() as patch:
            self.workspace = Workspace(self.root, patch, subjects=subjects)
        self.names = [f"{subject}/{part}" for subject, part in product(subjects, _PART_NAMES)][: self.count]
        for name in self.names:
            subject, part = name.split("/")
            tiny = Tiny(subject, part, cameras=("25",), frames=2, rate=8000, seconds=0.2, filler=20_000)
            self.workspace.put(f"{subject}/{subject}_{part}_raw.smc", tiny)
        self.settings = dict(_SETTINGS)

    def run(self) -> None:
        """Run, disturb and start again until a run ends by itself, then check everything."""
        end = time.monotonic() + 120 + self.count * _SECONDS_PER_PERFORMANCE
        with serve(self.workspace.remote, self.root / "drive") as drive:
            while not self.violations and not self._run_once(drive, end):
                if time.monotonic() > end:
                    self.violations.append("the session did not end in time")
        kill_all(self.workspace, self.random)
        if not self.violations:
            self.violations += self._problems()

    def _run_once(self, drive: Drive, end: float) -> bool:
        """Run until the run ends or is ended; return True if it ended with everything done."""
        stop = time.monotonic() + self.restart_seconds * self.random.uniform(0.5, 1.5)
        service = {**drive.env(), "INVOCATION_ID": "soak"}
        with Instance(self.workspace, environment=service, **self.settings) as run:
            while run.process.poll() is None and time.monotonic() < min(stop, end):
                self._disturb(drive)
                with suppress(TimeoutError):
                    wait(run, self.random.uniform(0.5, 2))
                self._measure(run)
            if run.process.poll() is None:
                self._end(run)
            code = run.process.wait()
        if code not in (0, *_STOPPED):
            self.violations.append(f"a run ended by itself with {code}: {run.output[-1500:]}")
        return code == 0

    def _disturb(self, drive: Drive) -> None:
        kind = self.random.choice((*_FILES, *_ACCOUNT, "network", "config", "calm", "calm", "calm"))
        self.weather[kind] += 1
        times = self.random.randint(1, 3)
        if kind in _FILES:
            drive.rules = [Rule(kind, skip=self.random.randint(0, 3), times=times, at=self.random.randint(0, 40_000))]
        elif kind in _ACCOUNT:
            drive.rules = [Rule(kind, op="any", account=self.random.choice(drive.accounts), times=times)]
        elif kind == "network":
            drive.go_down()
            time.sleep(self.random.uniform(0.2, 4))
            drive.come_up()
        elif kind == "config":
            key = self.random.choice(list(_CHANGES))
            self.settings[key] = self.random.choice(_CHANGES[key])

    def _end(self, run: Instance) -> None:
        how = self.random.choice(("TERM", "TERM", "INT", "kill"))
        self.weather[how] += 1
        if how == "kill":
            kill_all(self.workspace, self.random)
            return
        run.signal(signal.SIGTERM if how == "TERM" else signal.SIGINT)
        with suppress(TimeoutError):
            wait(run, 30)
        if run.process.poll() is None:
            self.violations.append(f"a run did not stop within 30 s of {how}: {run.output[-1500:]}")
            run.kill()

    def _measure(self, run: Instance) -> None:
        process = Path(f"/proc/{run.process.pid}")
        with suppress(OSError, StopIteration):
            resident = next(line for line in (process / "status").read_text().splitlines() if "VmRSS" in line)
            self._note("megabytes of the service", int(resident.split()[1]) / 1000)
            self._note("open files of the service", sum(1 for _ in (process / "fd").iterdir()))
            self._note("files in temp_dir", sum(1 for _ in self.workspace.temp.rglob("*")))

    def _note(self, what: str, amount: float) -> None:
        self.peaks[what] = max(self.peaks[what], round(amount))

    def _problems(self) -> list[str]:
        limits = {
            "megabytes of the service": _SERVICE_MB,
            "open files of the service": _OPEN_FILES,
            "files in temp_dir": _WORK_FILES,
        }
        problems = [f"{self.peaks[what]} {what}" for what, limit in limits.items() if self.peaks[what] > limit]
        problems += [f"{name} is not as released" for name in self.names if not self._is_as_released(name)]
        if self.workspace.command("verify", "--deep") != 0:
            problems.append("verify --deep does not agree")
        if left := self.workspace.leftovers():
            problems.append(f"left behind: {left[:5]}")
        with closing(sqlite3.connect(self.root / "work" / "MANIFEST.sqlite")) as ledger:
            problems += done_more_than_once(ledger)
            problems += starved(ledger, max(8, int(self.count * _PASSED_SHARE)))
        return problems

    def _is_as_released(self, name: str) -> bool:
        subject, part = name.split("/")
        with h5py.File(self.workspace.remote / subject / f"{subject}_{part}_raw.smc") as smc:
            images = {frame: bytes(blob[()]) for frame, blob in smc["Camera"]["25"]["color"].items()}
        folder = self.workspace.folder(name) / "images" / "cam_25"
        paths = {frame: folder / f"frame_{int(frame):06d}.jpg" for frame in images}
        return all(path.is_file() and path.read_bytes() == images[frame] for frame, path in paths.items())


def done_more_than_once(ledger: sqlite3.Connection) -> list[str]:
    """Return a problem for each performance that does not have exactly one attempt that completed it."""
    query = (
        "SELECT subject || '/' || name, sum(coalesce(outcome, '') = 'completed') FROM performance "
        "LEFT JOIN attempt ON attempt.performance = performance.id GROUP BY performance.id"
    )
    return [f"{name} was completed {times} times" for name, times in ledger.execute(query) if times != 1]


def starved(ledger: sqlite3.Connection, most: int) -> list[str]:
    """Return a problem for each attempt before which more than `most` others were begun for the first time.

    They are counted from the end of the attempt before it; a performance that waits for a retry may be passed by few.
    """
    attempts = ledger.execute("SELECT performance, started, ended FROM attempt ORDER BY id").fetchall()
    first_begun: dict[int, str] = {}
    ended: dict[int, str] = {}
    problems = []
    for performance, start, end in attempts:
        first_begun.setdefault(performance, start)
        if performance in ended:
            passing = sum(1 for begun in first_begun.values() if ended[performance] < begun < start)
            if passing > most:
                problems.append(f"{passing} performances were begun before row {performance} was tried again")
        ended[performance] = end or start
    return problems


def run_soak(case: Case, root: Path, count: int, say: Callable[[str], None]) -> Soak:
    """Run a soak; say what the weather was and the highest figures."""
    soak = Soak(case, root / "soak", count)
    soak.run()
    say(f"weather: {', '.join(f'{kind} {times}' for kind, times in sorted(soak.weather.items()))}")
    say(f"at most: {', '.join(f'{amount} {what}' for what, amount in soak.peaks.items())}")
    return soak
