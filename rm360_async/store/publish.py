"""Publish by one rename: a folder appears under its final name complete, or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from rm360_async.domain.errors import Cause, Fault
from rm360_async.store.marker import DAMAGED, MARKER
from rm360_async.store.replacement import MovedEntries, finish_replacement, replaced_path
from rm360_async.system.fault_points import reach
from rm360_async.system.file_locks import locked_if_unused
from rm360_async.system.files import sync, sync_folder
from rm360_async.system.linux import EXCHANGE, rename, rename_without_replacing
from rm360_async.system.os_errors import os_errors

_OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


def publish(staging: Path, final: Path, replace: bool = False) -> MovedEntries | None:
    """Move a sealed staging folder to its final name in one step, durably.

    Without `replace`, anything under the final name is a Fault(IN_THE_WAY). With it, a real folder there is exchanged
    for the new one; then its published files are removed, and its other entries are moved, which the result names
    (see `store.replacement`). A file or a symbolic link is never replaced. Other failures are Faults as well.
    """
    reach("publishing")
    # The folder that is replaced gets a staging name: locked, it is not removed by another process meanwhile.
    with locked_if_unused(final, os.O_DIRECTORY):
        with os_errors("publish", final):
            replaced = _rename_to_final(staging, final, replace)
            reach("folder renamed")
            sync(final.parent)
            reach("subject folder synced")
            sync_folder(final.parent.parent)
        moved = None if replaced is None else finish_replacement(replaced, final)
    reach("published")
    return moved


def _rename_to_final(staging: Path, final: Path, replace: bool) -> Path | None:
    """Give the staging folder its final name; return the folder that had it, under its new name."""
    try:
        rename_without_replacing(staging, final)
        return None
    except OSError as error:
        if error.errno not in _OCCUPIED:
            raise
    _require_replaceable(final, replace)
    replaced = replaced_path(staging)
    _exchange(staging, replaced, final)
    reach("folders exchanged")
    return replaced


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


def _exchange(staging: Path, replaced: Path, final: Path) -> None:
    """Give the staging folder the final name, and the folder that has it the name `replaced`."""
    staging.rename(replaced)
    reach("replacement begun")
    try:
        if rename(replaced, final, EXCHANGE):
            return
    except OSError:
        replaced.rename(staging)
        raise
    replaced.rename(staging)
    # two steps where the file system has no exchange: a crash between them is undone by `finish_replacement`
    final.rename(replaced)
    reach("old folder renamed")
    try:
        staging.rename(final)
    except OSError:
        replaced.rename(final)
        raise


def require_publishable(final: Path, replace: bool) -> None:
    """Raise the Fault that `publish` would end in, before anything is downloaded for it; changes nothing.

    IN_THE_WAY for what concerns one performance or subject, NOT_WRITABLE if the output folder cannot be written.
    """
    subject = final.parent
    with os_errors("publish", final, cause=Cause.IN_THE_WAY):
        _require_folder(subject)
        if os.path.lexists(final):
            _require_replaceable(final, replace)
            _require_movable(final)
    if os.path.lexists(subject):
        _require_writable(subject, Cause.IN_THE_WAY)
    elif os.path.lexists(subject.parent):
        _require_writable(subject.parent, Cause.NOT_WRITABLE)


def _require_folder(subject: Path) -> None:
    if subject.is_symlink():
        hint = "move the folder that it points to back, or mount it there; then `retry`"
        raise Fault(Cause.IN_THE_WAY, f"{subject} is a symbolic link, which nothing is written through", hint)
    if os.path.lexists(subject) and not subject.is_dir():
        raise Fault(Cause.IN_THE_WAY, f"{subject} is not a folder", "move it away, then `retry`")


def _require_movable(final: Path) -> None:
    """Raise a Fault if the folder itself cannot be renamed."""
    if os.path.ismount(final):
        raise Fault(Cause.IN_THE_WAY, f"{final} is a mount point", "unmount it, then `retry`")
    subject = final.parent.lstat()
    owners = (0, subject.st_uid, final.lstat().st_uid)
    if subject.st_mode & stat.S_ISVTX and os.geteuid() not in owners:
        message = f"{final} belongs to another user, and only its owner may move it (sticky bit of {final.parent})"
        raise Fault(Cause.IN_THE_WAY, message, f"`chmod -t {final.parent}`, then `retry`")


def _require_writable(folder: Path, cause: Cause) -> None:
    if os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return
    read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
    reason = "its file system is mounted read-only" if read_only else "this user has no permission to write in it"
    raise Fault(cause, f"cannot publish in {folder}: {reason}", "check its owner, mode and disk, then `retry`")


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
