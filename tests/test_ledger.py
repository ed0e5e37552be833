"""The ledger and its claims: real SQLite files, real processes, real kill -9."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.record import LeftOut, Record, SourceFile
from rm360_async.domain.stage import IllegalMove, Stage
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.ledger import Claims, Ledger, ledger_file, ledger_path, lock_path, quarantine, retries
from rm360_async.ledger import attempts as attempts_module
from rm360_async.ledger import runs as runs_module
from rm360_async.ledger.claims import RUNS
from rm360_async.ledger.schema import VERSION
from rm360_async.ledger.values import left_out_text

A, B, C = Performance("0018", "s1_all"), Performance("0018", "e2"), Performance("0026", "e10")
SOURCE = SourceFile("0018/0018_s1_all_raw.smc", 1234, "d41d8cd98f00b204e9800998ecf8427e", "2022-08-20T00:00:00Z")


def a_record(performance: Performance = A, left_out: tuple[LeftOut, ...] = ()) -> Record:
    return Record(
        subject=performance.subject,
        performance=performance.name,
        version="0.1.0",
        published="2026-11-22T12:00:00+00:00",
        sources=(SOURCE,),
        wanted_cameras="all",
        wanted_modalities=("images",),
        modalities=("images",),
        absent=(),
        cameras={"25": 12, "26": 0, "27": 13},
        frames=13,
        fps=30.0,
        left_out=left_out,
        files=25,
        bytes=5000,
    )


@contextmanager
def python(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a script in a process of its own, killed at the end."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def rest(process: subprocess.Popen[str]) -> list[str]:
    """Return the whole lines that an ended process has left in its pipe."""
    assert process.stdout is not None
    return process.stdout.read().rpartition("\n")[0].split()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return ledger_path(tmp_path / "MANIFEST.csv")


@pytest.mark.anyio
async def test_a_row_keeps_everything_when_the_ledger_is_reopened(path: Path) -> None:
    async with Ledger.open(path, now=lambda: 100.0) as ledger:
        await ledger.add([C, A, B])
        await ledger.add([A])
        await ledger.record_listing({A: [SOURCE, SourceFile("0018/second.smc", 5)]})
        await ledger.move(
            A, Stage.WAITING, cause=Cause.FILE_QUOTA, reason="quota", wait_until=500.5, counts_as_try=True
        )
    async with Ledger.open(path, create=False) as ledger:
        rows = await ledger.rows()
        assert [row.performance for row in rows] == [B, A, C]
        sources = (SOURCE, SourceFile("0018/second.smc", 5))
        expected = PerformanceRow(A, Stage.WAITING, 1, Cause.FILE_QUOTA, "quota", 500.5, updated=100.0, sources=sources)
        assert rows[1] == await ledger.row(A) == expected
        assert await ledger.rows({C}) == [PerformanceRow(C, Stage.PENDING, updated=100.0)]
        await ledger.record_listing({A: [SOURCE]})
        assert (await ledger.row(A)).sources == (SOURCE,)


@pytest.mark.anyio
async def test_the_stages_of_one_performance_and_its_attempts(path: Path) -> None:
    clock = iter(range(1, 1000))
    async with Ledger.open(path, now=lambda: float(next(clock))) as ledger:
        await ledger.add([A])
        await ledger.attempts.begin(A)
        await ledger.move(A, Stage.DOWNLOADING)
        await ledger.move(
            A, Stage.WAITING, cause=Cause.NETWORK, reason="reset", wait_until=9.0, counts_as_try=True, fetched_bytes=7
        )
        assert (await ledger.attempts.begin(A)).tries == 1
        for stage in (Stage.DOWNLOADING, Stage.DOWNLOADED, Stage.EXTRACTING, Stage.PUBLISHING):
            await ledger.move(A, stage)
        with pytest.raises(IllegalMove, match="from publishing to downloading"):
            await ledger.move(A, Stage.DOWNLOADING)
        broken = (LeftOut("images", "05", 12, "not a JPEG"),)
        await ledger.record_completed(A, a_record(left_out=broken), seconds={"download": 2.5}, fetched_bytes=1234)
        row = await ledger.row(A)
        assert (row.stage, row.tries, row.cameras_extracted, row.frames, row.bytes) == (Stage.COMPLETED, 0, 2, 13, 5000)
        assert row.reason == "left out: images cam_05 frame 12: not a JPEG"
        assert (row.updated, row.sources, row.wait_until) == (1795348800.0, (SOURCE,), None)
        first, second = await ledger.attempts.all(A)
        assert (first.outcome, first.cause, first.reason, first.fetched_bytes) == ("waiting", Cause.NETWORK, "reset", 7)
        assert (second.outcome, second.seconds, second.fetched_bytes) == ("completed", {"download": 2.5}, 1234)
        assert second.ended is not None and first.ended is not None and first.ended < second.started < second.ended
        with Claims(lock_path(path), read_only=True) as claims:
            totals, rows = await ledger.overview(claims)
        assert (totals.counts.planned, totals.stages[Stage.COMPLETED], rows) == (1, 1, [])
        assert (totals.published_bytes, totals.fetched_bytes) == (5000, 1241)


@pytest.mark.anyio
async def test_a_refused_move_changes_nothing(path: Path) -> None:
    async with Ledger.open(path) as ledger:
        await ledger.add([A])
        before = await ledger.row(A)
        with pytest.raises(IllegalMove):
            await ledger.move(A, Stage.PUBLISHING, counts_as_try=True)
        with pytest.raises(Fault, match="0026/e10 is not in the ledger"):
            await ledger.move(C, Stage.DOWNLOADING)
        with pytest.raises(Fault, match="0026/e10 is not in the ledger"):
            await ledger.record_listing({A: [SOURCE], C: [SOURCE]})
        assert await ledger.row(A) == before
        await ledger.move(A, Stage.DOWNLOADING)


@pytest.mark.anyio
async def test_after_a_crash_the_row_is_pending_and_its_attempt_crashed(path: Path) -> None:
    async with Ledger.open(path) as ledger:
        await ledger.add([A, B])
        await ledger.attempts.begin(A)
        await ledger.move(A, Stage.DOWNLOADING)
    with Claims(lock_path(path)) as own, Claims(lock_path(path), read_only=True) as reader:
        async with Ledger.open(path) as ledger:
            number = (await ledger.row_numbers())[A]
            assert (await ledger.row(A)).stage is Stage.DOWNLOADING
            assert (await ledger.rows({A}, claims=reader))[0].stage is Stage.PENDING
            totals, active = await ledger.overview(reader)
            assert (totals.stages[Stage.PENDING], totals.stages[Stage.DOWNLOADING], active) == (2, 0, [])
            assert own.claim(number)
            assert (await ledger.rows({A}, claims=reader))[0].stage is Stage.DOWNLOADING
            totals, active = await ledger.overview(reader)
            assert (totals.counts.planned, [row.performance for row in active]) == (2, [A])
            assert (totals.stages[Stage.PENDING], totals.stages[Stage.DOWNLOADING]) == (1, 1)
            assert (await ledger.attempts.begin(A)).stage is Stage.PENDING
            await ledger.move(A, Stage.DOWNLOADING)
            await ledger.attempts.interrupt(A)
            assert (await ledger.row(A)).stage is Stage.PENDING
            outcomes = [attempt.outcome for attempt in await ledger.attempts.all()]
            assert outcomes == ["crashed", "interrupted"]


@pytest.mark.anyio
async def test_retry_and_force_touch_only_what_they_name(path: Path) -> None:
    async with Ledger.open(path) as ledger:
        await ledger.add([A, B, C])
        await ledger.move(A, Stage.FAILED, cause=Cause.DAMAGED, reason="broken", counts_as_try=True)
        await ledger.move(B, Stage.DOWNLOAD_FAILED, cause=Cause.NOT_FOUND, reason="not there", counts_as_try=True)
        await ledger.record_completed(C, a_record(C))
        assert await ledger.requests.retry([A, C]) == [A]
        row = await ledger.row(A)
        assert (row.stage, row.tries, row.cause, row.reason) == (Stage.PENDING, 0, None, "")
        assert (await ledger.row(B)).stage is Stage.DOWNLOAD_FAILED
        assert await ledger.requests.retry() == [B]
        await ledger.requests.force([C])
        row = await ledger.row(C)
        assert (row.stage, row.forced, row.frames) == (Stage.PENDING, True, 13)
        await ledger.requests.unforce([C])
        assert not (await ledger.row(C)).forced
        await ledger.requests.force([C])
        await ledger.record_completed(C, a_record(C))
        assert not (await ledger.row(C)).forced


@pytest.mark.anyio
async def test_waits_that_a_person_ends_are_over_and_their_quotas_forgotten(path: Path) -> None:
    async with Ledger.open(path, now=lambda: 100.0) as ledger:
        await ledger.add([A, B, C])
        await ledger.record_listing({each: [SourceFile(f"{each}.smc", 1)] for each in (A, B)})
        for each in (A, B):
            await ledger.move(each, Stage.WAITING, cause=Cause.FILE_QUOTA, reason="quota", wait_until=500.0)
            await ledger.hints.record_quota("gdrive:", f"{each}.smc", 500.0)
        assert await ledger.requests.retry() == [] and await ledger.requests.retry([C], waiting=True) == []
        counted = await ledger.requests.count()
        assert await ledger.requests.retry([A], waiting=True) == [A]
        row = await ledger.row(A)
        assert (row.stage, row.cause, row.wait_until) == (Stage.PENDING, None, None)
        assert await ledger.requests.count() == counted + 1, "an active run notices"
        assert await ledger.hints.quotas() == {("gdrive:", f"{B}.smc"): 500.0}
        await ledger.requests.force([B])
        assert (await ledger.row(B)).stage is Stage.PENDING and await ledger.hints.quotas() == {}


@pytest.mark.anyio
async def test_a_shorter_wait_for_quotas_counts_from_when_they_were_found_used_up(path: Path) -> None:
    now = 1000.0
    async with Ledger.open(path, now=lambda: now) as ledger:
        await ledger.hints.record_quota("a", "x", now + 24 * 3600)
        now += 1800
        await ledger.hints.record_quota("a", "y", now + 60)
        await ledger.hints.shorten_quotas(3600)
        assert await ledger.hints.quotas() == {("a", "x"): 1000.0 + 3600, ("a", "y"): now + 60}
        await ledger.hints.shorten_quotas(24 * 3600)
        assert await ledger.hints.quota_until("a", "x") == 1000.0 + 3600, "it becomes no longer"
        await ledger.hints.shorten_quotas(1)
        assert await ledger.hints.quotas() == {("a", "y"): now + 1}


@pytest.mark.anyio
async def test_a_plan_is_applied_but_not_to_what_another_process_has_claimed(path: Path) -> None:
    names = [Performance("0018", f"e{number}") for number in range(6)]
    gone, failed, claimed, crashed, done, imported = names
    async with Ledger.open(path) as ledger:
        with Claims(lock_path(path)) as other, Claims(lock_path(path)) as own:
            row = PerformanceRow(imported, Stage.PENDING, reason="imported without a folder")
            await ledger.import_rows([row])
            await ledger.add(names)
            for performance in (gone, done):
                await ledger.record_completed(performance, a_record(left_out=(LeftOut("images", "01", 1, "broken"),)))
            await ledger.move(failed, Stage.FAILED, cause=Cause.DAMAGED, reason="broken", counts_as_try=True)
            await ledger.move(claimed, Stage.DOWNLOADING)
            await ledger.move(crashed, Stage.EXTRACTING)
            assert other.claim((await ledger.row_numbers())[claimed])
            plan = {name: PlannedState(Stage.PENDING) for name in names}
            plan[failed] = PlannedState(Stage.DOWNLOAD_FAILED, Cause.NOT_FOUND, "the remote does not have it")
            plan[done] = PlannedState(Stage.COMPLETED)
            await ledger.apply_plan(plan, own)
            rows = {row.performance: row for row in await ledger.rows()}
    assert {name: row.stage for name, row in rows.items()} == {
        gone: Stage.PENDING,
        failed: Stage.DOWNLOAD_FAILED,
        claimed: Stage.DOWNLOADING,
        crashed: Stage.PENDING,
        done: Stage.COMPLETED,
        imported: Stage.PENDING,
    }
    assert (rows[gone].frames, rows[gone].bytes, rows[gone].reason) == (0, 0, "")
    assert (rows[failed].cause, rows[failed].tries) == (Cause.NOT_FOUND, 0)
    assert (rows[done].frames, rows[done].reason) == (13, "left out: images cam_01 frame 1: broken")
    assert rows[imported].reason == "imported without a folder"


@pytest.mark.anyio
async def test_imported_rows_do_not_overrule_completed_or_forced_ones(path: Path) -> None:
    folders = [
        PerformanceRow(p, Stage.COMPLETED, cameras_extracted=60, frames=99, bytes=1, updated=5.0) for p in (A, B, C)
    ]
    async with Ledger.open(path) as ledger:
        await ledger.add([A, B])
        await ledger.record_completed(A, a_record())
        await ledger.requests.force([B])
        await ledger.import_rows([*folders, PerformanceRow(A, Stage.PENDING, reason="no")])
        rows = {row.performance: row for row in await ledger.rows()}
        assert (rows[A].frames, rows[A].stage) == (13, Stage.COMPLETED)
        assert (rows[B].forced, rows[B].stage) == (True, Stage.PENDING)
        assert rows[C] == folders[2]


@pytest.mark.anyio
async def test_quotas_ratios_and_metadata(path: Path) -> None:
    clock = [1000.0]
    async with Ledger.open(path, now=lambda: clock[0]) as ledger:
        await ledger.hints.record_quota("a", "0018/x.smc", 2000.0)
        await ledger.hints.record_quota("b", "0018/x.smc", 3000.0)
        assert await ledger.hints.quota_until("a", "0018/x.smc") == 2000.0
        assert await ledger.hints.quota_until("a", "0018/y.smc") is None
        clock[0] = 2500.0
        assert await ledger.hints.quota_until("a", "0018/x.smc") is None
        assert await ledger.hints.quota_until("b", "0018/x.smc") == 3000.0
        await ledger.hints.record_quota("b", "0018/x.smc", 9e9)  # by a clock that was years ahead
        assert await ledger.hints.quota_until("b", "0018/x.smc") is None
        assert await ledger.hints.ratios() == {}
        await ledger.hints.record_ratio("s single", input_bytes=100, output_bytes=100)
        await ledger.hints.record_ratio("s single", input_bytes=100, output_bytes=200)
        assert await ledger.hints.ratios() == {"s single": 2.0}
        await ledger.hints.record_ratio("s single", input_bytes=100, output_bytes=100)
        await ledger.hints.record_ratio("s single", input_bytes=0, output_bytes=100)
        assert await ledger.hints.ratios() == {"s single": pytest.approx(1.9)}
        await ledger.hints.set_meta("key", "first")
        await ledger.hints.set_meta("key", "second")
        assert await ledger.hints.get_meta("key") == "second"


@pytest.mark.anyio
async def test_thousands_of_rows_in_one_step(path: Path) -> None:
    names = [Performance(f"{s:04d}", name) for s in range(500) for name in ("e0", "e1", "s1_all", "h1_7bk")]
    async with Ledger.open(path) as ledger:
        await ledger.add(names)
        await ledger.record_listing({name: [SourceFile(str(name), 1)] for name in names})
        rows = await ledger.rows()
        assert [row.performance for row in rows] == sorted(names, key=lambda p: p.sort_key)
        assert all(row.sources == (SourceFile(str(row.performance), 1),) for row in rows)
        with Claims(lock_path(path), read_only=True) as claims:
            totals, _ = await ledger.overview(claims)
        assert totals.stages[Stage.PENDING] == 2000


@pytest.mark.anyio
async def test_a_cancelled_step_is_whole_and_the_ledger_still_works(path: Path) -> None:
    async with Ledger.open(path) as ledger:
        await ledger.add([A, B])
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ledger.move(A, Stage.DOWNLOADING)
        await ledger.move(B, Stage.DOWNLOADING)
        async with anyio.create_task_group() as tasks:
            for performance in (A, B):
                tasks.start_soon(ledger.move, performance, Stage.DOWNLOADED)
                tasks.start_soon(ledger.rows)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert [row.stage for row in await ledger.rows()] == [Stage.DOWNLOADED, Stage.DOWNLOADED]
        assert await ledger.requests.retry() == []


FAILS_INSIDE = """
import sys, anyio
from pathlib import Path
from rm360_async.ledger import Ledger
async def main():
    async with Ledger.open(Path(sys.argv[1])):
        raise SystemExit(7)
