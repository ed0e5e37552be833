"""Validation errors as sentences: each says which key, what is wrong, and what to write."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rm360_async.config.parsers import ConfigErrors, nearest, shown
from rm360_async.config.settings import Settings
from rm360_async.config.yaml_document import ConfigError, KeyPath, dotted

_MISSING = {
    "subjects": 'write a list such as ["0018"], or "all"',
    "output_dir": "write the folder that the subjects are to appear in",
}

_PLAIN = {
    "model_type": "must be a section with keys, not {shown}",
    "bool_type": "must be true or false, not {shown}",
    "int_type": "must be a whole number, not {shown}",
    "int_from_float": "must be a whole number, not {shown}",
    "float_type": "must be a number, not {shown}",
    "finite_number": "must be a number that is not infinite, not {shown}",
    "greater_than": "must be more than {gt:g}, not {shown}",
    "greater_than_equal": "must be at least {ge:g}, not {shown}",
    "less_than_equal": "must be at most {le:,g}, not {shown}",
    "literal_error": "must be one of {expected}, not {shown}",
}


def section_keys() -> dict[str, list[str]]:
    """Return the keys of each section."""
    found = {}
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        found[name] = list(field.annotation.model_fields)
    return found


def config_errors(error: ValidationError, lines: dict[KeyPath, int]) -> Iterator[ConfigError]:
    """Yield what a validation error means, with the lines of the keys."""
    for details in error.errors(include_url=False):
        path: KeyPath = tuple(details["loc"])
        for place, sentence in _sentences(details, path):
            where = path if place is None else (*path, place)
            yield ConfigError(dotted(where), sentence, lines.get(where) or lines.get(path))


def _sentences(details: ErrorDetails, path: KeyPath) -> list[tuple[int | None, str]]:
    context: dict[str, Any] = dict(details.get("ctx", {}))
    cause = context.get("error")
    if isinstance(cause, ConfigErrors):
        return list(cause.entries)
    if details["type"] == "missing":
        return [(None, f"missing; {_MISSING.get(str(path[-1]), 'write it')}")]
    if details["type"] == "extra_forbidden":
        return [(None, f"unknown {'section' if len(path) == 1 else 'key'}{_meant(path)}")]
    sentence = _PLAIN.get(details["type"], "is not a value that fits here: {shown}")
    return [(None, sentence.format(shown=shown(details["input"]), **context))]


def _meant(path: KeyPath) -> str:
    """Return `; did you mean X?` for an unknown key: a key of another section, or the nearest of its own."""
    key, sections = str(path[-1]).lower().replace("-", "_"), section_keys()
    own = list(sections) if len(path) == 1 else sections.get(str(path[0]), [])
    if key in own:
        return nearest(key, own)
    elsewhere = {name: f"{section}.{name}" for section, names in sections.items() for name in names}
    if key in elsewhere:
        return f"; did you mean {elsewhere[key]}?"
    close = get_close_matches(key, [*own, *elsewhere], 1)
    if not close:
        return f"; known here: {', '.join(own)}"
    return nearest(key, own) or f"; did you mean {elsewhere[close[0]]}?"
