"""What is kept, and how much of it: failed downloads, logs; and `rm360 clean`, which removes what may go."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.system.log import old_logs

DAY = 86_400.0


def age(path: Path, days: float) -> Path:
    """Make a file look as if it was last written so many days ago."""
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def test_only_old_files_of_logs_are_old_logs(tmp_path: Path) -> None:
    names = ["extraction_20260101_000000.log", "extraction_20260101_000000.log.1", "extraction_20260201_000000.log"]
    others = ["notes.log", "extraction_20260101_000000.log.gz", "extraction_2026.log"]
    for name in (*names, *others):
        (tmp_path / name).write_text("")
        age(tmp_path / name, 100)
    age(tmp_path / names[2], 80)
    (tmp_path / "extraction_20260101_000001.log").mkdir()
    age(tmp_path / "extraction_20260101_000001.log", 100)
    assert [path.name for path in old_logs(tmp_path, 90)] == names[:2]
    assert old_logs(tmp_path, 0) == [] and old_logs(tmp_path / "absent", 90) == []


def test_a_run_keeps_logs_and_failed_downloads_as_long_as_the_config_says(workspace: Workspace) -> None:
    for number in range(3):
        workspace.put(f"0018/0018_e{number}_raw.smc", b"<html>" + bytes(600_000))
    workspace.put("0018/0018_e3_raw.smc", Tiny(part="e3", filler=100_000))
    logs = workspace.root / "work/logs"
    logs.mkdir(parents=True)
    old = logs / "extraction_20200101_000000.log"
    old.write_text("old")
    age(old, 91)
    limits = {"storage__keep_failed_gb": 1.5e6 / 2**30, "processing__delete_smc_after_extraction": False}
    assert workspace.run(**limits, processing__workers=1) == 1
    kept = sorted(path.name[:7] for path in (workspace.temp / "kept").iterdir())
    assert kept == ["0018_e1", "0018_e2", "0018_e3"], "the oldest failed one is gone, the user's own stays"
    assert "storage.keep_failed_gb is reached: 0018_e0_raw" in workspace.log()
    assert not old.exists()
    old.write_text("old")
    age(old, 1000)
    assert workspace.run(**limits, logging__keep_days=0) == 1
    assert old.exists()
