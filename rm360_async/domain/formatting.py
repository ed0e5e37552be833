"""Sizes, counts, number ranges, times and durations as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime


def size_text(size: float) -> str:
    """Return a number of bytes as e.g. `5.97 GB` (2**30 bytes)."""
    for unit, scale in (("TB", 2**40), ("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size < 1000 * scale else f"{size / scale:.0f} {unit}"
    return f"{size:.0f} B"


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
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    if hours < 1.5:
        return f"{minutes:.0f} min"
    if days < 1.5:
        return f"{hours // 1:.0f} h {minutes % 60:.0f} min"
    return f"{days // 1:.0f} d {hours % 24:.0f} h"


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
