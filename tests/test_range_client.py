"""Many ranges side by side over real sockets: which come first, what a refusal ends, and what is kept."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from rm360_async.download.ranges.range_client import RangeClient, RangeRefused, RangeSource
from rm360_async.download.ranges.range_connections import ServerAddress
from rm360_async.system.sparse_file import SparseFile

CONTENT = bytes(range(256)) * 40


class Server(ThreadingHTTPServer):
    """Serves ranges of CONTENT; `held` are starts whose response waits for `release`, `refused` get a 404."""

    daemon_threads = False  # closing the server waits for them

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requested: list[int] = []
        self.refused: set[int] = set()
        self.held: set[int] = set()
        self.release, self.holding = threading.Event(), threading.Semaphore(0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        requested = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert requested is not None
        start, last = int(requested[1]), int(requested[2])
        self.server.requested.append(start)
        if start in self.server.held:
            self.server.holding.release()
            self.server.release.wait()
        if start in self.server.refused:
            self.send_error(404)
            return
        body = CONTENT[start : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{last}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def workspace(folder: Path, connections: int) -> Iterator[tuple[Server, RangeClient, SparseFile]]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    client = RangeClient(ServerAddress(server.server_port, "user", "word"), connections, lambda size: None)
    try:
        with SparseFile(folder / "a.smc.sparse", len(CONTENT)) as file:
            yield server, client, file
            server.release.set()
            client.close()
    finally:
        server.release.set()
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_index_arrives_while_images_are_still_downloading(tmp_path: Path) -> None:
    with workspace(tmp_path, 6) as (server, client, file):
        source = RangeSource("a.smc", file)
        server.held = {5000, 6000}
        client.fetch_in_background((source, (start, start + 10)) for start in (5000, 6000, 7000))
        for start in (0, 1000, 2000, 3000):
            client.fetch([(source, (start, start + 100))])
            assert file.missing(start, start + 100) == []
        assert file.missing(5000, 5010), "its response is held back"
        server.release.set()
        client.wait_for_background()
        assert [file.missing(start, start + 10) for start in (5000, 6000, 7000)] == [[], [], []]
        assert client.requests == 7 == len(server.requested)


class PausingQueue(SimpleQueue[Any]):
    """A queue whose reader, once it has found nothing, is stopped for a while, as on an overloaded machine."""

    def __init__(self) -> None:
        self.has_paused, self.resume = threading.Event(), threading.Event()

    def get_nowait(self) -> Any:
        try:
            return super().get_nowait()
        except Empty:
            self.has_paused.set()
            self.resume.wait()
            raise


def test_a_thread_that_is_slow_to_choose_leaves_no_request_behind(tmp_path: Path) -> None:
    """It has found no urgent request; then one comes, and another thread takes the image that it would have taken."""
    with workspace(tmp_path, 2) as (server, client, file):
        source = RangeSource("a.smc", file)
        server.held = {5000}
        client.fetch_in_background([(source, (5000, 5010))])
        server.holding.acquire()
        client._urgent = urgent = PausingQueue()
        client.fetch_in_background([(source, (6000, 6010))])
        urgent.has_paused.wait()
        fetching = threading.Thread(target=client.fetch, args=([(source, (0, 10))],), daemon=True)
        fetching.start()
        server.release.set()
        fetching.join(0.5)
        urgent.resume.set()
        fetching.join(30)
        assert not fetching.is_alive()
        client.wait_for_background()
        assert [file.missing(start, start + 10) for start in (0, 5000, 6000)] == [[], [], []]


def test_after_a_refusal_nothing_is_requested_and_what_is_arriving_is_kept(tmp_path: Path) -> None:
    with workspace(tmp_path, 2) as (server, client, file):
        source = RangeSource("a.smc", file)
        server.held, server.refused = {5000, 9000}, {9000}
        client.fetch_in_background([(source, (5000, 5010))])
        server.holding.acquire()
        client.fetch_in_background((source, (start, start + 10)) for start in (9000, 100, 200, 300, 400))
        server.holding.acquire()
        server.release.set()
        with pytest.raises(RangeRefused) as refused:
            client.wait_for_background()
        assert (refused.value.path, refused.value.offset, refused.value.rejected) == ("a.smc", 9000, True)
        assert file.missing(5000, 5010) == []
        with pytest.raises(RangeRefused):
            client.fetch([(source, (0, 10))])
        assert 0 not in server.requested


def test_a_range_that_breaks_off_keeps_what_arrived(tmp_path: Path) -> None:
    with workspace(tmp_path, 1) as (_, client, file):
        source = RangeSource("a.smc", file)
        with pytest.raises(RangeRefused) as refused:
            client.fetch([(source, (len(CONTENT) - 1000, len(CONTENT) + 500))])
        assert not refused.value.rejected
        assert file.missing(len(CONTENT) - 1000, len(CONTENT)) == []
