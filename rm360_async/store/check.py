"""The check of a published folder against what it claims; only reads, and follows no symbolic link inside it.

The list of files is compared with the folder by names and sizes, the marker's counts with the list, and with
threads at hand every byte is read and compared with its hash. What an earlier version or tool left without a
list or without hashes gets what can be checked: counts, empty files, and whether every byte can be read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from rm360_async.domain.record import EarlierRecord, Record
from rm360_async.store.file_list import FILE_LIST, ListedFile, read_files
from rm360_async.store.marker import DAMAGED, MARKER, read_marker
from rm360_async.system.hashing import hash_of_range

_OURS = (MARKER, FILE_LIST, DAMAGED)
_BATCH_FILES = 64
_BATCH_BYTES = 64 * 2**20

OnBytes = Callable[[int], None]


class FlawKind(str, Enum):
    """What is wrong with one file."""

    MISSING = "missing"
    CHANGED = "changed"
    EXTRA = "extra"


class Depth(str, Enum):
    """How much of a folder could be compared."""

    FOREIGN = "nothing: it has no marker of any tool"
    EMPTY_FILES = "only that no file is empty: an earlier tool or version published it, and listed no files"
    COUNTS = "only the number of files and bytes: its list of files is missing or damaged"
    SIZES = "names and sizes"
    READABLE = "names and sizes, and every byte was read, but it lists no hashes"
    EVERY_BYTE = "every byte"


@dataclass(frozen=True)
class Flaw:
    """One file that is not as it was published; `path` is below the folder."""

    kind: FlawKind
    path: str
    reason: str = ""


@dataclass
class FolderCheck:
    """What the check of one folder found; `files` and `bytes` are what is there now, without our own three files.

    `record` is None for a folder without a marker; `queued` tells that it waits to be extracted again.
    """

    depth: Depth
    record: Record | EarlierRecord | None
    queued: bool = False
    files: int = 0
    bytes: int = 0
    flaws: list[Flaw] = field(default_factory=list)

    @property
    def damaged(self) -> bool:
        """Tell whether anything of what was published is missing or changed; what is extra is no damage."""
        return any(flaw.kind is not FlawKind.EXTRA for flaw in self.flaws)

    def add(self, kind: FlawKind, path: str, reason: str = "") -> None:
        """Note one flaw."""
        self.flaws.append(Flaw(kind, path, reason))


def check_folder(
    folder: Path,
    identity: tuple[str, str],
    threads: Executor | None = None,
    on_bytes: OnBytes = lambda size: None,
) -> FolderCheck:
    """Return how a folder differs from what it claims.

    `identity` is the subject and performance that its place stands for. With `threads` every byte is read, by
    several of them; `on_bytes` gets the sizes of what they have read, from any thread. Raises OSError when the
    folder itself cannot be read.
    """
    record = read_marker(folder)
    found = _Found(folder)
    checked = FolderCheck(
        Depth.SIZES, record, found.sizes.pop(DAMAGED, None) is not None, len(found.visible), sum(found.visible.values())
    )
    listed, why_not = _listed(folder, found)
    if record is None and not checked.queued and FILE_LIST not in found.sizes:
        checked.depth = Depth.FOREIGN
        return checked
    _check_marker(checked, identity, found)
    if listed is None:
        _without_list(checked, found, why_not)
        whole = [ListedFile(path, size) for path, size in found.visible.items()]
    else:
        whole = _compare(checked, found, listed)
    if threads is not None:
        _read_all(checked, folder, whole, threads, on_bytes)
    checked.flaws.sort(key=lambda flaw: flaw.path)
    return checked


class _Found:
    """What lies in a folder: sizes of the files, and a reason for each entry that is neither file nor folder."""

    def __init__(self, folder: Path) -> None:
        self.sizes: dict[str, int] = {}
        self.odd: dict[str, str] = {}
        self._walk(folder, "")
        self.visible = {path: size for path, size in self.sizes.items() if path not in _OURS}

    def _walk(self, folder: Path, below: str) -> None:
        with os.scandir(folder / below) as entries:
            for entry in entries:
                path = f"{below}/{entry.name}" if below else entry.name
                if entry.is_symlink():
                    self.odd[path] = "is a symbolic link"
                elif entry.is_file(follow_symlinks=False):
                    self.sizes[path] = entry.stat(follow_symlinks=False).st_size
                elif not entry.is_dir(follow_symlinks=False):
                    self.odd[path] = "is neither a file nor a folder"
                else:
                    self._enter(folder, path)

    def _enter(self, folder: Path, path: str) -> None:
        try:
            self._walk(folder, path)
        except OSError as error:
            self.odd[path] = f"cannot be read: {error.strerror}"


def _listed(folder: Path, found: _Found) -> tuple[list[ListedFile] | None, str]:
    """Return the list of files, or None and why there is none."""
    if FILE_LIST not in found.sizes:
        return None, found.odd.get(FILE_LIST, "")
    try:
        return list(read_files(folder)), ""
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"
    except ValueError as error:
        return None, str(error)


def _check_marker(checked: FolderCheck, identity: tuple[str, str], found: _Found) -> None:
    record = checked.record
    if record is None:
        if not checked.queued:
            checked.add(FlawKind.MISSING, MARKER)
    elif isinstance(record, EarlierRecord):
        if FILE_LIST in found.sizes and not _is_object(record.text):
            checked.add(FlawKind.CHANGED, MARKER, "is not the marker that was written")
    elif (record.subject, record.performance) != identity:
        checked.add(FlawKind.CHANGED, MARKER, f"is the marker of {record.subject}/{record.performance}")


def _is_object(text: str) -> bool:
    """Tell whether a marker is JSON, so that another version of ours may have written it."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _without_list(checked: FolderCheck, found: _Found, why_not: str) -> None:
    record = checked.record
    for path, size in found.visible.items():
        if size == 0:
            checked.add(FlawKind.CHANGED, path, "is empty")
    if isinstance(record, EarlierRecord) and not why_not:
        checked.depth = Depth.EMPTY_FILES
        return
    checked.depth = Depth.COUNTS
    checked.add(FlawKind.CHANGED if why_not else FlawKind.MISSING, FILE_LIST, why_not)
    if isinstance(record, Record) and (checked.files, checked.bytes) != (record.files, record.bytes):
        wanted = f"{record.files} files with {record.bytes} bytes were published"
        checked.add(FlawKind.CHANGED, ".", f"holds {checked.files} files with {checked.bytes} bytes; {wanted}")


