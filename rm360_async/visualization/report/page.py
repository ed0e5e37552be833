"""One page: the panels of a published folder as index.html, and their numbers as report.json."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from rm360_async.domain.check_status import CheckState, worst_state
from rm360_async.system.fault_points import reach
from rm360_async.visualization.report.frame_images import load_frame_images
from rm360_async.visualization.report.page_data import PageData, read_page_data
from rm360_async.visualization.report.page_files import MADE_BY, SCHEMA, fingerprint, write_page_files
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
    files = {address: data for panel in panels for address, data in panel.files.items()}
    write_page_files(page_dir, html, content, files)
    return content


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
