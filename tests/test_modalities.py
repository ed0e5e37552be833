"""Each modality's files against what was stored, for whole, odd and damaged sources."""

from __future__ import annotations

import io
import json
import pickletools
import shutil
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from plyfile import PlyData
from tiny_smc import Tiny, png

from rm360_async.domain.names import Modality, Performance
from rm360_async.extraction import copier
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.extraction.copier import Copier
from rm360_async.extraction.metadata import collect_metadata, write_metadata
from rm360_async.extraction.modalities import audio
from rm360_async.extraction.modalities.audio import as_channels, wav_bytes
from rm360_async.extraction.modalities.mp3 import as_int16
from rm360_async.extraction.modalities.registry import EXTRACTORS
from rm360_async.smc import SmcPair, UnreadableData
from rm360_async.store.staging import StagingFolder

ALL = ("00", "25", "31")


class Run:
    """Run single modalities of one source into a staging folder."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / ".x.staging"
        self.progress: list[tuple[int, int]] = []

    def __call__(
        self, modality: Modality, raw: Path | None, anno: Path | None = None, cameras: tuple[str, ...] = ALL
    ) -> ModalityResult:
        with SmcPair(raw, anno) as source, StagingFolder(self.out) as folder:
            with Copier(folder, lambda files, size: self.progress.append((files, size))) as copier:
                result = EXTRACTORS[modality](ExtractionContext(source, folder, copier, frozenset(cameras)))
            assert result.files == folder.files
        return result

    def files(self) -> dict[str, bytes]:
        """Return every file that was written."""
        return {str(p.relative_to(self.out)): p.read_bytes() for p in sorted(self.out.rglob("*")) if p.is_file()}

    def npz(self, relative: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of an .npz, read without pickle."""
        with np.load(self.out / relative, allow_pickle=False) as arrays:
            return dict(arrays)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def reasons(result: ModalityResult) -> list[str]:
    return [str(item) for item in result.left_out]


@pytest.mark.parametrize("layout", ["contiguous", "gzip"])
@pytest.mark.parametrize("filler", [300, 100_000])
def test_images_are_the_stored_bytes(tmp_path: Path, run: Run, layout: str, filler: int) -> None:
    tiny = Tiny(frames=37, holes={"31": (5, 6)}, layout=layout, filler=filler)
    result = run(Modality.IMAGES, tiny.write(tmp_path / "a.smc"))
    assert run.files() == {
        f"images/cam_{camera}/frame_{frame:06d}.jpg": tiny.image(camera, frame)
        for camera in ("25", "31")
        for frame in tiny.frames_of(camera)
    }
    assert result.frames == {"25": tiny.frames_of("25"), "31": tiny.frames_of("31")}
    assert result.left_out == [] and run.progress[-1][0] == 72


def test_batches_are_bounded_in_bytes_too(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copier, "_MAX_BATCH_BYTES", 1000)
    tiny = Tiny(frames=20)
    assert run(Modality.IMAGES, tiny.write(tmp_path / "a.smc")).files == 40
    assert run.files()["images/cam_31/frame_000019.jpg"] == tiny.image("31", 19)
    assert len(run.progress) == 14


def test_only_chosen_cameras_are_written(tmp_path: Path, run: Run) -> None:
    result = run(Modality.IMAGES, Tiny().write(tmp_path / "a.smc"), cameras=("31", "40"))
    assert list(result.frames) == ["31"] and {name.split("/")[1] for name in run.files()} == {"cam_31"}


def test_the_suffix_follows_the_first_bytes(tmp_path: Path, run: Run) -> None:
    path = Tiny(frames=1, blobs_broken={("color", "31", 0): "webp"}).write(tmp_path / "a.smc")
    with h5py.File(path, "a") as file:
        del file["Camera/25/color/0"]
        file["Camera/25/color/0"] = np.frombuffer(png("x"), np.uint8)
    run(Modality.IMAGES, path)
    assert list(run.files()) == ["images/cam_25/frame_000000.png", "images/cam_31/frame_000000.bin"]


