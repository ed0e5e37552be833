"""Many ranges at once from an rclone that serves a remote on loopback."""

from __future__ import annotations

import base64
import http.client
import socket
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from rm360_async.blocks import Span, SparseFile

_CHUNK = 2**18
_SECONDS = 600.0
"""Without any byte; the service ends us much earlier."""
_PARTIAL = 206
_STACK = 512 * 1024


@dataclass(frozen=True)
class Address:
    """Where rclone listens on loopback, and the credentials made for this one child."""

    port: int
    user: str
    password: str


class Refused(Exception):
    """A range did not come: which path, from where, and in HTTP's words, which do not tell the reason."""

    def __init__(self, path: str, start: int, words: str) -> None:
        super().__init__(words)
        self.path, self.start, self.words = path, start, words


class Source:
    """One file on the remote, and the sparse file that it goes into."""

    def __init__(self, path: str, file: SparseFile) -> None:
        self.path, self.file = path, file


class Lines:
    """A few connections that fetch spans side by side; the first that is refused ends all. A context manager."""

    def __init__(self, address: Address, connections: int, on_bytes: Callable[[int], None]) -> None:
        self._address, self._on_bytes = address, on_bytes
        threading.stack_size(_STACK)  # address space is limited, and these threads go nowhere deep
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="range")
        self._own = threading.local()
        self._every: list[http.client.HTTPConnection] = []
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

    def fetch(self, wanted: Iterable[tuple[Source, Span]]) -> None:
        """Fetch spans into their files. Raises Refused, and OSError when they cannot be written."""
        running = [self._threads.submit(self._one, source, span) for source, span in wanted]
        self.requests += len(running)
        try:
            for each in running:
                each.result()
        finally:
            for each in running:
                each.cancel()

    def _one(self, source: Source, span: Span) -> None:
        start, end = span
        try:
            response = self._ask(source.path, start, end)
            while start < end and not self._stop:
                data = response.read(min(_CHUNK, end - start))
                if not data:
                    raise http.client.IncompleteRead(b"", end - start)
                self._keep(source.file, start, data)
                start += len(data)
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            self._forget_connection()
            raise Refused(source.path, start, f"{type(error).__name__}: {error}") from error
        except BaseException:
            self._forget_connection()
            raise

    def _keep(self, file: SparseFile, offset: int, data: bytes) -> None:
        try:
            file.write(offset, data)
        except ConnectionError as error:  # a disk on a network: not what the remote refused
            raise OSError(error.errno, error.strerror) from error
        self._on_bytes(len(data))

    def _ask(self, path: str, start: int, end: int) -> http.client.HTTPResponse:
        connection = self._connection()
        connection.request("GET", quote(f"/{path}"), headers={**self._headers, "Range": f"bytes={start}-{end - 1}"})
        response = connection.getresponse()
        where = response.headers.get("Content-Range", "")
        if response.status != _PARTIAL or not where.startswith(f"bytes {start}-"):
            raise http.client.HTTPException(f"{response.status} {response.reason} {where}".strip())
        return response

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
