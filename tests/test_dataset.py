"""The door to published folders: `open_performance` and `open_dataset`, on published synthetic folders."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rm360_async import open_dataset, open_performance
from rm360_async.cli.main import main
from rm360_async.dataset import DamagedData, MissingData, PublishedPerformance
from rm360_async.dataset.flame import choose_offset
from rm360_async.dataset.npz_rows import NpzRows
from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import Modality, Performance
from rm360_async.extraction.arrays import write_npz
from rm360_async.synthetic import ground_truth
from rm360_async.synthetic.renderer import Renderer
from rm360_async.synthetic.smc_writer import write_pair, write_smc
from rm360_async.synthetic.spec import SmcSpec

SCALE = 1 / 8
CAMERAS = ("07", "24", "25", "26", "52")
EXPRESSION = SmcSpec(
    Performance("0026", "e0"),
    frozenset(Modality) - {Modality.AUDIO},
    CAMERAS,
    frames=10,
    holes={"25": (4, 5), "07": (9,)},
    scale=SCALE,
    broken={("24", 2): "no_end"},
)
SPEECH = SmcSpec(Performance("0018", "s3_all"), frames=6, fps=15.0, scale=SCALE, holes={"25": (3,)})


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an output folder with published 0026/e0 (all modalities, 5 cameras) and 0018/s3_all (15 fps, camera 25)."""
    root = tmp_path_factory.mktemp("door")
    renderer = Renderer(SCALE)
    pair = write_pair(root / "0026_e0_raw.smc", root / "0026_e0_anno.smc", EXPRESSION, renderer)
    one = write_smc(root / "0018_s3_all_raw.smc", SPEECH, renderer)
    for spec, arguments in ((EXPRESSION, [pair[0], "--anno", pair[1]]), (SPEECH, [one])):
        target = root / "subjects" / spec.performance.subject / spec.performance.name
        assert main(["extract", *map(str, arguments), "--output", str(target)]) == 0
    return root / "subjects"


@pytest.fixture
def expression(subjects: Path) -> PublishedPerformance:
    """Give 0026/e0, newly opened."""
    return open_performance(subjects / "0026" / "e0")


def test_names_rate_and_contents(subjects: Path, expression: PublishedPerformance) -> None:
    assert (expression.subject, expression.performance, expression.name) == ("0026", "e0", "0026/e0")
    assert expression.folder == subjects / "0026" / "e0"
    assert {"images", "masks", "flame", "scan"} <= set(expression.modalities)
    assert expression.info["actor_info"]["age"] == 27
    speech = open_performance(str(subjects / "0018" / "s3_all"))
    assert speech.fps == 15.0
    assert speech.time(3) == pytest.approx(0.2)
    assert speech.modalities == ("metadata", "calibration", "images", "audio")


def test_cameras_are_those_with_pictures_and_say_where_they_stand(expression: PublishedPerformance) -> None:
    assert tuple(expression.cameras) == CAMERAS
    assert len(expression.calibrated_cameras) == 60
    truth = ground_truth.calibration(EXPRESSION)
    for camera in expression.cameras.values():
        assert all(np.array_equal(getattr(camera, key), truth[camera.id][key]) for key in ("K", "D", "RT"))
        assert (camera.width, camera.height) == (306, 256)
        assert camera.azimuth == pytest.approx(rig()[camera.id].azimuth)
        assert camera.tier == rig()[camera.id].tier
    assert abs(expression.cameras["25"].azimuth) < 15


@pytest.mark.parametrize("distortion", [(0, 0, 0, 0, 0), (-0.11, 1.9, 0.0017, -0.0009, -7.5)])
def test_projection_is_that_of_opencv_with_the_lens(
    expression: PublishedPerformance, distortion: tuple[float, ...]
) -> None:
    points = expression.keypoints3d(0)
    for camera in expression.cameras.values():
        bent = replace(camera, D=np.array(distortion, np.float64))
        pose = np.linalg.inv(camera.RT)
        expected = cv2.projectPoints(points, cv2.Rodrigues(pose[:3, :3])[0], pose[:3, 3], camera.K, bent.D)[0][:, 0]
        assert np.abs(bent.project(points) - expected).max() < 1e-4  # R is float32-born
    assert np.array_equal(expression.project(points, "25"), expression.cameras["25"].project(points))
    behind = expression.cameras["25"].centre - expression.cameras["25"].RT[:3, 2]
    assert np.isnan(expression.project(behind, "25")).all()


