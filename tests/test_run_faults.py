"""Whole runs against Drive when the remote refuses, hides or is gone: rate limits, quotas, logins, outages.

The emulator's log is the witness of what was asked, and how often. Faults in the bytes: `test_run_bytes`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from cloud import Cloud
from drive_emulator import Rule
from tiny_smc import Tiny


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


def test_a_rate_limit_slows_all_down_costs_no_try_and_passes(cloud: Cloud) -> None:
    """Two run at once, so after two refusals all is probing: nothing overlaps until a download begins well.

    The twelve requests of the beginning are answered at once, the next ones late, so that an overlap would show.
    """
    cloud.put("e0", "e1", "e2")
    cloud.drive.rules = [
        Rule("latency", op="any", seconds=0.2, skip=12, times=8),
        Rule("userRateLimitExceeded", times=4),
    ]
    assert cloud.run(processing__max_retries=0, processing__downloads=2) == 0
    assert set(cloud.statuses().values()) == {"completed"} and cloud.tries() == 0
    media = cloud.drive.media()
    refused = [request for request in media if request.status == 403]
    good = [request for request in media if request.status == 206]
    assert len(refused) == 4 and len(good) == 3
    probing = [each for each in cloud.drive.log if refused[1].ended <= each.began < good[0].began]
    assert len(probing) > 6
    assert all(first.ended <= then.began for first, then in pairwise(probing))
    assert [request.sent for request in good] == [request.end for request in good], "each byte once"


def test_a_rate_limit_on_listings_is_waited_out(cloud: Cloud) -> None:
    """At the start (the first four), and while files are looked up."""
    cloud.put("e0", "e1", "e2")
    cloud.drive.rules = [
        Rule("userRateLimitExceeded", op="list", times=4),
        Rule("rateLimitExceeded", op="list", skip=4, times=1),
        Rule("userRateLimitExceeded", op="list", skip=7, times=1),
    ]
    assert cloud.run(processing__max_retries=0) == 0
    assert set(cloud.statuses().values()) == {"completed"} and cloud.tries() == 0
    assert len([request for request in cloud.drive.log if request.status in (403, 429)]) == 6
    assert "asking again" in cloud.lab.log() and "does not have" not in cloud.lab.log()


# --- quotas and accounts


def test_a_file_over_quota_waits_across_runs_while_the_others_go_on(cloud: Cloud) -> None:
    cloud.put("e0", "e1", "e2")
    cloud.drive.rules = [Rule("downloadQuotaExceeded", path="*_e1_raw.smc")]
    assert cloud.run("--no-wait") == 1
    assert cloud.statuses() == {"e0": "completed", "e1": "waiting", "e2": "completed"}
    words, moment = cloud.error("e1").split(", until ")
    assert words == "quota of this file"
    assert datetime.strptime(moment, "%Y-%m-%d %H:%M") > datetime.now() + timedelta(hours=23)
    assert f"0018/e1: waiting: until {moment}" in cloud.lab.log()
    assert len(cloud.asked("e1")) == 1
    assert cloud.run("--no-wait") == 1
    assert len(cloud.drive.media()) == 3, "nothing is asked before it is due"
    assert cloud.statuses()["e1"] == "waiting" and cloud.tries() == 0


def test_a_run_sleeps_a_quota_out(cloud: Cloud) -> None:
    cloud.put("e0", "e1")
    cloud.drive.rules = [Rule("downloadQuotaExceeded", path="*_e0_raw.smc", times=2)]
    assert cloud.run(processing__quota_wait_hours=0.0003, processing__max_retries=0) == 0
    assert [request.status for request in cloud.asked("e0")] == [403, 403, 206]
    assert set(cloud.statuses().values()) == {"completed"}


def test_a_quota_on_one_file_of_a_pair_keeps_the_other(cloud: Cloud) -> None:
    lab = cloud.lab
    lab.structure, lab.subjects = "separate_anno_raw", ["0026"]
    lab.put("raw/0026/0026_e0_raw.smc", Tiny("0026", "e0", calibration=False))
    lab.put("anno/0026/0026_e0_anno.smc", Tiny("0026", "e0", images=False, masks=True, audio=False, anno=True))
    cloud.drive.rules = [Rule("downloadQuotaExceeded", path="*_anno.smc", times=1)]
    assert cloud.run(processing__quota_wait_hours=0.0003) == 0
    asked = [request.path.split("/")[0] for request in cloud.drive.media()]
    assert asked == ["raw", "anno", "anno"]
    assert (lab.folder("0026/e0") / "masks/cam_25/frame_000000.png").is_file() and lab.leftovers() == []


def test_another_account_is_asked_when_one_is_over_quota(cloud: Cloud) -> None:
    cloud.put("e0", "e1")
    cloud.drive.rules = [Rule("downloadQuotaExceeded", path="*_e1_raw.smc", account="gdrive")]
    assert cloud.run(google_drive__remote_names=["gdrive2"]) == 0
    assert [request.account for request in cloud.asked("e1")] == ["gdrive", "gdrive2"]
    assert [request.account for request in cloud.asked("e0")] == ["gdrive"]
    assert cloud.run("--force", google_drive__remote_names=["gdrive2"]) == 0
    assert [request.account for request in cloud.asked("e1")] == ["gdrive", "gdrive2", "gdrive2"]
    assert [request.account for request in cloud.asked("e0")] == ["gdrive", "gdrive"]


def test_a_file_waits_when_every_account_is_over_quota_or_may_not_read_it(cloud: Cloud) -> None:
    cloud.put("e0", "e1", "e2")
    cloud.drive.rules = [
        Rule("downloadQuotaExceeded", path="*_e0_raw.smc"),
        Rule("downloadQuotaExceeded", path="*_e1_raw.smc", account="gdrive"),
        Rule("hidden", op="list", path="*_e1_raw.smc", account="gdrive2"),
        Rule("insufficientFilePermissions", path="*_e2_raw.smc"),
    ]
    assert cloud.run("--no-wait", google_drive__remote_names=["gdrive2"]) == 1
    assert cloud.statuses() == {"e0": "waiting", "e1": "waiting", "e2": "download_failed"}
    assert [request.account for request in cloud.asked("e0")] == ["gdrive", "gdrive2"]
    assert [request.account for request in cloud.asked("e1")] == ["gdrive"]
    assert [request.account for request in cloud.asked("e2")] == ["gdrive", "gdrive2"]
    assert "this account may not read it" in cloud.error("e2")


# --- what is there


@pytest.mark.parametrize(
    ("kind", "remote"),
    [("userRateLimitExceeded", "gdrive:some/folder"), ("internalError", "gdrive"), ("incomplete", "gdrive")],
)
def test_a_refused_or_incomplete_listing_loses_no_performance(cloud: Cloud, kind: str, remote: str) -> None:
    """Every fourth listing is refused; with a path in the remote's name those of its lookup are among them."""
    cloud.put("e0", folder=remote.partition(":")[2])
    cloud.drive.rules = [Rule(kind, op="list", skip=3, times=1) for _ in range(3)]
    assert cloud.run(remote=remote, processing__max_retries=6) == 0
    assert cloud.statuses() == {"e0": "completed"}
    assert not any(rule.times for rule in cloud.drive.rules), "all three were refused"
    assert "the remote does not have" not in cloud.lab.log()


