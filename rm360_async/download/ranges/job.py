"""What the service asks the range worker to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rm360_async.domain.names import Kind
from rm360_async.extraction.job import ExtractJob

PASSWORD_VARIABLE = "RM360_RANGES_PASSWORD"
"""The environment variable with the password of the rclone that serves the remote."""


@dataclass(frozen=True)
class RangeFile:
    """A file on the remote: its path there, its size in bytes, and the sparse file to download it into."""

    path: str
    size: int
    local: str


@dataclass(frozen=True)
class RangeJob:
    """Which bytes to download: those that `extract_job` reads, or (`whole_files`) all that the sparse files lack.

    `port`, `user`: of the rclone that serves the remote on loopback. `max_bytes`: how much of the files may be on
    disk in the end. `memory_bytes`: the worker's limit of address space. `ignore_cost`: download ranges even where
    the whole files would cost less.
    """

    extract_job: ExtractJob
    files: dict[Kind, RangeFile]
    port: int
    user: str
    max_bytes: int
    memory_bytes: int
    whole_files: bool = False
    ignore_cost: bool = False

    def to_json(self) -> str:
        """Return the job as one line of text for the worker process."""
        files = {kind.value: asdict(file) for kind, file in self.files.items()}
        rest = {name: getattr(self, name) for name in _PLAIN_FIELDS}
        return json.dumps({"extract_job": self.extract_job.to_json(), "files": files, **rest})

    @classmethod
    def from_json(cls, text: str) -> RangeJob:
        """Return the job in the text of `to_json`."""
        value = json.loads(text)
        files = {Kind(kind): RangeFile(**file) for kind, file in value["files"].items()}
        rest = {name: value[name] for name in _PLAIN_FIELDS}
        return cls(ExtractJob.from_json(value["extract_job"]), files, **rest)


_PLAIN_FIELDS = ("port", "user", "max_bytes", "memory_bytes", "whole_files", "ignore_cost")
