"""What the releases hold, and the verdict: every loss is named by the right check, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.cli.main import main
from rm360_async.domain.cameras.rig import S3_CAMERAS, rig
from rm360_async.domain.completeness import ExtractionFacts, assess_completeness
from rm360_async.domain.formatting import number_ranges
from rm360_async.domain.names import Modality, Performance, Structure
from rm360_async.domain.record import CompletenessLevel, LeftOut, Record, SourceFile
from rm360_async.domain.release import (
    Absence,
    absence_of_camera,
    camera_remarks,
    frame_rate,
    possible_layouts,
    released_content,
    released_content_of,
)
from rm360_async.extraction.extract import extract
from rm360_async.extraction.job import ExtractJob
from rm360_async.store.marker import parse_marker
from rm360_async.synthetic.remote import demo_plan
from rm360_async.synthetic.renderer import Renderer
from rm360_async.synthetic.smc_writer import write_pair, write_smc
from rm360_async.synthetic.spec import SmcSpec

S1, S3 = Performance("0018", "s1_all"), Performance("0018", "s3_all")
NOT_IN_500 = frozenset(Modality) - {Modality.METADATA, Modality.CALIBRATION, Modality.IMAGES, Modality.AUDIO}
EVERY = tuple(rig())


def of_500(
    performance: Performance = S1, cameras: tuple[str, ...] = ("25",), count: int = 300, **more: Any
) -> ExtractionFacts:
    """Return a clean extraction of the 500-subject release, changed by keyword."""
    clean = ExtractionFacts(
        performance,
        (f"0018/0018_{performance.name}_raw.smc",),
        absent=NOT_IN_500,
        frames={camera: range(count) for camera in cameras},
        extracted_cameras=cameras,
        fps=15.0 if performance.name == "s3_all" else 30.0,
    )
    return replace(clean, **more)


def findings(facts: ExtractionFacts) -> dict[str, str]:
    """Return what is wrong, by the name of the check; one of each at most."""
    verdict = assess_completeness(facts)
    assert (verdict.level is CompletenessLevel.DAMAGED) == bool(verdict.findings)
    assert len({finding.check for finding in verdict.findings}) == len(verdict.findings)
    return {finding.check: finding.message for finding in verdict.findings}


def test_the_releases_hold_what_is_known_of_them() -> None:
    s3 = released_content(Structure.SINGLE, "s3_all")
    assert s3 is not None and s3.cameras == S3_CAMERAS and s3.fps == 15
    s1 = released_content(Structure.SINGLE, "s1_all")
    assert s1 is not None and s1.cameras == ("25",) and s1.fps == 30 and Modality.MASKS not in s1.modalities
    e5, pair = released_content(Structure.SINGLE, "e5"), released_content(Structure.PAIR, "e5")
    assert e5 is not None and e5.key_frames and e5.cameras == EVERY and Modality.AUDIO not in e5.modalities
    assert pair is not None and not pair.key_frames and pair.modalities == set(Modality) - {Modality.AUDIO}
    speech, hair = released_content(Structure.PAIR, "s3_all"), released_content(Structure.PAIR, "h1_7bk")
    assert (
        speech is not None and speech.fps == 30 and speech.cameras == EVERY and Modality.FLAME not in speech.modalities
    )
    assert hair is not None and Modality.KEYPOINTS3D in hair.modalities and Modality.AUDIO not in hair.modalities
    assert released_content(Structure.PAIR, "s3") is None


def test_the_layout_follows_from_the_paths() -> None:
    assert possible_layouts(["0018/0018_s1_all_raw.smc"]) == (Structure.SINGLE,)
    assert possible_layouts(["raw/0026/0026_e0_raw.smc"]) == (Structure.PAIR,)
    assert possible_layouts(["/data/0026_e0_raw.smc", "/data/0026_e0_anno.smc"]) == (Structure.PAIR,)
    assert possible_layouts(["/data/x/0026_e0_raw.smc"]) == (Structure.SINGLE, Structure.PAIR)
    held = released_content_of("s1_all", ["/data/x/0026_s1_all_raw.smc"], EVERY)
    assert held is not None and held.cameras == EVERY
    alone = released_content_of("s1_all", ["/data/x/0026_s1_all_raw.smc"], ["25"])
    assert alone is not None and alone.cameras == ("25",)


@pytest.mark.parametrize(
    "clean",
    [
        of_500(),
        of_500(S3, S3_CAMERAS),
        of_500(S3, S3_CAMERAS, extracted_cameras=("00", "24", "48"), wanted_cameras=("00", "06", "24", "48")),
        of_500(Performance("0018", "e1"), EVERY, 13, fps=None, absent=NOT_IN_500 | {Modality.AUDIO}),
        of_500(Performance("0018", "h0"), EVERY, 1, fps=None, absent=NOT_IN_500 | {Modality.AUDIO}),
    ],
)
def test_clean_files_are_complete_as_released(clean: ExtractionFacts) -> None:
    verdict = assess_completeness(clean)
    assert (
        verdict.level is CompletenessLevel.AS_RELEASED
        and verdict.findings == ()
        and str(verdict).removesuffix(": asked for and not released: cam_06") == "complete as released"
    )
    assert "masks" in verdict.absent_as_released and ("cam_06" in str(verdict)) == (clean.wanted_cameras != "all")


def test_what_was_wanted_and_is_there_is_complete() -> None:
    wanted = frozenset({Modality.IMAGES, Modality.AUDIO})
    chosen = of_500(
        S3, S3_CAMERAS, wanted=wanted, absent=frozenset(), wanted_cameras="ring:8", extracted_cameras=S3_CAMERAS[:8]
    )
    assert str(assess_completeness(chosen)) == "complete"
    every = assess_completeness(replace(chosen, wanted_cameras="all", extracted_cameras=S3_CAMERAS))
    assert every.level is CompletenessLevel.AS_RELEASED and every.absent_as_released == (
        "images of 22 cameras (02 06 08 10 12 14 18 22 ...)",
    )


@pytest.mark.parametrize(
    ("facts", "check", "message"),
    [
        (of_500(fps=15.0), "frame rate", "15 frames a second by its sound, where the release has 30"),
        (of_500(fps=61.2, fps_note="unexpected: 61.2"), "frame rate", "unexpected: 61.2"),
        (of_500(S3, S3_CAMERAS, fps=30.0), "frame rate", "30 frames a second by its sound, where the release has 15"),
        (
            of_500(count=0),
            "frame counts",
            "cam_25 without any frame",
        ),
        (
            of_500(failed_checks=["ids: cameras 24 and 27 are swapped"]),
            "calibration",
            "ids: cameras 24 and 27 are swapped",
        ),
        (of_500(absent=NOT_IN_500 | {Modality.AUDIO}, fps=None), "modalities", "audio released, but not in the source"),
        (of_500(S3, S3_CAMERAS[1:]), "cameras", "cam_00 released, but not in the source"),
        (
            of_500(left_out=[LeftOut("images", "25", 3, "ends early")]),
            "left out",
            "1 broken in the source, first images cam_25 frame 3: ends early",
        ),
    ],
)
def test_each_loss_is_named_by_its_check_alone(facts: ExtractionFacts, check: str, message: str) -> None:
    assert findings(facts) == {check: message}
    assert str(assess_completeness(facts)) == f"damaged: {check}: {message}"


def test_gaps_and_short_cameras_are_different_findings() -> None:
    frames = {camera: set(range(486)) for camera in S3_CAMERAS}
    frames["31"] = set(range(486)) - {100}
    assert findings(of_500(S3, S3_CAMERAS, frames=frames)) == {"gaps": "cam_31 without frame 100"}
    frames["31"], frames["05"] = set(range(486)), set(range(243))
    assert findings(of_500(S3, S3_CAMERAS, frames=frames)) == {
        "frame counts": "cam_05 with 243 of 486 frames, the last 242"
    }
    frames["05"] = set()
    assert findings(of_500(S3, S3_CAMERAS, frames=frames)) == {"frame counts": "cam_05 without any frame"}
    everywhere = {camera: set(range(486)) - {0, 7, 8} for camera in S3_CAMERAS}
    assert findings(of_500(S3, S3_CAMERAS, frames=everywhere)) == {"gaps": "all 38 cameras without frames 0, 7-8"}
    unchosen = findings(of_500(S3, S3_CAMERAS, frames=frames, extracted_cameras=("24",), wanted_cameras=("24",)))
    assert unchosen == {}


def test_key_frames_may_have_gaps_but_not_in_one_camera_only() -> None:
    key = {camera: {0, 40, 81} for camera in EVERY}
    e1 = of_500(Performance("0018", "e1"), EVERY, frames=key, fps=None, absent=NOT_IN_500 | {Modality.AUDIO})
    assert findings(e1) == {}
    key["07"] = {0, 81}
    assert findings(e1) == {"gaps": "cam_07 without frame 40"}


def test_one_file_of_a_pair_is_assessed_by_what_it_can_hold() -> None:
    absent = frozenset(Modality) - {Modality.METADATA, Modality.IMAGES, Modality.AUDIO}
    raw = of_500(S1, EVERY, sources=("raw/0026/0026_s1_all_raw.smc",), absent=absent)
    verdict = assess_completeness(raw)
    assert (
        verdict.level is CompletenessLevel.AS_RELEASED
        and "calibration (in the other file of the pair)" in verdict.absent_as_released
    )
    both = replace(raw, sources=(*raw.sources, "anno/0026/0026_s1_all_anno.smc"))
    assert "calibration, masks, keypoints2d, keypoints3d released" in findings(both)["modalities"]
    assert findings(replace(raw, sources=("/tmp/any/0026_s1_all_raw.smc",))) == {}


def test_a_long_verdict_is_cut_and_names_outside_the_grammar_are_assessed_by_frames_only() -> None:
    verdict = assess_completeness(of_500(failed_checks=["x" * 900]))
    assert len(str(verdict)) == 600 and str(verdict).endswith(" ...")
    unknown = of_500(Performance("0000", "notes"), ("25", "31"), 10, absent=frozenset(Modality), fps=15.0)
    assert str(assess_completeness(unknown)) == "complete"
    short = replace(unknown, frames={"25": range(10), "31": range(5)})
    assert findings(short) == {"frame counts": "cam_31 with 5 of 10 frames, the last 4"}


def test_the_reason_why_a_camera_is_absent() -> None:
    s3 = released_content(Structure.SINGLE, "s3_all")
    assert absence_of_camera("02", s3, "all") is Absence.NOT_RELEASED
    assert absence_of_camera("00", s3, "all") is Absence.LOST
    assert (
        absence_of_camera("00", s3, ("24",)) is Absence.NOT_WANTED
        and absence_of_camera("24", s3, ("24",)) is Absence.LOST
    )
    assert (
        absence_of_camera("00", s3, "ring:8") is Absence.NOT_WANTED
        and absence_of_camera("00", s3, "ring:40") is Absence.LOST
    )
    assert (
        absence_of_camera("00", s3, "s3-38") is Absence.LOST and absence_of_camera("00", None, "all") is Absence.UNKNOWN
    )


def test_remarks_say_which_wanted_cameras_the_release_has_not() -> None:
    performances = [
        Performance(subject, name) for subject in ("0018", "0019") for name in ("s1_all", "s2_all", "s3_all", "e0")
    ]
    sixth = tuple(f"{number:02d}" for number in range(0, 60, 6))
    assert camera_remarks(Structure.SINGLE, performances, sixth) == [
        "s1_all, s2_all: 0 of the 10 wanted cameras; the release has only 1, not 00 06 12 18 24 30 36 42 48 54",
        "s3_all: 3 of the 10 wanted cameras (00 24 48); the release has only 38, not 06 12 18 30 36 42 54",
    ]
    every = camera_remarks(Structure.SINGLE, performances, "all")
    assert every[0] == "s1_all, s2_all: 1 of the 60 cameras (25), as released"
    assert every[1].startswith("s3_all: 38 of the 60 cameras (00 01 03") and len(every) == 2
    assert camera_remarks(Structure.SINGLE, performances, "ring:10") == [
        "s1_all, s2_all: 1 of the 10 wanted cameras (25); the release has only 1"
    ]
    assert camera_remarks(Structure.SINGLE, performances, ("25",)) == []
    assert camera_remarks(Structure.PAIR, performances, "all") == []


def test_a_dry_run_prints_the_remarks(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.put("0018/0018_s3_all_raw.smc", Tiny(part="s3_all"))
    workspace.put("0018/0018_e1_raw.smc", Tiny(part="e1"))
    assert workspace.run("--dry-run", "--cameras", "0,6,12,24") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not released:")]
    assert lines == ["not released: s3_all: 2 of the 4 wanted cameras (00 24); the release has only 38, not 06 12"]
    assert workspace.run("--dry-run", "--cameras", "0,6", "--modalities", "audio") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not released:")]
    assert lines == [
        "not released: e1: nothing that is asked for was released, so nothing is downloaded",
        "not released: e1: released without audio",
    ]


def test_what_was_never_released_is_not_downloaded_and_named(workspace: Workspace) -> None:
    """The list of every sixth camera, and landmarks, of the 500-subject release."""
    workspace.put("0018/0018_s1_all_raw.smc", Tiny(cameras=("00", "25")))
    workspace.put("0018/0018_s3_all_raw.smc", Tiny(part="s3_all", cameras=S3_CAMERAS, anno=False, filler=10))
    sixth = [0, 6, 12, 18, 24]
    wanted: dict[str, Any] = {"extraction__cameras": sixth, "extraction__modalities": ["images", "keypoints2d"]}
    assert workspace.run(**wanted) == 0
    assert not workspace.folder("0018/s1_all").exists() and workspace.attempts() == 1
    verdict = workspace.manifest()["0018/s3_all"]["verdict"]
    assert verdict.endswith("asked for and not released: keypoints2d, 3 cameras (06 12 18)")
    log = workspace.log()
    start, summary = log[: log.index("published")], log[log.index("EXTRACTION SUMMARY") :]
    for line in (
        "s1_all: nothing that is asked for was released, so nothing is downloaded",
        "s1_all: 0 of the 5 wanted cameras",
        "s1_all, s3_all: released without keypoints2d",
    ):
        assert line in start and line in summary
    nothing = workspace.run("--performance", "s1_all", "--force", **wanted)
    assert nothing == 1 and not workspace.folder("0018/s1_all").exists(), "no success without anything"
    assert workspace.run("--cameras", "60") == 2


def test_an_extraction_that_finds_nothing_publishes_no_empty_folder(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace.put("0018_s1_all_raw.smc", Tiny(cameras=("00", "25")))
    target = workspace.root / "out"
    assert main(["extract", str(path), "--output", str(target), "--modalities", "keypoints2d"]) == 1
    assert "has nothing of what is asked for: keypoints2d" in capsys.readouterr().err
    assert not target.exists() and list(workspace.root.glob(".out*")) == []


def test_the_rate_is_snapped_or_unexpected() -> None:
    usual = frame_rate(1911, 63.73)
    assert usual is not None and (usual.fps, usual.note) == (30, "")
    slow = frame_rate(713, 47.5)
    assert slow is not None and slow.fps == 15
    unusual = frame_rate(1911, 31.2)
    assert (
        unusual is not None
        and unusual.fps == 61.25
        and unusual.note == ("unexpected frame rate 61.2 fps (1911 frames, 31.20 s of audio); expected 30 or 15")
    )
    assert frame_rate(0, 3.0) is frame_rate(3, 0.0) is None


def test_ranges_are_short() -> None:
    assert number_ranges([9, 7, 8, 3]) == "3, 7-9" and number_ranges([]) == ""
    assert number_ranges(range(0, 40, 2), 2) == "0, 2 and 18 more"


def extracted(
    folder: Path, raw: Path, anno: Path | None = None, name: str = "s1_all", **more: Any
) -> tuple[Record, Any]:
    """Extract and return the record with info.json."""
    performance = Performance(raw.name[:4] if raw.name[:4].isdigit() else "0018", name)
    sources = tuple(SourceFile(str(path), 1) for path in (raw, anno) if path)
    job = ExtractJob(performance, str(raw), str(anno) if anno else None, sources, str(folder / ".o.staging"), **more)
    record = extract(job)
    return record, json.loads((folder / ".o.staging/metadata/info.json").read_text())


SOUND: dict[str, Any] = {"modalities": ("metadata", "images", "audio")}


@pytest.mark.parametrize(
    ("tiny", "check", "message"),
    [
        (Tiny(cameras=("00", "25"), frames=120), "", "complete"),
        (Tiny(cameras=("00", "25"), frames=60, seconds=4.0), "frame rate", "15 frames a second by its sound"),
        (Tiny(cameras=("00", "25"), frames=120, holes={"25": (100,)}), "gaps", "cam_25 without frame 100"),
        (Tiny(cameras=("00", "25"), frames=120, seconds=120 / 61.2), "frame rate", "unexpected frame rate 61.2 fps"),
        (Tiny(frames=60, holes={"31": tuple(range(30, 60))}), "frame counts", "cam_31 with 30 of 60 frames"),
        (Tiny(cameras=("00", "25"), frames=120, actor="0019"), "identity", "the source says actor_id '0019'"),
        (Tiny(cameras=("00", "25"), frames=120, part="s2_all"), "identity", "says performance_part 's2_all'"),
    ],
)
def test_extraction_reports_what_is_wrong(tmp_path: Path, tiny: Tiny, check: str, message: str) -> None:
    record, info = extracted(tmp_path, tiny.write(tmp_path / "0018_s1_all_raw.smc"), **SOUND)
    assert info["verdict"] == record.verdict.split(":")[0] and message in record.verdict
    named = [finding["check"] for finding in info["findings"]]
    others = {"cameras"} if check == "frame counts" else set()  # two cameras are neither release's
    assert set(named) - others == ({check} if check else set())
    assert record.fps == (
        15 if "15 frames" in message else pytest.approx(61.2, abs=0.1) if "unexpected" in message else 30
    )


@pytest.mark.slow
@pytest.mark.parametrize("layout", list(Structure))
def test_the_demo_is_as_released_and_its_one_hole_is_found(tmp_path: Path, layout: Structure) -> None:
    renderer = Renderer(1 / 16)
    for spec in demo_plan(layout):
        if spec.performance.name not in ("s1_all", "s3_all", "e0"):
            continue
        small = replace(spec, scale=1 / 16, distinct_images=1)
        raw = tmp_path / f"{spec.performance.subject}_{spec.performance.name}_raw.smc"
        anno = raw.with_name(raw.name.replace("_raw", "_anno")) if layout is Structure.PAIR else None
        if anno is None:
            write_smc(raw, small, renderer)
        else:
            write_pair(raw, anno, small, renderer)
        folder = tmp_path / spec.performance.name / spec.performance.subject
        folder.mkdir(parents=True)
        record, info = extracted(folder, raw, anno, spec.performance.name)
        expected = (
            "damaged: gaps: cam_31 without frame 4" if spec.performance.name == "s3_all" else "complete as released"
        )
        assert record.verdict == expected
        assert info["calibration"]["state"] == "ok" and "head in frame" in str(info["calibration"]["checks"])


def test_swapped_ids_in_a_file_make_it_damaged(tmp_path: Path) -> None:
    spec = SmcSpec(frames=2, scale=1 / 16, swapped=(("24", "27"),))
    record, info = extracted(tmp_path, write_smc(tmp_path / "0018_s1_all_raw.smc", spec))
    assert record.verdict.startswith("damaged: calibration: ids: cameras 24 and 27 are swapped")
    assert [finding["check"] for finding in info["findings"]] == ["calibration"]
    assert info["calibration"]["state"] == "fail"


def test_a_marker_from_before_verdicts_is_still_read(tmp_path: Path) -> None:
    record, _ = extracted(tmp_path, Tiny(cameras=("00", "25")).write(tmp_path / "0018_s1_all_raw.smc"), **SOUND)
    assert parse_marker(record.to_json()) == record and record.verdict == "complete as released"
    older = json.loads(record.to_json())
    del older["verdict"]
    assert parse_marker(json.dumps(older)) == replace(record, verdict="")