def test_broken_frames_are_left_out_and_named(tmp_path: Path, run: Run) -> None:
    kinds = ["no_end", "garbage", "empty", "zeros", "zeros_tail", "header_only"]
    tiny = Tiny(frames=8, blobs_broken={("color", "25", at): how for at, how in enumerate(kinds)})
    result = run(Modality.IMAGES, tiny.write(tmp_path / "a.smc"))
    assert result.frames["25"] == [4, 6, 7] and len(result.frames["31"]) == 8
    assert run.files()["images/cam_25/frame_000004.jpg"] == tiny.image("25", 4)
    assert [line.split(": ")[0] for line in reasons(result)] == [f"images cam_25 frame {at}" for at in (0, 1, 2, 3, 5)]
    assert "is empty" in reasons(result)[2]


def test_a_camera_whose_index_is_broken_costs_only_itself(tmp_path: Path, run: Run) -> None:
    path = Tiny().write(tmp_path / "a.smc")
    with h5py.File(path, "a") as file:
        del file["Camera/25/color"]
        file["Camera/25/color"] = np.zeros(3)
        file["Camera/40"] = h5py.SoftLink("/Camera/31")
    result = run(Modality.IMAGES, path, cameras=(*ALL, "40"))
    assert result.frames["31"] == [0, 1, 2, 3]
    assert [(item.camera, item.frame) for item in result.left_out] == [("40", None), ("25", None)]


def test_masks_come_from_anno_and_images_from_raw(tmp_path: Path, run: Run) -> None:
    raw = Tiny(frames=2).write(tmp_path / "raw.smc")
    tiny = Tiny(frames=3, images=True, masks=True, blobs_broken={("mask", "25", 1): "bad_crc"})
    anno = tiny.write(tmp_path / "anno.smc")
    result = run(Modality.MASKS, raw, anno)
    assert result.frames == {"25": [0, 2], "31": [0, 1, 2]} and "checksum" in reasons(result)[0]
    assert run.files()["masks/cam_25/frame_000002.png"] == tiny.mask("25", 2)
    shutil.rmtree(run.out)
    assert run(Modality.IMAGES, raw, anno).frames["25"] == [0, 1]


@pytest.mark.parametrize("modality", [m for m in Modality if m is not Modality.METADATA])
def test_what_is_absent_makes_no_file_and_no_folder(tmp_path: Path, run: Run, modality: Modality) -> None:
    with h5py.File(tmp_path / "a.smc", "w") as file:
        file.create_group("Camera/25")
    result = run(modality, tmp_path / "a.smc")
    assert not result.stored and result.left_out == [] and list(run.out.iterdir()) == []


def test_calibration_is_of_all_cameras_and_says_its_convention(tmp_path: Path, run: Run) -> None:
    run(Modality.CALIBRATION, Tiny().write(tmp_path / "a.smc"), cameras=("25",))
    names = ["all_cameras.npy", "cam_00.npy", "cam_01.npy", "cam_25.npy", "cam_31.npy", "cameras.json"]
    assert list(run.files()) == [f"calibration/{name}" for name in names]
    everything = np.load(run.out / "calibration/all_cameras.npy", allow_pickle=True).item()
    assert list(everything) == ["00", "01", "25", "31"]
    np.testing.assert_array_equal(everything["25"]["RT"], np.eye(4) * 3)
    one = np.load(run.out / "calibration/cam_31.npy", allow_pickle=True).item()
    assert set(one) == {"K", "D", "RT"} and one["K"].dtype == np.float64
    values = json.loads((run.out / "calibration/cameras.json").read_text())
    assert (values["type"], values["axes"], values["unit"], values["up"]) == ("c2w", "opencv", "m", "-y")
    assert values["cameras"]["31"]["K"] == one["K"].tolist() and list(values["cameras"]) == list(everything)


