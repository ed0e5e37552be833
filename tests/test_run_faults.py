"""Whole runs against Drive when the remote refuses, hides or is gone: rate limits, quotas, logins, outages.

The emulator's log is the witness of what was asked, and how often. Faults in the bytes: `test_run_bytes`.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from typing import Any

import pytest
from drive_emulator import Rule
from drive_server import QUESTION_BYTES, DriveServer
from tiny_smc import Tiny

from rm360_async.domain import doubt


@contextmanager
def meanwhile(*steps: tuple[Callable[[], object], Callable[[], object]]) -> Iterator[None]:
    """While a run goes on in this thread, do each step once its condition holds; all steps must be reached."""
    over = threading.Event()
    left = list(steps)

    def watch() -> None:
        while left and not over.wait(0.005):
            if left[0][0]():
                left.pop(0)[1]()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not left, "the run ended before this could happen"


# --- rate limits


@pytest.fixture
def each_file_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing that was listed before count, so that lookups fail as well."""
    monkeypatch.setattr("rm360_async.download.recent_files._FRESH_SECONDS", 0.0)


@pytest.mark.usefixtures("each_file_is_looked_up")
def test_a_rate_limit_slows_all_down_costs_no_try_and_passes(drive_server: DriveServer) -> None:
    """Two run at once, each refused and asked for the reason; then all is probing: nothing overlaps until one begins
    well.

    The twelve requests of the beginning are answered at once, the next ones late, so that an overlap would show.
    """
    drive_server.put("e0", "e1", "e2")
    drive_server.drive.rules = [
        Rule("latency", op="any", seconds=0.2, skip=12, times=8),
        Rule("userRateLimitExceeded", times=4),
    ]
    assert drive_server.run(processing__max_retries=0, processing__downloads=2) == 0
    assert set(drive_server.statuses().values()) == {"completed"} and drive_server.tries() == 0
    media = drive_server.drive.media()
    refused = [request for request in media if request.status == 403]
    good = [request for request in media if request.status == 206 and request.sent > QUESTION_BYTES]
    assert len(refused) == 4 and len(good) == 3
    probing = [each for each in drive_server.drive.log if refused[-1].ended <= each.began < good[0].began]
    assert probing
    assert all(first.ended <= then.began for first, then in pairwise(probing))
    assert [request.sent for request in good] == [request.end for request in good], "each byte once"


def test_a_rate_limit_on_listings_is_waited_out(drive_server: DriveServer) -> None:
    """At the start (the first four), and while files are looked up."""
    drive_server.put("e0", "e1", "e2")
    drive_server.drive.rules = [
        Rule("userRateLimitExceeded", op="list", times=4),
        Rule("rateLimitExceeded", op="list", skip=4, times=1),
        Rule("userRateLimitExceeded", op="list", skip=7, times=1),
    ]
    assert drive_server.run(processing__max_retries=0) == 0
    assert set(drive_server.statuses().values()) == {"completed"} and drive_server.tries() == 0
    assert len([request for request in drive_server.drive.log if request.status in (403, 429)]) == 6
    assert "retrying in" in drive_server.workspace.log() and "does not have" not in drive_server.workspace.log()


# --- the order of what is started


def test_what_failed_once_is_tried_again_before_anything_new_is_begun(drive_server: DriveServer) -> None:
    names = [f"e{number}" for number in range(6)]
    drive_server.put(*names)
    drive_server.drive.rules = [Rule("backendError", path="*_e0_raw.smc", times=2)]
    assert drive_server.run(processing__downloads=1) == 0
    asked = [request.path.rpartition("/")[2].split("_")[1] for request in drive_server.drive.media()]
    begun = [name for name, _ in groupby(asked)]
    assert begun[0] == "e0" and set(begun) == set(names)
    assert "e0" not in begun[1:] or begun.index("e0", 1) <= 2, "at most one other was begun before the retry was due"


