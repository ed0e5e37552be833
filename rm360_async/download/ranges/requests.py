"""How the discovery process gets the bytes that it wants: it tells the service, which downloads them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rm360_async.domain.names import Kind
from rm360_async.system.fault_points import reach
from rm360_async.system.spans import Span
from rm360_async.system.sparse_file import SparseFile
from rm360_async.system.worker import MessageWriter


class RangeRequests:
    """Spans of the sparse files, wanted of the service. It answers with a line on standard input once they are there;
    if it cannot get them, it ends this process.
    """

    def __init__(self, files: dict[Kind, SparseFile], messages: MessageWriter) -> None:
        self._files, self._messages = files, messages
        self.requests = 0

    def fetch(self, spans: Sequence[Sequence[Span]]) -> None:
        """Want spans of each file before all others, and wait for them."""
        self._want(spans, urgent=True)
        reach("ranges requested")
        self._wait("urgent")

    def fetch_in_background(self, spans: Sequence[Sequence[Span]]) -> None:
        """Want spans of each file, and return at once."""
        self._want(spans, urgent=False)

    def wait_for_background(self) -> None:
        """Wait for all that was wanted."""
        self._wait("all")

    def _want(self, spans: Sequence[Sequence[Span]], *, urgent: bool) -> None:
        wanted = {kind.value: list(of_file) for kind, of_file in zip(self._files, spans, strict=True) if of_file}
        self.requests += sum(map(len, wanted.values()))
        if wanted:
            self._messages.send({"want": wanted, "urgent": urgent})

    def _wait(self, what: str) -> None:
        self._messages.send({"wait": what})
        if not sys.stdin.buffer.readline():
            raise EOFError("the service has ended")
        for file in self._files.values():
            file.reload()
