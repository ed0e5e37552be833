"""What a remote lists: the files of `lsjson`, typed, and grouped by performance."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind, Performance, Structure, parse_remote_path, remote_folder
from rm360_async.domain.record import RemoteFile

_MD5 = re.compile(r"[0-9a-f]{32}")
_MAX_TEXT_CHARS = 500
_MAX_SHOWN_CHARS = 200
_MAX_FILE_BYTES = 2**63 - 1
_GLOB_SPECIAL = re.compile(r"[*?\[\]{}\\]")


@dataclass(frozen=True)
class RemoteListing:
    """The performances of a remote, and the paths of its `.smc` files that do not match the dataset layout."""

    files: dict[Performance, dict[Kind, RemoteFile]] = field(default_factory=dict)
    unrecognized: tuple[str, ...] = ()


@dataclass(frozen=True)
class HashSupport:
    """Whether a remote has md5s; `is_free`: it knows them without reading the files."""

    has_md5: bool
    is_free: bool


def parse_listing(output: bytes, action: str) -> list[RemoteFile]:
    """Return the files in the output of `rclone lsjson`, one for each path, with duplicates marked.

    Raises Fault(UNKNOWN) when the output is not what lsjson prints; `action` begins its message.
    """
    files: dict[str, RemoteFile] = {}
    try:
        for entry in json.loads(output):
            file = _parse_entry(entry)
            known = files.get(file.path)
            files[file.path] = file if known is None else replace(known, duplicate=True)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Fault(Cause.UNKNOWN, f"{action}: rclone's answer is not a listing ({_printable(error)})") from error
    return list(files.values())


def parse_hash_support(features: bytes, action: str) -> HashSupport:
    """Return the md5 support in the output of `rclone backend features`.

    Raises Fault(UNKNOWN) when the output has another form; `action` begins its message.
    """
    try:
        value = json.loads(features)
        has_md5 = "md5" in (value["Hashes"] or ())
        return HashSupport(has_md5, has_md5 and not value["Features"]["SlowHash"])
    except (ValueError, KeyError, TypeError) as error:
        raise Fault(Cause.UNKNOWN, f"{action}: rclone's answer cannot be read ({error!r})") from error


def _parse_entry(entry: dict[str, Any]) -> RemoteFile:
    path = entry["Path"]
    if not isinstance(path, str):
        raise TypeError(f"a path is {type(path).__name__}")
    md5 = (entry.get("Hashes") or {}).get("md5")
    known_md5 = md5 if isinstance(md5, str) and _MD5.fullmatch(md5) else None
    return RemoteFile(
        path, int(entry["Size"]), _plain_text(entry.get("ModTime")), _plain_text(entry.get("ID")), known_md5
    )


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


def include_filters(structure: Structure, subjects: Sequence[str] | None) -> list[str]:
    """Return the filter arguments for the `.smc` files of some subjects, or of all (None).

    Named subjects give anchored patterns, so that rclone lists only their folders. For all subjects the pattern is
    not anchored: then rclone may ask Drive for many folders in one request.
    """
    if subjects is None:
        return ["--include", "*.smc"]
    kinds = (Kind.RAW,) if structure is Structure.SINGLE else (Kind.RAW, Kind.ANNO)
    folders = [remote_folder(structure, subject, kind) for subject in subjects for kind in kinds]
    return [argument for folder in folders for argument in ("--include", f"/{escape_filter(folder)}/*.smc")]


def escape_filter(path: str) -> str:
    """Return a filter pattern that matches exactly this path (https://rclone.org/filtering/)."""
    return _GLOB_SPECIAL.sub(lambda match: "\\" + match[0], path)
