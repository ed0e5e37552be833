"""Signals that are taken while a block runs.

A signal that the parent process set to be ignored stays ignored: HUP under nohup, INT in the background of a script.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from anyio import open_signal_receiver  # here, because anyio would load it from the disk when it is used


@contextmanager
def taken_signals(*numbers: signal.Signals) -> Iterator[AsyncIterator[signal.Signals]]:
    """Give these signals as they arrive while the block runs, but for those that are ignored."""
    handlers = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number, handler in handlers.items() if handler is not signal.SIG_IGN]
    try:
        with open_signal_receiver(*taken) as signals:
            yield signals
    finally:
        for number in taken:  # the event loop would leave the default handler, which kills the process
            signal.signal(number, handlers[number])
