"""What a child is to extract; light, so that the service can write one without the libraries that carry it out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rm360_async.domain.names import Modality, Performance
from rm360_async.domain.record import SourceFile


@dataclass(frozen=True)
class ExtractJob:
    """What to extract: paths of the files at hand, where to stage, and what is wanted.

    `sources` is what the record will name; `damaged` is "publish" or "fail"; `verify` reads back what was written.
    `raw` and `anno` may be sparse files that hold what this job needs, which `fetched` then says. `base` is a
    published folder of the same performance, whose files are taken over instead of read again.
    """

    performance: Performance
    raw: str | None
    anno: str | None
    sources: tuple[SourceFile, ...]
    staging: str
    cameras: str | tuple[str, ...] = "all"
    modalities: tuple[str, ...] = tuple(modality.value for modality in Modality)
    damaged: str = "publish"
    verify: bool = True
    fetched: str = "whole"
    base: str | None = None

    def to_json(self) -> str:
        """Return the job as text for a child process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ExtractJob:
        """Return the job in the text of `to_json`."""
        value = json.loads(text)
        value["performance"] = Performance(**value["performance"])
        value["sources"] = tuple(SourceFile(**source) for source in value["sources"])
        value["modalities"] = tuple(value["modalities"])
        if not isinstance(value["cameras"], str):
            value["cameras"] = tuple(value["cameras"])
        return cls(**value)
