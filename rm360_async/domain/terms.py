"""Selectors: what the terms of a selection match.

A `Selector` is "all", or terms: names, patterns with * and ?, ranges, and with a minus in front what is removed
(`selectors` parses them). A selector of cameras that has a set is one text instead, such as "ring:10 +25 -49"; it is
resolved among the cameras that a file has (`cameras.sets`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from rm360_async.domain.names import Performance

Selector = str | tuple[str, ...]

ALL = "all"
MAX_NAMES_SHOWN = 3
_PATTERN = re.compile(r"[a-z0-9_*?]{1,16}")
_POSITION = re.compile(r"(?P<family>[a-z]?)(?P<number>[0-9]{1,4})(?:_[a-z0-9]+)?")


def asks_for_all(selector: Selector) -> bool:
    """Return True for "all", also with exceptions: it asks for what there is."""
    terms = tuple(selector.split()) if isinstance(selector, str) else selector
    return terms[:1] == (ALL,)


def removes(term: str) -> bool:
    """Return True if a term removes what it matches."""
    return term.startswith("-")


def matches(term: str, name: str) -> bool:
    """Return True if a name is, fits or is within a term, whatever the term's sign; a set of cameras matches none."""
    body = term.removeprefix("-")
    if body in (ALL, name):
        return True
    ends = range_ends(body)
    if ends is None:
        return is_pattern(body) and fnmatchcase(name, body)
    position = _position(name)
    return position is not None and ends[0] <= position <= ends[1] and position[0] == ends[0][0]


def is_selected(selector: Selector, name: str) -> bool:
    """Return True if a selector selects a name: the last term that matches it decides."""
    terms = (selector,) if isinstance(selector, str) else selector
    return next((not removes(term) for term in reversed(terms) if matches(term, name)), False)


def combine(terms: Iterable[str], members: Callable[[str], Iterable[str]]) -> tuple[str, ...]:
    """Return the names that terms select, in the order of the terms; `members` gives those of a term without sign."""
    chosen: dict[str, None] = {}
    for term in terms:
        if removes(term):
            for name in members(term.removeprefix("-")):
                chosen.pop(name, None)
        else:
            chosen.update(dict.fromkeys(members(term)))
    return tuple(chosen)


def expand(selector: Selector, listed: Sequence[str]) -> tuple[str, ...]:
    """Return the selected names: those among `listed`, and every single name, listed or not; in the terms' order."""
    terms = (selector,) if isinstance(selector, str) else selector
    among = members_among(listed)
    return combine(terms, lambda body: [body] if is_single_name(body) else among(body))


def single_names(selector: Selector) -> tuple[str, ...] | None:
    """Return the names of a selector that has single names only; None for any other."""
    if isinstance(selector, str) or not all(map(is_single_name, selector)):
        return None
    return selector


def is_single_name(term: str) -> bool:
    """Return True for a term that is one name, neither "all" nor a pattern, range, set or removal."""
    return term != ALL and not removes(term) and not is_pattern(term) and range_ends(term) is None and ":" not in term


def unmatched_terms(selector: Selector, listed: Sequence[str]) -> list[str]:
    """Return the terms that add and match none of `listed`."""
    terms = () if isinstance(selector, str) else selector
    return [term for term in terms if not removes(term) and not any(matches(term, name) for name in listed)]


def nearest_text(term: str, listed: Iterable[str]) -> str:
    """Return `; nearest: 0018, 0019`: the names most similar to a term, "" if there are no names."""
    names = list(dict.fromkeys(listed))
    wanted = re.sub(r"[*?].*|-.*", "", term) or term
    position = _position(wanted)
    distances = {name: _distance(position, _position(name)) for name in names}
    near = sorted((name for name in names if distances[name] is not None), key=lambda name: distances[name] or 0)
    near = near or get_close_matches(wanted, names, MAX_NAMES_SHOWN, 0.4) or names
    return f"; nearest: {', '.join(near[:MAX_NAMES_SHOWN])}" if near else ""


@dataclass(frozen=True)
class PerformanceFilter:
    """Which performances a command works on."""

    subjects: Selector = ALL
    performances: Selector = ALL

    def selects(self, performance: Performance) -> bool:
        """Return True if a performance is selected."""
        return is_selected(self.subjects, performance.subject) and is_selected(self.performances, performance.name)

    def unmatched(self, known: Iterable[Performance]) -> list[str]:
        """Return a sentence for each term that matches none of the known performances, with the nearest names."""
        known = sorted(known, key=lambda each: each.sort_key)
        lines = []
        for noun, selector, names in (
            ("subject", self.subjects, [each.subject for each in known]),
            ("performance", self.performances, [each.name for each in known]),
        ):
            names = list(dict.fromkeys(names))
            lines += [f"no {noun} here matches {x}{nearest_text(x, names)}" for x in unmatched_terms(selector, names)]
        return lines


def members_among(listed: Sequence[str]) -> Callable[[str], list[str]]:
    """Return the function that gives those of `listed` which a term matches."""
    return lambda body: [name for name in listed if matches(body, name)]


def is_pattern(body: str) -> bool:
    """Return True if a term without sign is a pattern, such as `s*` or `e?`."""
    return _PATTERN.fullmatch(body) is not None and ("*" in body or "?" in body)


def _position(name: str) -> tuple[str, int] | None:
    """Return what ranges compare: ("", 18) of 0018, ("e", 2) of e2; None for a name without a number."""
    match = _POSITION.fullmatch(name)
    return (match["family"], int(match["number"])) if match else None


def range_ends(body: str) -> tuple[tuple[str, int], tuple[str, int]] | None:
    """Return the two positions of a range such as `0018-0040` or `e0-e5`; None for any other term."""
    first, dash, last = body.partition("-")
    ends = _position(first), _position(last)
    if not dash or ends[0] is None or ends[1] is None or ends[0][0] != ends[1][0]:
        return None
    return ends[0], ends[1]


def _distance(one: tuple[str, int] | None, other: tuple[str, int] | None) -> int | None:
    """Return how far apart two positions of one family are; None for others."""
    return None if one is None or other is None or one[0] != other[0] else abs(one[1] - other[1])
