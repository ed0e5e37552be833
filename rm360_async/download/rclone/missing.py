"""Say why a remote may not list what is selected: options that hide it, or another folder than was meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Kind, Structure, is_subject
from rm360_async.domain.record import RemoteFolder
from rm360_async.download.rclone.command import ONE_TRY, RcloneCommand
from rm360_async.download.rclone.listing import parse_listing
from rm360_async.download.rclone.remote_config import config_path, locate_entry, read_login

_MAX_SHOWN = 5
_MAX_FOLDERS = 20
"""Of a root whose folders are looked into: each one is a request."""
_LAYOUTS = {
    Structure.SINGLE: "a folder for each subject (0018/)",
    Structure.PAIR: "raw/ and anno/ with a folder for each subject",
}


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
    top = await _folders(rclone, 1)
    if top is None:
        return []
    if not top:
        return [f"{rclone} holds no folder at all"]
    if other := _layout(folder.path for folder in top):
        if other is structure:
            return []
        return [f"{rclone} holds {_LAYOUTS[other]}: set google_drive.structure: {other.value}"]
    below = await _folders(rclone, 2) if len(top) <= _MAX_FOLDERS else None
    notes = [f"{rclone} holds {_shown([folder.path for folder in top])}"]
    for folder in top:
        inner = [each.path.partition("/")[2] for each in below or () if each.path.startswith(f"{folder.path}/")]
        if layout := _layout(inner):
            notes.append(f"{folder.path}/ holds {_shown(inner)}: {_advice(rclone, folder, layout)}")
    return notes


async def _folders(rclone: RcloneCommand, depth: int) -> list[RemoteFolder] | None:
    """Return the folders of the remote down to a depth; None if they cannot be listed now."""
    ended = await rclone.run(rclone.line("lsjson", "--recursive", "--dirs-only", "--max-depth", str(depth), *ONE_TRY))
    return (
        sorted(parse_listing(ended.stdout, f"listing {rclone}").folders, key=_path) if ended.returncode == 0 else None
    )


def _path(folder: RemoteFolder) -> str:
    return folder.path


def _layout(names: Iterable[str]) -> Structure | None:
    """Return the layout that a folder with these folders in it has; None if it has none."""
    present = set(names)
    if any(is_subject(name) for name in present):
        return Structure.SINGLE
    return Structure.PAIR if {kind.value for kind in Kind} & present else None


def _advice(rclone: RcloneCommand, folder: RemoteFolder, layout: Structure) -> str:
    setting = (
        f'root_folder_id: "{folder.id}"' if folder.id else f'remote_name: "{rclone.name.rstrip("/")}{folder.path}"'
    )
    return f"set google_drive.{setting} and structure: {layout.value}"


def _shown(names: Sequence[str]) -> str:
    text = ", ".join(f"{name if name.isprintable() else ascii(name)}/" for name in names[:_MAX_SHOWN])
    return text if len(names) <= _MAX_SHOWN else f"{text} and {len(names) - _MAX_SHOWN} more folders"
