"""Rounds with mutated and hostile .smc files, each through the real worker process."""

from __future__ import annotations

import itertools
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

from fuzz.decoys import SECRET, Watch, snapshot
from fuzz.hostile import HOSTILE, in_format, spoil
from fuzz.mutations import MUTATIONS, Whole, whole
from fuzz.telling import told_well
from fuzz.trap import Trap, make_decoys
from fuzz.truth import Truth
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.record import Record, SourceFile
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.worker_client import WorkerLimits, run_extraction
from rm360_async.store.staging import remove_tree

LIMITS = WorkerLimits(memory_bytes=768 * 2**20, deadline_seconds=20)
KINDS = (*MUTATIONS, *HOSTILE)
_ALLOWED = (Cause.UNREADABLE, Cause.DAMAGED, Cause.WORKER_DIED, Cause.DEADLINE)
_SLACK_SECONDS = 15
"""After the deadline: the grace between TERM and KILL, and a busy machine."""
_PERFORMANCE = Performance("0018", "s1_all")


class Bases:
    """The whole, small files that rounds begin with: layouts, formats, a user block."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        tiny = {"frames": 3, "masks": True, "anno": True, "rate": 8000}
        plain = Tiny(**tiny).write(folder / "plain.smc")  # type: ignore[arg-type]
        self.paths = [plain, in_format(plain, folder / "latest.smc", "latest")]
        for number, more in enumerate(({"layout": "compact"}, {"layout": "gzip"}, {"column": True, "userblock": 512})):
            self.paths.append(Tiny(**tiny, **more).write(folder / f"{number}.smc"))  # type: ignore[arg-type]
        self.wholes: list[Whole] = [whole(path) for path in self.paths]


@dataclass
class Slot:
    """The folders of one round at a time: source and staging, and decoys beside them."""

    root: Path

    def __post_init__(self) -> None:
        self.root.mkdir()
        self.source = self.root / "raw.smc"
        self.staging = self.root / "subjects" / "0018" / ".s1_all.x.staging"
        self.staging.parent.mkdir(parents=True)
        self.temp = self.root / "tmp"
        self.temp.mkdir()
        self.outside = self.root / "outside"
        make_decoys(self.outside, SECRET)


def make_input(case: Case, bases: Bases, slot: Slot, many: int) -> None:
    """Write the round's source file."""
    random = case.random
    base = random.randrange(len(bases.paths))
    if case.kind in MUTATIONS:
        slot.source.write_bytes(MUTATIONS[case.kind](bases.wholes[base], random))
        return
    shutil.copyfile(bases.paths[base], slot.source)
    spoil(slot.source, case.kind, Trap(random, slot.outside, many))


class SmcRounds:
    """Does rounds; several may be under way, each in a slot of its own. A context manager."""

    def __init__(self, root: Path, many: int = 200_000, count: int = 2) -> None:
        self.root, self.many, self.count = root, many, count
        self.bases = Bases(root / "bases")
        self.truths = [Truth() for _ in range(count)]
        self.slots = [Slot(root / f"slot{number}") for number in range(count)]
        self.untold = 0
        self.after = itertools.count()
        self.usual = {name: place for name, place in os.environ.items() if name == "TMPDIR"}
        """Where temporary files go otherwise; each round sends those of its worker to its slot."""

    def __enter__(self) -> SmcRounds:
        for truth in self.truths:
            truth.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for truth in self.truths:
            truth.__exit__()
        os.environ.pop("TMPDIR", None)
        os.environ.update(self.usual)

    async def round(self, case: Case, number: int) -> SuiteResult:
        """Make the input of a case, extract it in a real worker, and judge; `number` is the slot."""
        slot = self.slots[number]
        await run_sync(make_input, case, self.bases, slot, self.many)
        before = snapshot(slot.root, slot.staging)
        verdict = SuiteResult(case, "published", evidence=[slot.source])
        os.environ["TMPDIR"] = str(slot.temp)
        with Watch(slot.outside) as watch:
            start = time.monotonic()
            outcome = await self._extract(slot)
            verdict.seconds = time.monotonic() - start
            opened = watch.opened() - {"."}
        if opened:
            verdict.violations.append(f"opened files that are not the source: {sorted(opened)}")
        if snapshot(slot.root, slot.staging) != before:
            changed = set(snapshot(slot.root, slot.staging).items()) ^ set(before.items())
            verdict.violations.append(f"changed what is outside of the staging folder: {sorted(changed)[:5]}")
        if verdict.seconds > LIMITS.deadline_seconds + _SLACK_SECONDS:
            verdict.violations.append(f"took {verdict.seconds:.0f} s, the deadline is {LIMITS.deadline_seconds} s")
        if isinstance(outcome, Record):
            verdict.ended = "published but for what is broken" if outcome.left_out else "published"
            verdict.violations += await run_sync(self._judge_success, slot, outcome, number)
        else:
            verdict.ended, wrong = _judge_failure(slot, outcome)
            verdict.violations += wrong
        await run_sync(_clear, slot)
        return verdict

    async def _extract(self, slot: Slot) -> Record | BaseException:
        sources = (SourceFile("0018/0018_s1_all_raw.smc", slot.source.stat().st_size),)
        job = ExtractJob(_PERFORMANCE, str(slot.source), None, sources, str(slot.staging))
        try:
            return await run_extraction(job, LIMITS, lambda files, size: None)
        except Exception as error:  # noqa: BLE001 (anything but a Fault is a violation, and told as one)
            return error

    def _judge_success(self, slot: Slot, record: Record, number: int) -> list[str]:
        wrong = [text for item in record.left_out for text in told_well(str(item), "a left-out line")][:5]
        for path in _files(slot.staging):
            if path.is_symlink() or not path.resolve().is_relative_to(slot.staging.resolve()):
                wrong.append(f"{path} leads out of the staging folder")
            elif _holds_secret(path):
                wrong.append(f"{path.relative_to(slot.staging)} holds bytes of a file outside")
        told = self.truths[number].ask(slot.source, slot.staging)
        self.untold += told is None
        return wrong + (told or [])[:10]


def _judge_failure(slot: Slot, error: BaseException) -> tuple[str, list[str]]:
    if not isinstance(error, Fault):
        return "crashed", [f"the service's side raised {error!r}"]
    wrong = told_well(str(error), "the message")
    ended = error.cause.code
    if error.cause not in _ALLOWED:
        wrong.append(f"blames {error.cause.code!r}: {error}")
    if "ended with exit code" in error.message:
        wrong.append(f"an unforeseen exception in the worker: {error}")
    if error.cause in (Cause.UNREADABLE, Cause.DAMAGED) and os.path.lexists(slot.staging):
        wrong.append("a failure left its staging folder")
    if "of memory" in error.message:
        ended = "worker died: memory"
    if killed := re.search(r"killed by (SIG\w+)", error.message):
        ended = f"worker died: {killed[1]}"
    return ended, wrong


def _holds_secret(path: Path) -> bool:
    """Search in pieces, so that our own memory stays small: a child's peak begins with its parent's."""
    kept = b""
    with path.open("rb") as file:
        while piece := file.read(2**20):
            if SECRET in kept + piece:
                return True
            kept = piece[-len(SECRET) :]
    return False


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent) / name


def _clear(slot: Slot) -> None:
    remove_tree(slot.staging)
    for left in slot.temp.iterdir():
        left.unlink()
