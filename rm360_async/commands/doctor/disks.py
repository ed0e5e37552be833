"""Checks of the folders of a config: their file systems, free space, and the operations that a run needs there."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rm360_async.budget import SystemDisk
from rm360_async.budget.ticket_queue import TicketQueue
from rm360_async.commands.doctor.result import CheckResult, fail, fail_of, ok, warn
from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.formatting import size_text
from rm360_async.ledger import Claims, create_ledger, lock_path
from rm360_async.service.run_plan import nearest_existing, space_problem
from rm360_async.store.seal import open_file_system
from rm360_async.system.disk_threads import unreadable_reason
from rm360_async.system.files import sync, sync_folder
from rm360_async.system.linux import EXCHANGE, NOREPLACE, rename, sync_file_system
from rm360_async.system.mounts import file_system, is_network
from rm360_async.system.os_errors import os_fault

_MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")
_CONTAINER_FILE_SYSTEMS = ("overlay", "aufs")
_MIN_INODES = 10_000
_LOCKED = {"manifest": ", and locked a ledger", "temp_dir": ", and locked a queue of leases"}


def folders(settings: Settings) -> dict[str, Path]:
    """Return the folders that a run writes to, by the key of the config."""
    storage = settings.storage
    return {
        "output_dir": storage.output_dir,
        "temp_dir": storage.temp_dir,
        "manifest": storage.manifest_path.parent,
        "log_dir": storage.log_dir,
    }


def unreadable_folders(settings: Settings) -> dict[str, CheckResult]:
    """Return a failed check for each folder that cannot be read or whose disk does not answer, by the config's key.

    All are asked at the same time, so a dead disk that several folders are on is waited for once.
    """
    asked = folders(settings)
    with ThreadPoolExecutor(max_workers=len(asked)) as threads:
        reasons = dict(zip(asked, threads.map(unreadable_reason, asked.values()), strict=True))
    hint = "check its mode, its owner and its mount; what lies there was not checked"
    return {
        key: fail(key, f"cannot read {folder}: {reasons[key]}", hint) for key, folder in asked.items() if reasons[key]
    }


def check_disks(settings: Settings, skipped: Collection[str] = ()) -> Iterator[CheckResult]:
    """Yield the checks of all folders but those whose keys are `skipped`."""
    for key, folder in folders(settings).items():
        if key not in skipped:
            yield _check_file_system(key, folder)
            yield _check_operations(key, folder)
    if skipped:
        return
    yield _check_devices(settings)
    yield from _check_space(settings)


def _check_file_system(key: str, folder: Path) -> CheckResult:
    kind = file_system(nearest_existing(folder))
    text = f"{folder} is on {kind or 'an unknown file system'}"
    must_last = key in ("output_dir", "manifest")
    if is_network(kind):
        if key == "manifest":
            hint = "set storage.manifest_path to a local disk: the ledger needs reliable locks"
            return warn(key, f"{text}, a network file system", hint)
        return ok(key, f"{text}, a network file system")
    if kind in _MEMORY_FILE_SYSTEMS and must_last:
        return warn(key, f"{text}: its contents are lost after a restart", "choose a folder on a disk")
    if kind in _CONTAINER_FILE_SYSTEMS and must_last:
        return warn(key, f"{text}: its contents are lost with the container", "choose a folder on a mounted volume")
    return ok(key, f"{text}, local")


def _check_operations(key: str, folder: Path) -> CheckResult:
    """Do what a run does in this folder, in a temporary folder there."""
    base = nearest_existing(folder)
    where = "" if base == folder else f", in {base}, where the folder will be created"
    try:
        with tempfile.TemporaryDirectory(prefix=".rm360-doctor-", dir=base) as trial:
            missing = _try_operations(key, Path(trial))
    except Fault as fault:
        return fail_of(key, fault)
    except OSError as error:
        return fail_of(key, os_fault(error, "write", base))
    done = "wrote, synced and renamed a file" + _LOCKED.get(key, "") + where
    if missing:
        return warn(key, f"{done}; the file system lacks {', '.join(missing)}", "nothing to do: rm360 does without")
    return ok(key, done)


def _try_operations(key: str, trial: Path) -> list[str]:
    """Return optional features that the file system lacks; raise OSError or Fault if a necessary one fails."""
    first, second = trial / "first", trial / "second"
    first.write_bytes(b"first")
    sync(first)
    first.rename(second)
    sync_folder(trial)
    missing = []
    if key == "output_dir":
        missing += _try_renames(trial)
        with open_file_system(first) as file_system:
            synced = sync_file_system(file_system)
        missing += [] if synced else ["syncfs that reports errors (each file is synced alone)"]
    if key == "manifest":
        _try_ledger(trial)
    if key == "temp_dir":
        _try_lease(trial)
    return missing


def _try_renames(trial: Path) -> list[str]:
    old, new = trial / "old", trial / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "in").touch()
    missing = []
    try:
        if not rename(old, new, NOREPLACE):
            missing.append("RENAME_NOREPLACE")
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    if not rename(old, new, EXCHANGE):
        missing.append("RENAME_EXCHANGE (a folder is replaced in two steps)")
    return missing


def _try_ledger(trial: Path) -> None:
    ledger = trial / "try.sqlite"
    create_ledger(ledger)
    with Claims(lock_path(ledger)) as first, Claims(lock_path(ledger)) as second:
        if not first.claim(1) or second.claim(1):
            hint = "set storage.manifest_path to a local disk"
            raise Fault(Cause.NOT_WRITABLE, f"file locks do not work in {trial.parent}", hint)


def _try_lease(trial: Path) -> None:
    """Hold the lock under which leases of disk space are taken: they are locked files in temp_dir."""
    with TicketQueue(trial).guarded():
        return


def _check_devices(settings: Settings) -> CheckResult:
    disk, storage = SystemDisk(), settings.storage
    is_same = disk.space(storage.temp_dir).device == disk.space(storage.output_dir).device
    return ok("disks", f"temp_dir and output_dir are on {'one file system' if is_same else 'two file systems'}")


def _check_space(settings: Settings) -> Iterator[CheckResult]:
    limits = settings.limits
    floor, max_temp = limits.min_free_bytes, limits.max_temp_bytes
    for key, needed in (("output_dir", 0), ("temp_dir", max_temp)):
        space = SystemDisk().space(getattr(settings.storage, key))
        inodes = "unlimited inodes" if space.free_files is None else f"{space.free_files} free inodes"
        kept_free = f"{size_text(floor)} are kept free (limits.min_free_space_gb)"
        text = f"{size_text(space.free_bytes)} free, {inodes}; {kept_free}"
        if problem := space_problem(key, space, floor):
            yield fail(key, problem.message, problem.hint)
        elif space.free_files is not None and space.free_files < _MIN_INODES:
            yield fail(key, text, "a performance has thousands of files: use a file system with more inodes")
        elif space.free_bytes - floor < needed:
            short = f"{text}: less than limits.max_temp_size_gb ({size_text(max_temp)}), so downloads wait earlier"
            yield warn(key, short, "free some space, or lower limits.max_temp_size_gb")
        else:
            yield ok(key, text)
