"""The demo end to end, and what it published against the plain h5py view of its synthetic remote."""

from __future__ import annotations

import csv
import io
import json
import shlex
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from made_once import made_once

from rm360_async.cli.main import main
from rm360_async.synthetic.remote import demo_plan

RCLONE_FIXTURES = {"shown"}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the demo in a folder where a smaller one was; give the folder. No test changes what it published."""
    return made_once(tmp_path_factory, "demo", run_twice) / "rm360"


def run_twice(parent: Path) -> None:
    folder = parent / "rm360"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RCLONE_CONFIG", "")
        with pytest.MonkeyPatch.context() as smaller:
            smaller.setattr("rm360_async.commands.demo.demo_plan", lambda structure: demo_plan(structure)[-1:])
            assert main(["demo", str(folder)]) == 0
        with redirect_stdout(io.StringIO()) as said:
            assert main(["demo", str(folder)]) == 0, "a second time in the same folder"
    (parent / "said.txt").write_text(said.getvalue())


def pairs(shown: Path) -> list[tuple[Path, list[Path]]]:
    """Return each published folder with the files that it came from."""
    found = []
    for marker in sorted(shown.glob("release*/subjects/*/*/.extraction_complete")):
        release = marker.parents[3].name
        sources = [source["path"] for source in json.loads(marker.read_text())["sources"]]
        found.append((marker.parent, [shown / "remote" / release / source for source in sources]))
    return found


def test_both_layouts_are_published_and_in_the_manifests(shown: Path) -> None:
    assert len(pairs(shown)) == 8
    for release, count in (("release500", 5), ("release21", 3)):
        with (shown / release / "MANIFEST.csv").open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert len(rows) == count and {row["status"] for row in rows} == {"completed"}
        assert all(len(row["subject"]) == 4 for row in rows)


@pytest.mark.parametrize(("part", "folder"), [("color", "images"), ("mask", "masks")])
def test_every_stored_picture_is_there_byte_for_byte(shown: Path, part: str, folder: str) -> None:
    compared = 0
    for published, sources in pairs(shown):
        stored: dict[str, bytes] = {}
        for source in sources:
            with h5py.File(source) as smc:
                for camera, group in smc.get("Camera", {}).items():
                    for frame, blob in group.get(part, {}).items():
                        stored[f"cam_{camera}/frame_{int(frame):06d}"] = blob[()].tobytes()
        files = sorted((published / folder).rglob("*.*")) if (published / folder).exists() else []
        written = {f"{path.parent.name}/{path.stem}": path.read_bytes() for path in files}
        assert written == stored
        compared += len(stored)
    assert compared > 500


def test_its_last_lines_lead_to_an_export(shown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (shown.parent / "said.txt").read_text().splitlines()
    change_folder, export = (shlex.split(line) for line in lines[-2:])
    assert (change_folder[0], export[0]) == ("cd", "rm360")
    monkeypatch.chdir(change_folder[1])
    assert main(export[1:]) == 0
    assert Path("exports/nerfstudio/0026/e0/frame_000000/transforms.json").is_file()


def test_annotations_hold_every_frame(shown: Path) -> None:
    published, sources = next(pair for pair in pairs(shown) if pair[0].name == "e0")
    anno = next(source for source in sources if source.name.endswith("_anno.smc"))
    with h5py.File(anno) as smc:
        for camera, group in smc["Keypoints2d"].items():
            _same_stack(np.load(published / f"keypoints2d/cam_{camera}.npz"), "keypoints", group)
        _same_stack(np.load(published / "keypoints3d/all_frames.npz"), "keypoints", smc["Keypoints3d"])
        flame = np.load(published / "flame/all_frames.npz")
        for name in smc["FLAME/0"]:
            _same_stack(flame, name, {frame: smc["FLAME"][frame][name] for frame in smc["FLAME"]})
        for frame, blob in smc["UV_texture"].items():
            assert (published / f"uv_textures/frame_{int(frame):06d}.png").read_bytes() == blob[()].tobytes()
        for camera, blob in smc["ScanMask"].items():
            assert (published / f"scan_masks/cam_{camera}.png").read_bytes() == blob[()].tobytes()
        assert (published / "scan/mesh.ply").read_bytes().startswith(b"ply\nformat binary")


def _same_stack(found: Any, name: str, stored: Any) -> None:
    numbers = sorted(int(frame) for frame in stored)
    assert found["frames"].tolist() == numbers and numbers
    assert np.array_equal(found[name], np.stack([stored[str(number)][()] for number in numbers]))


def test_attributes_calibration_and_sound_agree_with_the_files(shown: Path) -> None:
    for published, sources in pairs(shown):
        info = json.loads((published / "metadata/info.json").read_text())
        with h5py.File(sources[0]) as raw:
            assert info["subject_id"] == raw.attrs["actor_id"] and info["performance"] == raw.attrs["performance_part"]
            assert info["actor_info"]["age"] == raw.attrs["age"] and info["capture_date"] == raw.attrs["capture_date"]
            assert info["camera_info"]["num_device"] == raw["Camera"].attrs["num_device"]
            if "audio" in raw.get("Camera/00", {}):
                sound = np.load(published / "audio/audio_data.npz")
                assert np.array_equal(sound["audio"], raw["Camera/00/audio/audio"][()])
                assert sound["sample_rate"] == raw["Camera/00/audio/sample_rate"][()]
                assert info["fps"] == (15.0 if published.name == "s3_all" else 30.0)
        with h5py.File(sources[-1]) as smc:
            cameras = np.load(published / "calibration/all_cameras.npy", allow_pickle=True).item()
            assert set(cameras) == set(smc["Calibration"])
            plain = json.loads((published / "calibration/cameras.json").read_text())["cameras"]
            for camera, group in smc["Calibration"].items():
                for name in ("K", "D", "RT"):
                    assert np.array_equal(cameras[camera][name], group[name][()])
                    assert np.array_equal(np.array(plain[camera][name]), group[name][()])


def test_a_folder_that_the_demo_did_not_make_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", str(tmp_path)]) == 2
    assert "was not made by the demo" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert main(["demo", str(tmp_path / "thesis.txt")]) == 2
    assert "is a file; choose a folder" in capsys.readouterr().err


def test_a_place_that_takes_no_demo_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", str(tmp_path / "thesis.txt" / "demo")]) == 3
    said = capsys.readouterr().err
    assert said.startswith("error: cannot write ") and said.count("\n") == 1


@pytest.mark.slow
def test_a_stopped_run_stops_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCLONE_CONFIG", "")
    monkeypatch.setattr("rm360_async.commands.demo._run", lambda config: 130)
    assert main(["demo", str(tmp_path / "demo")]) == 130
    assert (tmp_path / "demo" / "release500.yaml").is_file() and not (tmp_path / "demo" / "release21.yaml").exists()
    (tmp_path / "demo" / "release500" / "half").mkdir(parents=True)
    (tmp_path / "demo" / "notes.txt").write_text("years of work")
    assert main(["demo", str(tmp_path / "demo")]) == 130
    assert not (tmp_path / "demo" / "release500").exists() and (tmp_path / "demo" / "notes.txt").exists()