def test_pickled_calibration_names_no_module_that_old_numpy_lacks(tmp_path: Path, run: Run) -> None:
    run(Modality.CALIBRATION, Tiny().write(tmp_path / "a.smc"))
    data = (run.out / "calibration/all_cameras.npy").read_bytes()
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    assert version == (1, 0) and np.lib.format.read_array_header_1_0(file)[2] == np.dtype(object)
    named = {str(argument) for code, argument, _ in pickletools.genops(file.read()) if code.name == "GLOBAL"}
    assert "numpy.core.multiarray _reconstruct" in named and not any("_core" in name for name in named)


def test_a_camera_without_finite_numbers_is_null_in_json(tmp_path: Path, run: Run) -> None:
    path = Tiny().write(tmp_path / "a.smc")
    with h5py.File(path, "a") as file:
        file["Calibration/25/D"][...] = [np.nan, np.inf, 0, 1, 2]
    run(Modality.CALIBRATION, path)
    values = json.loads((run.out / "calibration/cameras.json").read_text())
    assert values["cameras"]["25"]["D"] == [None, None, 0, 1, 2]


@pytest.mark.parametrize("frames", [1, 2, 11])
def test_keypoints_hold_every_frame_that_has_them(tmp_path: Path, run: Run, frames: int) -> None:
    path = Tiny(frames=frames, anno=True).write(tmp_path / "a.smc")
    run(Modality.KEYPOINTS2D, path, cameras=("25",))
    with h5py.File(path) as file:
        stored = {int(frame): values[()] for frame, values in file["Keypoints2d/25"].items()}
    got = run.npz("keypoints2d/cam_25.npz")
    assert got["frames"].dtype == np.int64 and got["frames"].tolist() == sorted(stored)
    np.testing.assert_array_equal(got["keypoints"], np.stack([stored[frame] for frame in sorted(stored)]))
    assert list(run.files()) == ["keypoints2d/cam_25.npz"]
    shutil.rmtree(run.out)
    run(Modality.KEYPOINTS3D, path)
    assert run.npz("keypoints3d/all_frames.npz")["keypoints"].shape == (frames, 73, 3)


def test_odd_keypoints_are_left_out(tmp_path: Path, run: Run) -> None:
    path = Tiny(frames=5, anno=True).write(tmp_path / "a.smc")
    with h5py.File(path, "a") as file:
        for name, value in {"0": np.zeros((72, 3)), "1": "text", "2": np.zeros((99_999, 3))}.items():
            del file[f"Keypoints3d/{name}"]
            file[f"Keypoints3d/{name}"] = value
        file["Keypoints3d/9"] = h5py.SoftLink("/Keypoints3d/3")
    result = run(Modality.KEYPOINTS3D, path)
    assert run.npz("keypoints3d/all_frames.npz")["frames"].tolist() == [3, 4] == result.frames[""]
    assert sorted(item.frame or 0 for item in result.left_out) == [0, 1, 2, 9]


def test_flame_stacks_every_parameter(tmp_path: Path, run: Run) -> None:
    path = Tiny(frames=12, anno=True).write(tmp_path / "a.smc")
    run(Modality.FLAME, path)
    got = run.npz("flame/all_frames.npz")
    assert {name: (values.shape, values.dtype.str) for name, values in got.items()} == {
        "frames": ((12,), "<i8"),
        "shape": ((12, 100), "<f8"),
        "trans": ((12, 3), "<f4"),
        "verts": ((12, 50, 3), "<f8"),
    }
    with h5py.File(path) as file:
        for frame in range(12):
            np.testing.assert_array_equal(got["verts"][frame], file[f"FLAME/{frame}/verts"][()])


def test_flame_frames_unlike_the_others_are_left_out(tmp_path: Path, run: Run) -> None:
    path = Tiny(frames=8, anno=True).write(tmp_path / "a.smc")
    with h5py.File(path, "a") as file:
        del file["FLAME/0/shape"]
        file["FLAME/0/shape"] = np.zeros(99)
        del file["FLAME/3/trans"]
        file["FLAME/4/more"] = np.zeros(2)
        for frame in range(8):
            file[f"FLAME/{frame}/note"] = "text"
        file.create_group("FLAME/20")
        file["FLAME/21"] = np.zeros(3)
    result = run(Modality.FLAME, path)
    assert run.npz("flame/all_frames.npz")["frames"].tolist() == [1, 2, 5, 6, 7] == result.frames[""]
    values = {item.frame: item.reason for item in result.left_out}
    assert "'shape' has shape (99,)" in values[0] and "no parameter 'trans'" in values[3] and "'more'" in values[4]
    assert (
        values[20] == "has no parameters"
        and "cannot be read" in values[21]
        and "'note' holds no numbers" in values[None]
    )
    assert len(result.left_out) == 6


