"""One open .smc: its attributes, its cameras, and the index of its blobs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

import h5py

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import is_camera
from rm360_async.smc.attributes import attributes
from rm360_async.smc.blobs import Blob, locate
from rm360_async.smc.errors import H5, HDF5_ERRORS, UnreadableData, named, words_of
from rm360_async.smc.frames import FrameList, frame_list
from rm360_async.smc.links import LinkEntry, entries, open_dataset, open_group
from rm360_async.smc.open import open_descriptor, open_hdf5
from rm360_async.system.sparse_file import SparseFile, is_sparse

_WITH_CAMERAS = ("Camera", "Keypoints2d", "ScanMask")
_LINK = "is a link to elsewhere, which is not followed"


@dataclass
class CameraGroups:
    """The cameras of /Camera: what each holds (color, mask, audio), which are unreadable, and strange keys."""

    parts: dict[str, frozenset[str]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)

    def having(self, part: str) -> tuple[str, ...]:
        """Return the cameras that hold a part, in order."""
        return tuple(sorted(camera for camera, parts in self.parts.items() if part in parts))


class SmcFile:
    """One .smc, read only; a context manager.

    Opening raises Fault(UNREADABLE); all later reading raises UnreadableData, so that one damaged camera or frame
    does not cost the others. Paths inside are tuples of names: ("Camera", "25", "color").
    A sparse file notes what it was asked for and lacks; then what was read is not to be believed.
    """

    def __init__(self, path: Path | str | SparseFile) -> None:
        self.path = path.path if isinstance(path, SparseFile) else Path(path)
        self.descriptor = open_descriptor(self.path)
        try:
            self._opened_sparse = not isinstance(path, SparseFile)
            self.sparse = path if isinstance(path, SparseFile) else _sparse(self.path)
            self._file = open_hdf5(self.path, self.descriptor, self.sparse)
        except BaseException:
            os.close(self.descriptor)
            raise
        self.size = os.fstat(self.descriptor).st_size
        self._cameras: CameraGroups | None = None
        self._frames: dict[tuple[str, ...], FrameList] = {}

    def __enter__(self) -> SmcFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; blobs that lie in it cannot be read any more."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
            if self._opened_sparse and self.sparse is not None:
                self.sparse.close()
            try:
                self._file.close()
            except HDF5_ERRORS:  # closing a damaged file that was only read: nothing can be lost
                self._file = None

    @property
    def root(self) -> H5:
        """Return the root group's low-level id."""
        return self._file.id

    def attributes(self, *parts: str) -> tuple[dict[str, object], list[str]]:
        """Return a group's attributes as plain values, and sentences about those that cannot be read."""
        try:
            group = open_group(h5py.h5g.open(self.root, b"/"), parts)
        except UnreadableData as refusal:
            return {}, [refusal.reason]
        except HDF5_ERRORS as error:
            return {}, [f"the root group cannot be read: {words_of(error)}"]
        return attributes(group) if group is not None else ({}, [])

    def entries(self, *parts: str) -> list[LinkEntry]:
        """Return the names in a group; none when it is absent."""
        group = open_group(self.root, parts)
        return [] if group is None else entries(group, f"the list of {'/'.join(parts) or 'the root'}")

    def has(self, *parts: str) -> bool:
        """Tell whether there is a group at a path; one that cannot be read counts as there."""
        try:
            return open_group(self.root, parts) is not None
        except UnreadableData:
            return True

    def dataset(self, *parts: str) -> H5 | None:
        """Return the low-level dataset at a path, None when absent."""
        return open_dataset(self.root, parts)

    @property
    def cameras(self) -> CameraGroups:
        """Return what /Camera holds: two-digit keys are cameras, others are reported and not followed."""
        if self._cameras is None:
            self._cameras = self._survey_cameras()
        return self._cameras

    def cameras_having(self, part: str) -> tuple[str, ...]:
        """Return the cameras that hold a part, in order; none when their list cannot be read."""
        try:
            return self.cameras.having(part)
        except UnreadableData:
            return ()

    def named_cameras(self) -> set[str]:
        """Return every camera that is named anywhere in the file, readable or not."""
        found: set[str] = set()
        for group in _WITH_CAMERAS:
            try:
                found |= {entry.name for entry in self.entries(group) if is_camera(entry.name)}
            except UnreadableData:  # whoever extracts from this group says so
                continue
        return found

    def frames(self, *parts: str) -> FrameList:
        """Return the frames of a group (empty when absent); the list is kept."""
        if parts not in self._frames:
            self._frames[parts] = frame_list(self.entries(*parts))
        return self._frames[parts]

    def blobs(self, *parts: str, frames: Iterable[int] | None = None) -> Iterator[tuple[int, Blob | UnreadableData]]:
        """Yield (frame, where its bytes lie) of a group (all its frames, in order), one at a time.

        An UnreadableData stands for what is broken.
        """
        listed = self.frames(*parts)
        group = open_group(self.root, parts)
        for frame in listed.frames if frames is None else frames:
            try:
                yield frame, self._blob(group, listed.name(frame))
            except UnreadableData as refusal:
                yield frame, refusal

    def blob(self, *parts: str) -> Blob | None:
        """Return where the bytes of one dataset lie; None when absent."""
        dataset = self.dataset(*parts)
        return None if dataset is None else self._locate(dataset)

    def _blob(self, group: H5, name: str) -> Blob:
        try:
            dataset = h5py.h5d.open(group, name.encode())
        except HDF5_ERRORS as error:
            raise UnreadableData(f"cannot be opened: {words_of(error)}") from error
        return self._locate(dataset)

    def _locate(self, dataset: H5) -> Blob:
        blob = locate(dataset, self.descriptor, self.size)
        if self.sparse is not None and blob.data is None:
            here = self.sparse.request(blob.offset, blob.offset + blob.size, index=False)
            return blob if here else replace(blob, sparse=self.sparse)
        return blob

    def _survey_cameras(self) -> CameraGroups:
        found = CameraGroups()
        listed = self.entries("Camera")
        found.strange = named([entry.name for entry in listed if not is_camera(entry.name)], "camera", "/Camera/")
        for entry in listed:
            if not is_camera(entry.name):
                continue
            if not entry.hard:
                found.broken[entry.name] = _LINK
            else:
                self._survey_camera(entry.name, found)
        return found

    def _survey_camera(self, camera: str, found: CameraGroups) -> None:
        try:
            found.parts[camera] = frozenset(entry.name for entry in self.entries("Camera", camera))
        except UnreadableData as refusal:
            found.broken[camera] = refusal.reason


def _sparse(path: Path) -> SparseFile | None:
    """Return the sparse file at a path, None for a whole one."""
    if not is_sparse(path):
        return None
    try:
        return SparseFile(path)
    except OSError as error:
        raise Fault(Cause.UNREADABLE, f"{path} cannot be opened: {error.strerror}", "download it again") from error
