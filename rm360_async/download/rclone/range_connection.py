"""One HTTP connection to an rclone that serves a remote on loopback (see `server`), for one range after another.

It reads the few headers that rclone sends and nothing else of HTTP: the peer is one known program. A thread waits for
the bytes, as many at a time as there is room for, and hands them on until the body has come: on the event loop each of
the small pieces that rclone sends would cost a turn, three times the CPU time. No wait takes longer than
`_POLL_SECONDS`; after it the thread asks whether its task was cancelled.
"""

from __future__ import annotations

import base64
import socket
import struct
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

import anyio
from anyio.from_thread import check_cancelled
from anyio.to_thread import run_sync

from rm360_async.download.rclone.server import RcloneServer

_POLL_SECONDS = 0.25
_RECEIVE_BUFFER_BYTES = 2**19
"""Of the kernel: what is in it when the service is killed is downloaded again."""
_WAKE_BYTES = 2**18
"""The thread sleeps until so many have come, and is not woken for each piece."""
_MAX_HEAD_BYTES = 2**15
_OK, _PARTIAL_CONTENT = 200, 206
_TIMEVAL = struct.pack("ll", 0, int(_POLL_SECONDS * 1e6))
Result = TypeVar("Result")


class RangeRejected(Exception):
    """The server answered with something else than the range that was requested; it does not tell why."""


class ConnectionLost(Exception):
    """The connection ended, or could not be made."""


class RangeConnection:
    """A connection that is kept for the next range as long as nothing has gone wrong on it.

    `threads` bounds the threads that wait for bytes; `buffer_bytes` is how many one of them collects at most.
    """

    def __init__(self, server: RcloneServer, threads: anyio.CapacityLimiter, buffer_bytes: int) -> None:
        self.server, self._threads = server, threads
        token = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
        self._host = f"Host: 127.0.0.1\r\nAuthorization: Basic {token}\r\n"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._buffer = memoryview(bytearray(buffer_bytes))
        self._head = b""
        """What has arrived of the headers, and after them the bytes that came with them and belong to the body."""
        self._left = 0
        self._wake_bytes = 1

    async def connect(self) -> None:
        """Connect to the server. Raises ConnectionLost."""
        await self._on_thread(self._connect)

    def close(self) -> None:
        """Close it at once; what is left in it belongs to no later request."""
        self._socket.close()

    async def request(self, path: str, start: int, end: int) -> None:
        """Request a range and read the headers of the answer. Raises RangeRejected and ConnectionLost."""
        status, headers = await self._on_thread(self._exchange, path, f"Range: bytes={start}-{end - 1}\r\n")
        self._left = end - start
        content = headers.get("content-range", "")
        if status != _PARTIAL_CONTENT or not content.startswith(f"bytes {start}-{end - 1}/"):
            raise RangeRejected(f"HTTP {status} {content}".strip())

    async def request_whole(self, path: str, size: int) -> None:
        """Request a whole file, without a range; raises what `request` raises."""
        status, headers = await self._on_thread(self._exchange, path, "")
        self._left = size
        if status != _OK or headers.get("content-length") != str(size):
            raise RangeRejected(f"HTTP {status}")

    async def receive(self, take: Callable[[memoryview], object], size: int) -> None:
        """Give the next `size` bytes of the body to `take`, as they come, on the thread that receives them.

        Raises ConnectionLost when the body ends too early, and what `take` raises.
        """
        await self._on_thread(self._receive, take, size)

    async def _on_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await run_sync(function, *arguments, limiter=self._threads)

    def _connect(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
            self._socket.connect(("127.0.0.1", self.server.port))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL)
        except OSError as error:
            raise ConnectionLost(f"cannot connect: {error}") from error

    def _receive(self, take: Callable[[memoryview], object], size: int) -> None:
        end = self._left - size
        while self._left > end:
            check_cancelled()
            self._receive_piece(take, self._left - end)

    def _receive_piece(self, take: Callable[[memoryview], object], max_bytes: int) -> None:
        view = self._buffer[:max_bytes]
        size = min(len(self._head), len(view))
        self._wake_at(min(len(view) - size, _WAKE_BYTES))
        view[:size] = self._head[:size]
        self._head = self._head[size:]
        if size < len(view):
            size += self._read(view[size:], socket.MSG_WAITALL, is_optional=size > 0)
        if size:
            take(view[:size])
            self._left -= size

    def _read(self, view: memoryview, flags: int = 0, *, is_optional: bool = False) -> int:
        """Fill a buffer as far as bytes come in time; `is_optional`: an end of the connection is seen the next time."""
        try:
            size = self._socket.recv_into(view, 0, flags)
        except BlockingIOError:
            return 0
        except OSError as error:
            if is_optional:
                return 0
            raise ConnectionLost("the connection was lost") from error
        if size == 0 and not is_optional:
            raise ConnectionLost("the connection was closed early")
        return size

    def _exchange(self, path: str, headers: str) -> tuple[int, dict[str, str]]:
        """Send a request; return the status and the headers (lower-case names) of the answer."""
        request = f"GET {quote(f'/{path}')} HTTP/1.1\r\n{self._host}{headers}\r\n"
        self._head = b""
        try:
            self._socket.sendall(request.encode())
        except OSError as error:
            raise ConnectionLost("the connection was closed") from error
        while b"\r\n\r\n" not in self._head:
            if len(self._head) > _MAX_HEAD_BYTES:
                raise ConnectionLost("headers without an end")
            check_cancelled()
            self._read_head()
        head, _, self._head = self._head.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        try:
            status = int(first.split(" ", 2)[1])
        except (IndexError, ValueError) as error:
            raise ConnectionLost("not an answer of HTTP") from error
        return status, {name.strip().lower(): value.strip() for name, _, value in pairs}

    def _wake_at(self, size: int) -> None:
        """Let a read sleep until `size` bytes have come, or its time is over."""
        size = max(size, 1)
        if size != self._wake_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
            self._wake_bytes = size

    def _read_head(self) -> None:
        self._wake_at(1)
        view = self._buffer[:_MAX_HEAD_BYTES]
        self._head += view[: self._read(view)]
