"""What a person asks for, one config after another: some subjects, all of them, and then more cameras of some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.world import World

Changes = dict[str, dict[str, Any]]
"""The sections of a config, with what is different in them."""
_FEW_CAMERAS = [0, 6, 12, 25]


def requests_of(world: World) -> list[Changes]:
    """Return the configs of a world's scenario."""
    subjects = sorted({each.subject for each in world.catalogue.files})
    if len(subjects) < 3 or world.scenario.requests == 1:
        return [{}]
    some: Changes = {"extraction": {"subjects": subjects[: len(subjects) * 2 // 3], "cameras": _FEW_CAMERAS}}
    every: Changes = {"extraction": {"subjects": "all", "cameras": _FEW_CAMERAS}}
    names = ["s3_all", "h2"]
    more: Changes = {"extraction": {"subjects": subjects, "performances": names, "cameras": "all"}}
    return [some, every, more][: world.scenario.requests]


def wants_more_of_each(changes: Changes) -> bool:
    """Return True if a config wants more cameras than the others, so that what is published may be completed."""
    return changes.get("extraction", {}).get("cameras") == "all"