def test_what_waits_for_a_quota_is_finished_before_its_part_would_have_to_make_room(drive_server: DriveServer) -> None:
    """Half of e0 fills the spool while e0 waits for its quota: e1, which is new and does not fit, gives way to it."""
    drive_server.put("e0", "e1")
    size = drive_server.file("e0").stat().st_size
    drive_server.drive.rules = [
        Rule("reset", path="*_e0_raw.smc", at=size // 2, times=1),
        Rule("downloadQuotaExceeded", path="*_e0_raw.smc", skip=1, times=1),
    ]
    assert (
        drive_server.run(
            processing__downloads=1,
            processing__fetch="whole",
            processing__quota_wait_hours=0.001,
            limits__max_temp_size_gb=1.3 * size / 2**30,
        )
        == 0
    )
    assert set(drive_server.statuses().values()) == {"completed"}
    assert "to free space" not in drive_server.workspace.log()
    sent = sum(request.sent for request in drive_server.downloads_of("e0"))
    assert sent < 1.2 * size, "its first half was not downloaded again"


def test_what_an_earlier_run_left_waiting_goes_first_once_it_is_due(drive_server: DriveServer) -> None:
    drive_server.put("e0", "e1", "e2")
    drive_server.drive.rules = [Rule("downloadQuotaExceeded", path="*_e2_raw.smc", times=2)]
    short: dict[str, Any] = {"processing__quota_wait_hours": 0.0001, "processing__downloads": 1}
    assert drive_server.run("--no-wait", "--performance", "e2", processing__downloads=1) == 1
    assert drive_server.run(**short) == 0
    asked = [request.path.rpartition("/")[2].split("_")[1] for request in drive_server.drive.media()]
    assert list(dict.fromkeys(asked)) == ["e2", "e0", "e1"]


# --- quotas and accounts


def test_a_file_over_quota_waits_across_runs_while_the_others_go_on(drive_server: DriveServer) -> None:
    drive_server.put("e0", "e1", "e2")
    drive_server.drive.rules = [Rule("downloadQuotaExceeded", path="*_e1_raw.smc")]
    assert drive_server.run("--no-wait") == 1
    assert drive_server.statuses() == {"e0": "completed", "e1": "waiting", "e2": "completed"}
    words, moment = drive_server.error_of("e1").split(", until ")
    assert words == "quota of this file"
    assert datetime.strptime(moment, "%Y-%m-%d %H:%M") > datetime.now() + timedelta(hours=23)
    assert f"0018/e1: waiting: until {moment}" in drive_server.workspace.log()
    requests = len(drive_server.drive.media())
    assert len(drive_server.downloads_of("e1")) == 2, "the request, and that for its reason"
    assert drive_server.run("--no-wait") == 1
    assert len(drive_server.drive.media()) == requests, "nothing is asked before it is due"
    assert drive_server.statuses()["e1"] == "waiting" and drive_server.tries() == 0


def test_a_run_sleeps_a_quota_out(drive_server: DriveServer) -> None:
    drive_server.put("e0", "e1")
    drive_server.drive.rules = [Rule("downloadQuotaExceeded", path="*_e0_raw.smc", times=2)]
    assert drive_server.run(processing__quota_wait_hours=0.0003, processing__max_retries=0) == 0
    assert [request.status for request in drive_server.downloads_of("e0")] == [403, 403, 206]
    assert set(drive_server.statuses().values()) == {"completed"}


def test_a_quota_on_one_file_of_a_pair_keeps_the_other(drive_server: DriveServer) -> None:
    workspace = drive_server.workspace
    workspace.structure, workspace.subjects = "separate_anno_raw", ["0026"]
    workspace.put("raw/0026/0026_e0_raw.smc", Tiny("0026", "e0", calibration=False))
    workspace.put("anno/0026/0026_e0_anno.smc", Tiny("0026", "e0", images=False, masks=True, audio=False, anno=True))
    drive_server.drive.rules = [Rule("downloadQuotaExceeded", path="*_anno.smc", times=2)]
    assert drive_server.run(processing__quota_wait_hours=0.0003) == 0
    asked = [request.path.split("/")[0] for request in drive_server.drive.media()]
    assert asked == sorted(asked, reverse=True), "what has arrived of a pair is not downloaded again"
    assert (workspace.folder("0026/e0") / "masks/cam_25/frame_000000.png").is_file() and workspace.leftovers() == []


def test_another_account_is_asked_when_one_is_over_quota(drive_server: DriveServer) -> None:
    drive_server.put("e0", "e1")
    drive_server.drive.rules = [Rule("downloadQuotaExceeded", path="*_e1_raw.smc", account="gdrive")]
    assert drive_server.run(google_drive__remote_names=["gdrive2"]) == 0
    assert drive_server.accounts_of("e1") == ["gdrive", "gdrive2"]
    assert drive_server.accounts_of("e0") == ["gdrive"]
    assert drive_server.run("--force", google_drive__remote_names=["gdrive2"]) == 0
    assert drive_server.accounts_of("e1") == ["gdrive", "gdrive2"]
    assert drive_server.accounts_of("e0") == ["gdrive"]


def test_a_file_waits_when_every_account_is_over_quota_or_may_not_read_it(drive_server: DriveServer) -> None:
    drive_server.put("e0", "e1", "e2")
    drive_server.drive.rules = [
        Rule("downloadQuotaExceeded", path="*_e0_raw.smc"),
        Rule("downloadQuotaExceeded", path="*_e1_raw.smc", account="gdrive"),
        Rule("hidden", op="list", path="*_e1_raw.smc", account="gdrive2"),
        Rule("insufficientFilePermissions", path="*_e2_raw.smc"),
    ]
    assert drive_server.run("--no-wait", google_drive__remote_names=["gdrive2"]) == 1
    assert drive_server.statuses() == {"e0": "waiting", "e1": "waiting", "e2": "download_failed"}
    assert drive_server.accounts_of("e0") == ["gdrive", "gdrive2"]
    assert drive_server.accounts_of("e1") == ["gdrive"]
    assert drive_server.accounts_of("e2") == ["gdrive", "gdrive2"]
    assert "this account may not read it" in drive_server.error_of("e2")


def wait_for_a_quota(drive_server: DriveServer) -> None:
    """Leave e0 waiting for a day: its account has been asked, also for the reason, and would serve it now."""
    drive_server.put("e0")
    drive_server.drive.rules = [Rule("downloadQuotaExceeded", times=2)]
    assert drive_server.run("--no-wait") == 1
    assert drive_server.statuses() == {"e0": "waiting"} and len(drive_server.drive.media()) == 2


def test_an_account_that_is_added_is_asked_at_once(drive_server: DriveServer) -> None:
    wait_for_a_quota(drive_server)
    assert drive_server.run("--no-wait", google_drive__remote_names=["gdrive2"]) == 0
    assert drive_server.accounts_of("e0") == ["gdrive", "gdrive2"]
    assert drive_server.statuses() == {"e0": "completed"}


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [(["--force"], {}), ([], {"processing__force_reextract": True}), ([], {"processing__quota_wait_hours": 0.0001})],
)
def test_a_person_ends_a_wait_by_force_or_by_a_shorter_one(
    drive_server: DriveServer, arguments: list[str], changes: dict[str, Any]
) -> None:
    wait_for_a_quota(drive_server)
    assert drive_server.run("--no-wait", *arguments, **changes) == 0
    assert drive_server.accounts_of("e0") == ["gdrive"] and drive_server.statuses() == {"e0": "completed"}


