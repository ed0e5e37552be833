"""A lab for whole runs against Drive: the emulator behind the real rclone, and its log as the witness."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from drive_emulator import ROOT_ID, Drive, Request
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.cli import main


class DriveServer:
    """A lab whose remote is a Drive; what is put on its remote is the drive's content."""

    def __init__(self, workspace: Workspace, drive: Drive) -> None:
        self.workspace, self.drive = workspace, drive

    def put(self, *names: str, subject: str = "0018", folder: str = "", filler: int = 300) -> None:
        for name in names:
            path = f"{folder}/{subject}/{subject}_{name}_raw.smc".lstrip("/")
            self.workspace.put(path, Tiny(subject, name, filler=filler))

    def file(self, name: str) -> Path:
        """Return the file behind a performance's file on the drive."""
        return self.workspace.remote / "0018" / f"0018_{name}_raw.smc"

    def config(self, remote: str = "gdrive", **overrides: object) -> Path:
        return self.workspace.config(
            google_drive__remote_name=remote, google_drive__root_folder_id=ROOT_ID, **overrides
        )

    def run(self, *arguments: str, remote: str = "gdrive", **overrides: object) -> int:
        """Run `rm360 run` in this process; return the exit code."""
        return main(["run", str(self.config(remote, **overrides)), *arguments])

    def asked(self, name: str) -> list[Request]:
        """Return the downloads of a performance's file that were asked for."""
        return self.drive.media(f"*_{name}_raw.smc")

    def statuses(self) -> dict[str, str]:
        return {name.split("/")[1]: row["status"] for name, row in self.workspace.manifest().items()}

    def error(self, name: str) -> str:
        return self.workspace.manifest()[f"0018/{name}"]["error"]

    def tries(self) -> int:
        """Return how many tries were charged in all."""
        with closing(sqlite3.connect(self.workspace.root / "work" / "MANIFEST.sqlite")) as ledger:
            count: int = ledger.execute("SELECT sum(tries) FROM performance").fetchone()[0]
        return count
