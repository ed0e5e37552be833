"""Pictures without lens distortion, under the K of their own camera, and a check of them by another way."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset import Camera, PublishedPerformance
from rm360_async.domain.cameras.calibration.landmarks import project_with_distortion
from rm360_async.domain.cameras.rig import Array
from rm360_async.export.registration import register

Image = NDArray[np.uint8]
_CHECKED_SIDE_PX = 640


@dataclass(frozen=True, eq=False)
class UndistortMap:
    """Where in the stored picture each pixel (height, width) of the undistorted one is, and which are known at all."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    valid: NDArray[np.bool_]

    def warp(self, picture: Image) -> Image:
        """Return the undistorted picture or mask; black where nothing is known."""
        warped = cv2.remap(picture, self.x, self.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        warped[~self.valid] = 0
        return np.asarray(warped, np.uint8)


def undistort_map(camera: Camera) -> UndistortMap:
    """Return the map of one camera. Unknown is what lies outside the picture or beyond where the lens folds back."""
    size = (camera.width, camera.height)
    x, y = cv2.initUndistortRectifyMap(camera.K, camera.D, np.eye(3), camera.K, size, cv2.CV_32FC1)
    columns = (np.arange(camera.width) - camera.K[0, 2]) / camera.K[0, 0]
    rows = (np.arange(camera.height) - camera.K[1, 2]) / camera.K[1, 1]
    valid = columns[None] ** 2 + rows[:, None] ** 2 < camera.fold_radius**2
    valid &= (x > -0.5) & (x < camera.width - 0.5) & (y > -0.5) & (y < camera.height - 0.5)
    return UndistortMap(np.asarray(x, np.float32), np.asarray(y, np.float32), valid)


def undistortion_error(
    performance: PublishedPerformance, camera: Camera, frame: int, K: Array, written: Image, head: Array
) -> float:
    """Return by how many pixels an undistorted picture (height, width, 3) RGB is off, at the head (3,) m.

    `K` is that which a reader gets. Each pixel becomes a ray, which is seen through the lens in the stored picture.
    """
    centre = camera.project(head)
    side = min(_CHECKED_SIDE_PX, camera.width, camera.height)
    left, top = (
        int(np.clip(c - side / 2, 0, limit - side)) for c, limit in zip(centre, written.shape[1::-1], strict=True)
    )
    columns, rows = np.meshgrid(np.arange(left, left + side), np.arange(top, top + side))
    rays = np.stack([(columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1], np.ones(columns.shape)], axis=-1)
    seen = project_with_distortion(rays, camera.K, camera.D, np.eye(4)).astype(np.float32)
    source = performance.image(camera.id, frame)
    expected = cv2.remap(source, seen[..., 0], seen[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    crop = written[top : top + side, left : left + side]
    return register(_grey(crop), _grey(np.asarray(expected, np.uint8))).shift


def _grey(picture: Image) -> NDArray[np.float32]:
    return np.asarray(picture.astype(np.float32).mean(axis=2), np.float32)
