"""Check a published folder against its own record; only reads, and follows no symbolic link inside it.

The list of files is compared with the folder by names and sizes, the marker's counts with the list, and, given
threads, every byte is read and compared with its hash. A folder that an earlier version or tool published without a
list or without hashes gets the checks that are possible: counts, empty files, and whether every byte can be read.
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
from rm360_async.store.file_list import FILE_LIST, ListedFile, read_file_list
from rm360_async.store.marker import DAMAGED, MARKER, read_marker
from rm360_async.system.hashing import hash_of_range

_OWN_FILES = (MARKER, FILE_LIST, DAMAGED)
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
    """One file that is not as it was published; `path` is relative to the folder."""

    kind: FlawKind
    path: str
    reason: str = ""


@dataclass
class FolderCheck:
    """The result of checking one folder.

    `files` and `bytes` count its content without marker and list of files. `record` is None for a folder without a
    marker. `queued` is True if the folder waits to be extracted again.
    """

    depth: Depth
    record: Record | EarlierRecord | None
    queued: bool = False
    files: int = 0
    bytes: int = 0
    flaws: list[Flaw] = field(default_factory=list)

    @property
    def is_damaged(self) -> bool:
        """Return True if a published file is missing or changed; extra files are no damage."""
        return any(flaw.kind is not FlawKind.EXTRA for flaw in self.flaws)

    def add(self, kind: FlawKind, path: str, reason: str = "") -> None:
        """Add one flaw."""
        self.flaws.append(Flaw(kind, path, reason))


def check_folder(
    folder: Path,
    identity: tuple[str, str],
    threads: Executor | None = None,
    on_bytes: OnBytes = lambda size: None,
) -> FolderCheck:
    """Return how a folder differs from its own record.

    `identity` is the subject and performance of its path. With `threads`, every byte is read, by several of them;
    `on_bytes` gets the sizes of what they have read, from any thread. Raises OSError if the folder itself cannot be
    read.
    """
    record = read_marker(folder)
    content = _FolderContent(folder)
    queued = content.sizes.pop(DAMAGED, None) is not None
    check = FolderCheck(Depth.SIZES, record, queued, len(content.published), sum(content.published.values()))
    listed, list_problem = _read_list(folder, content)
    if record is None and not check.queued and FILE_LIST not in content.sizes:
        check.depth = Depth.FOREIGN
        return check
    _check_marker(check, identity, content)
    if listed is None:
        _check_without_list(check, content, list_problem)
        readable = [ListedFile(path, size) for path, size in content.published.items()]
    else:
        readable = _check_against_list(check, content, listed)
    if threads is not None:
        _check_bytes(check, folder, readable, threads, on_bytes)
    check.flaws.sort(key=lambda flaw: flaw.path)
    return check


class _FolderContent:
    """The content of a folder: sizes of its files, and a reason for each entry that cannot be checked.

    `published` are the files without marker and list of files.
    """

    def __init__(self, folder: Path) -> None:
        self.sizes: dict[str, int] = {}
        self.unusable: dict[str, str] = {}
        self._walk(folder, "")
        self.published = {path: size for path, size in self.sizes.items() if path not in _OWN_FILES}

    def _walk(self, folder: Path, below: str) -> None:
        with os.scandir(folder / below) as entries:
            for entry in entries:
                path = f"{below}/{entry.name}" if below else entry.name
                if entry.is_symlink():
                    self.unusable[path] = "is a symbolic link"
                elif entry.is_file(follow_symlinks=False):
                    self.sizes[path] = entry.stat(follow_symlinks=False).st_size
                elif not entry.is_dir(follow_symlinks=False):
                    self.unusable[path] = "is neither a file nor a folder"
                else:
                    self._enter(folder, path)

    def _enter(self, folder: Path, path: str) -> None:
        try:
            self._walk(folder, path)
        except OSError as error:
            self.unusable[path] = f"cannot be read: {error.strerror}"


def _read_list(folder: Path, content: _FolderContent) -> tuple[list[ListedFile] | None, str]:
    """Return the list of files, or None and why it cannot be used ("" if it does not exist)."""
    if FILE_LIST not in content.sizes:
        return None, content.unusable.get(FILE_LIST, "")
    try:
        return list(read_file_list(folder)), ""
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"
    except ValueError as error:
        return None, str(error)


def _check_marker(check: FolderCheck, identity: tuple[str, str], content: _FolderContent) -> None:
    record = check.record
    if record is None:
        if not check.queued:
            check.add(FlawKind.MISSING, MARKER)
    elif isinstance(record, EarlierRecord):
        if FILE_LIST in content.sizes and not _is_object(record.text):
            check.add(FlawKind.CHANGED, MARKER, "is not the marker that was written")
    elif (record.subject, record.performance) != identity:
        check.add(FlawKind.CHANGED, MARKER, f"is the marker of {record.subject}/{record.performance}")


def _is_object(text: str) -> bool:
    """Return True if a marker is JSON, so that another version of rm360 may have written it."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _check_without_list(check: FolderCheck, content: _FolderContent, list_problem: str) -> None:
    record = check.record
    for path, size in content.published.items():
        if size == 0:
            check.add(FlawKind.CHANGED, path, "is empty")
    if isinstance(record, EarlierRecord) and not list_problem:
        check.depth = Depth.EMPTY_FILES
        return
    check.depth = Depth.COUNTS
    check.add(FlawKind.CHANGED if list_problem else FlawKind.MISSING, FILE_LIST, list_problem)
    if isinstance(record, Record) and (check.files, check.bytes) != (record.files, record.bytes):
        published = f"{record.files} ({record.bytes} bytes) were published"
        check.add(FlawKind.CHANGED, ".", f"has {check.files} files ({check.bytes} bytes), but {published}")


