"""The budget: leases never exceed the limits, keep their order over instances, and end with their process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from rm360_async.budget import Budget, Lack, Lease, Shortage, Space, SystemDisk
from rm360_async.budget.ticket_queue import Ticket
from rm360_async.domain.errors import Cause, Fault

pytestmark = pytest.mark.anyio
PROJECT = Path(__file__).resolve().parent.parent
KB = 2**10
GB = 2**30
PATIENCE = 30
"""Seconds after which a lease that never comes fails its test."""
POLL_GAP = 0.005
"""Seconds between two advances of the clock: time for all waiting leases to check."""
ROOMY = Space(device=1, free_bytes=1000 * GB, free_files=10**9, total_bytes=2000 * GB)


@dataclass
class Disks(SystemDisk):
    """Simulated file systems (the deepest folder that contains a path counts), with the real files in them."""

    spaces: dict[Path, Space] = field(default_factory=dict)
    scans: int = 0

    def space(self, path: Path) -> Space:
        fitting = [place for place in self.spaces if place == path or place in path.parents]
        return self.spaces[max(fitting, key=lambda place: len(place.parts))] if fitting else ROOMY

    def files(self, folder: Path, skip: Collection[Path]) -> dict[str, int]:
        self.scans += 1
        return super().files(folder, skip)


class Clock:
    """Ends the pauses between two checks when the test says so, never by itself."""

    def __init__(self) -> None:
        self.event = anyio.Event()

    async def pause(self, seconds: float) -> None:
        await self.event.wait()

    def advance(self) -> None:
        self.event.set()
        self.event = anyio.Event()


class SharedTemp:
    """A temp_dir that any number of instances share, with simulated disks and a clock."""

    def __init__(self, folder: Path) -> None:
        self.temp, self.output = folder / "temp", folder / "subjects"
        self.disks, self.clock = Disks(), Clock()

    def budget(self, max_temp: int = 100 * GB, min_free: int = 0, output: Path | None = None, files: int = 0) -> Budget:
        return Budget(
            self.temp,
            output or self.output,
            max_temp,
            min_free,
            min_free_files=files,
            disk=self.disks,
            pause=self.clock.pause,
        )

    def part(self, name: str, size: int) -> Path:
        self.temp.mkdir(parents=True, exist_ok=True)
        path = self.temp / name
        path.write_bytes(b"x" * size)
        os.sync()
        return path

    def tickets(self) -> list[str]:
        texts = [path.read_text() for path in (self.temp / ".leases").glob("*.lease")]
        return sorted(json.loads(text)["name"] for text in texts if text)


@pytest.fixture
def shared(tmp_path: Path) -> SharedTemp:
    return SharedTemp(tmp_path)


class LeaseRequests:
    """Leases that are requested in the background, and the shortages that each reported while it waited."""

    def __init__(self, group: TaskGroup, clock: Clock) -> None:
        self.group, self.clock = group, clock
        self.granted: dict[str, Lease] = {}
        self.reported: dict[str, list[Shortage | None]] = {}

    def start(self, budget: Budget, name: str, *sizes: int, spool_paths: Collection[Path] = ()) -> None:
        self.reported[name] = []

        async def lease() -> None:
            self.granted[name] = await budget.lease(name, *sizes, spool_paths=spool_paths, on_wait=self._note(name))

        self.group.start_soon(lease)

    def messages(self) -> dict[str, str]:
        """Return the last message of each lease that waits."""
        last = {name: reported[-1] for name, reported in self.reported.items() if reported}
        return {name: str(shortage) for name, shortage in last.items() if shortage is not None}

    def _note(self, name: str) -> Callable[[Shortage | None], None]:
        return self.reported[name].append

    async def until_waiting(self, *names: str) -> None:
        """Wait until all have reported a shortage."""
        with anyio.fail_after(PATIENCE):
            while not all(self.reported[name] for name in names):
                assert not self.granted.keys() & set(names), "granted at once"
                await checkpoint()

    async def until_granted(self, *names: str) -> None:
        """Advance the clock until all have their lease."""
        with anyio.fail_after(PATIENCE):
            while not all(name in self.granted for name in names):
                self.clock.advance()
                await anyio.sleep(POLL_GAP)


async def test_leases_within_the_budget_are_granted_at_once(shared: SharedTemp) -> None:
    budget = shared.budget(10 * GB)
    async with await budget.lease("a", 4 * GB), await budget.lease("b", 6 * GB):
        assert shared.tickets() == ["a", "b"]
    assert shared.tickets() == []


async def test_the_next_waits_until_one_is_released_and_says_why(shared: SharedTemp) -> None:
    budget = shared.budget(10 * GB)
    first = await budget.lease("a", 6 * GB)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        requests.start(budget, "b", 5 * GB)
        await requests.until_waiting("b")
        sentence = "Insufficient staging space: 4 GB of 10 GB left, 5 GB required; waiting"
        assert requests.messages() == {"b": sentence}
        await first.release()
        await first.release()
        await requests.until_granted("b")
    (shortage, end) = requests.reported["b"]
    assert shortage is not None and str(shortage) == sentence and not shortage.stuck
    assert end is None and requests.messages() == {}
    await requests.granted["b"].release()


async def test_order_holds_although_a_later_one_would_fit(shared: SharedTemp) -> None:
    budget = shared.budget(10 * GB)
    first = await budget.lease("first", 6 * GB)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        requests.start(budget, "large", 9 * GB)
        await requests.until_waiting("large")
        requests.start(budget, "small", 1 * GB)
        await requests.until_waiting("small")
        assert requests.messages()["small"] == "Waiting for storage behind large"
        assert requests.granted == {}
        await first.release()
        await requests.until_granted("large", "small")
    assert list(requests.granted) == ["large", "small"]


async def test_free_space_less_all_leases_stays_above_the_floor(shared: SharedTemp) -> None:
    shared.disks.spaces[shared.temp.parent] = replace(ROOMY, free_bytes=int(12.3 * GB))
    budget = shared.budget(100 * GB, min_free=5 * GB)
    first = await budget.lease("a", 2 * GB, 3 * GB)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        requests.start(budget, "b", 1 * GB, 2 * GB)
        await requests.until_waiting("b")
        assert requests.messages()["b"] == (
            f"Insufficient storage space: 12.3 GB free, 13 GB required in {shared.temp}"
            " (5 GB of them stay free); waiting"
        )
        shortage = requests.reported["b"][0]
        assert shortage is not None and shortage.lack is Lack.SPACE
        shared.disks.spaces[shared.temp.parent] = replace(ROOMY, free_bytes=13 * GB)
        shared.clock.advance()
        await requests.until_granted("b")
    await first.release()


@pytest.mark.parametrize(("output_device", "granted"), [(1, False), (2, True)])
async def test_one_file_system_is_counted_once(shared: SharedTemp, output_device: int, granted: bool) -> None:
    shared.disks.spaces[shared.temp] = replace(ROOMY, free_bytes=10 * GB)
    shared.disks.spaces[shared.output] = replace(ROOMY, free_bytes=10 * GB, device=output_device)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        requests.start(shared.budget(min_free=2 * GB), "a", 5 * GB, 6 * GB)
        await (requests.until_granted("a") if granted else requests.until_waiting("a"))
        assert ("a" in requests.granted, bool(requests.reported["a"])) == (granted, not granted)
        group.cancel_scope.cancel()


async def test_inodes_run_out_before_bytes(shared: SharedTemp) -> None:
    shared.disks.spaces[shared.output] = replace(ROOMY, device=2, free_files=20_000)
    budget = shared.budget(files=1000)
    first = await budget.lease("a", GB, GB, 18_468)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        requests.start(budget, "b", GB, GB, 600)
        await requests.until_waiting("b")
        assert (
            requests.messages()["b"] == f"Insufficient inodes: 20,000 free, 20,068 required in {shared.output}; waiting"
        )
        first.record_written(GB // 2, 10_000)  # the fake disk has not changed, so this frees what was promised
        shared.clock.advance()
        await requests.until_granted("b")


async def test_a_file_system_without_inode_limits_has_none(shared: SharedTemp) -> None:
    shared.disks.spaces[shared.output] = replace(ROOMY, device=2, free_files=None)
    async with await shared.budget().lease("a", GB, GB, 10**12) as lease:
        assert lease.ticket.name == "a"


async def test_files_without_a_lease_count(shared: SharedTemp) -> None:
    kept = shared.part("kept.smc", 600 * KB)
    (shared.temp / "link").symlink_to(kept)
    budget = shared.budget(1000 * KB)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        requests.start(budget, "a", 500 * KB)
        await requests.until_waiting("a")
        shortage = requests.reported["a"][0]
        assert shortage is not None and shortage.stuck and dict(shortage.orphans)[kept] == 600 * KB
        assert "belong to no running job" in str(shortage)
        kept.unlink()
        shared.clock.advance()
        await requests.until_granted("a")


async def test_output_inside_temp_dir_is_not_counted_as_staging(shared: SharedTemp) -> None:
    output = shared.temp / "subjects"
    output.mkdir(parents=True)
    (output / "frame").write_bytes(b"x" * 900 * KB)
    async with await shared.budget(1000 * KB, output=output).lease("a", 900 * KB):
        assert shared.tickets() == ["a"]


async def test_spooled_bytes_are_not_counted_twice(shared: SharedTemp) -> None:
    part = shared.part("a.smc.part", 400 * KB)
    shared.disks.spaces[shared.temp.parent] = replace(ROOMY, free_bytes=900 * KB)
    budget = shared.budget(1000 * KB, min_free=300 * KB)
    # 500 KB of a are still to come, and 100 KB of b: with the floor just what is free.
    first = await budget.lease("a", 900 * KB, spool_paths=[part.with_suffix(""), part])
    second = await budget.lease("b", 100 * KB)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        requests.start(budget, "c", 100 * KB)
        await requests.until_waiting("c")
        part.rename(part.with_suffix(""))
        await first.release()  # its file stays, without a lease: 400 + 100 + 100
        await requests.until_granted("c")
    await second.release()


async def test_written_output_is_not_counted_twice(shared: SharedTemp) -> None:
    shared.disks.spaces[shared.temp.parent] = replace(ROOMY, free_bytes=10 * GB)
    one, other = shared.budget(), shared.budget()
    first = await one.lease("a", 0, 8 * GB)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        group.start_soon(one.share_progress)
        requests.start(other, "b", 0, 6 * GB)
        await requests.until_waiting("b")
        first.record_written(4 * GB, 0)  # the fake disk stays as it was, so 4 GB less are promised
        shared.clock.advance()
        await requests.until_granted("b")
        group.cancel_scope.cancel()


async def test_a_lease_whose_bytes_are_all_spooled_is_granted_despite_a_lower_limit(shared: SharedTemp) -> None:
    whole = shared.part("a.smc", 800 * KB)
    async with await shared.budget(500 * KB).lease("a", 800 * KB, spool_paths=[whole]):
        assert shared.tickets() == ["a"]


async def test_parts_do_not_block_each_other_for_ever(shared: SharedTemp) -> None:
    """The first cannot go beside the second's part; the second may, and clears it."""
    part = shared.part("b.part", 500 * KB)
    budget = shared.budget(1000 * KB)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        requests.start(budget, "a", 600 * KB)
        await requests.until_waiting("a")
        requests.start(budget, "small", 100 * KB)
        await requests.until_waiting("small")
        requests.start(budget, "b", 700 * KB, spool_paths=[part])
        await requests.until_granted("b")
        assert list(requests.granted) == ["b"]
        part.unlink()
        await requests.granted["b"].release()
        await requests.until_granted("a", "small")
    assert list(requests.granted) == ["b", "a", "small"]


