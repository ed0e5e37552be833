"""Names are checked text, and paths come from one table."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rm360_async.domain import names
from rm360_async.domain.names import Kind, Modality, Performance, Structure

HOSTILE = ["", " ", "..", "../../etc", "/etc", "0018/", "0018\n", "-rf", "٠٠١٨", "00181", "18", "a" * 300, "0018\x00"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_ids_and_names_are_refused(text: str) -> None:
    assert not names.is_subject(text)
    assert not names.is_performance(text)
    assert not names.is_camera(text) or text == "18"


@pytest.mark.parametrize("name", ["e0", "e11", "h0", "h2", "h1_7bk", "h1_3bn", "h1_2g", "h1_4gld", "s1_all", "s6_all"])
def test_names_seen_in_the_releases_are_performances(name: str) -> None:
    assert names.is_performance(name)


@pytest.mark.parametrize("name", ["e1_all", "s1", "h1_all", "s1_ALL", "x0", "e", "h1_", "e0 ", "s*", "e1_7bk"])
def test_other_names_are_not(name: str) -> None:
    assert not names.is_performance(name)


def test_performances_sort_by_number() -> None:
    shuffled = ["s1_all", "e10", "h1_7bk", "e2", "h0"]
    ordered = sorted((Performance("0018", name) for name in shuffled), key=lambda each: each.sort_key)
    assert [each.name for each in ordered] == ["e2", "e10", "h0", "h1_7bk", "s1_all"]


def test_a_camera_is_two_digits_however_it_is_written() -> None:
    assert [names.camera_id(value) for value in (0, 7, "7", "07", "59")] == ["00", "07", "07", "07", "59"]
    for wrong in ("100", "-1", "x", "", "1.0", "²"):
        with pytest.raises(ValueError):
            names.camera_id(wrong)


@pytest.mark.parametrize("structure", list(Structure))
@pytest.mark.parametrize("kind", list(Kind))
def test_a_remote_path_is_read_back(structure: Structure, kind: Kind) -> None:
    performance = Performance("0026", "h1_3bn")
    path = names.remote_path(structure, performance, kind)
    assert names.parse_remote_path(structure, path) == (performance, kind)


@pytest.mark.parametrize(
    "path",
    ["0018/0018_s1_all_raw.smc.bak", "0019/0018_s1_all_raw.smc", "0018/../0018_s1_all_raw.smc", "0018_s1_all_raw.smc"],
)
def test_paths_outside_the_grammar_are_none(path: str) -> None:
    assert names.parse_remote_path(Structure.SINGLE, path) is None


@settings(deadline=None)
@given(st.text())
def test_no_listed_path_leads_out_of_the_output_folder(text: str) -> None:
    for path in (text, f"0018/{text}", f"0018/0018_{text}_raw.smc"):
        parsed = names.parse_remote_path(Structure.SINGLE, path)
        if parsed is not None:
            folder = names.output_folder(Path("/out"), parsed[0])
            assert folder.parent.parent == Path("/out")


def test_only_the_files_that_hold_the_wanted_modalities_are_needed() -> None:
    images, masks, metadata = Modality.IMAGES, Modality.MASKS, Modality.METADATA
    assert names.kinds_needed(Structure.SINGLE, [masks]) == (Kind.RAW,)
    assert names.kinds_needed(Structure.PAIR, [images, metadata]) == (Kind.RAW,)
    assert names.kinds_needed(Structure.PAIR, [masks]) == (Kind.ANNO,)
    assert names.kinds_needed(Structure.PAIR, list(Modality)) == (Kind.RAW, Kind.ANNO)
    assert names.kinds_needed(Structure.PAIR, [metadata]) == (Kind.RAW,)
