"""Each fault of a performance is named on its page by the right panel and by no other; clean ones pass."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import extract_spec, failing_panels, page_numbers, pair_spec, speech_spec, warned_panels

from rm360_async.domain.cameras.rig import Array
from rm360_async.store.marker import MARKER
from rm360_async.synthetic.spec import SmcSpec

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def info(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "metadata/info.json").read_text())
    return value


def change_marker(folder: Path, **changes: Any) -> None:
    """Change values in a folder's marker."""
    value = json.loads((folder / MARKER).read_text()) | changes
    (folder / MARKER).write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("spec", "cameras", "unchecked"),
    [
        (speech_spec("s1_all", 30), 1, {"proof", "coverage", "source"}),
        (speech_spec(), 38, {"proof", "source"}),
        (pair_spec(), 60, {"sound", "source"}),
        (pair_spec("s1_all"), 60, {"source"}),
    ],
)
def test_clean_performances_pass(tmp_path: Path, spec: SmcSpec, cameras: int, unchecked: set[str]) -> None:
    numbers = page_numbers(extract_spec(tmp_path, spec), tmp_path / "page")
    states = {key: panel["state"] for key, panel in numbers["panels"].items()}
    assert numbers["state"] == "ok" and numbers["notes"] == []
    assert {key for key, state in states.items() if state == "not checked"} == unchecked
    assert set(states.values()) == {"ok", "not checked"}
    assert numbers["panels"]["contact"]["cameras"] == cameras
    assert numbers["verdict"] == "complete as released"


@pytest.mark.parametrize(
    ("change", "convention"),
    [
        (np.linalg.inv, "read as world-to-camera, OpenCV axes, metres"),
        (lambda RT: RT @ FLIP, "read as camera-to-world, OpenGL axes, metres"),
    ],
)
def test_another_convention_of_rt_is_named(tmp_path: Path, change: Callable[[Array], Array], convention: str) -> None:
    folder = extract_spec(tmp_path, pair_spec(), change)
    numbers = page_numbers(folder, tmp_path / "page")
    wrong = failing_panels(numbers)
    assert set(wrong) == {"contact", "proof", "calibration"}
    assert wrong["calibration"].startswith("convention: RT is not") and convention in wrong["calibration"]
    assert "3D landmarks do not fall on the 2D ones" in wrong["proof"]
    assert [each["check"] for each in info(folder)["findings"]] == ["calibration"]


def test_two_swapped_ids_are_named(tmp_path: Path) -> None:
    folder = extract_spec(tmp_path, pair_spec(swapped=(("25", "28"),)))
    wrong = failing_panels(page_numbers(folder, tmp_path / "page"))
    assert set(wrong) == {"proof", "calibration"}
    assert "ids: cameras 25 and 28 are swapped" in wrong["calibration"]
    assert wrong["proof"].endswith("more than 4 mm in cameras 25 and 28")


def test_a_15_fps_file_is_named_whatever_it_is_called(tmp_path: Path) -> None:
    folder = extract_spec(tmp_path, speech_spec("s1_all", 30, fps=15.0))
    wrong = failing_panels(page_numbers(folder, tmp_path / "page"))
    assert set(wrong) == {"sound"} and "the release has 30 frames a second" in wrong["sound"]
    assert info(folder)["findings"][0]["check"] == "frame rate" and info(folder)["fps"] == 15
    change_marker(folder, fps=30.0, verdict="complete as released")
    sentence = failing_panels(page_numbers(folder, tmp_path / "called"))["sound"]
    assert "frames and sound give 15 frames a second, not 30" in sentence
    assert "the sound is 1.00 s longer than the pictures" in sentence


