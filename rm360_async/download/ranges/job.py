"""What the service tells the scout."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rm360_async.domain.names import Kind
from rm360_async.extraction.job import ExtractJob

PASSWORD = "RM360_RANGES_PASSWORD"
"""The environment variable with the password of the rclone that serves the remote."""


@dataclass(frozen=True)
class RangeFile:
    """A file on the remote: its path there, its size, and the sparse file that it goes into."""

    path: str
    size: int
    local: str


@dataclass(frozen=True)
class RangeJob:
    """Which bytes to fetch: those that the job needs, or the whole files.

    `port`, `user`: the rclone that serves the remote on loopback. `most_bytes`: of all that is here in the end,
    asked for before it is exceeded. `at_any_cost`: the user wants ranges, whatever they cost.
    """

    job: ExtractJob
    files: dict[Kind, RangeFile]
    port: int
    user: str
    most_bytes: int
    memory_bytes: int
    whole: bool = False
    at_any_cost: bool = False

    def to_json(self) -> str:
        """Return the order as text for a child process."""
        files = {kind.value: asdict(file) for kind, file in self.files.items()}
        rest = {name: getattr(self, name) for name in _PLAIN}
        return json.dumps({"job": self.job.to_json(), "files": files, **rest})

    @classmethod
    def from_json(cls, text: str) -> RangeJob:
        """Return the order in the text of `to_json`."""
        value = json.loads(text)
        files = {Kind(kind): RangeFile(**file) for kind, file in value["files"].items()}
        return cls(ExtractJob.from_json(value["job"]), files, **{name: value[name] for name in _PLAIN})


_PLAIN = ("port", "user", "most_bytes", "memory_bytes", "whole", "at_any_cost")
