"""What became of an export, counted and printed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rm360_async.domain.formatting import duration_text, size_text
from rm360_async.export.format import NOTICE

_MAX_LINES = 20


@dataclass
class ExportReport:
    """Units by what became of them, and lines for a person; only counts and the first lines are kept."""

    units: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    performances: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, message: Mapping[str, Any]) -> None:
        """Count one message of a worker; failures are printed at once."""
        if "skipped" in message:
            self.skipped[name] = message["skipped"]
        elif "failed" in message:
            self.add_failure(name, message["failed"])
        elif "note" in message:
            print(message["note"], file=sys.stderr)
        elif "unit" in message:
            self._add_unit(message)

    def add_failure(self, name: str, reason: str) -> None:
        """Count and print a failure; a second reason for one name is not kept."""
        if name not in self.failed:
            self.failed[name] = reason
            print(f"failed: {name}: {reason}", file=sys.stderr)

    def _add_unit(self, message: Mapping[str, Any]) -> None:
        self.units[message["state"]] += 1
        if message["state"] == "failed":
            self.add_failure(message["unit"], message["reason"])
            return
        self.sizes.update({key: message.get(key, 0) for key in ("views", "files", "links", "bytes")})
        if reason := message.get("reason"):
            print(f"rebuilt: {message['unit']}: {reason}", file=sys.stderr)
        for note in message.get("notes", ()):
            self.notes[note] += 1

    @property
    def has_failures(self) -> bool:
        """Return True if something failed, or if nothing at all could be exported."""
        done = self.units["written"] + self.units["unchanged"]
        return bool(self.failed) or not done

    def lines(self, fmt: str, output: str, seconds: float) -> list[str]:
        """Return the end of the command's output."""
        lines = [f"note: {note}" + (f" (in {count})" if count > 1 else "") for note, count in self.notes.items()]
        lines = lines[:_MAX_LINES] + ([f"and {len(lines) - _MAX_LINES} more notes"] if len(lines) > _MAX_LINES else [])
        reasons = Counter(self.skipped.values())
        for reason, count in reasons.most_common(_MAX_LINES):
            names = [name for name, each in self.skipped.items() if each == reason]
            lines.append(f"skipped: {names[0] if count == 1 else f'{count} performances'}: {reason}")
        counts = f"{self.units['written']} written, {self.units['unchanged']} unchanged, {len(self.failed)} failed"
        sizes = f"{self.sizes['views']} pictures, {self.sizes['links']} links, {self.sizes['files']} files"
        size = size_text(self.sizes["bytes"])
        lines.append(f"{output}: {fmt}: {counts}; {sizes} of {size} in {duration_text(seconds)}")
        if self.units["written"]:
            lines.append(NOTICE)
        return lines