async def test_the_same_files_are_leased_once_and_hold_up_no_others(shared: SharedTemp) -> None:
    place = shared.temp / "a.smc"
    first = await shared.budget().lease("a", GB, spool_paths=[place])
    async with anyio.create_task_group() as group:
        requests, other = LeaseRequests(group, shared.clock), shared.budget()
        requests.start(other, "a again", GB, spool_paths=[place])
        await requests.until_waiting("a again")
        assert requests.messages() == {"a again": "Waiting for another run to finish a"}
        requests.start(other, "b", GB)
        await requests.until_granted("b")
        await first.release()
        await requests.until_granted("a again")


async def test_a_lease_waits_again_if_another_program_has_filled_the_disk(shared: SharedTemp) -> None:
    """Of several that were stopped the first goes on as soon as there is room for it alone."""
    shared.disks.spaces[shared.temp.parent] = replace(ROOMY, free_bytes=100 * GB)
    budget = shared.budget(min_free=10 * GB)
    first, second = await budget.lease("a", 0, 8 * GB), await budget.lease("b", 0, 4 * GB)
    went_on: list[str] = []
    await budget.wait_for_space(first)
    shared.disks.spaces[shared.temp.parent] = replace(ROOMY, free_bytes=17 * GB)
    reported: dict[str, list[Shortage | None]] = {"a": [], "b": []}
    async with anyio.create_task_group() as group:

        async def wait(name: str, lease: Lease) -> None:
            await budget.wait_for_space(lease, on_wait=reported[name].append)
            went_on.append(name)

        group.start_soon(wait, "a", first)
        group.start_soon(wait, "b", second)
        while not all(reported.values()):
            await checkpoint()
        assert str(reported["a"][0]).startswith("Insufficient storage space: 17 GB free, 18 GB required")
        assert str(reported["b"][0]).startswith("Insufficient storage space: 17 GB free, 22 GB required")
        shared.disks.spaces[shared.temp.parent] = replace(ROOMY, free_bytes=18 * GB)
        while not went_on:
            shared.clock.advance()
            await checkpoint()
        assert went_on == ["a"]
        first.record_written(8 * GB, 0)
        while len(went_on) < 2:
            shared.clock.advance()
            await checkpoint()
    assert reported["a"][-1] is None and reported["b"][-1] is None


