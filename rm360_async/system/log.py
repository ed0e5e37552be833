"""The log of a run: readable lines to a file and to the console.

Theory of operation. Every record goes through a bounded queue to one listener thread, which writes it to a rotating
file and to the console; so a slow disk never blocks the event loop. The handlers at the end are those of the standard
library, because they swallow write errors (`logging.raiseExceptions` is off while a log is open): a full disk or a
dead `| tee` costs lines, never work. Lines that did not fit into the queue are counted, and the last line of the log
gives their number. One record is one line: control characters are escaped, and a traceback follows indented, so no
name or remote's answer can look like a record. Values that look like secrets are masked at the very end, in the
finished text, so records of other libraries are covered too.

Rooms log through `logging.getLogger(__name__)`, or through `logger(__name__)` with `key=value` fields.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import queue
import re
import sys
import time
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import datetime, timedelta
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

from rm360_async.domain.errors import Cause
from rm360_async.system.os_errors import os_errors
from rm360_async.system.secrets import masked

PACKAGE = "rm360_async"
MAX_QUEUED_LINES = 100_000
MAX_LINE_CHARS = 16_384
MAX_ROTATED_FILES = 9
"""Besides the current one."""
MAX_LOG_FILES = 1000
"""Files of earlier logs that are kept, however recent they are."""
_EVENT = "event_values"
_OFF = logging.CRITICAL + 1
_events = logging.getLogger(f"{PACKAGE}.events")
_events.setLevel(_OFF)
_COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


def logger(name: str) -> Any:
    """Return a structlog logger over the standard library's logger of that name.

    `log.info("published", files=12)` writes `published files=12`; `structlog.contextvars` fields are added.
    """
    processors: list[Processor] = [
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        _render_fields,
    ]
    return structlog.wrap_logger(
        logging.getLogger(name), processors=processors, wrapper_class=structlog.stdlib.BoundLogger
    )


def escaped(text: str) -> str:
    """Return the text on one line: unprintable characters as escapes, cut off after MAX_LINE_CHARS."""
    if len(text) > MAX_LINE_CHARS:
        text = f"{text[:MAX_LINE_CHARS]}... ({len(text) - MAX_LINE_CHARS} more characters)"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def emit_event(event: str, **values: Any) -> None:
    """Write an event as a line of JSON to the stream that `Log.stream_json` has opened; without one do nothing.

    The values are those that JSON has; they go through the queue of the log, so that a slow reader holds nothing up.
    """
    if _events.isEnabledFor(logging.INFO):
        _events.info("", extra={_EVENT: {"event": event, "at": time.time(), **values}})


def open_log(log_dir: Path, level: str, console: bool, max_bytes: int, console_level: str | None = None) -> Log:
    """Open the log of a run; a context manager, which closes it with every line written.

    The file is `<log_dir>/extraction_YYYYMMDD_HHMMSS.log`, rotated at `max_bytes`. `level` is a name such as INFO;
    the console shows lines from `console_level` on, if that is higher.
    Raises Fault(NOT_WRITABLE) if the file cannot be created.
    """
    with os_errors("write a log in", log_dir, "check storage.log_dir", Cause.NOT_WRITABLE):
        log_dir.mkdir(parents=True, exist_ok=True)
        path = _create_file(log_dir, datetime.now())
    return Log(path, level, console, max_bytes, console_level or level)


_LOG_NAME = re.compile(r"(?:extraction_[0-9]{8}_[0-9]{6}|node-[A-Za-z0-9_.-]+)\.log(?:\.[0-9]+)?")


def old_logs(log_dir: Path, days: float) -> list[Path]:
    """Return the files of earlier logs that need not be kept, the oldest first; none for 0 days.

    These are the files to which nothing was written for so many days, and all but the latest MAX_LOG_FILES: a service
    that is started again every five minutes writes 26,000 in 90 days.
    """
    limit = datetime.now().timestamp() - days * 86_400
    files: list[tuple[float, Path]] = []
    for path in log_dir.iterdir() if days and log_dir.is_dir() else ():
        with suppress(FileNotFoundError):  # another run has just removed it
            if _LOG_NAME.fullmatch(path.name) and path.is_file():
                files.append((path.lstat().st_mtime, path))
    files.sort()
    kept = files[-MAX_LOG_FILES:]
    return [path for modified, path in files if modified < limit or (modified, path) < kept[0]]


class Log:
    """An open log: one listener thread, the file's handler, and the console's, which can be replaced."""

    def __init__(self, path: Path, level: str, console: bool, max_bytes: int, console_level: str) -> None:
        self.path = path
        self._file = RotatingFileHandler(
            path, maxBytes=max_bytes, backupCount=MAX_ROTATED_FILES, encoding="utf-8", errors="backslashreplace"
        )
        self._file.setFormatter(_TextFormatter(colours=False))
        self._queueing = _QueueingHandler(queue.Queue(MAX_QUEUED_LINES))
        self._listener = _Listener(self._queueing.queue, self._file, respect_handler_level=True)
        self._console = _console_handler(sys.stderr, console_level) if console else None
        self._json: logging.Handler | None = None
        self._file.addFilter(_is_no_event)
        self.restore_console()
        self._previous_levels = (logging.raiseExceptions, logging.root.level, logging.getLogger(PACKAGE).level)
        self._open(level)

    def replace_console(self, handler: logging.Handler | None) -> None:
        """Send the console's lines to another handler (a live display), or to none."""
        if handler is not None and handler.formatter is None:
            handler.setFormatter(_TextFormatter(colours=False))
        if handler is not None:
            handler.addFilter(_is_no_event)
        handlers = (self._file, handler, self._json)
        self._listener.handlers = tuple(each for each in handlers if each is not None)

    def restore_console(self) -> None:
        """Send the console's lines to standard error again, or nowhere, as the log was opened."""
        self.replace_console(self._console)

    def stream_json(self, stream: TextIO) -> None:
        """Write each line of the log, and the events of `emit_event`, to a stream too, as JSON objects by line."""
        self._json = logging.StreamHandler(stream)
        self._json.setFormatter(_JsonFormatter())
        _events.setLevel(logging.INFO)
        self.restore_console()

    def close(self) -> None:
        """Write what is queued and close the file; does nothing the second time."""
        if self._queueing not in logging.root.handlers:
            return
        logging.root.removeHandler(self._queueing)
        self._listener.stop()
        if self._queueing.dropped:
            message = f"log lines dropped, too many at once: {self._queueing.dropped}"
            self._file.handle(logging.makeLogRecord({"msg": message, "levelname": "WARNING"}))
        with suppress(OSError):  # the last flush of a full disk
            self._file.close()
        _events.setLevel(_OFF)
        logging.raiseExceptions, root_level, level = self._previous_levels
        logging.root.setLevel(root_level)
        logging.getLogger(PACKAGE).setLevel(level)

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, level: str) -> None:
        """Start to log: records of this package from `level` on, those of other libraries from WARNING on."""
        logging.raiseExceptions = False
        logging.root.setLevel(max(logging.WARNING, logging.getLevelName(level)))
        logging.getLogger(PACKAGE).setLevel(level)
        logging.root.addHandler(self._queueing)
        self._listener.start()


