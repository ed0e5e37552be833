"""Who runs the service: the unit that starts it again, and a person who comes by when it has ended."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskStatus

from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.names import Performance, output_folder
from rm360_async.domain.stage import Stage
from simulation.process import CURRENT, Process

if TYPE_CHECKING:
    from simulation.world import World

_RESTART_SECONDS = 30.0
_NEXT_MORNING = 8 * 3600.0
_CALM_SHARE = 0.8
"""The share of the last request that is done when all faults end."""
_REMOVED_SHARE = 0.03
_FEW_CAMERAS = [0, 6, 12, 25]


class Person:
    """Keeps one world's instances running, and asks for more each time they are done."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._dice = world.dice("person")
        self._changes: list[dict[str, dict[str, Any]]] = _requests(world)
        self._touched: set[Performance] = set()
        self._numbers = 0

    async def work(self) -> None:
        """Run the service until all that was asked for is done."""
        for number, changes in enumerate(self._changes):
            await self._keep_running(changes, last=number == len(self._changes) - 1)
            if number < len(self._changes) - 1:
                await anyio.sleep(self._dice.uniform(0.1, 2) * _NEXT_MORNING)
                if number == 0:  # the next request wants all of them
                    self._remove_folders()

    async def _keep_running(self, changes: dict[str, dict[str, Any]], *, last: bool) -> None:
        """Run every instance until it ends by itself; the weather is calm when most of the last request is done."""
        async with anyio.create_task_group() as tasks:
            around = await tasks.start(self._look_now_and_then, last)
            async with anyio.create_task_group() as instances:
                for number in range(self.world.scenario.instances):
                    instances.start_soon(self._instance, f"service{number + 1}", changes)
            around.cancel()
        await self._check_at_rest(changes, last=last)

    async def _instance(self, name: str, changes: dict[str, dict[str, Any]]) -> None:
        while True:
            self._numbers += 1
            process = Process(self.world, name, self._numbers, self.world.settings(**changes))
            self.world.processes.append(process)
            code = await process.run()
            self.world.processes.remove(process)
            if code not in (None, ExitCode.CANNOT_CONTINUE):
                return
            waits = _RESTART_SECONDS if code is None else _NEXT_MORNING
            await self.world.pause(waits)
            await anyio.sleep(_RESTART_SECONDS)

    async def _look_now_and_then(self, last: bool, *, task_status: TaskStatus[anyio.CancelScope]) -> None:
        """Check the status of what runs, until cancelled; calm the weather once most of the last request is done."""
        with anyio.CancelScope() as scope:
            task_status.started(scope)
            while True:
                await anyio.sleep(self.world.scenario.look_seconds)
                for process in list(self.world.processes):
                    if process.alive and process.progress is not None:
                        await self.world.laws.check_status(process, self._touched)
                        await self.world.laws.expect_end(process)
                        if last and not self.world.calm and _share_done(process) >= _CALM_SHARE:
                            self.world.become_calm()
                            self.world.laws.must_end(process)

    def _remove_folders(self) -> None:
        """Remove some published folders, as a person does who wants them again."""
        output_dir = self.world.disk.output_dir
        published = [each for each in self.world.catalogue.files if output_folder(output_dir, each).exists()]
        removed = [each for each in published if self._dice.random() < _REMOVED_SHARE]
        for each in removed:
            shutil.rmtree(output_folder(output_dir, each))
            self.world.disk.remove(output_folder(output_dir, each))
        self.world.laws.wanted_again(removed)
        self.world.note("folders removed", None, "", str(len(removed)))

    async def _check_at_rest(self, changes: dict[str, dict[str, Any]], *, last: bool) -> None:
        """Have the laws look at what a run left, and give what failed another chance."""
        command = Process(self.world, "person", self._numbers, self.world.settings(**changes))
        CURRENT.set(None)
        rows = await command.ledger.rows()
        await self.world.laws.check_at_rest(command, rows)
        if not last:
            failed = await command.ledger.requests.retry()
            self.world.laws.retried(failed)
            self.world.note("retried", None, "", str(len(failed)))
            wider = self._changes[1].get("extraction", {}).get("cameras") if len(self._changes) > 1 else None
            if wider is not None:
                self.world.laws.wanted_again([row.performance for row in rows if row.stage is Stage.COMPLETED])
        command.close()


def _share_done(process: Process) -> float:
    """Return the share of the planned performances that have ended."""
    scheduler = process.scheduler
    return len(scheduler.ended) / scheduler.planned if scheduler is not None and scheduler.planned else 0.0


def _requests(world: World) -> list[dict[str, dict[str, Any]]]:
    """Return the configs that the person runs one after another: some subjects, all, and more cameras of one kind."""
    subjects = sorted({each.subject for each in world.catalogue.files})
    if len(subjects) < 3 or world.scenario.requests == 1:
        return [{}]
    some: dict[str, dict[str, Any]] = {
        "extraction": {"subjects": subjects[: len(subjects) * 2 // 3], "cameras": _FEW_CAMERAS}
    }
    every: dict[str, dict[str, Any]] = {"extraction": {"subjects": "all", "cameras": _FEW_CAMERAS}}
    more: dict[str, dict[str, Any]] = {
        "extraction": {"subjects": subjects, "performances": ["s3_all", "h2"], "cameras": "all"}
    }
    return [some, every, more][: world.scenario.requests]
