"""List and fetch through the rclone program; its errors turned into ours."""

from __future__ import annotations

from rm360_async.download.rclone.binary import environment, find, version
from rm360_async.download.rclone.listing import RemoteFile, RemoteListing
from rm360_async.download.rclone.remote import Remote
from rm360_async.download.rclone.remote_config import Account, account, config_file
from rm360_async.download.rclone.server import RcloneServer, RequestQuota
from rm360_async.download.rclone.stall import StallWatch
from rm360_async.download.rclone.transfer import StallPolicy, disk_fault

__all__ = [
    "Account",
    "RcloneServer",
    "Remote",
    "RemoteFile",
    "RemoteListing",
    "RequestQuota",
    "StallPolicy",
    "StallWatch",
    "account",
    "config_file",
    "disk_fault",
    "environment",
    "find",
    "version",
]
