"""Contact sheets, strips, maps and their commands, on published synthetic folders of 1, 38 and 60 cameras."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from made_once import made_once
from numpy.typing import NDArray
from workspace import overwrite

from rm360_async.cli.main import main
from rm360_async.domain.cameras.calibration.checks import check_calibration
from rm360_async.domain.cameras.coverage import TIERS, coverage
from rm360_async.domain.cameras.rig import RESOLUTION, S3_CAMERAS, rig
from rm360_async.domain.cameras.sets import resolve_cameras
from rm360_async.domain.errors import BadRequest, Fault
from rm360_async.domain.names import Performance, Structure
from rm360_async.synthetic.remote import demo_plan
from rm360_async.synthetic.renderer import Renderer
from rm360_async.synthetic.smc_writer import write_pair, write_smc
from rm360_async.synthetic.spec import SINGLE_RELEASE, SmcSpec
from rm360_async.visualization.calibration_source import read_calibration_source
from rm360_async.visualization.calibration_text import analysis_json, analyze
from rm360_async.visualization.camera_suggestion import every_kth, parse_pool, suggestion_text
from rm360_async.visualization.contact_sheet import cell_corner, cell_positions, column_azimuths, contact_sheet
from rm360_async.visualization.coverage_plot import coverage_map
from rm360_async.visualization.frame_strip import frame_strip
from rm360_async.visualization.published_folder import open_folder
from rm360_async.visualization.raster import CELL_SIZE, Raster
from rm360_async.visualization.rig_plot import rig_views
from rm360_async.visualization.theme import BAD, EMPTY, GOOD, MARK, bgr, degrees_text
from rm360_async.visualization.thumbnail import decode_thumbnail

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with published s1_all (1 camera), s3_all (38) and e1 (60), and their files; no test changes it."""
    return made_once(tmp_path_factory, "visualized", publish_three)


def publish_three(root: Path) -> None:
    renderer = Renderer(1 / 16)
    speech = SmcSpec(Performance("0018", "s3_all"), cameras=S3_CAMERAS, frames=3, fps=15.0, scale=1 / 16)
    specs = [
        SmcSpec(frames=30, scale=1 / 16, distinct_images=2, holes={"25": (7, 8)}),
        replace(speech, holes={"31": (1,)}, broken={("40", 1): "no_end"}),
        SmcSpec(Performance("0018", "e1"), SINGLE_RELEASE, tuple(rig()), frames=1, scale=1 / 16),
    ]
    for spec in specs:
        name = spec.performance.name
        file = write_smc(root / f"0018_{name}_raw.smc", spec, renderer)
        assert (
            main(["extract", str(file), "--output", str(root / name), "--modalities", "calibration,images,audio"]) == 0
        )


def cell_of(sheet: Raster, camera: str) -> NDArray[np.uint8]:
    """Return the pixels of a camera's cell, by the layout that the sheet promises: 18 columns, four rows."""
    column, row = cell_positions()[camera]
    right = sheet.pixels.shape[1] - 14 - (17 - column) * (CELL_SIZE[0] + 6)
    top = 124 + row * (CELL_SIZE[1] + 24 + 6)
    return sheet.pixels[top : top + CELL_SIZE[1], right - CELL_SIZE[0] : right]


def pixels_of(file: Path) -> NDArray[np.uint8]:
    """Return a picture as OpenCV decodes it, whole."""
    decoded = cv2.imread(str(file))
    assert decoded is not None
    return np.asarray(decoded, np.uint8)


def has(pixels: NDArray[np.uint8], colour: str) -> bool:
    return bool((pixels == bgr(colour)).all(axis=-1).any())


def test_the_sheet_has_the_order_of_the_rig() -> None:
    assert len(column_azimuths()) == 18 and sum(angle < 0 for angle in column_azimuths()) == 9
    assert len(set(cell_positions().values())) == 60
    for camera, (column, row) in cell_positions().items():
        offset = (rig()[camera].azimuth - column_azimuths()[column] + 180) % 360 - 180
        assert abs(offset) < 6 and TIERS[row] == rig()[camera].tier
    middle = [cell_positions()[camera] for camera in ("27", "28", "29", "24", "25", "26")]
    assert middle == [(8, 0), (8, 1), (8, 3), (9, 0), (9, 1), (9, 3)]