def test_sound_that_ends_before_the_pictures_is_a_mismatch(tmp_path: Path) -> None:
    folder = extract_spec(tmp_path, speech_spec("s1_all", 30))
    audio = folder / "audio/audio_data.npz"
    with np.load(audio) as stored:
        samples, rate = stored["audio"], stored["sample_rate"]
    np.savez(audio, audio=samples[: len(samples) * 60 // 100], sample_rate=rate)
    numbers = page_numbers(folder, tmp_path / "page")
    assert "the sound is 400 ms shorter" in failing_panels(numbers)["sound"]
    assert numbers["panels"]["sound"]["sound_longer_by"] == pytest.approx(-0.4, abs=1e-3)
    assert "mismatch 0.40 s" in (tmp_path / "page/index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("cameras", [("31",), None], ids=["one camera", "every camera"])
def test_missing_frame_100_is_named(tmp_path: Path, cameras: tuple[str, ...] | None) -> None:
    spec = speech_spec(frames=104)
    folder = extract_spec(tmp_path, speech_spec(frames=104, holes={c: (100,) for c in cameras or spec.cameras}))
    numbers = page_numbers(folder, tmp_path / "page")
    wrong, frames = warned_panels(numbers), numbers["panels"]["presence"]
    assert set(wrong) == {"presence", "absent"}
    assert frames["missing"] == len(cameras or spec.cameras) and frames["frames"] == 104
    assert set(frames["wrong"].values()) == {"missing in the source: 100"}
    assert [each["check"] for each in info(folder)["findings"]] == ["gaps"]


def test_a_camera_with_half_its_frames_is_named(tmp_path: Path) -> None:
    folder = extract_spec(tmp_path, speech_spec(frames=20, camera_frames={"05": 10}))
    numbers = page_numbers(folder, tmp_path / "page")
    assert set(warned_panels(numbers)) == {"presence", "absent"}, "what the source lacks, no extraction can give"
    assert numbers["panels"]["presence"]["wrong"] == {"05": "missing in the source: 10-19"}
    assert numbers["panels"]["absent"]["lost"] == [
        {"check": "frame counts", "what": "cam_05 with 10 of 20 frames, the last 9"}
    ]


def test_broken_lost_and_vanished_frames_are_distinguished(tmp_path: Path) -> None:
    folder = extract_spec(tmp_path, speech_spec(cameras=speech_spec().cameras[1:], broken={("40", 1): "no_end"}))
    images = folder / "images"
    (images / "cam_57/frame_000002.jpg").unlink()
    numbers = page_numbers(folder, tmp_path / "page")
    frames = numbers["panels"]["presence"]
    assert frames["wrong"]["40"] == "broken in the source: 1"
    assert frames["wrong"]["57"] == "gone since it was published: 2"
    assert frames["wrong"]["00"] == "missing in the source: 0-5"  # released, and not in the file
    assert (frames["broken"], frames["gone"], frames["missing"]) == (1, 1, 6)
    assert set(failing_panels(numbers)) == {"presence"}, "a frame is gone"
    assert set(failing_panels(numbers, "warn")) == {"contact", "coverage", "absent"}
    assert numbers["panels"]["coverage"]["lost"] == ["00"]
    assert numbers["panels"]["contact"]["absent"] == {"lost": 1, "not released": 22}


def test_a_suspiciously_small_picture_and_a_frame_without_mask_are_warnings(tmp_path: Path) -> None:
    folder = extract_spec(tmp_path, pair_spec())
    listed = folder / ".extraction_files.csv"
    lines = listed.read_text().splitlines()
    small = next(line for line in lines if line.startswith("images/cam_07/frame_000002.jpg"))
    text = "\n".join(line for line in lines if not line.startswith("masks/cam_09/frame_000001"))
    path, _, digest = small.split(",")
    listed.write_text(text.replace(small, f"{path},90,{digest}") + "\n")
    frames = page_numbers(folder, tmp_path / "page")["panels"]["presence"]
    assert frames["state"] == "warn" and (frames["small"], frames["no_mask"]) == (1, 1)
    assert frames["wrong"] == {"07": "suspiciously small: 2", "09": "without mask: 1"}


def test_a_camera_that_is_not_released_or_not_wanted_is_no_fault(tmp_path: Path) -> None:
    folder = extract_spec(tmp_path, speech_spec(), None, "--cameras", "24,25,27")
    numbers = page_numbers(folder, tmp_path / "page")
    assert failing_panels(numbers) == {} and numbers["state"] == "ok"
    assert numbers["panels"]["contact"]["absent"] == {"not released": 22, "not wanted": 35}


def test_key_frames_may_have_gaps(tmp_path: Path) -> None:
    holes = {camera: (1, 2) for camera in pair_spec().cameras}
    spec = speech_spec("e1", 4, cameras=pair_spec().cameras, holes=holes, modalities=speech_spec().modalities)
    folder = extract_spec(tmp_path, spec)
    numbers = page_numbers(folder, tmp_path / "page")
    assert numbers["panels"]["presence"]["frames"] == 2 and numbers["panels"]["presence"]["state"] == "ok"


def test_unreadable_files_give_notes_and_the_page_is_made(tmp_path: Path) -> None:
    folder = extract_spec(tmp_path, pair_spec("s1_all"))
    (folder / "metadata/info.json").write_text('{"findings": 7}')
    (folder / "calibration/cameras.json").write_text("[]")
    (folder / "keypoints3d/all_frames.npz").write_bytes(b"no zip")
    (folder / "keypoints2d/cam_25.npz").write_bytes(b"PK\x03\x04 cut")
    np.savez(folder / "audio/audio_data.npz", audio=np.zeros(8), sample_rate=np.array(0))
    (folder / ".extraction_files.csv").write_text("path,bytes\nimages/cam_25,many\n")
    for picture in (folder / "images/cam_20").iterdir():
        picture.write_bytes(b"\xff\xd8 no jpeg")
    numbers = page_numbers(folder, tmp_path / "page")
    notes = " | ".join(numbers["notes"])
    for what in ("info.json", "cameras.json", "all_frames.npz", "cam_25.npz", "audio_data.npz", "list of files"):
        assert what in notes
    assert numbers["panels"]["contact"]["absent"] == {"broken": 1}
    assert numbers["panels"]["calibration"]["state"] == "not checked"


def test_a_folder_of_an_earlier_tool_gets_a_page(tmp_path: Path) -> None:
    folder = extract_spec(tmp_path, speech_spec("s1_all"))
    (folder / MARKER).write_text("done\n")
    os.remove(folder / ".extraction_files.csv")
    numbers = page_numbers(folder, tmp_path / "page")
    assert "earlier tool" in numbers["verdict"] and numbers["panels"]["contact"]["absent"] == {"absent": 59}
    assert numbers["panels"]["presence"]["state"] == "ok" and failing_panels(numbers) == {}
