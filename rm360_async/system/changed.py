"""A signal for tasks that wait until something has changed."""

from __future__ import annotations

import anyio


class Changed:
    """Wakes every waiting task when something has changed; for tasks of one event loop.

    Not an `anyio.Condition`: `notify` is called by synchronous code, which cannot wait for a condition's lock.
    """

    def __init__(self) -> None:
        self._event = anyio.Event()

    def notify(self) -> None:
        """Wake all tasks that wait for a change."""
        self._event.set()
        self._event = anyio.Event()

    def next(self) -> anyio.Event:
        """Return the event of the next change.

        Take it before reading the state in question if the reading itself awaits: then no change is missed.
        """
        return self._event

    async def wait(self) -> None:
        """Wait for the next change."""
        await self._event.wait()