anyio.run(main)
"""


def test_the_interpreter_ends_when_a_run_ends_badly(path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", FAILS_INSIDE, path], timeout=60).returncode == 7


# Files that are not ledgers, or damaged.


async def _refused(path: Path) -> Fault:
    before = path.read_bytes()
    with pytest.raises(Fault) as caught:
        async with Ledger.open(path):
            pass
    assert path.read_bytes() == before
    return caught.value


async def _a_ledger(path: Path) -> bytes:
    async with Ledger.open(path) as ledger:
        await ledger.add([Performance(f"{subject:04d}", "e0") for subject in range(1000)])
    return path.read_bytes()


@pytest.mark.anyio
@pytest.mark.parametrize("damage", ["empty", "zeros", "zeroed head", "cut", "cut at a page", "text", "zeroed middle"])
async def test_a_damaged_file_is_refused_and_kept(path: Path, damage: str) -> None:
    whole = await _a_ledger(path)
    page = len(whole) // 4096 // 2 * 4096
    damaged = {
        "empty": b"",
        "zeros": bytes(len(whole)),
        "zeroed head": bytes(4096) + whole[4096:],
        "cut": whole[: len(whole) // 2 + 100],
        "cut at a page": whole[:page],
        "text": b"subject,performance\n" * 300,
        "zeroed middle": whole[:page] + bytes(4096) + whole[page + 4096 :],
    }
    path.write_bytes(damaged[damage])
    fault = await _refused(path)
    assert fault.cause is Cause.LEDGER
    assert str(path) in str(fault) and "damaged" in str(fault) and "doctor --rebuild" in str(fault)


@pytest.mark.anyio
async def test_foreign_and_newer_ledgers_are_refused(path: Path) -> None:
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE performance (id INTEGER)")
    foreign.close()
    assert "is not a ledger of rm360" in str(await _refused(path))
    path.unlink()
    await _a_ledger(path)
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 7")
    newer.close()
    assert f"was written by a newer rm360 (schema 7, this one knows up to {VERSION})" in str(await _refused(path))


@pytest.mark.anyio
@pytest.mark.parametrize("read_only", [True, False])
async def test_a_lock_that_outlasts_the_wait_of_sqlite_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, read_only: bool
) -> None:
    """By whoever opens the ledger, too: another process may be in an fsync of a busy disk, for minutes."""
    await _a_ledger(path)
    monkeypatch.setattr(ledger_file, "BUSY_SECONDS", 0.01)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    opened: list[Ledger] = []

    async def open_ledger() -> None:
        async with Ledger.open(path, create=False, read_only=read_only) as ledger:
            opened.append(ledger)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(open_ledger)
        await anyio.sleep(0.3)
        assert not opened
        other.execute("COMMIT")
    other.close()
    assert opened


@pytest.mark.anyio
async def test_a_lock_that_stays_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await _a_ledger(path)
    monkeypatch.setattr(ledger_file, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(retries, "LOCK_SECONDS", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert "another process keeps the ledger" in str(await _refused(path))
    other.close()


@pytest.mark.anyio
async def test_a_missing_ledger_is_reported_and_not_created(path: Path) -> None:
    with pytest.raises(Fault, match="there is no ledger at"):
        async with Ledger.open(path, create=False):
            pass
    assert not path.exists()


@pytest.mark.anyio
async def test_a_path_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fault) as caught:
        async with Ledger.open(tmp_path / "file" / "MANIFEST.sqlite"):
            pass
    assert caught.value.cause is Cause.NOT_WRITABLE
    (tmp_path / "MANIFEST.sqlite").mkdir()
    with pytest.raises(Fault) as caught:
        async with Ledger.open(tmp_path / "MANIFEST.sqlite"):
            pass
    assert caught.value.cause is Cause.NOT_WRITABLE


@pytest.mark.anyio
async def test_a_full_disk_is_a_fault_of_the_disk_and_nothing_is_half_done(path: Path) -> None:
    async with Ledger.open(path) as ledger:
        await ledger.add([A])
        async with ledger._database.write() as sql:
            await sql.fetch_all("PRAGMA max_page_count = 1")  # SQLite then says the same as for a full disk
        with pytest.raises(Fault) as caught:
            await ledger.add([Performance(f"{subject:04d}", "e0") for subject in range(5000)])
        assert caught.value.cause is Cause.DISK_FULL
        assert [row.performance for row in await ledger.rows()] == [A]
        await ledger.move(A, Stage.DOWNLOADING)


@pytest.mark.anyio
async def test_a_journal_without_its_ledger_does_not_spoil_the_next_one(path: Path) -> None:
    journal = path.with_name(path.name + "-journal")
    # A valid rollback journal of one page: magic, count, nonce, original size, sector and page size.
    magic = bytes.fromhex("d9d505f920a163d7")
    head = b"".join(number.to_bytes(4, "big") for number in (1, 0, 9, 512, 4096))
    page = bytes([255]) * 4096
    check = sum(page[index] for index in range(4096 - 200, 0, -200))
    journal.write_bytes((magic + head).ljust(512, b"\0") + (1).to_bytes(4, "big") + page + check.to_bytes(4, "big"))
    async with Ledger.open(path) as ledger:
        await ledger.add([A])
    async with Ledger.open(path) as ledger:
        assert [row.performance for row in await ledger.rows()] == [A]


@pytest.mark.anyio
async def test_a_damaged_ledger_is_quarantined_with_its_journal_unless_in_use(path: Path) -> None:
    path.write_text("damaged")
    journal = path.with_name(path.name + "-journal")
    journal.write_text("journal")
    with Claims(lock_path(path)) as claims:
        claims.claim(7)
        with pytest.raises(Fault, match="in use"):
            quarantine(path)
    target = quarantine(path)
    assert target.name == "MANIFEST.sqlite.damaged"
    assert (target.read_text(), target.with_name(target.name + "-journal").read_text()) == ("damaged", "journal")
    assert not journal.exists()
    path.write_text("again")
    assert quarantine(path).name == "MANIFEST.sqlite.damaged-2"
    async with Ledger.open(path) as ledger:
        assert await ledger.rows() == []


# Several processes.

MOVES_FOR_EVER = """
import sys, anyio
from pathlib import Path
from rm360_async.ledger import Ledger, attempts
from rm360_async.domain.stage import Stage
attempts.MAX_ATTEMPTS = 10**9
async def main():
    async with Ledger.open(Path(sys.argv[1])) as ledger:
        performance = (await ledger.rows())[int(sys.argv[2])].performance
        while True:
            await ledger.attempts.begin(performance)
            await ledger.move(performance, Stage.DOWNLOADING)
            await ledger.move(performance, Stage.WAITING, wait_until=1.0, counts_as_try=True)
            print((await ledger.row(performance)).tries, flush=True)
