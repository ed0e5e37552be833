"""MANIFEST.csv: its content, its replacement in one step, and the import of what was there before the ledger."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import anyio
import pytest

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.record import LeftOut, Record, SourceFile
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import (
    Claims,
    ImportResult,
    Ledger,
    ManifestWriter,
    adopt_folders,
    import_existing,
    ledger_path,
    lock_path,
    manifest_text,
    write_manifest,
)
from rm360_async.ledger.claims import MANIFEST
from rm360_async.store.marker import MARKER

A, B, C = Performance("0018", "s1_all"), Performance("0018", "e2"), Performance("0026", "e10")


def a_record(performance: Performance, left_out: tuple[LeftOut, ...] = ()) -> Record:
    return Record(
        subject=performance.subject,
        performance=performance.name,
        version="0.1.0",
        published="2026-11-22T12:00:00+00:00",
        sources=(SourceFile("a.smc", 1, None, None),),
        wanted_cameras="all",
        wanted_modalities=("images",),
        modalities=("images",),
        absent=(),
        cameras={"25": 12, "27": 13},
        frames=13,
        fps=None,
        left_out=left_out,
        files=25,
        bytes=3 * 2**30,
    )


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "MANIFEST.csv"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "subjects"


def test_the_text_has_one_sorted_row_a_performance() -> None:
    moment = datetime(2026, 11, 23, 14, 5, 9).timestamp()
    finished = datetime.fromtimestamp(moment, timezone.utc).isoformat()
    broken = "left out: images cam_05 frame 3: not a JPEG,\nreally"
    rows = [
        PerformanceRow(
            C, Stage.WAITING, cause=Cause.FILE_QUOTA, reason="long story", wait_until=moment, updated=moment
        ),
        PerformanceRow(Performance("0018", "e10"), Stage.FAILED, cause=Cause.DEADLINE, updated=moment),
        replace(
            PerformanceRow(
                A, Stage.COMPLETED, reason=broken, cameras_extracted=38, frames=486, bytes=3 * 2**29, updated=moment
            ),
            verdict="damaged:\ngaps",
            fps=30.0,
            audio_seconds=16.2,
        ),
        PerformanceRow(
            B, Stage.DOWNLOAD_FAILED, cause=Cause.NOT_FOUND, reason="the remote does not have it", updated=moment
        ),
    ]
    text = manifest_text(rows)
    assert text.splitlines()[0] == (
        "subject,performance,status,cameras_extracted,frames,size_gb,timestamp,error,verdict,"
        "folder,finished,fps,audio_seconds"
    )
    assert [tuple(line.values()) for line in table(text)] == [
        (
            *("0018", "e2", "download_failed", "0", "0", "0.0000", "2026-11-23T14:05:09"),
            *("the remote does not have it", "", "0018/e2", "", "", ""),
        ),
        (
            *("0018", "e10", "failed", "0", "0", "0.0000", "2026-11-23T14:05:09"),
            *("deadline", "", "0018/e10", "", "", ""),
        ),
        (
            "0018",
            "s1_all",
            "completed",
            "38",
            "486",
            "1.5000",
            "2026-11-23T14:05:09",
            " ".join(broken.split()),
            "damaged: gaps",
            "0018/s1_all",
            finished,
            "30",
            "16.200",
        ),
        (
            "0026",
            "e10",
            "waiting",
            "0",
            "0",
            "0.0000",
            "2026-11-23T14:05:09",
            "quota of this file, until 2026-11-23 14:05",
            "",
            "0026/e10",
            "",
            "",
            "",
        ),
    ]


@pytest.mark.anyio
async def test_the_file_is_replaced_and_leaves_nothing_beside_it(path: Path) -> None:
    await write_manifest(path, [PerformanceRow(A, Stage.PENDING)])
    await write_manifest(path, [PerformanceRow(B, Stage.PENDING)])
    assert [line["performance"] for line in table(path.read_text())] == ["e2"]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.anyio
async def test_a_symbolic_link_is_replaced_and_its_target_untouched(path: Path) -> None:
    target = path.with_name("precious")
    target.write_text("precious")
    path.symlink_to(target)
    await write_manifest(path, [PerformanceRow(A, Stage.PENDING)])
    assert target.read_text() == "precious"
    assert not path.is_symlink() and len(table(path.read_text())) == 1


@pytest.mark.anyio
async def test_a_path_that_cannot_be_written_is_reported_and_the_old_file_stays(path: Path) -> None:
    path.mkdir()
    with pytest.raises(Fault) as caught:
        await write_manifest(path, [])
    assert caught.value.cause is Cause.NOT_WRITABLE and str(path) in str(caught.value)
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(Fault, match="No such file"):
        await write_manifest(path.with_name("none") / "MANIFEST.csv", [])


WRITES_FOR_EVER = """
import sys, anyio
from pathlib import Path
from rm360_async.domain.names import Performance
from rm360_async.ledger import write_manifest
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
async def main():
    while True:
        for stage in (Stage.PENDING, Stage.COMPLETED):
            rows = [PerformanceRow(Performance(f"{n:04d}", "e0"), stage) for n in range(3000)]
            await write_manifest(Path(sys.argv[1]), rows)
            print(stage.value, flush=True)
