"""The options of `rm360 node`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NodeOptions:
    """What a node decides by itself; None: as the run's config says."""

    scheduler_file: Path
    name: str
    temp_dir: str | None = None
    downloads: int | None = None
    idle_minutes: float | None = None
    """Ends a node that had nothing to do for so long; None: never."""
    tls: Path | None = None
