"""Canonical cameras: where blobs at known places in the world lie in canonical pictures, through every lens."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rm360_async.domain.cameras.calibration.lens import fold_radius
from rm360_async.domain.cameras.rig import Array, head_centre, project, rig
from rm360_async.domain.errors import BadRequest
from rm360_async.export.canonical import CanonicalCamera, canonical_cameras, choose_reduction, turn_towards
from rm360_async.export.canonical_picture import CanonicalRemap, composite, make_remap
from rm360_async.export.registration import register

NO_LENS = np.zeros(5)
MILD = np.array([-0.05, 0.3, 1e-3, -5e-4, -1.0])
WILD = np.array([0.1, -9.0, 2e-3, 1e-3, 300.0])
"""As in the official example: large coefficients that nearly cancel at the head."""
FOLDING = np.array([0.0, 0.0, 0.0, 0.0, -2000.0])
"""Folds back inside the picture: what lies farther from the axis is seen in the wrong place."""
REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}


@dataclass(frozen=True)
class Source:
    K: Array
    D: Array
    RT: Array
    width: int = 2448
    height: int = 2048


def sources(D: Array) -> dict[str, Source]:
    return {key: Source(camera.K, D, camera.RT) for key, camera in rig().items()}


def blobs() -> Array:
    """Return points (n, 3) in the world, some centimetres apart around the head's middle."""
    axis = np.array([-0.09, -0.03, 0.03, 0.09])
    return np.asarray(head_centre() + np.stack(np.meshgrid(axis, axis, [0.0]), axis=-1).reshape(-1, 3))


