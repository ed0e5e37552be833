"""What an account, a file, a line or a run may not exceed, on all nodes together."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import ExitStack, suppress

import pytest
from cluster_checks import NAMES, ON_DRIVE, assert_as_on_one_machine
from cluster_processes import ClusterNode, coordinator
from drive_emulator import Rule
from drive_server import DriveServer
from instance import wait_until

pytestmark = pytest.mark.slow
MB = 2**20


def test_a_limit_that_one_node_meets_silences_all_and_one_probes(drive_server: DriveServer) -> None:
    workspace, drive = drive_server.workspace, drive_server.drive
    drive_server.put(*NAMES, filler=3000)
    drive.rules += [Rule("userRateLimitExceeded", op="media", path=f"*_{name}_raw.smc") for name in NAMES[1:]]
    settings = {**ON_DRIVE, "processing__retry_delay": 1.5, "processing__downloads": 1}
    with ClusterNode(workspace, "n1") as one, ClusterNode(workspace, "n2") as two, ExitStack() as stack:
        one.wait_ready()
        two.wait_ready()
        run = stack.enter_context(coordinator(workspace, **settings))
        wait_until(lambda: "asks for fewer requests" in workspace.log(), "a limit was met")
        time.sleep(6)
        drive.rules.clear()
        assert run.wait() == 0, run.output + workspace.log() + one.output + two.output
    assert drive_server.tries() == 0
    refused = [request.began for request in drive.log if request.op == "media" and request.status == 403]
    starts = [later for earlier, later in itertools.pairwise(refused) if later - earlier > 1]
    most = 5 + 2 * len(starts)  # what was under way on two nodes; then each probe, and why it is refused
    assert len(refused) <= most, [round(each - refused[0], 1) for each in refused]
    assert 2 <= len(starts) <= 3, "a probe after 1.5 s, then after 3"


@pytest.mark.long
def test_quotas_of_a_file_are_known_to_all_nodes_and_other_accounts_are_asked(drive_server: DriveServer) -> None:
    workspace, drive = drive_server.workspace, drive_server.drive
    drive_server.put(*NAMES)
    drive.rules.append(Rule("downloadQuotaExceeded", path="*_e3_raw.smc", account="gdrive"))
    drive.rules.append(Rule("downloadQuotaExceeded", path="*_e4_raw.smc"))
    settings = {**ON_DRIVE, "google_drive__remote_names": ["gdrive2"]}
    with ClusterNode(workspace, "n1") as one, ClusterNode(workspace, "n2") as two:
        with coordinator(workspace, "--no-wait", **settings) as run:
            assert run.wait() == 1, run.output + workspace.log() + one.output + two.output
        assert drive_server.statuses() == {**dict.fromkeys(NAMES, "completed"), "e4": "waiting"}
        assert "quota of this file" in drive_server.error_of("e4")
        assert drive_server.accounts_of("e3")[-1] == "gdrive2"
        asked = len(drive.media("*_e4_raw.smc"))
        with coordinator(workspace, "--no-wait", **settings) as run:
            assert run.wait() == 1
        assert len(drive.media("*_e4_raw.smc")) == asked, "no node asks again"
        drive.rules.clear()
        assert workspace.command("retry", "--waiting") == 0
        with coordinator(workspace, **settings) as run:
            assert run.wait() == 0, run.output + workspace.log() + one.output + two.output
        assert_as_on_one_machine(workspace, NAMES, [one, two], steps=[settings])


@pytest.mark.long
def test_bandwidth_and_requests_are_those_of_the_run(
    drive_server: DriveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four requests at once and four each second, of the account, then 2 MiB/s: two nodes share them."""
    workspace, drive = drive_server.workspace, drive_server.drive
    drive_server.put(*NAMES)
    few = {"rm360_async.download.request_bucket": {"_BURST": 4.0, "_PER_SECOND": 4.0}}
    monkeypatch.setenv("RM360_FAULT_CONSTANTS", json.dumps(few))
    with ClusterNode(workspace, "n1") as one, ClusterNode(workspace, "n2") as two:
        with coordinator(workspace, **ON_DRIVE, processing__downloads=3, processing__fetch="ranges") as run:
            assert run.wait() == 0, run.output + workspace.log() + one.output + two.output
        times = sorted(request.began for request in drive.media())
        slowly = (len(times) - 8) / 4 - 1  # of the first, rclone looks the file up; without sharing half of that
        assert len(times) >= 14 and times[-1] - times[0] >= slowly
        drive_server.put("e6", "e7", filler=500_000)
        settings = {**ON_DRIVE, "processing__downloads": 1, "processing__bandwidth": "2M"}
        with coordinator(workspace, **settings) as run:
            wait_until(lambda: arrived_bytes(one) and arrived_bytes(two), "both download")
            began, begun = time.monotonic(), arrived_bytes(one, two)
            total = drive_server.file("e6").stat().st_size + drive_server.file("e7").stat().st_size
            wait_until(lambda: workspace.log().count("download_s=") == len(NAMES) + 2, "both have arrived")
            assert (total - begun) / (time.monotonic() - began) < 2.5 * MB
            assert run.wait() == 0, run.output + workspace.log() + one.output + two.output
        assert_as_on_one_machine(workspace, [*NAMES, "e6", "e7"], [one, two], steps=[ON_DRIVE])


def arrived_bytes(*nodes: ClusterNode) -> int:
    """Return the bytes that lie in the spools of nodes."""
    taken = 0
    for node in nodes:
        for path in node.temp_dir.glob("*.smc*"):
            with suppress(FileNotFoundError):
                taken += 0 if path.name.endswith(".map") else path.stat().st_blocks * 512
    return taken
