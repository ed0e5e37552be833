"""Errors of the operating system as faults: the cause, the message and the hint."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.os_errors import fault_in, os_errors, os_fault

PATH = Path("/nowhere/file")
ROOMY = SimpleNamespace(f_bavail=2**20, f_frsize=4096, f_files=1000, f_favail=500)


class Group(Exception):
    """A group of exceptions as task groups raise it; Python 3.10 has none of its own."""

    def __init__(self, *exceptions: BaseException) -> None:
        self.exceptions = exceptions


def error_of(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Give what statvfs reports of every folder; it can be changed."""
    disk = SimpleNamespace(**vars(ROOMY))
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    return disk


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.EACCES, Cause.NOT_WRITABLE),
        (errno.EROFS, Cause.NOT_WRITABLE),
        (errno.EIO, Cause.NOT_WRITABLE),
        (errno.ELOOP, Cause.IN_THE_WAY),
        (errno.EEXIST, Cause.IN_THE_WAY),
        (errno.EMFILE, Cause.UNKNOWN),
    ],
)
def test_the_errno_decides_unless_the_caller_does(disk: SimpleNamespace, number: int, cause: Cause) -> None:
    fault = os_fault(error_of(number), "write", PATH)
    assert (fault.cause, fault.message) == (cause, f"cannot write {PATH}: {os.strerror(number)}")
    fault = os_fault(error_of(number), "open", PATH, "check storage.log_dir", Cause.LEDGER)
    assert (fault.cause, fault.hint) == (Cause.LEDGER, "check storage.log_dir")


def test_a_file_that_is_too_large_for_its_file_system_is_that_for_every_caller() -> None:
    for fault in (os_fault(error_of(errno.EFBIG), "write", PATH, "x", Cause.LEDGER), fault_in(error_of(errno.EFBIG))):
        assert fault is not None and fault.cause is Cause.TOO_LARGE
        assert "larger than its file system or `ulimit -f` allows" in fault.message


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "no space left on the disk"), (errno.EDQUOT, "disk quota exceeded")]
)
def test_a_full_disk_is_a_full_disk_for_every_caller(number: int, reason: str) -> None:
    fault = os_fault(error_of(number), "write", PATH, "check storage.log_dir", Cause.LEDGER)
    assert fault.cause is Cause.DISK_FULL
    assert str(fault) == f"cannot write {PATH}: {reason}; free some space"


@pytest.mark.parametrize("lacking", ["f_bavail", "f_favail"])
@pytest.mark.parametrize("error", [OSError("could not write"), OSError(0, "could not write"), error_of(errno.EIO)])
def test_without_a_clear_errno_the_disk_is_asked(disk: SimpleNamespace, lacking: str, error: OSError) -> None:
    assert os_fault(error, "write", PATH).cause is not Cause.DISK_FULL
    setattr(disk, lacking, 0)
    assert os_fault(error, "write", PATH).cause is Cause.DISK_FULL
    assert os_fault(error_of(errno.EACCES), "write", PATH).cause is Cause.NOT_WRITABLE


def test_a_block_raises_faults_and_lets_other_errors_through() -> None:
    with pytest.raises(Fault, match="cannot remove /nowhere/file: Permission denied"), os_errors("remove", PATH):
        raise error_of(errno.EACCES)
    with pytest.raises(KeyError), os_errors("remove", PATH):
        raise KeyError


def test_a_fault_is_found_in_groups_and_the_one_that_stops_the_service_comes_first() -> None:
    slow, fatal = Fault(Cause.NETWORK, "slow"), Fault(Cause.AUTH, "no password")
    assert fault_in(slow) is slow
    assert fault_in(Group(slow, Group(fatal))) is fatal
    assert fault_in(Group(ValueError(), slow)) is slow
    assert fault_in(ValueError()) is None


def test_an_os_error_is_a_fault_if_it_names_a_file_or_the_disk_is_full() -> None:
    unreadable = fault_in(OSError(errno.EACCES, "Permission denied", "/nowhere/file"))
    assert unreadable is not None and unreadable.cause is Cause.NOT_WRITABLE
    assert unreadable.message == "/nowhere/file: Permission denied"
    full = fault_in(error_of(errno.ENOSPC))
    assert full is not None and str(full) == "cannot write the output: no space left on the disk; free some space"
    assert fault_in(error_of(errno.EBADF)) is None
