"""config.yaml as plain values with line numbers, and every error of its form.

YAML 1.1 turns 0026 into the octal number 22, leaves 0018 as text by accident, and reads 1:30 as 90. So a scalar of
digits alone becomes a decimal `IntAsTyped` that remembers what was typed, and the other surprises stay text. Only plain
tags are accepted: nothing in a config can construct an object.
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

MAX_FILE_BYTES = 2**20
MAX_DEPTH = 8
MAX_VALUES = 100_000
"""Limits against a wrong file and against aliases that multiply; a real config is far below all three."""

_DIGITS = re.compile(r"[0-9]{1,18}")
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")}
_MAX_CHARS_SHOWN = 60


class IntAsTyped(int):
    """A number typed as digits alone, read as decimal; `text` is what was typed, such as `0018`."""

    text: str

    def __new__(cls, text: str) -> IntAsTyped:
        """Return the digits as a decimal number, whatever zeros they begin with."""
        number = super().__new__(cls, text)
        number.text = text
        return number


@dataclass(frozen=True)
class ConfigError:
    """One error in a config: the key path, what is wrong, and the line if it is known."""

    where: str
    sentence: str
    line: int | None = None

    def message(self, source: str) -> str:
        """Return the error as one line that begins with its source, e.g. the config's path."""
        parts = [part for part in (source, self.where, self.sentence) if part]
        return ": ".join(parts) + (f" (line {self.line})" if self.line else "")


@dataclass
class YamlDocument:
    """A config's sections as plain values, the line of each key, and the errors of its form."""

    value: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    errors: list[ConfigError] = field(default_factory=list)


def key_text(path: KeyPath) -> str:
    """Return a key path as people write it: `extraction.subjects[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{one_line(part)}"
    return text.removeprefix(".")


def one_line(text: str) -> str:
    """Return text on one line: control characters escaped, shortened."""
    short = text if len(text) <= _MAX_CHARS_SHOWN else text[: _MAX_CHARS_SHOWN - 3] + "..."
    return short if short.isprintable() else json.dumps(short)[1:-1]


def read_document(path: Path) -> YamlDocument:
    """Return the document in a file. Raises BadRequest if it is not a YAML file with sections.

    Duplicate keys, foreign tags and keys that are not text are listed in `errors`, with their lines.
    """
    try:
        loader = yaml.SafeLoader(_read_text(path))
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        raise BadRequest(_syntax_error(error).message(str(path))) from None
    except RecursionError:
        raise BadRequest(f"{path}: is nested too deeply to be a config") from None
    if node is None:
        raise BadRequest(
            f"{path}: is empty; it needs google_drive.remote_name, extraction.subjects, storage.output_dir"
        )
    if not isinstance(node, yaml.MappingNode):
        raise BadRequest(f'{path}: has no sections; write "google_drive:", "extraction:", "storage:" and so on')
    return _NodeReader(loader).read(node)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise BadRequest(f"{path}: no such file; give the path of your config.yaml") from None
    except IsADirectoryError:
        raise BadRequest(f"{path}: is a folder; give the path of the config.yaml in it") from None
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise BadRequest(f"{path}: is larger than 1 MB, which no config is; give the path of your config.yaml")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadRequest(f"{path}: is not UTF-8 text (line {line}); save it as UTF-8") from None


def _syntax_error(error: yaml.YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable")
    hint = "; indent with spaces, not with tabs" if "\\t" in problem else ""
    sentence = f"is not valid YAML: {one_line(problem)}{hint}"
    return ConfigError("", sentence, None if mark is None else mark.line + 1)


class _NodeReader:
    """Turns YAML nodes into values. Aliases are followed, so depth and number of values are limited."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self.loader, self.document, self.value_count = loader, YamlDocument(), 0

    def read(self, node: yaml.MappingNode) -> YamlDocument:
        self.document.value = self._mapping(node, ())
        return self.document

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.value_count += 1
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        if self.value_count > MAX_VALUES or len(path) > MAX_DEPTH:
            if self.value_count <= MAX_VALUES + 1:
                self._add_error(node, path, "is nested too deeply, or has too many values, for a config")
            return None
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self._value(child, (*path, index)) for index, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN_TAGS:
            return self._scalar(node, path)
        self._add_error(node, path, f"the tag {one_line(node.tag)} is not allowed; write plain values")
        return None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._add_error(key_node, path, "a key must be plain text")
                continue
            key = (*path, key_node.value)
            if key_node.value in values:
                first_line = self.document.lines[key]
                self._add_error(key_node, key, f"is there twice, first in line {first_line}; keep one")
                continue
            self.document.lines[key] = key_node.start_mark.line + 1
            values[key_node.value] = self._value(value_node, key)
        return values

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text: str = node.value
        if node.style is None and _DIGITS.fullmatch(text):
            return IntAsTyped(text)
        if node.tag.endswith(":timestamp") or (node.style is None and ":" in text):
            return text
        try:
            value = self.loader.construct_object(node)
            if isinstance(value, int) and abs(value) >= 2**63:  # Python refuses to print the longest ones
                raise ValueError
            return value
        except (ValueError, LookupError, TypeError, OverflowError, yaml.YAMLError):  # as the constructors raise them
            self._add_error(node, path, f"{one_line(text)} is not a value of its type, or far too large")
            return None

    def _add_error(self, node: yaml.Node, path: KeyPath, sentence: str) -> None:
        self.document.errors.append(ConfigError(key_text(path), sentence, node.start_mark.line + 1))
