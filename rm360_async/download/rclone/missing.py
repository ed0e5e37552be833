"""Say why a remote may not list what is selected: options that hide it, or another folder than was meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Kind, Structure, is_subject
from rm360_async.domain.record import RemoteFolder
from rm360_async.download.rclone.command import ONE_TRY, RcloneCommand
from rm360_async.download.rclone.listing import parse_listing
from rm360_async.download.rclone.remote_config import config_path, locate_entry, read_login

_MAX_SHOWN = 5
_MAX_FOLDERS = 20
"""Of a root whose folders are looked into: each one is a request."""
_MAX_DEPTH = 4
"""Levels of folders below the root that are looked at for a release."""
LAYOUTS = {
    Structure.SINGLE: "a folder for each subject (0018/)",
    Structure.PAIR: "raw/ and anno/ with a folder for each subject",
}


@dataclass(frozen=True)
class FoundRelease:
    """A folder that holds a release: the folder, the layout, and the names of the folders in it."""

    folder: RemoteFolder
    structure: Structure
    folders: list[str]


async def explain_missing(rclone: RcloneCommand, structure: Structure) -> list[str]:
    """Return sentences on why the selected files may be missing from a listing that succeeded."""
    return [*await explain_options(rclone), *await _explain_folders(rclone, structure)]


async def explain_options(rclone: RcloneCommand) -> list[str]:
    """Return a sentence on each option of the remote that hides files and is not overridden."""
    try:
        login = await read_login(rclone.binary, rclone.env, rclone.name)
    except Fault:  # the listing itself succeeded
        return []
    if login.type != "drive":
        return []
    inline = [option for option in login.narrowing if f",{option}" in rclone.name]
    stored = [option for option in login.narrowing if option not in (*inline, *rclone.overridden_options)]
    path = await config_path(rclone.binary, rclone.env) if stored else None
    places = {option: "it is in google_drive.remote_name" for option in inline}
    if path is not None:
        places |= {option: locate_entry(path, rclone.env, rclone.remote, option) for option in stored}
    return [
        f"{rclone} has the option {option}, with which Drive shows only some of the files: remove it, or give another"
        f" remote in google_drive.remote_name; {place}"
        for option, place in places.items()
    ]


async def _explain_folders(rclone: RcloneCommand, structure: Structure) -> list[str]:
    """Return a sentence on what the remote's root holds instead."""
    top = await list_folders(rclone, 1)
    if top is None:
        return []
    if not top:
        return [f"{rclone} holds no folder at all"]
    if other := layout_of(folder.path for folder in top):
        if other is structure:
            return []
        return [f"{rclone} holds {LAYOUTS[other]}: set google_drive.structure: {other.value}"]
    notes = [f"{rclone} holds {_shown([folder.path for folder in top])}"]
    for release in await find_releases(rclone, top):
        inner = release.folders
        notes.append(f"{release.folder.path}/ holds {_shown(inner)}: {await _advice(rclone, release)}")
    return notes


async def find_releases(rclone: RcloneCommand, top: Sequence[RemoteFolder]) -> list[FoundRelease]:
    """Return the folders below those of the root, `top`, that hold a release; down to the depth at which there is one.

    Each level costs a request for each folder of the one before, so what has many folders is not looked into.
    """
    level = list(top)
    for depth in range(2, _MAX_DEPTH + 1):
        if len(level) > _MAX_FOLDERS:
            break
        below = await list_folders(rclone, depth) or []
        found = [
            FoundRelease(folder, layout, inner)
            for folder in level
            if (layout := layout_of(inner := names_below(folder.path, below))) is not None
        ]
        if found:
            return found
        level = [each for each in below if each.path.count("/") == depth - 1]
    return []


def names_below(path: str, folders: Iterable[RemoteFolder]) -> list[str]:
    """Return the names of those of `folders` that are directly in the folder at a path."""
    return [each.path.removeprefix(f"{path}/") for each in folders if each.path.rpartition("/")[0] == path]


async def list_folders(rclone: RcloneCommand, depth: int) -> list[RemoteFolder] | None:
    """Return the folders of the remote down to a depth, sorted by path; None if they cannot be listed now."""
    ended = await rclone.run(rclone.line("lsjson", "--recursive", "--dirs-only", "--max-depth", str(depth), *ONE_TRY))
    return (
        sorted(parse_listing(ended.stdout, f"listing {rclone}").folders, key=_path) if ended.returncode == 0 else None
    )


def _path(folder: RemoteFolder) -> str:
    return folder.path


def layout_of(names: Iterable[str]) -> Structure | None:
    """Return the layout that a folder with these folders in it has; None if it has none."""
    present = set(names)
    if any(is_subject(name) for name in present):
        return Structure.SINGLE
    return Structure.PAIR if {kind.value for kind in Kind} & present else None


async def _advice(rclone: RcloneCommand, release: FoundRelease) -> str:
    by_id = release.folder.id and await is_drive(rclone)
    setting = (
        f'root_folder_id: "{release.folder.id}"'
        if by_id
        else f'remote_name: "{path_on(rclone.name, release.folder.path)}"'
    )
    return f"set google_drive.{setting} and structure: {release.structure.value}"


async def is_drive(rclone: RcloneCommand) -> bool:
    """Return True if a remote is Google Drive, whose folders have ids that lead to them."""
    try:
        return (await read_login(rclone.binary, rclone.env, rclone.name)).type == "drive"
    except Fault:
        return False


def path_on(remote: str, path: str) -> str:
    """Return a path below a remote as rclone takes it: `gdrive:a/b` for `gdrive` or `gdrive:` or `gdrive:a`."""
    is_path = ":" in remote or remote.startswith(("/", "."))
    separator = "" if remote.endswith((":", "/")) else "/" if is_path else ":"
    return f"{remote}{separator}{path}"


def _shown(names: Sequence[str]) -> str:
    text = ", ".join(f"{name if name.isprintable() else ascii(name)}/" for name in names[:_MAX_SHOWN])
    return text if len(names) <= _MAX_SHOWN else f"{text} and {len(names) - _MAX_SHOWN} more folders"
