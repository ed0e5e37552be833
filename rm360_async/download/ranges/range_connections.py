"""The HTTP connections to an rclone that serves a remote on loopback, one for each thread."""

from __future__ import annotations

import base64
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

_TIMEOUT_SECONDS = 600.0
"""Without any byte; the service ends this process much earlier."""
_PARTIAL_CONTENT = 206


@dataclass(frozen=True)
class ServerAddress:
    """The port on which rclone listens on loopback, and the credentials made for this one process."""

    port: int
    user: str
    password: str


class UnexpectedResponse(http.client.HTTPException):
    """The response is not the range that was requested."""


class RangeConnections:
    """One HTTP connection for each thread, opened when the thread first requests a range."""

    def __init__(self, address: ServerAddress) -> None:
        self._port = address.port
        token = base64.b64encode(f"{address.user}:{address.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}
        self._thread = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    @contextmanager
    def open_range(self, path: str, start: int, end: int) -> Iterator[http.client.HTTPResponse]:
        """Request one range of a file and yield the response; raises UnexpectedResponse when it is another."""
        connection = self._connection()
        headers = {**self._headers, "Range": f"bytes={start}-{end - 1}"}
        connection.request("GET", quote(f"/{path}"), headers=headers)
        with connection.getresponse() as response:
            received = response.headers.get("Content-Range", "")
            if response.status != _PARTIAL_CONTENT or not received.startswith(f"bytes {start}-"):
                raise UnexpectedResponse(f"{response.status} {response.reason} {received}".strip())
            yield response

    def drop(self) -> None:
        """Close this thread's connection: what is left in it belongs to no later request."""
        connection: http.client.HTTPConnection | None = getattr(self._thread, "connection", None)
        if connection is not None:
            connection.close()
            self._thread.connection = None

    def shut_down(self) -> None:
        """End the reads of all threads that wait for bytes, at once."""
        for connection in self._all:
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._thread, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS)
            self._thread.connection = connection
            self._all.append(connection)
        return connection
