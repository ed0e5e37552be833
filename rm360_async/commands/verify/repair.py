"""`rm360 verify --repair`: queue damaged performances, and nothing else, for the next run.

Theory of operation. The marker of a damaged folder is renamed (`store.publish.mark_damaged`) and its row goes back to
pending. From then on the folder does not count as published, and a run replaces it in one step when the new one is
complete; until then its files stay where they are. The mark on the disk outlives failed attempts, quota waits and a
lost ledger; `--force` would be forgotten at the end of a run that could not download the file. The claim of the
performance is held meanwhile, so nothing that a run is processing is touched.
"""

from __future__ import annotations

import anyio

from rm360_async.commands.verify.result import VerifyReport, is_repairable
from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance, output_folder
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PlannedState
from rm360_async.ledger import Claims, Ledger, ManifestWriter, opened
from rm360_async.store.publish import mark_damaged
from rm360_async.system.disk_threads import on_disk_thread

_DAMAGED = "found damaged by verify, will be extracted again"
_MISSING = "found missing by verify, will be extracted again"
_EARLIER_TOOL = "an earlier tool published it, so it is left alone; `rm360 run --force` replaces it"


async def repair(settings: Settings, report: VerifyReport) -> None:
    """Queue damaged and missing folders; enter in the report which were queued, and why others were not."""
    async with opened(settings.storage.manifest_path, create=True) as (ledger, claims):
        await ledger.add(report.damaged)
        numbers = await ledger.row_numbers()
        for each in report.damaged:
            check = report.checks.get(each)
            if check is not None and check.is_damaged and not is_repairable(check):
                report.not_queued[each] = _EARLIER_TOOL
            elif not await on_disk_thread(claims.claim, numbers[each]):
                report.not_queued[each] = "a running instance is processing it"
            else:
                try:
                    await _queue(settings, report, each, ledger, claims)
                finally:
                    with anyio.CancelScope(shield=True):
                        await on_disk_thread(claims.release, numbers[each])
        await ManifestWriter(settings.storage.manifest_path, ledger, claims).finish()
    _add_remark(settings, report)


async def _queue(
    settings: Settings, report: VerifyReport, performance: Performance, ledger: Ledger, claims: Claims
) -> None:
    is_missing = performance in report.folder_missing
    if not is_missing:
        try:
            await on_disk_thread(mark_damaged, output_folder(settings.storage.output_dir, performance))
        except Fault as fault:
            if fault.cause is not Cause.IN_THE_WAY:
                raise
            report.not_queued[performance] = str(fault)
            return
    await ledger.attempts.interrupt(performance)
    state = PlannedState(Stage.PENDING, reason=_MISSING if is_missing else _DAMAGED)
    await ledger.apply_plan({performance: state}, claims)
    report.queued.append(performance)


def _add_remark(settings: Settings, report: VerifyReport) -> None:
    unselected = [each for each in report.queued if not is_selected(settings, each)]
    if unselected:
        names = ", ".join(map(str, unselected))
        report.remarks.append(f"this config does not select {names}: use --subject and --performance of `rm360 run`")
    elif report.queued:
        report.remarks.append("the next `rm360 run` extracts the queued performances again, and no others")


def is_selected(settings: Settings, performance: Performance) -> bool:
    """Return True if the config selects a performance."""
    return settings.extraction.performance_filter.selects(performance)
