"""Bring the ledger in line with the published folders and the remote's listing, before the first download."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from rm360_async.config import Settings
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.names import Performance, output_folder
from rm360_async.domain.quota import with_quota_wait
from rm360_async.domain.stage import FAILURES, Stage
from rm360_async.domain.state import HOUR
from rm360_async.download.rclone import RemoteListing
from rm360_async.ledger import Claims, Ledger, adopt_folders, import_existing
from rm360_async.service.run_plan import RunPlan, estimate_plan, make_plan
from rm360_async.stages.publish import log_removal
from rm360_async.store.replacement import remove_staging
from rm360_async.store.staging import find_staging_folders
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.fault_points import reach
from rm360_async.system.log import logger

log = logger(__name__)
_SELECTION_KEY = "selection"
"""Key of the ledger's metadata: the selection of the last run that compared all published folders with it."""
_FORCED_KEY = "forced"
"""Key of the ledger's metadata: a hash of what the last run with `--force` was to replace."""
_MAX_NAMES_SHOWN = 5
_ALWAYS_COUNTED = (Stage.PENDING, Stage.COMPLETED, Stage.WAITING)


async def has_selection_changed(ledger: Ledger, settings: Settings) -> bool:
    """Return True if the last run on this ledger had another selection, so that published folders may lack data."""
    return await ledger.hints.get_meta(_SELECTION_KEY) != settings.selection_policy.fingerprint()


class Reconciler:
    """Reconciles the ledger of a run with the disk and the remote."""

    def __init__(self, settings: Settings, ledger: Ledger, claims: Claims, clock: Clock = SYSTEM_CLOCK) -> None:
        self.settings, self.ledger, self.claims, self.clock = settings, ledger, claims, clock

    async def import_existing(self, show_status: Callable[[str], None] = lambda text: None) -> None:
        """Fill a new ledger from the published folders; remove staging folders of interrupted extractions.

        `show_status` gets a line about how far it is.
        """
        storage = self.settings.storage

        def on_progress(done: int, total: int) -> None:
            show_status(f"importing existing folders: {done:,} of {total:,}")

        imported = await import_existing(self.ledger, storage.manifest_path, storage.output_dir, on_progress)
        if imported is not None and imported.copy is not None:
            text = "new ledger: imported the published folders; the earlier manifest is not read, a copy is kept"
            log.info(text, completed=imported.completed, copy=str(imported.copy))
        elif imported is not None and imported.completed:
            log.info("new ledger: imported the published folders", completed=imported.completed)
        for problem in imported.problems if imported is not None else ():
            log.warning(problem)
        interrupted = await on_disk_thread(find_staging_folders, storage.output_dir)
        numbers = await self.ledger.row_numbers() if interrupted else {}
        for performance, folder in interrupted:
            await self._remove_staging(performance, numbers.get(performance), folder)

    async def _remove_staging(self, performance: Performance, number: int | None, folder: Path) -> None:
        """Remove the staging folder of a crashed extraction, unless a live instance is working on the performance."""
        if number is not None and not await on_disk_thread(self.claims.claim, number):
            return
        final = output_folder(self.settings.storage.output_dir, performance)
        log_removal(performance, folder, await on_disk_thread(remove_staging, folder, final))
        if number is not None:
            await on_disk_thread(self.claims.release, number)

    async def plan(self, listing: RemoteListing, accounts: Sequence[str], *, force: bool) -> RunPlan:
        """Return the plan of the run and enter its states in the ledger; `force` replaces published folders.

        A wait for a quota ends at once if one of the accounts was not asked, see `domain.quota`.
        """
        _log_ignored_files(listing)
        compare_published = await has_selection_changed(self.ledger, self.settings)
        await self.ledger.hints.shorten_quotas(self.settings.processing.quota_wait_hours * HOUR)
        plan = await self._make_plan(listing, accounts, compare_published=compare_published)
        await self.ledger.add(plan.states)
        if force:
            plan = await self._force(plan, listing, accounts)
        await self._adopt_published(plan)
        await self.ledger.apply_plan(plan.states, self.claims)
        if compare_published and not plan.comparison_failed:  # the ledger now has the incomplete ones as pending
            await self.ledger.hints.set_meta(_SELECTION_KEY, self.settings.selection_policy.fingerprint())
            reach("selection recorded")
        ratios = await self.ledger.hints.ratios()
        await on_disk_thread(_estimate_and_log, self.settings, plan, ratios)
        return plan

    async def _make_plan(
        self, listing: RemoteListing, accounts: Sequence[str], *, compare_published: bool = False
    ) -> RunPlan:
        stored, quotas = await self.ledger.rows(claims=self.claims), await self.ledger.hints.quotas()
        rows = [with_quota_wait(row, quotas, accounts, self.clock.now()) for row in stored]
        make = partial(make_plan, compare_published=compare_published)
        return await on_disk_thread(make, self.settings, listing, rows, self.clock.now())

    async def _force(self, plan: RunPlan, listing: RemoteListing, accounts: Sequence[str]) -> RunPlan:
        """Mark everything for replacement; if the same forced run was interrupted, keep what it already replaced."""
        request = " ".join([self.settings.selection_policy.fingerprint(), *map(str, plan.states)])
        request_hash = hashlib.sha256(request.encode()).hexdigest()
        rows = await self.ledger.rows(plan.states.keys())
        if not any(row.forced for row in rows) or await self.ledger.hints.get_meta(_FORCED_KEY) != request_hash:
            await self.ledger.hints.set_meta(_FORCED_KEY, request_hash)
            await self.ledger.requests.force(plan.states)
        return await self._make_plan(listing, accounts)

    async def _adopt_published(self, plan: RunPlan) -> None:
        """Enter folders that are published but not completed in the ledger, with their counts."""
        completed = {each for each, state in plan.states.items() if state.stage is Stage.COMPLETED}
        rows = await self.ledger.rows(completed)
        unknown = {row.performance for row in rows if row.stage is not Stage.COMPLETED}
        if unknown:
            adopted = await adopt_folders(self.settings.storage.output_dir, unknown)
            await self.ledger.import_rows(adopted.rows)
            for problem in adopted.problems:
                log.warning(problem)


