"""A small remote, what an undisturbed run makes of it, and copies of it that runs are disturbed on."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from instance import Hook, Instance
from lab import Lab, tree
from tiny_smc import Tiny

from rm360_async.record import MARKER

_OFTEN_OTHER = ("published", "seconds", "version")
"""What a marker holds beside facts about the content; the md5 of a source is only known where it was fetched."""
CONFIG: dict[str, Any] = {"processing__max_retries": 100, "processing__retry_delay": 0.001}


@dataclass
class Original:
    """The remote, and every file that an undisturbed run publishes and leaves."""

    folder: Path
    structure: str = "single"
    count: int = 3
    filler: int = 300
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            self.lab = Lab(self.folder, patch, structure=self.structure, subjects=[self.subject])
            for number in range(self.count):
                self._put(f"e{number}")
            with run_on(self.lab) as run:
                assert run.wait() == 0, run.said + self.lab.log()
        self.trees = {name: content(self.lab.folder(name)) for name in self.names}
        self.left = left_behind(self.lab)

    @property
    def subject(self) -> str:
        """Return the subject; both layouts have some of their own."""
        return "0018" if self.structure == "single" else "0026"

    def _put(self, name: str) -> None:
        subject = self.subject
        self.names.append(f"{subject}/{name}")
        small: dict[str, Any] = {"frames": 2, "rate": 8000, "seconds": 0.2, "filler": self.filler}
        whole = Tiny(subject, name, masks=True, anno=True, **small)
        if self.structure == "single":
            self.lab.put(f"{subject}/{subject}_{name}_raw.smc", whole)
            return
        raw = Tiny(subject, name, masks=False, calibration=False, **small)
        anno = Tiny(subject, name, images=False, audio=False, masks=True, anno=True, **small)
        self.lab.put(f"raw/{subject}/{subject}_{name}_raw.smc", raw)
        self.lab.put(f"anno/{subject}/{subject}_{name}_anno.smc", anno)

    def copy(self, root: Path) -> Lab:
        """Return a lab of its own with the same remote, to the nanosecond, and nothing done yet."""
        root.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            lab = Lab(root, patch, structure=self.structure, subjects=[self.subject])
        shutil.copytree(self.lab.remote, lab.remote, dirs_exist_ok=True)
        return lab


def run_on(
    lab: Lab, hooks: tuple[Hook, ...] = (), environment: dict[str, str] | None = None, **overrides: Any
) -> Instance:
    """Start a run whose processes all carry the lab's name."""
    env = {"RCLONE_CONFIG": str(lab.root / "rclone.conf"), "RM360_GROUP": str(lab.root), **(environment or {})}
    return Instance(lab, hooks=hooks, environment=env, **{**CONFIG, **overrides})


def content(folder: Path) -> dict[str, bytes]:
    """Return every file of a published folder with its bytes; of the marker, what is about the content."""
    files = tree(folder)
    if MARKER in files:
        files[MARKER] = _facts(files[MARKER])
    return files


def _facts(marker: bytes) -> bytes:
    said = json.loads(marker)
    kept = {key: value for key, value in said.items() if key not in _OFTEN_OTHER}
    kept["sources"] = [{**source, "md5": None} for source in said["sources"]]
    return json.dumps(kept, sort_keys=True).encode()


def left_behind(lab: Lab) -> set[str]:
    """Return every path below the work folder but the logs."""
    work = lab.root / "work"
    found = {str(path.relative_to(work)) for path in work.rglob("*")}
    return {path for path in found if not path.startswith("logs/")}