async def test_orphans_are_evicted_only_if_nothing_else_frees_space(shared: SharedTemp) -> None:
    part = shared.part("x.part", 600 * KB)
    asked: list[Shortage] = []

    def evict_orphans(shortage: Shortage) -> bool:
        asked.append(shortage)
        part.unlink()
        return True

    budget = Budget(
        shared.temp, shared.output, 1000 * KB, 0, min_free_files=0, evict_orphans=evict_orphans, disk=shared.disks,
        pause=shared.clock.pause,
    )  # fmt: skip
    first = await budget.lease("a", 300 * KB)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        requests.start(budget, "b", 500 * KB)
        await requests.until_waiting("b")
        assert part.exists() and not asked, "a lease is out, so its end will make room"
        await first.release()
        await requests.until_granted("b")
    assert [(shortage.stuck, shortage.lacking) for shortage in asked] == [(True, 100 * KB)]


async def test_cancelled_while_waiting_leaves_no_trace(shared: SharedTemp) -> None:
    budget = shared.budget(10 * GB)
    first = await budget.lease("first", 9 * GB)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        async with anyio.create_task_group() as inner:
            leaving = LeaseRequests(inner, shared.clock)
            leaving.start(budget, "leaving", 10 * GB)
            await leaving.until_waiting("leaving")
            requests.start(budget, "next", 1 * GB)
            await requests.until_waiting("next")
            assert requests.messages()["next"] == "Waiting for storage behind leaving"
            inner.cancel_scope.cancel()
        while "next" not in requests.granted:  # woken by the one that left, not by the clock
            await checkpoint()
    assert shared.tickets() == ["first", "next"]
    assert (leaving.granted, requests.messages()) == ({}, {})
    await first.release()


