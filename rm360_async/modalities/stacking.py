"""Per-frame arrays that must share a shape to be stacked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

Shape = TypeVar("Shape")


def most_common(shapes: Mapping[int, Shape]) -> Shape | None:
    """Return the shape that most frames have, of equals the one seen first; None without frames."""
    counted = Counter(shapes.values())
    return counted.most_common(1)[0][0] if counted else None


def split(shapes: Mapping[int, Shape]) -> tuple[list[int], list[int]]:
    """Return the frames with the most common shape, in order, and the others."""
    usual = most_common(shapes)
    same = sorted(frame for frame, shape in shapes.items() if shape == usual)
    return same, sorted(set(shapes) - set(same))
