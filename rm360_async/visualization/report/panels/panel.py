"""One panel of a page: a picture, its number, and whether that is right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rm360_async.domain.cameras.calibration.check import State


@dataclass(frozen=True)
class Panel:
    """What a panel says: `numbers` go to report.json, `drawn` to the template `<key>.html`."""

    key: str
    title: str
    state: State
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    drawn: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the panel's numbers as JSON values."""
        return {"title": self.title, "state": self.state.value, "sentence": self.sentence, **self.numbers}


def worst_state(states: Iterable[State]) -> State:
    """Return the worst state; what was not checked does not count, unless nothing was."""
    found = set(states)
    return next((state for state in (State.FAIL, State.WARN, State.OK) if state in found), State.UNCHECKED)
