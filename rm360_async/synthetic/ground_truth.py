"""The data of the drawn head: calibration, keypoints, FLAME parameters, scan and texture.

All of it belongs to the head that `head.py` draws, so its projections lie on the images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.calibration.landmarks import project_with_distortion
from rm360_async.domain.cameras.rig import Array, rig, scale_intrinsics
from rm360_async.synthetic import shape
from rm360_async.synthetic.appearance import Appearance, appearance_of
from rm360_async.synthetic.encoded import encode
from rm360_async.synthetic.spec import SmcSpec

FLAME_VERTICES = 5023
FLAME_OFFSET = np.array([-0.04, -0.26, 0.0])
"""From the fit's own frame, whose origin is near the neck, to the world (m): the real fits lack as much."""
_FRONTAL_CAMERAS = range(18, 33)


def calibration(spec: SmcSpec) -> dict[str, dict[str, Array]]:
    """Return K, D and RT of the 60 cameras, for the spec's scale and lenses, with swapped cameras exchanged."""
    partner = dict(spec.swapped) | {second: first for first, second in spec.swapped}
    cameras = {camera: rig()[partner.get(camera, camera)] for camera in rig()}
    return {
        camera: {
            "K": scale_intrinsics(real.K, spec.scale),
            "D": np.array(spec.distortion_of(real.id)),
            "RT": real.RT,
        }
        for camera, real in cameras.items()
    }


def keypoint_cameras(spec: SmcSpec) -> tuple[str, ...]:
    """Return the cameras with 2D keypoints: four in five of the frontal cameras of the spec."""
    return tuple(camera for camera in spec.cameras if int(camera) in _FRONTAL_CAMERAS and int(camera) % 5 != 4)


def keypoints2d(spec: SmcSpec, camera: str) -> dict[int, Array]:
    """Return frame to keypoints (106, 2) in pixels, for three in four of the camera's frames."""
    real = rig()[camera]
    K = scale_intrinsics(real.K, spec.scale)
    frames = (frame for frame in spec.frames_of(camera) if (frame + int(camera)) % 4 != 3)
    D = np.array(spec.distortion_of(camera))
    return {frame: project_with_distortion(_landmarks(spec, frame), K, D, real.RT) for frame in frames}


def keypoints3d(spec: SmcSpec) -> dict[int, Array]:
    """Return frame to keypoints (73, 3) in world metres, for four in five frames: a selection of the 2D landmarks."""
    selected = np.linspace(0, shape.LANDMARKS - 1, shape.LANDMARKS_3D).round().astype(int)
    return {frame: _landmarks(spec, frame)[selected] for frame in range(spec.frames) if frame % 5 != 4}


def flame(spec: SmcSpec, frame: int) -> Mapping[str, NDArray[Any]]:
    """Return the parameters of one frame; the vertices plus the last three of `cam` are points on the drawn head."""
    random = np.random.default_rng([spec.seed, frame])
    person = np.random.default_rng(int(spec.performance.subject))
    poses: dict[str, NDArray[np.float64]] = {
        f"{name}_pose": np.zeros(3) for name in ("global", "neck", "jaw", "left_eye", "right_eye")
    }
    poses["global_pose"] = np.asarray(cv2.Rodrigues(shape.head_rotation())[0], np.float64)[:, 0]
    poses["jaw_pose"] = np.array([0.3 * spec.opening(frame), 0.0, 0.0])
    return {
        **poses,
        "trans": person.normal(0.0, 0.005, 3),
        "shape": person.normal(0.0, 1.0, 100),
        "exp": random.normal(0.0, 0.5, 50),
        "verts": shape.to_world(shape.head_points(FLAME_VERTICES)) - FLAME_OFFSET,
        "albedos": _albedo(spec).transpose(2, 0, 1).astype(np.float32) / 255,
        "cam": np.array([8.0, *FLAME_OFFSET]),
        "tex": person.normal(0.0, 1.0, 50),
        "lit": person.normal(0.5, 0.1, (9, 3)),
    }


def uv_texture(spec: SmcSpec, frame: int) -> bytes:
    """Return an encoded texture (256, 256, 3) of one frame."""
    texture = _albedo(spec)
    centre = (128 + round(30 * spec.opening(frame)), 200)
    return encode(np.asarray(cv2.circle(texture, centre, 12, (70, 60, 170), -1), np.uint8), ".png")


def scan(columns: int = 96) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return vertices (n, 3) in world metres and triangles (m, 3) of the head's mesh."""
    skull = shape.head(columns, columns * 5 // 8)
    triangles = np.concatenate([skull.quads[:, [0, 1, 2]], skull.quads[:, [0, 2, 3]]])
    return shape.to_world(skull.vertices).astype(np.float32), triangles.astype(np.int32)


def _landmarks(spec: SmcSpec, frame: int) -> Array:
    person = appearance_of(spec.performance, spec.seed)
    return shape.to_world(shape.landmarks(spec.opening(frame), person.brow_lift, person.smile))


def _albedo(spec: SmcSpec) -> NDArray[np.uint8]:
    """Return a face unrolled onto a texture (256, 256, 3), BGR: skin, hair above, dark eyes, lips."""
    person: Appearance = appearance_of(spec.performance, spec.seed)
    texture = np.full((256, 256, 3), person.skin, np.uint8)
    texture[:60] = np.array(person.hair, np.uint8)
    for x in (98, 158):
        cv2.ellipse(texture, (x, 118), (16, 8), 0, 0, 360, (228, 230, 232), -1)
        cv2.circle(texture, (x, 118), 7, (70, 62, 46), -1)
    cv2.ellipse(texture, (128, 182), (26, 9), 0, 0, 360, (110, 96, 176), -1)
    return texture
