"""What a run does before its first download: take in what was there, sweep, and put the books where they stand."""

from __future__ import annotations

import hashlib
import os
import random
import time
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.domain.formatting import duration_text
from rm360_async.domain.retry import RetryPolicy, startup_retry_delay
from rm360_async.domain.stage import Stage
from rm360_async.download.rclone import Remote, RemoteListing, StallPolicy, find_rclone, rclone_environment
from rm360_async.ledger import Claims, Ledger, adopt_some, import_existing
from rm360_async.service.run_plan import RunPlan, estimate_plan, make_plan
from rm360_async.store import find_staging, remove_tree
from rm360_async.system.fault_points import reach
from rm360_async.system.log import logger
from rm360_async.system.systemd import Notifier

log = logger(__name__)


_SELECTION = "selection"
_SHOWN = 5
_FORCED = "forced"
"""The remark that says what the last forced run was asked for."""


async def looks_closer(ledger: Ledger, settings: Settings) -> bool:
    """Tell whether the last run on this ledger wanted something else, so that published folders may lack some."""
    return await ledger.hints.get_meta(_SELECTION) != settings.selection_policy.fingerprint()


class Reconciler:
    """The ledger of a run, brought in line with the folders and the remote's listing."""

    def __init__(self, settings: Settings, ledger: Ledger, claims: Claims) -> None:
        self.settings, self.ledger, self.claims = settings, ledger, claims

    async def import_existing(self) -> None:
        """Fill a new ledger from folders and an earlier manifest; remove what crashed extractions left."""
        storage = self.settings.storage
        taken = await import_existing(self.ledger, storage.manifest_path, storage.output_dir)
        if taken is not None and (taken.completed or taken.pending):
            log.info(
                "took in what was there before the ledger",
                completed=taken.completed,
                pending=taken.pending,
                folders_gone=taken.gone,
                copy=taken.copy,
            )
        for problem in taken.problems if taken is not None else ():
            log.warning(problem)
        left = await run_sync(find_staging, storage.output_dir)
        numbers = await self.ledger.row_numbers() if left else {}
        for performance, folder in left:
            await self._sweep(numbers.get(performance), folder)

    async def _sweep(self, number: int | None, folder: Path) -> None:
        """Remove a staging folder that a crash left, unless a live instance has its performance in hand."""
        if number is not None and not self.claims.claim(number):
            return
        log.info("removing what an interrupted extraction left", folder=str(folder))
        await run_sync(remove_tree, folder)
        if number is not None:
            self.claims.release(number)

    async def plan(self, listing: RemoteListing, *, force: bool) -> RunPlan:
        """Return where every wanted performance stands, with the ledger put there too."""
        if listing.unrecognized:
            number, shown = len(listing.unrecognized), ", ".join(map(repr, listing.unrecognized[:_SHOWN]))
            log.info(f"ignored {number} names on the remote that are no .smc of the release, such as {shown}")
        closer = await looks_closer(self.ledger, self.settings)
        rows = await self.ledger.rows(claims=self.claims)
        plan = make_plan(self.settings, listing, rows, time.time(), look_closer=closer)
        await self.ledger.add(plan.standings)
        if force:
            plan = await self._forced(plan, listing)
        await self._adopt(plan)
        await self.ledger.apply_plan(plan.standings, self.claims)
        if closer and not plan.uncompared:  # by now the ledger knows which are incomplete
            await self.ledger.hints.set_meta(_SELECTION, self.settings.selection_policy.fingerprint())
            reach("selection recorded")
        estimate_plan(self.settings, plan, await self.ledger.hints.ratios(), plan.open())
        self._say(plan)
        return plan

    async def _forced(self, plan: RunPlan, listing: RemoteListing) -> RunPlan:
        """Mark everything to be done again, unless this very run was interrupted: then what it has still to do."""
        asked = " ".join([self.settings.selection_policy.fingerprint(), *map(str, plan.standings)])
        print_of_it = hashlib.sha256(asked.encode()).hexdigest()
        rows = await self.ledger.rows(plan.standings.keys())
        if not any(row.forced for row in rows) or await self.ledger.hints.get_meta(_FORCED) != print_of_it:
            await self.ledger.hints.set_meta(_FORCED, print_of_it)
            await self.ledger.force(plan.standings)
        return make_plan(self.settings, listing, await self.ledger.rows(claims=self.claims), time.time())

    async def _adopt(self, plan: RunPlan) -> None:
        """Enter folders that are published, but not so in the ledger, with their counts."""
        done = {each for each, place in plan.standings.items() if place.stage is Stage.COMPLETED}
        rows = await self.ledger.rows(done)
        unknown = {row.performance for row in rows if row.stage is not Stage.COMPLETED}
        if unknown:
            adopted = await adopt_some(self.settings.storage.output_dir, unknown)
            await self.ledger.import_rows(adopted.rows)
            for problem in adopted.problems:
                log.warning(problem)

    def _say(self, plan: RunPlan) -> None:
        counts = {stage.value: 0 for stage in (Stage.PENDING, Stage.COMPLETED, Stage.WAITING)}
        for each, place in plan.standings.items():
            counts[place.stage.value] = counts.get(place.stage.value, 0) + 1
            if place.stage in (Stage.FAILED, Stage.DOWNLOAD_FAILED):
                log.error(f"{each} {place.stage.value}: {place.reason}")
        for each, reason in plan.too_large(self.settings).items():
            log.error(f"{each} will fail: it {reason}")
        for remark in plan.remarks:
            log.error(remark)
        if plan.completing:
            log.info(f"{len(plan.completing)} published performances lack what is wanted now, and are completed")
        log.info(f"{len(plan.standings)} performances planned", **counts)


