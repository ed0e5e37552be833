"""The arrays of a published folder that pages draw: landmarks and sound. A file that cannot be read gives a note."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset import DamagedData, MissingData, PublishedPerformance
from rm360_async.domain.cameras.rig import Array

Landmarks = dict[int, Array]
"""Points (P, 2) px or (P, 3) m by frame."""


@dataclass(frozen=True)
class Sound:
    """Samples (n,), the mean of all channels, and their rate per second."""

    samples: NDArray[np.float32]
    rate: float

    @property
    def seconds(self) -> float:
        """Return the duration."""
        return len(self.samples) / self.rate


def read_landmarks2d(performance: PublishedPerformance, notes: list[str]) -> dict[str, Landmarks]:
    """Return the 2D landmarks of every camera that has a file of them; add a note for each unreadable file."""
    by_camera = {}
    for camera in performance.keypoints2d_cameras:
        try:
            by_camera[camera] = _checked(performance.all_keypoints2d(camera), 2, f"keypoints2d/cam_{camera}.npz")
        except DamagedData as error:
            notes.append(_relative(performance, error))
    return {camera: landmarks for camera, landmarks in by_camera.items() if landmarks}


def read_landmarks3d(performance: PublishedPerformance, notes: list[str]) -> Landmarks:
    """Return the 3D landmarks by frame; add a note if the file is unreadable."""
    try:
        return _checked(performance.all_keypoints3d(), 3, "keypoints3d/all_frames.npz")
    except DamagedData as error:
        notes.append(_relative(performance, error))
        return {}


def _checked(points: Mapping[int, Array], dimensions: int, name: str) -> Landmarks:
    if any(each.ndim != 2 or each.shape[1] != dimensions or not each.size for each in points.values()):
        raise DamagedData(f"{name} cannot be read: its arrays have other shapes")
    return {frame: np.asarray(each, np.float64) for frame, each in points.items()}


def read_sound(performance: PublishedPerformance, notes: list[str]) -> Sound | None:
    """Return the sound; None if there is none, or if the file is unreadable, with a note."""
    try:
        track = performance.audio
    except MissingData:
        return None
    except DamagedData as error:
        notes.append(_relative(performance, error))
        return None
    return Sound(track.mono, track.rate)


def _relative(performance: PublishedPerformance, error: DamagedData) -> str:
    """Return the message with paths below the folder: pages move with it."""
    return str(error).replace(f"{performance.folder}/", "")
