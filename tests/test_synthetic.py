"""The synthetic remote against what the releases hold, read back with h5py and OpenCV."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from rm360_async.domain.cameras.calibration.landmarks import project_with_distortion
from rm360_async.domain.cameras.rig import S3_CAMERAS, project, rig
from rm360_async.domain.names import Modality, Performance, Structure, parse_remote_path
from rm360_async.synthetic import shape
from rm360_async.synthetic.appearance import appearance_of
from rm360_async.synthetic.encoded import BLOB_BREAKS, BlobBreak, add_label, break_blob, encode
from rm360_async.synthetic.head import draw_frame, draw_view
from rm360_async.synthetic.remote import demo_plan, make_remote
from rm360_async.synthetic.renderer import Renderer
from rm360_async.synthetic.smc_writer import label_text, write_pair, write_smc
from rm360_async.synthetic.spec import SmcSpec

SPEAKER = appearance_of(Performance("0018", "s1_all"))
EVERYTHING = frozenset(Modality)
SLOW_FIXTURES = {"demo"}


def blob(file: Any, name: str) -> bytes:
    data: bytes = np.asarray(file[name][()]).tobytes()
    return data


def decode(data: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def decoded(file: Any, name: str) -> Any:
    return decode(blob(file, name))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("remote")
    for structure in Structure:
        make_remote(root / structure.value, structure)
    return root


def skin_like(view: Any) -> float:
    """Return the share of the upper head's pixels that are nearer to skin than to hair."""
    top = view.image[: int(view.image.shape[0] * 0.62)][view.mask[: int(view.image.shape[0] * 0.62)] > 0].astype(float)
    chroma = top / np.maximum(top.mean(axis=1, keepdims=True), 1)
    skin, hair = (np.array(colour) / np.mean(colour) for colour in (view.appearance.skin, view.appearance.hair))
    return float((np.linalg.norm(chroma - skin, axis=1) < np.linalg.norm(chroma - hair, axis=1)).mean())


def test_the_face_is_seen_from_the_front_and_hair_from_behind() -> None:
    face, back = (skin_like(draw_view(rig()[camera], SPEAKER, 1 / 8)) for camera in ("25", "01"))
    assert face > 0.6
    assert back < 0.35


def test_the_nose_points_left_for_cameras_on_the_subjects_left() -> None:
    for camera, side in (("16", -1), ("37", 1)):
        view = draw_view(rig()[camera], SPEAKER, 1 / 8)
        ears = project(shape.to_world((0, -0.01, -0.01)), view.K, view.camera.RT)
        row = np.flatnonzero(view.mask[round(ears[1])])
        left, right = ears[0] - row.min(), row.max() - ears[0]
        nose_tip = project(shape.to_world(shape.on_face(0.0, -0.01)), view.K, view.camera.RT)
        assert np.sign(nose_tip[0] - ears[0]) == side
        assert (right > left) == (side > 0)


def test_the_mask_covers_the_head_and_nothing_else() -> None:
    for camera in ("25", "01", "13", "00", "41"):
        view = draw_view(rig()[camera], SPEAKER, 1 / 8)
        assert set(np.unique(view.mask)) == {0, 255}
        u, v = project(shape.to_world(shape.head_points(400)), view.K, view.camera.RT).round().astype(int).T
        assert (view.mask[v, u] > 0).mean() > 0.99
        grey = view.image[view.mask == 0].astype(int)
        assert (grey.max(axis=1) - grey.min(axis=1)).mean() < 12


def test_the_mouth_opens_where_the_camera_sees_it() -> None:
    for camera, seen in (("25", True), ("29", True), ("01", False), ("40", False)):
        view = draw_view(rig()[camera], SPEAKER, 1 / 8)
        shut, wide = draw_frame(view, 0.0), draw_frame(view, 1.0)
        rows, columns = np.nonzero((shut != wide).any(axis=2))
        assert bool(len(rows)) == seen
        if seen:
            mouth = project(shape.to_world(shape.on_face(0.0, shape.MOUTH_Y)), view.K, view.camera.RT)
            assert np.hypot(columns - mouth[0], rows - mouth[1]).max() < 25


def test_images_of_two_scales_show_the_same_head() -> None:
    small, large = (draw_view(rig()["25"], SPEAKER, scale) for scale in (1 / 8, 1 / 2))
    assert (small.image.shape, large.image.shape) == ((256, 306, 3), (1024, 1224, 3))
    shrunk = cv2.resize(large.mask, (306, 256), interpolation=cv2.INTER_AREA)
    assert (np.abs(shrunk.astype(int) - small.mask) > 128).mean() < 0.003


