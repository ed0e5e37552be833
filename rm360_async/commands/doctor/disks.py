"""The folders of a config: what they are on, what is free, and whether all that a run does there works."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rm360_async.budget import SystemDisk
from rm360_async.commands.doctor.result import CheckResult, fail, fail_of, ok, warn
from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.formatting import size_text
from rm360_async.ledger import Claims, create_ledger, lock_path
from rm360_async.store.seal import file_system_of
from rm360_async.system.files import sync, sync_folder
from rm360_async.system.linux import EXCHANGE, NOREPLACE, rename, sync_file_system
from rm360_async.system.os_errors import os_fault

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|afs|9p|lustre|ceph|gpfs|beegfs|glusterfs|fuse\..*|ncpfs|orangefs")
_MEMORY = ("tmpfs", "ramfs")
_PASSING = ("overlay", "aufs")
_FEW_INODES = 10_000


def folders(settings: Settings) -> dict[str, Path]:
    """Return the folders that a run writes to, by the key of the config."""
    storage = settings.storage
    return {
        "output_dir": storage.output_dir,
        "temp_dir": storage.temp_dir,
        "manifest": storage.manifest_path.parent,
        "log_dir": storage.log_dir,
    }


def look_at_disks(settings: Settings) -> Iterator[CheckResult]:
    """Yield what there is to say of every folder."""
    for key, folder in folders(settings).items():
        yield _place(key, folder)
        yield _tried(key, folder)
    yield _same(settings)
    yield from _space(settings)


def nearest(path: Path) -> Path:
    """Return the path, or its nearest parent that is there."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of the file system that a path is on, e.g. `ext4` or `nfs4`; "" when nobody tells."""
    real, best = os.path.realpath(path), ("", "")
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:  # man 5 proc: the mount point is field 5, the type follows the lone dash
        fields, _, rest = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields.split()[4])
        below = real == point or real.startswith(point.rstrip("/") + "/")
        if below and len(point) >= len(best[0]):
            best = (point, rest.split()[0])
    return best[1]


def _place(key: str, folder: Path) -> CheckResult:
    kind = file_system(nearest(folder))
    text = f"{folder} is on {kind or 'an unknown file system'}"
    if _NETWORK.fullmatch(kind):
        if key == "manifest":
            mend = "set storage.manifest_path to a local disk: the ledger needs locks that work"
            return warn(key, f"{text}, a network file system", mend)
        return ok(key, f"{text}, a network file system")
    if kind in _MEMORY and key in ("output_dir", "manifest"):
        return warn(key, f"{text}: it is gone after a restart", "choose a folder on a disk")
    if kind in _PASSING and key in ("output_dir", "manifest"):
        return warn(key, f"{text}: it is gone with its container", "choose a folder on a mounted volume")
    return ok(key, f"{text}, local")


def _tried(key: str, folder: Path) -> CheckResult:
    """Do in a throw-away folder what a run does there."""
    base = nearest(folder)
    where = "" if base == folder else f", to be made in {base}"
    try:
        with tempfile.TemporaryDirectory(prefix=".rm360-doctor-", dir=base) as trial:
            lacking = _try_all(key, Path(trial))
    except Fault as fault:
        return fail_of(key, fault)
    except OSError as error:
        return fail_of(key, os_fault(error, "write", base))
    done = "a file was written, synced and renamed" + (", and a ledger locked" if key == "manifest" else "")
    if lacking:
        return warn(key, f"{done}{where}; the file system has no {' and no '.join(lacking)}", "plain steps are used")
    return ok(key, done + where)


def _try_all(key: str, trial: Path) -> list[str]:
    """Return what the file system lacks; raise OSError or Fault for what must work and does not."""
    first, second = trial / "first", trial / "second"
    first.write_bytes(b"first")
    sync(first)
    first.rename(second)
    sync_folder(trial)
    lacking = []
    if key == "output_dir":
        lacking += _try_renames(trial)
        with file_system_of(first) as file_system:
            synced = sync_file_system(file_system)
        lacking += [] if synced else ["syncfs that reports errors (each file is synced alone)"]
    if key == "manifest":
        _try_ledger(trial)
    return lacking


def _try_renames(trial: Path) -> list[str]:
    old, new = trial / "old", trial / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "in").touch()
    lacking = []
    try:
        if not rename(old, new, NOREPLACE):
            lacking.append("RENAME_NOREPLACE")
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    if not rename(old, new, EXCHANGE):
        lacking.append("RENAME_EXCHANGE (a folder is replaced in two steps)")
    return lacking


def _try_ledger(trial: Path) -> None:
    ledger = trial / "try.sqlite"
    create_ledger(ledger)
    with Claims(lock_path(ledger)) as ours, Claims(lock_path(ledger)) as theirs:
        if not ours.claim(1) or theirs.claim(1):
            raise Fault(Cause.NOT_WRITABLE, "locks do not work there", "set storage.manifest_path to a local disk")


def _same(settings: Settings) -> CheckResult:
    disk, storage = SystemDisk(), settings.storage
    same = disk.space(storage.temp_dir).device == disk.space(storage.output_dir).device
    return ok("disks", f"temp_dir and output_dir are on {'one file system' if same else 'two file systems'}")


def _space(settings: Settings) -> Iterator[CheckResult]:
    limits = settings.limits
    floor, most = limits.min_free_bytes, limits.max_temp_bytes
    for key, needed in (("output_dir", 0), ("temp_dir", most)):
        space = SystemDisk().space(getattr(settings.storage, key))
        files = "no limit of inodes" if space.free_files is None else f"{space.free_files} inodes"
        text = f"{size_text(space.free_bytes)} free, {files}; {size_text(floor)} stay free (limits.min_free_space_gb)"
        if space.free_bytes <= floor:
            yield fail(key, f"{text}: nothing could start", "free some space, or lower limits.min_free_space_gb")
        elif space.free_files is not None and space.free_files < _FEW_INODES:
            yield fail(key, text, "a performance has thousands of files: use a file system with more inodes")
        elif space.free_bytes - floor < needed:
            short = f"{text}: fewer than limits.max_temp_size_gb ({size_text(most)}), so downloads wait earlier"
            yield warn(key, short, "free some space, or lower limits.max_temp_size_gb")
        else:
            yield ok(key, text)
