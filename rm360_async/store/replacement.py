"""What becomes of a folder that another one has replaced: its published files go, everything else is kept.

Theory of operation. People put files of their own into published folders: fits, notes, links, empty folders. Whatever
the folder's list of files does not name is unlisted. The replaced folder has a name `-replaced.staging` from before it
gives up its final name, so that a run which finds it after a crash knows that it may hold unlisted entries. Each
moves, by one rename that never replaces anything, to its path in the new folder; where something has that path
already, to `.<name>.kept` beside the new folder, which is on the same file system. Only then are the listed files
removed, the list and the marker last. So a crash at any moment leaves every entry in one of three folders, and
`finish_replacement` continues where it stopped. No symbolic link is followed, and what cannot be moved is not removed.

Which files are listed decides `.extraction_files.csv`. Without it (an earlier tool, or a damaged list) the files of a
folder with a marker are those whose paths are in the layout of published folders; without a marker none are.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Modality, is_performance
from rm360_async.store.file_list import EXPORT_LIST, EXPORT_RECORD, FILE_LIST, read_file_list
from rm360_async.store.marker import DAMAGED, MARKER
from rm360_async.store.staging import remove_tree
from rm360_async.system.fault_points import reach
from rm360_async.system.file_locks import locked_if_unused
from rm360_async.system.files import free_name, sync
from rm360_async.system.linux import rename_without_replacing
from rm360_async.system.os_errors import os_errors

OWN_FILES = (MARKER, DAMAGED, FILE_LIST, EXPORT_RECORD, EXPORT_LIST)
"""The files of a published folder or an export that its list does not name; see `_Emptying.run` for their removal."""
_REPLACED = "-replaced.staging"
_KEPT = ".kept"
_LAYOUT_FOLDER = re.compile(rf"(?:{'|'.join(each.value for each in Modality)})(?:/cam_[0-9]+)?")
_LAYOUT_FILE = re.compile(
    rf"{_LAYOUT_FOLDER.pattern}/"
    r"(?:info|all_cameras|all_frames|cameras|audio|audio_data|mesh|cam_[0-9]+|(?:frame_)?[0-9]+)\.[a-z0-9]+"
)
_MAX_NAMES_SHOWN = 10
_MAX_ROUNDS = 3
"""A person may add files to the folder while it is emptied."""


@dataclass
class MovedEntries:
    """The unlisted entries of a replaced folder: paths below it, where each is now, and what could not be moved.

    A folder that moved as a whole is one entry. `remaining` are entries that stay in `folder`, each with the reason.
    """

    folder: Path
    final: Path
    carried_over: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    remaining: list[str] = field(default_factory=list)

    @property
    def messages(self) -> list[str]:
        """Return a line for each kind of entry that there is."""
        lines = []
        if self.carried_over:
            lines.append(f"files that rm360 did not write stay in {self.final}: {names_text(self.carried_over)}")
        if self.kept:
            reason = "the new folder has the same names"
            lines.append(
                f"files that rm360 did not write are now in {kept_path(self.final)}, because {reason}:"
                f" {names_text(self.kept)}"
            )
        if self.remaining:
            lines.append(f"cannot remove all of {self.folder}: {names_text(self.remaining)}; the next run tries again")
        return lines


def replaced_path(staging: Path) -> Path:
    """Return the name that a folder has once the one at `staging` has replaced it."""
    return staging.with_name(staging.name.removesuffix(".staging") + _REPLACED)


def replaced_folders(final: Path) -> list[Path]:
    """Return the folders that were replaced by the one at `final` and that a killed process has left."""
    return sorted(final.parent.glob(f".{glob.escape(final.name)}.*{_REPLACED}"))


def kept_path(final: Path) -> Path:
    """Return the folder for entries that the new folder at `final` has no free name for."""
    return final.with_name(f".{final.name}{_KEPT}")


def kept_folders(output_dir: Path) -> list[Path]:
    """Return the existing folders of `kept_path` below an output folder, sorted."""
    pattern = f"[0-9][0-9][0-9][0-9]/.*{_KEPT}"
    folders = (path for path in output_dir.glob(pattern) if path.is_dir() and not path.is_symlink())
    return sorted(path for path in folders if is_performance(path.name[1 : -len(_KEPT)]))


def names_text(paths: Sequence[str]) -> str:
    """Return the first paths, and how many more there are."""
    more = len(paths) - _MAX_NAMES_SHOWN
    return ", ".join(paths[:_MAX_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def remove_staging(staging: Path, final: Path) -> MovedEntries | None:
    """Remove a staging folder; return the unlisted entries of it, if it is one that was replaced.

    Returns None, and does nothing, if a process uses the folder. Raises Fault.
    """
    if staging.is_symlink():  # what a process uses is a folder
        remove_tree(staging)
        return MovedEntries(staging, final)
    with locked_if_unused(staging, os.O_DIRECTORY) as is_unused:
        if not is_unused:
            return None
        if staging.name.endswith(_REPLACED):
            return finish_replacement(staging, final)
        remove_tree(staging)
        return MovedEntries(staging, final)


def unlisted_entries(folder: Path) -> list[str]:
    """Return the paths of all entries below a published folder that it does not list, sorted.

    A folder is one entry if nothing below it is listed. There are none if `folder` does not exist. Raises
    Fault(IN_THE_WAY) if it cannot be read.
    """
    with os_errors("read", folder, cause=Cause.IN_THE_WAY):
        try:
            return sorted(_unlisted(folder, "", _ListedPaths(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []


def finish_replacement(replaced: Path, final: Path) -> MovedEntries:
    """Move the unlisted entries of a replaced folder to the new one at `final`, and remove the rest.

    If nothing has the name `final`, the replacement was interrupted half way, and the old folder gets its name back.
    Raises nothing: the new folder is published. What could not be moved or removed stays, and is tried again by the
    next run.
    """
    moved = MovedEntries(replaced, final)
    try:
        if not os.path.lexists(final):
            replaced.rename(final)
            return moved
        for _ in range(_MAX_ROUNDS):
            moved.remaining.clear()
            _Emptying(replaced, final, moved).run()
            if not os.path.lexists(replaced):
                break
    except OSError as error:
        moved.remaining.append(f"{error.filename or replaced}: {error.strerror}")
    return moved


class _ListedPaths:
    """The files and folders that a published folder lists, by their paths below it."""

    def __init__(self, folder: Path) -> None:
        self._files = set[str](OWN_FILES)
        self._folders = set[str]()
        self._by_layout = False
        self._is_export = os.path.lexists(folder / EXPORT_LIST)
        try:
            for file in read_file_list(folder, EXPORT_LIST if self._is_export else FILE_LIST):
                self._files.add(file.path)
                parent = file.path.rpartition("/")[0]
                while parent and parent not in self._folders:
                    self._folders.add(parent)
                    parent = parent.rpartition("/")[0]
        except (OSError, ValueError):
            self._by_layout = any(os.path.lexists(folder / name) for name in OWN_FILES)

    def has_entry(self, entry: os.DirEntry[str], path: str) -> bool:
        """Return True for a listed file; symbolic links are listed in exports only."""
        is_own = entry.is_file(follow_symlinks=False) or (self._is_export and entry.is_symlink())
        return is_own and self.has_file(path)

    def has_file(self, path: str) -> bool:
        return path in self._files or (self._by_layout and _LAYOUT_FILE.fullmatch(path) is not None)

    def has_folder(self, path: str) -> bool:
        return path in self._folders or (self._by_layout and _LAYOUT_FOLDER.fullmatch(path) is not None)


def _unlisted(folder: Path, below: str, listed: _ListedPaths) -> list[str]:
    paths: list[str] = []
    with os.scandir(folder / below) as entries:
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir(follow_symlinks=False) and listed.has_folder(path):
                paths += _unlisted_or_whole(folder, path, listed)
            elif not listed.has_entry(entry, path):
                paths.append(path)
    return paths


def _unlisted_or_whole(folder: Path, path: str, listed: _ListedPaths) -> list[str]:
    """Return the unlisted entries below a listed folder; the folder itself if it cannot be read."""
    try:
        return _unlisted(folder, path, listed)
    except OSError:
        return [path]


class _Emptying:
    """Empties one replaced folder; `moved` gets what became of its unlisted entries."""

    def __init__(self, replaced: Path, final: Path, moved: MovedEntries) -> None:
        self.replaced, self.final, self.moved = replaced, final, moved
        self.listed = _ListedPaths(replaced)
        self._changed_folders = set[Path]()

    def run(self) -> None:
        """Move the unlisted entries; remove the folder if nothing else is left in it."""
        self._make_listed_folders_writable()
        for path in sorted(_unlisted(self.replaced, "", self.listed)):
            self._move(path)
        for folder in self._changed_folders:
            sync(folder)
        reach("unlisted entries moved")
        self._remove_listed(self.replaced, "")
        if all(name in OWN_FILES for name in _names(self.replaced)):
            for name in reversed(OWN_FILES):
                (self.replaced / name).unlink(missing_ok=True)
            self.replaced.rmdir()
            reach("old folder removed")
            sync(self.replaced.parent)

    def _make_listed_folders_writable(self) -> None:
        pending = [""]
        while pending:
            below = pending.pop()
            _make_writable(self.replaced / below)
            with suppress(OSError), os.scandir(self.replaced / below) as entries:
                paths = [f"{below}/{each.name}" if below else each.name for each in entries if _is_folder(each)]
                pending += [path for path in paths if self.listed.has_folder(path)]

    def _move(self, path: str) -> None:
        """Move one unlisted entry; folders that both sides have are merged."""
        try:
            if self._is_in_both(path):
                for name in _names(self.replaced / path):
                    self._move(f"{path}/{name}")
                with suppress(OSError):  # what could not be moved is still in it
                    (self.replaced / path).rmdir()
            elif self._rename(path, self.final / path):
                self.moved.carried_over.append(path)
            else:
                target = free_name(kept_path(self.final) / path)
                if self._rename(path, target):
                    self.moved.kept.append(str(target.relative_to(kept_path(self.final))))
        except OSError as error:
            self.moved.remaining.append(f"{path}: {error.strerror}")

    def _is_in_both(self, path: str) -> bool:
        sides = (self.replaced / path, self.final / path)
        return all(side.is_dir() and not side.is_symlink() for side in sides) and self._has_real_parents(path)

    def _has_real_parents(self, path: str) -> bool:
        """Return True if nothing but real folders is on the way to a path in the new folder."""
        parents = [self.final / parent for parent in PurePosixPath(path).parents]
        return not any(parent.is_symlink() or (parent.exists() and not parent.is_dir()) for parent in parents)

    def _rename(self, path: str, target: Path) -> bool:
        """Rename an entry to a free path, and create the folders above it; return False if the path is not free."""
        if self.final in target.parents and not self._has_real_parents(path):
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _rename_entry(self.replaced / path, target)
        except FileExistsError:
            return False
        self._changed_folders.add(target.parent)
        reach("unlisted entry moved")
        return True

    def _remove_listed(self, folder: Path, below: str) -> None:
        with os.scandir(folder / below) as entries:
            for entry in entries:
                path = f"{below}/{entry.name}" if below else entry.name
                if _is_folder(entry) and self.listed.has_folder(path):
                    self._remove_listed(folder, path)
                    with suppress(OSError):  # something unlisted is still in it
                        Path(entry.path).rmdir()
                elif path not in OWN_FILES and self.listed.has_entry(entry, path):
                    Path(entry.path).unlink()


def _rename_entry(source: Path, target: Path) -> None:
    try:
        rename_without_replacing(source, target)
    except PermissionError:  # a read-only folder cannot get another parent
        mode = source.lstat().st_mode
        if not stat.S_ISDIR(mode) or mode & stat.S_IRWXU == stat.S_IRWXU:
            raise
        source.chmod(stat.S_IMODE(mode) | stat.S_IRWXU)
        rename_without_replacing(source, target)
        target.chmod(stat.S_IMODE(mode))


def _make_writable(folder: Path) -> None:
    """Allow the owner to change a folder; does nothing for a folder of another user."""
    mode = stat.S_IMODE(folder.lstat().st_mode)
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        with suppress(PermissionError):
            folder.chmod(mode | stat.S_IRWXU)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries)