def _compare(checked: FolderCheck, found: _Found, listed: list[ListedFile]) -> list[ListedFile]:
    """Note what differs from the list; return the files whose bytes can be compared."""
    whole = []
    for file in listed:
        size = found.visible.get(file.path)
        if size == file.size:
            whole.append(file)
        elif size is not None:
            checked.add(FlawKind.CHANGED, file.path, f"has {size} bytes, not {file.size}")
        elif file.path in found.odd:
            checked.add(FlawKind.CHANGED, file.path, found.odd[file.path])
        else:
            checked.add(FlawKind.MISSING, file.path)
    _check_counts(checked, listed)
    names = {file.path for file in listed}
    for path in found.visible.keys() - names:
        checked.add(FlawKind.EXTRA, path)
    for path in found.odd.keys() - names - {*_OURS}:
        checked.add(FlawKind.EXTRA, path, found.odd[path])
    return whole


def _check_counts(checked: FolderCheck, listed: list[ListedFile]) -> None:
    record = checked.record
    size = sum(file.size for file in listed)
    if isinstance(record, Record) and (len(listed), size) != (record.files, record.bytes):
        wanted = f"{record.files} files with {record.bytes} bytes were published"
        checked.add(FlawKind.CHANGED, FILE_LIST, f"lists {len(listed)} files with {size} bytes; {wanted}")


def _read_all(
    checked: FolderCheck, folder: Path, files: list[ListedFile], threads: Executor, on_bytes: OnBytes
) -> None:
    if checked.depth is Depth.SIZES:
        checked.depth = Depth.EVERY_BYTE if all(file.hash for file in files) else Depth.READABLE
    reading: list[Future[list[Flaw]]] = []
    try:
        for batch in _batches(files):
            reading.append(threads.submit(_read_batch, folder, batch, on_bytes))
        for done in reading:
            checked.flaws += done.result()
    finally:
        for left in reading:
            left.cancel()


def _batches(files: Iterable[ListedFile]) -> Iterator[list[ListedFile]]:
    batch: list[ListedFile] = []
    size = 0
    for file in files:
        batch.append(file)
        size += file.size
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read_batch(folder: Path, batch: list[ListedFile], on_bytes: OnBytes) -> list[Flaw]:
    flaws = []
    for file in batch:
        reason = _read(folder / file.path, file)
        if reason:
            flaws.append(Flaw(FlawKind.CHANGED, file.path, reason))
    on_bytes(sum(file.size for file in batch))
    return flaws


def _read(path: Path, file: ListedFile) -> str:
    """Read one file from the disk; return what is wrong with it, "" when nothing is."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with suppress(OSError):  # read the disk, not what memory still holds of it
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            hashed = hash_of_range(descriptor, 0, file.size)
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except EOFError as error:
        return str(error)
    return "" if file.hash in (None, hashed) else "has other bytes than were published"
