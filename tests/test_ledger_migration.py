"""A ledger of rm360 0.2.0: it is migrated in one step, with a copy, and read without being changed."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from earlier_version import change, unpack
from workspace import Workspace

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import Claims, Ledger, lock_path, migrations, opened
from rm360_async.ledger.schema import VERSION

NAMES = [f"e{number}" for number in range(9)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return unpack(tmp_path)


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def version_of(path: Path) -> int:
    return int(query(path, "PRAGMA user_version")[0][0])


def files_beside(path: Path) -> list[str]:
    """Return the names beside the ledger that its creation and migration can leave."""
    return sorted(each.name for each in path.parent.iterdir() if "sqlite" in each.name and "journal" not in each.name)


async def rows_of(ledger: Ledger) -> dict[str, PerformanceRow]:
    return {row.performance.name: row for row in await ledger.rows()}


@pytest.mark.anyio
async def test_a_ledger_of_0_2_0_is_migrated_and_keeps_everything(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = query(path, "SELECT * FROM performance ORDER BY id")
    sources, attempts = query(path, "SELECT * FROM source"), query(path, "SELECT * FROM attempt")
    async with Ledger.open(path, now=lambda: 1.0) as ledger:
        rows = await rows_of(ledger)
        assert sorted(rows) == NAMES
        assert {name: row.stage for name, row in rows.items()} == {
            **{"e0": Stage.COMPLETED, "e1": Stage.COMPLETED, "e2": Stage.FAILED, "e3": Stage.WAITING},
            **{"e4": Stage.PENDING, "e5": Stage.PENDING, "e6": Stage.PENDING, "e7": Stage.DOWNLOADING},
            "e8": Stage.DOWNLOAD_FAILED,
        }
        assert [name for name, row in rows.items() if row.forced] == ["e4"]
        assert (rows["e2"].tries, rows["e2"].cause, rows["e3"].cause) == (1, Cause.UNREADABLE, Cause.FILE_QUOTA)
        assert (rows["e0"].cameras_extracted, rows["e0"].frames, rows["e1"].verdict) == (2, 2, "complete")
        assert rows["e5"].sources[0].path == "0018/0018_e5_raw.smc"
        outcomes = [(attempt.performance.name, attempt.outcome) for attempt in await ledger.attempts.all()]
        assert outcomes == [
            *[("e1", "completed"), ("e0", "completed"), ("e2", "failed"), ("e4", "completed")],
            *[("e3", "waiting"), ("e5", "interrupted"), ("e7", "")],
        ]
        assert [run.number for run in await ledger.runs.all()] == [1, 2]
        assert (await ledger.hints.ratios())["single e"] > 0
        assert await ledger.hints.get_meta("imported") is not None
        await ledger.attempts.begin(Performance("0018", "e7"))
        await ledger.move(Performance("0018", "e7"), Stage.DOWNLOADING)
    expected = [(*row, None, None) for row in before if row[2] != "e7"]  # fps and audio_seconds are not known
    assert query(path, "SELECT * FROM performance WHERE name <> 'e7' ORDER BY id") == expected
    assert query(path, "SELECT * FROM source") == sources
    assert query(path, "SELECT id FROM attempt")[: len(attempts)] == [attempt[:1] for attempt in attempts]
    assert files_beside(path) == ["MANIFEST.sqlite", "MANIFEST.sqlite.schema-1"]
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line == (
        f"migrated the ledger {path} from schema 1 to {VERSION}; to go back to the earlier rm360,"
        " rename its copy MANIFEST.sqlite.schema-1 to MANIFEST.sqlite"
    )


@pytest.mark.anyio
async def test_a_migrated_ledger_has_the_schema_of_a_new_one(path: Path, tmp_path: Path) -> None:
    async with Ledger.open(path), Ledger.open(tmp_path / "new.sqlite"):
        pass
    for table in ("performance", "source", "attempt", "run", "quota", "learned", "meta"):
        for pragma in ("table_info", "index_list", "foreign_key_list"):
            sql = f"PRAGMA {pragma}({table})"
            assert query(path, sql) == query(tmp_path / "new.sqlite", sql)
    tables = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
    assert query(path, tables) == query(tmp_path / "new.sqlite", tables)
    assert version_of(path) == version_of(tmp_path / "new.sqlite") == VERSION


@pytest.mark.anyio
async def test_quotas_of_schema_2_end_as_soon_as_a_shorter_wait_from_now_on_allows(path: Path) -> None:
    """Schema 2 knows when a quota comes back, and not since when it is used up."""
    async with Ledger.open(path, now=lambda: 1000.0) as ledger:
        await ledger.hints.record_quota("gdrive", "x", 1000.0 + 24 * 3600)
    for column in ("quota DROP COLUMN refused", "performance DROP COLUMN fps", "performance DROP COLUMN audio_seconds"):
        change(path, f"ALTER TABLE {column}")
    change(path, "PRAGMA user_version = 2")
    async with Ledger.open(path, now=lambda: 2000.0) as ledger:
        assert version_of(path) == VERSION
        assert await ledger.hints.quota_until("gdrive", "x") == 1000.0 + 24 * 3600
        await ledger.hints.shorten_quotas(3600)
        assert await ledger.hints.quota_until("gdrive", "x") == 2000.0 + 3600


@pytest.mark.anyio
async def test_the_copy_is_the_old_ledger(path: Path) -> None:
    before = {table: query(path, f"SELECT * FROM {table}") for table in ("performance", "attempt", "learned", "meta")}
    async with Ledger.open(path) as ledger:
        await ledger.requests.retry()
    copy = path.with_name("MANIFEST.sqlite.schema-1")
    assert version_of(copy) == 1
    assert {table: query(copy, f"SELECT * FROM {table}") for table in before} == before
    copy.rename(path)  # going back, and forward again
    async with Ledger.open(path) as ledger:
        assert (await rows_of(ledger))["e2"].stage is Stage.FAILED
    assert files_beside(path) == ["MANIFEST.sqlite", "MANIFEST.sqlite.schema-1"]


@pytest.mark.anyio
async def test_another_copy_of_that_name_is_kept(path: Path) -> None:
    other = path.with_name("MANIFEST.sqlite.schema-1")
    other.write_text("of another day")
    async with Ledger.open(path):
        pass
    assert other.read_text() == "of another day"
    assert version_of(path.with_name("MANIFEST.sqlite.schema-1-2")) == 1


@pytest.mark.anyio
async def test_readers_see_the_migrated_ledger_and_change_nothing(path: Path) -> None:
    before = path.read_bytes()
    async with opened(path.with_name("MANIFEST.csv")) as (ledger, claims):
        rows = await rows_of(ledger)
        totals, _ = await ledger.overview(claims)
        assert (sorted(rows), rows["e1"].verdict, totals.counts.planned) == (NAMES, "complete", 9)
        assert await ledger.runs.running(claims) == [] and len(await ledger.attempts.all()) == 7
        with pytest.raises(Fault, match="readonly"):
            await ledger.requests.retry()
    assert path.read_bytes() == before and files_beside(path) == ["MANIFEST.sqlite"]


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["status"], "9 performances: 2 completed (1 damaged), 2 failed, 1 waiting, 4 pending"),
        (["summary", "--json"], '"performances": 9'),
        (["export-manifest", "--output", "-"], "0018,e1,completed,1,2,"),
        (["verify", "--deep"], "3 folders (every byte), 25 files, 35.8 KB: all as published"),
    ],
)
def test_commands_that_only_look_work_before_the_migration(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], command: list[str], text: str
) -> None:
    path = unpack(workspace.root)
    before = path.read_bytes()
    workspace.config()
    assert workspace.command(*command) == 0
    assert text in capsys.readouterr().out
    assert path.read_bytes() == before


def test_retry_migrates(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    path = unpack(workspace.root)
    workspace.config()
    assert workspace.command("retry") == 0
    assert capsys.readouterr().out == ("0018/e2: pending\n0018/e8: pending\n2 of 2 failed performances requeued\n")
    assert version_of(path) == VERSION


@pytest.mark.anyio
async def test_a_ledger_that_another_process_works_with_is_not_migrated(path: Path) -> None:
    before = path.read_bytes()
    with Claims(lock_path(path)) as other:
        assert other.claim(3)
        with pytest.raises(Fault, match="while another instance works with it") as caught:
            async with Ledger.open(path):
                pass
        assert caught.value.cause is Cause.LEDGER
        async with opened(path.with_name("MANIFEST.csv")) as (ledger, _):
            assert len(await ledger.rows()) == 9
    assert path.read_bytes() == before and files_beside(path) == ["MANIFEST.sqlite"]
    async with Ledger.open(path) as ledger:
        assert len(await ledger.rows()) == 9


@pytest.mark.parametrize("command", ["status", "retry", "run"])
def test_a_newer_ledger_is_refused_in_one_line(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = unpack(workspace.root)
    change(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    workspace.config()
    assert workspace.command(command) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"error: the ledger {path} was written by a newer rm360 (schema 99, this one knows up to {VERSION});"
        " install the rm360 that wrote it, or the newest one"
    )
    assert path.read_bytes() == before and files_beside(path) == ["MANIFEST.sqlite"]


@pytest.mark.anyio
async def test_a_damaged_ledger_of_0_2_0_is_refused_and_kept(path: Path) -> None:
    change(path, "UPDATE performance SET stage = 'nonsense' WHERE name = 'e0'")
    before = path.read_bytes()
    with pytest.raises(Fault, match="damaged"):
        async with Ledger.open(path):
            pass
    assert path.read_bytes() == before and files_beside(path) == ["MANIFEST.sqlite"]


MIGRATES = """
import os, signal, sys
from pathlib import Path
from rm360_async.system import fault_points
def reach(point):
    if point == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
