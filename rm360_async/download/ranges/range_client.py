"""Many ranges at once from an rclone that serves a remote on loopback.

Two kinds of ranges share the connections: small ones of the index, which the discovery waits for, and images, which
are downloaded in the background. Most connections serve the index first, some the images, so that the wait is short
and the bandwidth is always used.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from queue import Empty, SimpleQueue
from typing import Protocol

from rm360_async.download.ranges.range_connections import RangeConnections, ServerAddress, UnexpectedResponse
from rm360_async.system.fault_points import reach
from rm360_async.system.spans import Span

_CHUNK_BYTES = 2**18
_STACK_BYTES = 512 * 1024
_IMAGES_FIRST = 3
"""Every n-th connection serves image requests first."""


class RangeRefused(Exception):
    """A range did not arrive: the path, from which offset on, and the words of HTTP, which do not tell the reason.

    `rejected`: the server answered with something else than the range, so that not a byte of it arrived.
    """

    def __init__(self, path: str, offset: int, message: str, rejected: bool) -> None:
        super().__init__(message)
        self.path, self.offset, self.message, self.rejected = path, offset, message, rejected


class ByteSink(Protocol):
    """Takes the bytes that arrive: a sparse file, or the buffer of a probe."""

    def write(self, offset: int, data: bytes) -> None:
        """Keep bytes; called by several threads."""


@dataclass(frozen=True)
class RangeSource:
    """One file on the remote, and what takes its bytes."""

    path: str
    sink: ByteSink


@dataclass(frozen=True)
class _RangeRequest:
    source: RangeSource
    span: Span
    done: Future[None]
    """Set when the range has arrived, or will never arrive."""


class RangeClient:
    """Connections that download spans side by side; the first failure ends all.

    Mutable state: the two queues of requests, in both together as many as tasks wait for a thread; and `_failure`, set
    once.
    """

    def __init__(self, address: ServerAddress, connections: int, on_bytes: Callable[[int], None]) -> None:
        self._on_bytes = on_bytes
        self._connections = RangeConnections(address)
        threading.stack_size(_STACK_BYTES)  # address space is limited, and these threads call nothing deep
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="range")
        self._thread = threading.local()
        self._thread_numbers = count()
        self._urgent: SimpleQueue[_RangeRequest] = SimpleQueue()
        self._background: SimpleQueue[_RangeRequest] = SimpleQueue()
        self._choosing = threading.Lock()
        self._in_background: list[Future[None]] = []
        self._failure: BaseException | None = None
        self._closed = False
        self.requests = 0

    def close(self) -> None:
        """End the threads; ranges that are still arriving are cut off."""
        self._closed = True
        self._connections.shut_down()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._connections.close()
        reach("connections closed")

    def fetch(self, wanted: Iterable[tuple[RangeSource, Span]]) -> None:
        """Download spans, before those of the background on most connections, and wait for them.

        Raises RangeRefused, and OSError when they cannot be written, also for a span of the background.
        """
        futures = self._submit(wanted, self._urgent)
        reach("ranges requested")
        self._wait(futures)

    def fetch_in_background(self, wanted: Iterable[tuple[RangeSource, Span]]) -> None:
        """Begin to download spans, and return at once."""
        self._in_background += self._submit(wanted, self._background)

    def wait_for_background(self) -> None:
        """Wait for all spans of the background. Raises what `fetch` raises."""
        self._wait(self._in_background)

    def _submit(
        self, wanted: Iterable[tuple[RangeSource, Span]], queue: SimpleQueue[_RangeRequest]
    ) -> list[Future[None]]:
        futures: list[Future[None]] = []
        for source, span in wanted:
            self.requests += 1
            futures.append(Future())
            queue.put(_RangeRequest(source, span, futures[-1]))
            self._threads.submit(self._handle_next)
        return futures

    def _wait(self, futures: Iterable[Future[None]]) -> None:
        """Wait for ranges; after a failure only for those that are arriving, so that no byte of them is lost."""
        for future in futures:
            future.result()
        if self._failure is not None:
            for future in self._in_background:
                future.result()
            raise self._failure

    def _handle_next(self) -> None:
        """Download one of the requested ranges; after a failure nothing more is requested."""
        request = self._next_request()
        try:
            if self._failure is None:
                self._download(request.source, request.span)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._failure = self._failure or error
        finally:
            request.done.set_result(None)

    def _next_request(self) -> _RangeRequest:
        if not hasattr(self._thread, "number"):
            self._thread.number = next(self._thread_numbers)
        first, second = self._urgent, self._background
        if self._thread.number % _IMAGES_FIRST == 0:
            first, second = second, first
        with self._choosing:  # between the two looks another thread could take the only request of the second queue
            try:
                return first.get_nowait()
            except Empty:
                return second.get_nowait()

    def _download(self, source: RangeSource, span: Span) -> None:
        start, end = span
        try:
            with self._connections.open_range(source.path, start, end) as response:
                while start < end and not self._closed:
                    data = response.read(min(_CHUNK_BYTES, end - start))
                    if not data:
                        raise http.client.IncompleteRead(b"", end - start)
                    self._store(source.sink, start, data)
                    start += len(data)
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            self._connections.drop()
            message = f"{type(error).__name__}: {error}"
            raise RangeRefused(source.path, start, message, isinstance(error, UnexpectedResponse)) from error
        except BaseException:
            self._connections.drop()
            raise

    def _store(self, sink: ByteSink, offset: int, data: bytes) -> None:
        try:
            sink.write(offset, data)
        except ConnectionError as error:  # of a disk on a network, not of the remote
            raise OSError(error.errno, error.strerror) from error
        self._on_bytes(len(data))
