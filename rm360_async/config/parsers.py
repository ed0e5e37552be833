"""Values of a config or a command line, parsed and checked, with a hint for each error.

Each `to_` function takes a value as it was written and returns what it means, or raises `ConfigErrors` with a sentence
for every wrong entry, so that the user sees all wrong ids of a list at once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rm360_async.config.yaml_document import IntAsTyped, one_line
from rm360_async.domain.bandwidth import BandwidthLimit
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import Modality, is_subject
from rm360_async.domain.notification import NotifyEvent
from rm360_async.domain.selectors import (
    CAMERAS,
    MODALITIES,
    PERFORMANCES,
    SUBJECTS,
    UnknownTerm,
    Vocabulary,
    parse_terms,
    suggestion,
    to_camera_selector,
    to_selector,
)
from rm360_async.domain.terms import ALL, PerformanceFilter, Selector, is_selected

Parsed = TypeVar("Parsed")

_TEXT_IN_YAML = re.compile(r"0[0-9]*[89][0-9]*")
"""Digits that YAML 1.1 reads as text; a program that writes YAML writes such an id without quotes."""
_RESOURCE_KEY = re.compile(r"[?&]resourcekey=(?P<key>[\w-]+)")
_RESOURCE_KEY_GOES = "its resource key belongs to the remote in the rclone config: resource_key ="
_COMMAND_HINT = 'write a program and its arguments, which no shell reads, such as ["/home/me/bin/report-run", "lab"]'
_LISTEN = re.compile(r"(?P<protocol>tcp|tls)://(?P<host>\[[0-9a-f:]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")
_FOLDER_LINK = re.compile(r"https?://\S*?(?:folders/|[?&]id=)(?P<id>[\w-]+)\S*")


class ConfigErrors(ValueError):
    """What is wrong with a value: (index in the list or None, sentence) for each error."""

    def __init__(self, *entries: tuple[int | None, str]) -> None:
        super().__init__("; ".join(sentence for _, sentence in entries))
        self.entries = entries


def value_text(value: object) -> str:
    """Return a value as the user typed it, shortened and on one line."""
    if isinstance(value, IntAsTyped):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{one_line(value)}"'
    if isinstance(value, dict):
        return "a section"
    return "a list" if isinstance(value, list | tuple) else one_line(str(value))


def to_subjects(value: object) -> Selector:
    """Return "all" or the terms of a selection of subjects, in the order given."""
    return to_selector(_to_terms(value, SUBJECTS))


def to_performances(value: object) -> Selector:
    """Return "all" or the terms of a selection of performances, in the order given."""
    return to_selector(_to_terms(value, PERFORMANCES))


def to_cameras(value: object) -> Selector:
    """Return "all", two-digit camera ids, sorted, or, with a set, a text such as "ring:10 +25 -49"."""
    return _not_empty(to_camera_selector(_to_terms(value, CAMERAS)))


def to_modalities(value: object) -> tuple[Modality, ...]:
    """Return the selected modalities in the order of extraction."""
    selector = to_selector(_to_terms(value, MODALITIES))
    return _not_empty(tuple(modality for modality in Modality if is_selected(selector, modality.value)))


def parse_subjects(given: str | Sequence[str]) -> Selector:
    """Return the subjects of a command line. Raises BadRequest."""
    return _parse_option("--subject", given, to_subjects)


def parse_performances(given: str | Sequence[str]) -> Selector:
    """Return the performances of a command line. Raises BadRequest."""
    return _parse_option("--performance", given, to_performances)


def parse_cameras(given: str | Sequence[str]) -> Selector:
    """Return the cameras of a command line: `all`, `ring:10 -49`, or `0,6,12`. Raises BadRequest."""
    return _parse_option("--cameras", given, to_cameras)


def parse_modalities(given: str | Sequence[str]) -> tuple[Modality, ...]:
    """Return the modalities of a command line: `images,audio`, or `all`. Raises BadRequest."""
    return _parse_option("--modalities", given, to_modalities)


def parse_filter(subjects: Sequence[str], performances: Sequence[str]) -> PerformanceFilter:
    """Return which performances a command line selects; without options all. Raises BadRequest."""
    return PerformanceFilter(
        parse_subjects(subjects) if subjects else ALL, parse_performances(performances) if performances else ALL
    )


def to_remote_name(value: object) -> str:
    """Return the name of an rclone remote, which may be followed by a path: `gdrive`, `gdrive:some/folder`."""
    text = _to_text(value)
    if text.startswith("-"):
        raise ConfigErrors(
            (None, f"{value_text(text)} begins with a dash; write the remote's name as `rclone listremotes` has it")
        )
    if not text.isprintable() or text != text.strip():
        raise ConfigErrors(
            (None, f"{value_text(text)} has a line break, a control character or a space at its end; remove it")
        )
    return text


def to_remote_names(value: object) -> tuple[str, ...]:
    """Return the names of several remotes (accounts) that hold the same files, each once; may be empty."""
    if isinstance(value, list | tuple) and not value:
        return ()
    return _to_list(value, to_remote_name, '["gdrive", "gdrive2"]')


def folder_id_in(text: str) -> str:
    """Return the id of a Drive folder from its link or the id itself. Raises BadRequest for anything else."""
    link = _FOLDER_LINK.fullmatch(text.strip())
    return _parse_option("--folder", link["id"] if link else text.strip(), to_folder_id)


def to_folder_id(value: object) -> str:
    """Return the id of a Drive folder; empty for none."""
    if value == "":
        return ""
    text = _to_text(value)
    link = _FOLDER_LINK.fullmatch(text)
    if link:
        key = _RESOURCE_KEY.search(text)
        rest = f"; {_RESOURCE_KEY_GOES} {key['key']}" if key else ""
        raise ConfigErrors((None, f'this is a link; write only the id in it: "{link["id"]}"{rest}'))
    if text.startswith("-") or re.fullmatch(r"[\w-]+", text, re.ASCII) is None:
        raise ConfigErrors(
            (None, f"{value_text(text)} is not a folder id (letters, digits, _ and -); copy it from the folder's link")
        )
    return text


def to_count_or_auto(value: object) -> object:
    """Return a number as it is, and None for "auto"."""
    if value is None or value == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigErrors((None, f'{value_text(value)} is not a number; write "auto" or a number such as 8'))
    return int(value)


def to_bandwidth(value: object) -> BandwidthLimit | None:
    """Return a rate or a timetable of rates; None for "auto"."""
    if value is None or value == "auto":
        return None
    if isinstance(value, BandwidthLimit):
        return value
    if not isinstance(value, str):
        example = '"10M" (MiB/s), "off" or a timetable "08:00,2M 19:00,off"'
        raise ConfigErrors((None, f"{value_text(value)} is not a text; write {example}"))
    try:
        return BandwidthLimit.parse(value)
    except BadRequest as error:
        raise ConfigErrors((None, str(error))) from None


def to_listen_address(value: object) -> str:
    """Return an address to listen on, such as tls://0.0.0.0:8786; port 0 is any free one. Only loopback may be tcp://."""
    text = _to_text(value)
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:
        raise ConfigErrors((None, f'{value_text(text)} is not an address; write one such as "tls://0.0.0.0:8786"'))
    if match["protocol"] == "tcp" and not is_loopback(text):
        reason = "can be reached from other machines, which needs keys"
        raise ConfigErrors((None, f'{value_text(text)} {reason}; write "tls://{match["host"]}:{match["port"]}"'))
    return text


