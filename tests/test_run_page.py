"""The page of a run: what holds it back, rates and sizes over time, one colour for each state; report --watch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from instance import ROOT, Instance, barrier_at, wait_until, wait_until_reached
from test_report import big_run
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.service.snapshot import ActiveJob, Snapshot, reasons_held_back
from rm360_async.visualization.report import write_run_page
from rm360_async.visualization.report.run_data import PerformanceState
from rm360_async.visualization.report.timeline import bytes_between, download_plot
from rm360_async.visualization.theme import PERFORMANCE_COLOURS

WATCH_EVERY_SECOND = """
import sys
from rm360_async.commands import report
from rm360_async.cli.main import main
report.WATCH_SECONDS = 1
sys.exit(main(sys.argv[1:]))
"""


def test_downloads_are_drawn_while_they_went_on_and_not_at_their_end() -> None:
    day = 86_400.0
    text = str(download_plot([(1.79e9 + 10 * day, 10**12, 10 * day)]))
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([\d.]+)"', text)]
    _, _, *bars, _ = heights  # without the paper, and the first and the last bar, which are parts of an interval
    assert len(bars) > 90 and max(bars) - min(bars) < 2, "the same rate for ten days"
    assert len(set(re.findall(r"2026-\d\d-\d\d", text))) == 3 and "MB/s" in text


def test_bytes_are_spread_over_overlapping_downloads() -> None:
    began, ended, sizes = np.array([0.0, 5.0, 20.0]), np.array([10.0, 25.0, 21.0]), np.array([100.0, 200.0, 7.0])
    spread = bytes_between(np.array([0.0, 10.0, 20.0, 30.0]), began, ended, sizes)
    np.testing.assert_allclose(spread, [150.0, 100.0, 57.0])


def test_every_state_has_one_colour_on_pages_and_plots(tmp_path: Path) -> None:
    colours = {state.value: PERFORMANCE_COLOURS[state.value] for state in PerformanceState}
    assert len(set(colours.values())) == len(PerformanceState)
    write_run_page(big_run(), tmp_path)
    text = (tmp_path / "index.html").read_text()
    for state, colour in colours.items():
        assert f"--{state}:{colour}" in text and f"td.{state}{{color:var(--{state})}}" in text


@pytest.mark.rclone
def test_watch_keeps_the_page_current_until_the_run_ends(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    barrier, hook = barrier_at(workspace, "extraction", "stage recorded")
    page = workspace.root / "report" / "index.html"
    with Instance(workspace, hooks=[hook]) as run:
        wait_until_reached(barrier)
        arguments = ["report", str(workspace.root / "config.yaml"), "--output", str(page.parent), "--watch"]
        command = [sys.executable, "-c", WATCH_EVERY_SECOND, *arguments]
        watch = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
        try:
            wait_until(page.is_file, "the page is there")
            text = page.read_text()
            assert '<meta http-equiv="refresh" content="1">' in text and "running: pid" in text
            barrier.touch()
            assert run.wait() == 0
            assert watch.wait(120) == 0
        finally:
            watch.kill()
            watch.wait()
    text = page.read_text()
    assert "refresh" not in text and "No run is active." in text and "1 completed" in text


def test_the_page_says_what_holds_a_run_back() -> None:
    job = ActiveJob("0018/e0", "downloading", 1, 2, 3.0, 4.0, "waiting for space")
    snapshot = Snapshot(0.0, 9, 0, 0, 3, 4, (job, job), 0, 0, 0, 0.0, None, 1.79e9, None, "the remote refuses")
    reasons = reasons_held_back(snapshot)
    assert reasons[:2] == ["the remote refuses", "waiting for space (2 performances)"]
    assert reasons_held_back(replace(snapshot, trouble="", held_back_by="line"))[0] == "line"
    assert reasons[2].startswith("3 waiting, the first until 2026-")
