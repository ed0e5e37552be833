"""A run at one moment: the data of the live display, `status`, systemd's status line and the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rm360_async.domain.formatting import duration_text, percent_text, rate_text, size_text, time_text
from rm360_async.domain.node_state import NodeState


@dataclass(frozen=True)
class ActiveJob:
    """A performance being processed: its stage, bytes done and in total, seconds and bytes/s in this stage."""

    performance: str
    stage: str
    done: int
    total: int
    seconds: float
    rate: float
    note: str
    """What it waits for; empty while it works."""
    lacks_disk: bool = False
    """True while it waits because a disk is full."""
    fetched: int = 0
    """Bytes that crossed the network in this attempt."""


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment; sizes in bytes, rates in bytes/s, times in unix seconds.

    The names of the fields are keys of `status --json` and of the ledger. `elsewhere` counts the performances that
    another instance is processing, `left` the bytes still to be downloaded, `free` those free on the output disk.
    """

    at: float
    planned: int
    completed: int
    failed: int
    waiting: int
    pending: int
    in_hand: tuple[ActiveJob, ...]
    elsewhere: int
    fetched: int
    left: int
    rate: float
    expected_end: float | None
    next_due: float | None
    free: int | None
    trouble: str = ""
    """Why nothing is started for now; empty if nothing is wrong."""
    connections: int = 0
    """Connections that request or receive something now."""
    held_back_by: str = ""
    """What bounds the downloads: line, remote's limit, bandwidth limit, disk, disk space, extraction; or nothing."""

    nodes: tuple[NodeState, ...] = ()
    """The nodes of a cluster."""

    def as_dict(self) -> dict[str, Any]:
        """Return the snapshot as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Snapshot:
        """Return the snapshot that `as_dict` made these values of, perhaps that of a newer version."""
        jobs = tuple(ActiveJob(**_known(ActiveJob, each)) for each in values["in_hand"])
        nodes = tuple(NodeState(**_known(NodeState, each)) for each in values.get("nodes", ()))
        return cls(**{**_known(cls, values), "in_hand": jobs, "nodes": nodes})

    @classmethod
    def before_plan(cls, at: float, trouble: str) -> Snapshot:
        """Return the snapshot of a run that cannot begin yet, because of `trouble`."""
        return cls(at, 0, 0, 0, 0, 0, (), 0, 0, 0, 0.0, None, None, None, trouble)

    def line(self) -> str:
        """Return the snapshot in one line, for a log or systemd."""
        parts = [self.trouble] if self.trouble else []
        parts += [f"{self.completed} of {self.planned} completed"] if self.planned else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.waiting} waiting"] if self.waiting else []
        stages = Counter(each.stage for each in self.in_hand)
        parts += [f"{count} {stage}" for stage, count in stages.items()]
        parts += [rate_text(self.rate)] if self.rate else []
        parts += [f"{len(self.nodes)} node{'s' if len(self.nodes) > 1 else ''}"] if self.nodes else []
        parts += [f"{self.connections} connections"] if self.connections else []
        parts += [f"bound by {self.held_back_by}"] if self.held_back_by else []
        parts += [f"{size_text(self.left)} left"] if self.left else []
        parts += [f"expected end {time_text(self.expected_end)}"] if self.expected_end else []
        notes = [each.note for each in self.in_hand if each.note]
        parts += notes[:1]
        if self.next_due is not None and not self.in_hand and not self.pending:
            parts.append(f"next retry {time_text(self.next_due)}")
        return ", ".join(parts)


def _known(kind: type[ActiveJob | NodeState | Snapshot], values: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def reasons_held_back(snapshot: Snapshot) -> list[str]:
    """Return what keeps a run from going faster: trouble with the remote, what jobs wait for, waits for quotas."""
    notes = Counter(job.note for job in snapshot.in_hand if job.note)
    reasons = [reason for reason in (snapshot.trouble, snapshot.held_back_by) if reason]
    reasons += [f"{note} ({count} performances)" if count > 1 else note for note, count in notes.most_common()]
    if snapshot.waiting:
        due = f", the first until {time_text(snapshot.next_due)}" if snapshot.next_due else ""
        reasons.append(f"{snapshot.waiting} waiting{due}")
    return reasons


def bar_text(job: ActiveJob) -> str:
    """Return e.g. `53 %, 3.2 GB of 6 GB, 48 MB/s, 1 min left`, or what the job waits for."""
    if not job.total:
        return job.note or duration_text(job.seconds)
    left = (job.total - job.done) / job.rate if job.rate > 0 else None
    parts = [percent_text(job.done, job.total), f"{size_text(job.done)} of {size_text(job.total)}"]
    parts += [rate_text(job.rate)] if job.rate else []
    parts += [f"{duration_text(left)} left"] if left is not None and left > 0 else []
    return job.note or ", ".join(parts)


def short_text(job: ActiveJob) -> str:
    """Return e.g. `53 %, 48 MB/s`, for a narrow terminal."""
    if job.note or not job.total:
        return bar_text(job)
    return ", ".join([percent_text(job.done, job.total), *([rate_text(job.rate)] if job.rate else [])])
