"""Read a config file and the options of a command line into settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rm360_async.config.messages import config_errors
from rm360_async.config.parsers import parse_cameras, parse_modalities, parse_performances, parse_subjects
from rm360_async.config.settings import Settings
from rm360_async.config.yaml_document import ConfigError, read_document
from rm360_async.domain.errors import BadRequest


def load_settings(
    path: Path | str,
    *,
    subjects: Sequence[str] = (),
    performances: Sequence[str] = (),
    cameras: str | Sequence[str] = (),
    modalities: str | Sequence[str] = (),
) -> Settings:
    """Return the settings of a config file; options of the command line replace those of the file.

    Each option is a selection, or several that are joined; see `domain.selectors`. Relative paths start at the config's
    folder. Raises BadRequest with one line for
    every error in the file and the options.
    """
    path = Path(path)
    document = read_document(path)
    sections = _drop_empty(document.value)
    options, option_errors = _parse_options(
        {
            "subjects": (subjects, parse_subjects),
            "performances": (performances, parse_performances),
            "cameras": (cameras, parse_cameras),
            "modalities": (modalities, _parse_modality_names),
        }
    )
    if isinstance(sections["extraction"], dict):
        sections["extraction"].update(options)
    settings, errors = _validate(sections, path, document.lines)
    known = {error.where for error in document.errors}
    errors = [*document.errors, *(error for error in errors if error.where not in known)]
    errors.sort(key=lambda error: error.line or 10**9)
    problems = dict.fromkeys([*(error.message(str(path)) for error in errors), *option_errors])
    if settings is None or problems:
        raise BadRequest(*problems)
    return settings


def _parse_options(options: dict[str, tuple[Any, Callable[[Any], Any]]]) -> tuple[dict[str, Any], list[str]]:
    """Return the options as values of the section `extraction`, and what is wrong with others.

    `options`: what was given for each key, and its parser. A wrong value is left out, so that the file's own is
    validated in its place.
    """
    values: dict[str, Any] = {}
    errors: list[str] = []
    for key, (given, parse) in options.items():
        if not given and given != "":
            continue
        try:
            values[key] = parse(given)
        except BadRequest as error:
            errors += error.problems
    return values, errors


def _parse_modality_names(given: str | Sequence[str]) -> list[str]:
    return [modality.value for modality in parse_modalities(given)]


def _validate(
    sections: dict[str, Any], path: Path, lines: dict[tuple[str | int, ...], int]
) -> tuple[Settings | None, list[ConfigError]]:
    try:
        return Settings.model_validate(sections, context={"folder": Path.cwd() / path.parent}), []
    except ValidationError as error:
        return None, list(config_errors(error, lines))


def _drop_empty(value: dict[str, Any]) -> dict[str, Any]:
    """Return the sections without keys that have no value; a section without content is empty."""
    sections: dict[str, Any] = {"google_drive": {}, "extraction": {}, "storage": {}}
    for name, section in value.items():
        if isinstance(section, dict):
            sections[name] = {key: inner for key, inner in section.items() if inner is not None}
        elif section is not None or name not in Settings.model_fields:
            sections[name] = section
    return sections
