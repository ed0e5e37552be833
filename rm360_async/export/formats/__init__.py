"""The formats, one module each; a module has its format as FORMAT."""

from __future__ import annotations

import pkgutil
from difflib import get_close_matches
from importlib import import_module

from rm360_async.domain.errors import BadRequest
from rm360_async.export.format import Format


def format_names() -> list[str]:
    """Return the names of all formats: those of the modules here."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get_format(name: str) -> Format:
    """Return a format by its name; raise BadRequest, with a suggestion, if there is none."""
    if name not in format_names():
        near = get_close_matches(name, format_names(), 1)
        suggestion = f"; did you mean {near[0]}?" if near else ""
        raise BadRequest(f"{name!r} is not a format{suggestion} (known: {', '.join(format_names())})")
    instance: Format = import_module(f"{__name__}.{name}").FORMAT
    return instance
