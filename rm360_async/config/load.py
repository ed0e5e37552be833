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
    cameras: str | None = None,
    modalities: str | None = None,
) -> Settings:
    """Return the settings of a config file; options of the command line replace those of the file.

    `subjects` and `performances` are ids and names (or patterns), `cameras` and `modalities` texts as `parse_cameras`
    and `parse_modalities` take them. Relative paths start at the config's folder. Raises BadRequest with one line for
    every error in the file and the options.
    """
    path = Path(path)
    document = read_document(path)
    sections = _drop_empty(document.value)
    options, option_errors = _parse_options(subjects, performances, cameras, modalities)
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


def _parse_options(
    subjects: Sequence[str], performances: Sequence[str], cameras: str | None, modalities: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Return the options as values of the section `extraction`, and what is wrong with others.

    A wrong value is left out, so that the file's own is validated in its place.
    """
    parsers: list[tuple[str, Callable[[], Any]]] = []
    if subjects:
        parsers.append(("subjects", lambda: parse_subjects(subjects)))
    if performances:
        parsers.append(("performances", lambda: parse_performances(performances)))
    if cameras is not None:
        parsers.append(("cameras", lambda: parse_cameras(cameras)))
    if modalities is not None:
        parsers.append(("modalities", lambda: [modality.value for modality in parse_modalities(modalities)]))
    values: dict[str, Any] = {}
    errors: list[str] = []
    for key, parse in parsers:
        try:
            values[key] = parse()
        except BadRequest as error:
            errors += error.problems
    return values, errors


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
