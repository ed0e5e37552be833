"""What a folder tells of itself in metadata/info.json; a file that is damaged tells nothing, and that is said."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LONGEST = 2**24
_TEXT, _MOST = 600, 100
"""Letters of a text, and number of texts, that a page has room for."""


@dataclass(frozen=True)
class InfoJson:
    """The verdict's findings (check, what), what is absent as released, warnings, and frames missing by camera."""

    findings: tuple[tuple[str, str], ...] = ()
    absent_as_released: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    missing: dict[str, tuple[int, ...]] = field(default_factory=dict)
    trouble: str = ""


def read_info_json(folder: Path) -> InfoJson:
    """Return what metadata/info.json says."""
    path = folder / "metadata" / "info.json"
    try:
        with path.open("rb") as file:
            value: Any = json.loads(file.read(_LONGEST))
        return _told(value)
    except FileNotFoundError:
        return InfoJson(trouble="there is no metadata/info.json")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return InfoJson(trouble="metadata/info.json cannot be read")


def _told(value: dict[str, Any]) -> InfoJson:
    return InfoJson(
        tuple(
            (str(each["check"])[:_TEXT], str(each["what"])[:_TEXT]) for each in list(value.get("findings", ()))[:_MOST]
        ),
        _texts(value.get("absent_as_released", ())),
        _texts(value.get("absent", ())),
        _texts(value.get("warnings", ())),
        {str(camera): tuple(map(int, frames)) for camera, frames in value.get("missing_frames", {}).items()},
    )


def _texts(values: list[Any]) -> tuple[str, ...]:
    return tuple(str(each)[:_TEXT] for each in list(values)[:_MOST])