log = logger(__name__)


async def list_remote(settings: Settings, remote: Remote) -> RemoteListing:
    """Return what the remote holds of the wanted subjects; raises Fault with the mend when it does not answer."""
    wanted = settings.extraction.subjects
    try:
        return await remote.listing(settings.google_drive.structure, None if isinstance(wanted, str) else wanted)
    except Fault:
        await remote.check()  # knows better sentences for a remote that cannot be reached at all
        raise


async def list_patiently(settings: Settings, remotes: list[Remote], rules: RetryPolicy) -> RemoteListing:
    """Return what the first remote holds, once all of them answer; what may pass is asked again after a while.

    A service that starts before its network does gets some minutes (with the defaults, three and a half). After
    that the Fault is raised: a person has to look.
    """
    tries = 0
    while True:
        try:
            for other in remotes[1:]:  # a login that is broken is told now, not when a quota makes us need it
                await other.check()
            return await list_remote(settings, remotes[0])
        except Fault as fault:
            pause = startup_retry_delay(fault, tries, rules, random.random())
            if pause is None:
                raise
            log.warning(f"asking again in {duration_text(pause)}: {fault}")
            tries += 1
            await anyio.sleep(pause)


async def stay_alive(notifier: Notifier) -> None:
    """Keep the watchdog quiet until cancelled."""
    while True:
        notifier.alive()
        await anyio.sleep(notifier.watchdog_seconds or 60)


_TICKS = 1.0


def connect(settings: Settings) -> list[Remote]:
    """Return the remotes of the config on the rclone that is here; raises Fault(RCLONE_MISSING)."""
    program, env = find_rclone(), rclone_environment(os.environ)
    pace = pace_of(settings)
    folder = settings.google_drive.root_folder_id
    return [Remote(name, folder, program, env, pace) for name in settings.google_drive.remotes]


def pace_of(settings: Settings) -> StallPolicy:
    """Return how often transfers are looked at, and when they count as stalled."""
    return StallPolicy(_TICKS, max(1, round(settings.processing.stall_seconds / _TICKS)))
