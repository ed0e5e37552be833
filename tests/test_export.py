"""`rm360 export`: units, links, resuming, staleness, and that published folders stay as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from exported import CAMERAS, EXPRESSION, SPEECH, WHOLE_RIG, export, extract_again, publish, record_of
from workspace import tree

from rm360_async.export.format import NOTICE


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