def test_a_name_that_is_there_twice_is_never_fetched(cloud: Cloud) -> None:
    cloud.put("e0", "e1")
    cloud.lab.put("0018/0018_e1_raw.smc~2", b"which one is right?")
    assert cloud.run() == 1
    assert cloud.statuses() == {"e0": "completed", "e1": "download_failed"}
    assert "is there twice" in cloud.error("e1") and "rclone dedupe" in cloud.error("e1")
    assert not cloud.asked("e1")


def test_a_folder_that_is_not_there_stops_at_once(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.put("e0")
    assert cloud.run(remote="gdrive:nowhere") == 3
    said = capsys.readouterr().err
    assert "the remote's folder was not found" in said and "check google_drive.remote_name" in said
    assert "asking again" not in cloud.lab.log()


# --- logins


@pytest.mark.parametrize("remote", ["gdrive", "gdrive:release"])
def test_a_revoked_login_stops_at_once_with_the_command_that_mends_it(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], remote: str
) -> None:
    cloud.put("e0", folder=remote.partition(":")[2])
    cloud.drive.write_config(expiry="2020-01-01T00:00:00Z")
    cloud.drive.rules = [Rule("invalid_grant", op="token")]
    assert cloud.run(remote=remote) == 3
    said = capsys.readouterr().err
    assert "rclone config reconnect gdrive:" in said and "Traceback" not in said
    cloud.drive.write_config()
    cloud.drive.rules = [Rule("authError", op="any")]
    assert cloud.run(remote=remote) == 3
    assert "rclone config reconnect gdrive:" in capsys.readouterr().err
    assert "asking again" not in cloud.lab.log() and not cloud.drive.media()