@pytest.mark.parametrize(("name", "present"), [("s1_all", ("25",)), ("s3_all", S3_CAMERAS), ("e1", tuple(rig()))])
def test_the_contact_sheet_shows_each_camera_at_its_position(
    published: Path, name: str, present: tuple[str, ...]
) -> None:
    folder = open_folder(published / name)
    sheet = contact_sheet(folder, 0)
    assert sorted(sheet.shown) == sorted(present)
    assert sheet.absent == ({"not released": 60 - len(present)} if len(present) < 60 else {})
    for camera in rig():
        drawn = cell_of(sheet.raster, camera)
        if camera not in present:
            assert has(drawn[:20], EMPTY) and len(np.unique(drawn[2:20, 2:-2].reshape(-1, 3), axis=0)) == 1
            continue
        file = published / name / f"images/cam_{camera}/frame_000000.jpg"
        whole = cv2.resize(pixels_of(file), CELL_SIZE, interpolation=cv2.INTER_AREA)
        assert np.abs(cv2.resize(drawn, CELL_SIZE).astype(int) - whole).mean() < 6, camera


def test_absent_cells_say_why(published: Path, tmp_path: Path) -> None:
    sheet = contact_sheet(open_folder(published / "s3_all"), 1)
    assert sheet.absent == {"broken": 1, "missing": 1, "not released": 22}
    assert has(cell_of(sheet.raster, "31"), BAD) and has(cell_of(sheet.raster, "40"), BAD)
    assert not has(cell_of(sheet.raster, "02"), BAD)
    shutil.copytree(published / "s3_all", tmp_path / "s3")
    shutil.rmtree(tmp_path / "s3/images/cam_24")
    overwrite(tmp_path / "s3/images/cam_57/frame_000000.jpg", b"\xff\xd8 no jpeg")
    damaged = contact_sheet(open_folder(tmp_path / "s3"), 0)
    assert damaged.absent == {"broken": 1, "lost": 1, "not released": 22}
    assert has(cell_of(damaged.raster, "24"), BAD) and has(cell_of(damaged.raster, "57"), BAD)
    file = published / "0018_s3_all_raw.smc"
    assert main(["extract", str(file), "--output", str(tmp_path / "few"), "--cameras", "24,25"]) == 0
    assert contact_sheet(open_folder(tmp_path / "few")).absent == {"not released": 22, "not wanted": 36}


def test_the_sheet_takes_the_first_frame_that_most_cameras_have(published: Path) -> None:
    assert contact_sheet(open_folder(published / "s3_all")).frame == 0
    with pytest.raises(BadRequest, match=r"no camera of .* has frame 9; there are frames 0-2"):
        contact_sheet(open_folder(published / "s3_all"), 9)


def test_folders_that_are_not_published_are_errors(published: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="no such folder"):
        open_folder(tmp_path / "nothing")
    with pytest.raises(BadRequest, match="not a published performance"):
        open_folder(published)
    earlier = tmp_path / "0018/s1_all"
    shutil.copytree(published / "s1_all", earlier)
    (earlier / ".extraction_complete").write_text("done\n")
    sheet = contact_sheet(open_folder(earlier))
    assert sheet.shown == ("25",) and sheet.absent == {"absent": 59}
    shutil.rmtree(earlier / "images")
    with pytest.raises(BadRequest, match="has no images"):
        contact_sheet(open_folder(earlier))


def test_the_strip_shows_time_and_every_missing_frame(published: Path) -> None:
    strip = frame_strip(open_folder(published / "s1_all"), "25", 8)
    assert strip.frames[0] == 0 and strip.frames[-1] == 29 and len(strip.frames) == 8
    assert strip.missing == (7, 8)
    bar = strip.raster.pixels[-72 + 6 + 13, 14:-14]
    red, green = (bar == bgr(BAD)).all(axis=-1), (bar == bgr(GOOD)).all(axis=-1)
    assert (red | green).all() and np.flatnonzero(red).min() == pytest.approx(7 / 30 * bar.shape[0], abs=1)
    assert red.mean() == pytest.approx(2 / 30, abs=0.005)
    assert len(frame_strip(open_folder(published / "s3_all"), "0", 400).frames) == 3
    for camera, message in (("02", "not released"), ("xx", "not a camera id")):
        with pytest.raises(BadRequest, match=message):
            frame_strip(open_folder(published / "s3_all"), camera)


