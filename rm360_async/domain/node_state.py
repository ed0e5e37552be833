"""One node of a cluster at one moment, as `status` shows it."""

from __future__ import annotations

from dataclasses import dataclass

from rm360_async.domain.formatting import duration_text, rate_text, size_text


@dataclass(frozen=True)
class NodeState:
    """Sizes in bytes, the rate in bytes/s; `silent_seconds`: since it was last heard of.

    The names of the fields are keys of `status --json`.
    """

    name: str
    jobs: int
    downloads: int
    slots: int
    rate: float
    free: int
    state: str
    """working, leaving (takes no further job) or excluded (because all failed there)."""
    silent_seconds: float = 0.0

    def line(self) -> str:
        """Return the state in a line."""
        state = "" if self.state == "working" else f"{self.state}, "
        text = f"{state}{self.jobs} active, {self.downloads} of {self.slots} downloads, {rate_text(self.rate)}"
        heard = f", last heard of {duration_text(self.silent_seconds)} ago" if self.silent_seconds > 5 else ""
        return f"{text}, {size_text(self.free)} free{heard}"