def test_retry_ends_waits_for_the_next_run(drive_server: DriveServer, capsys: pytest.CaptureFixture[str]) -> None:
    wait_for_a_quota(drive_server)
    assert drive_server.workspace.command("status") == 0
    assert "rm360 retry --waiting" in capsys.readouterr().out
    assert drive_server.workspace.command("retry") == 0
    assert "0 of 0 failed performances requeued" in capsys.readouterr().out
    assert drive_server.workspace.command("retry", "--waiting") == 0
    assert capsys.readouterr().out == "0018/e0: pending\n1 of 1 waiting performances requeued\n"
    assert drive_server.run("--no-wait") == 0
    assert drive_server.accounts_of("e0") == ["gdrive"] and drive_server.statuses() == {"e0": "completed"}


def test_retry_ends_the_waits_of_a_run_that_is_active(drive_server: DriveServer) -> None:
    """One waits for a quota, and one for its retry with its bytes on disk."""
    drive_server.put("e0", "e1")
    drive_server.drive.rules = [
        Rule("downloadQuotaExceeded", path="*_e0_raw.smc", times=2),
        Rule("reset", path="*_e1_raw.smc", at=50_000, times=3),
    ]

    def both_wait() -> bool:
        return drive_server.workspace.log().count(" waiting, until ") == 2

    def retry() -> None:
        command = [sys.executable, "-m", "rm360_async", "retry", str(drive_server.config()), "--waiting"]
        subprocess.run(command, check=True, timeout=60, capture_output=True)

    with meanwhile((both_wait, retry)):
        assert drive_server.run(processing__retry_delay=3000) == 0
    assert set(drive_server.statuses().values()) == {"completed"}
    assert "2 performances are tried again because a person asked for it" in drive_server.workspace.log()


# --- what is there


