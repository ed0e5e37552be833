"""What a node's downloads remember: filled from its jobs, and what they find out is returned to the coordinator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.state import is_due

OnQuota = Callable[[str, str, float], None]


class NodeNotes:
    """Quotas and values by key, in memory; `on_quota` and `on_meta` get what is new (see `SourceNotes`)."""

    def __init__(self, on_quota: OnQuota, on_meta: Callable[[str, str], None], clock: Clock = SYSTEM_CLOCK) -> None:
        self._on_quota, self._on_meta, self._clock = on_quota, on_meta, clock
        self._quotas: dict[tuple[str, str], float] = {}
        self._meta: dict[str, str] = {}

    def fill_quotas(self, paths: Collection[str], quotas: Iterable[tuple[str, str, float]]) -> None:
        """Take the quotas (remote, path, until) that the run knows of some files: all others of these are over."""
        kept = {key: until for key, until in self._quotas.items() if key[1] not in paths}
        self._quotas = kept | {(remote, path): until for remote, path, until in quotas}

    def fill_meta(self, values: dict[str, str]) -> None:
        """Take values by key that the run knows."""
        self._meta |= values

    async def quota_until(self, remote: str, path: str) -> float | None:
        """Return until when (unix seconds) a remote's quota for a file is used up; None if it is not."""
        until = self._quotas.get((remote, path))
        return None if until is None or is_due(until, self._clock.now()) else until

    async def record_quota(self, remote: str, path: str, until: float) -> None:
        """Record that a remote's quota for a file is used up until `until` (unix seconds)."""
        self._quotas[remote, path] = until
        self._on_quota(remote, path, until)

    async def get_meta(self, key: str) -> str | None:
        """Return the value stored under a key; None if there is none."""
        return self._meta.get(key)

    async def set_meta(self, key: str, value: str) -> None:
        """Store a value under a key."""
        self._meta[key] = value
        self._on_meta(key, value)
