"""What a sentence for a person must be like."""

from __future__ import annotations


def told_well(text: str, what: str) -> list[str]:
    """Return what is wrong with a sentence that a person is to read: more than a line, unprintable, a traceback."""
    wrong = []
    if not text.strip() or not text.isprintable():
        wrong.append(f"{what} is not one printable line: {text[:300]!r}")
    if "Traceback" in text or "Error(" in text or "object at 0x" in text:
        wrong.append(f"{what} speaks of the program's inside: {text[:300]!r}")
    if len(text) > 4000:
        wrong.append(f"{what} is {len(text)} characters long")
    return wrong
