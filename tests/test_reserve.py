"""The leases of jobs: kept while they fit, and which orphans are evicted if nothing else frees space."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rm360_async.budget import Budget, Lack, Lease, Shortage
from rm360_async.domain.clock import Clock
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind, Performance
from rm360_async.domain.record import SourceFile
from rm360_async.download import spool
from rm360_async.pipeline.job import Job
from rm360_async.stages.reserve import evict_orphans, take_lease

KB = 1024
P = Performance("0018", "e0")
FILE = SourceFile("0018/0018_e0_raw.smc", 10_000, "aa")


def budget_in(folder: Path, limit: int = 100 * KB) -> Budget:
    return Budget(folder / "temp", folder / "subjects", limit, 0, min_free_files=0)


def job_of(folder: Path, source: SourceFile) -> Job:
    whole = spool.whole_path(folder / "temp", P, Kind.RAW, source)
    return Job(P, sources={Kind.RAW: source}, spool_paths={Kind.RAW: whole}, spool_need=source.size)


@pytest.mark.anyio
async def test_a_lease_is_of_whole_blocks_and_of_part_and_whole(tmp_path: Path) -> None:
    job = job_of(tmp_path, FILE)
    await take_lease(job, budget_in(tmp_path), 20_000)
    assert isinstance(job.lease, Lease)
    ticket, whole = job.lease.ticket, spool.whole_path(tmp_path / "temp", P, Kind.RAW, FILE)
    assert (ticket.staging_bytes, ticket.output_bytes) == (12 * KB, 20_000)
    assert job.lease.spool_paths == spool.all_paths(whole)
    await job.lease.release()


@pytest.mark.anyio
async def test_a_file_that_just_fits_is_leased_and_one_byte_more_never(tmp_path: Path) -> None:
    job = job_of(tmp_path, FILE)
    await take_lease(job, budget_in(tmp_path, FILE.size), 0)
    assert job.lease is not None
    await job.lease.release()
    with pytest.raises(Fault, match=r"0018/e0 needs 9\.77 KB in temp_dir") as caught:
        await take_lease(job_of(tmp_path, FILE), budget_in(tmp_path, FILE.size - 1), 0)
    assert caught.value.cause is Cause.TOO_LARGE


@pytest.mark.anyio
async def test_the_same_files_keep_their_lease_and_changed_ones_get_another(tmp_path: Path) -> None:
    budget, job = budget_in(tmp_path), job_of(tmp_path, FILE)
    await take_lease(job, budget, 0)
    first = job.lease
    await take_lease(job, budget, 0)
    assert job.lease is first
    changed = SourceFile(FILE.path, FILE.size, "bb")
    job.spool_paths[Kind.RAW] = spool.whole_path(tmp_path / "temp", P, Kind.RAW, changed)
    await take_lease(job, budget, 0)
    assert job.lease is not first and len(list((tmp_path / "temp" / ".leases").glob("*.lease"))) == 1
    assert job.lease is not None
    await job.lease.release()


def left(folder: Path, *names: str) -> tuple[tuple[Path, int], ...]:
    """Make leftovers of 100 KB, the first the newest."""
    made = []
    for age, name in enumerate(names):
        path = folder / name
        path.write_bytes(b"x")
        os.utime(path, (1e9 - age, 1e9 - age))
        made.append((path, 100 * KB))
    return tuple(made)


PARTS = ("0018_e1_raw.00000001.smc.part", "0018_e2_raw.00000002.smc.part", "0018_e3_raw.00000003.smc.part")
WHOLE = "0018_e4_anno.00000004.smc"


@pytest.mark.parametrize(
    ("lack", "lacking", "enough", "gone", "kept"),
    [
        (Lack.STAGING, 1, True, PARTS[2:], ()),
        (Lack.STAGING, 101 * KB, True, PARTS[1:], ()),
        (Lack.STAGING, 301 * KB, True, PARTS, (WHOLE,)),
        (Lack.STAGING, 401 * KB, False, (), ()),
        (Lack.SPACE, 150 * KB, True, PARTS[1:], ()),
        (Lack.SPACE, 301 * KB, False, (), ()),
    ],
)
def test_which_orphans_are_evicted(
    tmp_path: Path, lack: Lack, lacking: int, enough: bool, gone: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    """A whole file in the quarantine frees the budget, not the disk; other files are never touched."""
    leftovers = left(tmp_path, *PARTS, WHOLE, "notes.smc.part", "0018_e5_raw.smc")
    assert evict_orphans(Shortage(lack, "", 1, lacking, leftovers, stuck=True)) is enough
    missing = {path.name for path, _ in leftovers if not path.exists()}
    assert missing == {*gone, *kept}
    aside = tmp_path / spool.QUARANTINE
    assert {path.name for path in aside.glob("*")} == set(kept)


def test_what_this_run_needs_is_evicted_last_and_of_that_what_is_finished_soonest(tmp_path: Path) -> None:
    """e2 waits for a quota for 9 hours, e1 for 5; e3 and the whole e4 are of no performance of this run."""
    leftovers = left(tmp_path, *PARTS, WHOLE)
    due = {Performance("0018", "e1"): 5 * 3600.0, Performance("0018", "e2"): 9 * 3600.0}
    gone = []
    for _ in range(4):
        shortage = Shortage(Lack.STAGING, "", 1, 1, leftovers, stuck=True)
        assert evict_orphans(shortage, lambda: due, Clock(now=lambda: 0.0))
        gone += [path.name for path, _ in leftovers if not path.exists()]
        leftovers = tuple(each for each in leftovers if each[0].exists())
    assert gone == [PARTS[2], WHOLE, PARTS[1], PARTS[0]]


@pytest.mark.parametrize(("now", "evicted"), [(0.0, True), (2 * 3600.0, False), (4 * 3600.0, False)])
def test_what_a_wait_has_on_disk_is_kept_in_its_last_hour_and_until_it_starts(
    tmp_path: Path, now: float, evicted: bool
) -> None:
    leftovers = left(tmp_path, PARTS[0])
    due = {Performance("0018", "e1"): 3 * 3600.0}
    shortage = Shortage(Lack.STAGING, "", 1, 1, leftovers, stuck=True)
    assert evict_orphans(shortage, lambda: due, Clock(now=lambda: now)) is evicted
    assert leftovers[0][0].exists() is not evicted
