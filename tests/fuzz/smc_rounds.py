"""Rounds with mutated and hostile .smc files, each through the real worker process."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from anyio.to_thread import run_sync
from fault_injection.result import Case, SuiteResult
from tiny_smc import Tiny

from fuzz.file_watch import SECRET, OpenWatch, snapshot
from fuzz.hdf5_edits import FuzzContext, make_outside_files
from fuzz.hostile import HOSTILE, copy_in_format, make_hostile
from fuzz.mutations import MUTATIONS, SourceBytes, read_source
from fuzz.outputs import message_problems
from fuzz.reference import ReferenceServer
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.record import Record, SourceFile
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.worker_client import ExtractionWorkers, WorkerLimits
from rm360_async.store.staging import remove_tree

LIMITS = WorkerLimits(memory_bytes=768 * 2**20, deadline_seconds=20)
KINDS = (*MUTATIONS, *HOSTILE)
_ALLOWED_CAUSES = (Cause.UNREADABLE, Cause.DAMAGED, Cause.WORKER_DIED, Cause.DEADLINE)
_SLACK_SECONDS = 15
"""Allowed after the deadline: the grace between TERM and KILL, and a busy machine."""
_PERFORMANCE = Performance("0018", "s1_all")


class BaseFiles:
    """The small intact files that are mutated: several layouts, formats, and one with a user block."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        tiny = {"frames": 3, "masks": True, "anno": True, "rate": 8000}
        plain = Tiny(**tiny).write(folder / "plain.smc")  # type: ignore[arg-type]
        self.paths = [plain, copy_in_format(plain, folder / "latest.smc", "latest")]
        for number, more in enumerate(({"layout": "compact"}, {"layout": "gzip"}, {"column": True, "userblock": 512})):
            self.paths.append(Tiny(**tiny, **more).write(folder / f"{number}.smc"))  # type: ignore[arg-type]
        self.contents: list[SourceBytes] = [read_source(path) for path in self.paths]


@dataclass
class Slot:
    """The folders of one round at a time: source and staging, and files outside of them."""

    root: Path

    def __post_init__(self) -> None:
        self.root.mkdir()
        self.source = self.root / "raw.smc"
        self.staging = self.root / "subjects" / "0018" / ".s1_all.x.staging"
        self.staging.parent.mkdir(parents=True)
        self.temp = self.root / "tmp"
        self.temp.mkdir()
        self.outside = self.root / "outside"
        make_outside_files(self.outside, SECRET)


def make_input(case: Case, bases: BaseFiles, slot: Slot, many: int) -> None:
    """Write the round's source file."""
    random = case.random
    base = random.randrange(len(bases.paths))
    if case.kind in MUTATIONS:
        slot.source.write_bytes(MUTATIONS[case.kind](bases.contents[base], random))
        return
    shutil.copyfile(bases.paths[base], slot.source)
    make_hostile(slot.source, case.kind, FuzzContext(random, slot.outside, many))


