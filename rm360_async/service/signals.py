"""Signals: the first asks for a clean stop, the second for an immediate one."""

from __future__ import annotations

import signal
from collections.abc import Callable

import anyio

from rm360_async.agenda import Agenda
from rm360_async.logs import logger

log = logger(__name__)
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""HUP comes when the terminal (tmux window) of a run is closed."""


async def obey_signals(
    agenda: Agenda, everything: anyio.CancelScope, grace_seconds: float, on_stop: Callable[[], None]
) -> None:
    """Drain on the first signal, cancel everything on the second or when the grace is over.

    Draining hands out nothing more: downloads stop where they are, extractions in hand may finish.
    """
    with anyio.open_signal_receiver(*STOPS) as received:
        async for number in received:
            if agenda.draining:
                log.warning("stopping at once", signal=signal.Signals(number).name)
                everything.cancel()
                return
            log.warning(
                f"stopping: extractions in hand may finish within {grace_seconds:.0f} s; once more stops at once",
                signal=signal.Signals(number).name,
            )
            on_stop()
            agenda.drain()
            everything.deadline = anyio.current_time() + grace_seconds