anyio.run(main)
"""


def test_readers_never_see_a_half_written_manifest_even_after_kill_9(path: Path) -> None:
    for changes in (1, 2, 3):
        command = [sys.executable, "-c", WRITES_FOR_EVER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            seen = [_status_of_all(path)]
            while len(seen) <= 2 * changes:
                status = _status_of_all(path)
                seen += [status] if status != seen[-1] else []
            writer.send_signal(signal.SIGKILL)
        assert _status_of_all(path) in ("pending", "completed")


def _status_of_all(path: Path) -> str:
    """Return the one status that all 3,000 lines have; reading anything less is a failure."""
    text = path.read_text()
    assert text.endswith("\n") and text.count("\n") == 3001
    (status,) = {line["status"] for line in table(text)}
    return status


@pytest.mark.anyio
async def test_the_writer_follows_at_its_own_pace_and_writes_the_last_state(path: Path) -> None:
    leftover = path.with_name(".MANIFEST.csv.999999.new")
    leftover.write_text("left by a killed process")
    paused, go_on = anyio.Event(), anyio.Event()

    async def pause(seconds: float) -> None:
        assert seconds == 7.0
        paused.set()
        await go_on.wait()

    with Claims(lock_path(ledger_path(path))) as claims:
        async with Ledger.open(ledger_path(path)) as ledger, anyio.create_task_group() as tasks:
            writer = ManifestWriter(path, ledger, claims, interval_seconds=7.0, pause=pause)
            tasks.start_soon(writer.follow)
            await ledger.add([A])
            writer.touch()
            await paused.wait()
            assert not leftover.exists()
            assert [line["status"] for line in table(path.read_text())] == ["pending"]
            await ledger.move(A, Stage.DOWNLOADING)
            writer.touch()
            assert claims.claim((await ledger.row_numbers())[A])
            await anyio.wait_all_tasks_blocked()
            assert [line["status"] for line in table(path.read_text())] == ["pending"], "it writes once in 7 seconds"
            tasks.cancel_scope.cancel()
            await writer.finish()
            assert [line["status"] for line in table(path.read_text())] == ["downloading"]
        async with Ledger.open(ledger_path(path)) as ledger:
            claims.release((await ledger.row_numbers())[A])
            assert await ManifestWriter(path, ledger, claims).write()
            assert [line["status"] for line in table(path.read_text())] == ["pending"]


@pytest.mark.anyio
async def test_a_write_that_fails_is_logged_once_and_tried_again(
    path: Path, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[bool] = []
    done = anyio.Event()

    async def pause(_: float) -> None:
        pauses.append(path.is_file())
        if len(pauses) == 2:
            path.rmdir()
        elif len(pauses) > 2:
            done.set()
            await anyio.sleep_forever()

    with Claims(lock_path(ledger_path(path))) as claims:
        async with Ledger.open(ledger_path(path)) as ledger, anyio.create_task_group() as tasks:
            await import_existing(ledger, path, output)
            path.mkdir()
            writer = ManifestWriter(path, ledger, claims, pause=pause)
            writer.touch()
            tasks.start_soon(writer.follow)
            await done.wait()
            tasks.cancel_scope.cancel()
    assert pauses == [False, False, True]
    (message,) = [record.getMessage() for record in caplog.records]
    assert f"cannot write {path}" in message and message.endswith("; trying again")


@pytest.mark.anyio
async def test_while_another_instance_writes_the_writer_waits_its_turn(path: Path) -> None:
    lock = lock_path(ledger_path(path))
    with Claims(lock) as claims, Claims(lock) as other:
        async with Ledger.open(ledger_path(path)) as ledger:
            writer = ManifestWriter(path, ledger, claims)
            assert other.claim(MANIFEST)
            assert not await writer.write()
            assert not path.exists()
            other.release(MANIFEST)
            assert await writer.write()
            assert path.exists() and other.claim(MANIFEST)


# Folders from before the ledger.


def earlier_folder(output: Path, performance: Performance, cameras: dict[str, int], *, marker: bool = True) -> Path:
    """Make a folder as an earlier tool left it: its own marker, JPEG files of 10 bytes."""
    folder = output / performance.subject / performance.name
    folder.mkdir(parents=True)
    for camera, frames in cameras.items():
        (folder / "images" / f"cam_{camera}").mkdir(parents=True)
        for frame in range(frames):
            (folder / "images" / f"cam_{camera}" / f"frame_{frame:06d}.jpg").write_bytes(bytes(10))
    if marker:
        (folder / MARKER).write_text("Extraction completed\n")
        os.utime(folder / MARKER, (1e9, 1e9))
    return folder


@pytest.mark.anyio
async def test_adopted_folders_are_counted_unless_their_marker_has_a_record(output: Path) -> None:
    folder = earlier_folder(output, A, {"00": 0, "25": 3, "27": 5})
    (folder / "images" / "cam_25" / "notes.txt").write_bytes(bytes(7))
    (folder / "images" / "thumbs").mkdir()
    (folder / "images" / "cam_27" / "link.txt").symlink_to(folder / "images" / "cam_25" / "notes.txt")
    recorded = earlier_folder(output, B, {"25": 1})
    (recorded / MARKER).write_text(a_record(B, (LeftOut("images", "25", 4, "broken"),)).to_json())
    earlier_folder(output, C, {"25": 1}, marker=False)
    earlier_folder(output, Performance("0018", "s1_all.tmp"), {"25": 1})
    earlier_folder(output, Performance("notes", "s1_all"), {"25": 1})
    (output / "0019").write_text("a file")
    adopted = await adopt_folders(output)
    assert adopted.problems == ()
    size = 8 * 10 + 7 + len("Extraction completed\n")
    assert {row.performance: row for row in adopted.rows} == {
        A: PerformanceRow(A, Stage.COMPLETED, cameras_extracted=2, frames=5, bytes=size, updated=1e9),
        B: PerformanceRow(
            B,
            Stage.COMPLETED,
            reason="left out: images cam_25 frame 4: broken",
            cameras_extracted=2,
            frames=13,
            bytes=3 * 2**30,
            updated=1795348800.0,
            sources=(SourceFile("a.smc", 1),),
        ),
    }
    assert await adopt_folders(output / "none") == type(adopted)((), ())


@pytest.mark.anyio
async def test_a_folder_that_cannot_be_read_is_reported(output: Path) -> None:
    earlier_folder(output, A, {"25": 1})
    broken = earlier_folder(output, B, {}, marker=False)
    (broken / MARKER).mkdir()
    adopted = await adopt_folders(output)
    assert [row.performance for row in adopted.rows] == [A]
    assert len(adopted.problems) == 1 and str(broken / MARKER) in adopted.problems[0]


@pytest.mark.anyio
async def test_an_earlier_manifest_is_copied_and_the_folders_are_imported_once(path: Path, output: Path) -> None:
    content = b"\xef\xbb\xbfSubject;Performance\n18;s1_all\n\xff\0"
    path.write_bytes(content)
    os.utime(path, (1e9, 1e9))
    earlier_folder(output, A, {"25": 3})
    earlier_folder(output, C, {"00": 2, "01": 1})
    async with Ledger.open(ledger_path(path)) as ledger:
        imported = await import_existing(ledger, path, output)
        assert imported == ImportResult(2, path.with_name("MANIFEST.csv.earlier"), ())
        copy = path.with_name("MANIFEST.csv.earlier")
        assert (copy.read_bytes(), copy.stat().st_mtime) == (content, 1e9)
        rows = {str(row.performance): (row.stage, row.cameras_extracted, row.frames) for row in await ledger.rows()}
        assert rows == {"0018/s1_all": (Stage.COMPLETED, 1, 3), "0026/e10": (Stage.COMPLETED, 2, 2)}
        await write_manifest(path, await ledger.rows())
        assert await import_existing(ledger, path, output) is None
    assert sorted(file.name for file in path.parent.glob("*MANIFEST.csv*")) == ["MANIFEST.csv", "MANIFEST.csv.earlier"]


@pytest.mark.anyio
@pytest.mark.parametrize(("there", "name"), [("of another day", "earlier-2"), ("now", "earlier")])
async def test_another_copy_of_that_name_is_kept(path: Path, output: Path, there: str, name: str) -> None:
    earlier = path.with_name("MANIFEST.csv.earlier")
    earlier.write_text(there)
    path.write_text("now")
    async with Ledger.open(ledger_path(path)) as ledger:
        imported = await import_existing(ledger, path, output)
    assert imported is not None and imported.copy == path.with_name(f"MANIFEST.csv.{name}")
    assert (imported.copy.read_text(), earlier.read_text()) == ("now", there)


@pytest.mark.anyio
async def test_a_writer_keeps_the_manifest_that_is_older_than_the_ledger(path: Path, output: Path) -> None:
    """`verify --repair` writes one before any run has imported the folders."""
    path.write_text("of an earlier tool")
    async with Ledger.open(ledger_path(path)) as ledger:
        with Claims(lock_path(ledger_path(path))) as claims:
            assert await ManifestWriter(path, ledger, claims).write()
            assert await ManifestWriter(path, ledger, claims).write()
        imported = await import_existing(ledger, path, output)
    assert imported is not None and imported.copy == path.with_name("MANIFEST.csv.earlier")
    assert imported.copy.read_text() == "of an earlier tool" and path.read_text().startswith("subject,performance")
    assert sorted(file.name for file in path.parent.glob("*MANIFEST.csv*")) == ["MANIFEST.csv", "MANIFEST.csv.earlier"]


@pytest.mark.anyio
async def test_without_an_earlier_manifest_the_folders_are_imported(path: Path, output: Path) -> None:
    earlier_folder(output, A, {"25": 3})
    async with Ledger.open(ledger_path(path)) as ledger:
        imported = await import_existing(ledger, path, output)
        assert imported is not None and imported.copy is None
        assert [(row.performance, row.stage, row.frames) for row in await ledger.rows()] == [(A, Stage.COMPLETED, 3)]


@pytest.mark.anyio
async def test_an_earlier_manifest_that_cannot_be_read_stops_before_anything_is_changed(
    path: Path, output: Path
) -> None:
    path.mkdir()
    async with Ledger.open(ledger_path(path)) as ledger:
        with pytest.raises(Fault) as caught:
            await import_existing(ledger, path, output)
        assert caught.value.cause is Cause.NOT_WRITABLE
        assert await ledger.rows() == []
        path.rmdir()
        assert await import_existing(ledger, path, output) is not None
