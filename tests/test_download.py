"""Whole files over the connections of an account, through the real rclone: from the Drive emulator and from a disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from drive_emulator import ROOT_ID, Drive, Rule
from drive_files import (
    CONTENT,
    MD5,
    SIZE,
    SPEECH,
    download,
    fault_of,
    on_disk,
    on_drive,
    processes_of,
    remote_file,
    wait_for,
)

from rm360_async.domain.errors import Cause
from rm360_async.domain.record import RemoteFile
from rm360_async.download.connection_controller import FIRST_CONNECTIONS
from rm360_async.download.rclone import Remote, StallPolicy, find_rclone, rclone_environment
from rm360_async.system.sparse_file import SparseFile, map_path, write_prefix_map

PROOF_BYTES = 1024
"""Requested twice, once in a run, to find out whether the remote serves ranges."""
MB = 2**20
NAME = "a.smc.sparse"


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small file have many segments."""
    monkeypatch.setattr("rm360_async.download.segments.MIN_SEGMENT_BYTES", 2**16)
    monkeypatch.setattr("rm360_async.download.transfer.OPENING_BYTES", 2**16)


def present(path: Path) -> int:
    """Return how many bytes of a sparse file are present, all of which are those of the remote's file."""
    with SparseFile(path, SIZE) as sparse:
        data = path.read_bytes()
        assert all(data[start:end] == CONTENT[start:end] for start, end in sparse.present)
        return sparse.present.total


def write_prefix(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    write_prefix_map(path, map_path(path))


def sent(drive: Drive) -> int:
    return sum(request.sent for request in drive.media())


@pytest.mark.anyio
async def test_a_file_from_drive_crosses_the_line_once(drive: Drive, tmp_path: Path) -> None:
    sizes: list[int] = []
    assert await download(on_drive(drive), tmp_path / NAME, on_bytes=sizes.append) == MD5
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert sizes == sorted(sizes) and (sizes[0], sizes[-1]) == (0, SIZE)
    assert sent(drive) == SIZE + PROOF_BYTES
    assert sum(request.op == "list" for request in drive.log) == 2, "the file is looked up once, by one request"


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["reset", "close", "short"])
async def test_a_body_that_breaks_off_goes_on_where_it_ended(drive: Drive, tmp_path: Path, kind: str) -> None:
    drive.rules = [Rule(kind, at=at, times=1) for at in (700_001, 2_000_003)]
    assert await download(on_drive(drive), tmp_path / NAME) == MD5
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert sent(drive) == SIZE + PROOF_BYTES


@pytest.mark.anyio
async def test_a_killed_rclone_is_started_again(drive: Drive, tmp_path: Path) -> None:
    drive.rules = [Rule("stall", at=1_234_567, times=1), Rule("slow", bps=MB)]
    killed: list[int] = []

    def kill(size: int) -> None:
        if size and drive.stalled.is_set() and not killed:
            killed.extend(processes_of(drive))
            for process in killed:
                os.kill(process, signal.SIGKILL)

    assert await download(on_drive(drive), tmp_path / NAME, on_bytes=kill) == MD5
    assert killed and not processes_of(drive)
    assert sent(drive) <= SIZE + 10 * MB


@pytest.mark.anyio
async def test_silence_is_a_stall_and_what_arrived_is_kept(drive: Drive, tmp_path: Path) -> None:
    write_prefix(tmp_path / NAME, CONTENT[:1000])
    drive.rules = [Rule("stall", at=500_000)]
    fault = await fault_of(on_drive(drive), tmp_path / NAME, policy=StallPolicy(0.25, silent_ticks=4))
    assert fault.cause is Cause.STALL
    assert "no byte arrived" in fault.message and fault.message.startswith(f"downloading {SPEECH} from gdrive: ")
    assert 1000 <= present(tmp_path / NAME) < SIZE
    assert not processes_of(drive)


