"""The budget: what is leased never passes the limits, in order, over instances, and the dead give back."""

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
from rm360_async.domain.errors import Cause, Fault

pytestmark = pytest.mark.anyio
PROJECT = Path(__file__).resolve().parent.parent
KB = 2**10
GB = 2**30
PATIENCE = 30
"""Seconds after which a lease that never comes fails its test."""
TICK = 0.005
"""Seconds between two strikes of the clock: time for all who wait to look, so that instances do not crowd."""
ROOMY = Space(device=1, free_bytes=1000 * GB, free_files=10**9, total_bytes=2000 * GB)


@dataclass
class Disks(SystemDisk):
    """File systems as a test wants them (the last folder that fits counts), with the real files in them."""

    spaces: dict[Path, Space] = field(default_factory=dict)
    looks: int = 0

    def space(self, path: Path) -> Space:
        fitting = [place for place in self.spaces if place == path or place in path.parents]
        return self.spaces[max(fitting, key=lambda place: len(place.parts))] if fitting else ROOMY

    def files(self, folder: Path, skip: Collection[Path]) -> dict[str, int]:
        self.looks += 1
        return super().files(folder, skip)


class Clock:
    """Poll when the test says so, never by itself."""

    def __init__(self) -> None:
        self.event = anyio.Event()

    async def pause(self, seconds: float) -> None:
        await self.event.wait()

    def strike(self) -> None:
        self.event.set()
        self.event = anyio.Event()


class House:
    """A temp_dir with disks and a clock, and any number of instances on it."""

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
def house(tmp_path: Path) -> House:
    return House(tmp_path)


class Asking:
    """Leases that are asked for in the background, and what each was told while it waited."""

    def __init__(self, group: TaskGroup, clock: Clock) -> None:
        self.group, self.clock = group, clock
        self.got: dict[str, Lease] = {}
        self.told: dict[str, list[Shortage | None]] = {}

    def ask(self, budget: Budget, name: str, *sizes: int, spool_paths: Collection[Path] = ()) -> None:
        self.told[name] = []

        async def lease() -> None:
            self.got[name] = await budget.lease(name, *sizes, spool_paths=spool_paths, on_wait=self._note(name))

        self.group.start_soon(lease)

    def messages(self) -> dict[str, str]:
        """Return the last message of each lease that waits."""
        last = {name: told[-1] for name, told in self.told.items() if told}
        return {name: str(shortage) for name, shortage in last.items() if shortage is not None}

    def _note(self, name: str) -> Callable[[Shortage | None], None]:
        return self.told[name].append

    async def until_waiting(self, *names: str) -> None:
        """Let all ask and be refused."""
        with anyio.fail_after(PATIENCE):
            while not all(self.told[name] for name in names):
                assert not self.got.keys() & set(names), "granted at once"
                await checkpoint()

    async def until_got(self, *names: str) -> None:
        """Let the clock strike until all have their lease."""
        with anyio.fail_after(PATIENCE):
            while not all(name in self.got for name in names):
                self.clock.strike()
                await anyio.sleep(TICK)


async def test_leases_within_the_budget_are_granted_at_once(house: House) -> None:
    budget = house.budget(10 * GB)
    with await budget.lease("a", 4 * GB), await budget.lease("b", 6 * GB):
        assert house.tickets() == ["a", "b"]
    assert house.tickets() == []


async def test_the_next_waits_until_one_is_given_back_and_says_why(house: House) -> None:
    budget = house.budget(10 * GB)
    first = await budget.lease("a", 6 * GB)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        asking.ask(budget, "b", 5 * GB)
        await asking.until_waiting("b")
        sentence = "Insufficient staging space: 4 GB of 10 GB left, 5 GB required; waiting"
        assert asking.messages() == {"b": sentence}
        first.release()
        first.release()
        await asking.until_got("b")
    (shortage, goes_on) = asking.told["b"]
    assert shortage is not None and str(shortage) == sentence and not shortage.stuck
    assert goes_on is None and asking.messages() == {}
    asking.got["b"].release()


async def test_order_holds_although_a_later_one_would_fit(house: House) -> None:
    budget = house.budget(10 * GB)
    first = await budget.lease("first", 6 * GB)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        asking.ask(budget, "large", 9 * GB)
        await asking.until_waiting("large")
        asking.ask(budget, "small", 1 * GB)
        await asking.until_waiting("small")
        assert asking.messages()["small"] == "Waiting for storage behind large"
        assert asking.got == {}
        first.release()
        await asking.until_got("large", "small")
    assert list(asking.got) == ["large", "small"]


