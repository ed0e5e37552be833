"""Sizes, rates, counts, number ranges, times and durations as people read them: the one place that writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime

_LARGER_UNITS = ("KB", "MB", "GB", "TB")


def size_text(size: float) -> str:
    """Return a number of bytes as e.g. `5.97 GB` (2**30 bytes)."""
    unit, number = "B", float(size)
    for larger in _LARGER_UNITS:
        if round(number) < 1024:
            break
        unit, number = larger, number / 1024
    return f"{number:.0f} {unit}" if unit == "B" or number >= 999.5 else f"{number:.3g} {unit}"


def rate_text(rate: float) -> str:
    """Return bytes a second as e.g. `48.2 MB/s` (MB is 2**20 bytes)."""
    return f"{size_text(rate)}/s"


def percent_text(done: float, total: float) -> str:
    """Return a share as e.g. `42 %`: never more than 100 %, and 100 % only if everything is done."""
    return f"{math.floor(100 * share(done, total))} %"


def share(done: float, total: float) -> float:
    """Return how much of `total` is done, from 0 to 1; 0 of nothing."""
    return min(1.0, max(0.0, done / total)) if total > 0 else 0.0


def time_text(timestamp: float) -> str:
    """Return a unix time as local `2026-11-23 14:05`; `unknown` beyond year 9999, where an early estimate can lie."""
    try:
        return datetime.fromtimestamp(timestamp).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "unknown"


def duration_text(seconds: float) -> str:
    """Return seconds as e.g. `45 s`, `12 min`, `3 h 20 min`, `2 d 5 h`; `unknown` if not finite."""
    if not math.isfinite(seconds):
        return "unknown"
    seconds = max(0.0, seconds)
    if round(seconds) < 90:
        return f"{seconds:.0f} s"
    minutes, hours = round(seconds / 60), round(seconds / 3600)  # rounded first: 59.7 minutes are an hour
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 36 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def count_text(count: int) -> str:
    """Return a number with thin spaces between its thousands."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def number_ranges(numbers: Iterable[int], max_ranges: int = 6) -> str:
    """Return `3, 7-9` for 3 7 8 9; after `max_ranges` ranges, the count of the rest."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    ranges = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs[:max_ranges]]
    more = sum(map(len, runs[max_ranges:]))
    return ", ".join(ranges) + (f" and {more} more" if more else "")
