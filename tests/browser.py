"""A real headless browser, driven over its own debugging pipe: what a page shows, complains of, and asks for.

Chromium reads commands from file descriptor 3 and writes answers and events to 4, JSON with a zero byte after each.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--remote-debugging-pipe", "--hide-scrollbars"),
)

_BEGIN = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, place in zip(ends, (3, 4)):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Puts the two ends of the pipes where Chromium looks for them, and becomes it."""


def find_browser() -> str | None:
    """Return the path of a browser, None where PATH has none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class BrowserEnded(Exception):
    """The browser is gone; with the last of what it said on standard error."""


@dataclass
class Seen:
    """One page as a browser saw it: what it complained of, every address that was asked for, and its widths."""

    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    content_width: int = 0
    view_width: int = 0
    text: str = ""
    background: str = ""


class Browser:
    """One running browser with one page."""

    def __init__(self, commands: int, answers: int, complaints: Path) -> None:
        self._commands, self._answers, self._complaints = commands, answers, complaints
        self._buffer = b""
        self._number = 0
        self._events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def look(self, page: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> Seen:
        """Open a page from the disk in a window of this size; return what was seen."""
        self._events.clear()
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self._call("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._call("Page.navigate", {"url": page.absolute().as_uri()})
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._read()
        seen = Seen()
        seen.content_width = self.evaluate("document.documentElement.scrollWidth")
        seen.view_width = self.evaluate("document.documentElement.clientWidth")
        seen.text = self.evaluate("document.body.innerText")
        seen.background = self.evaluate("getComputedStyle(document.body).backgroundColor")
        for event in self._events:
            _note(seen, event["method"], event.get("params", {}))
        return seen

    def evaluate(self, script: str) -> Any:
        """Return the value of a script in the page."""
        return self._call("Runtime.evaluate", {"expression": script, "returnByValue": True})["result"].get("value")

    def picture(self, path: Path, *, whole: bool = True) -> Path:
        """Write what the page looks like, all of it or only the window."""
        data = self._call("Page.captureScreenshot", {"captureBeyondViewport": whole})["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def _call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params or {}}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        try:
            while data:
                data = data[os.write(self._commands, data) :]
        except BrokenPipeError:
            raise self._ended() from None
        while (answer := self._read()).get("id") != self._number:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        """Return the next message; events are kept, too."""
        while b"\0" not in self._buffer:
            more = os.read(self._answers, 2**16)
            if not more:
                raise self._ended()
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self._events.append(message)
        return message

    def _ended(self) -> BrowserEnded:
        return BrowserEnded(self._complaints.read_text(errors="replace")[-2000:] or "it said nothing")


def _note(seen: Seen, method: str, params: dict[str, Any]) -> None:
    if method == "Network.requestWillBeSent":
        seen.requests.append(params["request"]["url"][:200])
    elif method == "Runtime.exceptionThrown":
        seen.complaints.append(str(params["exceptionDetails"].get("text")))
    elif method == "Runtime.consoleAPICalled":
        seen.complaints.append(f"console: {params['args']}")
    elif method == "Log.entryAdded":
        seen.complaints.append(params["entry"]["text"])


@contextmanager
def browsing(program: str, profile: Path) -> Iterator[Browser]:
    """Start a browser with a new profile; it is ended in every case."""
    child_reads, we_write = os.pipe()
    we_read, child_writes = os.pipe()
    command = [sys.executable, "-c", _BEGIN, str(child_reads), str(child_writes), program, *_OPTIONS]
    command.append(f"--user-data-dir={profile}")
    complaints = profile / "stderr"
    with complaints.open("wb") as said:
        process = subprocess.Popen(
            command,
            pass_fds=(child_reads, child_writes),
            env={**os.environ, "HOME": str(profile)},  # it writes there, too
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
    os.close(child_reads)
    os.close(child_writes)
    try:
        yield Browser(we_write, we_read, complaints)
    finally:
        os.close(we_write)  # at the end of its commands it ends by itself, with all its children
        os.close(we_read)
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
            process.wait()
