"""List and fetch through the rclone program; its errors turned into ours."""

from __future__ import annotations

from rm360_async.rclone.accounts import Account, account, config_file
from rm360_async.rclone.listed import Listed, Listing
from rm360_async.rclone.program import environment, find, version
from rm360_async.rclone.remote import Remote
from rm360_async.rclone.serving import Allowance, Served
from rm360_async.rclone.stall import StallWatch
from rm360_async.rclone.transfer import Pace, disk_fault

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
