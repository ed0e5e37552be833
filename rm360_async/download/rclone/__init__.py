"""List and fetch through the rclone program; its errors turned into ours."""

from __future__ import annotations

from rm360_async.download.rclone.binary import find_rclone, rclone_environment, rclone_version
from rm360_async.download.rclone.listing import RemoteListing
from rm360_async.download.rclone.remote import Remote
from rm360_async.download.rclone.remote_config import RemoteLogin, find_config_file, read_login
from rm360_async.download.rclone.server import RcloneServer, RequestQuota
from rm360_async.download.rclone.stall import StallWatch
from rm360_async.download.rclone.transfer import StallPolicy

__all__ = [
    "RcloneServer",
    "Remote",
    "RemoteListing",
    "RemoteLogin",
    "RequestQuota",
    "StallPolicy",
    "StallWatch",
    "find_config_file",
    "find_rclone",
    "rclone_environment",
    "rclone_version",
    "read_login",
]
