"""What the service asks the discovery process to do."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rm360_async.domain.names import Kind
from rm360_async.extraction.job import ExtractJob


@dataclass(frozen=True)
class RangeJob:
    """Find the bytes that `extract_job` reads of its files, which are sparse and which the service fills.

    `max_bytes`: how much of the files may be on disk in the end. `memory_bytes`: the process's limit of address
    space. `ignore_cost`: want ranges even where the whole files would cost less.
    """

    extract_job: ExtractJob
    max_bytes: int
    memory_bytes: int
    ignore_cost: bool = False

    @property
    def files(self) -> dict[Kind, str]:
        """Return the paths of the sparse files."""
        paths = {Kind.RAW: self.extract_job.raw, Kind.ANNO: self.extract_job.anno}
        return {kind: path for kind, path in paths.items() if path is not None}

    def to_json(self) -> str:
        """Return the job as one line of text for the process."""
        rest = {name: getattr(self, name) for name in _PLAIN_FIELDS}
        return json.dumps({"extract_job": self.extract_job.to_json(), **rest})

    @classmethod
    def from_json(cls, text: str) -> RangeJob:
        """Return the job in the text of `to_json`."""
        value = json.loads(text)
        return cls(ExtractJob.from_json(value["extract_job"]), **{name: value[name] for name in _PLAIN_FIELDS})


_PLAIN_FIELDS = ("max_bytes", "memory_bytes", "ignore_cost")