class _QueueingHandler(QueueHandler):
    """Puts records into the queue, complete except for the format of their line."""

    def __init__(self, records: queue.Queue[Any]) -> None:
        super().__init__(records)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Render arguments and traceback now: the objects may have changed when the line is written."""
        rendered = copy.copy(record)
        rendered.msg, rendered.args = record.getMessage(), None
        if record.exc_info and record.exc_info[0] is not None:
            rendered.exc_text = logging.Formatter().formatException(record.exc_info)
        rendered.exc_info = None
        return rendered

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record, or count it as dropped if the queue is full."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Listener(QueueListener):
    queue: queue.Queue[Any]

    def enqueue_sentinel(self) -> None:
        """Wait for space in the queue, unlike the base class, so that a full queue can be stopped too."""
        self.queue.put(None)


class _TextFormatter(logging.Formatter):
    """`2026-11-22 14:05:01 INFO  message key=value`; a traceback follows, indented."""

    def __init__(self, colours: bool) -> None:
        super().__init__()
        self.colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Return the finished text of a record, in local time."""
        when = datetime.fromtimestamp(record.created).strftime("%Y-%m-%d %H:%M:%S")
        level = f"{record.levelname:<5}"
        if self.colours and record.levelname in _COLOURS:
            level = f"\x1b[{_COLOURS[record.levelname]}m{level}\x1b[0m"
        lines = [escaped(record.getMessage())]
        lines += [f"    {escaped(line)}" for line in (record.exc_text or "").splitlines()]
        return f"{when} {level} " + masked("\n".join(lines))


class _JsonFormatter(logging.Formatter):
    """`{"event": "log", "at": 1795610701.2, "level": "INFO", "message": "..."}`, or an event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the finished text of a record; times in unix seconds."""
        values = getattr(record, _EVENT, None)
        if values is None:
            values = {"event": "log", "at": record.created, "level": record.levelname, "message": record.getMessage()}
        return masked(json.dumps(values, default=str))


def _is_no_event(record: logging.LogRecord) -> bool:
    return not hasattr(record, _EVENT)


def _console_handler(stream: TextIO, level: str) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setLevel(level)
    handler.setFormatter(_TextFormatter(colours=stream.isatty() and not os.environ.get("NO_COLOR")))
    return handler


def _create_file(log_dir: Path, now: datetime) -> Path:
    """Create a new log file; a run that starts in the same second as another takes the next free second."""
    while True:
        path = log_dir / f"extraction_{now:%Y%m%d_%H%M%S}.log"
        with suppress(FileExistsError):
            path.touch(exist_ok=False)
            return path
        now += timedelta(seconds=1)


def _render_fields(_: object, __: str, event: MutableMapping[str, Any]) -> tuple[tuple[str], dict[str, Any]]:
    """Render the fields behind the message: the last processor, whose result the standard logger gets."""
    passed_on = {key: event.pop(key) for key in ("exc_info", "stack_info", "stacklevel") if key in event}
    parts = [str(event.pop("event", "")), *(f"{key}={_field_text(value)}" for key, value in event.items())]
    return (" ".join(parts),), passed_on


def _field_text(value: object) -> str:
    text = str(value)
    is_plain = text and not re.search(r"[\s\"'=]", text) and text.isprintable()
    return text if is_plain else json.dumps(text, ensure_ascii=False)
