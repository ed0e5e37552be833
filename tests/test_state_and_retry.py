"""The decisions as tables: where a performance stands, and what follows from a failure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rm360_async.domain.errors import Cause, Fault, Scope
from rm360_async.domain.names import Performance
from rm360_async.domain.quota import with_quota_wait
from rm360_async.domain.record import SourceFile
from rm360_async.domain.retry import (
    MAX_THROTTLE_SECONDS,
    PROGRESS_BYTES,
    RetryPolicy,
    backoff,
    decide_retry,
)
from rm360_async.domain.stage import MOVES, IllegalMove, Stage, check_move
from rm360_async.domain.state import MAX_WAIT_SECONDS, Observed, PerformanceRow, decide_state

NOW = 1_000_000.0
P = Performance("0018", "s1_all")
FILE = SourceFile("0018/0018_s1_all_raw.smc", 100, "aa", "2024-01-01T00:00:00Z")
POLICY = RetryPolicy(max_retries=3, retry_delay=30, quota_wait=3600)


def row(stage: Stage, **more: object) -> PerformanceRow:
    return replace(PerformanceRow(P, stage, sources=(FILE,)), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "observed", "expected"),
    [
        (row(Stage.PENDING), Observed(True), Stage.COMPLETED),
        (row(Stage.COMPLETED), Observed(False, (FILE,)), Stage.PENDING),
        (row(Stage.COMPLETED, forced=True), Observed(True, (FILE,)), Stage.PENDING),
        (row(Stage.EXTRACTING), Observed(False, (FILE,)), Stage.PENDING),
        (row(Stage.FAILED), Observed(False, (FILE,)), Stage.FAILED),
        (row(Stage.FAILED), Observed(False, (replace(FILE, size=101),)), Stage.PENDING),
        (row(Stage.FAILED), Observed(False, (replace(FILE, md5="bb"),)), Stage.PENDING),
        (row(Stage.FAILED), Observed(False, (replace(FILE, md5=None, modified="later"),)), Stage.PENDING),
        (row(Stage.FAILED), Observed(True), Stage.COMPLETED),
        (row(Stage.DOWNLOAD_FAILED), Observed(False, (FILE,)), Stage.PENDING),
        (row(Stage.DOWNLOAD_FAILED, cause=Cause.SOURCE_DIFFERS), Observed(False, (FILE,)), Stage.DOWNLOAD_FAILED),
        (row(Stage.DOWNLOAD_FAILED, cause=Cause.SOURCE_DIFFERS, forced=True), Observed(False, (FILE,)), Stage.PENDING),
        (
            row(Stage.DOWNLOAD_FAILED, cause=Cause.SOURCE_DIFFERS),
            Observed(False, (replace(FILE, md5="bb"),)),
            Stage.PENDING,
        ),
        (row(Stage.PENDING), Observed(False, (), ("0018/x.smc",)), Stage.DOWNLOAD_FAILED),
        (row(Stage.WAITING, wait_until=NOW + 1), Observed(False, (FILE,)), Stage.WAITING),
        (row(Stage.WAITING, wait_until=NOW - 1), Observed(False, (FILE,)), Stage.PENDING),
        (row(Stage.WAITING, wait_until=NOW + 2 * MAX_WAIT_SECONDS), Observed(False, (FILE,)), Stage.PENDING),
        (row(Stage.FAILED, cause=Cause.TOO_LARGE), Observed(False, (FILE,)), Stage.PENDING),
    ],
)
def test_decide_state(before: PerformanceRow, observed: Observed, expected: Stage) -> None:
    assert decide_state(before, observed, NOW).stage is expected


def test_a_missing_file_is_a_sentence() -> None:
    found = decide_state(row(Stage.PENDING), Observed(False, (), ("raw/a.smc", "anno/a.smc")), NOW)
    assert found.reason == "the remote does not have raw/a.smc and anno/a.smc"


@pytest.mark.parametrize("cause", list(Cause))
@pytest.mark.parametrize("stage", [Stage.DOWNLOADING, Stage.EXTRACTING])
def test_every_cause_has_one_answer_and_a_legal_move(cause: Cause, stage: Stage) -> None:
    decision = decide_retry(Fault(cause, "x"), row(stage), POLICY, NOW, 0.5)
    assert decision.stage in MOVES[stage]
    ended = decide_retry(Fault(cause, "x"), row(stage), POLICY, NOW, 0.5, ends_run=True)
    assert (ended.stage, ended.counts_as_try) == (Stage.PENDING, False)
    assert (decision.wait_until is not None) == (decision.stage is Stage.WAITING)


def test_tries_run_out() -> None:
    stages = [
        decide_retry(Fault(Cause.NETWORK, "x"), row(Stage.DOWNLOADING, tries=n), POLICY, NOW, 0.5).stage
        for n in range(5)
    ]
    assert stages == [Stage.WAITING] * 3 + [Stage.DOWNLOAD_FAILED] * 2


def test_a_transfer_that_made_progress_does_not_count_as_a_try() -> None:
    last = row(Stage.DOWNLOADING, tries=3)
    decision = decide_retry(Fault(Cause.NETWORK, "x"), last, POLICY, NOW, 0.5, fetched_bytes=PROGRESS_BYTES)
    assert decision.stage is Stage.WAITING and not decision.counts_as_try


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.scope is Scope.REMOTE])
def test_a_fault_of_the_remote_does_not_count_as_a_try(cause: Cause) -> None:
    decision = decide_retry(Fault(cause, "x"), row(Stage.DOWNLOADING, tries=3), POLICY, NOW, 0.5)
    assert (decision.stage, decision.counts_as_try) == (Stage.WAITING, False)


@pytest.mark.parametrize("cause", [Cause.UNREACHABLE, Cause.RATE_LIMIT, Cause.DISK_FULL])
def test_what_does_not_count_as_a_try_waits_longer_each_time(cause: Cause) -> None:
    decisions = [decide_retry(Fault(cause, "x"), row(Stage.DOWNLOADING), POLICY, NOW, 0.5, 0, n) for n in (0, 1, 2, 9)]
    delays = [decision.wait_until - NOW for decision in decisions if decision.wait_until is not None]
    assert delays == [30, 60, 120, MAX_THROTTLE_SECONDS]


def test_quota_waits_its_time_and_costs_no_try() -> None:
    decision = decide_retry(Fault(Cause.FILE_QUOTA, "x"), row(Stage.DOWNLOADING, tries=3), POLICY, NOW, 0.5)
    assert (decision.stage, decision.wait_until, decision.counts_as_try) == (Stage.WAITING, NOW + 3600, False)


QUOTAS = {("a", FILE.path): NOW + 50, ("b", FILE.path): NOW + 20, ("b", "anno"): NOW + 90}


@pytest.mark.parametrize(
    ("accounts", "end"),
    [(["a"], NOW + 50), (["b"], NOW + 90), (["a", "b"], NOW + 50), (["a", "new"], NOW), ([], NOW)],
)
def test_a_wait_for_a_quota_is_that_of_the_accounts_that_there_are(accounts: list[str], end: float) -> None:
    files = (FILE, SourceFile("anno", 1))
    waiting = row(Stage.WAITING, cause=Cause.FILE_QUOTA, wait_until=NOW + 10, sources=files)
    assert with_quota_wait(waiting, QUOTAS, accounts, NOW).wait_until == end


@pytest.mark.parametrize(
    "other",
    [
        row(Stage.WAITING, cause=Cause.NETWORK, wait_until=NOW + 10),
        row(Stage.FAILED, cause=Cause.FILE_QUOTA),
        row(Stage.WAITING, cause=Cause.FILE_QUOTA, wait_until=NOW + 10, sources=()),
    ],
)
def test_no_other_wait_depends_on_accounts(other: PerformanceRow) -> None:
    assert with_quota_wait(other, QUOTAS, ["new"], NOW) == other


def test_a_bad_file_is_failed_and_a_failed_download_is_download_failed() -> None:
    empty = decide_retry(Fault(Cause.UNREADABLE, "x"), row(Stage.DOWNLOADING), POLICY, NOW, 0.5)
    flagged = decide_retry(Fault(Cause.ABUSIVE_FILE, "x"), row(Stage.DOWNLOADING), POLICY, NOW, 0.5)
    assert (empty.stage, flagged.stage) == (Stage.FAILED, Stage.DOWNLOAD_FAILED)


def test_back_off_doubles_within_its_jitter_up_to_an_hour() -> None:
    assert [backoff(n, 30, 0.5) for n in range(3)] == [30, 60, 120]
    assert backoff(0, 30, 0.0) == pytest.approx(24)
    assert backoff(50, 30, 0.5) == 3600


def test_illegal_moves_raise() -> None:
    with pytest.raises(IllegalMove, match="completed to extracting"):
        check_move(Stage.COMPLETED, Stage.EXTRACTING)
