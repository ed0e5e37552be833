"""The first lines of a run's log: what a bug report needs to say about program, machine, config and selection."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

from rm360_async import __version__
from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.download.rclone import Remote, find_rclone, rclone_environment, rclone_version
from rm360_async.service.startup import RunOptions
from rm360_async.system.disk_threads import on_disk_thread

_MAX_VALUE_CHARS = 200
_SHOWN_APART = ("extraction", "notify")
"""Sections that have a line of their own, or whose values may be secrets."""


async def header_lines(settings: Settings, options: RunOptions, remotes: Sequence[Remote]) -> list[str]:
    """Return the lines; a program or disk that gives no answer is named as such."""
    rclone = await _rclone_text()
    system = await on_disk_thread(platform.platform)
    return [
        f"rm360_async {__version__}, Python {platform.python_version()}, {system},"
        f" host {os.uname().nodename}, pid {os.getpid()}, {settings.processing.worker_count} extractions at once",
        f"{rclone}, remotes {', '.join(map(str, remotes))}",
        f"config {options.config or '-'}: {' '.join(_given_values(settings))}",
        f"selection: {_selection_text(settings)}{', --force' if options.force else ''}",
    ]


async def _rclone_text() -> str:
    try:
        program = await on_disk_thread(find_rclone)
        version = await rclone_version(program, rclone_environment(os.environ))
    except Fault as fault:  # the listing, which comes next, reports it as a failure
        return f"rclone of unknown version ({fault})"
    return f"rclone {'.'.join(map(str, version))} ({program})"


def _given_values(settings: Settings) -> Iterator[str]:
    """Yield the values that differ from the defaults, as `section.key=value`."""
    for name, section in settings:
        for key, field in type(section).model_fields.items() if name not in _SHOWN_APART else ():
            value = getattr(section, key)
            if field.is_required() or value != field.default:
                yield f"{name}.{key}={_value_text(value)}"
    if settings.notify.command:
        yield f"notify.command={settings.notify.command[0]}"


def _selection_text(settings: Settings) -> str:
    return ", ".join(f"{key} {_value_text(value)}" for key, value in settings.extraction)


def _value_text(value: Any) -> str:
    values = value if isinstance(value, tuple) else (value,)
    text = " ".join(str(each.value if isinstance(each, Enum) else each) for each in values)
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[:_MAX_VALUE_CHARS]} ..."
