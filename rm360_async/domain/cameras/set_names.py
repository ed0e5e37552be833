"""The names of camera sets: `ring:10`, `face:5`, `s3-38`, ...; without numpy, so that reading a config needs none."""

from __future__ import annotations

import re

RIG_SIZE = 60
SIZED_SET = re.compile(r"(?P<family>ring|cover|face|front):(?P<count>[1-9][0-9]?)")
TRAIN_SETS = ("s3-38", "bench:setting2-train")
TEST_SETS = ("bench:setting2-test",)
FIXED_SETS = (*TRAIN_SETS, *TEST_SETS)
SET_EXAMPLES = ("ring:10", "cover:12", "face:5", "front:5", *FIXED_SETS)


def is_sized_set(text: str) -> bool:
    """Return True for ring:N, cover:N, face:N or front:N (N 1 to 60), which choose among the cameras present."""
    match = SIZED_SET.fullmatch(text)
    return match is not None and int(match["count"]) <= RIG_SIZE


def is_named_set(text: str) -> bool:
    """Return True for "all" and for the name of a set of cameras."""
    return text == "all" or text in FIXED_SETS or is_sized_set(text)
