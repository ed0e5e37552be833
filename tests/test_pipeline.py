"""The pipeline with simulated stages: order, overlap, leases, retries, stops; and no performance is ever lost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from rm360_async.domain import doubt
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind, Performance
from rm360_async.domain.record import Record, SourceFile
from rm360_async.domain.retry import RetryDecision, RetryPolicy
from rm360_async.domain.stage import CLAIMED_STAGES, Stage, check_move
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.pipeline import pipeline
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.pipeline import Width, run
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.system.os_errors import fault_in

pytestmark = pytest.mark.anyio
POLICY = RetryPolicy(max_retries=2, retry_delay=0.001, quota_wait=0.001)
PLAN = [Performance("0018", f"e{number}") for number in range(6)]
RECORD = Record("0018", "e0", "1", "", (), "all", (), (), (), {}, 0, None, (), 0, 0)


class SimulatedLog:
    """Rows in memory; every move is checked against the table of legal moves."""

    def __init__(self, performances: list[Performance]) -> None:
        self.rows = {each: PerformanceRow(each, Stage.PENDING) for each in performances}
        self.claimed: set[Performance] = set()
        self.held_by_others: set[Performance] = set()
        self.full = 0
        """How many notes still find no room."""

    def _move(self, performance: Performance, stage: Stage, **more: object) -> None:
        if self.full:
            self.full -= 1
            raise Fault(Cause.DISK_FULL, "no room to write the ledger")
        check_move(self.rows[performance].stage, stage)
        self.rows[performance] = replace(self.rows[performance], stage=stage, **more)  # type: ignore[arg-type]

    async def claim(self, job: Job) -> PerformanceRow | None:
        performance = job.performance
        if performance in self.held_by_others:
            self.held_by_others.remove(performance)
            return None
        assert performance not in self.claimed, "worked on twice"
        self.claimed.add(performance)
        return self.rows[performance]

    async def enter_stage(self, job: Job) -> None:
        self._move(job.performance, job.stage)

    async def record_failure(self, job: Job, decision: RetryDecision, fault: Fault) -> None:
        tries = self.rows[job.performance].tries + decision.counts_as_try
        self._move(job.performance, decision.stage, tries=tries, cause=fault.cause)

    async def record_completed(self, job: Job, record: Record) -> None:
        self._move(job.performance, Stage.COMPLETED)

    async def row(self, job: Job) -> PerformanceRow:
        return self.rows[job.performance]

    async def release(self, job: Job) -> None:
        self.claimed.remove(job.performance)
        if self.rows[job.performance].stage in CLAIMED_STAGES:  # interrupted
            self.rows[job.performance] = replace(self.rows[job.performance], stage=Stage.PENDING)


class SimulatedLease:
    def __init__(self, stages: SimulatedStages) -> None:
        self.stages = stages
        stages.leases += 1
        stages.taken += 1

    def record_written(self, output_bytes: int, output_files: int) -> None:
        return

    async def release(self) -> None:
        self.stages.leases -= 1


class SimulatedStages:
    """Each step yields to the loop; `faults` maps (step, performance) to the faults that it raises in turn."""

    def __init__(self, faults: dict[tuple[str, Performance], list[Cause]] | None = None) -> None:
        self.job_log = SimulatedLog(PLAN)
        self.faults = faults or {}
        self.leases = 0
        self.turns: set[Performance] = set()
        self.most_turns, self.turns_left = len(PLAN), math.inf
        self.steps: list[tuple[str, Performance]] = []
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.barrier: anyio.Event | None = None
        self.probes = 0
        self.kinds: tuple[Kind, ...] = (Kind.RAW,)
        self.no_space: set[Performance] = set()
        self.most_leases = len(PLAN)
        self.taken = 0
        """How many leases were taken in all."""
        self.fetched_bytes = 0
        self.on_publish: Callable[[], object] = lambda: None

    async def _step(self, name: str, job: Job) -> None:
        self.steps.append((name, job.performance))
        self.running[name] += 1
        self.most[name] = max(self.most[name], self.running[name])
        try:
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            causes = self.faults.get((name, job.performance))
            if causes:
                raise Fault(causes.pop(0), f"{name} of {job.performance}")
        finally:
            self.running[name] -= 1

    async def wait_for_turn(self) -> None:
        while len(self.turns) >= self.most_turns or not self.turns_left:
            await anyio.lowlevel.checkpoint()
        self.turns_left -= 1

    def begin_turn(self, job: Job) -> None:
        self.turns.add(job.performance)

    def end_turn(self, job: Job) -> None:
        self.turns.discard(job.performance)

    async def lookup(self, job: Job, row: PerformanceRow) -> PlannedState:
        return PlannedState(row.stage if row.stage is Stage.COMPLETED else Stage.PENDING)

    async def look_up_sources(self, job: Job) -> None:
        await self._step("look up", job)
        job.sources = {kind: SourceFile(f"{job.performance}_{kind.value}", 1) for kind in self.kinds}

    async def reserve(self, job: Job) -> None:
        while job.lease is None and self.leases >= self.most_leases:
            await anyio.lowlevel.checkpoint()
        if job.lease is None:
            job.lease = SimulatedLease(self)

    async def wait_for_space(self, job: Job) -> None:
        if job.performance in self.no_space:
            await anyio.sleep_forever()

    async def download(self, job: Job) -> None:
        for kind in self.kinds:
            job.spooled_bytes += 1
            await self._step("fetch" if kind is Kind.RAW else "fetch anno", job)
            job.spooled[kind] = Path(f"{kind.value}.smc")

    async def probe_workers(self) -> None:
        self.probes += 1

    async def extract(self, job: Job) -> Record:
        if self.barrier is not None:
            await self.barrier.wait()
        await self._step("extract", job)
        assert job.spooled.keys() == set(self.kinds), "extracted before all of it had arrived"
        return RECORD

    async def publish(self, job: Job, record: Record) -> None:
        self.on_publish()
        await self._step("publish", job)

    async def cleanup(self, job: Job, *, published: bool) -> None:
        await self._step("removed" if published else "quarantined", job)
        job.spooled.clear()


def scheduler_of(performances: list[Performance]) -> Scheduler:
    scheduler = Scheduler(retry_interval=0.001)
    for each in performances:
        scheduler.update(each, PlannedState(Stage.PENDING))
    return scheduler


async def run_all(stages: SimulatedStages, width: Width | None = None) -> Scheduler:
    scheduler = scheduler_of(PLAN)
    with anyio.fail_after(20):
        await run(scheduler, stages, width or Width(2, 2), POLICY)
    assert stages.leases == 0 and not stages.job_log.claimed
    assert scheduler.planned == len(PLAN) == len(scheduler.ended)
    return scheduler


async def test_everything_is_published_once_and_cleared_after_it() -> None:
    stages = SimulatedStages()
    scheduler = await run_all(stages)
    assert set(scheduler.ended.values()) == {Stage.COMPLETED}
    for each in PLAN:
        steps = [step for step, performance in stages.steps if performance == each]
        assert steps == ["look up", "fetch", "extract", "publish", "removed"]
    assert [performance for step, performance in stages.steps if step == "look up"] == PLAN


async def test_no_more_run_at_once_than_the_width() -> None:
    stages = SimulatedStages()
    await run_all(stages, Width(3, 2))
    assert stages.most["fetch"] == 3 and stages.most["extract"] == 2


async def test_a_turn_belongs_to_a_job_and_a_run_ends_without_waiting_for_one() -> None:
    stages = SimulatedStages({("look up", PLAN[2]): [Cause.NOT_FOUND]})
    stages.most_turns, stages.turns_left = 1, len(PLAN)
    stages.job_log.rows[PLAN[0]] = replace(stages.job_log.rows[PLAN[0]], stage=Stage.COMPLETED)
    await run_all(stages, Width(4, 2))
    assert not stages.turns and stages.most["look up"] == 1, "one that is published or missing returns its turn too"


async def test_downloads_go_on_while_an_extraction_takes_its_time() -> None:
    stages = SimulatedStages()
    stages.barrier = anyio.Event()
    scheduler = scheduler_of(PLAN)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, scheduler, stages, Width(1, 1), POLICY)
        with anyio.fail_after(10):
            while [step for step, _ in stages.steps].count("fetch") < len(PLAN):
                await anyio.lowlevel.checkpoint()
        assert ("extract", PLAN[0]) not in stages.steps
        stages.barrier.set()
    assert stages.most["extract"] == stages.most["fetch"] == 1
    assert len(scheduler.ended) == len(PLAN)


@pytest.mark.parametrize("stops", [False, True])
async def test_few_wait_for_an_extractor_however_small_they_are(monkeypatch: pytest.MonkeyPatch, stops: bool) -> None:
    """Each that waits holds an open lock file; a soak with tiny files ran towards the limit of a process."""
    monkeypatch.setattr(pipeline, "MAX_QUEUED", 2)
    stages = SimulatedStages()
    stages.barrier = anyio.Event()
    scheduler = scheduler_of(PLAN)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, scheduler, stages, Width(1, 1), POLICY)
        with anyio.fail_after(10):
            while stages.leases < 3:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            assert stages.leases == stages.taken == 3  # one in the extractor's hands, two in the queue
            if stops:
                scheduler.stop_admitting()
            stages.barrier.set()
    assert len(scheduler.ended) == (1 if stops else len(PLAN))
    assert stages.leases == 0 and not stages.job_log.claimed


async def test_each_failure_counts_against_its_own_performance() -> None:
    stages = SimulatedStages(
        {
            ("look up", PLAN[0]): [Cause.NOT_FOUND],
            ("fetch", PLAN[1]): [Cause.NETWORK, Cause.STALL],
            ("extract", PLAN[2]): [Cause.UNREADABLE],
            ("extract", PLAN[3]): [Cause.WORKER_DIED, Cause.DEADLINE],
            ("extract", PLAN[4]): [Cause.WORKER_DIED] * 3,
        }
    )
    scheduler = await run_all(stages)
    expected = [Stage.DOWNLOAD_FAILED, Stage.COMPLETED, Stage.FAILED, Stage.COMPLETED, Stage.FAILED, Stage.COMPLETED]
    assert [scheduler.ended[each] for each in PLAN] == expected
    assert ("quarantined", PLAN[2]) in stages.steps and ("removed", PLAN[2]) not in stages.steps
    assert stages.steps.count(("fetch", PLAN[3])) == 1, "what is staged is not fetched again"


async def test_a_retried_extraction_keeps_its_lease() -> None:
    stages = SimulatedStages({("extract", PLAN[0]): [Cause.WORKER_DIED]})
    stages.barrier = anyio.Event()
    seen: list[int] = []
    scheduler = scheduler_of(PLAN[:1])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, scheduler, stages, Width(1, 1), RetryPolicy(retry_delay=0.05))
        stages.barrier.set()
        with anyio.fail_after(10):
            while stages.job_log.rows[PLAN[0]].stage is not Stage.COMPLETED:
                if stages.job_log.rows[PLAN[0]].stage is Stage.WAITING:
                    seen.append(stages.leases)
                await anyio.lowlevel.checkpoint()
    assert seen and set(seen) == {1}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that a person must fix lasts once it is met for 60 retry_delays, and these are tiny here."""
    monkeypatch.setattr(doubt, "MIN_DELAY_SECONDS", 0.0)


