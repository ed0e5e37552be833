"""List and fetch through the rclone program; its errors turned into ours."""

from __future__ import annotations

from rm360_async.download.rclone.binary import environment, find, version
from rm360_async.download.rclone.listing import Listed, Listing
from rm360_async.download.rclone.remote import Remote
from rm360_async.download.rclone.remote_config import Account, account, config_file
from rm360_async.download.rclone.server import Allowance, Served
from rm360_async.download.rclone.stall import StallWatch
from rm360_async.download.rclone.transfer import Pace, disk_fault

__all__ = [
    "Account",
    "Allowance",
    "Listed",
    "Listing",
    "Pace",
    "Remote",
    "Served",
    "StallWatch",
    "account",
    "config_file",
    "disk_fault",
    "environment",
    "find",
    "version",
]
