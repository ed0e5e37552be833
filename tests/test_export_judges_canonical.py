"""Exports with canonical cameras prove themselves: right ones pass, and each kind of wrong one is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from exported import export, record_of
from exported import publish as publish_all
from numpy.typing import NDArray

from rm360_async.cli.main import main
from rm360_async.dataset import open_performance
from rm360_async.domain.names import Modality, Performance
from rm360_async.export.colmap_model import ColmapView, read_model, write_model
from rm360_async.export.format import CheckFailed, Format, Unit
from rm360_async.export.formats import get_format
from rm360_async.export.options import ExportOptions
from rm360_async.export.point_cloud import PointCloud
from rm360_async.synthetic.spec import LENS_DISTORTION, SINGLE_RELEASE, SmcSpec

OPENGL_AXES = np.array(np.diag([1, -1, -1, 1]), np.float64)
SCALE, SIZE = 1 / 8, 256
CANONICAL = ("3dgs", "gaussianavatars", "nersemble")
CAMERAS = ("04", "25", "26", "52")
WITH_LENS = SmcSpec(
    Performance("0026", "e0"),
    frozenset(Modality) - {Modality.AUDIO},
    CAMERAS,
    frames=4,
    distinct_images=4,
    holes={"26": (1,)},
    scale=SCALE,
    distortion=tuple(8 * each for each in LENS_DISTORTION),  # type: ignore[arg-type]  # a generator has no length
)
WITHOUT = replace(WITH_LENS, performance=Performance("0027", "e1"), distortion=(0.0, 0.0, 0.0, 0.0, 0.0))
UNMASKED = SmcSpec(Performance("0018", "s1_all"), SINGLE_RELEASE - {Modality.AUDIO}, ("25",), frames=3, scale=SCALE)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_all(tmp_path_factory.mktemp("canonical"), WITH_LENS, WITHOUT, UNMASKED)


def unit_of(subjects: Path, fmt: Format, name: str = "0026/e0", **options: Any) -> Unit:
    chosen = ExportOptions(size=SIZE, **options)
    return next(iter(fmt.units(open_performance(subjects / name), chosen)))


def write(fmt: Format, unit: Unit, folder: Path) -> Path:
    folder.mkdir()
    fmt.write(unit, folder, unit.options)
    return folder


@pytest.fixture(scope="module")
def written(subjects: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give right exports of 0026/e0, which a test copies and spoils."""
    root = tmp_path_factory.mktemp("written")
    formats = [get_format(name) for name in CANONICAL]
    return {fmt.name: write(fmt, unit_of(subjects, fmt), root / fmt.name) for fmt in formats}


@pytest.mark.parametrize("background", [None, "black"])
@pytest.mark.parametrize("name", ["0026/e0", "0027/e1"])
@pytest.mark.parametrize("format_name", CANONICAL)
def test_a_right_export_passes(subjects: Path, tmp_path: Path, format_name: str, name: str, background: str) -> None:
    fmt = get_format(format_name)
    unit = unit_of(subjects, fmt, name, background=background)
    figures = fmt.check(write(fmt, unit, tmp_path / "out"), unit)
    assert figures["views_compared"] == {"gaussianavatars": 15, "nersemble": 12, "3dgs": 4}[format_name]
    assert float(figures["largest_shift_px"]) < 0.08


Change = Callable[[Path], None]


def edit_json(name: str, change: Callable[[dict[str, Any]], None]) -> Change:
    def apply(folder: Path) -> None:
        for path in sorted(folder.glob(name)):
            document = json.loads(path.read_text())
            change(document)
            path.write_text(json.dumps(document))

    return apply


def edit_frames(change: Callable[[dict[str, Any]], None]) -> Change:
    def change_all(document: dict[str, Any]) -> None:
        for frame in document["frames"]:
            change(frame)

    return edit_json("transforms_*.json", change_all)