async def test_a_callback_that_fails_leaves_no_trace(shared: SharedTemp) -> None:
    budget = shared.budget(10 * GB)
    first = await budget.lease("first", 10 * GB)

    def broken(_: Shortage | None) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await budget.lease("a", GB, on_wait=broken)
    assert shared.tickets() == ["first"]
    await first.release()


async def test_what_can_never_be_leased_is_explained(shared: SharedTemp) -> None:
    shared.disks.spaces[shared.temp] = replace(ROOMY, total_bytes=80 * GB)
    budget = shared.budget(100 * GB, min_free=20 * GB)
    assert budget.explain_too_large(60 * GB) is None
    assert budget.explain_too_large(101 * GB) == (
        "needs 101 GB in temp_dir, and limits.max_temp_size_gb allows 100 GB in all"
    )
    assert "its disk has 80 GB and limits.min_free_space_gb keeps 20 GB free" in str(budget.explain_too_large(61 * GB))


async def test_instances_share_one_budget_and_one_order(shared: SharedTemp) -> None:
    one, two = shared.budget(10 * GB), shared.budget(10 * GB)
    first = await one.lease("one/first", 6 * GB)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        requests.start(two, "two/large", 8 * GB)
        await requests.until_waiting("two/large")
        requests.start(one, "one/small", 1 * GB)
        await requests.until_waiting("one/small")
        assert requests.messages()["one/small"] == "Waiting for storage behind two/large"
        await first.release()
        shared.clock.advance()
        await requests.until_granted("two/large")
        shared.clock.advance()
        await requests.until_granted("one/small")
    assert list(requests.granted) == ["two/large", "one/small"]


async def test_one_that_waits_for_another_disk_holds_up_no_others(shared: SharedTemp, tmp_path: Path) -> None:
    elsewhere = tmp_path / "full"
    shared.disks.spaces[elsewhere] = replace(ROOMY, device=7, free_bytes=0)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        requests.start(shared.budget(output=elsewhere), "blocked", GB, GB)
        await requests.until_waiting("blocked")
        requests.start(shared.budget(), "free", GB, GB)
        await requests.until_granted("free")
        assert list(requests.granted) == ["free"]
        group.cancel_scope.cancel()