def test_a_flame_array_that_cannot_be_read_costs_its_frame_only(tmp_path: Path, run: Run) -> None:
    path = Tiny(frames=6, anno=True).write(tmp_path / "a.smc")
    with h5py.File(path, "a") as file:
        for frame in range(6):
            verts = file[f"FLAME/{frame}/verts"][()]
            del file[f"FLAME/{frame}/verts"]
            file.create_dataset(f"FLAME/{frame}/verts", data=verts, compression="gzip")
        where = [file[f"FLAME/{frame}/verts"].id.get_chunk_info(0).byte_offset for frame in (2, 5)]
    data = bytearray(path.read_bytes())
    for offset in where:
        data[offset : offset + 64] = b"\xff" * 64
    path.write_bytes(data)
    result = run(Modality.FLAME, path)
    got = run.npz("flame/all_frames.npz")
    assert got["frames"].tolist() == [0, 1, 3, 4] == result.frames[""] and got["verts"].shape == (4, 50, 3)
    assert [item.frame for item in result.left_out] == [2, 5] and "'verts'" in result.left_out[0].reason


def test_uv_textures_and_scan_masks_are_as_stored(tmp_path: Path, run: Run) -> None:
    path = Tiny(frames=11, anno=True).write(tmp_path / "a.smc")
    run(Modality.UV_TEXTURES, path)
    assert run.files() == {f"uv_textures/frame_{frame:06d}.png": png(f"uv {frame}") for frame in range(11)}
    shutil.rmtree(run.out)
    run(Modality.SCAN_MASKS, path, cameras=("31",))
    assert run.files() == {"scan_masks/cam_31.png": png("scan 31")}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_scan_is_a_binary_ply_of_the_stored_type(tmp_path: Path, run: Run, dtype: str) -> None:
    path = Tiny(anno=True).write(tmp_path / "a.smc")
    with h5py.File(path, "a") as file:
        vertices, faces = file["Scan/vertex"][()].astype(dtype), file["Scan/vertex_indices"][()]
        del file["Scan/vertex"]
        file["Scan/vertex"] = vertices
    run(Modality.SCAN, path)
    with (run.out / "scan/mesh.ply").open("rb") as stream:
        ply = PlyData.read(stream)
    assert not ply.text
    np.testing.assert_array_equal(np.stack([ply["vertex"][axis] for axis in "xyz"], axis=1), vertices)
    assert ply["vertex"]["x"].dtype == dtype
    got = np.stack(list(ply["face"]["vertex_indices"]))
    np.testing.assert_array_equal(got, faces)
    assert got.dtype == np.int32


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("vertex", np.zeros((4, 2)), "shape (4, 2)"),
        ("vertex", np.zeros((4, 3), np.int32), "neither float32"),
        ("vertex_indices", np.full((4, 3), 20), "outside of the 20"),
        ("vertex_indices", np.full((4, 3), -1), "outside of the 20"),
        ("vertex_indices", np.full((4, 3), 0.5), "fractions"),
        ("vertex_indices", np.full((4, 3), np.nan), "outside of the 20"),
    ],
)
def test_a_scan_that_is_no_mesh_is_left_out(
    tmp_path: Path, run: Run, name: str, value: NDArray[Any], words: str
) -> None:
    path = Tiny(anno=True).write(tmp_path / "a.smc")
    with h5py.File(path, "a") as file:
        del file[f"Scan/{name}"]
        file[f"Scan/{name}"] = value
    result = run(Modality.SCAN, path)
    assert words in reasons(result)[0] and run.files() == {}


