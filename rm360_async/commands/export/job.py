"""What an export worker is asked to do, and how it is written as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rm360_async.dataset.collection import name_of
from rm360_async.export.options import ExportOptions


@dataclass(frozen=True)
class ExportJob:
    """One performance; a worker gets the numbers of the units that it does one at a time."""

    format: str
    folder: Path
    output: Path
    options: ExportOptions
    force: bool = False

    @property
    def name(self) -> str:
        """Return the performance's name by its folder, for messages."""
        return str(name_of(self.folder))

    def to_json(self) -> str:
        """Return the job as text."""
        options = {**self.options.to_json(), "threads": self.options.threads}
        paths = {"folder": str(self.folder.absolute()), "output": str(self.output.absolute())}
        return json.dumps({**vars(self), **paths, "options": options})

    @classmethod
    def from_json(cls, text: str) -> ExportJob:
        """Return the job that a text holds."""
        values = json.loads(text)
        options = ExportOptions.from_json(values.pop("options"))
        folder, output = Path(values.pop("folder")), Path(values.pop("output"))
        return cls(folder=folder, output=output, options=options, **values)
