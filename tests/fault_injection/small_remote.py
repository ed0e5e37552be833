"""A small remote, what an undisturbed run makes of it, and copies of it that disturbed runs work on."""

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

_NOT_CONTENT = ("published", "seconds", "version", "fetched")
"""The keys of a marker that are not about the content; the md5 of a source is only known after a whole download."""
CONFIG: dict[str, Any] = {"processing__max_retries": 100, "processing__retry_delay": 0.001}
EARLIER_SELECTION: dict[str, Any] = {"extraction__cameras": ["25"], "extraction__modalities": ["metadata", "images"]}
"""The selection of an earlier run, whose folders the disturbed runs complete."""
PERSONAL_FILE = "images/notes.txt"
"""What a person has put into each folder of the earlier run."""
FileTree = dict[str, bytes]


@dataclass
class OriginalRemote:
    """A remote, and every file that an undisturbed run publishes and leaves.

    `fetch_settings` are the values of processing.fetch that runs on a copy may have. `earlier` are the settings of an
    earlier run, whose folders are completed; `published_before` has these folders as they were.
    """

    folder: Path
    structure: str = "single"
    count: int = 3
    filler: int = 300
    fetch_settings: tuple[str, ...] = ("auto",)
    earlier: dict[str, Any] | None = None
    names: list[str] = field(default_factory=list)
    published_before: dict[str, FileTree] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            self.workspace = Workspace(self.folder, patch, structure=self.structure, subjects=[self.subject])
            for number in range(self.count):
                self._put(f"e{number}")
            if self.earlier is not None:
                self._publish(**self.earlier)
                for name in self.names:
                    (self.workspace.folder(name) / PERSONAL_FILE).write_text(f"mine, of {name}")
                self.published_before = self._content()
                shutil.copytree(self.workspace.root / "work", self.folder / "earlier")
            self._publish(processing__fetch=self.fetch_settings[0])
            self.expected = self._content()
        self.left_paths = work_paths(self.workspace)

    def _publish(self, **overrides: Any) -> None:
        """Run without disturbance."""
        with run_on(self.workspace, **overrides) as run:
            assert run.wait() == 0, run.output + self.workspace.log()

    def _content(self) -> dict[str, FileTree]:
        """Return the published folders."""
        return {name: content(self.workspace.folder(name)) for name in self.names}

    @property
    def subject(self) -> str:
        """Return the subject; each layout has subjects of its own."""
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
        """Return a new workspace with the same remote, modification times included, and no work done yet."""
        root.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            workspace = Workspace(root, patch, structure=self.structure, subjects=[self.subject])
        shutil.copytree(self.workspace.remote, workspace.remote, dirs_exist_ok=True)
        return workspace

    def restore_earlier_work(self, workspace: Workspace) -> None:
        """Put the folders of the earlier run, with their ledger, into the work folder of a copy."""
        if self.earlier is not None:
            shutil.copytree(self.folder / "earlier", workspace.root / "work", dirs_exist_ok=True)


def run_on(
    workspace: Workspace, hooks: tuple[Hook, ...] = (), environment: dict[str, str] | None = None, **overrides: Any
) -> Instance:
    """Start a run; all its processes, rclones too, have the workspace's rclone config in their environment."""
    env = {"RCLONE_CONFIG": str(workspace.root / "rclone.conf"), **(environment or {})}
    return Instance(workspace, hooks=hooks, environment=env, **{**CONFIG, **overrides})


def content(folder: Path) -> FileTree:
    """Return every file of a published folder with its bytes; of the marker only what is about the content."""
    files = tree(folder)
    if MARKER in files:
        files[MARKER] = marker_content(folder)
    return files


def marker_content(folder: Path) -> bytes:
    """Return what the marker of a published folder says about its content; all of it if it is not JSON."""
    text = (folder / MARKER).read_bytes()
    try:
        values = json.loads(text)
    except ValueError:
        return text
    about_content = {key: value for key, value in values.items() if key not in _NOT_CONTENT}
    about_content["sources"] = [{**source, "md5": None} for source in values["sources"]]
    return json.dumps(about_content, sort_keys=True).encode()


def work_paths(workspace: Workspace) -> set[str]:
    """Return every path below the work folder except the logs."""
    work = workspace.root / "work"
    paths = {str(path.relative_to(work)) for path in work.rglob("*")}
    return {path for path in paths if not path.startswith("logs/")}
