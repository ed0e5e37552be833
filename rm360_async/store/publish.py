"""Publish by one rename: a folder appears under its final name complete, or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from rm360_async.domain.errors import Cause, Fault
from rm360_async.store.marker import DAMAGED, MARKER
from rm360_async.store.staging import remove_tree
from rm360_async.system.fault_points import reach
from rm360_async.system.files import sync, sync_folder
from rm360_async.system.linux import EXCHANGE, NOREPLACE, rename
from rm360_async.system.os_errors import os_errors

_OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


def publish(staging: Path, final: Path, replace: bool = False) -> None:
    """Move a sealed staging folder to its final name in one step, durably.

    Without `replace`, anything under the final name is a Fault(IN_THE_WAY). With it, a real folder there is exchanged
    for the new one and then removed; a file or a symbolic link is never replaced. The old folder has the staging name
    while it is removed, so `find_staging_folders` finds what a crash leaves. Other failures are Faults as well.
    """
    reach("publishing")
    with os_errors("publish", final):
        replaced = False
        try:
            _move_to_free_path(staging, final)
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
            _require_replaceable(final, replace)
            _exchange(staging, final)
            reach("folders exchanged")
            replaced = True
        reach("folder renamed")
        sync(final.parent)
        reach("subject folder synced")
        sync_folder(final.parent.parent)
    if replaced:
        remove_tree(staging)
        reach("old folder removed")
    reach("published")


def mark_damaged(final: Path) -> None:
    """Replace the marker of a published folder by `DAMAGED`, durably: it is not complete, and is extracted again.

    `DAMAGED` tells a run that it may replace the folder. A symbolic link under the final name is a
    Fault(IN_THE_WAY): a run must not replace what it points to.
    """
    if final.is_symlink():
        raise Fault(
            Cause.IN_THE_WAY,
            f"{final} is a symbolic link",
            "move the link away, or verify the folder that it points to",
        )
    with os_errors("mark as damaged", final):
        try:
            (final / MARKER).replace(final / DAMAGED)
        except FileNotFoundError:  # the marker is what is missing
            os.close(os.open(final / DAMAGED, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
        sync(final)


def is_marked_damaged(final: Path) -> bool:
    """Return True if a folder waits to be replaced because a check found it damaged."""
    return os.path.lexists(final / DAMAGED) and not os.path.lexists(final / MARKER)


def _move_to_free_path(staging: Path, final: Path) -> None:
    if rename(staging, final, NOREPLACE):
        return
    # a plain rename would silently replace an empty folder, so check first; no other process publishes this performance
    if os.path.lexists(final):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final))
    os.rename(staging, final)  # noqa: PTH104 - the one commit point, spelled as the system call


def _exchange(staging: Path, final: Path) -> None:
    if rename(staging, final, EXCHANGE):
        return
    # two steps where the file system has no exchange: between them the old folder has a staging name
    old = staging.with_name(staging.name.removesuffix(".staging") + "-old.staging")
    final.rename(old)
    try:
        staging.rename(final)
    except OSError:
        old.rename(final)
        raise
    old.rename(staging)


def _require_replaceable(final: Path, replace: bool) -> None:
    mode = os.lstat(final).st_mode
    if stat.S_ISLNK(mode):
        raise Fault(Cause.IN_THE_WAY, f"{final} is a symbolic link", "move it away, then `retry`")
    if not stat.S_ISDIR(mode):
        raise Fault(Cause.IN_THE_WAY, f"{final} is a file, not a folder", "move it away, then `retry`")
    if replace:
        return
    if os.path.lexists(final / MARKER):
        raise Fault(Cause.IN_THE_WAY, f"{final} is already published", "use --force to replace it")
    raise Fault(
        Cause.IN_THE_WAY,
        f"{final} already exists and was not published by rm360 (it has no {MARKER})",
        "move it away, or use --force to replace it",
    )
