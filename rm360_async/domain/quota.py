"""Waits for a quota: each belongs to a file and an account, never to a performance alone.

A performance waits until one account may be asked for all of its files. Which accounts there are depends on the config
of the run: one that was added has never been asked, so there is nothing to wait for, whatever an earlier run or
another instance has recorded of the performance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from rm360_async.domain.errors import Cause
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow

Quotas = Mapping[tuple[str, str], float]
"""Until when (unix seconds) an account's quota for a file is used up, by account and path on the remote."""


def quota_wait_end(quotas: Quotas, accounts: Iterable[str], paths: Iterable[str]) -> float | None:
    """Return when the first of the accounts may be asked for all files (unix seconds); None if one may be now."""
    wanted = list(paths)
    ends = []
    for account in accounts:
        used_up = [quotas[account, path] for path in wanted if (account, path) in quotas]
        if not used_up:
            return None
        ends.append(max(used_up))
    return min(ends, default=None)


def is_quota_wait(row: PerformanceRow) -> bool:
    """Return True if the performance waits for the quota of a file."""
    return row.stage is Stage.WAITING and row.cause is Cause.FILE_QUOTA


def with_quota_wait(row: PerformanceRow, quotas: Quotas, accounts: Iterable[str], now: float) -> PerformanceRow:
    """Return the row with the end of its quota wait as it is for these accounts: `now` if one may be asked."""
    if not is_quota_wait(row) or not row.sources:
        return row
    end = quota_wait_end(quotas, accounts, [source.path for source in row.sources])
    return replace(row, wait_until=now if end is None else end)
