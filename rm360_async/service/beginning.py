"""The beginning of a run: the remote is asked what it holds, patiently, until it answers or a person has to look."""

from __future__ import annotations

import random

import anyio

from rm360_async.config import Settings
from rm360_async.errors import Fault
from rm360_async.logs import logger
from rm360_async.notify import Notifier
from rm360_async.plan import RetryRules, ask_again
from rm360_async.rclone import Listing, Remote
from rm360_async.words import duration

log = logger(__name__)


async def list_remote(settings: Settings, remote: Remote) -> Listing:
    """Return what the remote holds of the wanted subjects; raises Fault with the mend when it does not answer."""
    wanted = settings.extraction.subjects
    try:
        return await remote.listing(settings.google_drive.structure, None if isinstance(wanted, str) else wanted)
    except Fault:
        await remote.check()  # knows better sentences for a remote that cannot be reached at all
        raise


async def list_patiently(settings: Settings, remotes: list[Remote], rules: RetryRules) -> Listing:
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
            pause = ask_again(fault, tries, rules, random.random())
            if pause is None:
                raise
            log.warning(f"asking again in {duration(pause)}: {fault}")
            tries += 1
            await anyio.sleep(pause)


async def stay_alive(notifier: Notifier) -> None:
    """Keep the watchdog quiet until cancelled."""
    while True:
        notifier.alive()
        await anyio.sleep(notifier.watchdog_seconds or 60)