def _check_against_list(check: FolderCheck, content: _FolderContent, listed: list[ListedFile]) -> list[ListedFile]:
    """Add what differs from the list; return the files whose content can be compared."""
    comparable = []
    for file in listed:
        size = content.published.get(file.path)
        if size == file.size:
            comparable.append(file)
        elif size is not None:
            check.add(FlawKind.CHANGED, file.path, f"has {size} bytes, expected {file.size}")
        elif file.path in content.unusable:
            check.add(FlawKind.CHANGED, file.path, content.unusable[file.path])
        else:
            check.add(FlawKind.MISSING, file.path)
    _check_counts(check, listed)
    names = {file.path for file in listed}
    for path in content.published.keys() - names:
        check.add(FlawKind.EXTRA, path)
    for path in content.unusable.keys() - names - {*_OWN_FILES}:
        check.add(FlawKind.EXTRA, path, content.unusable[path])
    return comparable


def _check_counts(check: FolderCheck, listed: list[ListedFile]) -> None:
    record = check.record
    size = sum(file.size for file in listed)
    if isinstance(record, Record) and (len(listed), size) != (record.files, record.bytes):
        published = f"{record.files} ({record.bytes} bytes) were published"
        check.add(FlawKind.CHANGED, FILE_LIST, f"lists {len(listed)} files ({size} bytes), but {published}")


def _check_bytes(
    check: FolderCheck, folder: Path, files: list[ListedFile], threads: Executor, on_bytes: OnBytes
) -> None:
    if check.depth is Depth.SIZES:
        check.depth = Depth.EVERY_BYTE if all(file.hash for file in files) else Depth.READABLE
    batches: list[Future[list[Flaw]]] = []
    try:
        for batch in _batches(files):
            batches.append(threads.submit(_read_batch, folder, batch, on_bytes))
        for done in batches:
            check.flaws += done.result()
    finally:
        for batch_result in batches:
            batch_result.cancel()


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
        reason = _content_problem(folder / file.path, file)
        if reason:
            flaws.append(Flaw(FlawKind.CHANGED, file.path, reason))
    on_bytes(sum(file.size for file in batch))
    return flaws


def _content_problem(path: Path, file: ListedFile) -> str:
    """Read one file from the disk; return what is wrong with it, "" if nothing is."""
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
    return "" if file.hash in (None, hashed) else "content does not match the recorded hash"
