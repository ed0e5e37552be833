"""The commands and files that a page of the package shows, for tests that do what it says."""

from __future__ import annotations

import re

from instance import ROOT

PAGE = ROOT / "rm360_async" / "cluster" / "README.md"


def blocks(heading: str, language: str) -> list[str]:
    """Return the blocks of a language below the heading that begins with these words."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    section = next(each for each in sections if each.startswith(heading))
    return re.findall(rf"^```{language}\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)


def commands(heading: str) -> list[str]:
    """Return the lines of the shell below a heading, without their comments."""
    lines = "".join(blocks(heading, "sh")).splitlines()
    return [line.partition("  #")[0].strip() for line in lines]


def command_of(heading: str, start: str) -> str:
    """Return the command below a heading that begins so."""
    return next(line for line in commands(heading) if line.startswith(start))
