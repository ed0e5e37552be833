"""What must hold after any disturbance, and what must hold at the end."""

from __future__ import annotations

import csv
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from instance import command_lines
from workspace import Workspace

from fault_injection.small_remote import PERSONAL_FILE, FileTree, OriginalRemote, content, marker_content, work_paths
from rm360_async.ledger.manifest_csv import COLUMNS
from rm360_async.store.marker import MARKER

_MAX_EXIT_SECONDS = 30.0
"""Until all processes of a killed run are gone."""


@dataclass
class LedgerContent:
    """The ledger on disk: the stages, and the outcomes of the attempts at each performance ("" for an open one)."""

    stages: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, list[str]] = field(default_factory=dict)
    intact: bool = True


@dataclass
class DiskState:
    """What is on the disk after a disturbance; `done` are the published folders that need no completion."""

    published: dict[str, tuple[int, int]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    spooled: set[str] = field(default_factory=set)
    ledger: LedgerContent = field(default_factory=LedgerContent)


def read_state(workspace: Workspace, original: OriginalRemote) -> DiskState:
    """Return what is on the disk, without changing it."""
    spooled = {path.name for path in workspace.temp.glob("*.smc")}
    folders = published(workspace)
    done = {
        name
        for name in folders
        if marker_content(workspace.folder(name)) != original.published_before.get(name, {}).get(MARKER)
    }
    return DiskState(folders, done, spooled, read_ledger(workspace))


def published(workspace: Workspace) -> dict[str, tuple[int, int]]:
    """Return the inode and modification time of the marker of each published folder: they show a replacement."""
    markers = workspace.output.glob(f"*/[!.]*/{MARKER}")
    stats = {str(marker.parent.relative_to(workspace.output)): marker.stat() for marker in markers}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def read_ledger(workspace: Workspace) -> LedgerContent:
    """Read a copy of the ledger and its journal: opening the ledger itself would roll a journal back."""
    if not (workspace.root / "work" / "MANIFEST.sqlite").exists():
        return LedgerContent()
    with tempfile.TemporaryDirectory() as folder:
        for path in (workspace.root / "work").glob("MANIFEST.sqlite*"):
            shutil.copyfile(path, Path(folder) / path.name)
        with closing(sqlite3.connect(Path(folder) / "MANIFEST.sqlite")) as database:
            intact = database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            stages = dict(database.execute("SELECT subject || '/' || name, stage FROM performance"))
            outcomes: dict[str, list[str]] = {name: [] for name in stages}
            for name, outcome in database.execute(
                "SELECT subject || '/' || name, outcome FROM attempt"
                " JOIN performance ON performance.id = attempt.performance ORDER BY attempt.id"
            ):
                outcomes[name].append(outcome)
    return LedgerContent(stages, outcomes, intact)


def remaining_processes(workspace: Workspace) -> list[str]:
    """Wait until no process of the workspace is left; return a problem if some stay."""
    end = time.monotonic() + _MAX_EXIT_SECONDS
    while left := command_lines(workspace):
        if time.monotonic() > end:
            return [f"processes outlive the run: {left}"]
        time.sleep(0.005)
    return []


def problems_at_rest(
    workspace: Workspace, original: OriginalRemote, before: DiskState, now: DiskState
) -> Iterator[str]:
    """Yield what is wrong after a disturbance; `before` is the state of the check before it."""
    for folder in workspace.output.glob("*/[!.]*"):
        name = str(folder.relative_to(workspace.output))
        if name not in now.published:
            yield f"{name} has its final name without a marker"
        elif name not in now.done or before.published.get(name) != now.published[name]:
            expected = (original.expected if name in now.done else original.published_before).get(name, {})
            yield from _content_problems(workspace, _without_moving_file(folder, expected), name)
    for name, was in before.published.items():
        changed = now.published.get(name) != was and (name in before.done or name not in now.done)
        if changed:
            yield f"{name} was published, and is {'done again' if name in now.published else 'gone'}"
    for name in before.done:
        if len(now.ledger.outcomes.get(name, ())) > max(1, len(before.ledger.outcomes.get(name, ()))):
            yield f"{name} was published, and another attempt at it was begun"
    yield from _ledger_problems(now, original)
    for path in before.spooled - now.spooled:
        name = "/".join(re.fullmatch(r"(\d{4})_(\w+)_(?:raw|anno)\.\w+\.smc", path).groups())  # type: ignore[union-attr]
        if name not in now.done and not (workspace.temp / "kept" / path).exists():
            yield f"{path} is gone, and {name} is not published"
    yield from _manifest_problems(workspace, before, now)


def problems_at_the_end(workspace: Workspace, original: OriginalRemote) -> Iterator[str]:
    """Yield what is wrong after the last run, which had to finish everything."""
    now = read_state(workspace, original)
    if sorted(now.published) != original.names:
        yield f"published at the end: {sorted(now.published)}"
    for name in now.published:
        yield from _content_problems(workspace, original.expected.get(name, {}), name)
    if set(now.ledger.stages.values()) != {"completed"} or sorted(now.ledger.stages) != original.names:
        yield f"the ledger at the end: {now.ledger.stages}"
    for name, outcomes in now.ledger.outcomes.items():
        if "" in outcomes or None in outcomes or outcomes.count("completed") > _max_publications(original):
            yield f"the attempts at {name} ended: {outcomes}"
    paths = work_paths(workspace)
    if more := paths - original.left_paths:
        yield f"left behind: {sorted(more)[:10]}"
    if less := original.left_paths - paths:
        yield f"missing at the end: {sorted(less)[:10]}"
    if leases := list((workspace.temp / ".leases").glob("*.lease")):
        yield f"leases left: {leases}"
    yield from _summary_problems(workspace, len(original.names))
    if any(row["status"] != "completed" for row in workspace.manifest().values()):
        yield f"the manifest at the end: {workspace.manifest()}"


def _max_publications(original: OriginalRemote) -> int:
    """Return how often each performance may be published: once more if an earlier folder is completed."""
    return 1 if original.earlier is None else 2


def _content_problems(workspace: Workspace, expected: FileTree, name: str) -> Iterator[str]:
    actual = content(workspace.folder(name))
    for path in sorted(actual.keys() | expected.keys()):
        if actual.get(path) != expected.get(path):
            extra_or_changed = "is unexpected" if path not in expected else "has other bytes"
            problem = "is missing" if path not in actual else extra_or_changed
            yield f"{name}/{path} {problem}, and the folder has its marker"


def _without_moving_file(folder: Path, expected: FileTree) -> FileTree:
    """Return the expected files without a person's, if it is still in the folder that this one has replaced."""
    replaced = folder.parent.glob(f".{folder.name}.*-replaced.staging/{PERSONAL_FILE}")
    if [path.read_bytes() for path in replaced] != [expected.get(PERSONAL_FILE)]:
        return expected
    return {path: data for path, data in expected.items() if path != PERSONAL_FILE}


def _ledger_problems(now: DiskState, original: OriginalRemote) -> Iterator[str]:
    if not now.ledger.intact:
        yield "the ledger is damaged"
    for name, stage in now.ledger.stages.items():
        if stage == "completed" and name not in now.published:
            yield f"the ledger says that {name} is completed, and it is not published"
        if now.ledger.outcomes[name].count("completed") > _max_publications(original):
            yield f"{name} was done twice: {now.ledger.outcomes[name]}"


def _manifest_problems(workspace: Workspace, before: DiskState, now: DiskState) -> Iterator[str]:
    path = workspace.root / "work" / "MANIFEST.csv"
    if not path.exists():
        return
    text = path.read_text()
    rows = list(csv.reader(text.splitlines()))
    missing = not rows or (len(rows) == 1 and before.ledger.stages)  # a run stopped before its plan: a header alone
    if not text.endswith("\n") or any(len(row) != len(COLUMNS) for row in rows) or missing:
        yield f"MANIFEST.csv is half written: {text!r}"
    for row in rows[1:]:
        if row[2] == "completed" and f"{row[0]}/{row[1]}" not in now.published:
            yield f"MANIFEST.csv says that {row[0]}/{row[1]} is completed, and it is not published"


def _summary_problems(workspace: Workspace, planned: int) -> Iterator[str]:
    log = workspace.log()
    last = log[log.rindex("EXTRACTION SUMMARY") :] if "EXTRACTION SUMMARY" in log else ""
    counts = {}
    for word in ("planned", "completed", "failed", "waiting", "still to do"):
        with suppress(AttributeError):
            counts[word] = int(re.search(rf"{word} +(\d+)", last).group(1))  # type: ignore[union-attr]
    if counts != {"planned": planned, "completed": planned, "failed": 0, "waiting": 0, "still to do": 0}:
        yield f"the summary at the end is wrong: {counts}"
