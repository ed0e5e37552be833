"""Compare the files on disk with the source's index before the folder is sealed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rm360_async.domain.errors import Cause, Fault
from rm360_async.extraction.context import ModalityResult
from rm360_async.store.seal import files_below
from rm360_async.store.staging import StagingFolder
from rm360_async.system.os_errors import os_errors


def check_output(folder: StagingFolder, results: Iterable[ModalityResult]) -> None:
    """Raise Fault(UNKNOWN) unless every file has its size, and every entry of the index was written or left out."""
    with os_errors("read back", folder.path, cause=Cause.UNKNOWN):
        _check_files(folder)
    for result in results:
        _check_index(result)


def _check_files(folder: StagingFolder) -> None:
    """Compare file by file: a second table of all files would take most of the process's memory."""
    count = 0
    for relative, size_on_disk in files_below(folder.path):
        size = folder.sizes.get(relative)
        if size is None:
            raise Fault(Cause.UNKNOWN, f"{folder.path / relative} was not written by this extraction")
        if size_on_disk != size:
            raise Fault(Cause.UNKNOWN, f"{folder.path / relative} has {size_on_disk} bytes, but {size} were written")
        count += 1
    if count < len(folder.sizes):
        missing = min(folder.sizes.keys() - {relative for relative, _ in files_below(folder.path)})
        size = folder.sizes[missing]
        raise Fault(Cause.UNKNOWN, f"{folder.path / missing} is missing, but {size} bytes were written")


def _check_index(result: ModalityResult) -> None:
    """Raise Fault(UNKNOWN) for an entry of a camera's index that was neither written nor left out."""
    left_out = Counter(item.camera for item in result.left_out)
    for camera, entries in result.index_sizes.items():
        accounted = len(result.frames.get(camera, ())) + left_out[camera]
        if accounted < entries:
            raise Fault(
                Cause.UNKNOWN,
                f"{result.modality.value} of camera {camera or '(none)'}: the index has {entries} entries, "
                f"but {accounted} were written or left out",
            )
