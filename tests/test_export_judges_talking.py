"""Films of talking heads: PyAV and the check of the export itself on right ones and on wrong ones."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from exported import export, publish, record_of
from numpy.typing import NDArray

from rm360_async.dataset import Camera, open_performance
from rm360_async.domain.cameras.rig import FRONT_CAMERA, Array
from rm360_async.domain.names import Modality, Performance
from rm360_async.export.film import clips_of, make_timeline
from rm360_async.export.format import CheckFailed, NotExportable, Unit
from rm360_async.export.formats import get_format
from rm360_async.export.options import ExportOptions
from rm360_async.synthetic import shape
from rm360_async.synthetic.spec import LENS_DISTORTION, SINGLE_RELEASE, SmcSpec
from rm360_async.system.ffmpeg import film_ffmpeg, run_ffmpeg

av: Any = pytest.importorskip("av")
pytestmark = pytest.mark.slow  # every test encodes a film

FAST = SmcSpec(Performance("0018", "s1_all"), SINGLE_RELEASE, (FRONT_CAMERA,), frames=24, fps=30.0, scale=1 / 8)
SLOW = replace(
    FAST,
    performance=Performance("0018", "s3_all"),
    frames=16,
    fps=15.0,
    holes={FRONT_CAMERA: (6, 7)},
    distortion=LENS_DISTORTION,
)
SIZE = 192


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("talking"), FAST, SLOW)


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize("fps", [15, 25, 30])
@pytest.mark.parametrize("name", ["s1_all", "s3_all"])
def test_pyav_plays_every_rate_at_its_time(subjects: Path, tmp_path: Path, name: str, fps: int) -> None:
    assert export("talking", subjects / "0018" / name, "--output", tmp_path, "--fps", fps, "--size", SIZE) == 0
    folder = tmp_path / "0018" / name
    spec = FAST if name == "s1_all" else SLOW
    rows = table(folder / f"0018_{name}_cam25.frames.csv")
    with av.open(str(folder / f"0018_{name}_cam25.mp4")) as film:
        video, audio = film.streams.video[0], film.streams.audio[0]
        assert video.average_rate == fps and (video.width, video.height) == (SIZE, SIZE)
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        colours = (video.codec_context.color_range, video.codec_context.colorspace)
        assert tuple(map(int, colours)) == (1, 1)  # limited range, BT.709
        times = [float(frame.pts * video.time_base) for frame in film.decode(video)]
    assert len(times) == len(rows) == round(spec.frames / spec.fps * fps)
    assert np.allclose(times, [float(row["time_s"]) for row in rows], atol=1e-3)
    assert audio.rate == 48000
    for row in rows:
        shown, wanted = int(row["frame"]), float(row["time_s"]) * spec.fps
        assert shown in spec.frames_of(FRONT_CAMERA)
        assert abs(shown - wanted) <= (2.5 if 4 < wanted < 9 and spec is SLOW else 0.75)


def decoded(path: Path) -> tuple[list[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return the pictures RGB of a film, and its sound (n,) of one channel, by PyAV."""
    with av.open(str(path)) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    with av.open(str(path)) as film:
        blocks = [frame.to_ndarray() for frame in film.decode(audio=0) if frame.pts is not None and frame.pts >= 0]
    return pictures, np.asarray(np.concatenate(blocks, axis=1).mean(axis=0), np.float32)


def test_the_sound_of_the_film_and_of_the_wav_is_that_of_the_source(subjects: Path, tmp_path: Path) -> None:
    assert export("talking", subjects / "0018/s1_all", "--output", tmp_path, "--size", SIZE) == 0
    stem = tmp_path / "0018/s1_all/0018_s1_all_cam25"
    source = open_performance(subjects / "0018/s1_all").audio.mono
    _, sound = decoded(stem.with_suffix(".mp4"))
    count = min(len(sound), len(source))
    assert lag(sound[:count], source[:count]) < 96  # 2 ms
    with av.open(str(stem.with_suffix(".wav"))) as file:
        stream = file.streams.audio[0]
        assert (stream.rate, stream.channels) == (16000, 1)


