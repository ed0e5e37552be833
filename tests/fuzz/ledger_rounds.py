"""Rounds with a corrupt, foreign or locked ledger: the result is Fault(LEDGER) in one line, or correct rows."""

from __future__ import annotations

import os
import shutil
import sqlite3
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
from fault_injection.result import Case, SuiteResult

from fuzz.outputs import message_problems
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance, is_performance, is_subject
from rm360_async.domain.record import SourceFile
from rm360_async.domain.stage import Stage
from rm360_async.ledger import Claims, Ledger, ledger_file, lock_path, manifest_text, retries

_PERFORMANCES = 300
_ALLOWED_CAUSES = (Cause.LEDGER, Cause.NOT_WRITABLE)


@cache
def _intact_ledger(folder: Path) -> tuple[bytes, Any]:
    """Return the bytes of a ledger with a history, and its content as read."""
    path = folder / "whole.sqlite"
    path.unlink(missing_ok=True)
    anyio.run(_write, path)
    content = anyio.run(_content, path)
    return path.read_bytes(), content


async def _write(path: Path) -> None:
    performances = [Performance(f"{n // 10:04d}", f"e{n % 10}") for n in range(_PERFORMANCES)]
    async with Ledger.open(path) as ledger:
        await ledger.add(performances)
        sources = {p: [SourceFile(f"{p.subject}/{p.subject}_{p.name}_raw.smc", 10**9, "0" * 32)] for p in performances}
        await ledger.record_listing(sources)
        with Claims(lock_path(path)) as claims:
            number = await ledger.runs.begin("config.yaml", claims)
            await ledger.runs.record_progress(number, {"rate": 1.0}, {})
            for performance in performances[:20]:
                await ledger.attempts.begin(performance, number)
                await ledger.move(performance, Stage.DOWNLOADING)
                await ledger.move(
                    performance, Stage.FAILED, cause=Cause.DAMAGED, reason="damaged in its source", counts_as_try=True
                )
            await ledger.runs.end(number, claims)
        await ledger.hints.record_ratio("single e", input_bytes=100, output_bytes=120)
        await ledger.hints.set_meta("key", "value")


async def _content(path: Path) -> Any:
    """Read everything that a run and `status` read."""
    async with Ledger.open(path) as ledger:
        rows = await ledger.rows()
        with Claims(lock_path(path), read_only=True) as claims:
            totals = await ledger.overview(claims)
        attempts, runs = await ledger.attempts.all(), await ledger.runs.all()
        rest = (await ledger.hints.get_meta("key"), await ledger.hints.ratios(), len(await ledger.row_numbers()))
        return manifest_text(rows), rows, totals, attempts, runs, rest


def run_round(case: Case, folder: Path) -> SuiteResult:
    """Damage one ledger and use it."""
    intact, content = _intact_ledger(folder)
    path = folder / "MANIFEST.sqlite"
    _remove(folder)
    mutate = _MUTATIONS[case.number % len(_MUTATIONS)]
    holder = mutate(path, intact, case)
    before = _state(path)
    try:
        ended, violations = _use(path, content)
        if ended == "refused" and _state(path) != before:
            violations.append("the file was refused, but changed")
    finally:
        if holder is not None:
            holder.close()
    return SuiteResult(case, f"{mutate.__name__.strip('_')}: {ended}", violations, [path] if path.is_file() else [])


def _use(path: Path, content: Any) -> tuple[str, list[str]]:
    try:
        with patch.object(ledger_file, "BUSY_SECONDS", 0.02), patch.object(retries, "LOCK_SECONDS", 0.04):
            read = anyio.run(_content, path)
            anyio.run(_change, path)
    except Fault as fault:
        violations = message_problems(str(fault), "the message")
        if fault.cause not in _ALLOWED_CAUSES:
            violations.append(f"the cause is {fault.cause.code!r}: {fault}")
        return "refused", violations
    except Exception as error:  # noqa: BLE001 (any exception is a violation)
        return "crashed", [f"raised {error!r}"[:500]]
    if read == content:
        return "same", []
    return "differs", _implausible_rows(read[1])


def _implausible_rows(rows: Any) -> list[str]:
    """Return what is wrong with the rows: without checksums a changed text is not noticed, but a lost row must be."""
    if len(rows) != _PERFORMANCES:
        return [f"{len(rows)} of {_PERFORMANCES} performances were read without an error"]
    invalid = [
        row.performance
        for row in rows
        if not (is_subject(row.performance.subject) and is_performance(row.performance.name))
    ]
    return [f"read {invalid[0]!r} as a performance"] if invalid else []