def test_landmarks_are_found_by_frame_number_and_fall_on_each_other(expression: PublishedPerformance) -> None:
    """Frames 4 of the 3D landmarks and 3 of camera 24 are missing, so positions and numbers differ after them."""
    truth3d, truth2d = ground_truth.keypoints3d(EXPRESSION), ground_truth.keypoints2d(EXPRESSION, "25")
    assert expression.keypoints3d_frames == tuple(truth3d)
    assert expression.keypoints2d_frames("25") == tuple(truth2d)
    for frame, points in truth3d.items():
        assert np.array_equal(expression.keypoints3d(frame), points)
    for frame, pixels in truth2d.items():
        assert np.array_equal(expression.keypoints2d("25", frame), pixels)
    with pytest.raises(MissingData, match=r"0026/e0 has no 3D landmarks of frame 4; it has 8, of frames 0 to 8"):
        expression.keypoints3d(4)
    with pytest.raises(KeyError, match=r"no 2D landmarks of camera 07"):
        expression.keypoints2d("07", 0)
    nearest = np.linalg.norm(expression.project(truth3d[8], 25)[:, None] - truth2d[8][None], axis=-1).min(axis=1)
    assert nearest.max() < 0.01


def test_frames_have_their_numbers_and_holes_are_told(expression: PublishedPerformance) -> None:
    assert expression.frames("25") == (0, 1, 2, 3, 6, 7, 8, 9)
    assert expression.holes("25") == (4, 5)
    assert expression.holes("24") == (2,)
    assert expression.holes(26) == ()
    assert expression.all_frames == tuple(range(10))
    with pytest.raises(MissingData, match=r"no image of camera 25, frame 4: its 8 frames are from 0 to 9, .* a hole"):
        expression.image("25", 4)
    with pytest.raises(MissingData, match=r"no images of camera 31 "):
        expression.image_path("31", 0)
    with pytest.raises(MissingData, match=r"not a camera id"):
        expression.frames("front")


@pytest.mark.parametrize("reduce", [1, 2, 4, 8])
def test_reduced_pictures_and_their_camera_agree(expression: PublishedPerformance, reduce: int) -> None:
    """Of pictures by the decoder, registered with the full one: a lost half pixel would be (n - 1) / 2n px."""
    camera, full = expression.cameras["25"], expression.image("25", 0)
    small, smaller = camera.reduced(reduce), expression.image("25", 0, reduce=reduce)
    assert smaller.shape == (small.height, small.width, 3)
    assert small.K[0, 0] == pytest.approx(camera.K[0, 0] / reduce)
    matrix = np.array([[reduce, 0, (reduce - 1) / 2], [0, reduce, (reduce - 1) / 2]])  # small pixel to full pixel
    full_blurred = cv2.blur(full, (reduce, reduce)) if reduce > 1 else full
    shift = 0.0 if reduce % 2 else 0.5  # a blur of even width moves by half a pixel
    matrix[:, 2] += shift
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    resampled = cv2.warpAffine(full_blurred, matrix, (small.width, small.height), flags=flags)
    moved, _ = cv2.phaseCorrelate(_grey(smaller), _grey(resampled), cv2.createHanningWindow(smaller.shape[1::-1], 5))
    assert np.abs(moved).max() < 0.05
    points = expression.keypoints3d(0)
    assert np.allclose((camera.project(points) + 0.5) / reduce - 0.5, small.project(points))


