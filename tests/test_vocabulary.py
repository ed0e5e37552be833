"""The words of messages and docstrings: those of the field and of engineers, and none of a private vocabulary."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "rm360_async"
FILES = sorted(PACKAGE.rglob("*.py"))

FORBIDDEN = {
    r"mend(s|ed|ing)?": "fix; hint",
    r"we|us|our|ours|mine": "rm360, this process, the thing itself",
    r"nobody|nobody's|whoever": "no process, no user; every ... that",
    r"dear|dearer": "expensive",
    r"scouts?|scouting": "range worker",
    r"crew|books|agenda|vigil|rehearsals?|headway": "stages; ledger, job log; scheduler; watchdog; dry run; progress",
    r"in hand": "active, being processed",
    r"(set|put|moved?) aside|aside": "quarantine, rename, keep a copy",
    r"odd|strangers?|strange": "unexpected, unrecognized, another process",
    r"told|telling": "logged, reported, printed, returned",
    r"manieth": "n-th",
    r"standings?": "state",
    r"fore(see|sees|seen|tell|tells|told)": "estimate",
    r"heeds?|heeded": "honour, respect",
    r"anew": "again, from scratch",
    r"wish|wishes|wished": "setting, selection",
    r"settles?|settled": "record, commit, verify",
    r"sweeps?|swept": "remove",
    r"tidy|tidies|untidy": "clean up",
    r"took in": "imported, adopted",
    r"Tell whether|Say whether|Say (how|what|which|who)": "Return True if ..., Return ...",
    r"(?<!there )is no [a-z]+": "is not a ...",
}
"""Words that messages and docstrings do not use, as regular expressions of whole words, and what to use instead."""

FORBIDDEN_IN_MESSAGES = {
    r"of which": "two sentences",
    r"(go|goes|going|went|gone) on": "continue, resume, is active",
    r"brought|brings?": "download, write",
    r"looks? (at|into)": "check, read",
    r"by now": "now",
    r"tells?|said": "report, print",
}
"""The same for messages, options and the help of commands alone."""

ALLOWED = (
    "tell its owner",
    "is no longer",
)
"""Phrases in which such a word is ordinary English."""


def texts_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string literal that a user may read: all with a space in them, but docstrings."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in docstrings or id(node) in parts:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        else:
            continue
        if " " in text.strip():
            yield node.lineno, text


def docstrings_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring: of the module, of classes, functions and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def help_of_commands(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring that click shows as help."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any("command(" in ast.unparse(each) for each in node.decorator_list):
            yield node.lineno, ast.get_docstring(node) or ""


def problems_in(texts: Iterator[tuple[int, str]], table: dict[str, str]) -> list[str]:
    """Return a line for each forbidden word."""
    problems = []
    for line, text in texts:
        for phrase in ALLOWED:
            text = text.replace(phrase, "")
        for words, instead in table.items():
            for match in re.finditer(rf"\b({words})\b", text):
                around = " ".join(text[max(0, match.start() - 40) : match.end() + 40].split())
                problems.append(f"line {line}: {match[0]!r} (better: {instead}) in: {around}")
    return problems


def all_problems(path: Path) -> list[str]:
    """Return a line for each forbidden word in the messages and docstrings of a module."""
    tree = ast.parse(path.read_text())
    messages = [*texts_of(tree), *help_of_commands(tree)]
    return [
        *problems_in(iter(messages), {**FORBIDDEN, **FORBIDDEN_IN_MESSAGES}),
        *problems_in(docstrings_of(tree), FORBIDDEN),
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_messages_and_docstrings_use_plain_words(path: Path) -> None:
    assert all_problems(path) == []


def test_a_forbidden_word_is_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    lines = (
        '"""Tell whether it is so."""',
        'log.info(f"{name} is aside, and {other} goes on")',
        'log.info("tell its owner")',
    )
    module.write_text("\n".join(lines))
    found = "\n".join(all_problems(module))
    assert all(word in found for word in ("'Tell whether'", "'aside'", "'goes on'")) and found.count("\n") == 2
