"""The leases of performances in hand: kept while they fit, and who gives way when nothing else makes room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rm360_async.budget import Budget, Lack, Lease, Shortage
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind, Performance
from rm360_async.domain.record import SourceFile
from rm360_async.download import spool
from rm360_async.pipeline.job import Job
from rm360_async.stages.reserve import Leasing, make_room

KB = 1024
P = Performance("0018", "e0")
FILE = SourceFile("0018/0018_e0_raw.smc", 10_000, "aa")


def leasing(folder: Path, budget: int = 100 * KB) -> Leasing:
    return Leasing(Budget(folder / "temp", folder / "subjects", budget, 0, min_free_files=0), folder / "temp")


def work_of(source: SourceFile) -> Job:
    return Job(P, sources={Kind.RAW: source}, staging_bytes=source.size)


@pytest.mark.anyio
async def test_a_lease_is_of_whole_blocks_and_of_part_and_whole(tmp_path: Path) -> None:
    work = work_of(FILE)
    await leasing(tmp_path).lease(work, 20_000)
    assert isinstance(work.lease, Lease)
    ticket, whole = work.lease.entry.ticket, spool.whole_path(tmp_path / "temp", P, Kind.RAW, FILE)
    assert (ticket.staging_bytes, ticket.output_bytes) == (12 * KB, 20_000)
    assert work.lease.staged == spool.places(whole)
    work.lease.give_back()


@pytest.mark.anyio
async def test_a_file_that_just_fits_is_leased_and_one_byte_more_never(tmp_path: Path) -> None:
    work = work_of(FILE)
    await leasing(tmp_path, FILE.size).lease(work, 0)
    assert work.lease is not None
    work.lease.give_back()
    with pytest.raises(Fault, match=r"0018/e0 needs 0\.0 MB in temp_dir") as caught:
        await leasing(tmp_path, FILE.size - 1).lease(work_of(FILE), 0)
    assert caught.value.cause is Cause.TOO_LARGE


@pytest.mark.anyio
async def test_the_same_files_keep_their_lease_and_changed_ones_get_another(tmp_path: Path) -> None:
    ours, work = leasing(tmp_path), work_of(FILE)
    await ours.lease(work, 0)
    first = work.lease
    await ours.lease(work, 0)
    assert work.lease is first
    work.sources[Kind.RAW] = SourceFile(FILE.path, FILE.size, "bb")
    await ours.lease(work, 0)
    assert work.lease is not first and len(list((tmp_path / "temp" / ".leases").glob("*.lease"))) == 1
    assert work.lease is not None
    work.lease.give_back()


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
def test_who_gives_way(
    tmp_path: Path, lack: Lack, lacking: int, enough: bool, gone: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    """A whole file that is set aside frees the budget, not the disk; a stranger's file is never touched."""
    leftovers = left(tmp_path, *PARTS, WHOLE, "notes.smc.part", "0018_e5_raw.smc")
    assert make_room(Shortage(lack, "", 1, lacking, leftovers, stuck=True)) is enough
    missing = {path.name for path, _ in leftovers if not path.exists()}
    assert missing == {*gone, *kept}
    aside = tmp_path / spool.KEPT
    assert {path.name for path in aside.glob("*")} == set(kept)