anyio.run(main)
"""


@pytest.mark.slow
@pytest.mark.anyio
async def test_kill_9_between_and_inside_moves_loses_nothing_that_was_committed(path: Path) -> None:
    async with Ledger.open(path) as ledger:
        await ledger.add([A, B])
    known = [0, 0]
    for round_ in range(6):
        with python(MOVES_FOR_EVER, path, 0) as first, python(MOVES_FOR_EVER, path, 1) as second:
            for _ in range(3 + 7 * round_):
                known = [int(line(first)), int(line(second))]
            first.send_signal(signal.SIGKILL)
            second.send_signal(signal.SIGKILL)
            # Whatever was printed before the kill was committed.
            known = [max(count, *map(int, rest(p)), 0) for count, p in zip(known, (first, second), strict=True)]
        async with Ledger.open(path) as ledger:
            rows = await ledger.rows()
            for row, count in zip(rows, known, strict=True):
                assert count <= row.tries <= count + 1
                ended = [a for a in await ledger.attempts.all(row.performance) if a.outcome == Stage.WAITING.value]
                assert len(ended) == row.tries


OPENS_AND_ADDS = """
import sys, anyio
from pathlib import Path
from rm360_async.domain.names import Performance
from rm360_async.ledger import Ledger
from rm360_async.domain.stage import Stage
async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    async with Ledger.open(Path(sys.argv[1])) as ledger:
        await ledger.add([Performance("0018", f"e{i}") for i in range(12)])
        await ledger.move(Performance("0018", "e" + sys.argv[2]), Stage.DOWNLOADING)
