"""What befalls a world: outages, storms of refusals, kills, strangers on the disk, clocks that are set back,
and a machine that lets no process begin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from rm360_async.domain.errors import Cause, Fault
from simulation.catalogue import GB

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from simulation.world import World

_DAY, _HOUR, _MINUTE = 86_400.0, 3600.0, 60.0


def begin(world: World, tasks: TaskGroup) -> None:
    """Let the faults of the scenario happen until the world is calm."""
    faults = world.faults
    for name, days, happen in (
        ("outage", faults.outage_days, _outage),
        ("blip", faults.outage_days / 4, _blip),
        ("storm", faults.storm_days, _storm),
        ("kill", faults.kill_days, _kill),
        ("strangers", faults.strangers_days, _strangers),
        ("lockout", faults.lockout_days, _lockout),
        ("clock", faults.clock_days, _set_clock_back),
        ("no process", faults.no_process_days, _no_process_begins),
    ):
        if days:
            tasks.start_soon(_now_and_then, world, name, days, happen)


async def _now_and_then(
    world: World, name: str, days: float, happen: Callable[[World, float], Awaitable[None]]
) -> None:
    """Let it happen every so many days on average; it gets a number in [0, 1) that says how bad it is."""
    dice = world.dice(name)
    while not world.calm:
        await world.pause(dice.expovariate(1 / (days * _DAY)))
        if not world.calm:
            await happen(world, dice.random())


async def _outage(world: World, badness: float) -> None:
    await _network_gone(world, (0.2 + 8 * badness) * _HOUR)


async def _blip(world: World, badness: float) -> None:
    await _network_gone(world, (0.2 + 5 * badness) * _MINUTE)


async def _network_gone(world: World, seconds: float) -> None:
    if not world.line.up:
        return
    world.note("network gone", None, "", f"for {seconds / _HOUR:.1f} h")
    world.line.set_up(False)
    world.line.break_all(lambda transfer: Fault(Cause.NETWORK, f"the connection of {transfer.part.name} broke"))
    with world.troubled():
        await world.pause(seconds)
    if not world.calm:
        world.line.set_up(True)
        world.note("network back", None)


async def _storm(world: World, badness: float) -> None:
    accounts = list(world.accounts.values())
    account = accounts[int(badness * 97) % len(accounts)]
    account.stormy_until = world.elapsed() + (2 + 60 * badness) * _MINUTE
    world.note("storm", None, account.name, f"{2 + 60 * badness:.0f} min")
    with world.troubled():
        await world.pause(account.stormy_until - world.elapsed())


async def _lockout(world: World, badness: float) -> None:
    account = next(iter(world.accounts.values()))
    account.locked_out_until = world.elapsed() + (1 + 20 * badness) * _MINUTE
    world.note("login refused", None, account.name, f"{1 + 20 * badness:.0f} min")
    with world.troubled():
        await world.pause(account.locked_out_until - world.elapsed())


async def _kill(world: World, badness: float) -> None:
    alive = [process for process in world.processes if process.alive]
    if alive:
        alive[int(badness * len(alive))].kill()


async def _strangers(world: World, badness: float) -> None:
    """Fill the disk of the spool, up to the last byte if it is bad."""
    free = world.disk.space(world.disk.temp_dir).free_bytes
    world.disk.strangers += int(free * min(1.0, 0.9 + 0.2 * badness))
    world.note("strangers fill the disk", None, "", f"{world.disk.strangers / GB:.0f} GB")
    with world.troubled():
        await world.pause((0.5 + 5 * badness) * _HOUR)
    world.disk.strangers = 0
    world.note("strangers are gone", None)


async def _set_clock_back(world: World, badness: float) -> None:
    seconds = _HOUR * (1 if badness < 0.5 else 24 * 14 * badness)
    world.time.offset -= seconds
    world.note("clock set back", None, "", f"{seconds / _HOUR:.0f} h")


async def _no_process_begins(world: World, badness: float) -> None:
    world.lets_processes_begin = False
    world.note("no process begins", None, "", f"for {1 + 20 * badness:.0f} h")
    with world.troubled():
        await world.pause((1 + 20 * badness) * _HOUR)
    world.lets_processes_begin = True
    world.note("processes begin again", None)
