"""The names of camera sets: `ring:10`, `front:5`, `s3-38`, ...; without numpy, so that reading a config needs none."""

from __future__ import annotations

import re
from difflib import get_close_matches

RIG_SIZE = 60
SIZED_SET = re.compile(r"(?P<family>ring|front):(?P<count>[1-9][0-9]?)")
TRAIN_SETS = ("s3-38", "bench:setting2-train")
TEST_SETS = ("bench:setting2-test",)
FIXED_SETS = ("all", *TRAIN_SETS, *TEST_SETS)


def is_named_set(text: str) -> bool:
    """Return True if the text is "all", ring:N, front:N (N 1 to 60), s3-38, or bench:setting2-train or -test."""
    match = SIZED_SET.fullmatch(text)
    return text in FIXED_SETS or (match is not None and int(match["count"]) <= RIG_SIZE)


def unknown_set_message(spec: str) -> str:
    """Return the message about an unknown set, with a suggestion and the known sets."""
    matches = get_close_matches(spec, ["ring:10", "front:5", *FIXED_SETS], n=1)
    suggestion = f"; did you mean {matches[0]}?" if matches else ""
    known = f"all, ring:N, front:N with N from 1 to {RIG_SIZE}, {', '.join(FIXED_SETS[1:])}, or a list of ids"
    return f"{spec!r} is not a camera set{suggestion} (known: {known})"
