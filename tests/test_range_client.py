"""Many ranges side by side over real sockets: who goes first, what a refusal ends, and what is kept."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rm360_async.download.ranges.range_client import RangeClient, RangeRefused, RangeSource, ServerAddress
from rm360_async.system.sparse_file import SparseFile

CONTENT = bytes(range(256)) * 40


class Server(ThreadingHTTPServer):
    """Serves ranges of CONTENT; `held` are starts whose answer waits for `release`, `refused` get a 404."""

    daemon_threads = False  # closing the server waits for them

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[int] = []
        self.refused: set[int] = set()
        self.held: set[int] = set()
        self.release, self.holding = threading.Event(), threading.Semaphore(0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert found is not None
        start, last = int(found[1]), int(found[2])
        self.server.asked.append(start)
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
    lines = RangeClient(ServerAddress(server.server_port, "user", "word"), connections, lambda size: None)
    try:
        with SparseFile(folder / "a.smc.sparse", len(CONTENT)) as file:
            yield server, lines, file
            server.release.set()
            lines.close()
    finally:
        server.release.set()
        lines.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_index_is_here_while_pictures_are_still_on_their_way(tmp_path: Path) -> None:
    with workspace(tmp_path, 6) as (server, lines, file):
        source = RangeSource("a.smc", file)
        server.held = {5000, 6000}
        lines.begin((source, (start, start + 10)) for start in (5000, 6000, 7000))
        for start in (0, 1000, 2000, 3000):
            lines.fetch([(source, (start, start + 100))])
            assert file.missing(start, start + 100) == []
        assert file.missing(5000, 5010), "its answer is held back"
        server.release.set()
        lines.finish()
        assert [file.missing(start, start + 10) for start in (5000, 6000, 7000)] == [[], [], []]
        assert lines.requests == 7 == len(server.asked)


def test_after_a_refusal_nothing_is_asked_for_and_what_is_on_its_way_is_kept(tmp_path: Path) -> None:
    with workspace(tmp_path, 2) as (server, lines, file):
        source = RangeSource("a.smc", file)
        server.held, server.refused = {5000, 9000}, {9000}
        lines.begin([(source, (5000, 5010))])
        server.holding.acquire()
        lines.begin((source, (start, start + 10)) for start in (9000, 100, 200, 300, 400))
        server.holding.acquire()
        server.release.set()
        with pytest.raises(RangeRefused) as refused:
            lines.finish()
        assert (refused.value.path, refused.value.start, refused.value.unopened) == ("a.smc", 9000, True)
        assert file.missing(5000, 5010) == []
        with pytest.raises(RangeRefused):
            lines.fetch([(source, (0, 10))])
        assert 0 not in server.asked


def test_a_range_that_breaks_off_keeps_what_arrived(tmp_path: Path) -> None:
    with workspace(tmp_path, 1) as (_, lines, file):
        source = RangeSource("a.smc", file)
        with pytest.raises(RangeRefused) as refused:
            lines.fetch([(source, (len(CONTENT) - 1000, len(CONTENT) + 500))])
        assert not refused.value.unopened
        assert file.missing(len(CONTENT) - 1000, len(CONTENT)) == []