anyio.run(main)
"""


@pytest.mark.anyio
async def test_several_processes_create_one_ledger(path: Path) -> None:
    with python(OPENS_AND_ADDS, path, 0) as one, python(OPENS_AND_ADDS, path, 1) as two:
        processes = (one, two)
        assert [line(process) for process in processes] == ["ready", "ready"]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.wait(60) for process in processes] == [0, 0]
    async with Ledger.open(path) as ledger:
        stages = [row.stage for row in await ledger.rows()]
    assert stages == [Stage.DOWNLOADING] * 2 + [Stage.PENDING] * 10


CLAIMS_ALL = """
import sys
from pathlib import Path
from rm360_async.ledger import claims
with claims.Claims(Path(sys.argv[1])) as own:
    print("ready", flush=True)
    sys.stdin.readline()
    print(*[number for number in range(1, 2001) if own.claim(number)], flush=True)
    sys.stdin.readline()
"""


def test_no_number_is_claimed_by_two_processes_and_none_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "MANIFEST.lock"
    with python(CLAIMS_ALL, path) as one, python(CLAIMS_ALL, path) as two:
        processes = (one, two)
        assert [line(process) for process in processes] == ["ready", "ready"]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        taken = [int(number) for process in processes for number in line(process).split()]
        assert sorted(taken) == list(range(1, 2001))


CLAIMS_AND_SPAWNS = """
import subprocess, sys
from pathlib import Path
from rm360_async.ledger import claims
own = claims.Claims(Path(sys.argv[1]))
assert own.claim(5) and own.claim(claims.RUNS + 3)
child = subprocess.Popen(["sleep", "600"], close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.readline()
"""


def test_kill_9_frees_a_claim_at_once_though_a_child_lives_on(tmp_path: Path) -> None:
    path = tmp_path / "MANIFEST.lock"
    with Claims(path) as own, python(CLAIMS_AND_SPAWNS, path) as holder:
        child = int(line(holder))
        try:
            assert own.is_claimed(5) and own.is_claimed(RUNS + 3) and own.is_used_by_others()
            assert not own.claim(5) and not own.is_claimed(6)
            holder.kill()
            holder.wait()
            os.kill(child, 0)
            assert not own.is_claimed(5) and not own.is_used_by_others()
            assert own.claim(5)
        finally:
            os.kill(child, signal.SIGKILL)


def test_claims_within_one_process(tmp_path: Path) -> None:
    path = tmp_path / "MANIFEST.lock"
    with Claims(path, read_only=True) as reader:
        assert not reader.is_claimed(1) and not reader.is_used_by_others()
    assert list(tmp_path.iterdir()) == []
    with Claims(path) as one, Claims(path) as other:
        assert one.claim(1) and not one.claim(1) and not other.claim(1)
        assert one.is_claimed(1) and other.is_claimed(1)
        other.release(1)
        assert other.is_claimed(1)
        with Claims(path):
            pass
        assert other.is_claimed(1), "closing another descriptor must not drop the claim"
        one.release(1)
        assert not one.is_claimed(1) and other.claim(1)
        assert not other.is_used_by_others() and one.is_used_by_others()
    with pytest.raises(Fault) as caught:
        Claims(tmp_path / "none" / "MANIFEST.lock")
    assert caught.value.cause is Cause.NOT_WRITABLE


@pytest.mark.anyio
async def test_a_run_is_alive_as_long_as_its_claim(path: Path) -> None:
    async with Ledger.open(path, now=lambda: 50.0) as ledger:
        with Claims(lock_path(path), read_only=True) as reader:
            with Claims(lock_path(path)) as own:
                number = await ledger.runs.begin("config.yaml", own)
                await ledger.runs.record_progress(number, {"in_hand": ["0018/s1_all"]}, {})
                (run,) = await ledger.runs.running(reader)
                assert (run.pid, run.config, run.started, run.progress_at) == (os.getpid(), "config.yaml", 50.0, 50.0)
                assert run.progress == {"in_hand": ["0018/s1_all"]}
            assert await ledger.runs.running(reader) == []
            with Claims(lock_path(path)) as own:
                second = await ledger.runs.begin("config.yaml", own)
                await ledger.runs.end(second, own)
                assert await ledger.runs.running(reader) == []
        assert [run.ended for run in await ledger.runs.all()] == [None, 50.0]


@pytest.mark.anyio
async def test_of_many_attempts_and_runs_the_latest_are_kept_and_no_byte_is_forgotten(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts_module, "MAX_ATTEMPTS", 3)
    monkeypatch.setattr(runs_module, "MAX_RUNS", 4)
    clock = iter(range(1, 10_000))
    async with Ledger.open(path, now=lambda: float(next(clock))) as ledger:
        with Claims(lock_path(path)) as claims, Claims(lock_path(path)) as other:
            await ledger.add([A, B])
            alive = await ledger.runs.begin("of another process", other)
            for _ in range(12):
                run = await ledger.runs.begin("config", claims)
                await ledger.attempts.begin(A, run)
                await ledger.move(A, Stage.DOWNLOADING)
                await ledger.move(A, Stage.WAITING, cause=Cause.FILE_QUOTA, wait_until=1.0, fetched_bytes=1000)
                await ledger.move(A, Stage.PENDING)
                await ledger.runs.end(run, claims)
            await ledger.attempts.begin(B, run)
            numbers = [each.number for each in await ledger.runs.all()]
            attempts = await ledger.attempts.all(A)
            totals, _ = await ledger.overview(claims)
    assert len(attempts) == 4 and attempts[-1].started > attempts[0].started > 12
    assert totals.fetched_bytes == 12_000
    assert numbers == [alive, *range(run - 4, run + 1)], "the one that is alive, those with attempts, the latest"


def test_left_out_frames_are_named_and_shortened() -> None:
    frames = [LeftOut("images", "05", frame, "not a JPEG") for frame in (9, 3, 7, 8, 20, 22, 24, 26, 28)]
    others = [LeftOut("scan", "", None, f"reason {number}") for number in range(5)]
    assert left_out_text([]) == ""
    assert left_out_text(frames + others) == (
        "left out: images cam_05 frames 3, 7-9, 20, 22, 24, 26 and 1 more: not a JPEG; "
        "scan: reason 0; scan: reason 1; scan: reason 2; and 2 more"
    )
