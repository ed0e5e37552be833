"""The remotes of a config, reached from this machine, and what is allowed on its line and tried again."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rm360_async.config import Settings
from rm360_async.domain.bandwidth import BandwidthLimit
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.retry import RetryPolicy
from rm360_async.download.accounts import Accounts, LineLimits
from rm360_async.download.rclone import Remote, StallPolicy, find_rclone, rclone_environment

_BANDWIDTH_VARIABLE = "RCLONE_BWLIMIT"
_STALL_CHECK_SECONDS = 1.0


def connect(settings: Settings) -> list[Remote]:
    """Return the remotes of the config, reached through the rclone of this machine; raise Fault(RCLONE_MISSING)."""
    program, env = find_rclone(), rclone_environment(os.environ)
    folder = settings.google_drive.root_folder_id
    return [Remote(name, folder, program, env) for name in settings.google_drive.remotes]


def stall_policy_of(settings: Settings) -> StallPolicy:
    """Return how often the progress of a transfer is checked, and after how many checks it counts as stalled."""
    checks = round(settings.processing.stall_seconds / _STALL_CHECK_SECONDS)
    return StallPolicy(_STALL_CHECK_SECONDS, max(1, checks))


def retry_policy_of(settings: Settings) -> RetryPolicy:
    """Return after how many tries, and how long, what failed is tried again."""
    processing = settings.processing
    return RetryPolicy(processing.max_retries, processing.retry_delay, processing.quota_wait_hours * 3600)


def build_accounts(settings: Settings, remotes: Sequence[Remote]) -> Accounts:
    """Return the accounts of the config's remotes; connects nothing. Raises BadRequest as `line_limits_of` does."""
    return Accounts(remotes, stall_policy_of(settings), retry_policy_of(settings), line_limits_of(settings))


def line_limits_of(settings: Settings) -> LineLimits:
    """Return what the config, or else rclone's variable, says about the line. Raises BadRequest for the variable."""
    processing, bandwidth = settings.processing, settings.processing.bandwidth
    if bandwidth is None:
        try:
            bandwidth = BandwidthLimit.parse(os.environ.get(_BANDWIDTH_VARIABLE, ""))
        except BadRequest as error:
            raise BadRequest(f"{_BANDWIDTH_VARIABLE}: {error}") from None
    return LineLimits(processing.connections, processing.downloads, bandwidth)