def edit_pictures(pattern: str, change: Callable[[NDArray[np.uint8]], Any]) -> Change:
    def apply(folder: Path) -> None:
        for path in sorted(folder.glob(pattern)):
            picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert picture is not None
            cv2.imwrite(str(path), change(np.asarray(picture, np.uint8)))

    return apply


def swap(first: str, second: str) -> Change:
    def apply(folder: Path) -> None:
        (folder / first).rename(folder / "kept")
        (folder / second).rename(folder / first)
        (folder / "kept").rename(folder / second)

    return apply


def edit_fits(change: Callable[[dict[str, NDArray[Any]]], None]) -> Change:
    def apply(folder: Path) -> None:
        for path in sorted((folder / "flame_param").iterdir()):
            fit = dict(np.load(path))
            change(fit)
            np.savez(path, **fit)

    return apply


def moved(x: float, y: float) -> Callable[[NDArray[np.uint8]], Any]:
    def apply(picture: NDArray[np.uint8]) -> Any:
        move = np.array([[1.0, 0, x], [0, 1, y]])
        return cv2.warpAffine(picture, move, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)

    return apply


def inverted_matrix(frame: dict[str, Any]) -> None:
    frame["transform_matrix"] = np.linalg.inv(frame["transform_matrix"]).tolist()


def opencv_axes(frame: dict[str, Any]) -> None:
    frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ np.diag([1, -1, -1, 1])).tolist()


def wider(frame: dict[str, Any]) -> None:
    frame["camera_angle_x"] *= 1.01


def no_offset(fit: dict[str, NDArray[Any]]) -> None:
    fit["translation"] = np.zeros_like(fit["translation"])


WRONG_AVATARS: dict[str, Change] = {
    "axes": edit_frames(opencv_axes),
    "world to camera": edit_frames(inverted_matrix),
    "focal length": edit_frames(wider),
    "half a pixel in the picture": edit_pictures("images/*.png", moved(0.5, 0.5)),
    "principal point": edit_pictures("images/*.png", moved(4.0, 0.0)),
    "shuffled views": swap("images/cam_25_000000.png", "images/cam_52_000000.png"),
    "shuffled moments": swap("images/cam_25_000000.png", "images/cam_25_000001.png"),
    "distant moments": swap("images/cam_25_000000.png", "images/cam_25_000003.png"),
    "inverted mask": edit_pictures("fg_masks/*.png", lambda mask: 255 - mask),
    "mask of another camera": swap("fg_masks/cam_25_000000.png", "fg_masks/cam_52_000000.png"),
    "FLAME offset": edit_fits(no_offset),
    "fit of another moment": swap("flame_param/00000.npz", "flame_param/00001.npz"),
    "lost picture": lambda folder: (folder / "images/cam_04_000002.png").unlink(),
}


@pytest.mark.parametrize("wrong", WRONG_AVATARS)
def test_a_wrong_export_for_gaussianavatars_is_refused(
    subjects: Path, written: dict[str, Path], tmp_path: Path, wrong: str
) -> None:
    fmt = get_format("gaussianavatars")
    unit = unit_of(subjects, fmt)
    folder = Path(shutil.copytree(written["gaussianavatars"], tmp_path / "out"))
    WRONG_AVATARS[wrong](folder)
    with pytest.raises((CheckFailed, OSError)):
        fmt.check(folder, unit)


def edit_model(change: Callable[[ColmapView], ColmapView]) -> Change:
    def apply(folder: Path) -> None:
        model = folder / "sparse/0"
        views = []
        for name, view in read_model(model).items():
            RT = np.eye(4)
            RT[:3, :3], RT[:3, 3] = view.rotation.T, -view.rotation.T @ view.translation
            fx, fy, cx, cy = view.params
            K = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])
            views.append(change(ColmapView(int(name[4:6]) + 1, name, view.width, view.height, K, RT)))
        shutil.rmtree(model)
        nothing = np.zeros((1, 3))
        write_model(model, views, PointCloud(nothing, nothing, nothing.astype(np.uint8), "test"), text=False)

    return apply