def _grey(image: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(np.asarray(image, np.float32).mean(axis=2), np.float32)


def test_pictures_are_the_stored_bytes_and_rgb(expression: PublishedPerformance) -> None:
    data = expression.image_path("25", 6).read_bytes()
    assert expression.image_bytes("25", 6) == data
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.array_equal(expression.image("25", 6)[..., ::-1], decoded)
    mask = expression.mask("25", 6)
    assert mask.shape == (256, 306)
    assert mask[128, 153] == 255
    assert mask[2, 2] == 0
    assert expression.mask("25", 6, reduce=4).shape == (64, 77)
    with pytest.raises(ValueError, match=r"reduce=3"):
        expression.image("25", 6, reduce=3)


def test_sound_flame_and_scan(subjects: Path, expression: PublishedPerformance) -> None:
    track = open_performance(subjects / "0018" / "s3_all").audio
    assert track.rate == 48000
    assert track.samples.shape == (19200, 2)
    assert track.samples.dtype == np.float32
    assert track.seconds == pytest.approx(0.4)
    assert track.mono.shape == (19200,)
    with pytest.raises(MissingData, match=r"0026/e0 has no audio"):
        _ = expression.audio
    assert expression.flame_frames == tuple(range(10))
    truth = ground_truth.flame(EXPRESSION, 7)
    fit = expression.flame(7)
    assert set(fit.parameters) == set(truth)
    assert all(np.array_equal(fit[name], values) for name, values in truth.items())
    assert (fit.choice.name, fit.choice.reference) == ("cam", "landmarks")
    assert fit.choice.distances["cam"] < 0.12 < fit.choice.distances["none"]
    assert "offset cam, by the landmarks" in str(fit.choice)
    assert len(expression.scan.faces) == len(ground_truth.scan()[1])


@pytest.mark.parametrize("name", ["none", "cam", "trans"])
@pytest.mark.parametrize("reference", ["landmarks", "cameras"])
def test_the_flame_offset_is_the_one_that_reaches_the_head(name: str, reference: str) -> None:
    head = np.array([-0.04, -0.5, 0.0])
    offsets = {"none": np.zeros(3), "cam": np.array([0.0, -0.27, 0.02]), "trans": np.array([0.3, 0.1, -0.1])}
    vertices = np.random.default_rng(0).normal(0, 0.1, (5023, 3))
    vertices += head + np.array([0.0, 0.02, 0.03]) - offsets[name] - vertices.mean(axis=0)
    stored = {"verts": vertices, "cam": np.array([8.0, *offsets["cam"]]), "trans": offsets["trans"]}
    has_landmarks = reference == "landmarks"
    choice = choose_offset((3, 5, 6), lambda frame: stored, lambda frame: head if has_landmarks else None, head)
    assert (choice.name, choice.reference) == (name, reference)
    assert choice.distances[name] == pytest.approx(0.036, abs=0.001)


def test_it_can_be_pickled(expression: PublishedPerformance) -> None:
    frame = expression.image("25", 6, reduce=8)
    copy = pickle.loads(pickle.dumps(expression))
    assert len(pickle.dumps(expression)) < 20_000  # no lists of frames, no cameras
    assert np.array_equal(copy.image("25", 6, reduce=8), frame)
    assert pickle.loads(pickle.dumps(expression.cameras["25"])).id == "25"
    assert pickle.loads(pickle.dumps(expression.flame(3))).choice == expression.flame_offset


def test_threads_and_forked_processes_read_the_same(expression: PublishedPerformance) -> None:
    """The parent has used OpenCV's threads, and a thread reads while the fork happens."""
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 3)
    frames = expression.frames("26")
    expected = [int(expression.image("26", frame).sum()) for frame in frames]
    stop = threading.Event()

    def read_on() -> None:
        while not stop.is_set():
            expression.keypoints3d(0), expression.image("26", 0, reduce=8)

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        with multiprocessing.get_context("fork").Pool(3) as pool:
            in_children = pool.map_async(_sum_of, [(expression, frame) for frame in frames]).get(60)
    finally:
        stop.set()
        reader.join()
    assert in_children == expected
    fresh = open_performance(expression.folder)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda frame: int(fresh.image("26", frame).sum()), frames)) == expected


def _sum_of(task: tuple[PublishedPerformance, int]) -> int:
    performance, frame = task
    return int(performance.image("26", frame).sum())


def test_no_file_stays_open(expression: PublishedPerformance) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    expression.image("25", 0), expression.flame(0), expression.keypoints2d("25", 0), expression.scan
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_rows_of_large_arrays_are_read_alone(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "frames": np.arange(5),
        "albedos": np.arange(60, dtype=np.float32).reshape(5, 3, 4),
    }
    with (tmp_path / "a.npz").open("wb") as file:
        write_npz(file, arrays)
    rows = NpzRows(tmp_path / "a.npz")
    assert rows.names == ("frames", "albedos")
    assert all(np.array_equal(rows.row("albedos", index), arrays["albedos"][index]) for index in range(5))
    assert np.array_equal(rows.array("albedos"), arrays["albedos"])
    with pytest.raises(DamagedData, match=r"no row 5"):
        rows.row("albedos", 5)
    os.truncate(tmp_path / "a.npz", 100)
    with pytest.raises(DamagedData, match=r"a\.npz cannot be read"):
        rows.array("albedos")
    np.savez_compressed(tmp_path / "b.npz", x=np.zeros(3))
    with pytest.raises(DamagedData, match=r"compressed"):
        NpzRows(tmp_path / "b.npz")


