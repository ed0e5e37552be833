"""The new config: proposed values, and the file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rm360_async.config import load_settings
from rm360_async.config.settings import GB, Limits
from rm360_async.config.template import filled_template
from rm360_async.domain.errors import BadRequest
from rm360_async.system.files import write_atomically
from rm360_async.system.os_errors import os_errors

_DOWNLOADS_SHARE = 4
_FREE_SHARE = 20


def output_dir_on(folder: Path) -> Path:
    """Return where published folders would go below a folder."""
    return folder / "renderme360" / "subjects"


def proposed_limits(output_dir: Path) -> dict[str, float]:
    """Return limits that fit on the disk of a folder, which may be missing: those that differ from the defaults."""
    existing = next(each for each in (output_dir, *output_dir.parents) if each.exists())
    return limits_for(shutil.disk_usage(existing).free)


def limits_for(free_bytes: int) -> dict[str, float]:
    """Return the limits for a disk with so many bytes free that differ from the defaults: less of a small disk."""
    defaults, free_gb = Limits(), free_bytes / GB
    limits = {
        "max_temp_size_gb": min(defaults.max_temp_size_gb, max(1, free_gb // _DOWNLOADS_SHARE)),
        "min_free_space_gb": min(defaults.min_free_space_gb, free_gb // _FREE_SHARE),
    }
    return {key: round(value) for key, value in limits.items() if value != getattr(defaults, key)}


def require_new(path: Path, *, force: bool) -> None:
    """Raise BadRequest if a config is there already and is not to be replaced."""
    if path.exists() and not force:
        raise BadRequest(f"{path} exists already: give another name (rm360 init lab.yaml), or --force to replace it")


def write_config(path: Path, values: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the commented config with these values. Raises BadRequest, and writes nothing, if one of them is wrong."""
    text = filled_template({section: keys for section, keys in values.items() if keys})
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        trial.write_text(text, encoding="utf-8")
        try:
            load_settings(trial)
        except BadRequest as error:
            raise BadRequest(*(each.removeprefix(f"{trial}: ") for each in error.problems)) from None
    with os_errors("write", path, "choose another path"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