@pytest.mark.usefixtures("impatient")
async def test_what_a_person_must_fix_ends_the_run_once_it_has_lasted_and_nothing_is_left_claimed() -> None:
    stages = SimulatedStages({("fetch", PLAN[2]): [Cause.AUTH] * 1000})
    scheduler = scheduler_of(PLAN)
    with pytest.raises(BaseException) as caught, anyio.fail_after(20):
        await run(scheduler, stages, Width(2, 2), POLICY)
    fault = fault_in(caught.value)
    assert fault is not None and fault.cause is Cause.AUTH
    assert stages.steps.count(("fetch", PLAN[2])) > 1, "asked again before it was believed"
    assert stages.leases == 0 and not stages.job_log.claimed
    assert scheduler.planned == len(PLAN) and PLAN[2] in scheduler.pending
    assert stages.job_log.rows[PLAN[2]].stage is Stage.PENDING


@pytest.mark.parametrize("cause", [Cause.AUTH, Cause.REMOTE_UNKNOWN, Cause.RCLONE_MISSING, Cause.NOT_WRITABLE])
async def test_what_a_person_would_have_to_fix_passes_by_itself_at_no_cost(cause: Cause) -> None:
    stages = SimulatedStages({("look up", each): [cause] * 2 for each in PLAN[:2]})
    scheduler = await run_all(stages)
    assert set(scheduler.ended.values()) == {Stage.COMPLETED} and scheduler.trouble == ""
    assert all(row.tries == 0 for row in stages.job_log.rows.values())


