"""Validation errors as sentences: each names the key, what is wrong, and what to write."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rm360_async.config.parsers import ConfigErrors, value_text
from rm360_async.config.settings import Settings
from rm360_async.config.yaml_document import ConfigError, KeyPath, key_text
from rm360_async.domain.selectors import suggestion

_MISSING_HINTS = {
    "subjects": 'write a list such as ["0018"], or "all"',
    "output_dir": "write the folder for the extracted subjects",
}

_SENTENCES = {
    "model_type": "must be a section with keys, not {value}",
    "bool_type": "must be true or false, not {value}",
    "int_type": "must be a whole number, not {value}",
    "int_from_float": "must be a whole number, not {value}",
    "float_type": "must be a number, not {value}",
    "finite_number": "must be a number that is not infinite, not {value}",
    "greater_than": "must be more than {gt:g}, not {value}",
    "greater_than_equal": "must be at least {ge:g}, not {value}",
    "less_than_equal": "must be at most {le:,g}, not {value}",
    "literal_error": "must be one of {expected}, not {value}",
}


def section_keys() -> dict[str, list[str]]:
    """Return the keys of each section of config.yaml."""
    keys = {}
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        keys[name] = list(field.annotation.model_fields)
    return keys


def config_errors(error: ValidationError, lines: dict[KeyPath, int]) -> Iterator[ConfigError]:
    """Yield the errors in a ValidationError, with the lines of their keys."""
    for details in error.errors(include_url=False):
        path: KeyPath = tuple(details["loc"])
        for index, sentence in _sentences(details, path):
            entry = path if index is None else (*path, index)
            yield ConfigError(key_text(entry), sentence, lines.get(entry) or lines.get(path))


def _sentences(details: ErrorDetails, path: KeyPath) -> list[tuple[int | None, str]]:
    context: dict[str, Any] = dict(details.get("ctx", {}))
    cause = context.get("error")
    if isinstance(cause, ConfigErrors):
        return list(cause.entries)
    if details["type"] == "missing":
        return [(None, f"missing; {_MISSING_HINTS.get(str(path[-1]), 'write it')}")]
    if details["type"] == "extra_forbidden":
        return [(None, f"unknown {'section' if len(path) == 1 else 'key'}{_suggested_key(path)}")]
    sentence = _SENTENCES.get(details["type"], "is not a valid value: {value}")
    return [(None, sentence.format(value=value_text(details["input"]), **context))]


def _suggested_key(path: KeyPath) -> str:
    """Return `; did you mean X?` for an unknown key: the same key of another section, or the most similar one."""
    key, sections = str(path[-1]).lower().replace("-", "_"), section_keys()
    own_keys = list(sections) if len(path) == 1 else sections.get(str(path[0]), [])
    if key in own_keys:
        return suggestion(key, own_keys)
    other_keys = {name: f"{section}.{name}" for section, names in sections.items() for name in names}
    if key in other_keys:
        return f"; did you mean {other_keys[key]}?"
    close = get_close_matches(key, [*own_keys, *other_keys], 1)
    if not close:
        return f"; the keys are {', '.join(own_keys)}"
    return suggestion(key, own_keys) or f"; did you mean {other_keys[close[0]]}?"
