"""The files of a page: writing, reading and removing index.html and report.json."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rm360_async import __version__
from rm360_async.domain.errors import BadRequest, Cause
from rm360_async.domain.names import is_performance, is_subject
from rm360_async.store.marker import MARKER
from rm360_async.system.files import remove_temporary_files, write_atomically
from rm360_async.system.hashing import hash_of
from rm360_async.system.os_errors import os_errors

HTML_FILE, JSON_FILE = "index.html", "report.json"
FILES_FOLDER = "page-files"
"""The folder beside index.html of what a page shows on demand: large pictures, the sound."""
_FILE_NAME = re.compile(r"cam_\d\d\.jpg|sound\.mp3")
MADE_BY = f"rm360_async {__version__}"
SCHEMA = 2


def write_page_files(
    page_dir: Path, html: str, content: Mapping[str, Any], files: Mapping[str, bytes] | None = None
) -> None:
    """Write the files beside the page, index.html and then report.json, each in one step; raise Fault if that fails.

    `files`: their content by address, in FILES_FOLDER. An old report.json is removed first, so that it never describes
    a newer index.html, and so are files that the page does not have any more.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    with os_errors("write", page_dir, "choose another folder", Cause.NOT_WRITABLE):
        page_dir.mkdir(parents=True, exist_ok=True)
        (page_dir / JSON_FILE).unlink(missing_ok=True)
        _write_files(page_dir, files or {})
        for name, written in ((HTML_FILE, html), (JSON_FILE, text)):
            remove_temporary_files(page_dir / name)
            write_atomically(page_dir / name, written.encode("utf-8", "replace"))


def _write_files(page_dir: Path, files: Mapping[str, bytes]) -> None:
    folder = page_dir / FILES_FOLDER
    for path in _files_of(folder):
        if f"{FILES_FOLDER}/{path.name}" not in files:
            path.unlink(missing_ok=True)
    if files:
        folder.mkdir(exist_ok=True)
    for address, data in files.items():
        remove_temporary_files(page_dir / address)
        write_atomically(page_dir / address, data, durable=False)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _files_of(folder: Path) -> list[Path]:
    """Return the files of a page in its folder, by their names: what else lies there is not rm360's."""
    return [path for path in folder.iterdir() if _FILE_NAME.fullmatch(path.name)] if folder.is_dir() else []


def read_page_json(page_dir: Path) -> dict[str, Any] | None:
    """Return the content of report.json of a complete page; None if there is no page that rm360 made."""
    try:
        content: Any = json.loads((page_dir / JSON_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_report = isinstance(content, dict) and str(content.get("made_by", "")).startswith("rm360_async ")
    is_complete = is_report and isinstance(content.get("panels"), dict) and (page_dir / HTML_FILE).is_file()
    return content if is_complete else None


def read_page_states(page_dir: Path) -> dict[str, Any] | None:
    """Return only states and sentences of a page's report.json: a run's page needs thousands of them in memory."""
    content = read_page_json(page_dir)
    if content is None:
        return None
    panels = {
        key: {name: panel.get(name) for name in ("state", "sentence")} for key, panel in content["panels"].items()
    }
    return {"state": content.get("state"), "panels": panels}


def fingerprint(folder: Path, *, faces: bool) -> str:
    """Return a hash of what a page is made from: the folder's marker, this version, and whether faces are shown.

    Raises BadRequest if the folder has no marker.
    """
    try:
        marker = (folder / MARKER).read_bytes()
    except OSError as error:
        hint = "give one performance's folder, such as subjects/0018/s1_all, or a config"
        raise BadRequest(f"{folder} is not a published performance (it has no marker); {hint}") from error
    return hash_of(marker + f" {MADE_BY} {SCHEMA} faces {faces}".encode()).hex()


def is_page_current(folder: Path, page_dir: Path, *, faces: bool) -> bool:
    """Return True if a page was made from the folder as it is published now, by this version."""
    content = read_page_json(page_dir)
    return content is not None and content.get("made_from") == fingerprint(folder, faces=faces)


def remove_orphan_pages(report_dir: Path, published: Collection[str], *, faces: bool) -> list[str]:
    """Remove pages of performances that are not published, and pages with faces if `faces` is False.

    Return the performances whose pages were removed. Only files that a report wrote are removed. Raises
    Fault(NOT_WRITABLE) if one cannot be.
    """
    removed = []
    for path in sorted(report_dir.glob(f"*/*/{JSON_FILE}")):
        page_dir = path.parent
        subject, performance = page_dir.parent.name, page_dir.name
        content = read_page_json(page_dir) if is_subject(subject) and is_performance(performance) else None
        if content is None:
            continue
        name = f"{subject}/{performance}"
        if name not in published or (not faces and content.get("faces") is not False):
            _remove_page(page_dir)
            removed.append(name)
    return removed


def _remove_page(page_dir: Path) -> None:
    with os_errors("remove the old page in", page_dir, cause=Cause.NOT_WRITABLE):
        (page_dir / HTML_FILE).unlink(missing_ok=True)
        (page_dir / JSON_FILE).unlink(missing_ok=True)
        _write_files(page_dir, {})
        if not any(page_dir.iterdir()):
            page_dir.rmdir()