async def test_while_something_is_in_doubt_nothing_else_is_started() -> None:
    stages = SimulatedStages({("look up", PLAN[0]): [Cause.AUTH]})
    scheduler = scheduler_of(PLAN)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, scheduler, stages, Width(1, 1), RetryPolicy(retry_delay=60))
        with anyio.fail_after(10):
            while not scheduler.trouble:
                await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert stages.steps == [("look up", PLAN[0])] and "look up of 0018/e0" in scheduler.trouble
        assert set(scheduler.waiting) == {PLAN[0]} and set(scheduler.pending) == set(PLAN[1:])
        scheduler.stop_admitting()


async def test_what_another_instance_holds_is_retried_later() -> None:
    stages = SimulatedStages()
    stages.job_log.held_by_others = {PLAN[0], PLAN[3]}
    scheduler = await run_all(stages)
    assert set(scheduler.ended.values()) == {Stage.COMPLETED}


async def test_a_stop_finishes_what_is_being_extracted_and_leaves_the_rest() -> None:
    stages = SimulatedStages()
    stages.barrier = anyio.Event()
    scheduler = scheduler_of(PLAN)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, scheduler, stages, Width(1, 1), POLICY)
        with anyio.fail_after(10):
            while stages.job_log.rows[PLAN[0]].stage is not Stage.EXTRACTING:
                await anyio.lowlevel.checkpoint()
        scheduler.stop_admitting()
        stages.barrier.set()
    assert scheduler.ended == {PLAN[0]: Stage.COMPLETED}
    assert set(scheduler.pending) == set(PLAN[1:])
    assert stages.leases == 0 and not stages.job_log.claimed


