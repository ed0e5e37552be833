"""The text of a transforms.json: a line for each frame."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def transforms_text(document: Mapping[str, Any], frames: Sequence[Mapping[str, Any]]) -> str:
    """Return a document and its list `frames` as JSON; with `indent` for all of it, `json` takes ten times as long."""
    lines = ",\n".join(json.dumps(frame) for frame in frames)
    return f'{json.dumps(document, indent=1)[:-2]},\n "frames": [\n{lines}\n ]\n}}\n'
