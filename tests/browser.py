"""A real headless browser, driven over its debugging pipe: what a page shows, logs as errors, and requests.

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

BROWSER_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--remote-debugging-pipe", "--hide-scrollbars"),
)

_EXEC_WITH_PIPES = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, descriptor in zip(ends, (3, 4)):
    os.dup2(end, descriptor)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Program that moves the ends of the pipes to the descriptors that Chromium uses, and becomes Chromium."""


def find_browser() -> str | None:
    """Return the path of a browser, None if PATH has none."""
    return next((path for name in BROWSER_NAMES if (path := shutil.which(name))), None)


class BrowserEnded(Exception):
    """The browser has ended; the message is the end of its standard error."""


@dataclass
class PageView:
    """A page as a browser shows it: its errors, every URL that it requested, its widths in CSS pixels."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    content_width: int = 0
    view_width: int = 0
    text: str = ""
    background: str = ""


class Browser:
    """One running browser with one page."""

    def __init__(self, commands: int, answers: int, stderr: Path) -> None:
        self._commands, self._answers, self._stderr = commands, answers, stderr
        self._buffer = b""
        self._number = 0
        self._events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def open_page(self, page: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> PageView:
        """Open a local page in a window of this size in CSS pixels."""
        self._events.clear()
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self.call("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.call("Page.navigate", {"url": page.absolute().as_uri()})
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._read()
        view = PageView()
        view.content_width = self.evaluate("document.documentElement.scrollWidth")
        view.view_width = self.evaluate("document.documentElement.clientWidth")
        view.text = self.evaluate("document.body.innerText")
        view.background = self.evaluate("getComputedStyle(document.body).backgroundColor")
        for event in self._events:
            _record(view, event["method"], event.get("params", {}))
        return view

    def evaluate(self, script: str) -> Any:
        """Return the value of a script in the page."""
        return self.call("Runtime.evaluate", {"expression": script, "returnByValue": True})["result"].get("value")

    def screenshot(self, path: Path, *, full_page: bool = True) -> Path:
        """Write a PNG of the page, all of it or only the window; return its path."""
        data = self.call("Page.captureScreenshot", {"captureBeyondViewport": full_page})["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of a command of the debugging protocol."""
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
        """Return the next message; add events to the list of events."""
        while b"\0" not in self._buffer:
            chunk = os.read(self._answers, 2**16)
            if not chunk:
                raise self._ended()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self._events.append(message)
        return message

    def _ended(self) -> BrowserEnded:
        return BrowserEnded(self._stderr.read_text(errors="replace")[-2000:] or "no output")


def _record(view: PageView, method: str, params: dict[str, Any]) -> None:
    if method == "Network.requestWillBeSent":
        view.requests.append(params["request"]["url"][:200])
    elif method == "Runtime.exceptionThrown":
        view.errors.append(str(params["exceptionDetails"].get("text")))
    elif method == "Runtime.consoleAPICalled":
        view.errors.append(f"console: {params['args']}")
    elif method == "Log.entryAdded":
        view.errors.append(params["entry"]["text"])


@contextmanager
def start_browser(program: str, profile: Path) -> Iterator[Browser]:
    """Start a browser with a new profile; end it when the context ends."""
    child_reads, commands = os.pipe()
    answers, child_writes = os.pipe()
    command = [sys.executable, "-c", _EXEC_WITH_PIPES, str(child_reads), str(child_writes), program, *_OPTIONS]
    command.append(f"--user-data-dir={profile}")
    stderr = profile / "stderr"
    with stderr.open("wb") as output:
        process = subprocess.Popen(
            command,
            pass_fds=(child_reads, child_writes),
            env={**os.environ, "HOME": str(profile)},  # it writes there as well
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
        )
    os.close(child_reads)
    os.close(child_writes)
    try:
        yield Browser(commands, answers, stderr)
    finally:
        os.close(commands)  # at the end of its input it ends itself and its children
        os.close(answers)
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
            process.wait()
