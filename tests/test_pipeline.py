"""The pipeline with a simulated crew: order, overlap, leases, repeats, stops, and books that balance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from rm360_async.domain.errors import Cause, Fault, fault_in
from rm360_async.domain.names import Kind, Performance
from rm360_async.domain.record import Record, SourceFile
from rm360_async.domain.retry import RetryDecision, RetryPolicy
from rm360_async.domain.stage import Stage, check_move
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.pipeline import pipeline
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.pipeline import Width, run
from rm360_async.pipeline.scheduler import Scheduler

pytestmark = pytest.mark.anyio
RULES = RetryPolicy(max_retries=2, retry_delay=0.001, quota_wait=0.001)
PLAN = [Performance("0018", f"e{number}") for number in range(6)]
RECORD = Record("0018", "e0", "1", "", (), "all", (), (), (), {}, 0, None, (), 0, 0)


class SimulatedBooks:
    """Rows in memory; every move is checked against the table of legal moves."""

    def __init__(self, performances: list[Performance]) -> None:
        self.rows = {each: PerformanceRow(each, Stage.PENDING) for each in performances}
        self.claimed: set[Performance] = set()
        self.elsewhere: set[Performance] = set()
        self.full = 0
        """How many notes still find no room."""

    def _move(self, performance: Performance, stage: Stage, **more: object) -> None:
        if self.full:
            self.full -= 1
            raise Fault(Cause.DISK_FULL, "no room to write the ledger")
        check_move(self.rows[performance].stage, stage)
        self.rows[performance] = replace(self.rows[performance], stage=stage, **more)  # type: ignore[arg-type]

    async def take(self, performance: Performance) -> PerformanceRow | None:
        if performance in self.elsewhere:
            self.elsewhere.remove(performance)
            return None
        assert performance not in self.claimed, "worked on twice"
        self.claimed.add(performance)
        return self.rows[performance]

    async def enter(self, work: Job) -> None:
        self._move(work.performance, work.stage)

    async def settle(self, work: Job, verdict: RetryDecision, fault: Fault) -> None:
        tries = self.rows[work.performance].tries + verdict.charge
        self._move(work.performance, verdict.stage, tries=tries, cause=fault.cause)

    async def completed(self, work: Job, record: Record) -> None:
        self._move(work.performance, Stage.COMPLETED)

    async def row(self, performance: Performance) -> PerformanceRow:
        return self.rows[performance]

    async def release(self, performance: Performance) -> None:
        self.claimed.remove(performance)


class SimulatedLease:
    def __init__(self, crew: SimulatedCrew) -> None:
        self.crew = crew
        crew.leases += 1
        crew.taken += 1

    def wrote(self, output_bytes: int, output_files: int) -> None:
        return

    def give_back(self) -> None:
        self.crew.leases -= 1


class SimulatedCrew:
    """Each step yields to the loop; `faults` maps (step, performance) to the faults that it raises in turn."""

    def __init__(self, faults: dict[tuple[str, Performance], list[Cause]] | None = None) -> None:
        self.books = SimulatedBooks(PLAN)
        self.faults = faults or {}
        self.leases = 0
        self.log: list[tuple[str, Performance]] = []
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.barrier: anyio.Event | None = None
        self.kinds: tuple[Kind, ...] = (Kind.RAW,)
        self.no_room: set[Performance] = set()
        self.most_leases = len(PLAN)
        self.taken = 0
        """How many leases were taken in all."""
        self.on_publish: Callable[[], object] = lambda: None

    async def _step(self, name: str, work: Job) -> None:
        self.log.append((name, work.performance))
        self.running[name] += 1
        self.most[name] = max(self.most[name], self.running[name])
        try:
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            causes = self.faults.get((name, work.performance))
            if causes:
                raise Fault(causes.pop(0), f"{name} of {work.performance}")
        finally:
            self.running[name] -= 1

    async def lookup(self, work: Job, row: PerformanceRow) -> PlannedState:
        return PlannedState(row.stage if row.stage is Stage.COMPLETED else Stage.PENDING)

    async def look_up(self, work: Job) -> None:
        await self._step("look_up", work)
        work.sources = {kind: SourceFile(f"{work.performance}_{kind.value}", 1) for kind in self.kinds}

    async def lease(self, work: Job) -> None:
        while work.lease is None and self.leases >= self.most_leases:
            await anyio.lowlevel.checkpoint()
        if work.lease is None:
            work.lease = SimulatedLease(self)

    async def room(self, work: Job) -> None:
        if work.performance in self.no_room:
            await anyio.sleep_forever()

    async def fetch(self, work: Job) -> None:
        for kind in self.kinds:
            work.done_bytes += 1
            await self._step("fetch" if kind is Kind.RAW else "fetch anno", work)
            work.staged[kind] = Path(f"{kind.value}.smc")

    async def extract(self, work: Job) -> Record:
        if self.barrier is not None:
            await self.barrier.wait()
        await self._step("extract", work)
        assert work.staged.keys() == set(self.kinds), "extracted before all of it had arrived"
        return RECORD

    async def publish(self, work: Job, record: Record) -> None:
        self.on_publish()
        await self._step("publish", work)

    async def clear(self, work: Job, *, published: bool) -> None:
        await self._step("removed" if published else "set aside", work)
        work.staged.clear()


def agenda_of(performances: list[Performance]) -> Scheduler:
    agenda = Scheduler(look=0.001)
    for each in performances:
        agenda.put(each, PlannedState(Stage.PENDING))
    return agenda


async def run_all(crew: SimulatedCrew, width: Width | None = None) -> Scheduler:
    agenda = agenda_of(PLAN)
    with anyio.fail_after(20):
        await run(agenda, crew, width or Width(2, 2), RULES)
    assert crew.leases == 0 and not crew.books.claimed
    assert agenda.planned == len(PLAN) == len(agenda.ended)
    return agenda


async def test_everything_is_published_once_and_cleared_after_it() -> None:
    crew = SimulatedCrew()
    agenda = await run_all(crew)
    assert set(agenda.ended.values()) == {Stage.COMPLETED}
    for each in PLAN:
        steps = [step for step, performance in crew.log if performance == each]
        assert steps == ["look_up", "fetch", "extract", "publish", "removed"]
    assert [performance for step, performance in crew.log if step == "look_up"] == PLAN


async def test_downloads_go_on_while_an_extraction_takes_its_time() -> None:
    crew = SimulatedCrew()
    crew.barrier = anyio.Event()
    agenda = agenda_of(PLAN)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, agenda, crew, Width(1, 1), RULES)
        with anyio.fail_after(10):
            while [step for step, _ in crew.log].count("fetch") < len(PLAN):
                await anyio.lowlevel.checkpoint()
        assert ("extract", PLAN[0]) not in crew.log
        crew.barrier.set()
    assert crew.most["extract"] == crew.most["fetch"] == 1
    assert len(agenda.ended) == len(PLAN)


@pytest.mark.parametrize("stops", [False, True])
async def test_few_wait_for_an_extractor_however_small_they_are(monkeypatch: pytest.MonkeyPatch, stops: bool) -> None:
    """Each that waits holds an open lock file; a soak with tiny files ran towards the limit of a process."""
    monkeypatch.setattr(pipeline, "_MOST_QUEUED", 2)
    crew = SimulatedCrew()
    crew.barrier = anyio.Event()
    agenda = agenda_of(PLAN)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, agenda, crew, Width(1, 1), RULES)
        with anyio.fail_after(10):
            while crew.leases < 3:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            assert crew.leases == crew.taken == 3  # one in the extractor's hands, two in the queue
            if stops:
                agenda.drain()
            crew.barrier.set()
    assert len(agenda.ended) == (1 if stops else len(PLAN))
    assert crew.leases == 0 and not crew.books.claimed


async def test_each_failure_is_charged_to_its_own_performance() -> None:
    crew = SimulatedCrew(
        {
            ("look_up", PLAN[0]): [Cause.NOT_FOUND],
            ("fetch", PLAN[1]): [Cause.NETWORK, Cause.STALL],
            ("extract", PLAN[2]): [Cause.UNREADABLE],
            ("extract", PLAN[3]): [Cause.WORKER_DIED, Cause.DEADLINE],
            ("extract", PLAN[4]): [Cause.WORKER_DIED] * 3,
        }
    )
    agenda = await run_all(crew)
    expected = [Stage.DOWNLOAD_FAILED, Stage.COMPLETED, Stage.FAILED, Stage.COMPLETED, Stage.FAILED, Stage.COMPLETED]
    assert [agenda.ended[each] for each in PLAN] == expected
    assert ("set aside", PLAN[2]) in crew.log and ("removed", PLAN[2]) not in crew.log
    assert crew.log.count(("fetch", PLAN[3])) == 1, "what is staged is not fetched again"


async def test_a_repeated_extraction_keeps_its_lease() -> None:
    crew = SimulatedCrew({("extract", PLAN[0]): [Cause.WORKER_DIED]})
    crew.barrier = anyio.Event()
    seen: list[int] = []
    agenda = agenda_of(PLAN[:1])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, agenda, crew, Width(1, 1), RetryPolicy(retry_delay=0.05))
        crew.barrier.set()
        with anyio.fail_after(10):
            while crew.books.rows[PLAN[0]].stage is not Stage.COMPLETED:
                if crew.books.rows[PLAN[0]].stage is Stage.WAITING:
                    seen.append(crew.leases)
                await anyio.lowlevel.checkpoint()
    assert seen and set(seen) == {1}


async def test_a_fault_that_stops_the_service_is_raised_and_nothing_is_left_claimed() -> None:
    crew = SimulatedCrew({("fetch", PLAN[2]): [Cause.AUTH]})
    agenda = agenda_of(PLAN)
    with pytest.raises(BaseException) as caught, anyio.fail_after(20):
        await run(agenda, crew, Width(2, 2), RULES)
    fault = fault_in(caught.value)
    assert fault is not None and fault.cause is Cause.AUTH
    assert crew.leases == 0 and not crew.books.claimed
    assert agenda.planned == len(PLAN) and PLAN[2] in agenda.pending


async def test_what_another_instance_has_in_hand_is_taken_later() -> None:
    crew = SimulatedCrew()
    crew.books.elsewhere = {PLAN[0], PLAN[3]}
    agenda = await run_all(crew)
    assert set(agenda.ended.values()) == {Stage.COMPLETED}


async def test_draining_finishes_what_is_being_extracted_and_leaves_the_rest() -> None:
    crew = SimulatedCrew()
    crew.barrier = anyio.Event()
    agenda = agenda_of(PLAN)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, agenda, crew, Width(1, 1), RULES)
        with anyio.fail_after(10):
            while crew.books.rows[PLAN[0]].stage is not Stage.EXTRACTING:
                await anyio.lowlevel.checkpoint()
        agenda.drain()
        crew.barrier.set()
    assert agenda.ended == {PLAN[0]: Stage.COMPLETED}
    assert set(agenda.pending) == set(PLAN[1:])
    assert crew.leases == 0 and not crew.books.claimed


async def test_cancelling_leaves_no_claim_and_no_lease() -> None:
    crew = SimulatedCrew()
    crew.barrier = anyio.Event()
    agenda = agenda_of(PLAN)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, agenda, crew, Width(2, 1), RULES)
        with anyio.fail_after(10):
            while crew.books.rows[PLAN[0]].stage is not Stage.EXTRACTING:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert not crew.books.claimed and agenda.planned == len(PLAN)
    assert crew.leases == 0


@pytest.mark.parametrize("cause", [Cause.STALL, Cause.SERVER_ERROR, Cause.RATE_LIMIT, Cause.DISK_FULL])
async def test_half_a_pair_is_never_extracted_and_goes_on_under_its_lease(cause: Cause) -> None:
    crew = SimulatedCrew({("fetch anno", PLAN[0]): [cause]})
    crew.kinds = (Kind.RAW, Kind.ANNO)
    agenda = agenda_of(PLAN[:1])
    with anyio.fail_after(20):
        await run(agenda, crew, Width(1, 1), RULES)
    assert agenda.ended == {PLAN[0]: Stage.COMPLETED}
    assert crew.log.count(("fetch anno", PLAN[0])) == 2 and crew.taken == 1


async def test_a_quota_gives_the_lease_back() -> None:
    crew = SimulatedCrew({("fetch", PLAN[0]): [Cause.FILE_QUOTA]})
    await run_all(crew)
    assert crew.taken == len(PLAN) + 1


async def test_all_try_again_although_every_downloader_waits_for_a_lease() -> None:
    """One lease for all: whoever failed with bytes on disk has it, and is not behind those who wait for it."""
    crew = SimulatedCrew({("fetch", each): [Cause.SERVER_ERROR, Cause.STALL] for each in PLAN})
    crew.most_leases = 1
    await run_all(crew, Width(3, 1))
    assert crew.taken == len(PLAN)


async def test_a_full_disk_under_the_books_is_waited_out() -> None:
    crew = SimulatedCrew()
    agenda = agenda_of(PLAN[:1])
    async with anyio.create_task_group() as tasks:
        crew.on_publish = lambda: setattr(crew.books, "full", 3)
        tasks.start_soon(run, agenda, crew, Width(1, 1), RULES)
    assert agenda.ended == {PLAN[0]: Stage.COMPLETED} and crew.books.rows[PLAN[0]].stage is Stage.COMPLETED
    assert crew.books.full == 0 and crew.log[-1] == ("removed", PLAN[0]), "the .smc makes room, the folder is durable"


async def test_a_failure_that_cannot_be_noted_at_once_is_noted_later() -> None:
    crew = SimulatedCrew({("fetch", PLAN[0]): [Cause.NOT_FOUND]})
    crew.books.full = 2
    agenda = await run_all(crew)
    assert agenda.ended[PLAN[0]] is Stage.DOWNLOAD_FAILED and crew.books.rows[PLAN[0]].cause is Cause.NOT_FOUND


async def test_draining_does_not_repeat_what_fails_then() -> None:
    crew = SimulatedCrew({("extract", PLAN[0]): [Cause.WORKER_DIED]})
    crew.barrier = anyio.Event()
    agenda = agenda_of(PLAN)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, agenda, crew, Width(1, 1), RULES)
        with anyio.fail_after(10):
            while crew.books.rows[PLAN[0]].stage is not Stage.EXTRACTING:
                await anyio.lowlevel.checkpoint()
        agenda.drain()
        crew.barrier.set()
    assert not agenda.ended and agenda.planned == len(PLAN) and PLAN[0] in agenda.waiting
    assert crew.leases == 0 and not crew.books.claimed


async def test_draining_ends_a_wait_for_room() -> None:
    crew = SimulatedCrew()
    crew.no_room = {PLAN[0]}
    agenda = agenda_of(PLAN[:1])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, agenda, crew, Width(1, 1), RULES)
        with anyio.fail_after(10):
            while crew.books.rows[PLAN[0]].stage is not Stage.DOWNLOADED:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            agenda.drain()
    assert set(agenda.pending) == {PLAN[0]} and crew.leases == 0 and not crew.books.claimed


async def test_nothing_breaks_off_between_publishing_and_noting_it() -> None:
    crew = SimulatedCrew()
    agenda = agenda_of(PLAN[:1])
    async with anyio.create_task_group() as tasks:
        crew.on_publish = tasks.cancel_scope.cancel
        tasks.start_soon(run, agenda, crew, Width(1, 1), RULES)
    assert crew.books.rows[PLAN[0]].stage is Stage.COMPLETED and ("removed", PLAN[0]) in crew.log
    assert crew.leases == 0 and not crew.books.claimed
