"""What a person asks for while a run is active: `rm360 retry` puts performances back to pending in the ledger."""

from __future__ import annotations

import anyio

from rm360_async.domain.errors import Fault
from rm360_async.domain.stage import FAILURES, Stage
from rm360_async.ledger import Ledger
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.system.log import logger

log = logger(__name__)
POLL_SECONDS = 2.0


async def follow_requests(ledger: Ledger, scheduler: Scheduler, poll_seconds: float = POLL_SECONDS) -> None:
    """Take up at once what a person puts back to pending, until cancelled."""
    seen = await ledger.requests.count()
    while True:
        await anyio.sleep(poll_seconds)
        try:
            count = await ledger.requests.count()
            if count != seen:
                await _take_up(ledger, scheduler)
            seen = count
        except Fault as fault:  # every write to the ledger meets it too, and is decided about there
            log.warning(f"cannot look for performances to retry: {fault}")


async def _take_up(ledger: Ledger, scheduler: Scheduler) -> None:
    failed = [each for each, stage in scheduler.ended.items() if stage in FAILURES]
    in_place = [each for each, job in scheduler.active.items() if job.stage is Stage.WAITING]
    rows = await ledger.rows([*scheduler.waiting, *failed, *in_place])
    requeued = [row.performance for row in rows if row.stage is Stage.PENDING]
    for performance in requeued:
        scheduler.requeue(performance)
    if requeued:
        log.info(f"{len(requeued)} performances are tried again because a person asked for it")
