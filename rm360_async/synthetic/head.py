"""Draw the synthetic head as the cameras of the rig see it.

Theory of operation: everything is quads and small polygons in head axes, drawn from far to near
(a painter's sort) without the ones that face away, so parts hide each other as on a real head: no face from
behind, a nose in the profile. This is done once per camera; only the mouth changes with time and is drawn onto a
copy. The canvas starts black and no drawn colour is black, so the mask is every pixel that is not black.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.calibration.landmarks import project_with_distortion
from rm360_async.domain.cameras.rig import RESOLUTION, Array, RigCamera, project, scale_intrinsics
from rm360_async.synthetic import shape
from rm360_async.synthetic.appearance import Appearance, Colour

Image = NDArray[np.uint8]

_LIGHT = np.array([0.3, 0.75, 0.55])
_SUBPIXEL_BITS = 4
"""Of the fixed-point coordinates for OpenCV's drawing functions."""


@dataclass(frozen=True)
class FacePatch:
    """A flat feature: its rim (n, 3) in head axes (m), its colour, and its lift in the painter's sort (m)."""

    rim: Array
    colour: Colour
    lift: float


@dataclass(frozen=True)
class CameraView:
    """The image of one camera without a mouth: BGR and mask, and what is needed to draw the mouth."""

    image: Image
    mask: Image
    camera: RigCamera
    K: Array
    appearance: Appearance


def image_size(scale: float) -> tuple[int, int]:
    """Return height and width in pixels at a scale."""
    return round(RESOLUTION[0] * scale), round(RESOLUTION[1] * scale)


def draw_view(
    camera: RigCamera, appearance: Appearance, scale: float, noise: NDArray[np.int16] | None = None
) -> CameraView:
    """Return the camera's image at a scale; `noise` (height, width, 3) is added to it like sensor noise."""
    factor = 2.0 if scale <= 0.25 else 1.0 if scale <= 0.5 else 0.5
    K = scale_intrinsics(camera.K, scale)
    height, width = image_size(scale)
    canvas = _paint(
        camera, scale_intrinsics(K, factor), appearance, (round(height * factor), round(width * factor)), scale
    )
    mask = cv2.inRange(canvas, (1, 1, 1), (255, 255, 255))
    canvas = np.asarray(cv2.copyTo(canvas, mask, _backdrop(camera, canvas.shape)), np.uint8)
    if camera.D.any():
        lens = _lens_map(camera.D, scale_intrinsics(K, factor), (mask.shape[0], mask.shape[1]))
        canvas, mask = _through_lens(canvas, lens), _through_lens(np.asarray(mask, np.uint8), lens)
    interpolation = cv2.INTER_AREA if factor > 1 else cv2.INTER_LINEAR
    image = cv2.resize(canvas, (width, height), interpolation=interpolation)
    if noise is not None:
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    small_mask = cv2.threshold(
        cv2.resize(mask, (width, height), interpolation=interpolation), 127, 255, cv2.THRESH_BINARY
    )[1]
    return CameraView(np.asarray(image, np.uint8), np.asarray(small_mask, np.uint8), camera, K, appearance)


def draw_frame(view: CameraView, opening: float) -> Image:
    """Return a copy of the view (height, width, 3) with the mouth open by 0 to 1, if the camera sees a mouth."""
    image: Image = np.array(view.image)
    outer = shape.mouth_outline(opening, view.appearance.smile, inner=False)
    if not _faces_camera(outer, view.camera):
        return image
    inner = shape.mouth_outline(opening, view.appearance.smile, inner=True)
    blue, green, red = view.appearance.skin
    _fill(image, outer, view, (blue * 0.62, green * 0.52, red * 0.84))
    _fill(image, inner, view, (26, 18, 46))
    if opening > 0.3:
        teeth = inner.copy()
        teeth[:, 1] = np.maximum(teeth[:, 1], shape.MOUTH_Y - 0.006)
        _fill(image, teeth, view, (222, 228, 232))
    return np.asarray(cv2.copyTo(image, view.mask, view.image.copy()), np.uint8)