@pytest.mark.anyio
async def test_a_silent_connection_among_others_costs_only_its_own_segment(drive: Drive, tmp_path: Path) -> None:
    drive.rules = [Rule("stall", at=1_500_000, times=1), Rule("slow", bps=MB // 2)]
    assert await download(on_drive(drive), tmp_path / NAME, policy=StallPolicy(0.25, 24, 10**6)) == MD5
    assert sent(drive) <= SIZE + PROOF_BYTES + MB


@pytest.mark.anyio
async def test_cancelling_a_download_leaves_no_process(drive: Drive, tmp_path: Path) -> None:
    drive.rules = [Rule("stall", at=1_500_000)]
    with anyio.CancelScope() as scope:
        await download(
            on_drive(drive), tmp_path / NAME, on_bytes=lambda size: scope.cancel() if size > 500_000 else None
        )
    assert scope.cancelled_caught
    assert not processes_of(drive)
    assert present(tmp_path / NAME) > 500_000


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["corrupt", "wrong start"])
async def test_wrong_bytes_are_detected_and_not_kept(drive: Drive, tmp_path: Path, kind: str) -> None:
    path = tmp_path / NAME
    if kind == "wrong start":
        write_prefix(path, b"x" * 1000)
    drive.rules = [Rule(kind, at=2_000_000)]
    fault = await fault_of(on_drive(drive), path)
    assert fault.cause is Cause.MISMATCH and MD5 in fault.message
    assert not path.exists() and not map_path(path).exists()


@pytest.mark.anyio
async def test_only_what_the_disk_has_lost_is_downloaded_again(drive: Drive, tmp_path: Path) -> None:
    """A power cut may lose bytes whose entry in the map it has kept."""
    path = tmp_path / NAME
    with SparseFile(path, SIZE) as sparse:
        for start in range(0, 2_000_000, 100_000):
            sparse.write(start, CONTENT[start : start + 100_000])
    with path.open("r+b") as file:
        file.seek(300_000)
        file.write(bytes(4096))
    assert await download(on_drive(drive), path) == MD5
    assert sent(drive) <= 1_000_000 + 100_000 + 2 * PROOF_BYTES


@pytest.mark.anyio
async def test_a_remote_that_ignores_ranges_gives_its_file_in_one_piece(drive: Drive, tmp_path: Path) -> None:
    write_prefix(tmp_path / NAME, CONTENT[:1000])
    drive.rules = [Rule("ignore_range")]
    assert await download(on_drive(drive), tmp_path / NAME) == MD5


@pytest.mark.anyio
async def test_starts_of_files_that_are_whole_or_too_long(drive: Drive, tmp_path: Path) -> None:
    path = tmp_path / NAME
    write_prefix(path, CONTENT)
    assert await download(on_drive(drive), path) == MD5
    assert not drive.media()
    write_prefix(path, CONTENT + b"more")
    assert await download(on_drive(drive), path) == MD5
    assert path.read_bytes() == CONTENT


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("userRateLimitExceeded", Cause.RATE_LIMIT),
        ("rateLimitExceeded", Cause.RATE_LIMIT),
        ("dailyLimitExceeded", Cause.RATE_LIMIT),
        ("downloadQuotaExceeded", Cause.FILE_QUOTA),
        ("cannotDownloadAbusiveFile", Cause.ABUSIVE_FILE),
        ("insufficientFilePermissions", Cause.FORBIDDEN),
        ("cannotDownloadFile", Cause.FORBIDDEN),
        ("notFound", Cause.SERVER_ERROR),  # the listing has the file, so it is not gone
        ("authError", Cause.AUTH),
        ("internalError", Cause.SERVER_ERROR),
        ("backendError", Cause.SERVER_ERROR),
    ],
)
async def test_each_refusal_has_its_cause_and_costs_two_requests(
    drive: Drive, tmp_path: Path, kind: str, cause: Cause
) -> None:
    """The serving rclone does not tell the reason, so the byte is requested once more."""
    path = tmp_path / NAME
    write_prefix(path, CONTENT[:5000])
    drive.rules = [Rule(kind)]
    fault = await fault_of(on_drive(drive), path)
    assert fault.cause is cause
    assert fault.message.startswith(f"downloading {SPEECH} from gdrive: ") and kind in fault.message
    assert present(path) == 5000
    acknowledged = 2 if cause is Cause.ABUSIVE_FILE else 1  # once more, with the acknowledgement
    assert len(drive.media()) == 2 * acknowledged