@pytest.mark.parametrize("width", [40, 150, 600, 1224])
def test_thumbnails_are_the_picture_made_small(tmp_path: Path, width: int) -> None:
    ramp = np.linspace(0, 255, 1224, dtype=np.uint8)[None, :, None] * np.ones((1024, 1, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), ramp)
    small = decode_thumbnail(tmp_path / "a.jpg", width)
    assert small is not None and small.shape == (round(1024 * width / 1224), width, 3)
    expected = cv2.resize(ramp, (width, small.shape[0]), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).max() <= 6
    assert decode_thumbnail(tmp_path / "none.jpg", width) is None


def elements(text: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(text).iter(f"{SVG}{tag}"))


def texts(text: str) -> list[str]:
    return ["".join(each.itertext()) for each in elements(text, "text")]


@pytest.mark.parametrize("kept", [(), ("25",), S3_CAMERAS, tuple(rig())])
def test_the_map_marks_kept_available_and_absent_cameras(kept: tuple[str, ...]) -> None:
    available = [camera for camera in rig() if int(camera) % 2]
    drawing = coverage_map("a <title> & more", kept, available)
    hollow, absent = set(available) - set(kept), set(rig()) - set(kept) - set(available)
    drawn = texts(drawing)
    assert {f"kept {len(kept)}", f"available {len(hollow)}", f"absent {len(absent)}", "a <title> & more"} <= set(drawn)
    assert {camera for camera in drawn if camera in rig()} == set(rig())
    radii = [each.get("r") for each in elements(drawing, "circle")]
    assert radii.count("11") == len(kept) and radii.count("10") == len(hollow)
    assert len(elements(drawing, "line")) >= 2 * len(absent)
    gap = coverage(kept).gap
    assert any(f"largest azimuth gap {gap:.1f}" in each for each in drawn)
    assert (f"largest gap {gap:.1f}\N{DEGREE SIGN}" in drawn) == (len(kept) > 1)


def test_the_map_has_the_face_in_the_middle_and_the_left_on_the_right() -> None:
    drawing = coverage_map("x", ["25", "13"], [])
    positions = {"".join(each.itertext()): float(each.get("x", "nan")) for each in elements(drawing, "text")}
    assert positions["subject's right"] < positions["face"] < positions["25"] < positions["subject's left"]
    assert positions["13"] == pytest.approx(positions["subject's left"], abs=5)
    heights = {"".join(each.itertext()): float(each.get("y", "nan")) for each in elements(drawing, "text")}
    assert heights["24"] < heights["25"] < heights["26"]


@pytest.mark.parametrize("kept", [("25",), S3_CAMERAS, tuple(rig())])
def test_the_rig_is_drawn_to_scale_from_both_sides(kept: tuple[str, ...]) -> None:
    values = {camera.id: {"K": camera.K, "D": camera.D, "RT": camera.RT} for camera in rig().values()}
    drawing = rig_views("0018/s3_all", check_calibration(values, RESOLUTION), kept)
    circles = elements(drawing, "circle")
    assert sum(each.get("r") == "2.2" for each in circles) == 120
    grey = sum(each.get("r") == "2.2" and each.get("fill") == "#aab3ba" for each in circles)
    assert grey == 2 * (60 - len(kept))
    heads = [(float(each.get("cx", "0")), float(each.get("cy", "0"))) for each in circles if each.get("r") == "2.5"]
    far = max(
        np.hypot(float(each.get("cx", "0")) - heads[0][0], float(each.get("cy", "0")) - heads[0][1])
        for each in circles
        if each.get("r") == "2.2" and float(each.get("cx", "0")) < 590
    )
    bar = next(line for line in elements(drawing, "line") if line.get("stroke-width") == "2")
    half_metre = float(bar.get("x2", "0")) - float(bar.get("x1", "0"))
    assert far / half_metre / 2 == pytest.approx(1.32, abs=0.02)
    assert {"face", "from above", "0.5 m", "calibration: ok"} <= set(texts(drawing))
    ids = {"".join(each.itertext()): each for each in elements(drawing, "text")}
    assert float(ids["13"].get("x", "0")) > heads[0][0] + 200 and float(ids["25"].get("y", "0")) > heads[0][1] + 200


