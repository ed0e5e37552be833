"""A workspace for whole runs: a local remote behind the real rclone, a config, and the command line in this process."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_smc import Tiny

from rm360_async.cli.main import main
from rm360_async.system.sparse_file import SparseFile


@dataclass
class Workspace:
    """The folders of one test and the config of its runs.

    `<root>/remote` is what rclone serves under the remote name `lab`; `<root>/work` has output, spool, ledger and logs.
    """

    root: Path
    monkeypatch: pytest.MonkeyPatch
    structure: str = "single"
    subjects: Any = field(default_factory=lambda: ["0018"])
    performances: Any = "all"

    def __post_init__(self) -> None:
        self.remote = self.root / "remote"
        self.remote.mkdir()
        self.output = self.root / "work" / "subjects"
        (self.root / "rclone.conf").write_text(f"[lab]\ntype = alias\nremote = {self.remote}\n")
        self.monkeypatch.setenv("RCLONE_CONFIG", str(self.root / "rclone.conf"))
        for name in ("HTTPS_PROXY", "https_proxy", "NOTIFY_SOCKET", "INVOCATION_ID"):  # a desktop's terminal has an id
            self.monkeypatch.delenv(name, raising=False)

    @property
    def temp(self) -> Path:
        """Return the spool folder, the config's default `temp_dir`."""
        return self.root / "work" / "temp"

    def put(self, path: str, content: Tiny | bytes) -> Path:
        """Write a file to the remote, a path relative to its root; return its local path."""
        target = self.remote / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
            return target
        return content.write(target)

    def config(self, **overrides: Any) -> Path:
        """Write the config and return its path; `processing__damaged="fail"` sets processing.damaged."""
        sections: dict[str, dict[str, Any]] = {
            "google_drive": {"remote_name": "lab", "structure": self.structure},
            "extraction": {"subjects": self.subjects, "performances": self.performances},
            "storage": {"output_dir": str(self.output)},
            "processing": {"retry_delay": 0.01},
            "limits": {"max_temp_size_gb": 1, "min_free_space_gb": 0},
            "logging": {"console_output": False},
        }
        for key, value in overrides.items():
            section, name = key.split("__")
            sections.setdefault(section, {})[name] = value
        path = self.root / "config.yaml"
        path.write_text(yaml.safe_dump(sections))
        return path

    def run(self, *arguments: str, **overrides: Any) -> int:
        """Run `rm360 run` in this process; return the exit code."""
        return main(["run", str(self.config(**overrides)), *arguments])

    def command(self, name: str, *arguments: str) -> int:
        """Run another command with the config that was written last; return the exit code."""
        return main([name, str(self.root / "config.yaml"), *arguments])

    def manifest(self) -> dict[str, dict[str, str]]:
        """Return the manifest's rows by performance."""
        with (self.root / "work" / "MANIFEST.csv").open(newline="") as lines:
            return {f"{row['subject']}/{row['performance']}": row for row in csv.DictReader(lines)}

    def status_of(self, name: str) -> str:
        """Return the status of a performance in the manifest, e.g. of `0018/s1_all`."""
        return self.manifest()[name]["status"]

    def attempts(self) -> int:
        """Return the number of attempts in the ledger."""
        with closing(sqlite3.connect(self.root / "work" / "MANIFEST.sqlite")) as ledger:
            count: int = ledger.execute("SELECT count(*) FROM attempt").fetchone()[0]
        return count

    def folder(self, name: str) -> Path:
        """Return the published folder of a performance."""
        return self.output / name

    def info(self, name: str) -> dict[str, Any]:
        """Return the content of a published info.json."""
        info: dict[str, Any] = json.loads((self.folder(name) / "metadata" / "info.json").read_text())
        return info

    def log(self) -> str:
        """Return the text of all log files, oldest first."""
        return "".join(path.read_text() for path in sorted((self.root / "work" / "logs").glob("*.log")))

    def present_bytes(self, name: str = "") -> int:
        """Return the bytes of files with `name` in theirs that lie in the spool and are not whole yet."""
        total = 0
        for path in self.temp.glob("*.sparse") if self.temp.exists() else ():
            if name not in path.name:
                continue
            with suppress(FileNotFoundError), SparseFile(path) as sparse:
                total += sparse.present.total
        return total

    def leftovers(self) -> list[Path]:
        """Return the staging folders and spooled files that exist."""
        spooled = [path for path in self.temp.rglob("*.smc*") if path.is_file()] if self.temp.exists() else []
        return [*self.output.glob("*/.*.staging"), *spooled]


def overwrite(path: Path, data: bytes) -> None:
    """Change a file in place, as a broken disk does: published pictures are read-only."""
    path.chmod(0o644)
    path.write_bytes(data)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
