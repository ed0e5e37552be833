"""Templates to pages: everything from data is escaped, the colours are those of all pictures."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from rm360_async.domain.formatting import count_text, size_text
from rm360_async.visualization import theme

_NAMED = ("PAPER", "INK", "MUTED", "FAINT", "EMPTY", "WHITE", "BAD", "WARN", "GOOD")


def render(template: str, **values: Any) -> str:
    """Return a page from one of the templates."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rm360_async.visualization.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"light": _variables(dark=False), "dark": _variables(dark=True), "twins": _twins()}
    environment.filters |= {"size": size_text, "count": count_text}
    return environment


def _variables(*, dark: bool) -> dict[str, str]:
    """Return the named colours as CSS variables."""
    colours = {name.lower(): getattr(theme, name) for name in _NAMED}
    return {name: theme.DARK[colour] if dark else colour for name, colour in colours.items()}


def _twins() -> tuple[tuple[str, str], ...]:
    """Return the colours of drawings and what they become on a dark screen."""
    return tuple(theme.DARK.items())
