"""Read a config file and a command line into settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rm360_async.config.messages import config_errors
from rm360_async.config.parsers import parse_cameras, parse_modalities, parse_performances, parse_subjects
from rm360_async.config.settings import Settings
from rm360_async.config.yaml_document import ConfigError, read
from rm360_async.domain.errors import BadRequest


def load_settings(
    path: Path | str,
    *,
    subjects: Sequence[str] = (),
    performances: Sequence[str] = (),
    cameras: str | None = None,
    modalities: str | None = None,
) -> Settings:
    """Return the settings of a config file; what a command line gives stands in the place of the file's.

    `subjects` and `performances` are ids and names (or patterns), `cameras` and `modalities` texts as
    `parse_cameras` and `parse_modalities` take them. Relative paths start at the config's folder. Raises
    BadRequest with one line for every mistake, the file's and the command line's.
    """
    path = Path(path)
    document = read(path)
    value = _without_empty(document.value)
    given, wrong = _given(subjects, performances, cameras, modalities)
    if isinstance(value["extraction"], dict):
        value["extraction"].update(given)
    settings, mistakes = _checked(value, path, document.lines)
    known = {mistake.where for mistake in document.mistakes}
    mistakes = [*document.mistakes, *(mistake for mistake in mistakes if mistake.where not in known)]
    mistakes.sort(key=lambda mistake: mistake.line or 10**9)
    problems = dict.fromkeys([*(mistake.told(str(path)) for mistake in mistakes), *wrong])
    if settings is None or problems:
        raise BadRequest(*problems)
    return settings


def _given(
    subjects: Sequence[str], performances: Sequence[str], cameras: str | None, modalities: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Return what the command line says for the section `extraction`, and what is wrong with it.

    A wrong value is left out, so that the file's own is checked in its place.
    """
    options: list[tuple[str, Callable[[], Any]]] = []
    if subjects:
        options.append(("subjects", lambda: parse_subjects(subjects)))
    if performances:
        options.append(("performances", lambda: parse_performances(performances)))
    if cameras is not None:
        options.append(("cameras", lambda: parse_cameras(cameras)))
    if modalities is not None:
        options.append(("modalities", lambda: [modality.value for modality in parse_modalities(modalities)]))
    given: dict[str, Any] = {}
    wrong: list[str] = []
    for key, parse in options:
        try:
            given[key] = parse()
        except BadRequest as error:
            wrong += error.problems
    return given, wrong


def _checked(
    value: dict[str, Any], path: Path, lines: dict[tuple[str | int, ...], int]
) -> tuple[Settings | None, list[ConfigError]]:
    try:
        return Settings.model_validate(value, context={"folder": Path.cwd() / path.parent}), []
    except ValidationError as error:
        return None, list(config_errors(error, lines))


def _without_empty(value: dict[str, Any]) -> dict[str, Any]:
    """Take a key with nothing after it as not given, and a section with nothing in it as empty."""
    sections: dict[str, Any] = {"google_drive": {}, "extraction": {}, "storage": {}}
    for name, section in value.items():
        if isinstance(section, dict):
            sections[name] = {key: inner for key, inner in section.items() if inner is not None}
        elif section is not None or name not in Settings.model_fields:
            sections[name] = section
    return sections
