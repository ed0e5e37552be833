"""The remotes that rclone knows, and the folders on them, until the one that holds a release."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import Structure, is_subject
from rm360_async.domain.record import RemoteFolder
from rm360_async.download.rclone import Remote, find_rclone, rclone_environment
from rm360_async.download.rclone.command import RcloneCommand, list_remotes
from rm360_async.download.rclone.missing import FoundRelease, find_releases, layout_of, list_folders, path_on
from rm360_async.download.rclone.remote_config import read_login

CONFIG_HELP = "https://rclone.org/drive/"


@dataclass(frozen=True)
class ConfiguredRemote:
    """A remote of rclone's config: its name without a colon, and the kind of storage that it is in the end."""

    name: str
    type: str


@dataclass(frozen=True)
class OpenedFolder:
    """A folder on a remote, as a config names it; `folders` are those in it.

    `structure` is the layout of the release that it holds, None if it holds none.
    """

    remote_name: str
    root_folder_id: str
    is_drive: bool
    folders: tuple[RemoteFolder, ...]
    structure: Structure | None

    def __str__(self) -> str:
        return f"{self.remote_name} (folder {self.root_folder_id})" if self.root_folder_id else self.remote_name

    def contents(self) -> str:
        """Return what is in it, in a few words."""
        names = [folder.path for folder in self.folders]
        if self.structure is Structure.SINGLE:
            return f"{sum(map(is_subject, names))} subjects, the layout of the 500-subject release"
        if self.structure is Structure.PAIR:
            return "raw/ and anno/, the layout of the 21-subject release"
        return f"{len(names)} folders"


async def configured_remotes() -> list[ConfiguredRemote]:
    """Return the remotes of rclone's config, Drive remotes first. Raises BadRequest if there is none."""
    program, env = find_rclone(), rclone_environment(os.environ)
    names = [name.rstrip(":") for name in await list_remotes(program, env)]
    if not names:
        raise BadRequest(
            f"rclone has no remote yet: make one with `{program} config` (n: new remote, then the storage `drive`;"
            f" {CONFIG_HELP}), and call `rm360 init` again"
        )
    remotes = [ConfiguredRemote(name, (await read_login(program, env, name)).type) for name in names]
    return sorted(remotes, key=lambda remote: remote.type != "drive")


async def open_folder(remote_name: str, root_folder_id: str = "") -> OpenedFolder:
    """Return a folder on a remote with what is in it; raise a Fault that says why if it cannot be listed."""
    program, env = find_rclone(), rclone_environment(os.environ)
    remote = Remote(remote_name, root_folder_id, program, env)
    await remote.check()
    rclone = _command(remote_name, root_folder_id)
    folders = await list_folders(rclone, 1) or []
    login = await read_login(program, env, remote_name)
    structure = layout_of(folder.path for folder in folders)
    return OpenedFolder(remote_name, root_folder_id, login.type == "drive", tuple(folders), structure)


async def open_inner(opened: OpenedFolder, folder: RemoteFolder) -> OpenedFolder:
    """Return a folder below an opened one: on Drive by its id, elsewhere by its path."""
    if opened.is_drive and folder.id:
        return await open_folder(opened.remote_name, folder.id)
    return await open_folder(path_on(opened.remote_name, folder.path))


async def find_inner_releases(opened: OpenedFolder) -> Sequence[FoundRelease]:
    """Return the folders below an opened one that hold a release."""
    return await find_releases(_command(opened.remote_name, opened.root_folder_id), opened.folders)


def _command(remote_name: str, root_folder_id: str) -> RcloneCommand:
    return RcloneCommand(remote_name, root_folder_id, find_rclone(), rclone_environment(os.environ))
