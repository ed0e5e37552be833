"""Which file system a path is on."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK_FILE_SYSTEMS = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|afs|9p|lustre|ceph|gpfs|beegfs|glusterfs|fuse\..*|ncpfs|orangefs"
)


def file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of the file system that a path is on, e.g. `ext4` or `nfs4`; "" if it is unknown."""
    real, best = os.path.realpath(path), ("", "")
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:  # man 5 proc: the mount point is field 5, the type follows the lone dash
        fields, _, rest = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields.split()[4])
        is_below = real == point or real.startswith(point.rstrip("/") + "/")
        if is_below and len(point) >= len(best[0]):
            best = (point, rest.split()[0])
    return best[1]


def is_network(kind: str) -> bool:
    """Return True for the type of a file system that other machines may write to as well."""
    return _NETWORK_FILE_SYSTEMS.fullmatch(kind) is not None
