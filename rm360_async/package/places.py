"""Where staging folders are, and how they go away."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from rm360_async.catalog import Performance, is_performance, is_subject
from rm360_async.package.writing import writing

_STAGING = re.compile(r"\.(?P<name>[a-z0-9_]+)\.(?P<attempt>[A-Za-z0-9_-]+)\.staging")


def staging_path(final: Path, attempt: str) -> Path:
    """Return the staging place of one attempt: `<subject>/.s1_all.<attempt>.staging` for `<subject>/s1_all`."""
    return final.parent / f".{final.name}.{attempt}.staging"


def find_staging(output_dir: Path) -> list[tuple[Performance, Path]]:
    """Return every staging folder below an output folder, also those that crashed attempts left."""
    return [
        (Performance(subject.name, match["name"]), Path(entry.path))
        for subject in _folders(output_dir)
        if is_subject(subject.name)
        for entry in _folders(Path(subject.path))
        if (match := _STAGING.fullmatch(entry.name)) and is_performance(match["name"])
    ]


def remove_tree(path: Path) -> None:
    """Remove a folder and all below it, no link followed; nothing happens when it is not there.

    A link in the place of the folder is removed itself.
    """
    with writing(path):
        try:
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path)
        except FileNotFoundError:
            return


def _folders(path: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the real folders in a folder, sorted; none when it is not there."""
    try:
        with os.scandir(path) as found:
            listed = sorted((entry for entry in found if entry.is_dir(follow_symlinks=False)), key=lambda e: e.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from listed