async def test_cancelling_leaves_no_claim_and_no_lease() -> None:
    stages = SimulatedStages()
    stages.barrier = anyio.Event()
    scheduler = scheduler_of(PLAN)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, scheduler, stages, Width(2, 1), POLICY)
        with anyio.fail_after(10):
            while stages.job_log.rows[PLAN[0]].stage is not Stage.EXTRACTING:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert not stages.job_log.claimed and scheduler.planned == len(PLAN)
    assert stages.leases == 0


@pytest.mark.parametrize("cause", [Cause.STALL, Cause.SERVER_ERROR, Cause.RATE_LIMIT, Cause.DISK_FULL])
async def test_half_a_pair_is_never_extracted_and_resumes_under_its_lease(cause: Cause) -> None:
    stages = SimulatedStages({("fetch anno", PLAN[0]): [cause]})
    stages.kinds = (Kind.RAW, Kind.ANNO)
    scheduler = scheduler_of(PLAN[:1])
    with anyio.fail_after(20):
        await run(scheduler, stages, Width(1, 1), POLICY)
    assert scheduler.ended == {PLAN[0]: Stage.COMPLETED}
    assert stages.steps.count(("fetch anno", PLAN[0])) == 2 and stages.taken == 1


async def test_a_person_ends_the_wait_of_a_job_that_keeps_its_lease() -> None:
    stages = SimulatedStages({("fetch", PLAN[0]): [Cause.SERVER_ERROR]})
    scheduler = scheduler_of(PLAN[:1])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, scheduler, stages, Width(1, 1), RetryPolicy(retry_delay=3600))
        with anyio.fail_after(10):
            while stages.job_log.rows[PLAN[0]].stage is not Stage.WAITING:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            scheduler.requeue(PLAN[0])
            while not scheduler.ended:
                await anyio.lowlevel.checkpoint()
    assert scheduler.ended == {PLAN[0]: Stage.COMPLETED} and stages.taken == 1


