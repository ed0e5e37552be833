"""The release on the Drive emulator, and downloads of one file of it through an account's connections."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from drive_emulator import ROOT_ID, Drive

from rm360_async.domain.errors import Fault
from rm360_async.domain.record import RemoteFile
from rm360_async.download.accounts import Accounts
from rm360_async.download.rclone import Remote, StallPolicy, find_rclone, rclone_environment

SPEECH = "0018/0018_s1_all_raw.smc"
SIZE = 3_000_000
CONTENT = random.Random(18).randbytes(SIZE)
MD5 = hashlib.md5(CONTENT).hexdigest()
PATIENT = StallPolicy(0.02, 10**6, 10**6)


def on_drive(drive: Drive, name: str = "gdrive", root_id: str = ROOT_ID) -> Remote:
    return Remote(name, root_id, find_rclone(), rclone_environment({**os.environ, **drive.env()}))


def on_disk(root: Path) -> Remote:
    return Remote(f":local:{root}", "", find_rclone(), rclone_environment(os.environ))


def remote_file(path: str = SPEECH, size: int = SIZE, md5: str | None = MD5) -> RemoteFile:
    return RemoteFile(path, size, md5=md5)


async def download(
    remote: Remote,
    path: Path,
    file: RemoteFile | None = None,
    on_bytes: Callable[[int], None] = lambda _: None,
    policy: StallPolicy = PATIENT,
) -> str:
    """Download one file whole into a sparse file; return its md5."""
    accounts = Accounts([remote], policy)
    async with accounts.running():
        return await accounts[0].download(file or remote_file(), path, on_bytes)


async def fault_of(remote: Remote, path: Path, file: RemoteFile | None = None, policy: StallPolicy = PATIENT) -> Fault:
    with pytest.raises(Fault) as caught:
        await download(remote, path, file, policy=policy)
    return caught.value


def processes_of(drive: Drive) -> list[int]:
    """Return the living processes that were started to speak to this drive, and to no other test's."""
    processes = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"127.0.0.1:{drive.port}\0".encode() in entry.read_bytes() + b"\0":
                processes.append(int(entry.parent.name))
        except OSError:
            continue
    return processes


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for another process; the test's own timeout is the limit."""
    while not condition():
        time.sleep(0.005)


def write_release(root: Path) -> None:
    """Write two subjects, a duplicate name, an empty file, and unrecognized names."""
    files = {
        SPEECH: CONTENT,
        "0018/0018_e1_raw.smc": b"expression",
        "0018/0018_e2_raw.smc": b"",
        "0018/0018_e3_raw.smc": b"one",
        "0018/0018_e3_raw.smc~2": b"other",
        "0018/0018_e4_raw.smc.bak": b"left over",
        "0018/notes about 0018.smc": b"unrecognized",
        "0018/deep/0018_e5_raw.smc": b"too deep",
        "0019/0019_s1_all_raw.smc": b"another",
        "anno/0026/0026_e0_anno.smc": b"annotation",
        "raw/0026/0026_e0_raw.smc": b"raw",
    }
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
