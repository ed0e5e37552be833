"""A small disk for a workspace, which a test fills or makes read-only while a run uses it."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from workspace import Workspace

MB = 2**20


class NoSmallDisk(Exception):
    """This system does not allow mounting in a name space."""


class SmallDisk:
    """A tmpfs at `<workspace>/small` in a mount name space: runs enter it, the test sees it through `outside_path`.

    `size` is in bytes, `files` the number of inodes (0: no limit of its own). Raises NoSmallDisk.
    """

    def __init__(self, workspace: Workspace, size: int, files: int = 0) -> None:
        self.workspace, self.mount_point = workspace, workspace.root / "small"
        self.mount_point.mkdir()
        # Root may mount; another user must first become root in a user name space.
        user_option = [] if os.geteuid() == 0 else ["--user"]
        as_root = ["--map-root-user"] if user_option else []
        tmpfs = f'mount -t tmpfs -o size={size},nr_inodes={files} rm360 "{self.mount_point}"'
        script = f"{tmpfs} && echo up && exec sleep 100000"
        self.holder = subprocess.Popen(
            ["unshare", *user_option, *as_root, "--mount", "sh", "-c", script],
            env={"PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.holder.stdout is not None
        if self.holder.stdout.readline() != "up\n":
            self.__exit__()
            raise NoSmallDisk("this system does not allow mounting a small disk in a name space")
        pid = self.holder.pid
        credentials = ["--preserve-credentials"] if user_option else []
        self.enter = ["nsenter", f"--target={pid}", *user_option, "--mount", *credentials]
        self.outside_path = Path(f"/proc/{pid}/root{self.mount_point}")

    def hold_work(self) -> dict[str, Any]:
        """Put the workspace's work folder on this disk; return the arguments that an `Instance` needs for that."""
        (self.workspace.root / "work").symlink_to(self.outside_path)
        return {"prefix": self.enter, "storage__output_dir": str(self.mount_point / "subjects")}

    def fill(self, leave: int = 0) -> None:
        """Fill the disk with another program's file, but for `leave` bytes."""
        with (self.outside_path / "filler").open("ab", buffering=0) as file, suppress(OSError):
            while (free := self.free_bytes() - leave) > 0:
                file.write(bytes(min(free, MB)))

    def free_bytes(self) -> int:
        """Return the free bytes."""
        stat = os.statvfs(self.outside_path)
        return stat.f_bavail * stat.f_frsize

    def remove_filler(self) -> None:
        """Remove the other program's files."""
        for path in self.outside_path.glob("filler*"):
            path.unlink()

    def make_read_only(self, folder: str) -> None:
        """Make a folder of the disk read-only for everything that is opened in it from now on."""
        path, copy = str(self.mount_point / folder), self.workspace.root / "read-only"
        copy.mkdir(exist_ok=True)
        self._mount("--bind", path, str(copy))
        self._mount("-o", "remount,bind,ro", str(copy))  # refused while a file is open for writing; here none is
        self._mount("--bind", str(copy), path)

    def make_writable(self, folder: str) -> None:
        """Make a folder writable again."""
        for path in (self.mount_point / folder, self.workspace.root / "read-only"):
            subprocess.run([*self.enter, "umount", "--lazy", str(path)], check=True)

    def _mount(self, *arguments: str) -> None:
        subprocess.run([*self.enter, "mount", *arguments], check=True)

    def __enter__(self) -> SmallDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.holder.kill()
        self.holder.communicate()
