"""The summary of a manifest: numbers against a plain count, tables, and plots that show them."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.cli.main import main
from rm360_async.visualization.summary import by_performance, by_subject, decode_manifest, read_manifest
from rm360_async.visualization.theme import PERFORMANCE_COLOURS, bgr

HEAD = "subject,performance,status,cameras_extracted,frames,size_gb,timestamp,error,verdict\n"
LINES = """\
0018,e1,completed,60,13,1.5000,2026-11-20T10:00:00,,complete as released
0018,e10,completed,60,20,2.0000,2026-11-20T10:00:00,,complete as released
0018,e2,failed,0,0,0.0000,2026-11-20T10:00:00,"cut short, at 3",
0018,h1_7bk,completed,60,100,3.0000,2026-11-20T10:00:00,,complete
0018,s3_all,completed,38,713,5.5000,2026-11-20T10:00:00,,damaged: gaps: cam_31 without frame 4
0019,e1,completed,60,11,1.0000,2026-11-20T10:00:00,,complete as released
0019,h1_3bn,waiting,0,0,0.0000,2026-11-20T10:00:00,"quota of this file, until 2026-11-23 14:05",
0019,s3_all,downloading,0,0,0.0000,2026-11-20T10:00:00,,
0019,s4_all,pending,0,0,0.0000,2026-11-20T10:00:00,,
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "MANIFEST.csv"
    path.write_text(HEAD + LINES)
    return path


def test_sums_are_those_of_a_plain_count(manifest: Path) -> None:
    entries = read_manifest(manifest.read_text(), manifest)
    plain = list(csv.DictReader(io.StringIO(HEAD + LINES)))
    performances, subjects = by_performance(entries), by_subject(entries)
    assert list(performances) == ["e1", "e2", "e10", "h1", "s3", "s4"] and list(subjects) == ["0018", "0019"]
    for subject, total in subjects.items():
        of_subject = [line for line in plain if line["subject"] == subject]
        completed = [line for line in of_subject if line["status"] == "completed"]
        assert total.performances == len(of_subject) and total.frames[1] == median(
            int(line["frames"]) for line in completed
        )
        assert total.bytes == round(sum(float(line["size_gb"]) for line in completed) * 2**30)
    assert performances["h1"].performances == 2
    assert [*performances["e1"].cameras, *performances["e1"].frames] == [60, 60, 60, 11, 12, 13]
    states = Counter(entry.state.value for entry in entries)
    assert states == {"complete": 4, "damaged": 1, "failed": 1, "waiting": 1, "running": 1, "pending": 1}


def test_ids_of_the_earlier_tool_get_their_zeros_back(tmp_path: Path) -> None:
    head = "subject,performance,status,cameras_extracted,frames,size_gb,timestamp,error"
    entry = read_manifest(f"{head}\n18,s1_all,completed,1,1911,0.5,,\n", tmp_path)[0]
    assert (entry.subject, entry.verdict, entry.state.value) == ("0018", "", "complete")


def test_what_a_spreadsheet_may_do_without_harm(manifest: Path, tmp_path: Path) -> None:
    """A byte order mark, line ends of Windows, ids without zeros, a column more, an empty line."""
    path = tmp_path / "saved.csv"
    lines = [f"{line.lstrip('0')},remark" for line in (HEAD + LINES).splitlines()]
    path.write_bytes("\r\n".join([*lines, "," * lines[0].count(","), ""]).encode("utf-8-sig"))
    assert read_manifest(decode_manifest(path.read_bytes(), path), path) == read_manifest(HEAD + LINES, manifest)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_another_encoding_is_named(tmp_path: Path, encoding: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "saved.csv"
    path.write_bytes((HEAD + "0018,s1_all,failed,1,1,1,,sch\u00f6n,\n").encode(encoding))
    assert main(["summary", str(path)]) == 2
    assert "is not UTF-8 text (line" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no column subject, performance"),
        ("a,b\n1,2\n", "it has no column subject"),
        (HEAD + "0018,s1_all,completed,many,1,1,,,\n", "line 2 cannot be read"),
        (HEAD + LINES + "0018,s1_all,completed,1,1,nan,,,\n", "line 11 cannot be read"),
        (HEAD + "0018,s1_all,completed,1,-1,1,,,\n", "line 2 cannot be read"),
        (HEAD.replace(",", ";") + "18;s1_all;completed;1;1;0,5;;;\n", "its columns are separated by semicolons"),
        (HEAD.replace(",", "\t"), "its columns are separated by tabs"),
        (HEAD + '0018,s1_all,completed,1,1,"0,5",,,\n', "line 2 cannot be read: '0,5' has a decimal comma"),
        (HEAD + "1.8E+01,s1_all,completed,1,1,1,,,\n", "line 2 cannot be read: '1.8E+01' is not a subject id"),
    ],
)
def test_a_file_that_is_not_a_manifest_is_an_error(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    assert main(["summary", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]


def test_the_tables_have_a_row_for_each_group(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(manifest)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["complete", "damaged", "failed", "waiting", "running", "pending", "cameras", "frames", "size"]
    assert ["e1", "2", "-", "-", "-", "-", "-", "60", "11-13", "2.5", "GB"] in lines
    assert ["s3", "-", "1", "-", "-", "1", "-", "38", "713", "5.5", "GB"] in lines
    assert ["0018", "3", "1", "1", "-", "38-60", "13-713", "12", "GB"] not in lines  # every state has its column
    assert lines[-1][:2] == ["9", "performances:"]
    assert main(["summary", str(manifest), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["total"]["states"]["complete"] == 4 and value["subjects"]["0018"]["frames"]["most"] == 713


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [2, 300])
def test_plots_show_the_same_as_svg_and_as_png(tmp_path: Path, subjects: int) -> None:
    more = "".join(f"{n:04d},s1_all,completed,1,{900 + n},0.5,,,complete\n" for n in range(1000, 1000 + subjects - 2))
    manifest = tmp_path / "MANIFEST.csv"
    manifest.write_text(HEAD + LINES + more)
    for name in ("a.svg", "a.png"):
        assert main(["summary", str(manifest), "--output", str(tmp_path / name)]) == 0
    drawing = ElementTree.parse(tmp_path / "a.svg").getroot()
    texts = [each.text for each in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert f"{7 + subjects} performances of {subjects} subjects" in " ".join(filter(None, texts))
    assert {"by performance", "by subject", "e10", "h1", "11-13", "damaged 1"} <= set(texts)
    assert ("0018" in texts) == (subjects == 2) and len(texts) < 400
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture is not None
    assert picture.shape[:2] == (float(drawing.get("height", "0")), float(drawing.get("width", "0")))
    boxes = Counter(each.get("fill") for each in drawing.iter("{http://www.w3.org/2000/svg}rect"))
    for colour in PERFORMANCE_COLOURS.values():
        assert boxes[colour] and (np.asarray(picture) == bgr(colour)).all(axis=-1).any()


def test_the_ledger_is_summed_up_as_it_is_now(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.put("0018/0018_s1_all_raw.smc", Tiny())
    assert workspace.run() == 0
    (workspace.root / "work/MANIFEST.csv").unlink()  # the file may be old: the ledger is asked
    capsys.readouterr()
    assert workspace.command("summary") == 0
    assert "1 performances: 1" in capsys.readouterr().out
