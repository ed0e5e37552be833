"""The cause of a failed rclone, from its exit code and its messages.

Theory of operation. The exit code alone says little (1 is any refusal), so the messages decide, through one ordered
table: the first entry that matches any line wins, a remote's named reason before a bare status, a status before a lost
connection. Both forms of output are read, JSON lines and plain ones, mixed, because older versions print their last
line plain even when JSON is requested. What the table does not know is UNKNOWN, which is retried, and given up like
any other failure that costs a try.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass

from rm360_async.domain.errors import Cause, Fault
from rm360_async.download.rclone.error_patterns import ERROR_PATTERNS, EXIT_CODES
from rm360_async.system.secrets import masked

_ENTRY_TYPE = re.compile(r"^string$|\.(?:Object|Dir\w*)$")
"""Type of what a message is about if that is a file or a folder, and not a whole remote (`*drive.Fs`)."""
_MAX_MESSAGE_CHARS = 300
_LINE_PREFIX = re.compile(
    r"(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)? )?(?:(?:DEBUG|INFO|NOTICE|ERROR|CRITICAL|FATAL)\s*: )?"
)
_WRAPPING = re.compile(r"^.*googleapi: |^(?:(?:Failed|[Cc]ouldn't|[Ee]rror|last error|open file)\b[^:\"]*: )+")
_URL_QUERY = re.compile(r"\?[\w.-]+=[^\s\"]*")
# A config that cannot be written costs rclone five seconds and no answer: its reason is not that of the failure.
_NOISE = re.compile(
    r"^Config file .* not found - using defaults|shared Google Drive client_id|^Failed to save config after"
)


_STOP_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_SIGNALLED = frozenset(code for number in _STOP_SIGNALS for code in (-number, 128 + number))
"""The exit codes of an rclone that got one of them: before it handles signals, and after."""


@dataclass(frozen=True)
class LogMessage:
    """One message of rclone: its text, and of a JSON line also the level and the path that it is about ("" if none)."""

    text: str
    level: str = ""
    path: str = ""


def classify_failure(exit_code: int, stderr: str, action: str, remote: str = "REMOTE:") -> Fault:
    """Return the fault behind an rclone that failed.

    `exit_code` is negative when a signal killed it; `stderr` is the end of what it printed; `action` begins the
    sentence, e.g. `downloading 0018/0018_e1_raw.smc`; `remote` goes into hints. The fault's message contains the
    remote's own words without tokens or passwords.
    """
    if exit_code in _SIGNALLED:
        return Fault(Cause.TERMINATED, f"{action}: rclone was ended by a signal that this program did not send")
    messages = [message.text for message in log_messages(stderr)]
    for known in ERROR_PATTERNS:
        message = next((each for each in reversed(messages) if known.pattern.search(each)), None)
        if message is not None:
            return _fault(known.cause, f"{action}: {known.sentence}", message, known.hint.format(remote=remote))
    message = messages[-1] if messages else ""
    if known_code := EXIT_CODES.get(exit_code):
        return _fault(known_code.cause, f"{action}: {known_code.sentence}", message, known_code.hint)
    ending = f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with exit {exit_code}"
    return _fault(Cause.UNKNOWN, f"{action}: rclone {ending}", message)


def is_incomplete_listing(stderr: str) -> bool:
    """Return True if the remote did not search everywhere, though rclone may have ended with exit 0."""
    return "search result INCOMPLETE" in stderr


def _fault(cause: Cause, sentence: str, message: str, hint: str = "") -> Fault:
    shown = cleaned(message)
    return Fault(cause, f"{sentence} ({shown})" if shown else sentence, hint)


def log_messages(stderr: str) -> Iterator[LogMessage]:
    """Yield the messages of JSON and plain lines, without dates, statistics and advice."""
    for line in stderr.splitlines():
        message = _json_message(line) if line.startswith("{") else None
        if message is None:
            message = LogMessage(_LINE_PREFIX.sub("", line.strip(), count=1))
        if message.text and not _NOISE.search(message.text):
            yield message


def _json_message(line: str) -> LogMessage | None:
    """Return the message of a JSON line, one without text for statistics; None where it is not one of rclone's."""
    try:
        record = json.loads(line)
    except ValueError:  # the first line of a tail may lack its beginning
        return None
    if not isinstance(record, dict) or "msg" not in record:
        return None
    text = "" if "stats" in record else " ".join(str(record["msg"]).split())
    is_entry = _ENTRY_TYPE.search(str(record.get("objectType", ""))) is not None
    return LogMessage(text, str(record.get("level", "")), str(record.get("object", "")) if is_entry else "")


def cleaned(message: str) -> str:
    """Return a remote's message for a person: without rclone's wrapping and secrets, and cut to a readable length."""
    core = _WRAPPING.sub("", message)
    core = masked(_URL_QUERY.sub("", core)).strip(" .,:")
    return core if len(core) <= _MAX_MESSAGE_CHARS else core[:_MAX_MESSAGE_CHARS] + "..."
