"""A small remote, what an undisturbed run makes of it, and copies of it that runs are disturbed on."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from instance import Hook, Instance
from tiny_smc import Tiny
from workspace import Workspace, tree

from rm360_async.store.marker import MARKER

_OFTEN_OTHER = ("published", "seconds", "version", "fetched")
"""What a marker holds beside facts about the content; the md5 of a source is only known where all was fetched."""
CONFIG: dict[str, Any] = {"processing__max_retries": 100, "processing__retry_delay": 0.001}
LITTLE: dict[str, Any] = {"extraction__cameras": ["25"], "extraction__modalities": ["metadata", "images"]}
"""What was wanted earlier of performances that are completed."""
Tree = dict[str, bytes]


@dataclass
class Original:
    """The remote, and every file that an undisturbed run publishes and leaves.

    `ways` are the values of processing.fetch that a run on a copy may have. `earlier` is what had been wanted,
    and published, before: such folders are completed, and `before` has them as they were.
    """

    folder: Path
    structure: str = "single"
    count: int = 3
    filler: int = 300
    ways: tuple[str, ...] = ("auto",)
    earlier: dict[str, Any] | None = None
    names: list[str] = field(default_factory=list)
    before: dict[str, Tree] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            self.workspace = Workspace(self.folder, patch, structure=self.structure, subjects=[self.subject])
            for number in range(self.count):
                self._put(f"e{number}")
            if self.earlier is not None:
                self.before = self._undisturbed(**self.earlier)
                shutil.copytree(self.workspace.root / "work", self.folder / "earlier")
            self.trees = self._undisturbed(processing__fetch=self.ways[0])
        self.left = left_behind(self.workspace)

    def _undisturbed(self, **overrides: Any) -> dict[str, Tree]:
        with run_on(self.workspace, **overrides) as run:
            assert run.wait() == 0, run.output + self.workspace.log()
        return {name: content(self.workspace.folder(name)) for name in self.names}

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
            self.workspace.put(f"{subject}/{subject}_{name}_raw.smc", whole)
            return
        raw = Tiny(subject, name, masks=False, calibration=False, **small)
        anno = Tiny(subject, name, images=False, audio=False, masks=True, anno=True, **small)
        self.workspace.put(f"raw/{subject}/{subject}_{name}_raw.smc", raw)
        self.workspace.put(f"anno/{subject}/{subject}_{name}_anno.smc", anno)

    def copy(self, root: Path) -> Workspace:
        """Return a lab of its own with the same remote, to the nanosecond, and nothing begun."""
        root.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            workspace = Workspace(root, patch, structure=self.structure, subjects=[self.subject])
        shutil.copytree(self.workspace.remote, workspace.remote, dirs_exist_ok=True)
        return workspace

    def begin(self, workspace: Workspace) -> None:
        """Put what was published earlier, with its ledger, into the work folder of a copy."""
        if self.earlier is not None:
            shutil.copytree(self.folder / "earlier", workspace.root / "work", dirs_exist_ok=True)


def run_on(
    workspace: Workspace, hooks: tuple[Hook, ...] = (), environment: dict[str, str] | None = None, **overrides: Any
) -> Instance:
    """Start a run; its processes, rclones too, all carry the lab's rclone config in their environment."""
    env = {"RCLONE_CONFIG": str(workspace.root / "rclone.conf"), **(environment or {})}
    return Instance(workspace, hooks=hooks, environment=env, **{**CONFIG, **overrides})


def content(folder: Path) -> Tree:
    """Return every file of a published folder with its bytes; of the marker, what is about the content."""
    files = tree(folder)
    if MARKER in files:
        files[MARKER] = facts(folder)
    return files


def facts(folder: Path) -> bytes:
    """Return what the marker of a published folder says about its content; all of one that is no JSON."""
    text = (folder / MARKER).read_bytes()
    try:
        said = json.loads(text)
    except ValueError:
        return text
    kept = {key: value for key, value in said.items() if key not in _OFTEN_OTHER}
    kept["sources"] = [{**source, "md5": None} for source in said["sources"]]
    return json.dumps(kept, sort_keys=True).encode()


def left_behind(workspace: Workspace) -> set[str]:
    """Return every path below the work folder but the logs."""
    work = workspace.root / "work"
    found = {str(path.relative_to(work)) for path in work.rglob("*")}
    return {path for path in found if not path.startswith("logs/")}
