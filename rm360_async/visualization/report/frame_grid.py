"""The state of every frame of every camera: present, or what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.formatting import number_ranges
from rm360_async.domain.record import LeftOut
from rm360_async.domain.release import Absence
from rm360_async.visualization.published_folder import BROKEN
from rm360_async.visualization.report.page_data import PageData

StateArray = NDArray[np.uint8]
"""Values of `FrameState`."""

SMALL_SHARE = 1 / 3
"""A picture of fewer bytes than this share of its camera's median is suspicious: black, or cut short."""


class FrameState(IntEnum):
    """State of a frame, from good to bad; the names in lower case are keys of report.json."""

    THERE = 0
    NO_MASK = 1
    SMALL = 2
    MISSING = 3
    BROKEN = 4
    GONE = 5

    @property
    def label(self) -> str:
        """Return the state in words."""
        return _LABELS[self]


_LABELS = {
    FrameState.THERE: "there",
    FrameState.NO_MASK: "without mask",
    FrameState.SMALL: "suspiciously small",
    FrameState.MISSING: "missing in the source",
    FrameState.BROKEN: "broken in the source",
    FrameState.GONE: "gone since it was published",
}


@dataclass(frozen=True)
class FrameGrid:
    """Cameras, frame numbers, and the state of each frame of each camera (cameras, frames)."""

    cameras: tuple[str, ...]
    frames: tuple[int, ...]
    states: StateArray

    def problems(self) -> dict[str, str]:
        """Return what is wrong with the frames of a camera as text, of each camera with a problem."""
        texts = {camera: self._row_problems(row) for camera, row in zip(self.cameras, self.states, strict=True)}
        return {camera: text for camera, text in texts.items() if text}

    def _row_problems(self, row: StateArray) -> str:
        parts = []
        for state in FrameState:
            columns = np.flatnonzero(row == state) if state is not FrameState.THERE else ()
            if len(columns):
                parts.append(f"{state.label}: {number_ranges(self.frames[column] for column in columns)}")
        return "; ".join(parts)


def read_frame_grid(data: PageData) -> FrameGrid:
    """Return the state of every frame that there should be, in every camera that should have images."""
    left_out = _left_out_images(data)
    cameras, frames = _expected_cameras(data), _expected_frames(data, left_out)
    states = np.full((len(cameras), len(frames)), FrameState.MISSING, np.uint8)
    columns = {frame: column for column, frame in enumerate(frames)}
    rows = {camera: row for row, camera in enumerate(cameras)}
    for camera, row in rows.items():
        _fill_row(data, states[row], columns, camera)
    for item in left_out:
        if item.frame in columns and item.camera in rows:
            states[rows[item.camera], columns[item.frame]] = FrameState.BROKEN
    return FrameGrid(cameras, frames, states)


def _left_out_images(data: PageData) -> list[LeftOut]:
    record = data.folder.record
    return [item for item in (record.left_out if record else ()) if item.modality == "images"]


def _expected_cameras(data: PageData) -> tuple[str, ...]:
    """Return the cameras with images and those that lost theirs, by azimuth."""
    images = data.inventory.images
    losses = (Absence.LOST.value, BROKEN)
    lost = [camera for camera in rig() if camera not in images and data.folder.camera_absence(camera) in losses]
    return tuple(sorted({*images, *lost}, key=_by_azimuth))


def _by_azimuth(camera: str) -> tuple[float, str]:
    return (rig()[camera].azimuth if camera in rig() else 999.0), camera


def _expected_frames(data: PageData, left_out: list[LeftOut]) -> tuple[int, ...]:
    """Return the frames that any camera has, or all from 0 to the last if the release has no gaps."""
    known = {frame for frames in (*data.inventory.images.values(), *data.info.missing.values()) for frame in frames}
    known |= {item.frame for item in left_out if item.frame is not None}
    may_have_gaps = data.folder.released is not None and data.folder.released.key_frames
    return tuple(sorted(known)) if may_have_gaps else tuple(range(max(known, default=-1) + 1))


def _fill_row(data: PageData, row: StateArray, columns: dict[int, int], camera: str) -> None:
    """Set the states of the frames of one camera that its folder was published with."""
    sizes = data.inventory.images.get(camera, {})
    files = data.folder.frames.get(camera, {})
    with_mask = data.inventory.masks.get(camera, {})
    needs_masks = bool(data.inventory.masks)
    min_bytes = SMALL_SHARE * float(np.median(list(sizes.values()))) if sizes else 0.0
    for frame, size in sizes.items():
        if frame not in files:
            state = FrameState.GONE
        elif size < min_bytes:
            state = FrameState.SMALL
        else:
            state = FrameState.NO_MASK if needs_masks and frame not in with_mask else FrameState.THERE
        row[columns[frame]] = state