def test_full_size_frames_weigh_what_the_release_s_do() -> None:
    images, _ = Renderer(1.0).encode_frames(SPEAKER, "25", [0.0])
    assert 250_000 < len(images[0.0]) < 300_000
    assert decode(images[0.0]).shape == (2048, 2448, 3)


def test_wigs_and_subjects_look_different_and_a_subject_stays_itself() -> None:
    names = ("0026/h0", "0026/h1_3bn", "0026/h1_7bk", "0026/h1_2g", "0026/h1_4gld")
    appearances = {appearance_of(Performance(*name.split("/"))) for name in names}
    assert len(appearances) == len(names)
    assert len({each.skin for each in appearances}) == 1
    assert len({appearance_of(Performance(f"{subject:04d}", "s1_all")) for subject in range(30)}) > 10


def label_of(blob: bytes) -> str | None:
    """Return the text that `add_label` put into a JPEG (after its JFIF header) or PNG (after its IHDR chunk)."""
    if blob.startswith(b"\x89PNG"):
        length = int.from_bytes(blob[33:37], "big")
        return blob[49 : 41 + length].decode() if blob[37:49] == b"tEXtComment\0" else None
    position = 4 + int.from_bytes(blob[4:6], "big")
    length = int.from_bytes(blob[position + 2 : position + 4], "big")
    return blob[position + 4 : position + 2 + length].decode() if blob[position : position + 2] == b"\xff\xfe" else None


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_label_can_be_read_back_and_changes_no_pixel(suffix: str) -> None:
    plain = encode(draw_view(rig()["25"], SPEAKER, 1 / 8).image, suffix)
    marked = add_label(plain, "0018/s1_all 25 color 3")
    assert label_of(plain) is None
    assert label_of(marked) == "0018/s1_all 25 color 3"
    before, after = (decode(data) for data in (plain, marked))
    assert np.array_equal(before, after)