def with_K(view: ColmapView, x: float, y: float) -> ColmapView:
    return replace(view, K=view.K + np.array([[0, 0, x], [0, 0, y], [0, 0, 0]]))


WRONG_SPLATTING: dict[str, Change] = {
    "axes": edit_model(lambda view: replace(view, RT=view.RT @ OPENGL_AXES)),
    "camera to world": edit_model(lambda view: replace(view, RT=np.asarray(np.linalg.inv(view.RT), np.float64))),
    "half a pixel in K": edit_model(lambda view: with_K(view, -0.5, -0.5)),
    "principal point": edit_model(lambda view: with_K(view, 20.0, 0.0)),
    "focal length": edit_model(lambda view: replace(view, K=view.K @ np.diag([1.01, 1.01, 1.0]))),
    "half a pixel in the picture": edit_pictures("images/*.png", moved(0.5, 0.5)),
    "shuffled views": swap("images/cam_25.png", "images/cam_52.png"),
    "inverted mask": edit_pictures(
        "images/*.png", lambda picture: np.dstack([picture[..., :3], 255 - picture[..., 3]])
    ),
    "no mask": edit_pictures("images/*.png", lambda picture: picture[..., :3]),
    "lost picture": lambda folder: (folder / "images/cam_04.png").unlink(),
}


@pytest.mark.parametrize("wrong", WRONG_SPLATTING)
def test_a_wrong_export_for_3dgs_is_refused(
    subjects: Path, written: dict[str, Path], tmp_path: Path, wrong: str
) -> None:
    fmt = get_format("3dgs")
    unit = unit_of(subjects, fmt)
    folder = Path(shutil.copytree(written["3dgs"], tmp_path / "out"))
    WRONG_SPLATTING[wrong](folder)
    with pytest.raises((CheckFailed, OSError)):
        fmt.check(folder, unit)


@pytest.mark.parametrize("wrong", ["axes", "world to camera"])
def test_a_wrong_split_for_3dgs_is_refused(subjects: Path, tmp_path: Path, wrong: str) -> None:
    fmt = get_format("3dgs")
    unit = unit_of(subjects, fmt, split="hold:1")
    folder = write(fmt, unit, tmp_path / "out")
    assert not (folder / "sparse").exists() and (folder / "points3d.ply").exists()
    train, test = (json.loads((folder / f"transforms_{name}.json").read_text())["frames"] for name in ("train", "test"))
    assert (len(train), len(test)) == (3, 1) and test[0]["file_path"] != "images/cam_25"
    fmt.check(folder, unit)
    WRONG_AVATARS[wrong](folder)
    with pytest.raises(CheckFailed):
        fmt.check(folder, unit)


def test_a_camera_without_the_moment_or_its_mask_is_left_out(subjects: Path, tmp_path: Path) -> None:
    masks = subjects / "0027/e1/masks/cam_52"
    kept = (masks / "frame_000001.png").read_bytes()
    (masks / "frame_000001.png").unlink()
    try:
        assert export("3dgs", subjects / "0027", "--output", tmp_path, "--size", SIZE, "--frames", 1) == 0
    finally:
        (masks / "frame_000001.png").write_bytes(kept)
    folder = tmp_path / "0027/e1/frame_000001"
    assert sorted(read_model(folder / "sparse/0")) == ["cam_04.png", "cam_25.png"]
    notes = " ".join(record_of(folder)["notes"])
    assert "cam_26:1" in notes and "without a mask were left out" in notes and "cam_52:1" in notes
    alpha = cv2.imread(str(folder / "images/cam_25.png"), cv2.IMREAD_UNCHANGED)
    assert alpha is not None and alpha.shape == (SIZE, SIZE, 4)


def camera_to_world(parameters: dict[str, Any]) -> None:
    parameters["world_2_cam"] = {
        camera: np.linalg.inv(matrix).tolist() for camera, matrix in parameters["world_2_cam"].items()
    }