async def _change(path: Path) -> None:
    async with Ledger.open(path) as ledger:
        await ledger.add([Performance("9999", "e0")])
        await ledger.attempts.begin(Performance("9999", "e0"))
        await ledger.requests.retry()


def _flipped(path: Path, intact: bytes, case: Case) -> None:
    """Flip one byte; the rounds go through the whole file."""
    data, random = bytearray(intact), case.random
    at = (case.number // len(_MUTATIONS) * 997 + random.randrange(997)) % len(data)
    data[at] ^= random.choice((1, 0x80, 0xFF, random.randint(1, 255)))
    path.write_bytes(data)


def _flipped_head(path: Path, intact: bytes, case: Case) -> None:
    """Change a byte of the 100 bytes of the header, or of the schema's page."""
    data, random = bytearray(intact), case.random
    data[random.randrange(100) if random.random() < 0.6 else random.randrange(4096)] = random.choice((0, 1, 2, 255))
    path.write_bytes(data)


def _truncated(path: Path, intact: bytes, case: Case) -> None:
    random = case.random
    classes = (
        0,
        1,
        99,
        100,
        511,
        512,
        4095,
        4096,
        4097,
        len(intact) - 1,
        len(intact) - 4096,
        random.randrange(len(intact)),
    )
    path.write_bytes(intact[: random.choice(classes)])


def _zeroed(path: Path, intact: bytes, case: Case) -> None:
    data, random = bytearray(intact), case.random
    size = random.choice((16, 512, 4096))
    at = random.randrange(len(data)) // size * size
    data[at : at + size] = bytes(min(size, len(data) - at))
    path.write_bytes(data)


def _overwritten(path: Path, intact: bytes, case: Case) -> None:
    data, random = bytearray(intact), case.random
    size = random.choice((4, 40, 600))
    at, other = random.randrange(len(data) - size), random.randrange(len(data) - size)
    data[at : at + size] = random.choice((random.randbytes(size), data[other : other + size]))
    path.write_bytes(data)


def _swapped_pages(path: Path, intact: bytes, case: Case) -> None:
    random, pages = case.random, [intact[at : at + 4096] for at in range(0, len(intact), 4096)]
    one, other = random.sample(range(len(pages)), 2)
    pages[one], pages[other] = pages[other], random.choice((pages[one], pages[other]))
    path.write_bytes(b"".join(pages))


def _foreign(path: Path, intact: bytes, case: Case) -> Any:
    """Put something else there: another database, a folder, pipe, link or text; or a garbage journal beside it."""
    choice = case.random.randrange(8)
    if choice == 0:
        path.mkdir()
    elif choice == 1:
        os.mkfifo(path)
    elif choice == 2:
        path.symlink_to(path.with_name("nowhere.sqlite"))
    elif choice == 3:
        path.symlink_to(path)
    elif choice == 4:
        path.write_bytes(b"subject,performance,status\n" * 100)
    elif choice == 5:
        path.write_bytes(intact)
        path.with_name(path.name + "-journal").write_bytes(case.random.randbytes(3000))
    else:
        database = sqlite3.connect(path)
        database.executescript(_FOREIGN[choice - 6])
        database.close()
    return None


_FOREIGN = (
    "CREATE TABLE performance (id INTEGER); INSERT INTO performance VALUES (5);",
    "PRAGMA application_id = 1380791094; PRAGMA user_version = 1; CREATE TABLE performance (id INTEGER, subject TEXT);",
)


def _locked(path: Path, intact: bytes, case: Case) -> Any:
    """Keep the ledger locked by another connection."""
    path.write_bytes(intact)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(case.random.choice(("BEGIN EXCLUSIVE", "BEGIN IMMEDIATE")))
    return database


_MUTATIONS = (
    *(_flipped, _flipped_head, _flipped, _truncated, _flipped, _zeroed, _flipped, _overwritten, _swapped_pages),
    *(_flipped, _foreign, _locked),
)


def _remove(folder: Path) -> None:
    for path in folder.glob("MANIFEST*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    (folder / "nowhere.sqlite").unlink(missing_ok=True)


def _state(path: Path) -> Any:
    """Return the type and inode of what is at the path, and the bytes of a file."""
    state = path.lstat()
    content = path.read_bytes() if path.is_file() else None
    return state.st_mode, state.st_ino, content
