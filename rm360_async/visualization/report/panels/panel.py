"""One panel of a page: a picture, its number, and whether that is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rm360_async.domain.check_status import CheckState


@dataclass(frozen=True)
class Panel:
    """What a panel says: `numbers` go to report.json, `drawn` to the template `<key>.html`."""

    key: str
    title: str
    state: CheckState
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    drawn: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the panel's numbers as JSON values."""
        return {"title": self.title, "state": self.state.value, "sentence": self.sentence, **self.numbers}
