"""One open .smc: its attributes, its cameras, and the index of its blobs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

import h5py

from rm360_async.domain.errors import Cause
from rm360_async.domain.names import is_camera
from rm360_async.smc.attributes import read_attributes
from rm360_async.smc.blobs import Blob, locate_blob
from rm360_async.smc.errors import H5, HDF5_ERRORS, UnreadableData, hdf5_message, unexpected_names
from rm360_async.smc.frames import FrameList, parse_frames
from rm360_async.smc.links import LinkEntry, list_entries, open_dataset, open_group
from rm360_async.smc.open import open_descriptor, open_hdf5, was_left_open
from rm360_async.system.os_errors import os_errors
from rm360_async.system.sparse_file import SparseFile, is_sparse

_WITH_CAMERAS = ("Camera", "Keypoints2d", "ScanMask")


@dataclass
class CameraGroups:
    """The cameras of /Camera: the groups of each (color, mask, audio), unreadable ones, and unexpected names."""

    parts: dict[str, frozenset[str]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)

    def with_part(self, part: str) -> tuple[str, ...]:
        """Return the cameras that have a group such as "color", in order."""
        return tuple(sorted(camera for camera, parts in self.parts.items() if part in parts))


class SmcFile:
    """One .smc, read only; a context manager.

    Opening raises Fault(UNREADABLE); all later reading raises UnreadableData, so that the rest of the file stays usable
    when one camera or frame is damaged. Paths inside are tuples of names: ("Camera", "25", "color"). A sparse file
    notes the bytes that were read but are not present; then the results cannot be trusted.
    """

    def __init__(self, path: Path | str | SparseFile) -> None:
        self.path = path.path if isinstance(path, SparseFile) else Path(path)
        self.descriptor = open_descriptor(self.path)
        try:
            self._opened_sparse = not isinstance(path, SparseFile)
            self.sparse = path if isinstance(path, SparseFile) else _open_sparse(self.path)
            self._file = open_hdf5(self.path, self.descriptor, self.sparse)
        except BaseException:
            os.close(self.descriptor)
            raise
        self.size = os.fstat(self.descriptor).st_size
        self.was_left_open = was_left_open(self.descriptor)
        self._cameras: CameraGroups | None = None
        self._frames: dict[tuple[str, ...], FrameList] = {}

    def __enter__(self) -> SmcFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; its blobs cannot be read any more."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
            if self._opened_sparse and self.sparse is not None:
                self.sparse.close()
            try:
                self._file.close()
            except HDF5_ERRORS:  # a damaged file that was only read: nothing can be lost
                self._file = None

    @property
    def notes(self) -> list[str]:
        """Return sentences about the file as a whole that its reader should know."""
        note = "the process that wrote the file ended without closing it, so something may be missing"
        return [note] if self.was_left_open else []

    @property
    def root(self) -> H5:
        """Return the root group's low-level id."""
        return self._file.id

    def read_attributes(self, *parts: str) -> tuple[dict[str, object], list[str]]:
        """Return a group's attributes as plain values, and sentences about those that cannot be read."""
        try:
            group = open_group(h5py.h5g.open(self.root, b"/"), parts)
        except UnreadableData as error:
            return {}, [error.reason]
        except HDF5_ERRORS as error:
            return {}, [f"the root group cannot be read: {hdf5_message(error)}"]
        return read_attributes(group) if group is not None else ({}, [])

    def list_entries(self, *parts: str) -> list[LinkEntry]:
        """Return the entries of a group; none if it is absent."""
        group = open_group(self.root, parts)
        return [] if group is None else list_entries(group, f"the list of {'/'.join(parts) or 'the root'}")

    def has(self, *parts: str) -> bool:
        """Return True if there is a group at a path, readable or not."""
        try:
            return open_group(self.root, parts) is not None
        except UnreadableData:
            return True

    def dataset(self, *parts: str) -> H5 | None:
        """Return the low-level dataset at a path, None if it is absent."""
        return open_dataset(self.root, parts)

    @property
    def cameras(self) -> CameraGroups:
        """Return the cameras of /Camera: two-digit names; other names are reported and not followed."""
        if self._cameras is None:
            self._cameras = self._read_cameras()
        return self._cameras

    def cameras_with(self, part: str) -> tuple[str, ...]:
        """Return the cameras that have a group such as "color", in order; none if their list cannot be read."""
        try:
            return self.cameras.with_part(part)
        except UnreadableData:
            return ()

    def named_cameras(self) -> set[str]:
        """Return every camera that occurs anywhere in the file, readable or not."""
        cameras: set[str] = set()
        for group in _WITH_CAMERAS:
            try:
                cameras |= {entry.name for entry in self.list_entries(group) if is_camera(entry.name)}
            except UnreadableData:  # reported where this group is extracted
                continue
        return cameras

    def frames(self, *parts: str) -> FrameList:
        """Return the frames of a group (empty if it is absent); the list is cached."""
        if parts not in self._frames:
            self._frames[parts] = parse_frames(self.list_entries(*parts))
        return self._frames[parts]

    def blobs(self, *parts: str, frames: Iterable[int] | None = None) -> Iterator[tuple[int, Blob | UnreadableData]]:
        """Yield (frame, where its bytes are stored) for frames of a group, by default all of them in order.

        For a broken frame, UnreadableData takes the place of the blob.
        """
        listed = self.frames(*parts)
        group = open_group(self.root, parts)
        for frame in listed.frames if frames is None else frames:
            try:
                yield frame, self._blob(group, listed.stored_name(frame))
            except UnreadableData as error:
                yield frame, error

    def blob(self, *parts: str) -> Blob | None:
        """Return where the bytes of one dataset are stored; None if it is absent."""
        dataset = self.dataset(*parts)
        return None if dataset is None else self._locate(dataset)

    def _blob(self, group: H5, name: str) -> Blob:
        try:
            dataset = h5py.h5d.open(group, name.encode())
        except HDF5_ERRORS as error:
            raise UnreadableData(f"cannot be opened: {hdf5_message(error)}") from error
        return self._locate(dataset)

    def _locate(self, dataset: H5) -> Blob:
        blob = locate_blob(dataset, self.descriptor, self.size)
        if self.sparse is not None and blob.data is None:
            is_present = self.sparse.request(blob.offset, blob.offset + blob.size, index=False)
            return blob if is_present else replace(blob, sparse=self.sparse)
        return blob

    def _read_cameras(self) -> CameraGroups:
        cameras = CameraGroups()
        listed = self.list_entries("Camera")
        unexpected = [entry.name for entry in listed if not is_camera(entry.name)]
        cameras.unexpected = unexpected_names(unexpected, "camera", "/Camera/")
        for entry in listed:
            if is_camera(entry.name):
                self._read_camera(entry, cameras)
        return cameras

    def _read_camera(self, entry: LinkEntry, cameras: CameraGroups) -> None:
        if not entry.hard:
            cameras.unreadable[entry.name] = "is a link to elsewhere, which is not followed"
            return
        try:
            cameras.parts[entry.name] = frozenset(part.name for part in self.list_entries("Camera", entry.name))
        except UnreadableData as error:
            cameras.unreadable[entry.name] = error.reason


def _open_sparse(path: Path) -> SparseFile | None:
    """Return the sparse file at a path, None for a whole one."""
    if not is_sparse(path):
        return None
    with os_errors("open", path, "download it again", Cause.UNREADABLE):
        return SparseFile(path)
