"""Values of a config or a command line, parsed and checked, with a hint for each error.

Each `to_` function takes a value as it was written and returns what it means, or raises `ConfigErrors` with a sentence
for every wrong entry, so that the user sees all wrong ids of a list at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from rm360_async.config.yaml_document import IntAsTyped, one_line
from rm360_async.domain.cameras.set_names import is_named_set
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import LAST_CAMERA, Modality, camera_id, is_pattern, is_performance, is_subject

Parsed = TypeVar("Parsed")

ALL = "all"
_COMMON_NAMES = [*(f"e{n}" for n in range(12)), "h0", "h2", *(f"s{n}_all" for n in range(1, 7))]
_TEXT_IN_YAML = re.compile(r"0[0-9]*[89][0-9]*")
"""Digits that YAML 1.1 reads as text; a program that writes YAML writes such an id without quotes."""
_RESOURCE_KEY = re.compile(r"[?&]resourcekey=(?P<key>[\w-]+)")
_RESOURCE_KEY_GOES = "its resource key belongs to the remote in the rclone config: resource_key ="
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


def suggestion(text: str, names: Iterable[str]) -> str:
    """Return `; did you mean X?` for the name that is most similar to the text, or "" without one."""
    typed, known = text.lower().replace("-", "_"), sorted(names, key=len)
    close = [name for name in known if len(typed) > 1 and name.startswith(typed)] or get_close_matches(typed, known)
    return f"; did you mean {close[0]}?" if close else ""


def to_subjects(value: object) -> str | tuple[str, ...]:
    """Return "all" or subject ids, each once, in the order given."""
    return _to_all_or_list(value, _to_subject, '["0018"]')


def to_performances(value: object) -> str | tuple[str, ...]:
    """Return "all" or names and patterns of performances, each once, in the order given."""
    return _to_all_or_list(value, _to_performance, '["s1_all"] or ["s*"]')


def to_cameras(value: object) -> str | tuple[str, ...]:
    """Return "all", a named set such as "ring:10", or two-digit camera ids, sorted."""
    if isinstance(value, str) and value != ALL and not value.isdigit():
        if is_named_set(value):
            return value
        raise ConfigErrors(
            (None, f'{value_text(value)} is not a camera set; write "all", a list, or a set such as "ring:10"')
        )
    chosen = _to_all_or_list(value, _to_camera, '[0, 6, 12], "all", or a set such as "ring:10"')
    return chosen if isinstance(chosen, str) else tuple(sorted(chosen))


def to_modalities(value: object) -> tuple[Modality, ...]:
    """Return modalities in the order of extraction; "all" means all eleven."""
    chosen = _to_all_or_list(value, _to_modality, "[images, audio]")
    return tuple(modality for modality in Modality if chosen == ALL or modality.value in chosen)


def parse_subjects(given: Sequence[str]) -> str | tuple[str, ...]:
    """Return the subjects of a command line, or "all" if that is the only one. Raises BadRequest."""
    return _parse_option("--subject", lambda: to_subjects(ALL if list(given) == [ALL] else given))


def parse_performances(given: Sequence[str]) -> str | tuple[str, ...]:
    """Return the performances of a command line, or "all". Raises BadRequest."""
    return _parse_option("--performance", lambda: to_performances(ALL if list(given) == [ALL] else given))


def parse_cameras(text: str) -> str | tuple[str, ...]:
    """Return the cameras of a command line: `all`, `ring:10`, or `0,6,12`. Raises BadRequest."""
    listed = _split_option(text)
    is_set = len(listed) == 1 and not listed[0].isdigit()
    return _parse_option("--cameras", lambda: to_cameras(listed[0] if is_set else listed))


def parse_modalities(text: str) -> tuple[Modality, ...]:
    """Return the modalities of a command line: `images,audio`, or `all`. Raises BadRequest."""
    listed = _split_option(text)
    return _parse_option("--modalities", lambda: to_modalities(ALL if listed == [ALL] else listed))


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


def _to_text(value: object) -> str:
    if not isinstance(value, str):
        hint = f'; write it in quotes: "{value_text(value)}"' if isinstance(value, int | float) else ""
        raise ConfigErrors((None, f"must be text, not {value_text(value)}{hint}"))
    if not value.strip():
        raise ConfigErrors((None, "is empty; write a value"))
    return value


def _to_all_or_list(value: object, to_entry: Callable[[Any], str], example: str) -> str | tuple[str, ...]:
    return ALL if value == ALL else _to_list(value, to_entry, example)


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


def _to_subject(value: object) -> str:
    if isinstance(value, IntAsTyped) and _TEXT_IN_YAML.fullmatch(value.text) and is_subject(value.text):
        return value.text
    if isinstance(value, IntAsTyped) and len(value.text) <= 4:
        reason = "is a number to YAML (which reads 0026 as 22), and ids are text"
        raise ConfigErrors((None, f'{value.text} {reason}; write "{value.text.zfill(4)}"'))
    if isinstance(value, str) and is_subject(value):
        return value
    all_hint = '; for all subjects write "all" without a list' if value == ALL else ""
    raise ConfigErrors(
        (None, f'{value_text(value)} is not a subject id; write four digits in quotes, such as "0018"{all_hint}')
    )


def _to_performance(value: object) -> str:
    if isinstance(value, str) and (is_performance(value) or is_pattern(value)):
        return value
    hint = suggestion(value, _COMMON_NAMES) if isinstance(value, str) else ""
    examples = '; write names such as "s1_all", "e0", "h1_7bk", or a pattern such as "s*"'
    raise ConfigErrors((None, f"{value_text(value)} is not a performance name{hint or examples}"))


def _to_camera(value: object) -> str:
    try:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError
        camera = camera_id(value)
    except ValueError:
        hint = f"write numbers from 0 to {LAST_CAMERA}"
        raise ConfigErrors((None, f"{value_text(value)} is not a camera id; {hint}")) from None
    if int(camera) > LAST_CAMERA:
        raise ConfigErrors((None, f"there is no camera {camera}; the rig has the cameras 00 to {LAST_CAMERA}"))
    return camera


def _to_modality(value: object) -> str:
    names = [modality.value for modality in Modality]
    if isinstance(value, str) and value in names:
        return str(value)
    hint = suggestion(value, names) if isinstance(value, str) else ""
    raise ConfigErrors((None, f"{value_text(value)} is not a modality{hint or '; write some of ' + ', '.join(names)}"))


def _split_option(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text.strip() else []


def _parse_option(option: str, parse: Callable[[], Parsed]) -> Parsed:
    try:
        return parse()
    except ConfigErrors as error:
        raise BadRequest(*(f"{option}: {sentence}" for _, sentence in error.entries)) from None
