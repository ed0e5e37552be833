"""Exports of many moments and of many files: every worker has work to the end, and no list of all files is made."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from exported import EXPRESSION, export, publish

from rm360_async.export.export_list import write_export_list
from rm360_async.export.state import damage
from rm360_async.store.file_list import EXPORT_LIST, read_file_list

MANY = replace(EXPRESSION, frames=40, holes={}, distinct_images=2)
"""More moments than two workers can do before the one that exports `FEW` has ended."""
FEW = replace(MANY, performance=replace(MANY.performance, name="e1"), frames=1)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an output folder with a performance of many moments and one of a single moment."""
    return publish(tmp_path_factory.mktemp("published"), MANY, FEW)


def _exporters(pid: int) -> Iterator[str]:
    """Yield the names of a process and its descendants: those of workers are `export 0026/e0`."""
    with suppress(OSError):  # it has ended
        yield Path(f"/proc/{pid}/comm").read_text().strip()
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from _exporters(int(child))


def test_a_worker_that_would_be_idle_joins_the_performance_with_most_left(subjects: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rm360_async", "export", "nerfstudio", str(subjects), "--frames", "all"]
    process = subprocess.Popen([*command, "--output", str(tmp_path / "out"), "--jobs", "3"], stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        most = max(most, list(_exporters(process.pid)).count("export 0026/e0"))
        time.sleep(0.002)
    assert process.returncode == 0
    assert most == 3
    assert len(list((tmp_path / "out" / "0026" / "e0").glob("frame_*"))) == MANY.frames


def test_each_moment_is_exported_by_one_worker(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("nerfstudio", subjects, "--output", tmp_path, "--frames", "all", "--jobs", 4) == 0
    assert "41 written, 0 unchanged, 0 failed" in capsys.readouterr().out
    assert export("nerfstudio", subjects, "--output", tmp_path, "--frames", "all", "--jobs", 4) == 0
    assert "0 written, 41 unchanged, 0 failed" in capsys.readouterr().out


def test_the_list_of_files_is_written_while_they_are_found(tmp_path: Path) -> None:
    """A list of these files would take six megabytes."""
    published, staging = tmp_path / "published", tmp_path / "staging"
    published.write_bytes(b"picture")
    (staging / "images").mkdir(parents=True)
    (staging / "own").write_bytes(b"12345")
    for number in range(20_000):
        os.link(published, staging / "images" / f"cam_25_{number:06d}.jpg")
    tracemalloc.start()
    totals = write_export_list(staging)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000
    assert (totals.files, totals.bytes, totals.links) == (1, 5, 20_000)
    assert sum(1 for _ in read_file_list(staging, EXPORT_LIST)) == 20_001
    assert damage(staging, deep=True).state == "complete"