def host_and_port(address: str) -> tuple[str, int]:
    """Return the host, without brackets, and the port of an address such as tls://[::1]:8786."""
    host, _, port = address.partition("://")[2].rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    """Return True if only this machine can reach an address such as tls://127.0.0.1:0."""
    host, _ = host_and_port(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def to_path(base: Path, value: object) -> Path:
    """Return an absolute path: `~` is the home folder, a relative path starts at `base`."""
    text = str(value) if isinstance(value, Path) else _to_text(value)
    if not text.isprintable():
        raise ConfigErrors((None, f"{value_text(text)} has a control character; remove it"))
    if text.startswith("$"):
        raise ConfigErrors((None, f"{value_text(text)}: variables are not expanded; write ~ or the whole path"))
    try:
        return base / Path(text).expanduser()
    except RuntimeError:
        raise ConfigErrors((None, f"{value_text(text)}: there is no such user; write the whole path")) from None


def to_command(value: object) -> tuple[str, ...]:
    """Return a program and its arguments, in their order; empty for none."""
    if not isinstance(value, list | tuple):
        raise ConfigErrors((None, f"{value_text(value)} is not a list; {_COMMAND_HINT}"))
    errors = [
        (index, f"{value_text(item)} is not text; write each argument in quotes")
        for index, item in enumerate(value)
        if not isinstance(item, str) or "\0" in item
    ]
    if value and not errors and not str(value[0]).strip():
        errors.append((0, f"is empty; {_COMMAND_HINT}"))
    if errors:
        raise ConfigErrors(*errors)
    return tuple(value)


def to_events(value: object) -> tuple[NotifyEvent, ...]:
    """Return the events of a list, each once."""
    names = _to_list(value, _to_event, "[done, failed]")
    return tuple(NotifyEvent(name) for name in names)


def _to_event(value: object) -> str:
    names = [event.value for event in NotifyEvent]
    if isinstance(value, str) and value in names:
        return str(value)
    hint = suggestion(value, names) if isinstance(value, str) else ""
    raise ConfigErrors((None, f"{value_text(value)} is not an event{hint or '; write some of ' + ', '.join(names)}"))


def _to_text(value: object) -> str:
    if not isinstance(value, str):
        hint = f'; write it in quotes: "{value_text(value)}"' if isinstance(value, int | float) else ""
        raise ConfigErrors((None, f"must be text, not {value_text(value)}{hint}"))
    if not value.strip():
        raise ConfigErrors((None, "is empty; write a value"))
    return value


def _to_list(value: object, to_entry: Callable[[Any], str], example: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigErrors((None, f"{value_text(value)} is not a list; write a list, such as {example}"))
    if not value:
        raise ConfigErrors((None, f"the list is empty; write a list, such as {example}"))
    parsed: dict[str, None] = {}
    errors: list[tuple[int | None, str]] = []
    for index, item in enumerate(value):
        try:
            parsed[to_entry(item)] = None
        except ConfigErrors as error:
            errors += [(index, sentence) for _, sentence in error.entries]
    if errors:
        raise ConfigErrors(*errors)
    return tuple(parsed)


def _to_terms(value: object, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the terms of a selection that is a text, or a list of texts. Raises ConfigErrors."""
    if isinstance(value, list | tuple):
        if not value:
            raise ConfigErrors((None, f"the list is empty; {vocabulary.hint}, or all"))
        terms: list[str] = []
        errors: list[tuple[int | None, str]] = []
        for index, item in enumerate(value):
            try:
                terms += _terms_of(item, vocabulary)
            except ConfigErrors as error:
                errors += [(index, sentence) for _, sentence in error.entries]
        if errors:
            raise ConfigErrors(*errors)
        return tuple(terms)
    return _terms_of(value, vocabulary)


def _not_empty(selected: Parsed) -> Parsed:
    if not selected:
        raise ConfigErrors((None, "selects nothing: what it adds is removed again"))
    return selected


def _terms_of(value: object, vocabulary: Vocabulary) -> tuple[str, ...]:
    if isinstance(value, IntAsTyped):
        value = _number_text(value, vocabulary)
    if isinstance(value, int) and not isinstance(value, bool) and vocabulary is CAMERAS:
        value = str(value)
    if not isinstance(value, str):
        raise ConfigErrors((None, f"{value_text(value)} is not a {vocabulary.noun}; {vocabulary.hint}"))
    try:
        return parse_terms(vocabulary, value)
    except UnknownTerm as error:
        raise ConfigErrors((None, str(error))) from None


def _number_text(value: IntAsTyped, vocabulary: Vocabulary) -> object:
    """Return the text of a number that may be meant as a name, or the number itself, which is none."""
    if vocabulary is CAMERAS or (_TEXT_IN_YAML.fullmatch(value.text) and is_subject(value.text)):
        return value.text
    if vocabulary is SUBJECTS and len(value.text) <= 4:
        reason = "is a number to YAML (which reads 0026 as 22), and ids are text"
        raise ConfigErrors((None, f'{value.text} {reason}; write "{value.text.zfill(4)}"'))
    return value


def _parse_option(option: str, given: str | Sequence[str], parse: Callable[[object], Parsed]) -> Parsed:
    try:
        return parse(given)
    except ConfigErrors as error:
        raise BadRequest(*(f"{option}: {sentence}" for _, sentence in error.entries)) from None
