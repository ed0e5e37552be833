"""config.yaml as plain values with line numbers, and every mistake of its form.

YAML 1.1 turns 0026 into the octal number 22, leaves 0018 as text by accident, and reads 1:30 as 90. So a
scalar of digits alone becomes a decimal `Digits` that remembers what was typed, and the other surprises
stay text. Only plain tags are taken: nothing in a config can construct an object.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rm360_async.domain.errors import BadRequest

KeyPath = tuple[str | int, ...]

MAX_BYTES = 2**20
MAX_DEPTH = 8
MAX_VALUES = 100_000
"""Bounds against a wrong file and against aliases that multiply; a real config is far below all three."""

_DIGITS = re.compile(r"[0-9]{1,18}")
_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")}
_SHOWN = 60


class Digits(int):
    """A number typed as digits alone, taken as decimal; `text` is what was typed, such as `0018`."""

    text: str

    def __new__(cls, text: str) -> Digits:
        """Take the digits as decimal, whatever zeros they begin with."""
        number = super().__new__(cls, text)
        number.text = text
        return number


@dataclass(frozen=True)
class ConfigError:
    """One thing to fix: where (a key path), what, and the line when it is known."""

    where: str
    sentence: str
    line: int | None = None

    def told(self, source: str) -> str:
        """Return the mistake as one line that begins with its source, e.g. the config's path."""
        parts = [part for part in (source, self.where, self.sentence) if part]
        return ": ".join(parts) + (f" (line {self.line})" if self.line else "")


@dataclass
class Document:
    """A config's sections as plain values, the line of each key, and the mistakes of form found so far."""

    value: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    mistakes: list[ConfigError] = field(default_factory=list)


def dotted(path: KeyPath) -> str:
    """Return a key path as people write it: `extraction.subjects[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{printable(part)}"
    return text.removeprefix(".")


def printable(text: str) -> str:
    """Return text that fits on one line: control characters escaped, the far end cut off."""
    short = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    return short if short.isprintable() else json.dumps(short)[1:-1]


def read(path: Path) -> Document:
    """Return the document in a file. Raises BadRequest when there is missing, unreadable or empty.

    Duplicate keys, foreign tags and keys that are not text are noted in `mistakes`, with their lines.
    """
    try:
        loader = yaml.SafeLoader(_text(path))
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        raise BadRequest(_syntax(error).told(str(path))) from None
    except RecursionError:
        raise BadRequest(f"{path}: is nested too deeply to be a config") from None
    if node is None:
        raise BadRequest(
            f"{path}: is empty; it needs google_drive.remote_name, extraction.subjects, storage.output_dir"
        )
    if not isinstance(node, yaml.MappingNode):
        raise BadRequest(f'{path}: is not made of sections; write "google_drive:", "extraction:", "storage:" and so on')
    return _Walk(loader).document(node)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadRequest(f"{path}: no such file; give the path of your config.yaml") from None
    except IsADirectoryError:
        raise BadRequest(f"{path}: is a folder; give the path of the config.yaml in it") from None
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise BadRequest(f"{path}: is larger than 1 MB; this is not a config")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadRequest(f"{path}: is not UTF-8 text (line {line}); save it as UTF-8") from None


def _syntax(error: yaml.YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable")
    hint = "; indent with spaces, not with tabs" if "\\t" in problem else ""
    sentence = f"is not valid YAML: {printable(problem)}{hint}"
    return ConfigError("", sentence, None if mark is None else mark.line + 1)


class _Walk:
    """From nodes to values. Aliases are followed, so depth and number of values are bounded."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self.loader, self.found, self.values = loader, Document(), 0

    def document(self, node: yaml.MappingNode) -> Document:
        self.found.value = self._mapping(node, ())
        return self.found

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.values += 1
        self.found.lines.setdefault(path, node.start_mark.line + 1)
        if self.values > MAX_VALUES or len(path) > MAX_DEPTH:
            if self.values <= MAX_VALUES + 1:
                self._mistake(node, path, "is nested too deeply, or holds too much, for a config")
            return None
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self._value(child, (*path, place)) for place, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN:
            return self._scalar(node, path)
        self._mistake(node, path, f"the tag {printable(node.tag)} is not allowed; write plain values")
        return None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._mistake(key_node, path, "a key must be plain text")
                continue
            key = (*path, key_node.value)
            if key_node.value in values:
                first = self.found.lines[key]
                self._mistake(key_node, key, f"is there twice, first in line {first}; keep one")
                continue
            self.found.lines[key] = key_node.start_mark.line + 1
            values[key_node.value] = self._value(value_node, key)
        return values

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text: str = node.value
        if node.style is None and _DIGITS.fullmatch(text):
            return Digits(text)
        if node.tag.endswith(":timestamp") or (node.style is None and ":" in text):
            return text
        try:
            value = self.loader.construct_object(node)
            if isinstance(value, int) and abs(value) >= 2**63:  # Python refuses to write the longest ones out
                raise ValueError
            return value
        except (ValueError, LookupError, TypeError, OverflowError, yaml.YAMLError):  # as the constructors raise them
            self._mistake(node, path, f"{printable(text)} is not a value of its type, or far too large")
            return None

    def _mistake(self, node: yaml.Node, path: KeyPath, sentence: str) -> None:
        self.found.mistakes.append(ConfigError(dotted(path), sentence, node.start_mark.line + 1))