def test_plots_load_no_external_files(published: Path, tmp_path: Path) -> None:
    assert main(["cameras", "analyze", str(published / "s3_all"), "--plots", str(tmp_path / "plots")]) == 0
    for name in ("rig.svg", "coverage.svg"):
        text = (tmp_path / "plots" / name).read_text()
        assert text.count("http") == 1 and "href" not in text and "script" not in text  # the name space only
        assert len(text) < 120_000


@pytest.mark.slow
def test_analyze_passes_clean_data_of_both_layouts(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in (("s1_all", 1), ("s3_all", 38), ("e1", 60)):
        for target in (published / name, published / f"0018_{name}_raw.smc"):
            assert main(["cameras", "analyze", str(target), "--json"]) == 0
            value = json.loads(capsys.readouterr().out)
            assert value["state"] == "ok" and len(value["with_images"]) == count and len(value["cameras"]) == 60
            assert value["image_size"] == {"height": 128, "width": 153}
            assert value["reading"] == "camera-to-world, OpenCV axes, metres"
    spec = replace(next(each for each in demo_plan(Structure.PAIR) if each.performance.name == "e0"), scale=1 / 16)
    raw, anno = write_pair(tmp_path / "0026_e0_raw.smc", tmp_path / "0026_e0_anno.smc", replace(spec, frames=1))
    assert main(["cameras", "analyze", str(anno)]) == 0
    text = capsys.readouterr().out
    assert "calibration of 60 cameras, 60 with images; 153 x 128 px" in text and "calibration: ok" in text
    assert main(["cameras", "analyze", str(raw)]) == 2
    assert "in the anno file of the pair" in capsys.readouterr().err


def test_analyze_fails_for_another_convention_and_for_swapped_ids(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "s3"
    shutil.copytree(published / "s3_all", folder)
    file = folder / "calibration/cameras.json"
    value = json.loads(file.read_text())
    value["cameras"]["24"], value["cameras"]["27"] = value["cameras"]["27"], value["cameras"]["24"]
    file.write_text(json.dumps(value))
    assert main(["cameras", "analyze", str(folder)]) == 1
    failures = [line for line in capsys.readouterr().out.splitlines() if "FAIL" in line]
    assert len(failures) == 1 and "cameras 24 and 27 are swapped" in failures[0]
    for entry in value["cameras"].values():
        entry["RT"] = np.linalg.inv(np.array(entry["RT"])).tolist()
    value["cameras"]["03"]["K"][0][0] = None
    file.write_text(json.dumps(value))
    source = read_calibration_source(folder)
    report = json.loads(analysis_json(source, analyze(source)))
    failed = {check["name"]: check["sentence"] for check in report["checks"] if check["state"] == "fail"}
    assert set(failed) == {"present", "convention", "ids"}
    assert "read as world-to-camera" in failed["convention"] and "camera 03 not finite" in failed["present"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "gdrive:0018/"], "give the path of one .smc"),
        (["analyze", "nothing"], "there is no such file or folder"),
        (["suggest", "0"], "0 is not a number of cameras"),
        (["suggest", "5", "--from", "abc"], "no folder and no selection of cameras"),
        (["suggest", "5", "--from", "25,77"], "there is no camera 77"),
        (["grid", "nothing"], "there is no such folder"),
        (["strip", "nothing", "--camera", "25"], "there is no such folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cameras", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]


def test_a_folder_without_calibration_is_an_error(published: Path, tmp_path: Path) -> None:
    file = published / "0018_s1_all_raw.smc"
    assert main(["extract", str(file), "--output", str(tmp_path / "s1"), "--modalities", "images"]) == 0
    with pytest.raises(BadRequest, match="extract it with modality calibration"):
        read_calibration_source(tmp_path / "s1")
    (tmp_path / "s1/calibration").mkdir()
    for text in ("no json", '{"cameras": {"25": {"K": 1}}}', "[]"):
        (tmp_path / "s1/calibration/cameras.json").write_text(text)
        with pytest.raises(BadRequest, match="cannot be read as a calibration"):
            read_calibration_source(tmp_path / "s1")


@pytest.mark.parametrize(("name", "start"), [("g.jpg", b"\xff\xd8\xff"), ("g.PNG", b"\x89PNG"), ("g.webp", b"RIFF")])
def test_an_image_is_written_in_the_format_of_its_name(
    name: str, start: bytes, published: Path, tmp_path: Path
) -> None:
    for arguments in (["grid"], ["strip", "--camera", "25"]):
        command, *options = arguments
        target = tmp_path / command / name
        assert main(["cameras", command, str(published / "s3_all"), *options, "--output", str(target)]) == 0
        assert target.read_bytes().startswith(start) and pixels_of(target).shape[1] > 500


@pytest.mark.parametrize("name", ["g.gif", "g", "g.jpg.tmp"])
def test_an_image_of_an_unknown_format_is_refused_before_anything_is_drawn(
    name: str, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cameras", "grid", str(published / "s3_all"), "--output", str(tmp_path / name)]) == 2
    assert "the name of an image ends in .png, .jpg" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_a_contact_sheet_frames_the_cameras_of_a_set(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, marked = tmp_path / "plain.png", tmp_path / "marked.png"
    assert main(["cameras", "grid", str(published / "s3_all"), "--output", str(plain)]) == 0
    assert main(["cameras", "grid", str(published / "s3_all"), "--mark", "face:1", "--output", str(marked)]) == 0
    chosen = resolve_cameras("face:1", open_folder(published / "s3_all").frames)
    assert f"1 marked: {chosen[0]}" in capsys.readouterr().out
    is_mark = (pixels_of(marked) == bgr(MARK)).all(axis=2)
    assert not (pixels_of(plain) == bgr(MARK)).all(axis=2).any()
    column, row = cell_positions()[chosen[0]]
    x, y = cell_corner(column, row)
    assert is_mark[y - 2, x : x + CELL_SIZE[0]].all() and is_mark[y : y + CELL_SIZE[1], x - 2].all()
    assert main(["cameras", "grid", str(published / "s3_all"), "--mark", "rign:3"]) == 2
    assert "did you mean ring:10?" in capsys.readouterr().err


def test_suggest_beats_every_kth_and_takes_only_present_cameras(
    published: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["cameras", "suggest", "10", "--plots", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    chosen = lines[0].split(": ")[1].split()
    rows = {line.split("  ")[1]: line.split() for line in lines[3:6]}
    assert len(chosen) == 10 and "25" in chosen and f"kept {len(chosen)}" in (tmp_path / "coverage.svg").read_text()
    assert [float(each) for each in rows["ring:10"][2:4]] == pytest.approx([43.1, 33.2], abs=0.8)
    assert [float(each) for each in rows["every k=6"][3:5]] == pytest.approx([44.9, 60.7], abs=0.06)
    text, few = suggestion_text(8, parse_pool(str(published / "s3_all")), "ring")
    assert set(few) <= set(S3_CAMERAS) and len(few) == 8 and 'cameras: "ring:8"' in text
    assert suggestion_text(3, parse_pool(""), "front")[1] == ("22", "25", "28")
    text, all_three = suggestion_text(5, parse_pool("0, 6,12"), "ring")
    assert all_three == ("00", "06", "12") and text.startswith("only 3 cameras are there")
    assert every_kth(tuple(rig()), 10) == tuple(f"{number:02d}" for number in range(0, 60, 6))
    assert parse_pool("s3-38") == S3_CAMERAS


def test_grid_and_strip_write_their_pictures(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, strip = tmp_path / "new/grid.png", tmp_path / "strip.png"
    assert main(["cameras", "grid", str(published / "s3_all"), "--frame", "1", "--output", str(grid)]) == 0
    assert main(["cameras", "strip", str(published / "s3_all"), "--camera", "31", "--output", str(strip)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("frame 1, 36 cameras; 1 broken, 1 missing, 22 not released")
    assert lines[1].endswith("3 images; missing: 1")
    assert pixels_of(grid).shape[1] > 2 * pixels_of(strip).shape[1] > 1000
    with pytest.raises(Fault, match="cannot write"):
        Raster(4, 4).save(grid / "below/a/file.png")
    assert main(["cameras"]) == 0 and "suggest" in capsys.readouterr().out


def test_angles_are_whole_and_signed() -> None:
    assert [degrees_text(angle) for angle in (12.6, -0.3, 0.2, -90.1)] == ["+13", "0", "0", "-90"]
