"""The job description of an extraction worker; imports no library that carries it out, so the service starts fast."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rm360_async.domain.names import Modality, Performance
from rm360_async.domain.record import SourceFile


@dataclass(frozen=True)
class ExtractJob:
    """What to extract: the paths of the local files, where to stage the output, and what is wanted.

    `sources` is what the record will name. `damaged` is "publish" or "fail". With `verify` the written files are
    compared with the index. `raw` and `anno` may be sparse files that hold what this job needs; `fetched` is then
    "ranges". `previous` is a published folder of the same performance whose files are reused.
    `ffmpeg` is one that is known to work.
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
    previous: str | None = None
    ffmpeg: str | None = None

    def to_json(self) -> str:
        """Return the job as one line of text for a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ExtractJob:
        """Return the job from the text that `to_json` made."""
        value = json.loads(text)
        value["performance"] = Performance(**value["performance"])
        value["sources"] = tuple(SourceFile(**source) for source in value["sources"])
        value["modalities"] = tuple(value["modalities"])
        if not isinstance(value["cameras"], str):
            value["cameras"] = tuple(value["cameras"])
        return cls(**value)
