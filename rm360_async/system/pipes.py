"""Pipes to processes that this process did not start itself, as streams of the event loop."""

from __future__ import annotations

import os
from contextlib import suppress

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream


class PipeReader(ByteReceiveStream):
    """The reading end of a pipe; closes it at its end."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes. Raises EndOfStream."""
        while self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._descriptor)
                continue
            if not data:
                break
            await anyio.lowlevel.checkpoint()
            return data
        raise anyio.EndOfStream

    async def aclose(self) -> None:
        """Close the pipe."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class PipeWriter(ByteSendStream):
    """The writing end of a pipe."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    async def send(self, item: bytes) -> None:
        """Write all bytes. Raises BrokenResourceError when the reader is gone."""
        rest = memoryview(item)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self._descriptor)
            except BrokenPipeError as error:
                raise anyio.BrokenResourceError from error
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close the pipe, which the reader sees as its end."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