@pytest.mark.parametrize("how", BLOB_BREAKS)
def test_broken_blobs_are_broken_in_the_way_that_was_asked(how: BlobBreak) -> None:
    whole = encode(draw_view(rig()["25"], SPEAKER, 1 / 8).image, ".png" if how == "bad_crc" else ".jpg")
    bad = break_blob(whole, how)
    assert bad != whole
    lengths = {"no_end": len(whole) * 2 // 3, "empty": 0, "padded": len(whole) + 512}
    assert len(bad) == lengths.get(how, len(whole))
    assert bad.startswith(whole[:2]) == (how not in ("garbage", "empty"))
    assert bad.rstrip(b"\0").endswith(whole[-2:]) == (how in ("padded", "bad_crc"))


def test_an_unknown_break_or_camera_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not one of"):
        break_blob(b"", "eaten")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no camera 60"):
        SmcSpec(cameras=("60",))
    with pytest.raises(ValueError, match="scale"):
        write_smc(tmp_path / "b", SmcSpec(scale=0.25), Renderer(0.125))


def test_a_speech_file_is_what_the_500_subject_release_has(demo: Path) -> None:
    with h5py.File(demo / "single/0018/0018_s1_all_raw.smc") as file:
        assert sorted(file) == ["Calibration", "Camera"]
        assert (file.attrs["actor_id"], file.attrs["performance_part"]) == ("0018", "s1_all")
        assert {"capture_date", "age", "color", "gender", "height", "weight"} <= set(file.attrs)
        assert (file["Camera"].attrs["num_device"], file["Camera"].attrs["num_frame"]) == (60, 12)
        assert file["Camera"].attrs["resolution"].tolist() == [256, 306]
        assert (sorted(file["Camera"]), sorted(file["Camera/00"])) == (["00", "25"], ["audio"])
        audio = file["Camera/00/audio/audio"]
        assert (audio.shape, audio.dtype, file["Camera/00/audio/sample_rate"][()]) == ((19200, 2), np.float32, 48000)
        assert 0.05 < np.abs(audio[()]).max() < 1
        assert sorted(file["Calibration"]) == list(rig())
        assert {key: file[f"Calibration/07/{key}"].shape for key in ["K", "D", "RT"]} == {
            "K": (3, 3),
            "D": (5,),
            "RT": (4, 4),
        }
        assert file["Camera/25/color/11"].id.get_offset() is not None
        assert (file["Camera/25/color/0"].ndim, file["Camera/25/color/0"].dtype) == (1, np.uint8)


def test_s3_all_has_its_38_cameras_15_fps_and_one_hole(demo: Path) -> None:
    with h5py.File(demo / "single/0018/0018_s3_all_raw.smc") as file:
        counts = {camera: len(group["color"]) for camera, group in file["Camera"].items()}
        assert counts == dict.fromkeys(S3_CAMERAS, 6) | {"31": 5}
        assert sorted(file["Camera/31/color"]) == ["0", "1", "2", "3", "5"]
        assert file["Camera/00/audio/audio"].shape[0] / 48000 == pytest.approx(6 / 15)


def test_the_pair_layout_puts_images_and_audio_in_raw_and_the_rest_in_anno(demo: Path) -> None:
    top = demo / "separate_anno_raw"
    with (
        h5py.File(top / "raw/0026/0026_s1_all_raw.smc") as raw,
        h5py.File(top / "anno/0026/0026_s1_all_anno.smc") as anno,
    ):
        assert (sorted(raw), sorted(raw["Camera/25"]), sorted(raw["Camera/00"])) == (
            ["Camera"],
            ["color"],
            ["audio", "color"],
        )
        assert sorted(anno) == ["Calibration", "Camera", "Keypoints2d", "Keypoints3d"]
        assert sorted(anno["Camera/00"]) == ["mask"]
        assert raw.attrs["actor_id"] == anno.attrs["actor_id"] == "0026"
    with h5py.File(top / "anno/0026/0026_e0_anno.smc") as anno:
        assert {"FLAME", "UV_texture", "Scan", "ScanMask"} <= set(anno)


def test_keypoints_lie_on_the_face_in_the_image(demo: Path) -> None:
    with h5py.File(demo / "separate_anno_raw/anno/0026/0026_e0_anno.smc") as anno:
        cameras = list(anno["Keypoints2d"])
        assert 8 < len(cameras) < 15 and all(18 <= int(camera) <= 32 for camera in cameras)
        frames = {camera: set(anno[f"Keypoints2d/{camera}"]) for camera in cameras}
        assert min(map(len, frames.values())) < 3 and anno["Keypoints2d"].attrs["num_frame"] == 3
        for camera in cameras:
            mask = cv2.dilate(decoded(anno, f"Camera/{camera}/mask/0"), np.ones((3, 3)))
            for frame in frames[camera]:
                points = anno[f"Keypoints2d/{camera}/{frame}"][()]
                assert (points.shape, points.dtype) == ((106, 2), np.float64)
                u, v = points.round().astype(int).T
                assert (mask[v, u] > 0).mean() > 0.98
        world = anno["Keypoints3d/0"][()]
        K, RT = anno["Calibration/25/K"][()], anno["Calibration/25/RT"][()]
        seen = project(world, K, RT)
        flat = anno["Keypoints2d/25/0"][()]
        assert world.shape == (73, 3)
        assert np.linalg.norm(seen[:, None] - flat[None], axis=2).min(axis=1).max() < 1e-6


def test_flame_scan_and_textures_belong_to_the_head(demo: Path) -> None:
    with h5py.File(demo / "separate_anno_raw/anno/0026/0026_e0_anno.smc") as anno:
        shapes = {key: value.shape for key, value in anno["FLAME/2"].items()}
        assert shapes["verts"] == (5023, 3) and shapes["albedos"] == (3, 256, 256)
        assert (shapes["shape"], shapes["exp"], shapes["jaw_pose"]) == ((100,), (50,), (3,))
        assert {"cam", "tex", "lit", "trans", "global_pose", "neck_pose", "left_eye_pose", "right_eye_pose"} <= set(
            shapes
        )
        turned = cv2.Rodrigues(anno["FLAME/0/global_pose"][()])[0]
        assert turned[:, 2] @ [0, 0, -1] > 0.95 and turned[:, 1] @ [0, -1, 0] > 0.99
        assert not np.array_equal(anno["FLAME/0/exp"][()], anno["FLAME/1/exp"][()])
        vertices, triangles = anno["Scan/vertex"][()], anno["Scan/vertex_indices"][()]
        assert triangles.shape[1] == 3 and triangles.max() < len(vertices)
        fitted = anno["FLAME/0/verts"][()] + anno["FLAME/0/cam"][()][-3:]
        for points in (vertices, fitted):
            u, v = project(points, anno["Calibration/40/K"][()], anno["Calibration/40/RT"][()]).round().astype(int).T
            assert (decoded(anno, "ScanMask/40")[v, u] > 0).mean() > 0.98
        assert sorted(anno["ScanMask"]) == list(rig())
        assert decoded(anno, "UV_texture/1").shape == (256, 256, 3)
        assert decoded(anno, "Camera/25/mask/1").shape == (256, 306)


def test_every_stored_blob_is_distinct_and_says_what_it_is(tmp_path: Path) -> None:
    spec = SmcSpec(modalities=EVERYTHING, cameras=("24", "25", "01"), frames=5, distinct_images=2)
    with h5py.File(write_smc(tmp_path / "a.smc", spec)) as file:
        names = [(c, kind, f) for c in spec.cameras for kind in ("color", "mask") for f in range(5)]
        blobs = {name: blob(file, "Camera/{}/{}/{}".format(*name)) for name in names}
        assert {name: label_of(data) for name, data in blobs.items()} == {
            name: label_text(spec, *name) for name in names
        }
        blobs |= {("uv", "", f): blob(file, f"UV_texture/{f}") for f in range(5)}
        blobs |= {("scan", c, 0): blob(file, f"ScanMask/{c}") for c in spec.cameras}
    assert len(set(blobs.values())) == len(blobs) == 38


@pytest.mark.slow
def test_the_same_spec_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    spec = SmcSpec(frames=2, cameras=("25", "31"))
    code = (
        "import sys; from pathlib import Path; from rm360_async.synthetic.smc_writer import write_smc\n"
        "from rm360_async.synthetic.spec import SmcSpec\n"
        "write_smc(Path(sys.argv[1]), SmcSpec(frames=2, cameras=('25', '31')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b.smc")], check=True, cwd=Path(__file__).parents[1])
    assert write_smc(tmp_path / "a.smc", spec).read_bytes() == (tmp_path / "b.smc").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["chunked", "gzip", "compact", "contiguous"])
