"""The files of a cluster's keys; needs no library."""

from __future__ import annotations

from pathlib import Path

from rm360_async.domain.errors import Cause, Fault

AUTHORITY, CERTIFICATE, KEY = "ca.pem", "node.pem", "node.key"


def require_keys(folder: Path) -> tuple[Path, Path, Path]:
    """Return the paths of authority, certificate and key. Raises Fault(NOT_WRITABLE) for missing or readable ones."""
    paths = folder / AUTHORITY, folder / CERTIFICATE, folder / KEY
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        hint = "make them with `rm360 node --make-keys FOLDER`, and copy the folder to each machine"
        raise Fault(Cause.NOT_WRITABLE, f"the keys of the cluster are missing: {', '.join(missing)}", hint)
    if paths[2].stat().st_mode & 0o077:
        message = f"others may read {paths[2]}, and with it work as nodes of this cluster"
        raise Fault(Cause.NOT_WRITABLE, message, f"`chmod 600 {paths[2]}`, or make new keys")
    return paths
