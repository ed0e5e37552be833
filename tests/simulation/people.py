"""Who runs the service: the unit that starts it again, and a person who asks for more, stops it and adds accounts."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskStatus

from rm360_async.domain.errors import Cause
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.names import Performance, output_folder
from rm360_async.domain.stage import Stage
from simulation.laws import ENDS
from simulation.process import CURRENT, Process
from simulation.requests import Changes, requests_of, wants_more_of_each

if TYPE_CHECKING:
    from simulation.world import World

_RESTART_SECONDS = 30.0
_NEXT_MORNING = 8 * 3600.0
_CALM_SHARE = 0.8
"""The share of the last request that is done when all faults end."""
_REMOVED_SHARE = 0.03
_MAX_STARTS = 500
_STOP_SHARE, _RETRY_SHARE, _WAITING_SHARE = 0.05, 0.3, 0.5
"""How often, of the times that a person looks, the service is stopped, and what failed or waits is retried."""


class Person:
    """Keeps one world's instances running, and asks for more each time they are done."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._dice = world.dice("person")
        self._requests = requests_of(world)
        self._numbers = 0

    async def work(self) -> None:
        """Run the service until all that was asked for is done."""
        for number, changes in enumerate(self._requests):
            following = self._requests[number + 1] if number + 1 < len(self._requests) else None
            await self._keep_running(changes, last=following is None)
            await self._check_at_rest(changes, following)
            if following is not None:
                await anyio.sleep(self._dice.uniform(0.1, 2) * _NEXT_MORNING)
                if number == 0:  # the next request wants all of them
                    self._remove_folders()

    async def _keep_running(self, changes: Changes, *, last: bool) -> None:
        """Run every instance until it ends by itself; the weather is calm when most of the last request is done."""
        is_first = True
        while is_first or self.world.laws.has_just_retried():
            is_first = False
            async with anyio.create_task_group() as tasks:
                around = await tasks.start(self._look_now_and_then, last)
                async with anyio.create_task_group() as instances:
                    for number in range(self.world.scenario.instances):
                        instances.start_soon(self._instance, f"service{number + 1}", changes)
                around.cancel()

    async def _instance(self, name: str, changes: Changes) -> None:
        while True:
            process = self._new_process(name, changes)
            self.world.processes.append(process)
            code = await process.run()
            self.world.processes.remove(process)
            if code not in (None, ExitCode.CANNOT_CONTINUE, ExitCode.TERMINATED):
                return
            if code != ExitCode.TERMINATED:
                await self.world.pause(_RESTART_SECONDS if code is None else _NEXT_MORNING)
            await anyio.sleep(_RESTART_SECONDS)

    def _new_process(self, name: str, changes: Changes) -> Process:
        self._numbers += 1
        if self._numbers > _MAX_STARTS:
            self.world.laws.breach(ENDS, f"the service was started {self._numbers} times")
        return Process(self.world, name, self._numbers, self.world.settings(**changes))

    async def _look_now_and_then(self, last: bool, *, task_status: TaskStatus[anyio.CancelScope]) -> None:
        """Check the status of what runs, until cancelled; calm the weather once most of the last request is done."""
        with anyio.CancelScope() as scope:
            task_status.started(scope)
            while True:
                await anyio.sleep(self.world.scenario.look_seconds)
                running = [each for each in self.world.processes if each.alive and each.progress is not None]
                for process in running:
                    if process.alive:  # it takes some minutes to look at the one before
                        await self._look_at(process, last)
                if running and not self.world.calm:
                    await self._interfere()

    async def _look_at(self, process: Process, last: bool) -> None:
        await self.world.laws.check_status(process)
        self.world.laws.check_quota_waits(process)
        await self.world.laws.expect_end(process)
        if last and not self.world.calm and _share_done(process) >= _CALM_SHARE:
            self.world.become_calm()
            self.world.laws.must_end(process)

    async def _interfere(self) -> None:
        """Add an account if one is needed; sometimes stop the service, or retry what failed while it runs."""
        world = self.world
        waits = [wait for process in world.processes for wait in process.scheduler.waiting.values()]
        if world.known_accounts < len(world.accounts) and any(wait.cause is Cause.FILE_QUOTA for wait in waits):
            world.known_accounts += 1
            world.note("account added")
            self._stop_all()
        elif world.scenario.interferes and self._dice.random() < _STOP_SHARE:
            self._stop_all()
        elif world.scenario.interferes and self._dice.random() < _RETRY_SHARE:
            command = self._new_process("person", {})
            world.laws.retried_meanwhile(await self._retry(command, waiting=self._dice.random() < _WAITING_SHARE))
            command.close()

    def _stop_all(self) -> None:
        for process in self.world.processes:
            if process.alive:
                process.stop()

    async def _retry(self, command: Process, *, waiting: bool = False) -> list[Performance]:
        """Put what has failed, or what waits, back to pending; return which."""
        retried = await command.ledger.requests.retry(waiting=waiting)
        self.world.laws.retried(retried)
        self.world.note("retried", None, "", str(len(retried)))
        return retried

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

    async def _check_at_rest(self, changes: Changes, following: Changes | None) -> None:
        """Have the laws look at what a run left, and give what failed another chance."""
        command = self._new_process("person", changes)
        CURRENT.set(None)
        rows = await command.ledger.rows()
        await self.world.laws.check_at_rest(command, rows)
        if following is not None:
            await self._retry(command)
            if wants_more_of_each(following):
                self.world.laws.wanted_again([row.performance for row in rows if row.stage is Stage.COMPLETED])
        command.close()


def _share_done(process: Process) -> float:
    """Return the share of the planned performances that have ended."""
    scheduler = process.scheduler
    return len(scheduler.ended) / scheduler.planned if scheduler.planned else 0.0
