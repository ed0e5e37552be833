"""The grammar of selections: what each term selects, how terms are combined, and what an error says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.cli.main import main
from rm360_async.config import parse_cameras, parse_filter, parse_modalities
from rm360_async.config.parsers import parse_performances, parse_subjects
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import Modality, Performance
from rm360_async.domain.terms import expand, is_selected, nearest_text, single_names, unmatched_terms

SUBJECTS = tuple(f"{number:04d}" for number in range(0, 60))
PERFORMANCES = ("e0", "e1", "e2", "e10", "h0", "h1_7bk", "h2", "s1_all", "s2_all", "s3_all")


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("0018", ["0018"]),
        ("0018,0019", ["0018", "0019"]),
        ("0018 0019", ["0018", "0019"]),
        ("0019, 0018 ,0019", ["0019", "0018"]),
        ("001?", [f"001{n}" for n in range(10)]),
        ("0018-0021", ["0018", "0019", "0020", "0021"]),
        ("0018-0021 -0020", ["0018", "0019", "0021"]),
        ("0018-0021 -0019-0020 +0020", ["0018", "0021", "0020"]),
        ("-0001-0059", ["0000"]),
        ("all -00[1-5]?".replace("[1-5]", "?"), []),
        ("9999", ["9999"]),
        ("9998-9999", []),
    ],
)
def test_subjects(text: str, selected: list[str]) -> None:
    selector = parse_subjects([text])
    assert list(expand(selector, SUBJECTS)) == selected
    assert [each for each in SUBJECTS if is_selected(selector, each)] == sorted(set(selected) & set(SUBJECTS))


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("all", list(PERFORMANCES)),
        ("e*", ["e0", "e1", "e2", "e10"]),
        ("e1-e10", ["e1", "e2", "e10"]),
        ("h0-h1", ["h0", "h1_7bk"]),
        ("s1-s2", ["s1_all", "s2_all"]),
        ("s1_all-s3_all -s2_all", ["s1_all", "s3_all"]),
        ("-e* -h*", ["s1_all", "s2_all", "s3_all"]),
        ("s* +e0", ["s1_all", "s2_all", "s3_all", "e0"]),
    ],
)
def test_performances(text: str, selected: list[str]) -> None:
    assert list(expand(parse_performances(text), PERFORMANCES)) == selected


def test_commas_repetition_and_lists_are_the_same() -> None:
    assert parse_subjects(["0018,0019"]) == parse_subjects(["0018", "0019"]) == parse_subjects("0018 +0019")
    assert parse_cameras(["20-22", "25"]) == parse_cameras("20,21,22,25") == ("20", "21", "22", "25")
    assert parse_modalities(["images", "audio"]) == parse_modalities("images,audio")
    assert parse_modalities("all -images -masks") == tuple(
        each for each in Modality if each not in (Modality.IMAGES, Modality.MASKS)
    )


def test_a_selection_of_cameras_with_a_set_stays_a_text_that_means_the_same() -> None:
    assert parse_cameras("ring:10, 25 -49") == "ring:10 +25 -49"
    assert parse_cameras(parse_cameras("ring:10, 25 -49")) == "ring:10 +25 -49"
    assert parse_cameras("all") == parse_cameras("25 all") == "all"
    assert parse_cameras("-49") == "all -49"
    assert parse_cameras("20-25 -22") == ("20", "21", "23", "24", "25")


def test_only_full_names_need_no_listing_of_all_subjects() -> None:
    assert single_names(parse_subjects("0018 0019")) == ("0018", "0019")
    for text in ("all", "001?", "0018-0019", "0018 0019 -0018"):
        assert single_names(parse_subjects(text)) is None


def test_what_matches_nothing_is_named_with_the_nearest_names() -> None:
    wanted = parse_filter(["0018,0060-0070"], ["s7*"])
    known = [Performance(subject, name) for subject in ("0018", "0019", "0055") for name in ("e0", "s1_all", "s2_all")]
    assert wanted.unmatched(known) == [
        "no subject here matches 0060-0070; nearest: 0055, 0019, 0018",
        "no performance here matches s7*; nearest: s2_all, s1_all",
    ]
    assert unmatched_terms(parse_subjects("all -0099"), SUBJECTS) == []
    assert nearest_text("h1_9x", ["h1_7bk", "h1_3bn", "e0"]) == "; nearest: h1_7bk, h1_3bn"
    assert nearest_text("0018", []) == ""


WORDS = st.text("0123456789-+*?abels_:, ring", max_size=14)


@settings(deadline=None)
@given(WORDS)
def test_any_text_is_a_selection_or_one_line_that_says_why_not(text: str) -> None:
    for parse in (parse_subjects, parse_performances, parse_cameras, parse_modalities):
        try:
            selected = parse(text)
        except BadRequest as error:
            assert error.problems and all(line.isprintable() and line.startswith("--") for line in error.problems)
        else:
            assert parse(selected if isinstance(selected, str) else list(selected)) == selected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--subject", "18"], '--subject: "18" is not a subject id; did you mean "0018"?'),
        (["--performance", "s1"], '--performance: "s1" is not a performance name; did you mean s1_all?'),
        (["--cameras", "rign:10"], '--cameras: "rign:10" is not a camera set; did you mean ring:10?'),
        (["--modalities", "imags"], '--modalities: "imags" is not a modality; did you mean images?'),
    ],
)
def test_an_error_says_what_would_have_matched(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text('{google_drive: {remote_name: x}, extraction: {subjects: ["0018"]}, storage: {output_dir: out}}')
    assert main(["run", str(config), "--dry-run", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_page_explains_it_and_shows_what_a_selection_chooses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selection"]) == 0
    page = capsys.readouterr().out
    assert all(word in page for word in ("ring:N", "cover:N", "face:N", "front:N", "0018-0040", "s3-38"))
    assert max(map(len, page.splitlines())) < 80
    assert main(["selection", "--cameras", "face:2 +25"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "3 of the 60 cameras of the rig: 25 28 56",
        "2 of the 38 cameras of s3_all: 25 28",
    ]


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    """Return a workspace whose remote has three subjects with two performances each."""
    for subject in ("0018", "0019", "0030"):
        for name in ("e0", "e1"):
            tiny = Tiny(subject, name, cameras=("01", "25", "31"), audio=False)
            workspace.put(f"{subject}/{subject}_{name}_raw.smc", tiny)
    return workspace


def published(workspace: Workspace) -> list[str]:
    """Return the published performances."""
    return sorted(f"{path.parent.parent.name}/{path.parent.name}" for path in workspace.output.glob("*/*/.extr*te"))


@pytest.mark.rclone
def test_a_run_selects_by_ranges_patterns_and_minus_in_config_and_options(filled: Workspace) -> None:
    filled.subjects = "0018-0029 -0019"
    assert filled.run("--performance", "e* -e1") == 0
    assert published(filled) == ["0018/e0"]
    assert filled.run("--subject", "001?,-0018", "--subject", "0030", "--performance", "e1-e5") == 0
    assert published(filled) == ["0018/e0", "0019/e1", "0030/e1"]


@pytest.mark.rclone
def test_a_part_of_a_selection_that_matches_nothing_is_told_with_what_is_there(
    filled: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert filled.run("--subject", "0018,0040-0050", "--performance", "e0,s*") == 1
    log = filled.log()
    assert "the remote lists no subject that matches 0040-0050; nearest: 0030, 0019, 0018" in log
    assert "the remote lists no performance 's*' for subject 0018; nearest: e0, e1" in log
    assert published(filled) == ["0018/e0"]
    assert filled.command("run", "--dry-run", "--subject", "0018", "--performance", "e7") == 1
    assert "note: the remote lists no 0018/e7; nearest: e1, e0" in capsys.readouterr().out


@pytest.mark.rclone
def test_a_full_name_fails_for_a_subject_that_was_named_and_not_for_one_of_a_range(filled: Workspace) -> None:
    filled.put("0019/0019_e2_raw.smc", Tiny("0019", "e2", cameras=("25",), audio=False))
    filled.subjects = "0010-0020"
    assert filled.run("--performance", "e2") == 0
    assert published(filled) == ["0019/e2"] and list(filled.manifest()) == ["0019/e2"]
    filled.subjects = ["0018", "0019"]
    assert filled.run("--performance", "e2") == 1
    assert filled.status_of("0018/e2") == "download_failed"
    filled.subjects = "all"
    assert filled.run("--performance", "e2,e7,s*") == 0
    log = filled.log()
    assert "the remote lists no performance that matches e7; nearest: e2, e1, e0" in log
    assert "the remote lists no performance that matches s*; nearest: e0" in log


@pytest.mark.rclone
def test_other_commands_name_what_matches_nothing(filled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    filled.subjects = "0018"
    assert filled.run() == 0
    capsys.readouterr()
    assert filled.command("retry", "--subject", "0020-0022") == 0
    assert "note: no subject here matches 0020-0022; nearest: 0018" in capsys.readouterr().err
    assert filled.command("verify", "--performance", "h*") == 0
    assert "no performance here matches h*; nearest: e0, e1" in capsys.readouterr().out


@pytest.mark.rclone
def test_the_marker_has_the_cameras_that_a_set_chose_and_another_choice_is_told(
    filled: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    filled.subjects = ["0018"]
    assert filled.run("--performance", "e0", extraction__cameras="face:1 +01") == 0
    path = filled.folder("0018/e0") / ".extraction_complete"
    marker = json.loads(path.read_text())
    assert marker["wanted_cameras"] == "face:1 +01"
    assert marker["resolved_cameras"] == ["01", "25"] and marker["camera_pool"] == ["01", "25", "31"]
    assert filled.command("run", "--dry-run", "--cameras", "face:1 +01") == 0
    assert "chose other cameras" not in capsys.readouterr().out

    path.write_text(json.dumps(marker | {"resolved_cameras": ["01", "31"]}))  # as a version with another choice did
    assert filled.command("run", "--dry-run", "--cameras", "face:1 +01") == 0
    assert "face:1 +01 chose other cameras for 0018/e0 than it would now" in capsys.readouterr().out
    assert filled.command("run") == 0
    assert "chose other cameras for 0018/e0" in filled.log()
    assert json.loads(path.read_text())["resolved_cameras"] == ["01", "31"]
