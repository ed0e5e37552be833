"""How large are the pictures of a file? By the header of one of them: attributes are not believed."""

from __future__ import annotations

from rm360_async.smc.file import SmcFile
from rm360_async.smc.reading import Refusal
from rm360_async.smc.wholeness import check

_TRIES = 5


def image_size(file: SmcFile, part: str = "color") -> tuple[int, int] | None:
    """Return height and width in pixels of the first whole picture (color or mask); None when there is none."""
    for camera in file.cameras_having(part)[:_TRIES]:
        try:
            for frame in file.frames("Camera", camera, part).frames[:_TRIES]:
                if size := _size(file, camera, part, frame):
                    return size
        except Refusal:  # another camera may be readable
            continue
    return None


def _size(file: SmcFile, camera: str, part: str, frame: int) -> tuple[int, int] | None:
    try:
        blob = file.blob("Camera", camera, part, file.frames("Camera", camera, part).name(frame))
        picture = check(blob) if blob is not None else None
    except Refusal:
        return None
    return (picture.height, picture.width) if picture is not None and picture.width else None