def _fill(image: Image, rim: Array, view: CameraView, colour: Colour) -> None:
    """Fill the outline of points (n, 3) in head axes."""
    points = project_with_distortion(shape.to_world(rim), view.K, view.camera.D, view.camera.RT)
    pixels = _fixed_point(points)
    cv2.fillPoly(image, [pixels], colour, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)


def _lens_map(D: Array, K: Array, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return which pixel (height, width, 2) x y of a picture without a lens each pixel of one with a lens shows."""
    x, y = np.meshgrid(np.arange(size[1], dtype=np.float64), np.arange(size[0], dtype=np.float64))
    pixels = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
    until = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 40, 1e-10)
    straight = cv2.undistortPoints(pixels, K, D, P=K, criteria=until)
    return np.asarray(straight.reshape(*size, 2), np.float32)


def _through_lens(picture: Image, lens: NDArray[np.float32]) -> Image:
    warped = cv2.remap(picture, lens, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(warped, np.uint8)


def _fixed_point(pixels: Array) -> NDArray[np.int32]:
    return np.asarray(np.rint(pixels * (1 << _SUBPIXEL_BITS)), np.int32)


def _faces_camera(rim: Array, camera: RigCamera) -> bool:
    """Return True if a feature on the face is turned to the camera enough to be visible."""
    toward = (camera.centre - shape.to_world(rim.mean(axis=0))) @ shape.head_rotation()
    outward = np.array([rim[:, 0].mean() * 9.0, 0.0, 1.0])
    cosine = toward @ outward / np.linalg.norm(toward) / np.linalg.norm(outward)
    return bool(cosine > 0.12)


def _backdrop(camera: RigCamera, size: tuple[int, ...]) -> Image:
    """Return the background behind the head (height, width, 3), lighter at the top."""
    top = 96.0 + camera.elevation
    ramp = np.linspace(top, top - 46.0, size[0])[:, None, None] * np.array([1.04, 1.0, 0.97])
    return np.asarray(cv2.repeat(ramp.astype(np.uint8), 1, size[1]), np.uint8)


def _paint(camera: RigCamera, K: Array, appearance: Appearance, size: tuple[int, int], scale: float) -> Image:
    """Return the head on black (height, width, 3), smoothed inside its outline."""
    canvas = np.zeros((*size, 3), np.uint8)
    corners, colours = _quads(appearance, 56 if scale <= 0.25 else 128)
    patches = [patch for patch in _patches(appearance) if _faces_camera(patch.rim, camera)]
    eye = (camera.centre - shape.to_world((0, 0, 0))) @ shape.head_rotation()
    to_eye = eye - corners.mean(axis=1)
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    visible = np.flatnonzero((normals * to_eye).sum(axis=1) > 0)
    distance = np.linalg.norm(to_eye[visible], axis=1).tolist()
    patch_distance = [float(np.linalg.norm(eye - patch.rim.mean(axis=0))) - patch.lift for patch in patches]
    polygons = [*_fixed_point(project(shape.to_world(corners[visible]), K, camera.RT))]
    polygons += [_fixed_point(project(shape.to_world(patch.rim), K, camera.RT)) for patch in patches]
    fills = colours[visible].tolist() + [patch.colour for patch in patches]
    for index in np.argsort(np.array(distance + patch_distance))[::-1].tolist():
        cv2.fillConvexPoly(canvas, polygons[index], fills[index], cv2.LINE_8, _SUBPIXEL_BITS)
    return canvas


@lru_cache(maxsize=16)
def _quads(appearance: Appearance, columns: int) -> tuple[Array, Array]:
    """Return the corners (Q, 4, 3) of all quads in head axes and their shaded colours (Q, 3)."""
    rows = columns * 5 // 8
    skull = shape.head(columns, rows)
    cap = skull.corners[_above_hairline(skull.corners.mean(axis=1)) > 0]
    volume = 1.0 + appearance.hair_volume / 0.1 * np.clip(_above_hairline(cap) / 0.025, 0.05, 1.0)[..., None]
    parts: list[tuple[Array, Colour]] = [(skull.corners, appearance.skin), (cap * volume, appearance.hair)]
    neck = shape.ellipsoid((0, -0.16, -0.025), (0.054, 0.13, 0.056), columns // 2, rows // 2)
    body = shape.ellipsoid((0, -0.3, -0.03), (0.22, 0.14, 0.105), columns, rows // 2)
    dark = (appearance.skin[0] * 0.9, appearance.skin[1] * 0.86, appearance.skin[2] * 0.9)
    parts += [(neck.corners, dark), (body.corners, appearance.shirt)]
    for side in (-1, 1):
        ear = shape.ellipsoid((side * 0.081, -0.003, -0.012), (0.009, 0.032, 0.019), columns // 4, rows // 4)
        parts.append((ear.corners, dark))
    if appearance.lowest_hair < -0.08:
        middle = (0.06 + appearance.lowest_hair) / 2
        long_hair = shape.ellipsoid((0, middle, -0.035), (0.098, 0.06 - middle, 0.092), columns, rows)
        parts.append((long_hair.select(long_hair.corners.mean(axis=1)[:, 2] < -0.03).corners, appearance.hair))
    corners = np.concatenate([part for part, _ in parts])
    paint = np.concatenate([np.tile(np.array(colour), (len(part), 1)) for part, colour in parts])
    return corners, _shaded(corners, paint)


def _above_hairline(points: Array) -> Array:
    """Return how far points (..., 3) on the head are above the hairline at forehead, ears and nape (m)."""
    around = np.degrees(np.abs(np.arctan2(points[..., 0], points[..., 2])))
    hairline = np.interp(around, [0, 45, 75, 100, 125, 180], [0.074, 0.07, 0.03, 0.02, -0.06, -0.075])
    return np.asarray(points[..., 1] - hairline)


def _shaded(corners: Array, paint: Array) -> Array:
    """Return the colours (Q, 3) under a light from above and a grain that hair and cloth would have."""
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    length = np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    light = 0.62 + 0.38 * np.clip(normals @ (_LIGHT / np.linalg.norm(_LIGHT)) / length, -0.4, 1.0)
    grain = np.random.default_rng(1).normal(1.0, 0.05, len(paint))
    grain = np.where(paint.mean(axis=1) < 130, grain, 1.0)
    return np.asarray(np.clip(paint * (light * grain)[:, None], 4, 255))


@lru_cache(maxsize=16)
def _patches(appearance: Appearance) -> tuple[FacePatch, ...]:
    """Return the patches of eyes, brows and nostrils."""
    angle = np.linspace(0.0, 2.0 * np.pi, 20, endpoint=False)
    brow_x, brow_bend = np.linspace(0.012, 0.05, 8), 0.006 * np.sin(np.linspace(0.3, 2.6, 8))
    lower = 0.036 + appearance.brow_lift + brow_bend
    patches: list[FacePatch] = []

    def oval(x: float, y: float, wide: float, high: float, colour: Colour, lift: float) -> None:
        patches.append(FacePatch(shape.on_face(x + wide * np.cos(angle), y + high * np.sin(angle)), colour, lift))

    for side in (-1.0, 1.0):
        x = side * shape.EYE_X
        oval(x, shape.EYE_Y, 0.0155, 0.0078, (60, 58, 78), 0.010)
        oval(x, shape.EYE_Y, 0.0145, 0.0068, (226, 230, 232), 0.012)
        oval(x, shape.EYE_Y, 0.0062, 0.0062, (70, 62, 46), 0.014)
        oval(x, shape.EYE_Y, 0.0030, 0.0030, (14, 12, 12), 0.016)
        oval(x + 0.002, shape.EYE_Y + 0.002, 0.0012, 0.0012, (250, 250, 250), 0.018)
        rim = shape.on_face(side * np.append(brow_x, brow_x[::-1]), np.append(lower, lower[::-1] + 0.007))
        patches.append(FacePatch(rim, (appearance.hair[0] + 6, appearance.hair[1] + 6, appearance.hair[2] + 6), 0.012))
        oval(side * 0.0065, -0.032, 0.0035, 0.002, (40, 40, 80), 0.006)
    return tuple(patches)
