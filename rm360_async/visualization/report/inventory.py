"""What a folder was published with, from its list of files: frames and sizes by camera, files by kind.

One pass over one file: a folder of 60 cameras has hundreds of thousands of files, and asking the file system
for each of them takes minutes on a network disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rm360_async.dataset.camera_files import FRAME_FILE
from rm360_async.domain.names import camera_folder, is_camera
from rm360_async.store.file_list import read_file_list
from rm360_async.visualization.published_folder import PublishedFolder

FrameSizes = dict[int, int]
"""Size in bytes of a file by its frame."""


@dataclass
class Inventory:
    """Files as listed: `images` and `masks` have frame sizes by camera, `kinds` (files, bytes) by top folder."""

    images: dict[str, FrameSizes] = field(default_factory=dict)
    masks: dict[str, FrameSizes] = field(default_factory=dict)
    kinds: dict[str, tuple[int, int]] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    problem: str = ""
    """Why the list could not be used, "" if it was."""

    def add(self, path: str, size: int) -> None:
        """Count one file, by its path below the folder."""
        kind, _, rest = path.partition("/")
        files, total = self.kinds.get(kind, (0, 0))
        self.kinds[kind] = files + 1, total + size
        self.files, self.bytes = self.files + 1, self.bytes + size
        cameras = {"images": self.images, "masks": self.masks}.get(kind)
        if cameras is not None:
            folder, _, name = rest.partition("/")
            camera, frame = folder.removeprefix(camera_folder("")), FRAME_FILE.fullmatch(name)
            if frame and is_camera(camera):
                cameras.setdefault(camera, {})[int(frame[1])] = size


def read_inventory(folder: PublishedFolder) -> Inventory:
    """Return what the folder's list of files says; without a usable list the images present, with size 0."""
    try:
        return _inventory_of((file.path, file.size) for file in read_file_list(folder.path))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return _inventory_of(_images_present(folder), f"its list of files cannot be used ({reason})")


def _inventory_of(files: Iterable[tuple[str, int]], problem: str = "") -> Inventory:
    inventory = Inventory(problem=problem)
    for path, size in files:
        inventory.add(path, size)
    return inventory


def _images_present(folder: PublishedFolder) -> Iterable[tuple[str, int]]:
    for camera, files in folder.frames.items():
        for path in files.values():
            yield f"images/{camera_folder(camera)}/{path.name}", 0
