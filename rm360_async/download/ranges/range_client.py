"""Many ranges at once from an rclone that serves a remote on loopback.

Two kinds of ranges share the lines: small ones of the index that somebody waits for, and pictures that are to come
meanwhile. Most lines see to the former first, some to the latter, so that the waiting is short and no byte of the
bandwidth idle.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from queue import Empty, SimpleQueue
from typing import Protocol
from urllib.parse import quote

from rm360_async.download.ranges.discovery import HEAD_BYTES
from rm360_async.system.fault_points import reach
from rm360_async.system.spans import Span
from rm360_async.system.sparse_file import SparseFile

_CHUNK = 2**18
_SECONDS = 600.0
"""Without any byte; the service ends us much earlier."""
_PARTIAL = 206
_STACK = 512 * 1024
_PICTURES_FIRST = 3
"""Each how manieth line sees to pictures first."""


@dataclass(frozen=True)
class ServerAddress:
    """Where rclone listens on loopback, and the credentials made for this one child."""

    port: int
    user: str
    password: str


class RangeRefused(Exception):
    """A range did not come: which path, from where, and in HTTP's words, which do not tell the reason.

    `unopened`: not a byte of it, because the remote said no.
    """

    def __init__(self, path: str, start: int, words: str, unopened: bool) -> None:
        super().__init__(words)
        self.path, self.start, self.words, self.unopened = path, start, words, unopened


class _NotServed(http.client.HTTPException):
    """Another answer than the range."""


class ByteSink(Protocol):
    """What takes the bytes that arrive: a sparse file, or a test of the remote."""

    def write(self, offset: int, data: bytes) -> None:
        """Keep bytes; from several threads."""


class RangeSource:
    """One file on the remote, and what its bytes go into."""

    def __init__(self, path: str, file: ByteSink) -> None:
        self.path, self.file = path, file


@dataclass(frozen=True)
class _RangeRequest:
    source: RangeSource
    span: Span
    arrived: Future[None]
    """Done when it is here, or will never come."""


class RangeClient:
    """A few connections that fetch spans side by side; the first that is refused ends all.

    Mutable state: the two queues of wishes, as many in both as tasks wait for a thread; and `_failure`, set once.
    """

    def __init__(self, address: ServerAddress, connections: int, on_bytes: Callable[[int], None]) -> None:
        self._address, self._on_bytes = address, on_bytes
        threading.stack_size(_STACK)  # address space is limited, and these threads go nowhere deep
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="range")
        self._own = threading.local()
        self._every: list[http.client.HTTPConnection] = []
        self._numbers = count()
        self._now: SimpleQueue[_RangeRequest] = SimpleQueue()
        self._meanwhile: SimpleQueue[_RangeRequest] = SimpleQueue()
        self._begun: list[Future[None]] = []
        self._failure: BaseException | None = None
        self._stop = False
        token = base64.b64encode(f"{address.user}:{address.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}
        self.requests = 0

    def close(self) -> None:
        """End the threads; what is under way is left where it is."""
        self._stop = True
        for connection in self._every:
            if connection.sock is not None:  # a read that waits for bytes ends at once
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
        self._threads.shutdown(wait=True, cancel_futures=True)
        for connection in self._every:
            connection.close()
        reach("connections closed")

    def fetch(self, wanted: Iterable[tuple[RangeSource, Span]]) -> None:
        """Fetch spans into their files, most lines before all others, and wait for them.

        Raises Refused, and OSError when they cannot be written; also when it was one of those meanwhile.
        """
        arriving = self._put(wanted, self._now)
        reach("ranges requested")
        self._wait(arriving)

    def begin(self, wanted: Iterable[tuple[RangeSource, Span]]) -> None:
        """Have spans fetched meanwhile."""
        self._begun += self._put(wanted, self._meanwhile)

    def finish(self) -> None:
        """Wait for all that was begun. Raises as `fetch`."""
        self._wait(self._begun)

    def _put(self, wanted: Iterable[tuple[RangeSource, Span]], queue: SimpleQueue[_RangeRequest]) -> list[Future[None]]:
        arriving: list[Future[None]] = []
        for source, span in wanted:
            self.requests += 1
            arriving.append(Future())
            queue.put(_RangeRequest(source, span, arriving[-1]))
            self._threads.submit(self._fulfil_one)
        return arriving

    def _wait(self, arriving: Iterable[Future[None]]) -> None:
        """Wait until all have arrived; after a failure only for what is on its way, so that no byte of it is lost."""
        for each in arriving:
            each.result()
        if self._failure is not None:
            for each in self._begun:
                each.result()
            raise self._failure

    def _fulfil_one(self) -> None:
        """Fetch one of the wishes; after a failure nothing is asked for any more."""
        wish = self._next_wish()
        try:
            if self._failure is None:
                self._one(wish.source, wish.span)
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            self._failure = self._failure or error
        finally:
            wish.arrived.set_result(None)

    def _next_wish(self) -> _RangeRequest:
        if not hasattr(self._own, "number"):
            self._own.number = next(self._numbers)
        first, second = self._now, self._meanwhile
        if self._own.number % _PICTURES_FIRST == 0:
            first, second = second, first
        try:
            return first.get_nowait()
        except Empty:
            return second.get_nowait()

    def _one(self, source: RangeSource, span: Span) -> None:
        start, end = span
        try:
            with self._answer(source.path, start, end) as response:
                while start < end and not self._stop:
                    data = response.read(min(_CHUNK, end - start))
                    if not data:
                        raise http.client.IncompleteRead(b"", end - start)
                    self._keep(source.file, start, data)
                    start += len(data)
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            self._forget_connection()
            unopened = isinstance(error, _NotServed)
            raise RangeRefused(source.path, start, f"{type(error).__name__}: {error}", unopened) from error
        except BaseException:
            self._forget_connection()
            raise

    def _keep(self, file: ByteSink, offset: int, data: bytes) -> None:
        try:
            file.write(offset, data)
        except ConnectionError as error:  # a disk on a network: not what the remote refused
            raise OSError(error.errno, error.strerror) from error
        self._on_bytes(len(data))

    @contextmanager
    def _answer(self, path: str, start: int, end: int) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection()
        connection.request("GET", quote(f"/{path}"), headers={**self._headers, "Range": f"bytes={start}-{end - 1}"})
        with connection.getresponse() as response:
            where = response.headers.get("Content-Range", "")
            if response.status != _PARTIAL or not where.startswith(f"bytes {start}-"):
                raise _NotServed(f"{response.status} {response.reason} {where}".strip())
            yield response

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._address.port, timeout=_SECONDS)
            self._own.connection = connection
            self._every.append(connection)
        return connection

    def _forget_connection(self) -> None:
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is not None:
            connection.close()
            self._own.connection = None


_ECHOED: Span = (HEAD_BYTES // 2, HEAD_BYTES // 2 + 1024)


class RangesUnsupported(Exception):
    """Other bytes came than were asked for of the file at `path` on the remote."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the remote gives no ranges of {path}: other bytes came than were asked for")
        self.path = path


class _Probe:
    """Keeps the bytes of one range."""

    def __init__(self) -> None:
        self.bytes = b""

    def write(self, offset: int, data: bytes) -> None:
        self.bytes += data


def probe_range_support(lines: RangeClient, files: Mapping[str, SparseFile]) -> None:
    """Fetch the start of each file, by its path on the remote, and some of it again. Raises Rangeless, Refused."""
    echoes = {path: _Probe() for path in files}
    starts = (
        (RangeSource(path, file), gap)
        for path, file in files.items()
        for gap in file.missing(0, min(HEAD_BYTES, file.size))
    )
    again = ((RangeSource(path, echoes[path]), _ECHOED) for path, file in files.items() if file.size >= HEAD_BYTES)
    lines.fetch([*starts, *again])
    for path, file in files.items():
        came = echoes[path].bytes
        if came != os.pread(file.descriptor, len(came), _ECHOED[0]):
            raise RangesUnsupported(path)
