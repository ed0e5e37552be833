"""The least duration of a download: what bounds it, and what rate earlier attempts teach."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import pytest
from simulation.catalogue import release_of_500

from rm360_async.config import Settings
from rm360_async.domain.forecast import DAY, Capacity, Forecast, extraction_rate, forecast, learned_rate, parse_rate
from rm360_async.domain.formatting import duration_text
from rm360_async.domain.names import Modality, Structure
from rm360_async.domain.selection import Selection
from rm360_async.download.ranges.estimate import estimate_sizes
from rm360_async.service.dry_run import Rates, duration_line

TB = 10**12
README = Path(__file__).resolve().parent.parent / "README.md"


def test_the_slowest_of_line_accounts_and_disk_bounds_it() -> None:
    assert forecast(1000, 1000, Capacity(10)) == Forecast(100, "line")
    assert forecast(1000, 1000, Capacity(10, disk=5)) == Forecast(200, "disk")
    fast = forecast(25 * TB, 0, Capacity(1e12))
    assert fast.bound_by == "account" and fast.seconds == pytest.approx(2 * DAY + 5)
    assert forecast(25 * TB, 0, Capacity(1e12, accounts=3)) == Forecast(25, "line")
    assert forecast(10 * TB, 0, Capacity(1e12)).bound_by == "line"
    assert forecast(0, 0, Capacity(10)).seconds == 0


def test_overlapping_attempts_share_their_time() -> None:
    assert learned_rate([]) is None
    assert learned_rate([(0, 10, 0), (5, 5, 100)]) is None
    assert learned_rate([(0, 10, 500), (0, 10, 500)]) == 100
    assert learned_rate([(0, 10, 500), (5, 15, 500), (100, 105, 1000)]) == 100


def test_extractions_side_by_side_share_the_rate_of_earlier_ones() -> None:
    assert extraction_rate([], 2) == math.inf
    assert extraction_rate([(0, 100), (10, 0)], 2) == math.inf
    assert extraction_rate([(10, 500), (30, 1500)], 3) == 150
    latest = [(1.0, 100)] * 50
    assert extraction_rate([(1000.0, 1), *latest], 1) == 100


def test_a_dry_run_names_what_bounds_it() -> None:
    settings = Settings.model_validate(
        {
            "google_drive": {"remote_name": "gdrive"},
            "extraction": {"subjects": "all"},
            "storage": {"output_dir": "/data"},
            "processing": {"workers": 2},
        }
    )
    line = duration_line(settings, 10**9, 11 * 10**8, Rates(1e6))
    assert "17 min" in line and line.endswith("bound by the line")
    slow_disk = duration_line(settings, 10**9, 11 * 10**8, Rates(1e9, 2 * 2**20))
    assert "bound by the disk, to which 2 extractions at once write 2 MB/s" in slow_disk
    assert "at least 9 min" in slow_disk


@pytest.mark.parametrize(
    ("text", "rate"),
    [("100MB/s", 100 * 2**20), ("1Gbit/s", 125e6), ("12.5 KB/s", 12.5 * 1024), ("100 mbit/s", 12.5e6), ("8B/s", 8)],
)
def test_rates_are_read(text: str, rate: float) -> None:
    assert math.isclose(parse_rate(text), rate)


@pytest.mark.parametrize("text", ["", "fast", "0MB/s", "-1MB/s", "100MB", "100 MB/h", "1e9B/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        parse_rate(text)


@pytest.mark.parametrize(("label", "cameras"), [("all cameras", "all"), ("ten cameras", "ring:10")])
def test_the_table_of_durations_in_the_readme_is_the_closed_form(label: str, cameras: str) -> None:
    release = release_of_500(Random(1), 9500)
    total = sum(release.size(each) for each in release.files)
    wanted = Selection(cameras, tuple(Modality))
    estimates = [estimate_sizes(Structure.SINGLE, each, wanted, release.size(each), {}) for each in release.files]
    size = sum(estimate.download_bytes("auto") for estimate in estimates) * 8.3 * TB / total
    rates = [parse_rate(f"{rate}/s") for rate in ("100Mbit", "1Gbit", "10Gbit")]
    cells = [duration_text(forecast(size, 0, Capacity(rate)).seconds) for rate in rates]
    row = next(line for line in README.read_text().splitlines() if line.startswith(f"| {label}"))
    assert row.split(" | ")[2:] == [*cells[:-1], f"{cells[-1]} |"]
