"""Many published performances: found by their folders, read one at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import overload

from rm360_async.dataset.errors import MissingData
from rm360_async.dataset.performance import PublishedPerformance, open_performance
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import Performance, is_performance, is_subject
from rm360_async.domain.selectors import PERFORMANCES, SUBJECTS, UnknownTerm, Vocabulary, parse_terms, to_selector
from rm360_async.domain.terms import ALL, Selector, is_selected
from rm360_async.store.marker import MARKER

Folders = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class PublishedDataset:
    """Published performances, sorted by subject and name; get one with `open_dataset`.

    It holds the paths of the folders and nothing else: performances are opened one at a time while it is iterated,
    and their files are never listed before they are used. Picklable; usable in threads and after a fork.
    """

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = folders
        """The paths of the performances' folders."""

    def __len__(self) -> int:
        return len(self.folders)

    def __iter__(self) -> Iterator[PublishedPerformance]:
        return map(open_performance, self.folders)

    @overload
    def __getitem__(self, key: int | str) -> PublishedPerformance: ...
    @overload
    def __getitem__(self, key: slice) -> PublishedDataset: ...
    def __getitem__(self, key: int | str | slice) -> PublishedPerformance | PublishedDataset:
        """Return a performance by its position or by its name, "0018/s1_all", or a part of the dataset by a slice."""
        if isinstance(key, slice):
            return PublishedDataset(self.folders[key])
        if isinstance(key, int):
            return open_performance(self.folders[key])
        for folder in self.folders:
            if str(name_of(folder)) == key:
                return open_performance(folder)
        raise MissingData(f"the dataset has no performance {key!r}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} performances>"

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the performances, "0018/s1_all"."""
        return tuple(str(name_of(folder)) for folder in self.folders)

    def filter(
        self,
        subject: str | Iterable[str] | None = None,
        performance: str | Iterable[str] | None = None,
        modalities: str | Iterable[str] | None = None,
    ) -> PublishedDataset:
        """Return the performances of these subjects and names that hold all of these modalities.

        Subjects and performances are selected as in options: names, patterns ("s*"), ranges ("0018-0040"), and minus
        ("all -s3_all"). Only `modalities` reads any file: the marker of each folder that is left. Raises BadRequest if
        one of them is not a selection.
        """
        subjects, names, needed = (
            _selector(SUBJECTS, subject),
            _selector(PERFORMANCES, performance),
            _as_set(modalities),
        )
        folders = (folder for folder in self.folders if is_selected(subjects, name_of(folder).subject))
        folders = (folder for folder in folders if is_selected(names, name_of(folder).name))
        if needed is not None:
            folders = (folder for folder in folders if needed <= set(open_performance(folder).modalities))
        return PublishedDataset(tuple(folders))


def open_dataset(folder_or_folders: Folders) -> PublishedDataset:
    """Return the published performances in one folder or several; see `PublishedDataset`.

    A folder is an output folder (`subjects/`, with `<subject>/<performance>/` in it), a subject's folder, or one
    performance. Only folders with a marker count. Raises BadRequest if a folder does not exist or holds none.
    """
    given = [folder_or_folders] if isinstance(folder_or_folders, (str, os.PathLike)) else folder_or_folders
    folders: dict[Path, None] = {}
    for each in given:
        path = Path(each).absolute()
        if not path.is_dir():
            raise BadRequest(f"{each}: there is no such folder")
        published = list(_published_in(path))
        if not published:
            hint = "give an output folder, such as subjects/, or one performance's, such as subjects/0018/s1_all"
            raise BadRequest(f"{each} holds no published performance; {hint}")
        folders |= dict.fromkeys(published)
    return PublishedDataset(tuple(sorted(folders, key=_sort_key)))


def _published_in(folder: Path) -> Iterator[Path]:
    if _is_published(folder):
        yield folder
    elif is_subject(folder.name) and any(map(_is_published, _folders(folder))):
        yield from filter(_is_published, _folders(folder))
    else:
        for subject in _folders(folder):
            if is_subject(subject.name):
                yield from (each for each in _folders(subject) if is_performance(each.name) and _is_published(each))


def _folders(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    return (folder / name for name in names)


def _is_published(folder: Path) -> bool:
    return os.path.lexists(folder / MARKER)


def name_of(folder: Path) -> Performance:
    """Return the performance that a published folder is: by its path, `.../0018/s1_all`, else by its marker."""
    if is_subject(folder.parent.name) and is_performance(folder.name):
        return Performance(folder.parent.name, folder.name)
    performance = open_performance(folder)
    return Performance(performance.subject, performance.performance)


def _sort_key(folder: Path) -> tuple[str, str, int, str]:
    return name_of(folder).sort_key


def _selector(vocabulary: Vocabulary, selection: str | Iterable[str] | None) -> Selector:
    if selection is None:
        return ALL
    texts = [selection] if isinstance(selection, str) else selection
    try:
        terms = [term for text in texts for term in parse_terms(vocabulary, text)]
    except UnknownTerm as error:
        raise BadRequest(str(error)) from None
    return to_selector(terms) if terms else ()


def _as_set(names: str | Iterable[str] | None) -> set[str] | None:
    return None if names is None else {names} if isinstance(names, str) else set(names)