async def test_free_space_less_what_is_promised_stays_above_the_floor(house: House) -> None:
    house.disks.spaces[house.temp.parent] = replace(ROOMY, free_bytes=int(12.3 * GB))
    budget = house.budget(100 * GB, min_free=5 * GB)
    first = await budget.lease("a", 2 * GB, 3 * GB)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        asking.ask(budget, "b", 1 * GB, 2 * GB)
        await asking.until_waiting("b")
        assert asking.messages()["b"] == (
            f"Insufficient storage space: 12.3 GB free, 13 GB required in {house.temp}"
            " (5 GB of them stay free); waiting"
        )
        shortage = asking.told["b"][0]
        assert shortage is not None and shortage.lack is Lack.SPACE
        house.disks.spaces[house.temp.parent] = replace(ROOMY, free_bytes=13 * GB)
        house.clock.strike()
        await asking.until_got("b")
    first.release()


@pytest.mark.parametrize(("output_device", "granted"), [(1, False), (2, True)])
async def test_one_file_system_is_counted_once(house: House, output_device: int, granted: bool) -> None:
    house.disks.spaces[house.temp] = replace(ROOMY, free_bytes=10 * GB)
    house.disks.spaces[house.output] = replace(ROOMY, free_bytes=10 * GB, device=output_device)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        asking.ask(house.budget(min_free=2 * GB), "a", 5 * GB, 6 * GB)
        await (asking.until_got("a") if granted else asking.until_waiting("a"))
        assert ("a" in asking.got, bool(asking.told["a"])) == (granted, not granted)
        group.cancel_scope.cancel()