def read_wav(data: bytes) -> tuple[int, int, int, NDArray[Any]]:
    """Return (format tag, channels, rate, samples) of a WAV by its own chunks."""
    assert data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") == len(data) - 8 and data[8:12] == b"WAVE"
    chunks, at = {}, 12
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        chunks[data[at : at + 4]] = data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    tag, channels, rate, _, _, bits = np.frombuffer(chunks[b"fmt "][:16], "<u2,<u2,<u4,<u4,<u2,<u2")[0]
    kind = "f" if tag == 3 else "u" if bits == 8 else "i"
    return tag, channels, rate, np.frombuffer(chunks[b"data"], f"<{kind}{bits // 8}").reshape(-1, channels)


def test_audio_as_stored_lossless_and_small(tmp_path: Path, run: Run) -> None:
    tiny = Tiny(frames=30)
    result = run(Modality.AUDIO, tiny.write(tmp_path / "a.smc"))
    assert result.files == 3 and result.notes == []
    got = run.npz("audio/audio_data.npz")
    assert got["audio"].dtype == np.float32 and int(got["sample_rate"]) == 48_000
    np.testing.assert_array_equal(got["audio"], tiny.sound())
    tag, channels, rate, samples = read_wav(run.files()["audio/audio.wav"])
    assert (tag, channels, rate) == (3, 2, 48_000)
    np.testing.assert_array_equal(samples, tiny.sound())
    mp3 = run.files()["audio/audio.mp3"]
    assert mp3[:3] == b"ID3" or mp3[0] == 0xFF
    assert 35_000 < len(mp3) < 50_000  # one second at 320 kbit/s


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int8", "int16", "int32"])
def test_wav_keeps_every_sample(dtype: str) -> None:
    samples = (np.random.default_rng(1).random((101, 2)) * 100).astype(dtype)
    data = wav_bytes(samples, 44_100)
    np.testing.assert_array_equal(read_wav(data)[3], samples)
    if dtype in ("uint8", "int16", "int32"):
        with wave.open(io.BytesIO(data)) as file:
            assert (file.getnframes(), file.getnchannels(), file.getframerate()) == (101, 2, 44_100)


def test_int16_clips_and_scales() -> None:
    floats = np.array([[-1.0, 1.0, 2.0, np.nan, 0.5]], np.float32)
    assert as_int16(floats).tolist() == [[-32767, 32767, 32767, 0, 16384]]
    assert as_int16(np.array([[-(2**31), 2**31 - 1]], np.int32)).tolist() == [[-32768, 32767]]
    assert as_int16(np.array([[7]], np.int16)).tolist() == [[7]]
    assert as_int16(np.array([[0, 128, 255]], np.uint8)).tolist() == [[-32768, 0, 32512]]


@pytest.mark.parametrize(("shape", "table"), [((50,), (50, 1)), ((50, 2), (50, 2)), ((2, 50), (50, 2))])
def test_sound_of_any_orientation_becomes_frames_by_channels(shape: tuple[int, ...], table: tuple[int, ...]) -> None:
    assert as_channels(np.zeros(shape)).shape == table
    with pytest.raises(UnreadableData):
        as_channels(np.zeros((50, 50)))


def no_ffmpeg() -> Iterator[str]:
    return iter(())


def test_without_ffmpeg_there_is_one_note_and_the_rest(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "ffmpeg_candidates", no_ffmpeg)
    result = run(Modality.AUDIO, Tiny().write(tmp_path / "a.smc"))
    assert list(run.files()) == ["audio/audio.wav", "audio/audio_data.npz"]
    assert len(result.notes) == 1 and "no ffmpeg" in result.notes[0]