def lag(sound: NDArray[np.float32], source: NDArray[np.float32]) -> int:
    product = np.fft.rfft(sound, 2 * len(sound)) * np.conj(np.fft.rfft(source, 2 * len(sound)))
    best = int(np.argmax(np.fft.irfft(product)))
    return min(best, 2 * len(sound) - best)


@pytest.mark.parametrize("size", [SIZE, "full"])
def test_the_camera_of_the_film_sees_the_face_where_it_is(subjects: Path, tmp_path: Path, size: object) -> None:
    """The written K and D project a feature of the head to where the source has it, cropped and resized."""
    assert export("talking", subjects / "0018/s3_all", "--output", tmp_path, "--size", size, "--fps", 15) == 0
    description = json.loads((tmp_path / "0018/s3_all/0018_s3_all_cam25.json").read_text())
    K, (x, y, width, _) = np.array(description["K"]), description["crop"]
    performance = open_performance(subjects / "0018/s3_all")
    points = shape.to_world(shape.landmarks(0.0))
    camera = replace(performance.cameras[FRONT_CAMERA], K=K, D=np.array(description["D"]))
    scale = description["width"] / width
    expected = (pixels_by_opencv(performance.cameras[FRONT_CAMERA], points) - [x, y] + 0.5) * scale - 0.5
    assert np.abs(camera.project(points) - expected).max() < 1e-3
    assert (expected > 0).all() and (expected < description["width"]).all()
    assert description["source_fps"] == 15.0 and description["pixel_center"] == "integer"


def pixels_by_opencv(camera: Camera, points: Array) -> Array:
    to_camera = camera.world_to_camera
    rotation = cv2.Rodrigues(to_camera[:3, :3])[0]
    return np.asarray(cv2.projectPoints(points, rotation, to_camera[:3, 3], camera.K, camera.D)[0][:, 0], np.float64)


def test_holes_show_the_nearest_frame_and_are_reported(subjects: Path, tmp_path: Path) -> None:
    assert export("talking", subjects / "0018/s3_all", "--output", tmp_path, "--fps", 15, "--size", SIZE) == 0
    rows = table(tmp_path / "0018/s3_all/0018_s3_all_cam25.frames.csv")
    assert [int(row["frame"]) for row in rows] == [0, 1, 2, 3, 4, 5, 5, 8, 8, 9, 10, 11, 12, 13, 14, 15]
    assert any("the nearest is shown: 6 7" in note for note in record_of(tmp_path / "0018/s3_all")["notes"])


def test_clips_have_their_own_sound_and_two_tables(subjects: Path, tmp_path: Path) -> None:
    assert export("talking", subjects / "0018/s1_all", "--output", tmp_path, "--size", SIZE) == 0
    clips = tmp_path / "0018/s1_all/clips"
    (row,) = table(clips / "metadata.csv")
    assert (row["subject"], row["camera"], row["pictures"]) == ("s0018", "cam_25", "17") and "video" not in row
    (other,) = table(clips / "metadata_diffsynth.csv")
    assert (clips / other["video"]).exists() and (clips / other["input_audio"]).exists()
    pictures, sound = decoded(clips / row["file_name"])
    whole, all_sound = decoded(tmp_path / "0018/s1_all/0018_s1_all_cam25.mp4")
    assert len(pictures) == 17
    assert all(np.array_equal(first, second) for first, second in zip(pictures, whole, strict=False))
    count = min(len(sound), round(17 / 25 * 48000) - 2000)
    assert lag(sound[:count], all_sound[:count]) < 96
    assert sorted(path.suffix for path in clips.iterdir()) == [".csv", ".csv", ".mp4", ".wav"]


def spoil_film(*arguments: str) -> Callable[[Path], None]:
    """Return a change that runs the film through ffmpeg again."""

    def apply(stem: Path) -> None:
        film, kept = Path(f"{stem}.mp4"), Path(f"{stem}.kept.mp4")
        film.rename(kept)
        program = film_ffmpeg()
        assert program is not None
        run_ffmpeg(program, ["-i", str(kept), *arguments, str(film)])

    return apply