@pytest.mark.parametrize("column", [False, True])
def test_storage_varieties_hold_the_same_bytes(tmp_path: Path, storage: Any, column: bool) -> None:
    spec = SmcSpec(frames=2, storage=storage, column_blobs=column, broken={("25", 1): "empty"})
    with (
        h5py.File(write_smc(tmp_path / "a.smc", spec)) as file,
        h5py.File(write_smc(tmp_path / "b.smc", SmcSpec(frames=2))) as plain,
    ):
        stored = file["Camera/25/color/0"]
        assert stored[()].tobytes() == blob(plain, "Camera/25/color/0")
        assert stored.ndim == (2 if column else 1)
        assert (stored.chunks is not None) == (storage in ("chunked", "gzip"))
        assert stored.compression == ("gzip" if storage == "gzip" else None)
        assert (stored.id.get_offset() is None) == (storage != "contiguous")
        assert stored.id.get_create_plist().get_layout() == {"compact": 0, "contiguous": 1}.get(storage, 2)
        assert file["Camera/25/color/1"].size == 0


def test_the_order_of_writing_decides_where_blobs_lie(tmp_path: Path) -> None:
    orders: dict[str, list[str]] = {}
    for order in ("camera", "frame"):
        spec = SmcSpec(modalities=frozenset({Modality.IMAGES}), cameras=("24", "25"), frames=3, order=order)
        with h5py.File(write_smc(tmp_path / f"{order}.smc", spec)) as file:
            places = {(c, f): file[f"Camera/{c}/color/{f}"].id.get_offset() for c in ("24", "25") for f in range(3)}
        orders[order] = [f"{camera}/{frame}" for camera, frame in sorted(places, key=lambda key: places[key])]
    assert orders["camera"] == ["24/0", "24/1", "24/2", "25/0", "25/1", "25/2"]
    assert orders["frame"] == ["24/0", "25/0", "24/1", "25/1", "24/2", "25/2"]


@pytest.mark.parametrize("order", ["camera", "frame"])
def test_lies_holes_and_omissions_are_written_as_asked(tmp_path: Path, order: Any) -> None:
    spec = SmcSpec(
        order=order,
        cameras=("24", "25"),
        frames=3,
        camera_frames={"24": 5},
        holes={"25": (1,)},
        reported_cameras=7,
        reported_frames=999,
        bytes_attributes=True,
        omit=("Camera/00/audio/sample_rate", "@age", "Camera@num_device", "Keypoints2d", "Nothing@here"),
        swapped=(("24", "25"),),
    )
    with h5py.File(write_smc(tmp_path / "a.smc", spec)) as file:
        assert {camera: sorted(file[f"Camera/{camera}/color"]) for camera in spec.cameras} == {
            "24": list("01234"),
            "25": list("02"),
        }
        assert (file["Camera"].attrs["num_frame"], "num_device" in file["Camera"].attrs) == (999, False)
        assert (bytes(file.attrs["actor_id"]), "age" in file.attrs) == (b"0018", False)
        assert list(file["Camera/00/audio"]) == ["audio"]
        assert np.array_equal(file["Calibration/24/RT"][()], rig()["25"].RT)
        assert np.array_equal(file["Calibration/26/RT"][()], rig()["26"].RT)


