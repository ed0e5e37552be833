"""Pages that must not stay: of folders that are gone, and, where faces are not to be shown, pages that show them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from rm360_async.catalog import is_performance, is_subject
from rm360_async.errors import Cause, Fault
from rm360_async.pictures.report.page import NUMBERS, PAGE, read_numbers


def sweep(place: Path, published: Collection[str], *, faces: bool) -> list[str]:
    """Remove such pages below the report's folder; return the performances that they were of.

    Only files that a report wrote are removed. Raises Fault(NOT_WRITABLE) when one cannot be.
    """
    swept = []
    for path in sorted(place.glob(f"*/*/{NUMBERS}")):
        folder = path.parent
        name = f"{folder.parent.name}/{folder.name}"
        numbers = read_numbers(folder) if is_subject(folder.parent.name) and is_performance(folder.name) else None
        if numbers is not None and (name not in published or (not faces and numbers.get("faces") is not False)):
            _remove(folder)
            swept.append(name)
    return swept


def _remove(folder: Path) -> None:
    try:
        (folder / PAGE).unlink(missing_ok=True)
        (folder / NUMBERS).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise Fault(Cause.NOT_WRITABLE, f"cannot remove the old page in {folder}: {error.strerror}") from error
