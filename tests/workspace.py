"""A lab for whole runs: a local remote behind the real rclone, a config, and the command line in this process."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_smc import Tiny

from rm360_async.cli import main


@dataclass
class Workspace:
    """Folders of one test, and the config that a run gets; `section.key` overrides go to `config`."""

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
        for name in ("HTTPS_PROXY", "https_proxy"):
            self.monkeypatch.delenv(name, raising=False)

    @property
    def temp(self) -> Path:
        return self.root / "work" / "temp"

    def put(self, path: str, content: Tiny | bytes) -> Path:
        """Put a file on the remote."""
        target = self.remote / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
            return target
        return content.write(target)

    def config(self, **overrides: Any) -> Path:
        """Write the config; `processing__damaged="fail"` sets processing.damaged."""
        value: dict[str, dict[str, Any]] = {
            "google_drive": {"remote_name": "lab", "structure": self.structure},
            "extraction": {"subjects": self.subjects, "performances": self.performances},
            "storage": {"output_dir": str(self.output)},
            "processing": {"retry_delay": 0.01},
            "limits": {"max_temp_size_gb": 1, "min_free_space_gb": 0},
            "logging": {"console_output": False},
        }
        for key, wanted in overrides.items():
            section, name = key.split("__")
            value.setdefault(section, {})[name] = wanted
        path = self.root / "config.yaml"
        path.write_text(yaml.safe_dump(value))
        return path

    def run(self, *arguments: str, **overrides: Any) -> int:
        """Run `rm360 run` in this process; return the exit code."""
        return main(["run", str(self.config(**overrides)), *arguments])

    def command(self, name: str, *arguments: str) -> int:
        """Run another command with the last config."""
        return main([name, str(self.root / "config.yaml"), *arguments])

    def manifest(self) -> dict[str, dict[str, str]]:
        """Return the manifest's rows by performance."""
        with (self.root / "work" / "MANIFEST.csv").open(newline="") as lines:
            return {f"{row['subject']}/{row['performance']}": row for row in csv.DictReader(lines)}

    def status_of(self, name: str) -> str:
        return self.manifest()[name]["status"]

    def attempts(self) -> int:
        """Return how many attempts the ledger has noted."""
        with closing(sqlite3.connect(self.root / "work" / "MANIFEST.sqlite")) as ledger:
            count: int = ledger.execute("SELECT count(*) FROM attempt").fetchone()[0]
        return count

    def folder(self, name: str) -> Path:
        return self.output / name

    def info(self, name: str) -> dict[str, Any]:
        info: dict[str, Any] = json.loads((self.folder(name) / "metadata" / "info.json").read_text())
        return info

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted((self.root / "work" / "logs").glob("*.log")))

    def leftovers(self) -> list[Path]:
        """Return every staging folder and staged file that is still there."""
        staged = [path for path in self.temp.rglob("*.smc*") if path.is_file()] if self.temp.exists() else []
        return [*self.output.glob("*/.*.staging"), *staged]


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