async def test_inodes_run_out_before_bytes(house: House) -> None:
    house.disks.spaces[house.output] = replace(ROOMY, device=2, free_files=20_000)
    budget = house.budget(files=1000)
    first = await budget.lease("a", GB, GB, 18_468)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        asking.ask(budget, "b", GB, GB, 600)
        await asking.until_waiting("b")
        assert asking.messages()["b"] == f"Insufficient inodes: 20,000 free, 20,068 required in {house.output}; waiting"
        first.record_written(GB // 2, 10_000)  # the fake disk has not changed, so this frees what was promised
        house.clock.strike()
        await asking.until_got("b")


async def test_a_file_system_without_inode_limits_has_none(house: House) -> None:
    house.disks.spaces[house.output] = replace(ROOMY, device=2, free_files=None)
    with await house.budget().lease("a", GB, GB, 10**12) as lease:
        assert lease.ticket.name == "a"


async def test_parts_and_kept_files_without_a_lease_count(house: House) -> None:
    kept = house.part("kept.smc", 600 * KB)
    (house.temp / "link").symlink_to(kept)
    budget = house.budget(1000 * KB)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        asking.ask(budget, "a", 500 * KB)
        await asking.until_waiting("a")
        shortage = asking.told["a"][0]
        assert shortage is not None and shortage.stuck and dict(shortage.orphans)[kept] == 600 * KB
        assert "belong to no running job" in str(shortage)
        kept.unlink()
        house.clock.strike()
        await asking.until_got("a")


async def test_output_inside_temp_dir_is_no_leftover(house: House) -> None:
    output = house.temp / "subjects"
    output.mkdir(parents=True)
    (output / "frame").write_bytes(b"x" * 900 * KB)
    with await house.budget(1000 * KB, output=output).lease("a", 900 * KB):
        assert house.tickets() == ["a"]


async def test_what_a_lease_has_staged_is_not_counted_twice(house: House) -> None:
    part = house.part("a.smc.part", 400 * KB)
    house.disks.spaces[house.temp.parent] = replace(ROOMY, free_bytes=900 * KB)
    budget = house.budget(1000 * KB, min_free=300 * KB)
    # 500 KB of a are still to come, and 100 KB of b: with the floor just what is free.
    first = await budget.lease("a", 900 * KB, spool_paths=[part.with_suffix(""), part])
    second = await budget.lease("b", 100 * KB)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        asking.ask(budget, "c", 100 * KB)
        await asking.until_waiting("c")
        part.rename(part.with_suffix(""))
        first.release()  # its file stays, without a lease: 400 + 100 + 100
        await asking.until_got("c")
    second.release()


async def test_written_output_is_not_counted_twice(house: House) -> None:
    house.disks.spaces[house.temp.parent] = replace(ROOMY, free_bytes=10 * GB)
    mine, other = house.budget(), house.budget()
    first = await mine.lease("a", 0, 8 * GB)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        asking.ask(other, "b", 0, 6 * GB)
        await asking.until_waiting("b")
        first.record_written(4 * GB, 0)  # the fake disk stays as it was, so 4 GB less are promised
        house.clock.strike()
        await asking.until_got("b")


async def test_a_lease_whose_bytes_are_there_goes_on_below_a_lowered_limit(house: House) -> None:
    whole = house.part("a.smc", 800 * KB)
    with await house.budget(500 * KB).lease("a", 800 * KB, spool_paths=[whole]):
        assert house.tickets() == ["a"]


async def test_parts_do_not_block_each_other_for_ever(house: House) -> None:
    """The first cannot go beside the second's part; the second may, and clears it."""
    part = house.part("b.part", 500 * KB)
    budget = house.budget(1000 * KB)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        asking.ask(budget, "a", 600 * KB)
        await asking.until_waiting("a")
        asking.ask(budget, "small", 100 * KB)
        await asking.until_waiting("small")
        asking.ask(budget, "b", 700 * KB, spool_paths=[part])
        await asking.until_got("b")
        assert list(asking.got) == ["b"]
        part.unlink()
        asking.got["b"].release()
        await asking.until_got("a", "small")
    assert list(asking.got) == ["b", "a", "small"]


async def test_the_same_files_are_leased_to_one_only_and_hold_up_nobody_else(house: House) -> None:
    place = house.temp / "a.smc"
    first = await house.budget().lease("a", GB, spool_paths=[place])
    async with anyio.create_task_group() as group:
        asking, other = Asking(group, house.clock), house.budget()
        asking.ask(other, "a again", GB, spool_paths=[place])
        await asking.until_waiting("a again")
        assert asking.messages() == {"a again": "Waiting for another run to finish a"}
        asking.ask(other, "b", GB)
        await asking.until_got("b")
        first.release()
        await asking.until_got("a again")


async def test_a_lease_waits_again_when_a_stranger_has_filled_the_disk(house: House) -> None:
    """Of several that were stopped the first goes on as soon as there is room for it alone."""
    house.disks.spaces[house.temp.parent] = replace(ROOMY, free_bytes=100 * GB)
    budget = house.budget(min_free=10 * GB)
    first, second = await budget.lease("a", 0, 8 * GB), await budget.lease("b", 0, 4 * GB)
    went_on: list[str] = []
    await budget.wait_for_space(first)
    house.disks.spaces[house.temp.parent] = replace(ROOMY, free_bytes=17 * GB)
    told: dict[str, list[Shortage | None]] = {"a": [], "b": []}
    async with anyio.create_task_group() as group:

        async def wait(name: str, lease: Lease) -> None:
            await budget.wait_for_space(lease, on_wait=told[name].append)
            went_on.append(name)

        group.start_soon(wait, "a", first)
        group.start_soon(wait, "b", second)
        while not all(told.values()):
            await checkpoint()
        assert str(told["a"][0]).startswith("Insufficient storage space: 17 GB free, 18 GB required")
        assert str(told["b"][0]).startswith("Insufficient storage space: 17 GB free, 22 GB required")
        house.disks.spaces[house.temp.parent] = replace(ROOMY, free_bytes=18 * GB)
        while not went_on:
            house.clock.strike()
            await checkpoint()
        assert went_on == ["a"]
        first.record_written(8 * GB, 0)
        while len(went_on) < 2:
            house.clock.strike()
            await checkpoint()
    assert told["a"][-1] is None and told["b"][-1] is None


async def test_leftovers_give_way_when_nothing_else_makes_room_and_only_then(house: House) -> None:
    part = house.part("x.part", 600 * KB)
    asked: list[Shortage] = []

    def evict_orphans(shortage: Shortage) -> bool:
        asked.append(shortage)
        part.unlink()
        return True

    budget = Budget(
        house.temp, house.output, 1000 * KB, 0, min_free_files=0, evict_orphans=evict_orphans, disk=house.disks,
        pause=house.clock.pause,
    )  # fmt: skip
    first = await budget.lease("a", 300 * KB)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        asking.ask(budget, "b", 500 * KB)
        await asking.until_waiting("b")
        assert part.exists() and not asked, "a lease is out, so its end will make room"
        first.release()
        await asking.until_got("b")
    assert [(shortage.stuck, shortage.lacking) for shortage in asked] == [(True, 100 * KB)]


async def test_cancelled_while_waiting_leaves_no_trace(house: House) -> None:
    budget = house.budget(10 * GB)
    first = await budget.lease("first", 9 * GB)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        async with anyio.create_task_group() as inner:
            leaving = Asking(inner, house.clock)
            leaving.ask(budget, "leaving", 10 * GB)
            await leaving.until_waiting("leaving")
            asking.ask(budget, "next", 1 * GB)
            await asking.until_waiting("next")
            assert asking.messages()["next"] == "Waiting for storage behind leaving"
            inner.cancel_scope.cancel()
        while "next" not in asking.got:  # woken by the one that left, not by the clock
            await checkpoint()
    assert house.tickets() == ["first", "next"]
    assert (leaving.got, asking.messages()) == ({}, {})
    first.release()


async def test_a_callback_that_fails_leaves_no_trace(house: House) -> None:
    budget = house.budget(10 * GB)
    first = await budget.lease("first", 10 * GB)

    def broken(_: Shortage | None) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await budget.lease("a", GB, on_wait=broken)
    assert house.tickets() == ["first"]
    first.release()


async def test_what_can_never_be_is_said_before(house: House) -> None:
    house.disks.spaces[house.temp] = replace(ROOMY, total_bytes=80 * GB)
    budget = house.budget(100 * GB, min_free=20 * GB)
    assert budget.explain_too_large(60 * GB) is None
    assert budget.explain_too_large(101 * GB) == (
        "needs 101 GB in temp_dir, and limits.max_temp_size_gb allows 100 GB in all"
    )
    assert "whose disk has 80 GB in all" in str(budget.explain_too_large(61 * GB))


async def test_instances_share_one_budget_and_one_order(house: House) -> None:
    one, two = house.budget(10 * GB), house.budget(10 * GB)
    first = await one.lease("one/first", 6 * GB)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        asking.ask(two, "two/large", 8 * GB)
        await asking.until_waiting("two/large")
        asking.ask(one, "one/small", 1 * GB)
        await asking.until_waiting("one/small")
        assert asking.messages() == {"one/small": "Waiting for storage behind two/large"}
        first.release()
        house.clock.strike()
        await asking.until_got("two/large")
        house.clock.strike()
        await asking.until_got("one/small")
    assert list(asking.got) == ["two/large", "one/small"]


async def test_one_that_waits_for_a_disk_of_its_own_holds_nobody_up(house: House, tmp_path: Path) -> None:
    elsewhere = tmp_path / "full"
    house.disks.spaces[elsewhere] = replace(ROOMY, device=7, free_bytes=0)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        asking.ask(house.budget(output=elsewhere), "blocked", GB, GB)
        await asking.until_waiting("blocked")
        asking.ask(house.budget(), "free", GB, GB)
        await asking.until_got("free")
        assert list(asking.got) == ["free"]
        group.cancel_scope.cancel()


HOLDER = """
import sys
import anyio
from pathlib import Path
from rm360_async.budget import Budget
async def main():
    budget = Budget(Path(sys.argv[1]), Path(sys.argv[2]), 10 * 2**30, 0, min_free_files=0)
    lease = await budget.lease("theirs", int(sys.argv[3]))
    print("leased", flush=True)
    await anyio.sleep_forever()
anyio.run(main)
"""


def holder(house: House, size: int) -> subprocess.Popen[bytes]:
    """Start another instance; it is killed in the end, whatever the test did."""
    arguments = [sys.executable, "-c", HOLDER, str(house.temp), str(house.output), str(size)]
    return subprocess.Popen(arguments, cwd=PROJECT, stdout=subprocess.PIPE)


async def test_the_dead_give_everything_back_at_once(house: House) -> None:
    process = holder(house, 10 * 2**10)
    with process, ExitStack() as stack:
        stack.callback(process.kill)
        assert process.stdout is not None and process.stdout.readline() == b"leased\n"
        budget = house.budget(10 * 2**10)
        async with anyio.create_task_group() as group:
            asking = Asking(group, house.clock)
            asking.ask(budget, "ours", 10 * 2**10)
            await asking.until_waiting("ours")
            assert house.tickets() == ["ours", "theirs"]
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            house.clock.strike()
            await asking.until_got("ours")
        assert house.tickets() == ["ours"]


async def test_a_dead_one_that_waited_is_no_longer_in_the_way(house: House) -> None:
    budget = house.budget(10 * GB)
    first = await budget.lease("first", 10 * GB)
    process = holder(house, 10 * GB)
    with process, ExitStack() as stack:
        stack.callback(process.kill)
        while "theirs" not in house.tickets():
            await checkpoint()
        async with anyio.create_task_group() as group:
            asking = Asking(group, house.clock)
            asking.ask(budget, "ours", 2 * GB)
            await asking.until_waiting("ours")
            process.kill()
            process.wait(30)
            first.release()
            await asking.until_got("ours")
        assert house.tickets() == ["ours"]


async def test_children_do_not_keep_a_lease(house: House) -> None:
    budget = house.budget(10 * GB)
    first = await budget.lease("first", 10 * GB)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        first.release()
        with await house.budget(10 * GB).lease("second", 10 * GB):
            assert child.poll() is None
        assert child.stdin is not None
        child.stdin.close()


async def test_leases_hold_although_somebody_clears_temp_dir(house: House) -> None:
    budget = house.budget(10 * GB)
    first = await budget.lease("first", 10 * GB)
    shutil.rmtree(house.temp)
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        asking.ask(budget, "second", 1 * GB)
        await asking.until_waiting("second")
        first.release()
        await asking.until_got("second")


async def test_another_versions_tickets_are_left_alone(house: House) -> None:
    budget = house.budget(10 * GB)
    with await budget.lease("a", GB):
        strange = house.temp / ".leases" / "note.lease"
        strange.write_text("not a ticket")
        with await budget.lease("b", GB):
            assert strange.exists()


async def test_a_temp_dir_that_cannot_be_is_one_sentence(house: House) -> None:
    house.temp.write_text("a file")
    with pytest.raises(Fault, match="cannot keep leases in") as caught:
        await house.budget().lease("a", GB)
    assert caught.value.cause is Cause.NOT_WRITABLE


async def test_the_system_tells_allocated_bytes(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    with (tmp_path / "deep" / "sparse").open("wb") as file:
        file.truncate(10 * 2**20)
    (tmp_path / "deep" / "er" / "full").write_bytes(os.urandom(2**20))
    (tmp_path / "skipped").mkdir()
    (tmp_path / "skipped" / "file").write_bytes(b"x")
    os.sync()
    found = SystemDisk().files(tmp_path, [tmp_path / "skipped"])
    sparse, full = str(tmp_path / "deep" / "sparse"), str(tmp_path / "deep" / "er" / "full")
    assert set(found) == {sparse, full}
    assert found[sparse] < 2**20 <= found[full]
    told, here = SystemDisk().space(tmp_path / "not" / "there"), os.statvfs(tmp_path)
    assert (told.device, told.total_bytes) == (tmp_path.stat().st_dev, here.f_blocks * here.f_frsize)
    assert told.free_bytes <= here.f_bfree * here.f_frsize


SMALL_DISK = """
import sys
import anyio
from pathlib import Path
from rm360_async.budget import Budget
folder = Path(sys.argv[1])
MB = 2**20
async def main():
    told = []
    again = anyio.Event()
    budget = Budget(folder / "temp", folder / "out", 100 * MB, 4 * MB, min_free_files=0, pause=lambda _: again.wait())
    assert "disk has 16 MB" in budget.explain_too_large(13 * MB), budget.explain_too_large(13 * MB)
    first = await budget.lease("a", 8 * MB, spool_paths=[folder / "temp" / "a"])
    (folder / "temp" / "a").write_bytes(b"x" * 8 * MB)
    second = await budget.lease("b", 3 * MB)
    def on_wait(shortage):
        told.append(str(shortage))
        if shortage is not None:
            (folder / "temp" / "a").unlink()
            first.release()
            again.set()
    third = await budget.lease("c", 3 * MB, on_wait=on_wait)
    print(told)
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
def test_any_order_of_takes_and_returns_keeps_budget_order_and_progress(
    sizes: list[int], choices: list[int], instances: int
) -> None:
    with TemporaryDirectory() as folder:
        anyio.run(_any_order, House(Path(folder)), sizes, choices, instances)


async def _any_order(house: House, sizes: list[int], choices: list[int], instances: int) -> None:
    """Ask for all in order, return in the drawn order. Staged bytes: 10 GB at most; with the output: 25 GB."""
    house.disks.spaces[house.temp.parent] = replace(ROOMY, free_bytes=30 * GB)
    budgets = [house.budget(10 * GB, min_free=5 * GB) for _ in range(instances)]
    async with anyio.create_task_group() as group:
        asking = Asking(group, house.clock)
        for number, units in enumerate(sizes):
            asking.ask(budgets[number % instances], str(number), units * GB, 2 * units * GB)
            while not (asking.told[str(number)] or str(number) in asking.got):
                await checkpoint()
        returned: set[str] = set()
        while len(returned) < len(sizes):
            if len(asking.got) == len(returned):  # nothing is out, so the next in order gets his turn
                await asking.until_got(str(len(asking.got)))
            out = [name for name in asking.got if name not in returned]
            assert list(asking.got) == [str(number) for number in range(len(asking.got))]
            assert sum(sizes[int(name)] for name in out) <= 25 // 3
            name = out[choices.pop() % len(out)] if choices else out[0]
            asking.got[name].release()
            returned.add(name)
            house.clock.strike()
            await checkpoint()
    assert house.tickets() == []