fault_points.reach = reach
from rm360_async.ledger.migrations import migrate
migrate(Path(sys.argv[1]))
"""


@pytest.mark.anyio
@pytest.mark.parametrize("point", ["ledger copied", "ledger migrated"])
async def test_a_kill_during_the_migration_leaves_the_old_ledger(path: Path, point: str) -> None:
    before = query(path, "SELECT * FROM performance")
    for _ in range(3):
        killed = subprocess.run([sys.executable, "-c", MIGRATES, path, point], check=False)
        assert killed.returncode == -signal.SIGKILL
    assert version_of(path) == 1 and query(path, "SELECT * FROM performance") == before
    async with Ledger.open(path) as ledger:
        assert sorted(await rows_of(ledger)) == NAMES
    assert version_of(path) == VERSION
    assert files_beside(path) == ["MANIFEST.sqlite", "MANIFEST.sqlite.schema-1"]


@pytest.mark.anyio
async def test_a_full_disk_during_the_migration_leaves_the_old_ledger(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(point: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(Fault) as caught:
        patch.setattr(migrations, "reach", fill)
        async with Ledger.open(path, create=False):
            pass
    assert caught.value.cause is Cause.DISK_FULL and version_of(path) == 1
    async with Ledger.open(path) as ledger:
        assert sorted(await rows_of(ledger)) == NAMES
    assert files_beside(path) == ["MANIFEST.sqlite", "MANIFEST.sqlite.schema-1"]


def test_several_processes_migrate_one_ledger(path: Path) -> None:
    command = [sys.executable, "-c", MIGRATES, str(path), "no point"]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert version_of(path) == VERSION
    assert files_beside(path) == ["MANIFEST.sqlite", "MANIFEST.sqlite.schema-1"]