def _log_ignored_files(listing: RemoteListing) -> None:
    if listing.unrecognized:
        count, examples = len(listing.unrecognized), ", ".join(map(repr, listing.unrecognized[:_MAX_NAMES_SHOWN]))
        log.info(f"ignored {count} remote files that do not match the dataset layout, e.g. {examples}")


def _estimate_and_log(settings: Settings, plan: RunPlan, ratios: Mapping[str, float]) -> None:
    """Estimate and log the plan; on a disk thread, because it asks for the size of a disk and computes for long."""
    estimate_plan(settings, plan, ratios, plan.unfinished())
    _log_plan(settings, plan)


def _log_plan(settings: Settings, plan: RunPlan) -> None:
    for each, state in plan.states.items():
        if state.stage in FAILURES:
            log.error(f"{each} {state.stage.value}: {state.reason}")
    for each, reason in plan.too_large(settings).items():
        log.error(f"{each} will fail: it {reason}")
    for each, reason in plan.obstacles(settings).items():
        log.error(f"{each} will fail: {reason}")
    for remark in plan.remarks:
        log.error(remark)
    for warning in [*plan.warnings, *plan.notes]:
        log.warning(warning)
    if plan.incomplete:
        log.info(f"{len(plan.incomplete)} published performances lack data that is now selected; adding it")
    counts = Counter({stage.value: 0 for stage in _ALWAYS_COUNTED})
    counts.update(state.stage.value for state in plan.states.values())
    log.info(f"{len(plan.states)} performances planned", **counts)