async def test_what_waits_for_space_and_is_new_gives_way_to_what_is_due() -> None:
    """e0 waits for its quota; e1 holds the only lease, e2 and e3 wait for it when e0 is due."""
    stages = SimulatedStages({("fetch", PLAN[0]): [Cause.FILE_QUOTA]})
    stages.most_leases, stages.barrier = 1, anyio.Event()
    scheduler = scheduler_of(PLAN)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, scheduler, stages, Width(2, 1), RetryPolicy(quota_wait=0.2))
        with anyio.fail_after(20):
            while [step for step in stages.steps if step == ("look up", PLAN[0])] != [("look up", PLAN[0])] * 2:
                await anyio.lowlevel.checkpoint()
            gave_way = {PLAN[2], PLAN[3]} & set(scheduler.pending)
            assert len(gave_way) == 1 and PLAN[0] in scheduler.active
            stages.barrier.set()
    assert set(scheduler.ended.values()) == {Stage.COMPLETED}
    assert stages.leases == 0 and not stages.job_log.claimed


async def test_a_quota_releases_the_lease() -> None:
    stages = SimulatedStages({("fetch", PLAN[0]): [Cause.FILE_QUOTA]})
    await run_all(stages)
    assert stages.taken == len(PLAN) + 1


async def test_all_try_again_although_every_downloader_waits_for_a_lease() -> None:
    """One lease for all: the job that failed with bytes on disk keeps it, and does not wait behind the others."""
    stages = SimulatedStages({("fetch", each): [Cause.SERVER_ERROR, Cause.STALL] for each in PLAN})
    stages.most_leases = 1
    await run_all(stages, Width(3, 1))
    assert stages.taken == len(PLAN)


async def test_a_full_disk_under_the_ledger_is_waited_out() -> None:
    stages = SimulatedStages()
    scheduler = scheduler_of(PLAN[:1])
    async with anyio.create_task_group() as tasks:
        stages.on_publish = lambda: setattr(stages.job_log, "full", 3)
        tasks.start_soon(run, scheduler, stages, Width(1, 1), POLICY)
    assert scheduler.ended == {PLAN[0]: Stage.COMPLETED} and stages.job_log.rows[PLAN[0]].stage is Stage.COMPLETED
    assert stages.job_log.full == 0 and stages.steps[-1] == ("removed", PLAN[0]), (
        "the .smc makes room, the folder is durable"
    )


async def test_a_failure_that_cannot_be_recorded_at_once_is_recorded_later() -> None:
    stages = SimulatedStages({("fetch", PLAN[0]): [Cause.NOT_FOUND]})
    stages.job_log.full = 2
    scheduler = await run_all(stages)
    assert scheduler.ended[PLAN[0]] is Stage.DOWNLOAD_FAILED and stages.job_log.rows[PLAN[0]].cause is Cause.NOT_FOUND


async def test_a_stop_does_not_retry_what_fails_then() -> None:
    stages = SimulatedStages({("extract", PLAN[0]): [Cause.WORKER_DIED]})
    stages.barrier = anyio.Event()
    scheduler = scheduler_of(PLAN)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, scheduler, stages, Width(1, 1), POLICY)
        with anyio.fail_after(10):
            while stages.job_log.rows[PLAN[0]].stage is not Stage.EXTRACTING:
                await anyio.lowlevel.checkpoint()
        scheduler.stop_admitting()
        stages.barrier.set()
    assert not scheduler.ended and scheduler.planned == len(PLAN) and PLAN[0] in scheduler.pending
    assert stages.job_log.rows[PLAN[0]].tries == 0, "what a stop brings about is no attempt of the performance"
    assert stages.leases == 0 and not stages.job_log.claimed


async def test_a_stop_ends_a_wait_for_space() -> None:
    stages = SimulatedStages()
    stages.no_space = {PLAN[0]}
    scheduler = scheduler_of(PLAN[:1])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, scheduler, stages, Width(1, 1), POLICY)
        with anyio.fail_after(10):
            while stages.job_log.rows[PLAN[0]].stage is not Stage.DOWNLOADED:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            scheduler.stop_admitting()
    assert set(scheduler.pending) == {PLAN[0]} and stages.leases == 0 and not stages.job_log.claimed


async def test_nothing_interrupts_between_publishing_and_recording_it() -> None:
    stages = SimulatedStages()
    scheduler = scheduler_of(PLAN[:1])
    async with anyio.create_task_group() as tasks:
        stages.on_publish = tasks.cancel_scope.cancel
        tasks.start_soon(run, scheduler, stages, Width(1, 1), POLICY)
    assert stages.job_log.rows[PLAN[0]].stage is Stage.COMPLETED and ("removed", PLAN[0]) in stages.steps
    assert stages.leases == 0 and not stages.job_log.claimed