def draw(source: Source, sigma: float = 9.0) -> bytes:
    """Return a full JPEG with a bright Gaussian blob at the projection of each point, by OpenCV's lens."""
    world_to_camera = np.linalg.inv(source.RT)
    rotation = cv2.Rodrigues(world_to_camera[:3, :3])[0]
    pixels = cv2.projectPoints(blobs(), rotation, world_to_camera[:3, 3], source.K, source.D)[0][:, 0]
    picture = np.full((source.height, source.width), 40.0)
    for x, y in pixels:
        left, top = int(x) - 50, int(y) - 50
        rows, columns = np.mgrid[top : top + 101, left : left + 101]
        picture[top : top + 101, left : left + 101] += 180 * np.exp(
            -((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)
        )
    grey = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", cv2.merge([grey] * 3), [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def canonical_picture(source: Source, canonical: CanonicalCamera) -> tuple[CanonicalRemap, NDArray[np.uint8]]:
    remap = make_remap(source, canonical)
    data = np.frombuffer(draw(source), np.uint8)
    decoded = cv2.imdecode(data, REDUCED[remap.reduce])
    assert decoded is not None
    return remap, remap.warp_picture(np.asarray(decoded, np.uint8))


def blob_errors(picture: NDArray[np.uint8], canonical: CanonicalCamera) -> Array:
    """Return the distances (n,) in pixels from each blob's centroid to where the canonical camera has it."""
    expected = project(blobs(), canonical.K, canonical.RT)
    half = round(4.5 * 9.0 * canonical.focal / 4715)
    errors = []
    for x, y in expected:
        left, top = round(x) - half, round(y) - half
        patch = picture[top : top + 2 * half + 1, left : left + 2 * half + 1, 0].astype(float) - 44
        patch = np.clip(patch, 0, None)
        rows, columns = np.mgrid[top : top + 2 * half + 1, left : left + 2 * half + 1]
        centroid = np.array([(columns * patch).sum(), (rows * patch).sum()]) / patch.sum()
        errors.append(np.linalg.norm(centroid - [x, y]))
    return np.array(errors)


@pytest.mark.parametrize("D", [NO_LENS, MILD, WILD], ids=["none", "mild", "wild"])
@pytest.mark.parametrize(("size", "reduce"), [(1024, 1), (512, 2), (256, 4)])
def test_blobs_lie_where_the_canonical_camera_has_them(D: Array, size: int, reduce: int) -> None:
    cameras = sources(D)
    canonical = canonical_cameras(cameras, size)
    for key in ("25", "02", "51", "56"):
        remap, picture = canonical_picture(cameras[key], canonical[key])
        assert remap.reduce == reduce
        errors = blob_errors(picture, canonical[key])
        assert np.median(errors) < 0.02 and errors.max() < 0.06, key


def test_half_a_pixel_in_the_reduced_picture_is_found_by_the_blobs() -> None:
    cameras = sources(NO_LENS)
    canonical = canonical_cameras(cameras)
    remap, _ = canonical_picture(cameras["25"], canonical["25"])
    shifted = replace(remap, picture=remap.picture + np.float32(0.25))  # as if K were divided by 2 alone
    decoded = cv2.imdecode(np.frombuffer(draw(cameras["25"]), np.uint8), REDUCED[remap.reduce])
    assert decoded is not None
    errors = blob_errors(shifted.warp_picture(np.asarray(decoded, np.uint8)), canonical["25"])
    assert np.median(errors) > 0.1


def test_the_ball_fits_the_nearest_camera_and_lies_in_the_middle() -> None:
    cameras = sources(NO_LENS)
    for radius in (0.15, 0.20, 0.28):
        canonical = canonical_cameras(cameras, 512, radius)
        assert len({camera.focal for camera in canonical.values()}) == 1
        outlines = []
        for camera in canonical.values():
            middle = project(head_centre(), camera.K, camera.RT)
            assert np.allclose(middle, 255.5, atol=1e-6)
            distance = float(np.linalg.norm(camera.RT[:3, 3] - head_centre()))
            outlines.append(camera.focal * np.tan(np.arcsin(radius / distance)))
        assert max(outlines) == pytest.approx(256.0)


def test_a_turned_camera_keeps_its_centre_and_turns_no_more_than_it_must() -> None:
    for camera in rig().values():
        turned = turn_towards(camera.RT, head_centre())
        assert np.allclose(turned[:3, 3], camera.RT[:3, 3])
        assert np.allclose(turned[:3, :3].T @ turned[:3, :3], np.eye(3)) and np.linalg.det(turned[:3, :3]) > 0
        offset = head_centre() - camera.centre
        angle = np.arccos(np.clip(camera.RT[:3, 2] @ offset / np.linalg.norm(offset), -1, 1))
        turn = np.arccos(np.clip((np.trace(turned[:3, :3].T @ camera.RT[:3, :3]) - 1) / 2, -1, 1))
        assert turn == pytest.approx(angle, abs=1e-4)


def test_the_decoder_keeps_the_resolution() -> None:
    assert [choose_reduction(4715, focal) for focal in (5000, 3000, 2357, 1200, 1100, 500, 100)] == [
        1,
        1,
        2,
        2,
        4,
        8,
        8,
    ]


def test_pixels_beyond_the_stored_picture_and_beyond_the_fold_are_transparent() -> None:
    cameras = sources(NO_LENS)
    wide = canonical_cameras(cameras, 256, 0.5)["25"]
    valid = make_remap(cameras["25"], wide).valid
    assert valid[128, 128] and not valid[0, 0] and not valid[255, 255]
    seen = project_back(wide, valid)
    assert seen.min() >= -0.51 and (seen.max(axis=0) <= np.array([2447.51, 2047.51])).all()
    folding = replace(cameras["25"], D=FOLDING)
    rays = rays_of(wide) @ (wide.RT[:3, :3].T @ folding.RT[:3, :3])
    radius = np.hypot(rays[..., 0], rays[..., 1]) / rays[..., 2]
    assert np.abs(radius[make_remap(folding, wide).valid].max() - fold_radius(FOLDING)) < 0.002
    assert radius[valid].max() > 1.2 * fold_radius(FOLDING)


def rays_of(canonical: CanonicalCamera) -> Array:
    rows, columns = np.mgrid[: canonical.size, : canonical.size]
    return np.asarray(np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(canonical.K).T)


def project_back(canonical: CanonicalCamera, where: NDArray[np.bool_]) -> Array:
    """Return the stored pixels (n, 2) that the chosen canonical pixels show, without a lens."""
    points = canonical.RT[:3, 3] + rays_of(canonical)[where] @ canonical.RT[:3, :3].T
    return project(points, rig()[canonical.id].K, rig()[canonical.id].RT)


def test_a_mask_becomes_the_share_of_each_pixel() -> None:
    cameras = sources(MILD)
    canonical = canonical_cameras(cameras)["25"]
    remap = make_remap(cameras["25"], canonical)
    mask = np.zeros((2048, 2448), np.uint8)
    mask[:, 1300:] = 255
    alpha = remap.warp_mask(mask)
    assert alpha[256, 0] == 0 and alpha[256, -1] == 255
    assert ((alpha[256] > 0) & (alpha[256] < 255)).sum() <= 2
    assert (remap.warp_mask(np.full_like(mask, 255))[remap.valid] == 255).all()


def test_a_picture_lies_over_its_background_by_its_alpha() -> None:
    picture = np.full((1, 3, 3), 200, np.uint8)
    over_white = composite(picture, np.array([[0, 128, 255]], np.uint8), 255)
    assert over_white[0, :, 0].tolist() == [255, 227, 200]


def test_a_camera_that_cannot_see_the_ball_is_refused() -> None:
    cameras = sources(NO_LENS)
    with pytest.raises(BadRequest, match="within the radius"):
        canonical_cameras(cameras, 512, 1.1)
    away = np.array(cameras["25"].RT)
    away[:3, 2] *= -1
    with pytest.raises(BadRequest, match="behind it"):
        canonical_cameras({**cameras, "25": replace(cameras["25"], RT=away)})


def test_registration_measures_hundredths_of_a_pixel() -> None:
    random = np.random.default_rng(3)
    scene = cv2.GaussianBlur(random.uniform(0, 255, (128, 128)).astype(np.float32), (0, 0), 2.0) * 4 - 380
    for x, y in ((0.0, 0.0), (0.13, 0.0), (0.0, -0.5), (0.7, 0.4)):
        move = np.array([[1, 0, x], [0, 1, y]], np.float64)
        moved = cv2.warpAffine(scene, move, (128, 128), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        noisy = 0.9 * moved + 7 + random.normal(0, 2, scene.shape)
        found = register(noisy.astype(np.float32), scene.astype(np.float32))
        assert found.shift == pytest.approx(np.hypot(x, y), abs=0.02)
        assert found.correlation > 0.95
    other = register(scene[::-1].astype(np.float32), scene.astype(np.float32))
    assert other.correlation < 0.5 and other.block_difference > 20


def test_even_pictures_have_no_shift() -> None:
    even = np.full((64, 64), 90, np.float32)
    found = register(even, even)
    assert (found.shift, found.correlation, found.block_difference) == (0.0, 1.0, 0.0)
