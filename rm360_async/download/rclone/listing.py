"""What a remote lists: the files of `lsjson`, typed, and sorted into performances."""

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
_LONGEST_TEXT = 500
_LARGEST_SIZE = 2**63 - 1
_GLOB_SPECIAL = re.compile(r"[*?\[\]{}\\]")


@dataclass(frozen=True)
class RemoteListing:
    """The performances a remote holds, and the `.smc` files whose names are outside the grammar."""

    files: dict[Performance, dict[Kind, RemoteFile]] = field(default_factory=dict)
    unrecognized: tuple[str, ...] = ()


def parse_listing(output: bytes, doing: str) -> list[RemoteFile]:
    """Return the files in the answer of `rclone lsjson`, one entry per path, doubles marked.

    Raises Fault(UNKNOWN) when the answer is not what lsjson prints.
    """
    found: dict[str, RemoteFile] = {}
    try:
        for entry in json.loads(output):
            listed = _listed(entry)
            known = found.get(listed.path)
            found[listed.path] = listed if known is None else replace(known, duplicate=True)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Fault(Cause.UNKNOWN, f"{doing}: rclone's answer is not a listing ({_words(error)})") from error
    return list(found.values())


def _listed(entry: dict[str, Any]) -> RemoteFile:
    path = entry["Path"]
    if not isinstance(path, str):
        raise TypeError(f"a path is {type(path).__name__}")
    md5 = (entry.get("Hashes") or {}).get("md5")
    known = md5 if isinstance(md5, str) and _MD5.fullmatch(md5) else None
    return RemoteFile(path, int(entry["Size"]), _text(entry.get("ModTime")), _text(entry.get("ID")), known)


def _text(value: object) -> str | None:
    """Return what is a plain text of usual length: it goes into the ledger, logs and command lines."""
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST_TEXT else None


def _words(error: Exception) -> str:
    words = " ".join(str(error).split())[:200]
    return words if words.isprintable() else repr(words)


def group_by_performance(listed: Iterable[RemoteFile], structure: Structure) -> RemoteListing:
    """Return the files by performance and kind."""
    listing, unrecognized = RemoteListing(), []
    for file in sorted(listed, key=lambda file: file.path):
        known = parse_remote_path(structure, file.path)
        if known is None or not 0 <= file.size <= _LARGEST_SIZE:  # -1: a document that Drive keeps as no file
            unrecognized.append(file.path)
        else:
            listing.files.setdefault(known[0], {})[known[1]] = file
    return replace(listing, unrecognized=tuple(unrecognized))


def include_filters(structure: Structure, subjects: Sequence[str] | None) -> list[str]:
    """Return the filter arguments for the `.smc` files of some subjects, or of all (None).

    Named subjects give anchored patterns, so rclone looks into their folders only. For all of them the
    pattern is not anchored: then rclone may ask Drive for many folders in one request.
    """
    if subjects is None:
        return ["--include", "*.smc"]
    kinds = (Kind.RAW,) if structure is Structure.SINGLE else (Kind.RAW, Kind.ANNO)
    folders = [remote_folder(structure, subject, kind) for subject in subjects for kind in kinds]
    return [part for folder in folders for part in ("--include", f"/{escape_filter(folder)}/*.smc")]


def escape_filter(path: str) -> str:
    """Return a filter pattern that fits exactly this path (https://rclone.org/filtering/)."""
    return _GLOB_SPECIAL.sub(lambda match: "\\" + match[0], path)
