"""Which failures end a run, and how long each must last, as a table and over virtual time."""

from __future__ import annotations

import math

import anyio
import pytest
from simulation.clock import VirtualLoop, run_virtually

from rm360_async.config import Settings
from rm360_async.domain.clock import Clock
from rm360_async.domain.doubt import (
    MAX_GAP_SECONDS,
    Attendance,
    Patience,
    confirmed,
    is_believed,
    patience_at_start,
    patience_in_mid_run,
    question_delay,
)
from rm360_async.domain.errors import Answer, Cause, Fault
from rm360_async.domain.names import Structure
from rm360_async.domain.retry import RetryPolicy
from rm360_async.download.rclone import Remote, RemoteListing
from rm360_async.service.startup import attendance_of, list_patiently

POLICY = RetryPolicy(max_retries=3, retry_delay=30)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
TERMINAL, SCRIPT, SERVICE = Attendance
FAULT = Fault(Cause.AUTH, "refused")


@pytest.mark.parametrize(
    ("cause", "terminal", "script", "service", "mid_run", "service_mid_run"),
    [
        (Cause.AUTH, Patience(0), Patience(0), HOUR, HOUR / 2, HOUR),
        (Cause.REMOTE_UNKNOWN, Patience(0), Patience(0), HOUR, HOUR / 2, HOUR),
        (Cause.FORBIDDEN, Patience(0), Patience(0), HOUR, math.inf, math.inf),
        (Cause.UNREACHABLE, Patience(0), Patience(0, 3), DAY, math.inf, math.inf),
        (Cause.SERVER_ERROR, Patience(0, 3), Patience(0, 3), DAY, math.inf, math.inf),
        (Cause.RATE_LIMIT, Patience(math.inf), Patience(math.inf), math.inf, math.inf, math.inf),
        (Cause.NOT_WRITABLE, Patience(0), Patience(0), 0, 5 * MINUTE, 5 * MINUTE),
        (Cause.LEDGER, Patience(0), Patience(0), 0, 0, 0),
    ],
)
def test_how_long_a_failure_must_last(
    cause: Cause,
    terminal: Patience,
    script: Patience,
    service: float,
    mid_run: float,
    service_mid_run: float,
) -> None:
    at_start = [patience_at_start(cause, attendance, POLICY) for attendance in Attendance]
    assert at_start == [terminal, script, Patience(service)]
    later = [patience_in_mid_run(cause, attendance, POLICY).seconds for attendance in Attendance]
    assert later == [mid_run, mid_run, service_mid_run]


@pytest.mark.parametrize("cause", list(Cause))
def test_only_what_a_person_must_fix_ends_a_run_that_has_begun(cause: Cause) -> None:
    for attendance in Attendance:
        seconds = patience_in_mid_run(cause, attendance, POLICY).seconds
        assert (seconds < math.inf) == (cause.answer is Answer.STOP)


def test_a_doubt_lasts_while_nothing_succeeds_and_it_is_met_again() -> None:
    doubt = None
    for now in (0.0, 600.0, 1200.0):
        doubt = confirmed(doubt, FAULT, now, 5)
        assert not is_believed(doubt, Patience(1800))
    assert is_believed(confirmed(doubt, FAULT, 1800.0, 5), Patience(1800))
    assert not is_believed(confirmed(doubt, FAULT, 1800.0, 6), Patience(1800)), "something has succeeded meanwhile"
    long_after = 1201.0 + MAX_GAP_SECONDS
    assert not is_believed(confirmed(doubt, FAULT, long_after, 5), Patience(1800)), "it was not met for long"


@pytest.mark.parametrize(
    ("cause", "delays"),
    [(Cause.AUTH, [30, 60, 120, 240, 300, 300]), (Cause.RATE_LIMIT, [30, 60, 120, 240, 480, 600])],
)
def test_the_question_is_asked_again_after_minutes(cause: Cause, delays: list[float]) -> None:
    doubt, asked = None, []
    for _ in delays:
        doubt = confirmed(doubt, FAULT, 0.0, 0)
        asked.append(question_delay(cause, doubt, POLICY, 0.5))
    assert asked == delays


@pytest.mark.parametrize(
    ("environment", "attendance"),
    [({}, SCRIPT), ({"NOTIFY_SOCKET": "/run/notify"}, SERVICE), ({"INVOCATION_ID": "ab12"}, SERVICE)],
)
def test_who_is_there(environment: dict[str, str], attendance: Attendance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    assert attendance_of(environment) is attendance
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert attendance_of(environment) is TERMINAL


class LateRemote(Remote):
    """A remote that answers with a fault until a moment of the loop."""

    def __init__(self, cause: Cause, until: float, loop: VirtualLoop) -> None:
        super().__init__("late", "", "", {})
        self.cause, self.until, self.loop, self.questions = cause, until, loop, 0

    async def check(self) -> None:
        """Answer, or not yet."""
        self.questions += 1
        await anyio.sleep(2)
        if self.loop.time() < self.until:
            raise Fault(self.cause, "not yet")

    async def list_files(self, structure: Structure, subjects: object) -> RemoteListing:
        """Answer, or not yet."""
        await self.check()
        return RemoteListing()


@pytest.mark.parametrize(
    ("cause", "late", "attendance", "ended_after"),
    [
        (Cause.UNREACHABLE, 10 * MINUTE, SERVICE, None),
        (Cause.UNREACHABLE, 8 * HOUR, SERVICE, None),
        (Cause.UNREACHABLE, 2 * DAY, SERVICE, DAY),
        (Cause.AUTH, 21 * MINUTE, SERVICE, None),
        (Cause.AUTH, DAY, SERVICE, HOUR),
        (Cause.UNREACHABLE, 2 * MINUTE, SCRIPT, None),
        (Cause.UNREACHABLE, 10 * MINUTE, SCRIPT, 3 * MINUTE),
        (Cause.UNREACHABLE, 10 * MINUTE, TERMINAL, 0.0),
        (Cause.AUTH, 10 * MINUTE, SCRIPT, 0.0),
    ],
)
def test_what_is_late_at_the_start_is_waited_for(
    cause: Cause, late: float, attendance: Attendance, ended_after: float | None
) -> None:
    settings = Settings.model_validate(
        {
            "google_drive": {"remote_name": "late"},
            "extraction": {"subjects": "all"},
            "storage": {"output_dir": "/nowhere"},
        }
    )
    shown: list[str] = []

    async def on_trouble(trouble: str) -> None:
        shown.append(trouble)

    async def start(loop: VirtualLoop) -> tuple[bool, float]:
        clock = Clock(loop.time, loop.time, lambda: 0.5)
        remotes: list[Remote] = [LateRemote(cause, late, loop)]
        try:
            await list_patiently(settings, remotes, POLICY, clock, attendance, on_trouble)
        except Fault:
            return False, loop.time()
        return True, loop.time()

    result = run_virtually(start, lambda: None)
    assert result is not None
    began, seconds = result
    assert began == (ended_after is None)
    if ended_after is None:
        assert late <= seconds < late + 6 * MINUTE and shown[-1] == ""
        assert "not yet" in shown[0]
    else:
        assert ended_after <= seconds <= ended_after + 7 * MINUTE
