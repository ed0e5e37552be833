"""What must hold after a disturbance, whatever it was, and what must hold at the end."""

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

from fault_injection.small_remote import Original, Tree, content, facts, left_behind
from rm360_async.store.marker import MARKER

_GONE_SECONDS = 30.0
_COLUMNS = 9


@dataclass
class Ledger:
    """The ledger as it lies on disk: stages, and how the attempts at each performance ended ("" for an open one)."""

    stages: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, list[str]] = field(default_factory=dict)
    sound: bool = True


@dataclass
class Seen:
    """What was there after a disturbance; `done` are the published folders that are not to be completed any more."""

    published: dict[str, tuple[int, int]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    staged: set[str] = field(default_factory=set)
    ledger: Ledger = field(default_factory=Ledger)


def look(workspace: Workspace, original: Original) -> Seen:
    """Return what is there, touching nothing."""
    staged = {path.name for path in workspace.temp.glob("*.smc")}
    there = published(workspace)
    done = {name for name in there if facts(workspace.folder(name)) != original.before.get(name, {}).get(MARKER)}
    return Seen(there, done, staged, read_ledger(workspace))


def published(workspace: Workspace) -> dict[str, tuple[int, int]]:
    """Return each published folder with what tells whether it was replaced: inode and time of its marker."""
    markers = workspace.output.glob(f"*/[!.]*/{MARKER}")
    stats = {str(marker.parent.relative_to(workspace.output)): marker.stat() for marker in markers}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def read_ledger(workspace: Workspace) -> Ledger:
    """Read a copy of the ledger and its journal: reading the ledger itself would play a journal back."""
    if not (workspace.root / "work" / "MANIFEST.sqlite").exists():
        return Ledger()
    with tempfile.TemporaryDirectory() as folder:
        for path in (workspace.root / "work").glob("MANIFEST.sqlite*"):
            shutil.copyfile(path, Path(folder) / path.name)
        with closing(sqlite3.connect(Path(folder) / "MANIFEST.sqlite")) as database:
            sound = database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            stages = dict(database.execute("SELECT subject || '/' || name, stage FROM performance"))
            outcomes: dict[str, list[str]] = {name: [] for name in stages}
            for name, outcome in database.execute(
                "SELECT subject || '/' || name, outcome FROM attempt"
                " JOIN performance ON performance.id = attempt.performance ORDER BY attempt.id"
            ):
                outcomes[name].append(outcome)
    return Ledger(stages, outcomes, sound)


def gone(workspace: Workspace) -> list[str]:
    """Wait until no process of the lab is left; return a violation for those that stay."""
    end = time.monotonic() + _GONE_SECONDS
    while left := command_lines(workspace):
        if time.monotonic() > end:
            return [f"processes outlive the run: {left}"]
        time.sleep(0.005)
    return []


def wrong_at_rest(workspace: Workspace, original: Original, before: Seen, now: Seen) -> Iterator[str]:
    """Yield what is wrong after a disturbance, before anything goes on; `before` is the last look."""
    for folder in workspace.output.glob("*/[!.]*"):
        name = str(folder.relative_to(workspace.output))
        if name not in now.published:
            yield f"{name} stands under its final name without a marker"
        elif name not in now.done or before.published.get(name) != now.published[name]:
            yield from _wrong_content(
                workspace, (original.trees if name in now.done else original.before).get(name, {}), name
            )
    for name, was in before.published.items():
        again = now.published.get(name) != was and (name in before.done or name not in now.done)
        if again:
            yield f"{name} was published, and is {'done again' if name in now.published else 'gone'}"
    for name in before.done:
        if len(now.ledger.outcomes.get(name, ())) > max(1, len(before.ledger.outcomes.get(name, ()))):
            yield f"{name} was published, and another attempt at it was begun"
    yield from _wrong_books(now, original)
    for path in before.staged - now.staged:
        name = "/".join(re.fullmatch(r"(\d{4})_(\w+)_(?:raw|anno)\.\w+\.smc", path).groups())  # type: ignore[union-attr]
        if name not in now.done and not (workspace.temp / "kept" / path).exists():
            yield f"{path} is gone, and {name} is not published"
    yield from _wrong_manifest(workspace, now)


def wrong_at_the_end(workspace: Workspace, original: Original) -> Iterator[str]:
    """Yield what is wrong after the last run, which was to finish everything."""
    now = look(workspace, original)
    if sorted(now.published) != original.names:
        yield f"published at the end: {sorted(now.published)}"
    for name in now.published:
        yield from _wrong_content(workspace, original.trees.get(name, {}), name)
    if set(now.ledger.stages.values()) != {"completed"} or sorted(now.ledger.stages) != original.names:
        yield f"the ledger at the end: {now.ledger.stages}"
    for name, outcomes in now.ledger.outcomes.items():
        if "" in outcomes or None in outcomes or outcomes.count("completed") > _times(original):
            yield f"the attempts at {name} ended: {outcomes}"
    if more := left_behind(workspace) - original.left:
        yield f"left behind: {sorted(more)[:10]}"
    if less := original.left - left_behind(workspace):
        yield f"missing at the end: {sorted(less)[:10]}"
    if leases := list((workspace.temp / ".leases").glob("*.lease")):
        yield f"leases left: {leases}"
    yield from _wrong_summary(workspace, len(original.names))
    if any(row["status"] != "completed" for row in workspace.manifest().values()):
        yield f"the manifest at the end: {workspace.manifest()}"


def _times(original: Original) -> int:
    """Return how often each performance may be published: completing what was published earlier is once more."""
    return 1 if original.earlier is None else 2


def _wrong_content(workspace: Workspace, wanted: Tree, name: str) -> Iterator[str]:
    found = content(workspace.folder(name))
    for path in sorted(found.keys() | wanted.keys()):
        if found.get(path) != wanted.get(path):
            what = "is missing" if path not in found else "is too much" if path not in wanted else "has other bytes"
            yield f"{name}/{path} {what}, and the folder has its marker"


def _wrong_books(now: Seen, original: Original) -> Iterator[str]:
    if not now.ledger.sound:
        yield "the ledger is damaged"
    for name, stage in now.ledger.stages.items():
        if stage == "completed" and name not in now.published:
            yield f"the ledger says that {name} is completed, and it is not published"
        if now.ledger.outcomes[name].count("completed") > _times(original):
            yield f"{name} was done twice: {now.ledger.outcomes[name]}"


def _wrong_manifest(workspace: Workspace, now: Seen) -> Iterator[str]:
    path = workspace.root / "work" / "MANIFEST.csv"
    if not path.exists():
        return
    text = path.read_text()
    rows = list(csv.reader(text.splitlines()))
    if not text.endswith("\n") or any(len(row) != _COLUMNS for row in rows) or not len(rows) - 1 > 0:
        yield f"MANIFEST.csv is half written: {text!r}"
    for row in rows[1:]:
        if row[2] == "completed" and f"{row[0]}/{row[1]}" not in now.published:
            yield f"MANIFEST.csv says that {row[0]}/{row[1]} is completed, and it is not published"


def _wrong_summary(workspace: Workspace, planned: int) -> Iterator[str]:
    log = workspace.log()
    last = log[log.rindex("EXTRACTION SUMMARY") :] if "EXTRACTION SUMMARY" in log else ""
    counts = {}
    for word in ("planned", "completed", "failed", "waiting", "still to do"):
        with suppress(AttributeError):
            counts[word] = int(re.search(rf"{word} +(\d+)", last).group(1))  # type: ignore[union-attr]
    if counts != {"planned": planned, "completed": planned, "failed": 0, "waiting": 0, "still to do": 0}:
        yield f"the books do not balance at the end: {counts}"
