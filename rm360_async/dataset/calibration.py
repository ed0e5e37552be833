"""The calibration of a published folder as cameras."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset.camera import Camera, frozen
from rm360_async.dataset.errors import DamagedData, MissingData
from rm360_async.domain.cameras.calibration.checks import is_usable
from rm360_async.domain.cameras.calibration.conventions import place_cameras
from rm360_async.domain.cameras.calibration.lens import distortion_coefficients
from rm360_async.domain.cameras.rig import angles_about, tier_of

StoredMatrices = Mapping[str, Mapping[str, NDArray[Any]]]
"""K (3, 3) px, D (5,) and RT (4, 4) m by these names, of each camera by id."""


def read_matrices(path: Path, name: str) -> StoredMatrices:
    """Return the matrices in cameras.json as stored; a value that was not finite (null in JSON) is NaN.

    `name` is the performance, for the message. Raises MissingData without the file, DamagedData if it cannot be read.
    """
    try:
        stored: Any = json.loads(path.read_text(encoding="utf-8"))["cameras"]
        return {
            camera: {key: frozen(np.array(stored[camera][key], np.float64)) for key in ("K", "D", "RT")}
            for camera in sorted(stored)
        }
    except FileNotFoundError:
        hint = "extract it with modality calibration"
        raise MissingData(f"{name} has no calibration/cameras.json; {hint}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedData(f"{path} cannot be read as a calibration: {error or type(error).__name__}") from error


def read_cameras(stored: StoredMatrices, size_of: Callable[[str], tuple[int, int]], name: str) -> Mapping[str, Camera]:
    """Return the cameras whose matrices are finite, by id; `size_of` gives (width, height) px.

    Raises DamagedData if there is none. Angles are about the point that these cameras look at.
    """
    usable = {camera: matrices for camera, matrices in stored.items() if is_usable(matrices)}
    if not usable:
        raise DamagedData(f"{name} has no camera whose calibration is usable")
    poses = np.stack([np.asarray(matrices["RT"], np.float64) for matrices in usable.values()])
    azimuths, elevations, _ = angles_about(place_cameras(poses).head, poses[:, :3, 3])
    cameras = {}
    for (camera, matrices), azimuth, elevation in zip(
        usable.items(), azimuths.tolist(), elevations.tolist(), strict=True
    ):
        width, height = size_of(camera)
        K, D, RT = matrices["K"], frozen(distortion_coefficients(matrices["D"])), matrices["RT"]
        cameras[camera] = Camera(camera, K, D, RT, width, height, azimuth, elevation, tier_of(elevation))
    return cameras
