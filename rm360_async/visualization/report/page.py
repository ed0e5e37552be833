"""One page: the panels of a published folder as index.html, and their numbers as report.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rm360_async import __version__
from rm360_async.domain.check_status import CheckState, worst_state
from rm360_async.domain.errors import BadRequest, Cause
from rm360_async.store.marker import MARKER
from rm360_async.system.fault_points import reach
from rm360_async.system.files import write_atomically
from rm360_async.system.hashing import hash_of
from rm360_async.system.os_errors import os_errors
from rm360_async.visualization.report.frame_images import load_frame_images
from rm360_async.visualization.report.page_data import PageData, read_page_data
from rm360_async.visualization.report.panels.contact_sheet import contact_sheet_panel
from rm360_async.visualization.report.panels.frames import frames_panel
from rm360_async.visualization.report.panels.landmarks import landmarks_panel
from rm360_async.visualization.report.panels.panel import Panel
from rm360_async.visualization.report.panels.sound import sound_panel
from rm360_async.visualization.report.panels.tables import (
    absent_panel,
    calibration_panel,
    coverage_panel,
    sizes_panel,
    source_panel,
)
from rm360_async.visualization.report.templates import render

HTML_FILE, JSON_FILE = "index.html", "report.json"
MADE_BY = f"rm360_async {__version__}"
SCHEMA = 1


def write_page(folder: Path, page_dir: Path, *, faces: bool = True, back: str = "") -> dict[str, Any]:
    """Write the page of a published folder and its report.json to `page_dir`; return the content of report.json.

    `back` is a link to the run's page. report.json is written last: a page that has it is complete. Raises
    BadRequest if the folder is not a published one, Fault if the page cannot be written.
    """
    reach("page begun")
    made_from = fingerprint(folder, faces=faces)
    data = read_page_data(folder, faces=faces)
    panels = make_panels(data)
    content = page_json(data, panels, made_from)
    values = {key: content[key] for key in ("made_by", "made", "name", "verdict", "notes")}
    html = render("page.html", panels=panels, state=CheckState(content["state"]), back=back, **values)
    write_page_files(page_dir, html, content)
    return content


def write_page_files(page_dir: Path, html: str, content: Mapping[str, Any]) -> None:
    """Write index.html and then report.json, each in one step; raise Fault if that fails."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    for path, written in ((page_dir / HTML_FILE, html), (page_dir / JSON_FILE, text)):
        with os_errors("write", path, "choose another folder", Cause.NOT_WRITABLE):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, written.encode("utf-8", "replace"))


def make_panels(data: PageData) -> list[Panel]:
    """Return the panels, the most important ones first."""
    images = load_frame_images(data)
    return [
        contact_sheet_panel(data, images),
        landmarks_panel(data, images),
        calibration_panel(data),
        coverage_panel(data),
        frames_panel(data),
        sound_panel(data),
        absent_panel(data),
        sizes_panel(data),
        source_panel(data),
    ]


def page_json(data: PageData, panels: list[Panel], made_from: str) -> dict[str, Any]:
    """Return the content of a page's report.json."""
    return {
        "schema": SCHEMA,
        "made_by": MADE_BY,
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "made_from": made_from,
        "faces": data.faces,
        "name": data.folder.name,
        "state": worst_state(panel.state for panel in panels).value,
        "verdict": data.folder.verdict or "no verdict: an earlier tool or version published this folder",
        "notes": list(data.notes),
        "panels": {panel.key: panel.as_json() for panel in panels},
    }


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


def is_page_current(folder: Path, page_dir: Path, *, faces: bool) -> bool:
    """Return True if a page was made from the folder as it is published now, by this version."""
    content = read_page_json(page_dir)
    return content is not None and content.get("made_from") == fingerprint(folder, faces=faces)
