"""Other people's programs read the exports: pycolmap projects with the models, PyAV plays the films."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import EXPRESSION, export, publish

from rm360_async.dataset import PublishedPerformance, open_performance
from rm360_async.domain.cameras.rig import Array
from rm360_async.domain.names import Performance
from rm360_async.export.colmap_model import ColmapView, write_model
from rm360_async.export.point_cloud import PointCloud
from rm360_async.export.written_view import read_picture
from rm360_async.synthetic import shape
from rm360_async.synthetic.spec import LENS_DISTORTION

pycolmap: Any = pytest.importorskip("pycolmap")

OPENGL_AXES = np.array(np.diag([1, -1, -1, 1]), np.float64)
BOTH = ("0026/e0", "0027/e0")
"""Without a lens, and with one."""


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with_lens = replace(EXPRESSION, performance=Performance("0027", "e0"), distortion=LENS_DISTORTION)
    return publish(tmp_path_factory.mktemp("judged"), EXPRESSION, with_lens)


def head() -> Array:
    """Return points (n, 3) on the head that is drawn, world metres."""
    return shape.to_world(shape.head_points(500))


def judged_pixels(model: Any, name: str, points: Array) -> Array:
    """Return where pycolmap sees points (n, 3) in an image of a model, pixel centres at +0.5; NaN behind the camera."""
    image = next(image for image in model.images.values() if image.name == name)
    pixels = [image.project_point(point) for point in points]
    return np.array([[np.nan, np.nan] if pixel is None else pixel for pixel in pixels])


def judged_error(model: Any, performance: PublishedPerformance) -> float:
    """Return the largest distance in px between pycolmap and the source, whose lens is taken out."""
    worst = 0.0
    for camera in performance.cameras.values():
        pinhole = replace(camera, D=np.zeros(5))
        errors = np.abs(judged_pixels(model, f"cam_{camera.id}.jpg", head()) - 0.5 - pinhole.project(head()))
        worst = max(worst, float(np.where(np.isfinite(errors), errors, np.inf).max()))
    return worst


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("text", [False, True])
def test_pycolmap_projects_as_the_source(subjects: Path, tmp_path: Path, name: str, text: bool) -> None:
    assert export("colmap", subjects / name, "--output", tmp_path, *(["--text"] if text else [])) == 0
    folder = tmp_path / name / "frame_000000/sparse/0"
    if text:
        for path in folder.glob("*.bin"):
            path.unlink()
    model = pycolmap.Reconstruction(str(folder))
    performance = open_performance(subjects / name)
    assert {image.name for image in model.images.values()} == {f"cam_{camera}.jpg" for camera in performance.cameras}
    assert judged_error(model, performance) < 1e-3
    assert len(model.points3D) > 500


@pytest.mark.parametrize("name", BOTH)
def test_pycolmap_finds_the_head_in_canonical_pictures(subjects: Path, tmp_path: Path, name: str) -> None:
    assert export("3dgs", subjects / name, "--output", tmp_path, "--size", 256) == 0
    folder = tmp_path / name / "frame_000000"
    model = pycolmap.Reconstruction(str(folder / "sparse/0"))
    assert {camera.model.name for camera in model.cameras.values()} == {"PINHOLE"}
    parameters = np.array([camera.params for camera in model.cameras.values()])
    assert (parameters[:, 2:] == 128).all() and len(np.unique(parameters[:, :2])) == 1
    for image in model.images.values():
        alpha = read_picture(folder / "images" / image.name)[1]
        assert alpha is not None
        assert covered(alpha, judged_pixels(model, image.name, head())) > 0.97
        centre = open_performance(subjects / name).cameras[image.name[4:6]].centre
        assert np.allclose(image.projection_center(), centre, atol=1e-9)


def covered(alpha: Any, pixels: Array) -> float:
    """Return the share of pixels (n, 2), centres at +0.5, that the alpha covers."""
    columns, rows = np.clip(np.floor(pixels).astype(int), 0, alpha.shape[0] - 1).T
    return float((alpha[rows, columns] > 0).mean())


Change = Callable[[ColmapView], ColmapView]
WRONG: dict[str, Change] = {
    "nothing": lambda view: view,
    "axes": lambda view: replace(view, RT=view.RT @ OPENGL_AXES),
    "camera to world": lambda view: replace(view, RT=np.asarray(np.linalg.inv(view.RT), np.float64)),
    "half a pixel in K": lambda view: replace(view, K=view.K - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])),
    "principal point": lambda view: replace(view, K=view.K + np.array([[0, 0, 5], [0, 0, 0], [0, 0, 0]])),
    "shuffled views": lambda view: view,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_pycolmap_tells_a_wrong_model_from_a_right_one(subjects: Path, tmp_path: Path, wrong: str) -> None:
    performance = open_performance(subjects / BOTH[0])
    views = [
        ColmapView(int(camera.id) + 1, f"cam_{camera.id}.jpg", camera.width, camera.height, camera.K, camera.RT)
        for camera in performance.cameras.values()
    ]
    changed = [WRONG[wrong](view) for view in views]
    if wrong == "shuffled views":
        changed = [replace(view, name=other.name) for view, other in zip(views, [*views[1:], views[0]], strict=True)]
    nothing = np.zeros((1, 3))
    write_model(tmp_path / "0", changed, PointCloud(nothing, nothing, nothing.astype(np.uint8), "test"), text=False)
    error = judged_error(pycolmap.Reconstruction(str(tmp_path / "0")), performance)
    assert (error < 1e-3) if wrong == "nothing" else (error > 0.4)