def edit_description(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(stem: Path) -> None:
        path = stem.with_suffix(".json")
        description = json.loads(path.read_text())
        change(description)
        path.write_text(json.dumps(description))

    return apply


def swap_rows(stem: Path) -> None:
    path = Path(f"{stem}.frames.csv")
    path.write_text(path.read_text().replace(",4\n", ",x\n").replace(",9\n", ",4\n").replace(",x\n", ",9\n"))


def late_wav(stem: Path) -> None:
    program = film_ffmpeg()
    assert program is not None
    path = stem.with_suffix(".wav")
    path.rename(stem.with_suffix(".kept.wav"))
    run_ffmpeg(program, ["-i", str(stem.with_suffix(".kept.wav")), "-af", "adelay=40:all=1", str(path)])


MOVED = f"scale={2 * SIZE}:{2 * SIZE},pad=iw+2:ih+2:2:2,crop={2 * SIZE}:{2 * SIZE}:1:1,scale={SIZE}:{SIZE}:flags=area"
"""By one pixel of twice the size."""
COPY = ("-c:v", "libx264", "-crf", "10", "-c:a", "copy")
WRONG: dict[str, Callable[[Path], None]] = {
    "late sound": spoil_film("-c:v", "copy", "-af", "adelay=40:all=1", "-c:a", "aac"),
    "late WAV": late_wav,
    "rate": spoil_film("-vf", "setpts=0.5*PTS", "-r", "50", *COPY),
    "shuffled moments": spoil_film("-vf", "shuffleframes=0 1 2 5 4 3 6 7", *COPY),
    "one picture late": spoil_film("-vf", "tpad=start=1:start_mode=clone,trim=end_frame=20", *COPY),
    "colours": spoil_film("-vf", "scale=in_range=tv:out_range=pc,setparams=range=tv", *COPY),
    "half a pixel in the picture": spoil_film("-vf", MOVED, *COPY),
    "two pixels in K": edit_description(lambda each: each["K"][0].__setitem__(2, each["K"][0][2] + 2.0)),
    "frame rate of the source": edit_description(lambda each: each.update(source_fps=15.0)),
    "table": swap_rows,
}


@pytest.fixture(scope="module")
def unit(subjects: Path) -> Unit:
    fmt = get_format("talking")
    return next(iter(fmt.units(open_performance(subjects / "0018/s1_all"), ExportOptions(size=SIZE))))


@pytest.fixture(scope="module")
def written(unit: Unit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    get_format("talking").write(unit, folder, unit.options)
    return folder


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_film_is_refused(unit: Unit, written: Path, tmp_path: Path, wrong: str) -> None:
    fmt = get_format("talking")
    folder = Path(shutil.copytree(written, tmp_path / "out"))
    figures = fmt.check(folder, unit)
    assert float(figures["colour_bias_cam25"]) < 1 and float(figures["sound_lag_ms_cam25"]) < 2
    WRONG[wrong](folder / "0018_s1_all_cam25")
    with pytest.raises(CheckFailed):
        fmt.check(folder, unit)


def test_pictures_are_shown_at_their_nearest_time() -> None:
    timeline = make_timeline(range(30), 0, 29, 15.0, 25.0)
    assert list(timeline.frames) == [min((2 * k * 15 + 25) // 50, 29) for k in range(50)]
    assert timeline.seconds == 2
    assert list(make_timeline(range(10), 0, 9, 30.0, 30.0).frames) == list(range(10))
    later = make_timeline(range(100), 10, 29, 30.0, 15.0)
    assert later.start == Fraction(1, 3) and list(later.frames) == list(range(10, 30, 2))
    assert list(make_timeline([0, 1, 5, 6], 0, 6, 30.0, 30.0).frames) == [0, 1, 1, 5, 5, 5, 6]


def test_clips_have_four_n_plus_one_pictures() -> None:
    assert clips_of(200) == [(0, 81), (81, 81), (162, 37)]
    assert clips_of(170) == [(0, 81), (81, 81)]
    assert clips_of(5) == [(0, 5)]


def test_a_performance_without_sound_is_skipped(tmp_path: Path) -> None:
    pictures = SINGLE_RELEASE - {Modality.AUDIO}
    silent = replace(FAST, performance=Performance("0018", "e0"), frames=1, modalities=pictures)
    performance = open_performance(publish(tmp_path, silent) / "0018/e0")
    with pytest.raises(NotExportable, match="needs audio"):
        list(get_format("talking").units(performance, ExportOptions()))