@pytest.mark.parametrize(
    ("kind", "remote"),
    [("userRateLimitExceeded", "gdrive:some/folder"), ("internalError", "gdrive"), ("incomplete", "gdrive")],
)
def test_a_refused_or_incomplete_listing_loses_no_performance(
    drive_server: DriveServer, kind: str, remote: str
) -> None:
    """Every fourth listing is refused; with a path in the remote's name those of its lookup are among them."""
    drive_server.put("e0", folder=remote.partition(":")[2])
    drive_server.drive.rules = [Rule(kind, op="list", skip=3, times=1) for _ in range(3)]
    assert drive_server.run(remote=remote, processing__max_retries=6) == 0
    assert drive_server.statuses() == {"e0": "completed"}
    assert not any(rule.times for rule in drive_server.drive.rules), "all three were refused"
    assert "the remote does not have" not in drive_server.workspace.log()


def test_a_name_that_is_there_twice_is_never_fetched(drive_server: DriveServer) -> None:
    drive_server.put("e0", "e1")
    drive_server.workspace.put("0018/0018_e1_raw.smc~2", b"which one is right?")
    assert drive_server.run() == 1
    assert drive_server.statuses() == {"e0": "completed", "e1": "download_failed"}
    assert "is there twice" in drive_server.error_of("e1") and "rclone dedupe" in drive_server.error_of("e1")
    assert not drive_server.downloads_of("e1")


def test_a_folder_that_is_not_there_stops_at_once(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    drive_server.put("e0")
    assert drive_server.run(remote="gdrive:nowhere") == 3
    said = capsys.readouterr().err
    assert "the remote's folder was not found" in said and "check google_drive.remote_name" in said
    assert "retrying in" not in drive_server.workspace.log()


# --- logins


@pytest.mark.parametrize("remote", ["gdrive", "gdrive:release"])
def test_a_revoked_login_stops_at_once_with_the_command_that_mends_it(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str], remote: str
) -> None:
    drive_server.put("e0", folder=remote.partition(":")[2])
    drive_server.drive.write_config(expiry="2020-01-01T00:00:00Z")
    drive_server.drive.rules = [Rule("invalid_grant", op="token")]
    assert drive_server.run(remote=remote) == 3
    said = capsys.readouterr().err
    assert "rclone config reconnect gdrive:" in said and "Traceback" not in said
    drive_server.drive.write_config()
    drive_server.drive.rules = [Rule("authError", op="any")]
    assert drive_server.run(remote=remote) == 3
    assert "rclone config reconnect gdrive:" in capsys.readouterr().err
    assert "retrying in" not in drive_server.workspace.log() and not drive_server.drive.media()


def test_a_login_that_breaks_during_a_run_ends_it_once_that_has_lasted(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubt, "MIN_DELAY_SECONDS", 0.0)  # 0.6 s are enough, 60 times retry_delay
    drive_server.put("e0", "e1", "e2")
    drive_server.drive.rules = [Rule("authError", skip=2)]
    assert drive_server.run(processing__downloads=1) == 3
    assert "rclone config reconnect gdrive:" in capsys.readouterr().err
    assert len(drive_server.drive.media()) > 2 and drive_server.tries() == 0
    assert not drive_server.downloads_of("e2"), "while a login is in doubt nothing else is started"
    assert drive_server.statuses() == {"e0": "completed", "e1": "pending", "e2": "pending"}
    drive_server.drive.rules = []
    assert drive_server.run() == 0
    assert set(drive_server.statuses().values()) == {"completed"}


def test_a_login_that_is_refused_for_a_while_during_a_run_passes_at_no_cost(drive_server: DriveServer) -> None:
    drive_server.put("e0", "e1", "e2")
    drive_server.drive.rules = [Rule("authError", skip=1, times=3)]
    assert drive_server.run(processing__downloads=1, processing__max_retries=0) == 0
    assert set(drive_server.statuses().values()) == {"completed"} and drive_server.tries() == 0
    log = drive_server.workspace.log()
    assert "asking again, and the run ends if this lasts until" in log and "does not accept this login" in log


@pytest.mark.usefixtures("each_file_is_looked_up")
@pytest.mark.parametrize("answered", [7, 8])
def test_a_root_folder_that_is_gone_for_a_while_during_a_run_loses_nothing(
    drive_server: DriveServer, answered: int
) -> None:
    """Wherever it begins: in a listing of the lookup, or in that of the download."""
    drive_server.put("e0", "e1", "e2")
    drive_server.drive.rules = [Rule("notFound", op="list", skip=answered, times=5)]
    assert drive_server.run(processing__downloads=1) == 0
    assert set(drive_server.statuses().values()) == {"completed"}
    assert drive_server.drive.rules[0].times == 0 and drive_server.tries() <= 1


