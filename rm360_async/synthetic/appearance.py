"""The appearance of the drawn person: skin, hair, shirt and expression, chosen by subject and performance."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace

from rm360_async.domain.names import Performance

Colour = tuple[float, float, float]

_SKIN_COLOURS: tuple[Colour, ...] = ((170, 192, 226), (140, 168, 208), (110, 142, 190), (78, 108, 156), (186, 206, 236))
_HAIR_COLOURS: tuple[Colour, ...] = ((38, 34, 34), (44, 62, 92), (60, 92, 132), (30, 40, 58))
_SHIRT_COLOURS: tuple[Colour, ...] = ((60, 62, 66), (128, 84, 52), (74, 98, 62), (66, 58, 120))
_WIG_COLOURS: dict[str, Colour] = {"bk": (32, 30, 30), "bn": (42, 70, 108), "g": (122, 124, 126), "gld": (96, 176, 222)}
_OTHER_WIG_COLOUR: Colour = (70, 60, 170)


@dataclass(frozen=True)
class Appearance:
    """The appearance of one performance; colours are BGR from 0 to 255, lengths in metres.

    `lowest_hair` is the height above the head centre of the hair's lowest point behind the head; `smile` goes from
    -1 to 1.
    """

    skin: Colour
    hair: Colour
    shirt: Colour
    hair_volume: float = 0.012
    lowest_hair: float = -0.075
    brow_lift: float = 0.0
    smile: float = 0.0


def appearance_of(performance: Performance, seed: int = 0) -> Appearance:
    """Return the appearance in a performance: one person per subject, a wig in h1, an expression in e."""
    random = zlib.crc32(f"{performance.subject} {seed}".encode())
    person = Appearance(
        skin=_SKIN_COLOURS[random % len(_SKIN_COLOURS)],
        hair=_HAIR_COLOURS[random // 5 % len(_HAIR_COLOURS)],
        shirt=_SHIRT_COLOURS[random // 20 % len(_SHIRT_COLOURS)],
    )
    number = int(re.findall("[0-9]+", performance.name)[0])
    if performance.family == "e":
        return replace(person, brow_lift=number % 3 * 0.004, smile=(number % 5 - 2) / 2)
    wig = re.fullmatch(r"h1_([0-9]+)([a-z]+)", performance.name)
    if wig is None:
        return person
    lowest = (-0.09, -0.14, -0.19)[int(wig[1]) % 3]
    return replace(person, hair=_WIG_COLOURS.get(wig[2], _OTHER_WIG_COLOUR), hair_volume=0.02, lowest_hair=lowest)
