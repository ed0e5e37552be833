"""The theme of all drawings: colours as #rrggbb, names of directions, and how angles are written.

In all drawings azimuth 0 is at the face and grows to the subject's left, which is drawn on the right, as seen by
someone who stands in front of the subject.
"""

from __future__ import annotations

PAPER = "#fbfbf9"
INK = "#22303c"
MUTED = "#6a7680"
FAINT = "#d5dade"
EMPTY = "#e6e9ec"
BAD = "#c0392b"
WARN = "#b7791f"
GOOD = "#2a8f5c"
MARK = "#e6007e"
"""The frame of a camera that is marked."""
WHITE = "#ffffff"
SKIN = "#f2ddcc"
UNUSED = "#aab3ba"
"""A camera that is not in the set."""
TINTS = ("#e3f0e4", "#f5f1d2", "#f5dcbd", "#efbfb5")
"""Backgrounds of the coverage map, from near to far."""

TIER_COLOURS = {"upper": "#d47a1f", "middle": "#2673c4", "eye-inner": "#7a4db3", "lower": "#2b9468"}
TIER_ELEVATIONS = {"upper": "+29 to +33", "middle": "+1 to +4", "eye-inner": "-4 to -2", "lower": "-25 to -23"}
STATE_COLOURS = {"ok": GOOD, "warn": WARN, "fail": BAD, "not checked": MUTED}
PERFORMANCE_COLOURS = {
    "complete": GOOD,
    "damaged": "#7a4db3",
    "failed": BAD,
    "waiting": WARN,
    "running": "#2673c4",
    "pending": FAINT,
}
"""By the value of a `PerformanceState`."""

DARK = {
    **{PAPER: "#15191d", INK: "#e4e9ed", MUTED: "#9aa6b0", FAINT: "#39424a", EMPTY: "#262d33", WHITE: "#1b2026"},
    **{BAD: "#ff7b6b", WARN: "#e0aa4a", GOOD: "#55c08a", SKIN: "#5b4a3e", UNUSED: "#59636b"},
    **{"#d47a1f": "#f0a050", "#2673c4": "#6aa9ee", "#7a4db3": "#b08be0", "#2b9468": "#58c79a"},
    **dict(zip(TINTS, ("#1f3326", "#37331c", "#42301c", "#4a2622"), strict=True)),
}
"""The colour on a dark screen for each colour that has another one there."""

SIDES = ((-180, "back"), (-90, "subject's right"), (0, "face"), (90, "subject's left"), (180, "back"))
"""Azimuths in degrees and the side of the head there."""


def bgr(colour: str) -> tuple[int, int, int]:
    """Return #rrggbb as OpenCV takes colours: blue, green, red."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return blue, green, red


def degrees_text(angle: float) -> str:
    """Return an angle in whole degrees with its sign; 0 has none."""
    rounded = round(angle)
    return f"{rounded:+d}" if rounded else "0"