def test_damaged_and_missing_files_are_told(expression: PublishedPerformance, tmp_path: Path) -> None:
    assert main(["extract", str(_tiny_smc(tmp_path)), "--output", str(tmp_path / "e0"), "--modalities", "images"]) == 0
    performance = open_performance(tmp_path / "e0")
    with pytest.raises(MissingData, match=r"no calibration/cameras.json"):
        _ = performance.cameras
    path = performance.image_path("25", 0)
    path.unlink()
    path.write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(DamagedData, match=r"cannot be decoded; `rm360 verify --deep`"):
        performance.image("25", 0)
    (tmp_path / "e0" / "calibration").mkdir()
    (tmp_path / "e0" / "calibration" / "cameras.json").write_text('{"cameras": {"25": {"K": 3}}}')
    with pytest.raises(DamagedData, match=r"cameras.json cannot be read"):
        _ = open_performance(tmp_path / "e0").cameras
    for bad in (tmp_path / "nothing", tmp_path):
        with pytest.raises(BadRequest, match=r"no such folder|not a published performance"):
            open_performance(bad)


def _tiny_smc(folder: Path) -> Path:
    return write_smc(folder / "0018_e1_raw.smc", SmcSpec(Performance("0018", "e1"), frames=1, scale=1 / 16))


def test_a_dataset_is_found_filtered_and_iterated(subjects: Path) -> None:
    dataset = open_dataset(subjects)
    assert dataset.names == ("0018/s3_all", "0026/e0")
    assert [performance.name for performance in dataset] == list(dataset.names)
    assert len(dataset) == 2
    assert dataset["0026/e0"].subject == dataset[1].subject == "0026"
    assert dataset.filter(subject="0018").names == ("0018/s3_all",)
    assert dataset.filter(performance=["e*"]).names == ("0026/e0",)
    assert dataset.filter(subject="0020-0030").names == ("0026/e0",)
    assert dataset.filter(performance="all -e*").names == ("0018/s3_all",)
    with pytest.raises(BadRequest, match="did you mean"):
        dataset.filter(subject="18")
    assert dataset.filter(modalities="audio").names == ("0018/s3_all",)
    assert dataset.filter(modalities=("images", "flame")).names == ("0026/e0",)
    assert len(dataset.filter(subject="0018", performance="e0")) == 0
    assert pickle.loads(pickle.dumps(dataset)).names == dataset.names
    assert open_dataset([subjects / "0026", subjects / "0026" / "e0"]).names == ("0026/e0",)
    for bad in (subjects / "0026" / "e0" / "images", subjects / "none"):
        with pytest.raises(BadRequest):
            open_dataset(bad)
    with pytest.raises(MissingData, match=r"0019/e0"):
        _ = dataset["0019/e0"]


def test_a_large_dataset_is_opened_without_listing_its_files(subjects: Path, tmp_path: Path) -> None:
    """500 subjects with 19 performances: only names and markers are looked at."""
    marker = (subjects / "0018" / "s3_all" / ".extraction_complete").read_bytes()
    for subject in range(50):
        for number in range(19):
            folder = tmp_path / f"{subject:04d}" / f"e{number}"
            (folder / "images").mkdir(parents=True)
            (folder / "images").chmod(0)  # listing it would fail
            (folder / ".extraction_complete").write_bytes(marker)
    try:
        dataset = open_dataset(tmp_path).filter(performance="e1*", modalities="images")
        assert len(dataset) == 50 * 10
        assert len(pickle.dumps(dataset)) < 200_000
    finally:
        for folder in tmp_path.glob("*/*/images"):
            folder.chmod(0o755)


def test_the_package_is_light_and_reading_needs_no_hdf5_and_no_decoder() -> None:
    code = """
import sys, rm360_async
assert not {"numpy", "cv2", "h5py"} & set(sys.modules)
rm360_async.open_performance, rm360_async.open_dataset
heavy = {"cv2", "h5py", "plyfile", "click", "pydantic", "rich", "anyio"} & set(sys.modules)
assert "numpy" in sys.modules and not heavy, heavy
try:
    rm360_async.nothing
except AttributeError as error:
    assert "nothing" in str(error)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_documentation_tells_shapes_units_and_frames() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "pydoc", "rm360_async.dataset"], check=True, capture_output=True, text=True
    ).stdout
    for phrase in ("(height, width, 3), **RGB**", "camera-to-world", "(73, 3)", "world metres", "centre of the first"):
        assert phrase in text, phrase


def test_the_package_documents_its_two_functions() -> None:
    text = subprocess.run([sys.executable, "-m", "pydoc", "rm360_async"], check=True, capture_output=True, text=True)
    assert "open_performance(folder:" in text.stdout
    assert "open_dataset(folder_or_folders:" in text.stdout


def test_info_and_marker_stay_as_they_are(expression: PublishedPerformance) -> None:
    stored = json.loads((expression.folder / "metadata" / "info.json").read_text())
    assert expression.info == stored
    assert expression.record is not None
    assert expression.record.cameras == stored["cameras"]