def half_a_pixel(parameters: dict[str, Any]) -> None:
    parameters["intrinsics"][0][2] -= 0.5
    parameters["intrinsics"][1][2] -= 0.5


WRONG_NERSEMBLE: dict[str, Change] = {
    "camera to world": edit_json("camera_params.json", camera_to_world),
    "half a pixel in K": edit_json("camera_params.json", half_a_pixel),
    "half a pixel in the picture": edit_pictures("images/*.jpg", moved(0.5, 0.5)),
    "shuffled views": swap("images/cam_25_000000.jpg", "images/cam_52_000000.jpg"),
    "shuffled moments": swap("images/cam_25_000000.jpg", "images/cam_25_000002.jpg"),
    "inverted alpha map": edit_pictures("alpha_maps/*.jpg", lambda mask: 255 - mask),
    "lost picture": lambda folder: (folder / "images/cam_04_000002.jpg").unlink(),
}


@pytest.mark.parametrize("wrong", WRONG_NERSEMBLE)
def test_a_wrong_export_for_vhap_is_refused(
    subjects: Path, written: dict[str, Path], tmp_path: Path, wrong: str
) -> None:
    fmt = get_format("nersemble")
    unit = unit_of(subjects, fmt)
    folder = Path(shutil.copytree(written["nersemble"], tmp_path / "out"))
    WRONG_NERSEMBLE[wrong](folder)
    with pytest.raises((CheckFailed, OSError)):
        fmt.check(folder, unit)


