"""What metadata/info.json of a published folder says; a damaged file gives an empty result and a problem."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rm360_async.dataset import PublishedPerformance

MAX_TEXT_CHARS, MAX_TEXTS = 600, 100
"""What a page has room for."""


@dataclass(frozen=True)
class InfoJson:
    """Findings (check, message), what is absent as released, warnings, and frames missing by camera."""

    findings: tuple[tuple[str, str], ...] = ()
    absent_as_released: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    missing: dict[str, tuple[int, ...]] = field(default_factory=dict)
    problem: str = ""
    """Why there is no information, "" if there is some."""


def read_info_json(performance: PublishedPerformance) -> InfoJson:
    """Return what metadata/info.json of a published performance says."""
    try:
        value = performance.info
        return _parse(value) if value else InfoJson(problem="there is no metadata/info.json")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return InfoJson(problem="metadata/info.json cannot be read")


def _parse(value: dict[str, Any]) -> InfoJson:
    findings = list(value.get("findings", ()))[:MAX_TEXTS]
    return InfoJson(
        tuple((_text(finding["check"]), _text(finding["what"])) for finding in findings),
        _texts(value.get("absent_as_released", ())),
        _texts(value.get("absent", ())),
        _texts(value.get("warnings", ())),
        {str(camera): tuple(map(int, frames)) for camera, frames in value.get("missing_frames", {}).items()},
    )


def _text(value: Any) -> str:
    return str(value)[:MAX_TEXT_CHARS]


def _texts(values: list[Any]) -> tuple[str, ...]:
    return tuple(_text(value) for value in list(values)[:MAX_TEXTS])
