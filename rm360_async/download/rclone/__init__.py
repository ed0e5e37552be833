"""List and download files with the program rclone; its errors become faults with a cause."""

from __future__ import annotations

from rm360_async.download.rclone.binary import (
    MIN_RCLONE,
    find_rclone,
    rclone_candidates,
    rclone_environment,
    rclone_problem,
    rclone_version,
)
from rm360_async.download.rclone.listing import RemoteListing
from rm360_async.download.rclone.remote import Remote, require_unique
from rm360_async.download.rclone.remote_config import RemoteLogin, find_config_file, read_login
from rm360_async.download.rclone.server import RcloneServer
from rm360_async.download.rclone.stall import StallPolicy, StallWatch

__all__ = [
    "MIN_RCLONE",
    "RcloneServer",
    "Remote",
    "RemoteListing",
    "RemoteLogin",
    "StallPolicy",
    "StallWatch",
    "find_config_file",
    "find_rclone",
    "rclone_candidates",
    "rclone_environment",
    "rclone_problem",
    "rclone_version",
    "read_login",
    "require_unique",
]
