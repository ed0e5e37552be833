"""Whole runs against the Drive emulator behind the real rclone, and what its log says about them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from pathlib import Path

import pytest
from drive_emulator import ROOT_ID, Drive, Request, serve
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.cli.main import main

QUESTION_BYTES = 1024


class DriveServer:
    """A workspace with the Drive emulator: it serves the workspace's remote folder as the rclone remote `gdrive`."""

    def __init__(self, workspace: Workspace, drive: Drive) -> None:
        self.workspace, self.drive = workspace, drive

    def put(self, *names: str, subject: str = "0018", folder: str = "", filler: int = 300) -> None:
        """Put tiny performances on the drive; each image has `filler` bytes and some of framing."""
        for name in names:
            path = f"{folder}/{subject}/{subject}_{name}_raw.smc".lstrip("/")
            self.workspace.put(path, Tiny(subject, name, filler=filler))

    def file(self, name: str) -> Path:
        """Return the local file behind the .smc of a performance of 0018 on the drive."""
        return self.workspace.remote / "0018" / f"0018_{name}_raw.smc"

    def config(self, remote: str = "gdrive", **overrides: object) -> Path:
        """Write the config for the drive and return its path; see `Workspace.config`."""
        return self.workspace.config(
            google_drive__remote_name=remote, google_drive__root_folder_id=ROOT_ID, **overrides
        )

    def run(self, *arguments: str, remote: str = "gdrive", **overrides: object) -> int:
        """Run `rm360 run` in this process; return the exit code."""
        return main(["run", str(self.config(remote, **overrides)), *arguments])

    def downloads_of(self, name: str) -> list[Request]:
        """Return the download requests for the .smc of a performance, in order.

        Without those of a few bytes, which find out something: whether the remote serves ranges, why it refuses.
        """
        requests = self.drive.media(f"*_{name}_raw.smc")
        return [request for request in requests if request.end - request.start > QUESTION_BYTES or not request.end]

    def accounts_of(self, name: str) -> list[str]:
        """Return the accounts that were asked for bytes of a performance, in order, each once in a row."""
        return [account for account, _ in groupby(request.account for request in self.downloads_of(name))]

    def statuses(self) -> dict[str, str]:
        """Return the manifest's status of each performance, by its name without the subject."""
        return {name.split("/")[1]: row["status"] for name, row in self.workspace.manifest().items()}

    def error_of(self, name: str) -> str:
        """Return the manifest's error of a performance of 0018."""
        return self.workspace.manifest()[f"0018/{name}"]["error"]

    def tries(self) -> int:
        """Return the number of tries that count against `max_retries`, summed over all performances."""
        with closing(sqlite3.connect(self.workspace.root / "work" / "MANIFEST.sqlite")) as ledger:
            count: int = ledger.execute("SELECT sum(tries) FROM performance").fetchone()[0]
        return count


@contextmanager
def serve_drive(workspace: Workspace, state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DriveServer]:
    """Serve a workspace's remote folder by the Drive emulator; rclone is configured by the environment."""
    with serve(workspace.remote, state) as drive:
        for key, value in drive.env().items():
            monkeypatch.setenv(key, value)
        yield DriveServer(workspace, drive)
