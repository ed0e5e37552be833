"""One grammar for every selection: of subjects, performances, cameras and modalities, in the config and in options.

A selection is a list of terms, separated by commas or spaces. A term is a name (`0018`), a pattern (`00*`), a range
(`0018-0040`), a set of cameras (`ring:10`), or `all`. `+term` adds, as a term without a sign does; `-term` removes.
Terms count from left to right, and a selection that begins with a minus begins with all. `selectors.md` explains it to
users (`rm360 selection` prints it). This file parses it; `terms` says what the terms match. No numpy in either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from rm360_async.domain.cameras.set_names import SET_EXAMPLES, is_named_set
from rm360_async.domain.names import LAST_CAMERA, Modality, camera_id, is_performance, is_subject
from rm360_async.domain.terms import ALL, Selector, combine, is_pattern, matches, members_among, range_ends, removes

_MAX_CHARS_SHOWN = 60
_SEPARATORS = re.compile(r"[,\s]+")
_PERFORMANCE_RANGE_END = re.compile(r"[ehs][0-9]{1,2}")
_USUAL_PERFORMANCES = (*(f"e{n}" for n in range(12)), "h0", "h2", *(f"s{n}_all" for n in range(1, 7)))


class UnknownTerm(ValueError):
    """A term that means nothing; the text says what would have meant something."""


@dataclass(frozen=True)
class Vocabulary:
    """The names that one kind of selection may have.

    `canonical` returns a name as the dataset writes it, "" for no name; `range_end` the same for an end of a range.
    `names` are suggested; with `is_closed` there are no others. `hint` says what a user may write.
    """

    noun: str
    canonical: Callable[[str], str]
    range_end: Callable[[str], str]
    names: tuple[str, ...]
    hint: str
    is_closed: bool = False
    has_sets: bool = False


def _subject(text: str) -> str:
    return text if is_subject(text) else ""


def _performance(text: str) -> str:
    return text if is_performance(text) else ""


def _performance_range_end(text: str) -> str:
    return text if is_performance(text) or _PERFORMANCE_RANGE_END.fullmatch(text) else ""


def _camera(text: str) -> str:
    try:
        camera = camera_id(text)
    except ValueError:
        return ""
    return camera if int(camera) <= LAST_CAMERA else ""


def _modality(text: str) -> str:
    return text if text in _MODALITIES else ""


_MODALITIES = tuple(modality.value for modality in Modality)
_RIG = tuple(f"{number:02d}" for number in range(LAST_CAMERA + 1))

SUBJECTS = Vocabulary(
    "subject id",
    _subject,
    _subject,
    (),
    'write four digits in quotes, such as "0018", a range ("0018-0040") or a pattern ("00*")',
)
PERFORMANCES = Vocabulary(
    "performance name",
    _performance,
    _performance_range_end,
    _USUAL_PERFORMANCES,
    'write names such as "s1_all", "e0", "h1_7bk", a range ("e0-e5") or a pattern ("s*")',
)
CAMERAS = Vocabulary(
    "camera id",
    _camera,
    _camera,
    _RIG,
    f'write numbers from 0 to {LAST_CAMERA}, a range ("20-25") or a set ({", ".join(SET_EXAMPLES)})',
    is_closed=True,
    has_sets=True,
)
MODALITIES = Vocabulary(
    "modality", _modality, lambda _: "", _MODALITIES, f"write some of {', '.join(_MODALITIES)}", is_closed=True
)


def parse_terms(vocabulary: Vocabulary, text: str) -> tuple[str, ...]:
    """Return the terms of a text, names as the dataset writes them, without plus signs. Raises UnknownTerm."""
    words = [word for word in _SEPARATORS.split(text) if word]
    if not words:
        raise UnknownTerm(_unknown(vocabulary, text))
    return tuple(_parse_term(vocabulary, word) for word in words)


def to_selector(terms: Iterable[str]) -> Selector:
    """Return the selector of some terms: from the last "all" on; a removal at the beginning removes from all."""
    ordered = list(terms)
    if removes(ordered[0]):
        ordered.insert(0, ALL)
    if ALL in ordered:
        ordered = ordered[len(ordered) - 1 - ordered[::-1].index(ALL) :]
    if any(map(removes, ordered)):
        return tuple(ordered)
    return ALL if ordered[0] == ALL else tuple(dict.fromkeys(ordered))


def to_camera_selector(terms: Iterable[str]) -> Selector:
    """Return "all", sorted ids, or, with a set among the terms, a text such as "ring:10 +25 -49"."""
    selector = to_selector(terms)
    if isinstance(selector, str):
        return selector
    if not any(is_named_set(term.removeprefix("-")) for term in selector):
        return tuple(sorted(combine(selector, members_among(CAMERAS.names))))
    return " ".join([selector[0], *(term if removes(term) else f"+{term}" for term in selector[1:])])


def suggestion(text: str, names: Iterable[str]) -> str:
    """Return `; did you mean X?` for the name that is most similar to the text, or "" without one."""
    typed, known = text.lower().replace("-", "_"), sorted(names, key=len)
    close = [name for name in known if len(typed) > 1 and name.startswith(typed)] or get_close_matches(typed, known)
    return f"; did you mean {close[0]}?" if close else ""


def _parse_term(vocabulary: Vocabulary, word: str) -> str:
    sign, body = ("-", word[1:]) if word.startswith("-") else ("", word.removeprefix("+"))
    if body == ALL or (vocabulary.has_sets and is_named_set(body)):
        return sign + body
    if name := vocabulary.canonical(body):
        return sign + name
    first, dash, last = body.partition("-")
    if dash and (ends := (vocabulary.range_end(first), vocabulary.range_end(last))) and all(ends):
        return sign + _range(vocabulary, *ends)
    if is_pattern(body) and (not vocabulary.is_closed or any(matches(body, name) for name in vocabulary.names)):
        return sign + body
    raise UnknownTerm(_unknown(vocabulary, body))


def _range(vocabulary: Vocabulary, first: str, last: str) -> str:
    ends = range_ends(f"{first}-{last}")
    if ends is None:
        raise UnknownTerm(f'"{first}-{last}" is not a {vocabulary.noun}; a range stays in one family, such as e0-e5')
    if ends[0] > ends[1]:
        raise UnknownTerm(f'"{first}-{last}" ends before it begins; did you mean {last}-{first}?')
    return f"{first}-{last}"


def _unknown(vocabulary: Vocabulary, body: str) -> str:
    """Return what is wrong with a term, and what would have meant something."""
    body = body if len(body) <= _MAX_CHARS_SHOWN else f"{body[: _MAX_CHARS_SHOWN - 3]}..."
    body = body if body.isprintable() else json.dumps(body)[1:-1]
    is_number = body.isascii() and body.isdigit()
    if vocabulary is SUBJECTS and is_number and len(body) < 4:
        return f'"{body}" is not a subject id; did you mean "{body.zfill(4)}"?'
    if vocabulary is CAMERAS and is_number:
        return f"there is no camera {body}; the rig has the cameras 00 to {LAST_CAMERA}"
    if vocabulary.has_sets and (":" in body or body[:1].isalpha()):
        return f'"{body}" is not a camera set; {_nearest_set(body)}'
    return f'"{body}" is not a {vocabulary.noun}{suggestion(body, vocabulary.names) or f"; {vocabulary.hint}"}'


def _nearest_set(body: str) -> str:
    family = body.partition(":")[0]
    sized = {example.partition(":")[0]: example for example in SET_EXAMPLES if example[-1].isdigit() and ":" in example}
    if family in sized:
        return f"write {family}:N with N from 1 to {LAST_CAMERA + 1}"
    close = get_close_matches(body, [ALL, *SET_EXAMPLES], 1) or get_close_matches(family, sized, 1)
    return f"did you mean {sized.get(close[0], close[0])}?" if close else f"the sets are {', '.join(SET_EXAMPLES)}"
