"""A new config.yaml: the commented one of the project, with other values; and the example configs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from rm360_async.config.yaml_document import IntAsTyped, read_document

Sections = Mapping[str, Mapping[str, Any]]
"""Values by section and key."""
_COMMENT_COLUMN = 38


def template_text() -> str:
    """Return the text of the commented config.yaml."""
    return (resources.files(__package__) / "template.yaml").read_text(encoding="utf-8")


def filled_template(values: Sections) -> str:
    """Return the commented config.yaml with these values; a line that shows a default is no longer commented out."""
    text = template_text()
    for section, keys in values.items():
        start = text.index(f"\n{section}:") + 1
        end = text.find("\n\n", start)
        block = text[start:] if end < 0 else text[start:end]
        for key, value in keys.items():
            block = _with_value(block, key, value)
        text = text[:start] + block + ("" if end < 0 else text[end:])
    return text


def example_names() -> dict[str, str]:
    """Return the names of the example configs, each with the sentence that it begins with."""
    files = sorted((resources.files("rm360_async") / "examples").iterdir(), key=lambda file: file.name)
    return {
        Path(file.name).stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        for file in files
        if file.name.endswith(".yaml")
    }


def example_values(name: str) -> dict[str, dict[str, Any]]:
    """Return the values of an example config that do not depend on the machine and the remote."""
    with resources.as_file(resources.files("rm360_async") / "examples" / f"{name}.yaml") as path:
        document = read_document(path).value
    document["google_drive"].pop("remote_name")
    document["storage"].pop("output_dir")
    return {section: keys for section, keys in document.items() if keys}


def _with_value(block: str, key: str, value: object) -> str:
    line = re.compile(rf"^  (?:# )?{key}: (?P<value>.*?)(?P<comment> +# .*)?$", re.MULTILINE)
    match = line.search(block)
    assert match is not None, f"config.yaml has no line for {key}"
    comment = (match["comment"] or "").strip()
    filled = f"  {key}: {_yaml(value)}"
    if comment:
        filled = f"{f'{filled} ':<{_COMMENT_COLUMN}}{comment}"
    return block[: match.start()] + filled + block[match.end() :]


def _yaml(value: object) -> str:
    """Return a value as YAML on one line; JSON is YAML, and keeps ids in quotes."""
    if isinstance(value, IntAsTyped):
        return value.text
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    return json.dumps(value, ensure_ascii=False)
