"""Folders that this user may write to, on each disk, with their free space: where the output of a run may go."""

from __future__ import annotations

import getpass
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rm360_async.system.disk_threads import unreadable_reason

_FILE_SYSTEMS = re.compile(
    r"ext[234]|xfs|btrfs|zfs|f2fs|jfs|reiserfs|bcachefs|nfs4?|cifs|smb3|lustre|gpfs|beegfs\w*|ceph|glusterfs|overlay"
    r"|fuse\.(?!gvfs|portal|snap|rclone|lxcfs)\w+"
)
_SYSTEM_FOLDERS = ("/boot", "/snap", "/proc", "/sys", "/dev", "/run", "/etc", "/usr", "/var/lib/docker")
_OCTAL = re.compile(r"\\([0-7]{3})")
_ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class FreeSpace:
    """A folder that may be written to, and the bytes that are free on its disk."""

    folder: Path
    bytes: int


def writable_disks() -> list[FreeSpace]:
    """Return a folder on each disk that this user may write to, the one with the most free space first.

    On the disk of the home it is the home. A disk that does not answer within two seconds is passed over.
    """
    found: dict[int, FreeSpace] = {}
    for folder in _candidates():
        if not os.access(folder, os.W_OK | os.X_OK) or unreadable_reason(folder, _ANSWER_SECONDS):
            continue
        found.setdefault(folder.stat().st_dev, FreeSpace(folder, shutil.disk_usage(folder).free))
    return sorted(found.values(), key=lambda each: -each.bytes)


def _candidates() -> Iterator[Path]:
    yield Path.home()
    yield Path.cwd()
    user = getpass.getuser()
    for mount in mount_points(Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")):
        yield from (mount / user, mount)


def mount_points(mounts: str) -> list[Path]:
    """Return where disks for data are mounted, from the text of /proc/self/mounts."""
    points = []
    for line in mounts.splitlines():
        _, point, kind, options, *_ = line.split(" ")
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), point)
        if _FILE_SYSTEMS.fullmatch(kind) and "ro" not in options.split(",") and not point.startswith(_SYSTEM_FOLDERS):
            points.append(Path(point))
    return points