def test_broken_frames_are_the_ones_that_were_named(tmp_path: Path) -> None:
    spec = SmcSpec(
        modalities=EVERYTHING,
        frames=4,
        broken={("25", 3): "no_end", ("25", 1): "zeros_tail"},
        broken_masks={("25", 2): "bad_crc"},
    )
    write_smc(tmp_path / "bad.smc", spec)
    write_smc(tmp_path / "good.smc", replace(spec, broken={}, broken_masks={}))
    with h5py.File(tmp_path / "bad.smc") as bad, h5py.File(tmp_path / "good.smc") as good:
        names = [f"Camera/25/{kind}/{frame}" for kind in ("color", "mask") for frame in range(4)]
        differ = [name for name in names if blob(bad, name) != blob(good, name)]
        assert differ == ["Camera/25/color/1", "Camera/25/color/3", "Camera/25/mask/2"]
        assert all(decoded(good, name) is not None for name in names)


def test_reused_images_make_big_files_without_drawing_each_frame(tmp_path: Path) -> None:
    spec = SmcSpec(modalities=frozenset({Modality.IMAGES}), frames=400, distinct_images=2)
    with h5py.File(write_smc(tmp_path / "a.smc", spec)) as file:
        frames = [blob(file, f"Camera/25/color/{frame}") for frame in range(400)]
    assert len(set(frames)) == 400
    assert len({decode(data).tobytes() for data in frames[:20]}) == 2


def test_the_demo_lies_where_the_catalog_looks_and_is_small(demo: Path) -> None:
    for structure in Structure:
        root = demo / structure.value
        entries = {parse_remote_path(structure, path.relative_to(root).as_posix()) for path in root.rglob("*.smc")}
        assert None not in entries
        assert {entry[0] for entry in entries if entry} == {spec.performance for spec in demo_plan(structure)}
    assert sum(path.stat().st_size for path in demo.rglob("*.smc")) < 60e6


def test_a_pair_can_be_written_anywhere(tmp_path: Path) -> None:
    raw, anno = write_pair(tmp_path / "r.smc", tmp_path / "a.smc", SmcSpec(modalities=EVERYTHING, frames=1))
    with h5py.File(raw) as one, h5py.File(anno) as other:
        assert "mask" not in one["Camera/25"] and "color" not in other["Camera/25"]


def test_the_plan_is_plain_data_that_can_be_changed() -> None:
    first = demo_plan(Structure.SINGLE)[0]
    longer = replace(first, frames=30, seed=5)
    assert (longer.frames, longer.performance) == (30, first.performance)
    assert json.dumps([longer.opening(frame) for frame in range(8)]) == "[0.0, 0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25]"


def test_everything_is_drawn_through_the_lens(tmp_path: Path) -> None:
    """Each camera has another lens; the landmarks lie on the mask, and the head moves where the lens says."""
    wild = (-3.0, 20.0, 0.03, -0.01, -75.0)
    spec = SmcSpec(Performance("0026", "e0"), frozenset(Modality), ("20", "25"), frames=1, scale=1 / 4, distortion=wild)
    with h5py.File(write_smc(tmp_path / "lens.smc", spec)) as file:
        assert file["Calibration/20/D"][()] == pytest.approx(np.array(wild) * (0.5 + 20 / 60))
        for camera in spec.cameras:
            mask = decoded(file, f"Camera/{camera}/mask/0") > 0
            points = file[f"Keypoints2d/{camera}/0"][()]
            u, v = points.round().astype(int).T
            assert mask[v, u].mean() > 0.95
            straight = draw_view(rig()[camera], SPEAKER, 1 / 4).mask > 0
            world = shape.to_world(shape.head_points(2000))
            K, D, RT = (file[f"Calibration/{camera}/{key}"][()] for key in ("K", "D", "RT"))
            through = project_with_distortion(world, K, D, RT).round().astype(int)
            without = project(world, K, RT).round().astype(int)
            assert mask[through[:, 1], through[:, 0]].mean() > 0.98
            assert (mask != straight).sum() > 100 and np.abs(through - without).max() >= 2
