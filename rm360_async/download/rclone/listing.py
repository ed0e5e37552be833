"""What a remote lists: the files of `lsjson`, typed, and grouped by performance."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind, Performance, Structure, is_subject, parse_remote_path, remote_folder
from rm360_async.domain.record import RemoteFile, RemoteFolder

_MD5 = re.compile(r"[0-9a-f]{32}")
_MAX_TEXT_CHARS = 500
_MAX_SHOWN_CHARS = 200
_MAX_FILE_BYTES = 2**63 - 1
_GLOB_SPECIAL = re.compile(r"[*?\[\]{}\\]")


@dataclass(frozen=True)
class PassedOver:
    """What a remote has but does not list: its path there, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path.isprintable() else f"{self.path!a}: {self.reason}"


@dataclass(frozen=True)
class RemoteListing:
    """The performances of a remote, the paths of its `.smc` files that do not match the dataset layout, and gaps."""

    files: dict[Performance, dict[Kind, RemoteFile]] = field(default_factory=dict)
    unrecognized: tuple[str, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    """What may hold selected files and could not be listed."""
    notes: tuple[str, ...] = ()
    """Why selected subjects may be missing: sentences for the user."""
    follows_links: bool = False
    """True for a folder of this machine, in which symbolic links are followed."""

    def has_all(self, subjects: Sequence[str] | None) -> bool:
        """Return True if there are files of each of some subjects, or of any (None)."""
        listed = {performance.subject for performance in self.files}
        return bool(listed) if subjects is None else listed.issuperset(subjects)

    def why_unlisted(self, path: str) -> str:
        """Return why a path, or a folder above it, could not be listed; "" if it could."""
        reasons = (str(each) for each in self.passed_over if f"{path}/".startswith(f"{each.path}/"))
        return next(reasons, "")


@dataclass(frozen=True)
class Entries:
    """The files that `lsjson` printed, one for each path, and its folders, one for each id."""

    files: list[RemoteFile]
    folders: list[RemoteFolder]


@dataclass(frozen=True)
class RemoteFeatures:
    """What a remote can do.

    `has_md5`: it has md5s; `md5_is_free`: it knows them without reading the files. `lists_recursively`: it lists a
    whole tree in few requests. `is_local`: its files are on this machine. `name`: that of the remote which has the
    files, another one for an alias.
    """

    has_md5: bool
    md5_is_free: bool
    lists_recursively: bool
    is_local: bool
    name: str


def parse_listing(output: bytes, action: str) -> Entries:
    """Return the files and folders in the output of `rclone lsjson`; files of one path become one, marked as duplicate.

    Raises Fault(UNKNOWN) when the output is not what lsjson prints; `action` begins its message.
    """
    files: list[RemoteFile] = []
    folders: list[RemoteFolder] = []
    try:
        for entry in json.loads(output):
            if entry.get("IsDir") is True:
                folders.append(RemoteFolder(_path(entry), _plain_text(entry.get("ID")) or ""))
            else:
                files.append(_parse_file(entry))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Fault(Cause.UNKNOWN, f"{action}: rclone's answer is not a listing ({_printable(error)})") from error
    return Entries(mark_duplicates(files), folders)


def mark_duplicates(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """Return one file for each path, marked if there are several."""
    by_path: dict[str, RemoteFile] = {}
    for file in files:
        known = by_path.get(file.path)
        by_path[file.path] = file if known is None else replace(known, duplicate=True)
    return list(by_path.values())


def parse_features(features: bytes, action: str) -> RemoteFeatures:
    """Return the features in the output of `rclone backend features`.

    Raises Fault(UNKNOWN) when the output has another form; `action` begins its message.
    """
    try:
        value = json.loads(features)
        has_md5, flags = "md5" in (value["Hashes"] or ()), value["Features"]
        is_free = has_md5 and not flags["SlowHash"]
        lists_recursively, is_local = flags.get("ListR") is True, flags.get("IsLocal") is True
        return RemoteFeatures(has_md5, is_free, lists_recursively, is_local, str(value.get("Name", "")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Fault(Cause.UNKNOWN, f"{action}: rclone's answer cannot be read ({error!r})") from error


def _path(entry: dict[str, Any]) -> str:
    path = entry["Path"]
    if not isinstance(path, str):
        raise TypeError(f"a path is {type(path).__name__}")
    return path


def _parse_file(entry: dict[str, Any]) -> RemoteFile:
    md5 = (entry.get("Hashes") or {}).get("md5")
    known_md5 = md5 if isinstance(md5, str) and _MD5.fullmatch(md5) else None
    modified, identity = _plain_text(entry.get("ModTime")), _plain_text(entry.get("ID"))
    return RemoteFile(_path(entry), int(entry["Size"]), modified, identity, known_md5)


def _plain_text(value: object) -> str | None:
    """Return a printable text of usual length, else None: it goes into the ledger, logs and command lines."""
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= _MAX_TEXT_CHARS else None


def _printable(error: Exception) -> str:
    text = " ".join(str(error).split())[:_MAX_SHOWN_CHARS]
    return text if text.isprintable() else repr(text)


def group_by_performance(files: Iterable[RemoteFile], structure: Structure) -> RemoteListing:
    """Return the files by performance and kind."""
    listing, unrecognized = RemoteListing(), []
    for file in sorted(files, key=lambda file: file.path):
        match = parse_remote_path(structure, file.path)
        if match is None or not 0 <= file.size <= _MAX_FILE_BYTES:  # -1: a Google document, which has no bytes
            unrecognized.append(file.path)
        else:
            performance, kind = match
            listing.files.setdefault(performance, {})[kind] = file
    return replace(listing, unrecognized=tuple(unrecognized))


def wanted_folders(structure: Structure, subjects: Sequence[str] | None) -> list[str]:
    """Return the folders that hold the files of some subjects; for all (None) with `*` for the subject."""
    kinds = (Kind.RAW,) if structure is Structure.SINGLE else (Kind.RAW, Kind.ANNO)
    return [remote_folder(structure, subject, kind) for subject in subjects or ("*",) for kind in kinds]


def include_filters(structure: Structure, subjects: Sequence[str] | None) -> list[str]:
    """Return the filter arguments for the `.smc` files of some subjects, or of all (None).

    Named subjects give anchored patterns, so that rclone lists only their folders. For all subjects the pattern is
    not anchored: then rclone may ask Drive for many folders in one request.
    """
    if subjects is None:
        return ["--include", "*.smc"]
    folders = wanted_folders(structure, subjects)
    return [argument for folder in folders for argument in ("--include", f"/{escape_filter(folder)}/*.smc")]


def may_hold(folders: Iterable[str], path: str) -> bool:
    """Return True if a path is one of the folders, above it, or an .smc file in it; `*` in one stands for a subject."""
    parts = path.split("/")
    return any(_is_on_the_way(parts, folder.split("/")) for folder in folders)


def _is_on_the_way(parts: Sequence[str], folder: Sequence[str]) -> bool:
    if not all(has == wants or (wants == "*" and is_subject(has)) for has, wants in zip(parts, folder, strict=False)):
        return False
    return len(parts) <= len(folder) or (len(parts) == len(folder) + 1 and parts[-1].endswith(".smc"))


def escape_filter(path: str) -> str:
    """Return a filter pattern that matches exactly this path (https://rclone.org/filtering/)."""
    return _GLOB_SPECIAL.sub(lambda match: "\\" + match[0], path)
