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


def write_page(folder: Path, place: Path, *, faces: bool = True, back: str = "") -> dict[str, Any]:
    """Write the page of a published folder and its numbers to `place`; return the numbers.

    `back` is a link to the run's page. The numbers are written last: a page that has them is whole. Raises
    BadRequest when the folder is none, Fault when the page cannot be written.
    """
    reach("page begun")
    made_from = fingerprint(folder, faces=faces)
    material = read_page_data(folder, faces=faces)
    panels = make_panels(material)
    numbers = page_json(material, panels, made_from)
    values = {key: numbers[key] for key in ("made_by", "made", "name", "verdict", "notes")}
    text = render("page.html", panels=panels, state=CheckState(numbers["state"]), back=back, **values)
    write_page_file(place / HTML_FILE, text.encode("utf-8", "replace"))
    write_page_file(place / JSON_FILE, _json(numbers))
    return numbers


def write_page_file(path: Path, data: bytes) -> None:
    """Replace a file of a page in one step, and create its folder; Fault if that fails."""
    with os_errors("write", path, "choose another folder", Cause.NOT_WRITABLE):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)


def make_panels(material: PageData) -> list[Panel]:
    """Return the panels in the order in which people would miss them."""
    shots = load_frame_images(material)
    return [
        contact_sheet_panel(material, shots),
        landmarks_panel(material, shots),
        calibration_panel(material),
        coverage_panel(material),
        frames_panel(material),
        sound_panel(material),
        absent_panel(material),
        sizes_panel(material),
        source_panel(material),
    ]


def page_json(material: PageData, panels: list[Panel], made_from: str) -> dict[str, Any]:
    """Return what report.json says of a page."""
    return {
        "schema": SCHEMA,
        "made_by": MADE_BY,
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "made_from": made_from,
        "faces": material.faces,
        "name": material.folder.name,
        "state": worst_state(panel.state for panel in panels).value,
        "verdict": material.folder.verdict or "no verdict: an earlier tool or version published this folder",
        "notes": list(material.notes),
        "panels": {panel.key: panel.as_json() for panel in panels},
    }


def _json(numbers: Mapping[str, Any]) -> bytes:
    return json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def fingerprint(folder: Path, *, faces: bool) -> str:
    """Return what a page is made from: the folder's marker, our version, and whether faces are shown.

    Raises BadRequest when the folder has no marker.
    """
    try:
        marker = (folder / MARKER).read_bytes()
    except OSError as error:
        hint = "give one performance's folder, such as subjects/0018/s1_all, or a config"
        raise BadRequest(f"{folder} is not a published performance (it has no marker); {hint}") from error
    return hash_of(marker + f" {MADE_BY} {SCHEMA} faces {faces}".encode()).hex()


def read_page_json(place: Path) -> dict[str, Any] | None:
    """Return the numbers of the page at a place; None when there is no page of ours."""
    try:
        numbers: Any = json.loads((place / JSON_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(numbers, dict) and str(numbers.get("made_by", "")).startswith("rm360_async ")
    whole = ours and isinstance(numbers.get("panels"), dict) and (place / HTML_FILE).is_file()
    return numbers if whole else None


def read_page_states(place: Path) -> dict[str, Any] | None:
    """Return of a page's numbers only the states and sentences: a run's page is made from thousands of them."""
    numbers = read_page_json(place)
    if numbers is None:
        return None
    panels = numbers["panels"].items()
    brief = {key: {each: panel.get(each) for each in ("state", "sentence")} for key, panel in panels}
    return {"state": numbers.get("state"), "panels": brief}


def is_page_current(folder: Path, place: Path, *, faces: bool) -> bool:
    """Tell whether the page at a place was made from the folder as it is published now, by this version."""
    numbers = read_page_json(place)
    return numbers is not None and numbers.get("made_from") == fingerprint(folder, faces=faces)
