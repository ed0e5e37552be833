"""One panel of a page: a drawing, its numbers, and whether they are as they should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rm360_async.domain.check_status import CheckState


@dataclass(frozen=True)
class Panel:
    """A panel; `numbers` go to report.json under `key`, `content` to the template, which is skipped if it is empty."""

    key: str
    """The panel's key in report.json and its anchor on the page; both keep it, whatever the template is called."""
    title: str
    state: CheckState
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    content: Mapping[str, Any] = field(default_factory=dict)
    template: str = ""
    """The name of the template without `.html`, "" if it is the key."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    """Files beside the page that the template refers to, by their address relative to the page."""

    @property
    def template_path(self) -> str:
        """Return the template's path below the templates' folder."""
        return f"panels/{self.template or self.key}.html"

    def as_json(self) -> dict[str, Any]:
        """Return the panel's numbers as JSON values."""
        return {"title": self.title, "state": self.state.value, "sentence": self.sentence, **self.numbers}
