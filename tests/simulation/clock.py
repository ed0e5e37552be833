"""Virtual time for asyncio: the clock jumps to the next timer as soon as nothing is ready.

Theory of operation. The loop's selector never waits. If asyncio asks it to wait, the clock is put forward by that
long instead; if asyncio would wait for ever, nothing can happen any more, and that is an error of the simulation.
No file descriptor is watched and no thread is waited for: what the code under test runs in a worker thread is run on
the loop's own thread, so no answer can come from outside of the simulated time, and a seed repeats.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from anyio._backends._asyncio import AsyncIOBackend

T = TypeVar("T")
START = 1_772_300_000.0
"""Unix seconds before which no simulation begins: late February 2026."""


class TimeStandsStill(Exception):
    """Every task waits for another one: nothing will ever happen again."""


class _Jumping(selectors.BaseSelector):
    """A selector that puts the clock forward instead of waiting."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._keys[fileobj] = selectors.SelectorKey(fileobj, -1, events, data)
        return self._keys[fileobj]

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise TimeStandsStill("no task is ready and no timer is set")
        self.seconds += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose `time()` is virtual."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._jumping.seconds

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run the function at once, on this thread."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever awaits the future
            future.set_exception(error)
        return future

    async def subprocess_exec(self, *command: Any, **_: Any) -> Any:
        """Refuse: a real process answers in real time."""
        raise AssertionError(f"a simulation started {command}")


class SimulatedTime:
    """The wall clock of a world: the loop's time plus an offset, which a person or NTP may change; unix seconds."""

    def __init__(self, loop: VirtualLoop, start: float) -> None:
        self._loop = loop
        self.offset = start

    def now(self) -> float:
        """Return the wall clock (unix seconds)."""
        return self._loop.time() + self.offset

    def elapsed(self) -> float:
        """Return the virtual seconds since the beginning, which no wall clock changes."""
        return self._loop.time()


@contextmanager
def threads_on_the_loop(before: Callable[[], None]) -> Iterator[None]:
    """Run what is meant for worker threads on the loop's own thread; `before` is called first and may raise."""

    async def run_inline(_: Any, /, func: Callable[..., Any], args: tuple[Any, ...], **__: Any) -> Any:
        await asyncio.sleep(0)
        before()
        return func(*args)

    original = AsyncIOBackend.__dict__["run_sync_in_worker_thread"]
    AsyncIOBackend.run_sync_in_worker_thread = classmethod(run_inline)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        AsyncIOBackend.run_sync_in_worker_thread = original  # type: ignore[method-assign]


def run_virtually(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]], before_end: Callable[[], None]) -> T | None:
    """Run a coroutine to its end in virtual time; return None if the loop was stopped before.

    `before_end` is called before the tasks that are left are cancelled.
    """
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        task = loop.create_task(main(loop))
        with suppress(RuntimeError):  # the loop was stopped
            loop.run_until_complete(task)
        return task.result() if task.done() else None
    finally:
        before_end()
        while tasks := asyncio.all_tasks(loop):
            for each in tasks:
                each.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