@pytest.mark.parametrize("format_name", CANONICAL)
def test_pictures_made_without_the_lens_are_refused(
    subjects: Path, tmp_path: Path, format_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer gets cameras whose lens is gone; the check asks the published calibration."""
    fmt = get_format(format_name)
    unit = unit_of(subjects, fmt)
    blind = open_performance(subjects / "0026/e0")
    cameras = {key: replace(camera, D=np.zeros(5)) for key, camera in blind.cameras.items()}
    monkeypatch.setattr(type(blind), "cameras", cameras)
    folder = write(fmt, replace(unit, performance=blind), tmp_path / "out")
    monkeypatch.undo()
    with pytest.raises(CheckFailed):
        fmt.check(folder, unit)


def test_a_failed_check_publishes_nothing(
    subjects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published = subjects / "0026/e0/flame/all_frames.npz"
    stored = dict(np.load(published))
    for name in ("cam", "trans"):
        stored[name] = np.zeros_like(stored[name])
    np.savez(tmp_path / "changed.npz", **stored)
    kept = published.read_bytes()
    published.unlink()
    published.write_bytes((tmp_path / "changed.npz").read_bytes())
    try:
        assert export("gaussianavatars", subjects / "0026/e0", "--output", tmp_path / "out", "--size", 64) == 1
    finally:
        published.write_bytes(kept)
    assert "from the landmarks" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("option", ["--size full", "--radius 1.0"])
def test_what_no_canonical_camera_can_do_is_said(
    subjects: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("3dgs", subjects / "0026", "--output", tmp_path, *option.split()) == 1
    assert option.split()[0] in capsys.readouterr().err


def test_the_fits_are_those_of_the_reader(subjects: Path, tmp_path: Path) -> None:
    assert export("gaussianavatars", subjects / "0026", "--output", tmp_path, "--size", SIZE) == 0
    folder = tmp_path / "0026/e0"
    shapes = {
        "translation": (1, 3),
        "rotation": (1, 3),
        "neck_pose": (1, 3),
        "jaw_pose": (1, 3),
        "eyes_pose": (1, 6),
        "shape": (300,),
        "expr": (1, 100),
        "static_offset": (1, 5143, 3),
    }
    for path in (folder / "canonical_flame_param.npz", folder / "flame_param/00003.npz"):
        stored = dict(np.load(path))
        assert {name: value.shape for name, value in stored.items()} == shapes
        assert {value.dtype for value in stored.values()} == {np.dtype(np.float32)}
    train, val, test = (
        json.loads((folder / f"transforms_{name}.json").read_text()) for name in ("train", "val", "test")
    )
    assert train["timestep_indices"] == val["timestep_indices"] == [0, 1, 2] and test["timestep_indices"] == [3]
    assert {frame["camera_id"] for frame in val["frames"]} == {"25"}
    assert {frame["camera_id"] for frame in train["frames"]} == {"04", "26", "52"}
    assert {frame["camera_id"] for frame in test["frames"]} == set(CAMERAS)
    assert [frame["camera_index"] for frame in test["frames"]] == [0, 1, 2, 3]
    assert not any(frame["camera_id"] == "26" and frame["timestep_index"] == 1 for frame in train["frames"])
    record = record_of(folder)
    assert any("cam_26:1" in note for note in record["notes"]) and any("offset cam" in note for note in record["notes"])


def test_nersemble_has_one_camera_file_for_a_subject(subjects: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export("nersemble", subjects / "0026", "--output", out, "--size", SIZE) == 0
    parameters = json.loads((out / "0026/calibration/camera_params.json").read_text())
    assert parameters["intrinsics"][0][2] == parameters["intrinsics"][1][2] == SIZE / 2
    assert sorted(parameters["world_2_cam"]) == list(CAMERAS) and parameters["height"] == SIZE
    sequence = out / "0026/sequences/e0"
    moments = {path.name[7:13] for path in (sequence / "images").iterdir()}
    assert moments == {"000000", "000002", "000003"}  # camera 26 lacks moment 1
    assert any("moments that a camera lacks" in note for note in record_of(sequence)["notes"])


def test_a_lost_camera_file_of_the_subject_is_noticed_and_made_again(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["nersemble", subjects / "0018", "--output", tmp_path, "--size", 64, "--frames", 0]
    assert export(*arguments) == 0
    parameters = tmp_path / "0018/calibration/camera_params.json"
    kept = parameters.read_bytes()
    parameters.unlink()
    assert main(["verify", str(tmp_path)]) == 1
    assert "camera_params.json is lost or changed" in "".join(capsys.readouterr())
    assert export(*arguments) == 0 and parameters.read_bytes() == kept
    assert main(["verify", str(tmp_path)]) == 0


def test_a_single_camera_has_the_names_that_vhap_opens(subjects: Path, tmp_path: Path) -> None:
    assert export("nersemble", subjects / "0018", "--output", tmp_path, "--size", SIZE) == 0
    images = tmp_path / "0018/sequences/s1_all/images"
    assert (images / "000002.jpg").read_bytes() == (images / "cam_25_000002.jpg").read_bytes()
    assert not (images.parent / "alpha_maps").exists()


def test_performances_of_a_subject_agree_on_their_cameras(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = replace(WITHOUT, performance=Performance("0026", "e1"), cameras=("25", "52"), holes={})
    subjects = publish_all(tmp_path, replace(WITH_LENS, distortion=WITHOUT.distortion), other)
    out = tmp_path / "out"
    assert export("nersemble", subjects / "0026/e0", "--output", out, "--size", SIZE, "--frames", 0) == 0
    before = (out / "0026/calibration/camera_params.json").read_bytes()
    capsys.readouterr()
    assert export("nersemble", subjects / "0026/e1", "--output", out, "--size", SIZE, "--frames", 0) == 1
    assert "same --cameras" in capsys.readouterr().err
    assert not (out / "0026/sequences/e1").exists()
    assert (out / "0026/calibration/camera_params.json").read_bytes() == before
    same = ["--cameras", "25,52", "--size", SIZE, "--frames", 0]
    assert export("nersemble", subjects / "0026", "--output", tmp_path / "same", *same) == 0
    assert sorted(path.name for path in (tmp_path / "same/0026/sequences").iterdir()) == ["e0", "e1"]