@pytest.mark.anyio
async def test_a_limit_of_connections_is_kept_and_no_download_fails(
    drive: Drive, tmp_path: Path, small_segments: None
) -> None:
    drive.max_bodies = 3
    drive.rules = [Rule("slow", bps=MB // 4)]
    assert await download(on_drive(drive), tmp_path / NAME) == MD5
    assert drive.most_bodies == 3
    refused = [request for request in drive.media() if request.status >= 400]
    assert 0 < len(refused) <= 20, "of eight at first; then the number is halved, and they wait"


@pytest.mark.anyio
async def test_what_breaks_off_beside_a_limit_is_not_taken_for_a_remote_without_ranges(
    drive: Drive, tmp_path: Path, small_segments: None
) -> None:
    drive.rules = [Rule("userRateLimitExceeded", skip=4, times=1), Rule("close", at=1_500_000)]
    fault = await fault_of(on_drive(drive), tmp_path / NAME)
    assert fault.cause is Cause.NETWORK
    asked = 10  # bytes by which the reason was asked for
    assert sent(drive) <= present(tmp_path / NAME) + PROOF_BYTES + asked, "what had arrived was requested again"


@pytest.mark.anyio
async def test_thin_connections_are_added_while_they_bring_more(
    drive: Drive, tmp_path: Path, small_segments: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drive_emulator.SLICE", 2**12)  # an even stream, though a slow one
    drive.rules = [Rule("slow", bps=MB // 24)]
    assert await download(on_drive(drive), tmp_path / NAME) == MD5
    assert drive.most_bodies > FIRST_CONNECTIONS


@pytest.mark.anyio
async def test_a_quota_of_one_account_leaves_the_other(drive: Drive, tmp_path: Path) -> None:
    drive.rules = [Rule("downloadQuotaExceeded", account="gdrive")]
    assert (await fault_of(on_drive(drive), tmp_path / NAME)).cause is Cause.FILE_QUOTA
    assert await download(on_drive(drive, "gdrive2"), tmp_path / NAME) == MD5


@pytest.mark.anyio
async def test_files_that_are_never_requested(drive: Drive, tmp_path: Path) -> None:
    remote, path = on_drive(drive), tmp_path / NAME
    empty = await fault_of(remote, path, await remote.stat("0018/0018_e2_raw.smc"))
    assert (empty.cause, "(0 bytes)" in empty.message) == (Cause.UNREADABLE, True)
    assert (await fault_of(remote, path, RemoteFile(SPEECH, SIZE, duplicate=True))).cause is Cause.DUPLICATE_NAME
    assert not drive.media() and not path.exists()


@pytest.mark.anyio
async def test_only_a_complete_listing_shows_that_a_file_is_gone(drive: Drive, tmp_path: Path) -> None:
    gone = remote_file("0018/0018_e9_raw.smc")
    assert (await fault_of(on_drive(drive), tmp_path / NAME, gone)).cause is Cause.NOT_FOUND
    drive.rules = [Rule("incomplete", op="list")]
    assert (await fault_of(on_drive(drive), tmp_path / NAME, gone)).cause is Cause.SERVER_ERROR


@pytest.mark.anyio
async def test_a_remote_that_cannot_be_reached(drive: Drive, tmp_path: Path) -> None:
    env = rclone_environment({**os.environ, **drive.env(), "HTTPS_PROXY": "http://127.0.0.1:9"})
    fault = await fault_of(Remote("gdrive", ROOT_ID, find_rclone(), env), tmp_path / NAME)
    assert fault.cause is Cause.UNREACHABLE
    assert "connection refused" in fault.message


@pytest.mark.anyio
async def test_a_local_file_is_compared_with_the_md5_that_the_remote_reads(release: Path, tmp_path: Path) -> None:
    path = tmp_path / NAME
    write_prefix(path, b"wrong" * 100)
    fault = await fault_of(on_disk(release), path, remote_file(md5=None))
    assert fault.cause is Cause.MISMATCH and MD5 in fault.message
    assert not path.exists()


@pytest.mark.anyio
async def test_a_download_from_an_alias_without_md5(release: Path, tmp_path: Path) -> None:
    env = {"RCLONE_CONFIG_OTHER_TYPE": "alias", "RCLONE_CONFIG_OTHER_REMOTE": str(release)}
    remote = Remote("other", "ignored", find_rclone(), rclone_environment({**os.environ, **env}))
    write_prefix(tmp_path / NAME, CONTENT[:1_000_000])
    assert await download(remote, tmp_path / NAME, remote_file(md5=None)) == MD5
    assert (tmp_path / NAME).read_bytes() == CONTENT


@pytest.mark.anyio
async def test_a_sparse_file_that_cannot_be_written(release: Path, tmp_path: Path) -> None:
    assert (await fault_of(on_disk(release), tmp_path / "absent" / "sparse")).cause is Cause.NOT_WRITABLE
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert (await fault_of(on_disk(release), tmp_path / "link")).cause is Cause.NOT_WRITABLE
    assert not (tmp_path / "elsewhere").exists()


_PARENT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import anyio, os
from drive_files import download, remote_file
from rm360_async.download.connection_controller import FIRST_CONNECTIONS
from rm360_async.download.rclone import Remote, find_rclone, rclone_environment
remote = Remote("gdrive", sys.argv[2], find_rclone(), rclone_environment(os.environ))
anyio.run(download, remote, Path(sys.argv[3]))
"""


def test_rclone_does_not_outlive_a_killed_parent(drive: Drive, tmp_path: Path) -> None:
    drive.rules = [Rule("stall", at=1_500_000)]
    command = [sys.executable, "-c", _PARENT, str(Path(__file__).parent), ROOT_ID, str(tmp_path / NAME)]
    parent = subprocess.Popen(command, env={**os.environ, **drive.env()})
    wait_for(drive.stalled.is_set)
    assert len(processes_of(drive)) > 1
    parent.kill()
    parent.wait()
    wait_for(lambda: not processes_of(drive))
    assert present(tmp_path / NAME) > 0
