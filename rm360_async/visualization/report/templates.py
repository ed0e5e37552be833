"""Rendering of templates: all values from data are escaped, and the colours are those of all drawings."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from rm360_async.domain.formatting import count_text, rate_text, size_text
from rm360_async.visualization import theme

_CSS_COLOURS = ("PAPER", "INK", "MUTED", "FAINT", "EMPTY", "WHITE", "BAD", "WARN", "GOOD")


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
    environment.globals |= {"light": _css_colours(dark=False), "dark": _css_colours(dark=True)}
    environment.globals["dark_colours"] = tuple(theme.DARK.items())  # of drawings: a colour, and that on a dark screen
    environment.globals["states"] = tuple(theme.PERFORMANCE_COLOURS)
    environment.filters |= {"size": size_text, "rate": rate_text, "count": count_text}
    return environment


def _css_colours(*, dark: bool) -> dict[str, str]:
    """Return the colours that are CSS variables, by the name of the variable."""
    colours = {name.lower(): getattr(theme, name) for name in _CSS_COLOURS} | theme.PERFORMANCE_COLOURS
    return {name: theme.DARK.get(colour, colour) if dark else colour for name, colour in colours.items()}
