"""The names of camera sets: `ring:10`, `front:5`, `s3-38`, ...; needs no numpy, so that reading a config does not."""

from __future__ import annotations

import re
from difflib import get_close_matches

RIG_SIZE = 60
SIZED = re.compile(r"(?P<family>ring|front):(?P<count>[1-9][0-9]?)")
TRAIN = ("s3-38", "bench:setting2-train")
TEST = ("bench:setting2-test",)
FIXED = ("all", *TRAIN, *TEST)


def is_named_set(text: str) -> bool:
    """Tell whether the text is "all", ring:N, front:N (N 1 to 60), s3-38, or bench:setting2-train or -test."""
    match = SIZED.fullmatch(text)
    return text in FIXED or (match is not None and int(match["count"]) <= RIG_SIZE)


def unknown_set_message(spec: str) -> str:
    """Return the line that says which named sets there are."""
    near = get_close_matches(spec, ["ring:10", "front:5", *FIXED], n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    known = f"all, ring:N, front:N with N from 1 to {RIG_SIZE}, {', '.join(FIXED[1:])}, or a list of ids"
    return f"{spec!r} is not a camera set{meant} (known: {known})"