@pytest.mark.usefixtures("each_file_is_looked_up")
def test_a_config_that_another_rclone_is_just_replacing_is_no_missing_remote(drive_server: DriveServer) -> None:
    """rclone saves a token by renaming its config away and the new one into its place."""
    drive_server.put("e0", "e1", "e2")
    config = drive_server.drive.config
    away = config.with_suffix(".old")
    with meanwhile(
        (drive_server.drive.media, lambda: config.rename(away)),
        (lambda: "asking again" in drive_server.workspace.log(), lambda: away.rename(config)),
    ):
        assert drive_server.run(processing__downloads=1, processing__max_retries=0, processing__retry_delay=0.1) == 0
    assert set(drive_server.statuses().values()) == {"completed"} and drive_server.tries() == 0


def test_a_broken_login_of_another_account_is_told_at_the_start(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    drive_server.put("e0")
    drive_server.drive.rules = [Rule("authError", op="list", account="gdrive2")]
    assert drive_server.run(google_drive__remote_names=["gdrive2"]) == 3
    assert "rclone config reconnect gdrive2:" in capsys.readouterr().err
    assert not drive_server.drive.media()


def test_an_expired_token_is_refreshed(drive_server: DriveServer) -> None:
    drive_server.put("e0")
    drive_server.drive.write_config(expiry="2020-01-01T00:00:00Z")
    assert drive_server.run() == 0
    assert [request.op for request in drive_server.drive.log].count("token") == 1
    assert '"2020' not in drive_server.drive.config.read_text().partition("[gdrive2]")[0]


# --- no connection


def test_nobody_at_the_other_end_is_asked_a_few_times_then_said(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    drive_server.drive.go_down()
    assert drive_server.run(processing__max_retries=1) == 3
    said = capsys.readouterr().err
    assert "the remote cannot be reached" in said and "HTTPS_PROXY" in said and "Traceback" not in said
    assert drive_server.workspace.log().count("retrying in") == 1


def test_a_network_that_comes_late_is_waited_for(drive_server: DriveServer) -> None:
    drive_server.put("e0")
    drive_server.drive.go_down()

    with meanwhile((lambda: "retrying in" in drive_server.workspace.log(), drive_server.drive.come_up)):
        assert drive_server.run(processing__max_retries=20) == 0
    assert drive_server.statuses() == {"e0": "completed"}


def test_a_service_waits_for_its_network_and_says_so(
    drive_server: DriveServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service manager would only start it again, so all tries of `max_retries` are not the end."""
    drive_server.put("e0")
    drive_server.drive.go_down()
    monkeypatch.setenv("INVOCATION_ID", "0123456789abcdef")
    shown: list[str] = []

    def look_and_come_up() -> None:
        ledger = sqlite3.connect(drive_server.workspace.root / "work" / "MANIFEST.sqlite")
        with closing(ledger):
            shown.extend(progress for (progress,) in ledger.execute("SELECT progress FROM run"))
        drive_server.drive.come_up()

    def has_asked_often() -> bool:
        return drive_server.workspace.log().count("retrying in") > 4

    with meanwhile((has_asked_often, look_and_come_up)):
        assert drive_server.run(processing__max_retries=0) == 0
    trouble = json.loads(shown[0])["trouble"]
    assert trouble.startswith("cannot start yet, asking again: ") and "the remote cannot be reached" in trouble
    assert drive_server.statuses() == {"e0": "completed"}
    assert drive_server.workspace.command("status") == 0
    assert "cannot start yet" not in capsys.readouterr().out


def test_a_stop_while_the_network_is_waited_for(drive_server: DriveServer) -> None:
    drive_server.drive.go_down()

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with meanwhile((lambda: "retrying in" in drive_server.workspace.log(), stop)):
        assert drive_server.run(processing__retry_delay=3600) == 143


@pytest.mark.usefixtures("each_file_is_looked_up")
def test_an_outage_during_a_run_is_waited_out_and_costs_no_try(drive_server: DriveServer) -> None:
    drive_server.put("e0", "e1", "e2")

    outage = (
        (drive_server.drive.media, drive_server.drive.go_down),
        (lambda: "cannot be reached" in drive_server.workspace.log(), drive_server.drive.come_up),
    )
    with meanwhile(*outage):
        assert drive_server.run(processing__max_retries=0, processing__downloads=1) == 0
    assert set(drive_server.statuses().values()) == {"completed"} and drive_server.tries() == 0
