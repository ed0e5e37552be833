"""A limit of the download rate, one for a whole run: a rate, or rclone's timetable of rates.

The syntax is that of rclone's --bwlimit (https://rclone.org/docs/#bwlimit-bandwidth-spec): `10M`, `512k`, `off`, a
number without a unit in KiB/s, `upload:download`, or a timetable such as `08:00,2M 19:00,off` or
`Mon-08:00,512k Fri-19:00,off` in local time. Units are powers of 1024.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from rm360_async.domain.errors import BadRequest

_RATE = re.compile(r"(\d+(?:\.\d+)?)([bkmgtp]?)(?:i?b?)(?:/s)?", re.IGNORECASE)
_UNITS = {"b": 0, "": 1, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_ENTRY = re.compile(r"(?:(?P<day>[A-Za-z]{3,9})-)?(?P<hour>\d{1,2}):(?P<minute>\d\d),(?P<rate>\S+)")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class BandwidthLimit:
    """Rates by the minute of the week (0 is Monday 00:00) at which each begins; bytes/s, None for no limit."""

    entries: tuple[tuple[int, float | None], ...] = ((0, None),)

    @classmethod
    def parse(cls, text: str) -> BandwidthLimit:
        """Return the limit in a text. Raises BadRequest for a text that rclone would not understand either."""
        parts = text.split()
        if not parts:
            return cls()
        if len(parts) == 1 and "," not in parts[0]:
            return cls(((0, _parse_rate(parts[0], text)),))
        entries: dict[int, float | None] = {}
        for part in parts:
            entries.update(_parse_entry(part, text))
        return cls(tuple(sorted(entries.items(), key=lambda entry: entry[0])))

    def rate(self, now: float) -> float | None:
        """Return the rate (bytes/s) at a moment in unix seconds, by the local time; None for no limit."""
        local = time.localtime(now)
        minute = local.tm_wday * _DAY_MINUTES + local.tm_hour * 60 + local.tm_min
        begun = [rate for start, rate in self.entries if start <= minute]
        return begun[-1] if begun else self.entries[-1][1]

    def __bool__(self) -> bool:
        return any(rate is not None for _, rate in self.entries)


def _parse_entry(part: str, text: str) -> dict[int, float | None]:
    """Return the entry of a timetable, for one day of the week or for all of them."""
    match = _ENTRY.fullmatch(part)
    if match is None or int(match["hour"]) > 23 or int(match["minute"]) > 59:
        raise _unreadable(part, text)
    minute = int(match["hour"]) * 60 + int(match["minute"])
    rate = _parse_rate(match["rate"], text)
    if match["day"] is None:
        return {day * _DAY_MINUTES + minute: rate for day in range(len(_DAYS))}
    day = match["day"][:3].lower()
    if day not in _DAYS:
        raise _unreadable(part, text)
    return {_DAYS.index(day) * _DAY_MINUTES + minute: rate}


def _parse_rate(part: str, text: str) -> float | None:
    download = part.rpartition(":")[2]
    if download.lower() == "off":
        return None
    match = _RATE.fullmatch(download)
    if match is None:
        raise _unreadable(part, text)
    rate = float(match[1]) * 1024.0 ** _UNITS[match[2].lower()]
    return rate if rate > 0 else None


def _unreadable(part: str, text: str) -> BadRequest:
    where = "" if part == text else f" in {text!r}"
    return BadRequest(f'{part!r}{where} is not a bandwidth; write "10M", "off" or a timetable "08:00,2M 19:00,off"')