def test_an_ffmpeg_that_fails_costs_the_mp3_only(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'Unknown encoder libmp3lame' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(audio, "ffmpeg_candidates", lambda: iter([str(program)]))
    result = run(Modality.AUDIO, Tiny().write(tmp_path / "a.smc"))
    assert result.files == 2 and "could not be encoded" in result.notes[0]


@pytest.fixture
def info(tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Write info.json of a source and return what it says."""

    def write(
        path: Path | None,
        anno: Path | None = None,
        extract_all: Callable[[ExtractionContext], list[ModalityResult]] | None = None,
    ) -> Any:
        with SmcPair(path, anno) as source, StagingFolder(tmp_path / ".info.staging") as folder:
            with Copier(folder, lambda files, size: None) as copier:
                context = ExtractionContext(source, folder, copier, frozenset(ALL))
                results = extract_all(context) if extract_all else [EXTRACTORS[Modality.IMAGES](context)]
                performance = Performance("0018", "s1_all")
                write_metadata(context, performance, collect_metadata(context, performance, results))
            return json.loads((folder.path / "metadata/info.json").read_text())

    yield write


def test_info_tells_who_what_and_what_is_missing(tmp_path: Path, info: Callable[..., dict[str, Any]]) -> None:
    tiny = Tiny(frames=30, holes={"31": (4, 9)}, blobs_broken={("color", "25", 7): "no_end"}, bytes_attributes=True)
    values = info(tiny.write(tmp_path / "a.smc"))
    assert (
        values["subject_id"] == "0018" and values["performance"] == "s1_all" and values["capture_date"] == "2022-08-20"
    )
    assert values["actor_info"] == {"age": 31, "color": "yellow", "gender": "female", "height": 1.66, "weight": 52.0}
    assert values["camera_info"] == {"num_device": 60, "num_frame": 999, "resolution": [2048, 2448]}
    assert values["cameras"] == {"25": 29, "31": 28} and values["missing_frames"] == {"25": [7], "31": [4, 9]}
    assert values["fps"] == 30 and "fps_note" not in values and "source_says" not in values
    assert [(item["camera"], item["frame"]) for item in values["left_out"]] == [("25", 7)]


@pytest.mark.parametrize(
    ("seconds", "fps", "noted"), [(1.0, 30, False), (1.04, 30, False), (2.05, 15, False), (1.2, 25, True)]
)
def test_the_frame_rate_is_frames_by_seconds_of_sound(
    tmp_path: Path, info: Callable[..., dict[str, Any]], seconds: float, fps: float, noted: bool
) -> None:
    values = info(Tiny(frames=30, seconds=seconds).write(tmp_path / "a.smc"))
    assert values["fps"] == pytest.approx(fps) and ("fps_note" in values) is noted


def test_no_sound_no_rate(tmp_path: Path, info: Callable[..., dict[str, Any]]) -> None:
    assert info(Tiny(audio=False).write(tmp_path / "a.smc"))["fps"] is None


@pytest.mark.parametrize(
    ("actor", "part", "says"),
    [
        ("18", "s1_all", {}),
        (np.int64(18), "s1_all", {}),
        ("0019", "s2_all", {"actor_id": "0019", "performance_part": "s2_all"}),
    ],
)
def test_a_source_that_says_another_name_is_a_warning(
    tmp_path: Path, info: Callable[..., dict[str, Any]], actor: object, part: str, says: dict[str, str]
) -> None:
    values = info(Tiny(actor=actor, part=part).write(tmp_path / "a.smc"))
    assert values.get("source_says", {}) == says and len(values["warnings"]) == len(says)


def test_info_keeps_what_is_unknown_and_survives_odd_values(
    tmp_path: Path, info: Callable[..., dict[str, Any]]
) -> None:
    path = Tiny().write(tmp_path / "a.smc")
    with h5py.File(path, "a") as file:
        file.attrs["studio"] = "B"
        file.attrs["height"] = np.nan
        file.create_group("Camera/odd")
    values = info(path)
    assert values["other_attributes"] == {"studio": "B"} and values["actor_info"]["height"] is None
    assert values["warnings"] == ["/Camera/'odd' is not a camera"]


def test_info_of_an_anno_file_alone(tmp_path: Path, info: Callable[..., dict[str, Any]]) -> None:
    values = info(None, Tiny(images=False, audio=False, masks=True).write(tmp_path / "a.smc"))
    assert values["actor_info"]["age"] == 31 and values["cameras"] == {} and values["absent"] == ["images"]
