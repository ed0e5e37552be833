"""A small disk of its own for a lab's work, which strangers fill, use up, and take away."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from workspace import Workspace

MB = 2**20


class NoSmallDisk(Exception):
    """This system lets us mount nothing."""


class SmallDisk:
    """A tmpfs under `<lab>/small`, in a name space of its own: runs enter it, the test looks in from outside."""

    def __init__(self, workspace: Workspace, size: int, files: int = 0) -> None:
        self.workspace, self.place = workspace, workspace.root / "small"
        self.place.mkdir()
        # root of the machine may mount; anybody else is root in a name space of users of his own
        users = [] if os.geteuid() == 0 else ["--user"]
        mapped = ["--map-root-user"] if users else []
        mount = f'mount -t tmpfs -o size={size},nr_inodes={files} rm360 "{self.place}" && echo up && exec sleep 100000'
        self.holder = subprocess.Popen(
            ["unshare", *users, *mapped, "--mount", "sh", "-c", mount],
            env={"PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.holder.stdout is not None
        if self.holder.stdout.readline() != "up\n":
            self.__exit__()
            raise NoSmallDisk("this system lets nobody mount a small disk in a name space of his own")
        pid = self.holder.pid
        kept = ["--preserve-credentials"] if users else []
        self.enter = ["nsenter", f"--target={pid}", *users, "--mount", *kept]
        self.seen = Path(f"/proc/{pid}/root{self.place}")

    def holds_work(self) -> dict[str, Any]:
        """Let it hold all of the lab's work; return what a run needs for that."""
        (self.workspace.root / "work").symlink_to(self.seen)
        return {"prefix": self.enter, "storage__output_dir": str(self.place / "subjects")}

    def fill(self, leave: int = 0) -> None:
        """Let a stranger take all but `leave` bytes."""
        with (self.seen / "stranger").open("ab", buffering=0) as file, suppress(OSError):
            while (free := self.free() - leave) > 0:
                file.write(bytes(min(free, MB)))

    def free(self) -> int:
        """Return the bytes that are left."""
        told = os.statvfs(self.seen)
        return told.f_bavail * told.f_frsize

    def clear(self) -> None:
        """Let the stranger take his files away."""
        for path in self.seen.glob("stranger*"):
            path.unlink()

    def take_away(self, folder: str) -> None:
        """Make a folder of the disk read-only to whoever opens anything in it from now on."""
        place, aside = str(self.place / folder), self.workspace.root / "aside"
        aside.mkdir(exist_ok=True)
        self._mount("--bind", place, str(aside))
        self._mount("-o", "remount,bind,ro", str(aside))  # refused where anybody writes, and here nobody does
        self._mount("--bind", str(aside), place)

    def give_back(self, folder: str) -> None:
        """Make a folder writable again."""
        for place in (self.place / folder, self.workspace.root / "aside"):
            subprocess.run([*self.enter, "umount", "--lazy", str(place)], check=True)

    def _mount(self, *arguments: str) -> None:
        subprocess.run([*self.enter, "mount", *arguments], check=True)

    def __enter__(self) -> SmallDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.holder.kill()
        self.holder.communicate()
