"""The keys of a cluster: as texts, or as the files that `rm360 node --make-keys` has made; needs no library."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rm360_async.domain.errors import Cause, Fault

AUTHORITY, CERTIFICATE, KEY = "ca.pem", "node.pem", "node.key"


@dataclass(frozen=True)
class Keys:
    """Authority, certificate and private key: each a text in PEM, or the path of a file with it."""

    authority: str
    certificate: str
    key: str


def require_keys(folder: Path) -> Keys:
    """Return the keys in a folder. Raises Fault(NOT_WRITABLE) if one is missing, or if others have the private one."""
    paths = folder / AUTHORITY, folder / CERTIFICATE, folder / KEY
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        hint = "make them with `rm360 node --make-keys FOLDER`, and copy the folder to each machine"
        raise Fault(Cause.NOT_WRITABLE, f"the keys of the cluster are missing: {', '.join(missing)}", hint)
    require_private(paths[2], f"`chmod 600 {paths[2]}`, or make new keys")
    return Keys(*map(str, paths))


def require_private(path: Path, hint: str) -> None:
    """Raise Fault(NOT_WRITABLE) if others may read a file with a private key, or have made it. Raises OSError."""
    status = path.stat()
    if status.st_mode & 0o077:
        message = f"others may read {path}, and with it work as nodes of this cluster"
        raise Fault(Cause.NOT_WRITABLE, message, hint)
    if status.st_uid not in (os.geteuid(), 0):
        raise Fault(Cause.NOT_WRITABLE, f"{path} belongs to another user, who could have anything done here", hint)
