"""How long a download must take at least: a closed form of what bounds it; nothing is simulated.

Three things bound a run, and the slowest decides: the line, which brings so many bytes a second; the accounts, each of
which Google lets download 10 TB a day; and the disk, to which extractions write the folders as fast as earlier ones
did. Failures, waits for a file's quota and the tail of the last performance come on top, so a run takes longer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

DAY = 86_400.0
DAILY_BYTES = 10 * 10**12
"""Bytes that one account may download in a day (Google Drive's limit)."""
_LEARNED_FROM = 50
"""Attempts that a learned rate is taken from, the latest ones."""


_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(B|bit)/s", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True)
class Capacity:
    """What a run has; bytes a second, of the disk those that all extractions write. Infinity bounds nothing."""

    line: float
    accounts: int = 1
    disk: float = math.inf


@dataclass(frozen=True)
class Forecast:
    """The least duration in seconds, and what bounds it: "line", "account" or "disk"."""

    seconds: float
    bound_by: str


def forecast(download_bytes: float, written_bytes: float, capacity: Capacity) -> Forecast:
    """Return the least time in which so much can be downloaded and written.

    An account that has used up a day's bytes waits for the next day, so the last day's bytes cost nothing but the line.
    """
    daily = DAILY_BYTES * max(1, capacity.accounts)
    full_days = max(0, math.ceil(download_bytes / daily) - 1)
    accounts = full_days * DAY + (download_bytes - full_days * daily) / capacity.line if full_days else 0.0
    bounds = {"line": download_bytes / capacity.line, "account": accounts, "disk": written_bytes / capacity.disk}
    slowest = max(bounds, key=lambda name: bounds[name])
    return Forecast(bounds[slowest], slowest)


def parse_rate(text: str) -> float:
    """Return the bytes a second of e.g. `100MB/s` (MB is 2**20 bytes) or `1Gbit/s` (10**9 bits); raise ValueError."""
    match = _RATE.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise ValueError(f"{text!r} is not a rate; write e.g. 100MB/s or 1Gbit/s")
    power = _POWERS[match[2].upper()]
    unit = 1000.0**power / 8 if match[3].lower() == "bit" else 1024.0**power
    return float(match[1]) * unit


def learned_rate(attempts: Iterable[tuple[float, float, int]]) -> float | None:
    """Return the bytes a second of the latest attempts; None if there are none.

    Each attempt is its begin and its end (unix seconds) and the bytes that it downloaded. Attempts overlap, so their
    bytes are divided by the time in which at least one was going on.
    """
    latest = sorted((each for each in attempts if each[2] > 0 and each[1] > each[0]), key=lambda each: each[1])
    latest = latest[-_LEARNED_FROM:]
    busy = busy_seconds((began, ended) for began, ended, _ in latest)
    return sum(size for _, _, size in latest) / busy if busy else None


def busy_seconds(spans: Iterable[tuple[float, float]]) -> float:
    """Return the seconds in which at least one of the spans (begin and end in seconds) was going on."""
    busy, reached = 0.0, -math.inf
    for began, ended in sorted(spans):
        busy += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return busy


def extraction_rate(extractions: Iterable[tuple[float, int]], workers: int) -> float:
    """Return the bytes a second that so many extractions at once write; infinity if nothing was extracted yet.

    Each earlier extraction is its seconds and the bytes of its folder, the oldest first. Their time includes reading,
    checking and waiting for each other's writes, so it is what this machine achieves and not what its disk could.
    """
    latest = [each for each in extractions if each[0] > 0 and each[1] > 0][-_LEARNED_FROM:]
    seconds = sum(seconds for seconds, _ in latest)
    return workers * sum(size for _, size in latest) / seconds if seconds else math.inf
