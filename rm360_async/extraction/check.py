"""Compare what is on disk with what the source's index says, before anything is sealed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rm360_async.domain.errors import Cause, Fault
from rm360_async.extraction.context import ModalityResult
from rm360_async.store.seal import files_below
from rm360_async.store.staging import StagingFolder


def verify(folder: StagingFolder, founds: Iterable[ModalityResult]) -> None:
    """Raise Fault(UNKNOWN) unless every file is there with its size and every indexed entry is accounted for."""
    try:
        _check_files(folder)
    except OSError as error:
        raise Fault(Cause.UNKNOWN, f"{folder.path} cannot be read back: {error.strerror}") from error
    for found in founds:
        _check_index(found)


def _check_files(folder: StagingFolder) -> None:
    """Compare file by file: a second table of all of them would be most of the memory that we use."""
    seen = 0
    for relative, there in files_below(folder.path):
        size = folder.sizes.get(relative)
        if size is None:
            raise Fault(Cause.UNKNOWN, f"{folder.path / relative} was not written by us")
        if there != size:
            raise Fault(Cause.UNKNOWN, f"{folder.path / relative} has {there} bytes, but {size} were written")
        seen += 1
    if seen < len(folder.sizes):
        gone = min(folder.sizes.keys() - {relative for relative, _ in files_below(folder.path)})
        raise Fault(Cause.UNKNOWN, f"{folder.path / gone} is not there, but {folder.sizes[gone]} were written")


def _check_index(found: ModalityResult) -> None:
    """Every entry of a camera's index is either written or named as left out."""
    left_out = Counter(item.camera for item in found.left_out)
    for camera, entries in found.listed.items():
        accounted = len(found.frames.get(camera, ())) + left_out[camera]
        if accounted < entries:
            raise Fault(
                Cause.UNKNOWN,
                f"{found.modality.value} of camera {camera or '(none)'}: the index has {entries} entries, "
                f"{accounted} are accounted for",
            )
