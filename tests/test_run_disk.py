"""Whole runs on little disk: the budget holds at every instant, and a full disk pauses and loses nothing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from instance import ROOT, Instance, RecordingRclone, barrier_at, command_lines, wait_until, wait_until_reached
from small_disk import NoSmallDisk, SmallDisk
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.cli.main import main
from rm360_async.domain.formatting import size_text
from rm360_async.store.marker import MARKER

GB = 2**30
MB = 2**20


def put(workspace: Workspace, name: str, filler: int, subject: str = "0018") -> int:
    """Put a performance on the remote; return its file's size."""
    return workspace.put(f"{subject}/{subject}_{name}_raw.smc", Tiny(subject, name, filler=filler)).stat().st_size


def tries(workspace: Workspace) -> dict[str, int]:
    copy = workspace.root / "copy.sqlite"  # SQLite itself would resolve the way into the name space
    copy.write_bytes((workspace.root / "work" / "MANIFEST.sqlite").read_bytes())
    with closing(sqlite3.connect(copy)) as ledger:
        return dict(ledger.execute("SELECT subject || '/' || name, tries FROM performance"))


def allocated(folder: Path) -> int:
    """Return the bytes that all files below a folder take on the disk."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total


@contextmanager
def sampled(folder: Path) -> Iterator[list[int]]:
    """Look at what a folder takes every few milliseconds while the block runs."""
    seen, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.002):
            seen.append(allocated(folder))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@contextmanager
def on_small_disk(workspace: Workspace, size: int) -> Iterator[tuple[SmallDisk, dict[str, Any]]]:
    """Yield a small disk for all of a workspace's work, and the arguments that a run on it needs."""
    with small_disk(workspace, size) as disk:
        yield disk, disk.hold_work()


@contextmanager
def small_disk(workspace: Workspace, size: int) -> Iterator[SmallDisk]:
    """Yield a small disk; skip the test where mounting is not allowed."""
    try:
        disk = SmallDisk(workspace, size)
    except NoSmallDisk as reason:
        pytest.skip(str(reason))
    with disk:
        yield disk


def finished(workspace: Workspace, *names: str) -> bool:
    rows = {name: row["status"] for name, row in workspace.manifest().items()}
    return rows == dict.fromkeys(names, "completed") and not workspace.leftovers() and not command_lines(workspace)


def test_staging_never_holds_more_than_its_budget(workspace: Workspace) -> None:
    sizes = [put(workspace, f"e{number}", filler) for number, filler in enumerate((90, 150, 120, 150))
             for filler in [filler * 1000]]  # fmt: skip
    budget = max(sizes) + 64 * 1024
    with sampled(workspace.temp) as seen, Instance(workspace, limits__max_temp_size_gb=budget / GB) as run:
        assert run.wait() == 0
    assert max(sizes) <= max(seen) <= budget
    assert finished(workspace, *(f"0018/e{number}" for number in range(4)))


def test_two_runs_that_share_a_temp_dir_share_its_budget(workspace: Workspace) -> None:
    """They have ledgers of their own, want the same files, and neither spoils what the other has in hand."""
    sizes = [put(workspace, f"e{number}", 120_000) for number in range(2)]
    budget = 2 * max(sizes) + 64 * 1024
    configs = []
    for name in ("one", "two"):
        config = workspace.config(
            storage__output_dir=str(workspace.root / name / "subjects"),
            storage__temp_dir=str(workspace.temp),
            limits__max_temp_size_gb=budget / GB,
        )
        configs.append(config.rename(workspace.root / f"{name}.yaml"))
    barrier, hook = barrier_at(workspace, "barrier", "sealing", side="worker", match="e0")
    with sampled(workspace.temp) as seen, Instance(workspace, config=configs[0], hooks=[hook]) as one:
        wait_until_reached(barrier)
        with Instance(workspace, config=configs[1]) as two:
            logs = workspace.root / "two" / "logs"
            wait_until(
                lambda: any("Waiting for another run to finish 0018/e0" in log.read_text() for log in logs.glob("*")),
                "the wait",
            )
            barrier.touch()
            assert (one.wait(), two.wait()) == (0, 0), one.output + two.output
    assert max(sizes) <= max(seen) <= budget
    for name in ("one", "two"):
        assert len(list((workspace.root / name / "subjects").glob(f"0018/e?/{MARKER}"))) == 2
        assert "WARNING removed" not in "".join(path.read_text() for path in (workspace.root / name / "logs").iterdir())


