"""Run the listings of one remote, and judge what rclone says beside its exit code.

Theory of operation. A listing of rclone goes on after an entry that it cannot list, names it in an error with its path,
and ends with exit 6 (or 1). Such an error spoils nothing if its path can hold nothing that is wanted (`lost+found`,
another user's folder). Where it can, and the reason will not pass by itself (a broken link, no permission), the entry
is passed over and reported; any other error makes the listing a failure.

Drive allows several folders of one path, and rclone finds only one of them by its path. So each is listed by its id,
as a root of its own, and its files remember it.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from rm360_async.domain.errors import Fault
from rm360_async.domain.record import RemoteFile, RemoteFolder
from rm360_async.download.rclone.command import FEW_TRIES, RcloneCommand
from rm360_async.download.rclone.errors import LogMessage, cleaned, is_incomplete_listing, log_messages
from rm360_async.download.rclone.listing import PassedOver, RemoteFeatures, mark_duplicates, parse_listing
from rm360_async.system.processes import ProcessResult

_LOG = logging.getLogger(__name__)
NO_FOLDER = 3
"""Exit code of rclone for a folder that is not there."""
_MAX_DEPTH = 4
"""Of a remote that is listed folder by folder: one level more than the layout has, and links may lead in a circle."""
_LASTING = re.compile(r"permission denied|no such file or directory|too many levels of symbolic links")
_FAILED = re.compile(r"^Failed to ls\w+(?: with (\d+) errors)?")
_ERROR, _NOTICES = "error", ("warning", "notice")  # the second: in 1.60, and in later versions
_ALL_SMC = ("--include", "*.smc")
_SEVERAL = (
    "several folders have this path, and {} leads to only one of them: merge them, or set google_drive.remote_name to"
    " the Drive remote itself"
)


class _FolderNotFound(Fault):
    """The folder that was to be listed is not there."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.cause, fault.message, fault.hint)


@dataclass(frozen=True)
class Listed:
    """The files of a listing, and what could not be listed."""

    files: list[RemoteFile]
    passed_over: list[PassedOver] = field(default_factory=list)


@dataclass(frozen=True)
class Lister:
    """Lists files of a remote with some filters; `may_hold` tells of a path whether wanted files may be there."""

    rclone: RcloneCommand
    features: RemoteFeatures
    may_hold: Callable[[str], bool]
    md5: bool
    action: str

    async def list_files(self, filters: Sequence[str]) -> Listed:
        """Return the wanted files; raise Fault if the remote cannot be listed."""
        listed = await self._list(filters, None)
        return Listed(mark_duplicates(listed.files), list(dict.fromkeys(listed.passed_over)))

    async def _list(self, filters: Sequence[str], folder: RemoteFolder | None) -> Listed:
        """Return the wanted files below the remote's root, or below one folder of it."""
        ended = await self.rclone.run(self._line(filters, folder))
        prefix = f"{folder.path}/" if folder else ""
        passed_over = self._passed_over(ended, prefix)
        entries = parse_listing(_whole_json(ended), self.action)
        files = [replace(file, path=prefix + file.path, folder=folder) for file in entries.files]
        if folder is not None:  # its filters are wider than those of the root
            files = [file for file in files if self.may_hold(file.path)]
        folders = [replace(each, path=prefix + each.path) for each in entries.folders]
        several = self._several(folders)
        listed = Listed([file for file in files if not _is_below(file.path, several)], passed_over)
        for each in folders:
            if each.path in several:
                below = await self._list_by_id(each)
                listed.files.extend(below.files)
                listed.passed_over.extend(below.passed_over)
        return listed

    async def _list_by_id(self, folder: RemoteFolder) -> Listed:
        """Return the wanted files below one of several folders of a path, or that no id leads there."""
        if self.features.name == self.rclone.remote:  # an alias may override the id
            with suppress(_FolderNotFound):
                return await self._list((*_ALL_SMC, *FEW_TRIES), folder)
        return Listed([], [PassedOver(folder.path, _SEVERAL.format(self.rclone))])

    def _line(self, filters: Sequence[str], folder: RemoteFolder | None) -> list[str]:
        hashing = ("--hash", "--hash-type", "md5") if self.md5 else ()
        depth = () if self.features.lists_recursively else ("--max-depth", str(_MAX_DEPTH))
        return self.rclone.line("lsjson", "--recursive", "--no-mimetype", *depth, *hashing, *filters, folder=folder)

    def _passed_over(self, ended: ProcessResult, prefix: str) -> list[PassedOver]:
        """Return the wanted entries among those that were not listed.

        Raises Fault if the listing failed as a whole, or if the reason may pass by itself.
        """
        messages = entry_messages(ended)
        if messages is None:
            fault = self.rclone.fault(ended.returncode, ended.stderr, self.action)
            raise _FolderNotFound(fault) if ended.returncode == NO_FOLDER else fault
        wanted = [each for each in messages if self.may_hold(prefix + each.path)]
        for each in wanted:
            if each.level == _ERROR and not _LASTING.search(each.text):
                raise self.rclone.fault(ended.returncode, f"{each.path}: {each.text}", self.action)
        return [PassedOver(prefix + each.path, cleaned(each.text)) for each in wanted]

    def _several(self, folders: Sequence[RemoteFolder]) -> list[str]:
        """Return the paths that several folders have, of those that matter, without those below another of them."""
        counts = Counter(folder.path for folder in folders)
        several: list[str] = []
        for path in sorted(path for path, count in counts.items() if count > 1 and self.may_hold(path)):
            if not _is_below(path, several):
                several.append(path)
                _LOG.info("the remote has %d folders of the path %s; all of them are listed", counts[path], path)
        return several


def entry_messages(ended: ProcessResult) -> list[LogMessage] | None:
    """Return what a command said about single entries that it did not list; None if it failed in another way."""
    messages = list(log_messages(ended.stderr))
    about_entries = [each for each in messages if each.path and each.level in (_ERROR, *_NOTICES)]
    if is_incomplete_listing(ended.stderr):
        return None
    if ended.returncode == 0:
        return about_entries
    failed = next((match for each in messages if (match := _FAILED.match(each.text))), None)
    errors = sum(1 for each in about_entries if each.level == _ERROR)
    return about_entries if failed and errors == int(failed[1] or 1) else None


def _whole_json(ended: ProcessResult) -> bytes:
    """Return the printed list, with the end that is missing after some errors."""
    output = ended.stdout.strip()
    return output if ended.returncode == 0 or output.endswith(b"]") else output.rstrip(b",") + b"]"


def _is_below(path: str, folders: Sequence[str]) -> bool:
    return any(path.startswith(f"{folder}/") for folder in folders)