def test_a_login_that_breaks_during_a_run_stops_it(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.put("e0", "e1", "e2")
    cloud.drive.rules = [Rule("authError", skip=1)]
    assert cloud.run(processing__downloads=1) == 3
    assert "rclone config reconnect gdrive:" in capsys.readouterr().err
    assert len(cloud.drive.media()) == 2 and cloud.tries() == 0
    cloud.drive.rules = []
    assert cloud.run() == 0
    assert set(cloud.statuses().values()) == {"completed"}


def test_a_broken_login_of_another_account_is_told_at_the_start(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.put("e0")
    cloud.drive.rules = [Rule("authError", op="list", account="gdrive2")]
    assert cloud.run(google_drive__remote_names=["gdrive2"]) == 3
    assert "rclone config reconnect gdrive2:" in capsys.readouterr().err
    assert not cloud.drive.media()


def test_an_expired_token_is_refreshed(cloud: Cloud) -> None:
    cloud.put("e0")
    cloud.drive.write_config(expiry="2020-01-01T00:00:00Z")
    assert cloud.run() == 0
    assert [request.op for request in cloud.drive.log].count("token") == 1
    assert '"2020' not in cloud.drive.config.read_text().partition("[gdrive2]")[0]


# --- no connection


def test_nobody_at_the_other_end_is_asked_a_few_times_then_said(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.drive.go_down()
    assert cloud.run(processing__max_retries=1) == 3
    said = capsys.readouterr().err
    assert "the remote cannot be reached" in said and "HTTPS_PROXY" in said and "Traceback" not in said
    assert cloud.lab.log().count("asking again") == 1


def test_a_network_that_comes_late_is_waited_for(cloud: Cloud) -> None:
    cloud.put("e0")
    cloud.drive.go_down()

    with meanwhile((lambda: "asking again" in cloud.lab.log(), cloud.drive.come_up)):
        assert cloud.run(processing__max_retries=20) == 0
    assert cloud.statuses() == {"e0": "completed"}


def test_a_stop_while_the_network_is_waited_for(cloud: Cloud) -> None:
    cloud.drive.go_down()

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with meanwhile((lambda: "asking again" in cloud.lab.log(), stop)):
        assert cloud.run(processing__retry_delay=3600) == 0


def test_an_outage_during_a_run_is_waited_out_and_costs_no_try(cloud: Cloud) -> None:
    cloud.put("e0", "e1", "e2")

    outage = (
        (cloud.drive.media, cloud.drive.go_down),
        (lambda: "cannot be reached" in cloud.lab.log(), cloud.drive.come_up),
    )
    with meanwhile(*outage):
        assert cloud.run(processing__max_retries=0, processing__downloads=1) == 0
    assert set(cloud.statuses().values()) == {"completed"} and cloud.tries() == 0
