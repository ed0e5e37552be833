"""Who is drawn: skin, hair, shirt and expression, decided by the names of subject and performance."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace

from rm360_async.domain.names import Performance

Colour = tuple[float, float, float]

_SKINS: tuple[Colour, ...] = ((170, 192, 226), (140, 168, 208), (110, 142, 190), (78, 108, 156), (186, 206, 236))
_HAIRS: tuple[Colour, ...] = ((38, 34, 34), (44, 62, 92), (60, 92, 132), (30, 40, 58))
_SHIRTS: tuple[Colour, ...] = ((60, 62, 66), (128, 84, 52), (74, 98, 62), (66, 58, 120))
_WIGS: dict[str, Colour] = {"bk": (32, 30, 30), "bn": (42, 70, 108), "g": (122, 124, 126), "gld": (96, 176, 222)}
_OTHER_WIG: Colour = (70, 60, 170)


@dataclass(frozen=True)
class Appearance:
    """The appearance of one performance; colours are BGR from 0 to 255, lengths in metres.

    `hair_low` is the height of the hair's lowest point behind the head above the head centre; `smile` goes
    from -1 to 1.
    """

    skin: Colour
    hair: Colour
    shirt: Colour
    hair_volume: float = 0.012
    hair_low: float = -0.075
    brow_lift: float = 0.0
    smile: float = 0.0


def appearance_of(performance: Performance, seed: int = 0) -> Appearance:
    """Return the look of a performance: the same person in all of a subject's, a wig in h1, a face in e."""
    random = zlib.crc32(f"{performance.subject} {seed}".encode())
    person = Appearance(
        skin=_SKINS[random % len(_SKINS)],
        hair=_HAIRS[random // 5 % len(_HAIRS)],
        shirt=_SHIRTS[random // 20 % len(_SHIRTS)],
    )
    number = int(re.findall("[0-9]+", performance.name)[0])
    if performance.family == "e":
        return replace(person, brow_lift=number % 3 * 0.004, smile=(number % 5 - 2) / 2)
    wig = re.fullmatch(r"h1_([0-9]+)([a-z]+)", performance.name)
    if wig is None:
        return person
    low = (-0.09, -0.14, -0.19)[int(wig[1]) % 3]
    return replace(person, hair=_WIGS.get(wig[2], _OTHER_WIG), hair_volume=0.02, hair_low=low)
