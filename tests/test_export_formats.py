"""Formats that keep the published cameras: nerfstudio and colmap, with and without a lens, and wrong ones refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from exported import EXPRESSION, export, publish, record_of
from numpy.typing import NDArray
from plyfile import PlyData

from rm360_async.dataset import open_performance
from rm360_async.domain.names import Performance
from rm360_async.export import colmap_model, place_files, undistort
from rm360_async.export.colmap_model import quaternion, read_model
from rm360_async.export.format import CheckFailed
from rm360_async.export.formats import colmap, get_format, nerfstudio
from rm360_async.export.options import ExportOptions
from rm360_async.export.publish import export_unit

STRONG_LENS = (-0.4, 3.0, 5e-3, -2.5e-3, -15.0)
BENT = replace(
    EXPRESSION,
    performance=Performance("0026", "e2"),
    cameras=("24", "25", "52"),
    frames=1,
    holes={},
    distortion=STRONG_LENS,
)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an output folder with 0026/e0, without lenses, and 0026/e2, with lenses; no test changes it."""
    return publish(tmp_path_factory.mktemp("formats"), EXPRESSION, BENT)


@pytest.mark.parametrize("name", ["e0", "e2"])
def test_nerfstudio_keeps_every_lens(subjects: Path, tmp_path: Path, name: str) -> None:
    assert export("nerfstudio", subjects / "0026" / name, "--output", tmp_path, "--frames", "0") == 0
    unit = tmp_path / "0026" / name / "frame_000000"
    document = json.loads((unit / "transforms.json").read_text())
    performance = open_performance(subjects / "0026" / name)
    for frame in document["frames"]:
        camera = performance.cameras[frame["camera"][-2:]]
        assert [frame[key] for key in ("k1", "k2", "p1", "p2", "k3")] == camera.D.tolist()
        assert frame["cx"] == camera.K[0, 2] + 0.5
        assert (unit / frame["file_path"]).is_file()
        assert (unit / frame["mask_path"]).is_file()
    assert not {"k1", "fl_x", "cx"} & set(document)
    assert record_of(unit)["figures"]["round_trip_px"] < 0.001
    vertices = PlyData.read(str(unit / "points3d.ply"))["vertex"]
    turned = np.stack([vertices[axis] for axis in "xyz"], axis=1)  # z is up: -y of the rig
    assert np.abs(turned.mean(axis=0) - [-0.04, 0.0, 0.5]).max() < 0.1
    assert len({tuple(colour) for colour in vertices[["red", "green", "blue"]].tolist()}) > 10


@pytest.mark.parametrize("mode", ["soft", "copy", "reference"])
def test_pictures_can_be_soft_links_copies_or_references(subjects: Path, tmp_path: Path, mode: str) -> None:
    assert export("nerfstudio", subjects / "0026" / "e0", "--output", tmp_path, "--images", mode) == 0
    unit = tmp_path / "0026" / "e0" / "frame_000000"
    source = subjects / "0026" / "e0" / "images" / "cam_25" / "frame_000000.jpg"
    document = json.loads((unit / "transforms.json").read_text())
    paths = {frame["camera"]: unit / frame["file_path"] for frame in document["frames"]}
    picture = paths["cam_25"]
    assert picture.read_bytes() == source.read_bytes()
    assert picture.is_symlink() == (mode == "soft")
    assert (picture == source) == (mode == "reference")
    assert export("nerfstudio", subjects / "0026" / "e0", "--output", tmp_path, "--images", mode) == 0