HOLDER = """
import sys
import anyio
from pathlib import Path
from rm360_async.budget import Budget
async def main():
    budget = Budget(Path(sys.argv[1]), Path(sys.argv[2]), 10 * 2**30, 0, min_free_files=0)
    lease = await budget.lease("first", int(sys.argv[3]))
    print("leased", flush=True)
    await anyio.sleep_forever()
anyio.run(main)
"""


def holder(shared: SharedTemp, size: int) -> subprocess.Popen[bytes]:
    """Start another instance; it is killed in the end, whatever the test did."""
    arguments = [sys.executable, "-c", HOLDER, str(shared.temp), str(shared.output), str(size)]
    return subprocess.Popen(arguments, cwd=PROJECT, stdout=subprocess.PIPE)


async def test_the_lease_of_a_killed_instance_is_free_at_once(shared: SharedTemp) -> None:
    process = holder(shared, 10 * 2**10)
    with process, ExitStack() as stack:
        stack.callback(process.kill)
        assert process.stdout is not None and process.stdout.readline() == b"leased\n"
        budget = shared.budget(10 * 2**10)
        async with anyio.create_task_group() as group:
            requests = LeaseRequests(group, shared.clock)
            requests.start(budget, "second", 10 * 2**10)
            await requests.until_waiting("second")
            assert shared.tickets() == ["first", "second"]
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            shared.clock.advance()
            await requests.until_granted("second")
        assert shared.tickets() == ["second"]


async def test_a_killed_instance_that_waited_holds_up_no_others(shared: SharedTemp) -> None:
    budget = shared.budget(10 * GB)
    first = await budget.lease("first", 10 * GB)
    process = holder(shared, 10 * GB)
    with process, ExitStack() as stack:
        stack.callback(process.kill)
        while "first" not in shared.tickets():
            await checkpoint()
        async with anyio.create_task_group() as group:
            requests = LeaseRequests(group, shared.clock)
            requests.start(budget, "second", 2 * GB)
            await requests.until_waiting("second")
            process.kill()
            process.wait(30)
            await first.release()
            await requests.until_granted("second")
        assert shared.tickets() == ["second"]


async def test_child_processes_do_not_keep_a_lease(shared: SharedTemp) -> None:
    budget = shared.budget(10 * GB)
    first = await budget.lease("first", 10 * GB)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        await first.release()
        async with await shared.budget(10 * GB).lease("second", 10 * GB):
            assert child.poll() is None
        assert child.stdin is not None
        child.stdin.close()


async def test_leases_hold_although_temp_dir_is_cleared(shared: SharedTemp) -> None:
    budget = shared.budget(10 * GB)
    first = await budget.lease("first", 10 * GB)
    shutil.rmtree(shared.temp)
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        requests.start(budget, "second", 1 * GB)
        await requests.until_waiting("second")
        await first.release()
        await requests.until_granted("second")


async def test_another_versions_tickets_are_left_alone(shared: SharedTemp) -> None:
    budget = shared.budget(10 * GB)
    async with await budget.lease("a", GB):
        other_file = shared.temp / ".leases" / "note.lease"
        other_file.write_text("not a ticket")
        async with await budget.lease("b", GB):
            assert other_file.exists()


def test_the_file_of_a_ticket_is_that_of_0_2_0() -> None:
    text = (
        b'{"name": "0018/e0", "staging_bytes": 5, "output_bytes": 6, "output_files": 7, "staged": ["/t/a", "/t/b"],'
        b' "output_dir": "/o", "number": 3, "granted": true, "written_bytes": 2, "written_files": 1}'
    )
    ticket = Ticket("0018/e0", 5, 6, 7, ("/t/a", "/t/b"), "/o", 3, granted=True, written_bytes=2, written_files=1)
    assert Ticket.from_json(text) == ticket and json.loads(ticket.to_json()) == json.loads(text)
    assert Ticket.from_json(b'["no ticket"]') is Ticket.from_json(b'{"staged": [], "colour": 1}') is None


async def test_a_temp_dir_that_cannot_be_created_is_reported(shared: SharedTemp) -> None:
    shared.temp.write_text("a file")
    with pytest.raises(Fault, match="cannot keep leases in") as caught:
        await shared.budget().lease("a", GB)
    assert caught.value.cause is Cause.NOT_WRITABLE