def test_what_no_budget_can_hold_is_said_at_the_start_and_fails_alone(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = put(workspace, "e0", 1000), put(workspace, "e1", 300_000)
    rclone = RecordingRclone(workspace)
    config = workspace.config(limits__max_temp_size_gb=(small + large) / 2 / GB)
    assert main(["run", str(config), "--dry-run"]) == 0
    limit = size_text((small + large) / 2)
    words = f"0018/e1 needs {size_text(large)} in temp_dir, and limits.max_temp_size_gb allows {limit} in all"
    assert f"will fail: {words}" in capsys.readouterr().out
    with Instance(workspace, config=config) as run:
        assert run.wait() == 1
    first = workspace.log().index(f"0018/e1 will fail: it needs {size_text(large)} in temp_dir")
    assert first < workspace.log().index("performances planned")
    mend = "raise or lower that limit, or add disk"
    assert workspace.manifest()["0018/e1"]["error"] == f"{words}; {mend}" and workspace.status_of("0018/e1") == "failed"
    assert workspace.status_of("0018/e0") == "completed"
    assert len(rclone.downloads()) == len(rclone.downloads("0018_e0_raw.smc")) == 1


def test_low_disk_pauses_says_so_and_goes_on_by_itself(workspace: Workspace) -> None:
    put(workspace, "e0", 1000)
    with on_small_disk(workspace, 64 * MB) as (disk, more):
        disk.fill(leave=24 * MB)
        with Instance(workspace, **more, limits__min_free_space_gb=32 * MB / GB, logging__console_output=True) as run:
            words = "Insufficient storage space: 2"
            wait_until(lambda: words in workspace.log(), "the pause in the log")
            assert words in run.output and " MB free, 32." in run.output and "; waiting" in run.output
            config = str(workspace.root / "config.yaml")
            status = [*disk.enter, sys.executable, "-m", "rm360_async", "status", config]
            wait_until(lambda: words in subprocess.check_output(status, cwd=ROOT, text=True), "the pause in status")
            assert not children_fetching(workspace) and not list(workspace.temp.glob("*.smc*"))
            disk.remove_filler()
            assert run.wait() == 0
        assert finished(workspace, "0018/e0") and "space available again, continuing" in workspace.log()
        assert tries(workspace) == {"0018/e0": 0}


def children_fetching(workspace: Workspace) -> list[str]:
    return [command for command in command_lines(workspace) if " serve " in command]


def test_a_disk_that_fills_up_under_an_extraction(workspace: Workspace) -> None:
    put(workspace, "e0", 500_000)
    with on_small_disk(workspace, 32 * MB) as (disk, more):
        barrier, hook = barrier_at(workspace, "barrier", "file written", side="worker", nth=2)
        with Instance(workspace, **more, hooks=[hook], logging__console_output=True) as run:
            wait_until_reached(barrier)
            disk.fill()
            barrier.touch()
            wait_until(lambda: "Insufficient storage space" in run.output, "the pause")
            assert "disk full" in run.output or "no space left" in run.output
            assert not list(workspace.output.glob("*/*")) and not list(workspace.output.glob("*/.*"))
            disk.remove_filler()
            assert run.wait() == 0
        assert finished(workspace, "0018/e0") and tries(workspace) == {"0018/e0": 0}
        assert len(list((workspace.folder("0018/e0") / "images").rglob("*.jpg"))) == 8


def test_a_disk_that_fills_up_under_a_download(workspace: Workspace) -> None:
    put(workspace, "e0", 300_000)
    rclone = RecordingRclone(workspace)
    with on_small_disk(workspace, 32 * MB) as (disk, more):
        slow = {"RCLONE_BWLIMIT": "1M"}
        with Instance(workspace, **more, environment=slow, logging__console_output=True) as run:
            wait_until(workspace.present_bytes, "some bytes")
            disk.fill()
            wait_until(lambda: "Insufficient storage space" in run.output, "the pause")
            disk.remove_filler()
            assert run.wait() == 0
        assert finished(workspace, "0018/e0") and tries(workspace) == {"0018/e0": 0}
        first, *others = rclone.downloads()
        assert "present=0 " in first and others and not any("present=0 " in line for line in others)


def test_a_download_stops_where_it_is_when_a_stranger_takes_the_free_space(workspace: Workspace) -> None:
    put(workspace, "e0", 300_000)
    rclone = RecordingRclone(workspace)
    with on_small_disk(workspace, 32 * MB) as (disk, more):
        slow = {"RCLONE_BWLIMIT": "512k"}
        with Instance(workspace, **more, environment=slow, limits__min_free_space_gb=16 * MB / GB) as run:
            wait_until(workspace.present_bytes, "some bytes")
            disk.fill(leave=12 * MB)
            wait_until(lambda: "16 MB are to stay free" in workspace.log(), "the pause")
            wait_until(lambda: "of them stay free); waiting" in workspace.log(), "the wait for room")
            before = workspace.present_bytes()
            assert workspace.present_bytes() == before > 0
            disk.remove_filler()
            assert run.wait() == 0
        assert finished(workspace, "0018/e0") and tries(workspace) == {"0018/e0": 0}
        assert f"present={before} " in rclone.downloads()[1]


def test_a_staging_folder_that_becomes_read_only_under_a_download_stops_with_a_sentence(workspace: Workspace) -> None:
    put(workspace, "e0", 1000)
    with on_small_disk(workspace, 32 * MB) as (disk, more):
        barrier, hook = barrier_at(workspace, "barrier", "committing part")
        with Instance(workspace, **more, hooks=[hook]) as run:
            wait_until_reached(barrier)
            disk.make_read_only("temp")
            barrier.touch()
            assert run.wait() == 3
        assert (
            "cannot write" in run.output and ": Read-only file system" in run.output and "Traceback" not in run.output
        )
        disk.make_writable("temp")
        with Instance(workspace, **more) as run:
            assert run.wait() == 0
        assert finished(workspace, "0018/e0")


def test_a_full_disk_under_ledger_manifest_and_log_loses_nothing(workspace: Workspace) -> None:
    names = [f"e{number}" for number in range(3)]
    for name in names:
        put(workspace, name, 1000)
    with small_disk(workspace, MB) as disk:
        books: dict[str, Any] = {
            "storage__manifest_path": str(disk.mount_point / "MANIFEST.csv"),
            "storage__log_dir": str(disk.mount_point / "logs"),
            "logging__console_output": True,
            "processing__workers": 1,
            "processing__downloads": 1,
        }
        barrier, hook = barrier_at(workspace, "barrier", "published", nth=1)
        full = workspace.root / "full"
        no_room = {"point": "ledger statement", "do": "no_room", "path": str(full)}
        with Instance(workspace, prefix=disk.enter, hooks=[hook, no_room], **books) as run:
            wait_until_reached(barrier)
            full.touch()
            disk.fill()
            barrier.touch()
            wait_until(lambda: "Insufficient storage space: cannot write the ledger" in run.output, "the pause")
            wait_until(lambda: not list(workspace.temp.glob("0018_e0_raw.*.smc")), "the .smc gone")
            assert (workspace.folder("0018/e0") / MARKER).exists() and "published 0018/e0" not in run.output
            full.unlink()
            disk.remove_filler()
            assert run.wait() == 0, run.output
        rows = (disk.outside_path / "MANIFEST.csv").read_text().splitlines()[1:]
        assert [row.split(",")[1:3] for row in rows] == [[name, "completed"] for name in names]
        assert workspace.leftovers() == []


def test_a_part_that_nobody_has_in_hand_gives_way_when_nothing_else_can(workspace: Workspace) -> None:
    size = put(workspace, "e0", 150_000)
    old, older = (workspace.temp / f"0018_e{number}_raw.0123abcd.smc.part" for number in (7, 8))
    foreign = workspace.temp / "notes.txt"
    workspace.temp.mkdir(parents=True)
    for path, age in ((old, 1), (older, 2), (foreign, 3)):
        path.write_bytes(os.urandom(400 * 1024))
        os.utime(path, (1e9 - age, 1e9 - age))
    with Instance(workspace, limits__max_temp_size_gb=(size + 900 * 1024) / GB) as run:
        assert run.wait() == 0
    assert old.exists() and foreign.exists() and not older.exists(), "as few as it takes, the oldest first"
    assert "removed an unfinished download to free space" in workspace.log()


def test_a_broken_connection_does_not_cost_the_part_although_others_wait_for_its_room(workspace: Workspace) -> None:
    """Half of a pair is never taken for the whole, and what it has on disk keeps its lease."""
    workspace.structure, workspace.subjects = "separate_anno_raw", ["0026"]
    sizes = []
    for name in ("e0", "e1"):
        raw, anno = Tiny("0026", name, calibration=False), Tiny("0026", name, images=False, audio=False, anno=True)
        sizes += [workspace.put(f"{kind}/0026/0026_{name}_{kind}.smc", tiny).stat().st_size for kind, tiny in
                  (("raw", raw), ("anno", anno))]  # fmt: skip
    rclone = RecordingRclone(workspace)
    broken = workspace.root / "broken"
    rclone.write_script(
        f'if [ "$1" = serve ] && [ ! -e "{broken}" ]; then (sleep 0.2; kill $$) > /dev/null 2>&1 & touch "{broken}"; fi'
    )
    with Instance(workspace, limits__max_temp_size_gb=(sum(sizes) / 2 + 64 * 1024) / GB) as run:
        assert run.wait() == 0
    assert finished(workspace, "0026/e0", "0026/e1")
    assert broken.exists() and tries(workspace) == {"0026/e0": 0, "0026/e1": 0}
    assert all("present=0 " in line for line in rclone.downloads()), "none starts over"
    assert (workspace.folder("0026/e0") / "flame" / "all_frames.npz").is_file()


@pytest.mark.parametrize("fetch", ["whole", "ranges"])
def test_a_file_larger_than_the_file_system_allows_costs_only_its_performance(workspace: Workspace, fetch: str) -> None:
    put(workspace, "e0", 300)
    put(workspace, "e1", 300)
    with (workspace.remote / "0018" / "0018_e1_raw.smc").open("r+b") as file:
        file.truncate(64 * MB)
    config = workspace.config(processing__fetch=fetch, extraction__modalities=["metadata"])
    limited = f'ulimit -f {32 * MB // 512} && exec "$@"'  # blocks of 512 bytes
    command = ["sh", "-c", limited, "sh", sys.executable, "-m", "rm360_async", "run", str(config)]
    assert subprocess.run(command, cwd=ROOT, timeout=300).returncode == 1
    rows = workspace.manifest()
    assert rows["0018/e0"]["status"] == "completed"
    assert rows["0018/e1"]["status"] in ("failed", "download_failed")
    assert "`ulimit -f` allows" in rows["0018/e1"]["error"]