def test_colmap_links_pictures_where_there_is_no_lens(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--output", tmp_path, "--text", "--split", "hold:2", "--frames", "1")
    assert export("colmap", subjects / "0026" / "e0", *arguments) == 0
    assert "cam_26:1" in capsys.readouterr().out  # a hole
    unit = tmp_path / "0026" / "e0" / "frame_000001"
    source = subjects / "0026" / "e0" / "images" / "cam_25" / "frame_000001.jpg"
    assert (unit / "images" / "cam_25.jpg").samefile(source)
    model = read_model(unit / "sparse" / "0")
    assert sorted(model) == sorted(path.name for path in (unit / "images").iterdir())
    assert len(model) == 5
    text = (unit / "sparse" / "0" / "images.txt").read_text().splitlines()
    assert [line.split()[-1] for line in text[::2]] == list(model)
    assert not any(text[1::2])
    names = [(unit / f"{name}_list.txt").read_text().split() for name in ("train", "test", "val")]
    assert sorted(names[0] + names[1]) == sorted(model)
    assert names[1] == names[2]
    assert {"nx", "ny", "nz"} <= {each.name for each in PlyData.read(str(unit / "points3D.ply"))["vertex"].properties}


def test_colmap_undistorts_where_there_is_a_lens(subjects: Path, tmp_path: Path) -> None:
    assert export("colmap", subjects / "0026" / "e2", "--output", tmp_path) == 0
    unit = tmp_path / "0026" / "e2" / "frame_000000"
    figures = record_of(unit)["figures"]
    assert figures["undistorted_views"] == 3
    assert figures["picture_shift_px"] < 0.05
    assert record_of(unit)["links"] == 0
    written = cv2.imread(str(unit / "images" / "cam_25.jpg"))
    stored = cv2.imread(str(subjects / "0026" / "e2" / "images" / "cam_25" / "frame_000000.jpg"))
    assert written is not None
    assert stored is not None
    assert written.shape == stored.shape
    assert np.abs(written.astype(int) - stored).max() > 10  # the head's outline has moved
    assert (unit / "masks" / "cam_25.png").is_file()


def test_quaternions_of_all_kinds_of_rotations_come_back() -> None:
    random = np.random.default_rng(1)
    for vector in [*random.normal(size=(200, 3)) * 2, [np.pi, 0, 0], [0, np.pi, 0], [0, 0, np.pi], [0, 0, 0]]:
        rotation = np.asarray(cv2.Rodrigues(np.array(vector, np.float64))[0], np.float64)
        w, x, y, z = quaternion(rotation)
        assert w >= 0
        assert np.abs(colmap_model._rotation(w, x, y, z) - rotation).max() < 1e-9


Fault = Callable[[pytest.MonkeyPatch], None]


def _without_axes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(nerfstudio, "OPENGL_AXES", np.eye(4))


def _without_half_pixel(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(colmap_model, "_PIXEL_CENTRE", 0.0)
    patch.setattr(colmap_model.ReadView, "pixels", _pixels_with_half)


def _pixels_with_half(view: colmap_model.ReadView, points: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = (points @ view.rotation.T + view.translation).T
    fx, fy, cx, cy = view.params
    return np.stack([fx * x / z + cx - 0.5, fy * y / z + cy - 0.5], axis=1)


def _with_world_to_camera(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(colmap_model, "world_to_camera", lambda RT: RT)


def _with_shuffled_pictures(patch: pytest.MonkeyPatch) -> None:
    def other_camera(source: Path, target: Path, mode: str) -> str:
        swapped = {"cam_25": "cam_26", "cam_26": "cam_25"}
        parts = [swapped.get(part, part) for part in source.parts]
        return place_files.place_file(Path(*parts), target, mode)

    for module in (nerfstudio, colmap):
        patch.setattr(module, "place_file", other_camera)


def _with_shifted_pictures(patch: pytest.MonkeyPatch) -> None:
    original = undistort.UndistortMap.warp

    def half_a_pixel_off(self: undistort.UndistortMap, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        shifted = replace(self, x=self.x + np.float32(0.5))
        return original(shifted, picture)

    patch.setattr(undistort.UndistortMap, "warp", half_a_pixel_off)


def _without_lens(patch: pytest.MonkeyPatch) -> None:
    original = nerfstudio.frame_entry
    patch.setattr(nerfstudio, "frame_entry", lambda camera: {**original(camera), "k3": 0.0})


@pytest.mark.parametrize(
    ("format_name", "performance", "fault"),
    [
        ("nerfstudio", "e0", _without_axes),
        ("nerfstudio", "e0", _with_shuffled_pictures),
        ("nerfstudio", "e2", _without_lens),
        ("colmap", "e0", _without_half_pixel),
        ("colmap", "e0", _with_world_to_camera),
        ("colmap", "e0", _with_shuffled_pictures),
        ("colmap", "e2", _with_shifted_pictures),
    ],
)
def test_a_wrong_export_is_not_published(
    subjects: Path, tmp_path: Path, format_name: str, performance: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    fmt = get_format(format_name)
    (unit,) = fmt.units(open_performance(subjects / "0026" / performance), ExportOptions())
    with pytest.raises(CheckFailed):
        export_unit(unit, fmt, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
