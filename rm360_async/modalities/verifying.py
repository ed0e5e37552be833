"""Compare what is on disk with what the source's index says, before anything is sealed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rm360_async.errors import Cause, Fault
from rm360_async.modalities.work import Found
from rm360_async.package import StagingFolder
from rm360_async.package.sealing import files_below


def verify(folder: StagingFolder, founds: Iterable[Found]) -> None:
    """Raise Fault(UNKNOWN) unless every file is there with its size and every indexed entry is accounted for."""
    try:
        on_disk = dict(files_below(folder.path))
    except OSError as error:
        raise Fault(Cause.UNKNOWN, f"{folder.path} cannot be read back: {error.strerror}") from error
    _check_files(folder, on_disk)
    for found in founds:
        _check_index(found)


def _check_files(folder: StagingFolder, on_disk: dict[str, int]) -> None:
    for relative, size in folder.sizes.items():
        there = on_disk.get(relative)
        if there != size:
            state = "is not there" if there is None else f"has {there} bytes"
            raise Fault(Cause.UNKNOWN, f"{folder.path / relative} {state}, but {size} were written")
    if strange := on_disk.keys() - folder.sizes.keys():
        raise Fault(Cause.UNKNOWN, f"{folder.path / min(strange)} was not written by us")


def _check_index(found: Found) -> None:
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
