"""One look for all pictures: colours as #rrggbb, the names of the tiers, and how angles are written.

Everywhere: azimuth 0 is at the face and grows to the subject's left, which is drawn on the right, as one sees a
person who faces one.
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
WHITE = "#ffffff"
SKIN = "#f2ddcc"
UNUSED = "#aab3ba"
"""A camera that is there and not kept."""
TINTS = ("#e3f0e4", "#f5f1d2", "#f5dcbd", "#efbfb5")
"""From near to far."""

TIER_COLOURS = {"upper": "#d47a1f", "middle": "#2673c4", "eye-inner": "#7a4db3", "lower": "#2b9468"}
TIER_ELEVATIONS = {"upper": "+29 to +33", "middle": "+1 to +4", "eye-inner": "-4 to -2", "lower": "-25 to -23"}
STATE_COLOURS = {"ok": GOOD, "warn": WARN, "fail": BAD, "not checked": MUTED}
PERFORMANCE_COLOURS = {
    "complete": GOOD,
    "damaged": BAD,
    "failed": INK,
    "waiting": WARN,
    "running": "#2673c4",
    "pending": FAINT,
}
"""How a performance stands."""

DARK = {
    **{PAPER: "#15191d", INK: "#e4e9ed", MUTED: "#9aa6b0", FAINT: "#39424a", EMPTY: "#262d33", WHITE: "#1b2026"},
    **{BAD: "#ff7b6b", WARN: "#e0aa4a", GOOD: "#55c08a", SKIN: "#5b4a3e", UNUSED: "#59636b"},
    **{"#d47a1f": "#f0a050", "#2673c4": "#6aa9ee", "#7a4db3": "#b08be0", "#2b9468": "#58c79a"},
    **dict(zip(TINTS, ("#1f3326", "#37331c", "#42301c", "#4a2622"), strict=True)),
}
"""What each colour becomes on a dark screen."""

SIDES = ((-180, "back"), (-90, "subject's right"), (0, "face"), (90, "subject's left"), (180, "back"))
"""Azimuths in degrees and what is there."""


def bgr(colour: str) -> tuple[int, int, int]:
    """Return #rrggbb as OpenCV has it: blue, green, red."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return blue, green, red


def degrees_text(angle: float) -> str:
    """Return whole degrees with their sign; 0 has none."""
    whole = round(angle)
    return f"{whole:+d}" if whole else "0"
