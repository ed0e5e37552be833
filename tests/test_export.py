"""`rm360 export`: units, links, resuming, staleness, and that published folders stay as they are."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exported import CAMERAS, EXPRESSION, SPEECH, WHOLE_RIG, export, extract_again, publish, record_of
from small_disk import NoSmallDisk, SmallDisk
from workspace import Workspace, tree

from rm360_async.cli.main import main
from rm360_async.export.format import NOTICE
from rm360_async.export.record import read_record
from rm360_async.export.state import damage


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an output folder with three published performances; no test changes it."""
    return publish(tmp_path_factory.mktemp("published"), EXPRESSION, SPEECH, WHOLE_RIG)


def test_an_export_shares_the_published_pictures_and_records_its_figures(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(subjects)
    assert export("nerfstudio", subjects / "0026" / "e0", "--output", tmp_path / "out") == 0
    unit = tmp_path / "out" / "0026" / "e0" / "frame_000000"
    for camera in CAMERAS:
        source = subjects / "0026" / "e0" / "images" / f"cam_{camera}" / "frame_000000.jpg"
        assert (unit / "images" / f"cam_{camera}.jpg").samefile(source)
        assert (unit / "masks" / f"cam_{camera}.png").is_file()
    record = record_of(unit)
    assert record["figures"]["round_trip_px"] < 0.001
    assert (record["views"], record["links"], record["files"]) == (6, 12, 2)
    assert record["notice"] == NOTICE
    assert record["source"]["performance"] == "e0"
    assert NOTICE in capsys.readouterr().out
    assert tree(subjects) == before
    assert not list((tmp_path / "out").rglob(".*.staging"))


def test_holes_and_missing_masks_are_left_out_and_said(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("nerfstudio", subjects, "--output", tmp_path, "--frames", "0:3", "--performance", "e0") == 0
    assert "cam_26:1" in capsys.readouterr().out
    document = json.loads((tmp_path / "0026" / "e0" / "frame_000001" / "transforms.json").read_text())
    assert [frame["camera"] for frame in document["frames"]] == [f"cam_{each}" for each in CAMERAS if each != "26"]
    assert export("nerfstudio", subjects, "--output", tmp_path, "--performance", "s3_all") == 0
    assert "without masks" in capsys.readouterr().out
    document = json.loads((tmp_path / "0018" / "s3_all" / "frame_000000" / "transforms.json").read_text())
    assert "mask_path" not in document["frames"][0]


def test_what_is_complete_is_not_exported_again_and_what_is_stale_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subjects = publish(tmp_path, EXPRESSION)
    arguments = ("nerfstudio", subjects, "--output", tmp_path / "out")
    unit = tmp_path / "out" / "0026" / "e0" / "frame_000000"
    assert export(*arguments) == 0
    first = unit.stat().st_ino
    assert export(*arguments) == 0
    assert unit.stat().st_ino == first
    assert "0 written, 1 unchanged" in capsys.readouterr().out
    (unit / "notes.txt").write_text("a person's own")
    extract_again(tmp_path, EXPRESSION, seed=3)
    assert export(*arguments) == 0
    output = capsys.readouterr()
    assert "rebuilt: 0026/e0/frame_000000: stale: " in output.err
    assert unit.stat().st_ino != first
    assert (unit / "images" / "cam_25.jpg").samefile(subjects / "0026/e0/images/cam_25/frame_000000.jpg")
    assert (unit / "notes.txt").read_text() == "a person's own"
    (unit / "points3d.ply").unlink()
    assert export(*arguments) == 0
    assert "rebuilt: 0026/e0/frame_000000: damaged: points3d.ply" in capsys.readouterr().err
    assert export(*arguments, "--split", "hold:2") == 0
    assert "made with --split none, not hold:2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nerfstudi", "subjects"), "did you mean nerfstudio?"),
        (("nerfstudio", "subjects", "--frames", "x"), "--frames x: give a frame"),
        (("nerfstudio", "subjects", "--size", "512"), "--size means nothing to format nerfstudio"),
        (("nerfstudio", "subjects", "--split", "half"), "--split half: give none, bench, or hold:N"),
        (("nerfstudio", "subjects", "--subject", "0099"), "none of the 3 published performances is selected"),
        (("nerfstudio", "nothing.yaml"), "nothing.yaml"),
        (("nerfstudio", "subjects", "--cameras", "rings"), "rings"),
    ],
)
def test_bad_requests_are_one_line(
    subjects: Path, tmp_path: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(subjects) if each == "subjects" else each for each in arguments]
    assert export(*given, "--output", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_published_folders_are_never_the_place_of_an_export(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output in (subjects, subjects / "0026" / "e0", subjects / "0026" / "e0" / "export"):
        assert export("nerfstudio", subjects, "--output", output, "--force") == 2
    assert "would be written to the published folder" in capsys.readouterr().err
    other = tmp_path / "0026" / "e0"
    other.mkdir(parents=True)
    (other / ".extraction_complete").write_text("{}")
    assert export("nerfstudio", subjects / "0026" / "e0", "--output", tmp_path, "--force") == 1
    assert "is a published performance" in capsys.readouterr().err


def test_what_is_in_the_way_is_replaced_only_by_force_and_kept(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = tmp_path / "0026" / "e0" / "frame_000000"
    unit.mkdir(parents=True)
    (unit / "mine.txt").write_text("mine")
    assert export("nerfstudio", subjects / "0026" / "e0", "--output", tmp_path) == 1
    assert "use --force to replace it" in capsys.readouterr().err
    assert export("nerfstudio", subjects / "0026" / "e0", "--output", tmp_path, "--force") == 0
    assert (unit / "mine.txt").read_text() == "mine"
    assert record_of(unit)["views"] == 6


def test_an_export_of_another_format_is_not_replaced(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("nerfstudio", subjects / "0026" / "e0", "--output", tmp_path) == 0
    assert export("colmap", subjects / "0026" / "e0", "--output", tmp_path) == 1
    assert "it is an export of format nerfstudio; choose another --output" in capsys.readouterr().err
    assert record_of(tmp_path / "0026" / "e0" / "frame_000000")["format"] == "nerfstudio"


def test_a_dry_run_writes_nothing(subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("nerfstudio", subjects, "--output", tmp_path / "out", "--frames", "all", "--dry-run") == 0
    assert not (tmp_path / "out").exists()
    output = capsys.readouterr().out
    assert "10 absent" in output
    assert "would write 10 exports: 40 files and" in output
    assert "inodes" in output


def test_splits_name_views_to_train_and_to_test_with(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("nerfstudio", subjects / "0018" / "e1", "--output", tmp_path / "bench", "--split", "bench") == 0
    document = json.loads((tmp_path / "bench/0018/e1/frame_000000/transforms.json").read_text())
    assert [len(document[f"{name}_filenames"]) for name in ("train", "val", "test")] == [38, 22, 22]
    assert export("nerfstudio", subjects / "0018" / "e1", "--output", tmp_path / "hold", "--split", "hold:8") == 0
    document = json.loads((tmp_path / "hold/0018/e1/frame_000000/transforms.json").read_text())
    assert len(document["test_filenames"]) == 8
    assert "images/cam_25.jpg" in document["train_filenames"]
    assert not set(document["test_filenames"]) & set(document["train_filenames"])
    assert export("nerfstudio", subjects / "0026" / "e0", "--output", tmp_path, "--split", "bench") == 1
    assert "--split bench needs all 60 cameras, and 54 are not there" in capsys.readouterr().err


def test_the_formats_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert export("--list") == 0
    output = capsys.readouterr().out
    assert "nerfstudio" in output
    assert "needs images, calibration" in output


def verify(*arguments: object) -> int:
    """Run `rm360 verify` and return its exit code."""
    return main(["verify", *map(str, arguments)])


def test_verify_tells_complete_stale_and_damaged_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subjects = publish(tmp_path, EXPRESSION)
    out = tmp_path / "out"
    assert export("nerfstudio", subjects, "--output", out, "--frames", "0:3") == 0
    assert verify(out) == verify(out, "--deep") == 0
    assert "3 exports: 3 complete" in capsys.readouterr().out
    moments = [out / "0026" / "e0" / f"frame_00000{frame}" for frame in range(3)]
    document = (moments[0] / "transforms.json").read_bytes()
    (moments[0] / "transforms.json").write_bytes(document.replace(b"1", b"2", 1))
    (moments[1] / "images" / "cam_25.jpg").unlink()
    assert verify(out) == 1
    assert "2 complete, 1 damaged" in capsys.readouterr().out
    assert verify(out, "--deep") == 1
    assert "frame_000000: damaged: transforms.json: content does not match" in capsys.readouterr().out
    (subjects / "0026/e0/images/cam_25/frame_000002.jpg").unlink()
    assert verify(out, "--json") == 1
    exports = json.loads(capsys.readouterr().out)["exports"]
    assert exports["0026/e0/frame_000002"]["state"] == "stale"
    assert "other pictures are there now" in exports["0026/e0/frame_000002"]["reason"]
    shutil.rmtree(subjects / "0026" / "e0")
    assert verify(out, "--subject", "0026") == 1
    assert "is gone; " in capsys.readouterr().out
    assert verify(out, "--repair") == 2
    assert verify(subjects) == 2
    assert "holds no exports" in capsys.readouterr().err


@pytest.mark.slow
def test_cameras_that_are_added_make_only_exports_of_all_stale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Completing keeps the inodes of pictures, so links of exports stay those of the folder."""
    subjects = publish(tmp_path, EXPRESSION)
    folder = subjects / "0026" / "e0"
    missing = folder / "images" / "cam_52"
    missing.rename(tmp_path / "cam_52")
    out = tmp_path / "out"
    for name, cameras in (("all", "all"), ("chosen", "25,26"), ("ring", "ring:3")):
        assert export("nerfstudio", subjects, "--output", out / name, "--cameras", cameras) == 0
    (tmp_path / "cam_52").rename(missing)
    capsys.readouterr()
    assert verify(out / "chosen") == verify(out / "ring") == 0
    assert verify(out / "all") == 1
    assert "stale: 1 cameras more since" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_export_leaves_nothing_under_a_name_and_is_resumed(tmp_path: Path) -> None:
    """Killed with -9 three times while it writes: what has a name then is whole, and the rest is exported later."""
    subjects = publish(tmp_path, replace(EXPRESSION, frames=30, holes={}, distinct_images=2))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "rm360_async", "export", "nerfstudio", str(subjects), "--output", str(out)]
    command += ["--frames", "all", "--jobs", "2"]
    random = np.random.default_rng(5)
    for _ in range(3):
        published = len(_named(out))
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 60
        while len(_named(out)) == published and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(float(random.uniform(0, 0.1)))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for path in _named(out):
            assert read_record(path) is not None
            assert damage(path, deep=True).state == "complete"
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert verify(out, "--deep") == 0
    assert len(_named(out)) == 30
    assert not list(out.rglob(".*.staging"))


@pytest.mark.slow
@pytest.mark.parametrize("point", ["export written", "export checked"])
def test_an_export_killed_at_a_step_is_made_whole_by_the_next(subjects: Path, tmp_path: Path, point: str) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "rm360_async", "export", "nerfstudio", str(subjects), "--output", str(out)]
    hooks = {
        "PYTHONPATH": str(Path(__file__).parent / "hook"),
        "RM360_FAULT_HOOKS": json.dumps([{"point": point, "do": "kill_all"}]),
        "RCLONE_CONFIG": str(tmp_path / "marks-the-processes"),
    }
    killed = subprocess.run(command, stdout=subprocess.DEVNULL, env={**os.environ, **hooks}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert _named(out) == [] and list(out.rglob(".*.staging"))
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert verify(out, "--deep") == 0 and _named(out) and not list(out.rglob(".*.staging"))


def _named(out: Path) -> list[Path]:
    return [path for path in out.glob("*/*/frame_*") if not path.name.startswith(".")]


@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_the_bar_is_untouched(subjects: Path, tmp_path: Path, mode: str) -> None:
    """A program that writes in place into an export gets an error, and the published pictures stay."""
    before = tree(subjects)
    pictures = [path for path in subjects.rglob("*") if path.is_file() and {"images", "masks"} & set(path.parts)]
    assert {path.stat().st_mode & 0o777 for path in pictures} == {0o444}
    for format_name in ("nerfstudio", "colmap"):
        assert export(format_name, subjects, "--output", tmp_path / format_name, "--images", mode) == 0
    picture = tmp_path / "nerfstudio" / "0026" / "e0" / "frame_000000" / "images" / "cam_25.jpg"
    if os.geteuid():  # root may write anything
        with pytest.raises(PermissionError):
            picture.write_bytes(b"overwritten")
    shutil.rmtree(tmp_path / "nerfstudio")
    assert tree(subjects) == before


@pytest.mark.slow
def test_a_stopped_export_leaves_nothing_unfinished(tmp_path: Path) -> None:
    subjects = publish(tmp_path, replace(EXPRESSION, frames=30, holes={}, distinct_images=2))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "rm360_async", "export", "nerfstudio", str(subjects), "--output", str(out)]
    process = subprocess.Popen(
        [*command, "--frames", "all"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not _named(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "stopped"
    assert not list(out.rglob(".*.staging"))
    assert verify(out) == 0


def test_a_performance_is_given_once(subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(subjects / "0026", tmp_path / "copy" / "0026")
    assert export("nerfstudio", subjects, tmp_path / "copy", "--output", tmp_path / "out") == 2
    assert "0026/e0 is in " in capsys.readouterr().err


def test_pictures_that_cannot_be_read_fail_one_performance(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link that leads nowhere in the place of a picture; the other performances are exported."""
    shutil.copytree(subjects, tmp_path / "subjects")
    picture = tmp_path / "subjects/0026/e0/images/cam_25/frame_000000.jpg"
    picture.unlink()
    picture.symlink_to(tmp_path / "nowhere")
    assert export("nerfstudio", tmp_path / "subjects", "--output", tmp_path / "out", "--images", "copy") == 1
    assert "failed: 0026/e0" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*/*/frame_000000"))) == 2


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no second file system")
def test_across_file_systems_links_are_soft_and_the_output_says_so(
    subjects: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.stat("/dev/shm").st_dev == subjects.stat().st_dev:
        pytest.skip("/dev/shm is on the same file system")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as out:
        assert export("nerfstudio", subjects / "0026" / "e0", "--output", out) == 0
        assert "pictures are soft links, since hard links are not possible" in capsys.readouterr().out
        picture = Path(out) / "0026" / "e0" / "frame_000000" / "images" / "cam_25.jpg"
        assert picture.is_symlink()
        assert picture.read_bytes()
        assert verify(out) == 0
        assert export("nerfstudio", subjects / "0026" / "e0", "--output", out, "--force") == 0
        assert not list(Path(out).rglob(".*.kept"))  # links of the old export went with it


@pytest.mark.parametrize("format_name", ["nerfstudio", "colmap"])
def test_a_calibration_of_another_convention_is_refused(
    subjects: Path, tmp_path: Path, format_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(subjects / "0018" / "e1", tmp_path / "0018" / "e1")
    path = tmp_path / "0018" / "e1" / "calibration" / "cameras.json"
    stored = json.loads(path.read_text())
    for camera in stored["cameras"].values():
        camera["RT"] = np.linalg.inv(camera["RT"]).tolist()
    path.write_text(json.dumps(stored))
    assert export(format_name, tmp_path / "0018" / "e1", "--output", tmp_path / "out") == 1
    assert "failed: 0018/e1: its calibration cannot be trusted: RT is not camera" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_swapped_cameras_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subjects = publish(tmp_path, replace(EXPRESSION, swapped=(("25", "37"),)))
    assert export("nerfstudio", subjects, "--output", tmp_path / "out") == 0
    assert "the calibration fails a check, ids: cameras 25 and 37 are swapped" in capsys.readouterr().out


def test_a_full_disk_stops_the_export_and_leaves_nothing(
    subjects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real disk of 400 kB: one unit fits, no copy of the pictures of the whole rig does."""
    try:
        disk = SmallDisk(Workspace(tmp_path, monkeypatch), 400_000)
    except NoSmallDisk as error:
        pytest.skip(str(error))
    with disk:
        command = [*disk.enter, sys.executable, "-m", "rm360_async", "export", "nerfstudio", str(subjects)]
        command += ["--output", str(disk.mount_point), "--images", "copy"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert ended.returncode == 3
        assert "no space left on the disk; free some space" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert not list(disk.outside_path.rglob(".*.staging"))


def test_a_folder_of_any_name_is_exported_under_that_of_its_marker(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(subjects / "0026" / "e0", tmp_path / "fetched")
    assert export("nerfstudio", tmp_path / "fetched", "--output", tmp_path / "out", "--subject", "0026") == 0
    assert record_of(tmp_path / "out" / "0026" / "e0" / "frame_000000")["views"] == 6
    shutil.copytree(subjects / "0026" / "e0", tmp_path / "subjects" / "0027" / "e0")
    assert export("nerfstudio", tmp_path / "subjects", "--output", tmp_path / "other") == 1
    assert "failed: 0027/e0: " in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
