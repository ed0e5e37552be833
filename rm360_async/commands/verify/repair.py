"""`rm360 verify --repair`: queue what is damaged, and nothing else, for the next run.

Theory of operation. The marker of a damaged folder is taken away (`package.mark_damaged`) and its row goes back
to pending. From then on the folder is not believed by anyone, and a run replaces it in one step when the new
one is whole; until then what is left of it stays where it is. The mark on the disk outlives failed attempts,
quota waits and a lost ledger; `--force` would be forgotten at the end of a run that could not fetch the file.
The claim of the performance is held meanwhile, so nothing that a run has in hand is touched.
"""

from __future__ import annotations

from anyio.to_thread import run_sync

from rm360_async.commands.verify.result import VerifyReport, is_repairable
from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance, matches_any, output_folder
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PlannedState
from rm360_async.ledger import Claims, Ledger, ManifestWriter, opened
from rm360_async.store.publish import mark_damaged

_REASON = "found damaged by verify, to be extracted again"
_REASON_GONE = "found missing by verify, to be extracted again"
_NOT_OURS = "an earlier tool published it, so it is left alone; `rm360 run --force` replaces it"


async def repair(settings: Settings, found: VerifyReport) -> None:
    """Queue what is damaged or gone; `found` gets what was queued, and why the rest was not."""
    async with opened(settings.storage.manifest_path, create=True) as (ledger, claims):
        await ledger.add(found.damaged)
        numbers = await ledger.row_numbers()
        for each in found.damaged:
            check = found.checked.get(each)
            if check is not None and check.damaged and not is_repairable(check):
                found.not_queued[each] = _NOT_OURS
            elif not claims.claim(numbers[each]):
                found.not_queued[each] = "a running instance has it in hand"
            else:
                try:
                    await _queue(settings, found, each, ledger, claims)
                finally:
                    claims.release(numbers[each])
        manifest = ManifestWriter(settings.storage.manifest_path, ledger, claims)
        await manifest.finish()
    outside = [each for each in found.queued if not is_wanted(settings, each)]
    if outside:
        found.remarks.append(f"this config does not ask for {', '.join(map(str, outside))}: name them to `rm360 run`")
    elif found.queued:
        found.remarks.append("the next `rm360 run` extracts what was queued again, and nothing else")


async def _queue(settings: Settings, found: VerifyReport, each: Performance, ledger: Ledger, claims: Claims) -> None:
    gone = each in found.lost
    if not gone:
        try:
            await run_sync(mark_damaged, output_folder(settings.storage.output_dir, each))
        except Fault as fault:
            if fault.cause is not Cause.IN_THE_WAY:
                raise
            found.not_queued[each] = str(fault)
            return
    await ledger.attempts.interrupt(each)
    standing = PlannedState(Stage.PENDING, reason=_REASON_GONE if gone else _REASON)
    await ledger.apply_plan({each: standing}, claims)
    found.queued.append(each)


def is_wanted(settings: Settings, performance: Performance) -> bool:
    """Tell whether the config asks for a performance."""
    wanted = settings.extraction
    subject = isinstance(wanted.subjects, str) or performance.subject in wanted.subjects
    return subject and (isinstance(wanted.performances, str) or matches_any(performance.name, wanted.performances))