class SmcRounds:
    """A context manager that runs rounds; several at once, each in a slot of its own."""

    def __init__(self, root: Path, many: int = 200_000, count: int = 2) -> None:
        self.root, self.many, self.count = root, many, count
        self.bases = BaseFiles(root / "bases")
        self.references = [ReferenceServer() for _ in range(count)]
        self.slots = [Slot(root / f"slot{number}") for number in range(count)]
        self.unverified = 0
        self.original_environment = {name: value for name, value in os.environ.items() if name == "TMPDIR"}
        """Each round sends the temporary files of its worker to its slot; this is restored at the end."""

    def __enter__(self) -> SmcRounds:
        for reference in self.references:
            reference.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for reference in self.references:
            reference.__exit__()
        os.environ.pop("TMPDIR", None)
        os.environ.update(self.original_environment)

    async def run_round(self, case: Case, number: int) -> SuiteResult:
        """Make the input of a case in slot `number`, extract it in a real worker, and check the outcome."""
        slot = self.slots[number]
        await run_sync(make_input, case, self.bases, slot, self.many)
        before = snapshot(slot.root, slot.staging)
        result = SuiteResult(case, "published", evidence=[slot.source])
        os.environ["TMPDIR"] = str(slot.temp)
        with OpenWatch(slot.outside) as watch:
            start = time.monotonic()
            outcome = await self._extract(slot)
            result.seconds = time.monotonic() - start
            opened = watch.opened() - {"."}
        if opened:
            result.violations.append(f"opened files that are not the source: {sorted(opened)}")
        if snapshot(slot.root, slot.staging) != before:
            changed = set(snapshot(slot.root, slot.staging).items()) ^ set(before.items())
            result.violations.append(f"changed files outside of the staging folder: {sorted(changed)[:5]}")
        if result.seconds > LIMITS.deadline_seconds + _SLACK_SECONDS:
            result.violations.append(f"took {result.seconds:.0f} s, the deadline is {LIMITS.deadline_seconds} s")
        if isinstance(outcome, Record):
            result.ended = "published without broken data" if outcome.left_out else "published"
            result.violations += await run_sync(self._success_violations, slot, outcome, number)
        else:
            result.ended, violations = _failure_violations(slot, outcome)
            result.violations += violations
        await run_sync(_clear, slot)
        return result

    async def _extract(self, slot: Slot) -> Record | BaseException:
        sources = (SourceFile("0018/0018_s1_all_raw.smc", slot.source.stat().st_size),)
        job = ExtractJob(_PERFORMANCE, str(slot.source), None, sources, str(slot.staging))
        try:
            async with ExtractionWorkers() as workers:
                return await workers.extract(job, LIMITS, lambda files, size: None)
        except Exception as error:  # noqa: BLE001 (anything but a Fault is a violation, and reported as one)
            return error

    def _success_violations(self, slot: Slot, record: Record, number: int) -> list[str]:
        reasons = [str(item) for item in record.left_out]
        violations = [text for reason in reasons for text in message_problems(reason, "a left-out line")][:5]
        for path in _files(slot.staging):
            if path.is_symlink() or not path.resolve().is_relative_to(slot.staging.resolve()):
                violations.append(f"{path} leads out of the staging folder")
            elif _holds_secret(path):
                violations.append(f"{path.relative_to(slot.staging)} holds bytes of a file outside")
        differences = self.references[number].differences(slot.source, slot.staging)
        self.unverified += differences is None
        return violations + (differences or [])[:10]


def _failure_violations(slot: Slot, error: BaseException) -> tuple[str, list[str]]:
    """Return how a failed extraction ended, and its violations."""
    if not isinstance(error, Fault):
        return "crashed", [f"the service's side raised {error!r}"]
    violations = message_problems(str(error), "the message")
    ended = error.cause.code
    if error.cause not in _ALLOWED_CAUSES:
        violations.append(f"the cause is {error.cause.code!r}: {error}")
    if "ended with exit code" in error.message:
        violations.append(f"an unexpected exception in the worker: {error}")
    if error.cause in (Cause.UNREADABLE, Cause.DAMAGED) and os.path.lexists(slot.staging):
        violations.append("a failure left its staging folder")
    if "of memory" in error.message:
        ended = "worker died: memory"
    if killed := re.search(r"killed by (SIG\w+)", error.message):
        ended = f"worker died: {killed[1]}"
    return ended, violations


def _holds_secret(path: Path) -> bool:
    """Search piece by piece, to keep this process small: the memory peak of a child begins with its parent's."""
    tail = b""
    with path.open("rb") as file:
        while piece := file.read(2**20):
            if SECRET in tail + piece:
                return True
            tail = piece[-len(SECRET) :]
    return False


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent) / name


def _clear(slot: Slot) -> None:
    remove_tree(slot.staging)
    for left in slot.temp.iterdir():
        left.unlink()