async def test_the_system_reports_allocated_bytes(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    with (tmp_path / "deep" / "sparse").open("wb") as file:
        file.truncate(10 * 2**20)
    (tmp_path / "deep" / "er" / "full").write_bytes(os.urandom(2**20))
    (tmp_path / "skipped").mkdir()
    (tmp_path / "skipped" / "file").write_bytes(b"x")
    os.sync()
    sizes = SystemDisk().files(tmp_path, [tmp_path / "skipped"])
    sparse, full = str(tmp_path / "deep" / "sparse"), str(tmp_path / "deep" / "er" / "full")
    assert set(sizes) == {sparse, full}
    assert sizes[sparse] < 2**20 <= sizes[full]
    reported, here = SystemDisk().space(tmp_path / "not" / "there"), os.statvfs(tmp_path)
    assert (reported.device, reported.total_bytes) == (tmp_path.stat().st_dev, here.f_blocks * here.f_frsize)
    assert reported.free_bytes <= here.f_bfree * here.f_frsize


SMALL_DISK = """
import sys
import anyio
from pathlib import Path
from rm360_async.budget import Budget
folder = Path(sys.argv[1])
MB = 2**20
async def main():
    reported = []
    again = anyio.Event()
    budget = Budget(folder / "temp", folder / "out", 100 * MB, 4 * MB, min_free_files=0, pause=lambda _: again.wait())
    assert "disk has 16 MB" in budget.explain_too_large(13 * MB), budget.explain_too_large(13 * MB)
    first = await budget.lease("a", 8 * MB, spool_paths=[folder / "temp" / "a"])
    (folder / "temp" / "a").write_bytes(b"x" * 8 * MB)
    second = await budget.lease("b", 3 * MB)
    async def give_back():
        await first.release()
        again.set()
    def on_wait(shortage):
        reported.append(str(shortage))
        if len(reported) == 1:
            (folder / "temp" / "a").unlink()
            group.start_soon(give_back)
    async with anyio.create_task_group() as group:
        await budget.lease("c", 3 * MB, on_wait=on_wait)
    print(reported)
anyio.run(main)
"""


def test_a_small_disk_that_is_really_full(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=16m rm360 "{tmp_path}"'
    if subprocess.run(["unshare", "-Urm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this system does not allow mounting a small disk in a name space")
    command = f'{mount} && exec "$0" -c "$1" "{tmp_path}"'
    result = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", command, sys.executable, SMALL_DISK],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert "Insufficient storage space: 7.99 MB free, 10 MB required in" in result.stdout
    assert result.stdout.rstrip().endswith("'None']")


SIZES = st.lists(st.integers(0, 8), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(sizes=SIZES, choices=st.lists(st.integers(0, 7), max_size=16), instances=st.integers(1, 2))
def test_any_order_of_leases_and_releases_keeps_budget_order_and_progress(
    sizes: list[int], choices: list[int], instances: int
) -> None:
    with TemporaryDirectory() as folder:
        anyio.run(_any_order, SharedTemp(Path(folder)), sizes, choices, instances)


async def _any_order(shared: SharedTemp, sizes: list[int], choices: list[int], instances: int) -> None:
    """Ask for all in order, return in the drawn order. Staged bytes: 10 GB at most; with the output: 25 GB."""
    shared.disks.spaces[shared.temp.parent] = replace(ROOMY, free_bytes=30 * GB)
    budgets = [shared.budget(10 * GB, min_free=5 * GB) for _ in range(instances)]
    async with anyio.create_task_group() as group:
        requests = LeaseRequests(group, shared.clock)
        for number, units in enumerate(sizes):
            requests.start(budgets[number % instances], str(number), units * GB, 2 * units * GB)
            while not (requests.reported[str(number)] or str(number) in requests.granted):
                await checkpoint()
        returned: set[str] = set()
        while len(returned) < len(sizes):
            if len(requests.granted) == len(returned):  # nothing is out, so the next in order gets his turn
                await requests.until_granted(str(len(requests.granted)))
            out = [name for name in requests.granted if name not in returned]
            assert list(requests.granted) == [str(number) for number in range(len(requests.granted))]
            assert sum(sizes[int(name)] for name in out) <= 25 // 3
            name = out[choices.pop() % len(out)] if choices else out[0]
            await requests.granted[name].release()
            returned.add(name)
            shared.clock.advance()
            await checkpoint()
    assert shared.tickets() == []
