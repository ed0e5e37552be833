"""The report: what its pages hold, that they are whole in themselves, made again only when needed, and escaped."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from hooked import use_hooks
from made_once import made_once
from pages import extract_spec, pair_spec, speech_spec, warned_panels
from tiny_smc import Tiny
from workspace import Workspace, overwrite

from rm360_async.cli.main import main
from rm360_async.commands import report_page
from rm360_async.domain.cameras.rig import S3_CAMERAS, rig
from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Performance, Structure
from rm360_async.store.marker import MARKER
from rm360_async.synthetic.remote import make_remote
from rm360_async.visualization.report import (
    DiskUsage,
    PerformanceEntry,
    RunData,
    read_page_json,
    write_page,
    write_run_page,
)
from rm360_async.visualization.report.page_files import FILES_FOLDER
from rm360_async.visualization.report.run_data import PerformanceState

VOID = {"meta", "link", "img", "br", "input", "image", "rect", "path", "line", "circle", "polygon", "hr"}
OMITTED = {"td", "tr", "th", "li"}
MEGABYTE = 2**20
SLOW_FIXTURES = {"folders"}


class Parsed(HTMLParser):
    """The tags and links of a page; every tag that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert not [tag for tag in self.open if tag not in OMITTED], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [
            value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "action", "srcset")
        ]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open[-1] != tag and self.open[-1] in OMITTED:
            self.open.pop()
        assert self.open and self.open.pop() == tag, tag


SPECS = {
    "1": speech_spec("s1_all", 30),
    "38": speech_spec(holes={"31": (4,)}),
    "60": pair_spec(),
    "60 speech": pair_spec("s1_all"),
}


def extract_specs(root: Path) -> None:
    for spec in SPECS.values():
        extract_spec(root, spec)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give published folders of 1, 38 and 60 cameras, in both layouts; no test changes them."""
    root = made_once(tmp_path_factory, "reported", extract_specs)
    return {name: root / spec.performance.subject / spec.performance.name for name, spec in SPECS.items()}


def text_of(place: Path) -> str:
    return (place / "index.html").read_text()


@pytest.mark.parametrize("name", ["1", "38", "60", "60 speech"])
@pytest.mark.parametrize("faces", [True, False])
def test_a_page_is_self_contained_and_has_its_numbers(
    folders: dict[str, Path], tmp_path: Path, name: str, faces: bool
) -> None:
    numbers = write_page(folders[name], tmp_path, faces=faces)
    text = text_of(tmp_path)
    parsed = Parsed(text)
    assert len(text.encode()) < MEGABYTE
    beside = {link for link in parsed.links if not link.startswith(("#", "data:image/jpeg;base64,"))}
    assert beside == {f"page-files/{path.name}" for path in (tmp_path / "page-files").glob("*")}
    assert bool(beside) == faces, "a voice identifies a person, too"
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", text) and "script" not in parsed.tags
    assert numbers == json.loads((tmp_path / "report.json").read_text())
    for panel in numbers["panels"].values():
        assert panel["sentence"] in text.replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")
        assert f"{panel['title']}: {panel['state']}" in text
    shown = {path.name.removeprefix("cam_") for path in (folders[name] / "images").iterdir()}
    assert set(re.findall(r"<figcaption>(\d\d) ", text)) == shown, "only what is there"


def test_panels_have_a_fixed_order(folders: dict[str, Path], tmp_path: Path) -> None:
    write_page(folders["60 speech"], tmp_path)
    order = re.findall(r'<section id="(\w+)">', text_of(tmp_path))
    assert order == ["contact", "proof", "calibration", "coverage", "presence", "sound", "absent", "sizes", "source"]


def pictures_in(text: str) -> list[Any]:
    data = re.findall(r'href="data:image/jpeg;base64,([^"]+)"', text)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(each), np.uint8), cv2.IMREAD_COLOR) for each in data]


def test_pictures_are_those_of_the_folder_and_small(folders: dict[str, Path], tmp_path: Path) -> None:
    numbers = write_page(folders["38"], tmp_path)
    shown = pictures_in(text_of(tmp_path))
    assert len(shown) == 38 and all(each.shape[1] == 160 for each in shown)
    order = [camera for camera in re.findall(r"<title>camera (\d\d)</title>", text_of(tmp_path))]
    assert sorted(order) == sorted(S3_CAMERAS)
    frame = numbers["panels"]["contact"]["frame"]
    for camera, drawn in zip(order, shown, strict=True):
        stored = cv2.imread(str(folders["38"] / f"images/cam_{camera}/frame_{frame:06d}.jpg"))
        assert stored is not None
        wanted = cv2.resize(stored, (160, drawn.shape[0]), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(drawn - wanted).mean() < 6, camera


def test_no_faces_leaves_silhouettes_and_without_masks_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    write_page(folders["60"], tmp_path / "masks", faces=False)
    write_page(folders["38"], tmp_path / "none", faces=False)
    with_masks, without = text_of(tmp_path / "masks"), text_of(tmp_path / "none")
    assert "data:image" not in with_masks + without
    contact = with_masks.split('id="proof"')[0]
    assert contact.count("<path d=") >= 60 and "not shown" not in contact
    assert "<path" not in with_masks.split('id="proof"')[1].split('id="calibration"')[0], "landmarks are a face"
    assert "<path" not in without.split('id="proof"')[0] and without.count("not shown") == 38
    assert "px," in with_masks, "the numbers stay"


def test_nothing_of_the_person_is_on_a_page(folders: dict[str, Path], tmp_path: Path) -> None:
    write_page(folders["60"], tmp_path)
    text = text_of(tmp_path).split("</style>")[1] + (tmp_path / "report.json").read_text()
    assert not [word for word in ("female", "yellow", "gender", "actor") if word in text]


def test_what_comes_from_data_is_escaped(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "0018/s3_all"
    shutil.copytree(folders["38"], folder)
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\" onload='x'"
    marker = json.loads((folder / MARKER).read_text())
    marker |= {"verdict": f"damaged: {evil}", "version": evil, "published": evil, "subject": evil}
    marker["sources"][0] |= {"path": evil, "md5": evil, "modified": evil}
    marker["left_out"] = [{"modality": "images", "camera": evil, "frame": 1, "reason": evil}]
    marker |= {"seconds": {evil: 1.0}, "wanted_cameras": evil}
    (folder / MARKER).write_text(json.dumps(marker))
    info = json.loads((folder / "metadata/info.json").read_text())
    info |= {"warnings": [evil], "absent_as_released": [evil], "findings": [{"check": evil, "what": evil}]}
    (folder / "metadata/info.json").write_text(json.dumps(info))
    with (folder / ".extraction_files.csv").open("a") as lines:
        lines.write(f'"<b>{evil.replace(chr(34), "")}/x",3,\n')
    numbers = write_page(folder, tmp_path / "page")
    parsed = Parsed(text_of(tmp_path / "page"))
    assert not {"script", "b"} & set(parsed.tags) and "x" not in parsed.links
    assert evil in numbers["verdict"]
    row = PerformanceEntry("0018", "s3_all", "failed", 0, 0, 0, 0.0, evil, evil)
    write_run_page(RunData(evil, (row,), (), (DiskUsage(evil, 1, 2),), (evil,)), tmp_path / "index")
    assert not {"script", "img"} & set(Parsed(text_of(tmp_path / "index")).tags)


def test_the_worst_folder_makes_no_large_page(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "0026/s1_all"
    shutil.copytree(folders["60 speech"], folder)
    random = np.random.default_rng(2)
    noise = cv2.imencode(".jpg", random.integers(0, 255, (512, 612, 3), np.uint8))[1].tobytes()
    blots = random.integers(0, 2, (64, 76), np.uint8).repeat(8, 0).repeat(8, 1) * 255
    mask = cv2.imencode(".png", blots)[1].tobytes()
    lines = ["path,bytes"]
    for camera in rig():
        for frame in range(4):
            overwrite(folder / f"images/cam_{camera}/frame_{frame:06d}.jpg", noise)
            overwrite(folder / f"masks/cam_{camera}/frame_{frame:06d}.png", mask)
        for frame in range(0, 499, 2):  # every other frame, of which most are gone by now
            lines += [f"images/cam_{camera}/frame_{frame:06d}.jpg,{len(noise)}"]
            lines += [f"masks/cam_{camera}/frame_{frame:06d}.png,{len(mask)}"]
    (folder / ".extraction_files.csv").write_text("\n".join(lines) + "\n")
    info = {"warnings": ["w" * 5000] * 300, "findings": [{"check": "c" * 5000, "what": "x"}] * 300}
    (folder / "metadata/info.json").write_text(json.dumps(info))
    numbers = write_page(folder, tmp_path / "page")
    assert numbers["panels"]["presence"]["missing"] == 60 * 249 and numbers["panels"]["presence"]["gone"] == 60 * 248
    assert len(text_of(tmp_path / "page").encode()) < MEGABYTE
    assert len(pictures_in(text_of(tmp_path / "page"))) > 60


def run_on_four(root: Path) -> None:
    """Publish three performances, one of them damaged; one fails."""
    with pytest.MonkeyPatch.context() as patch:
        workspace = Workspace(root, patch)
        plan = (speech_spec("s1_all", 6), speech_spec(frames=4, holes={"31": (2,)}), speech_spec("s2_all", 6))
        make_remote(workspace.remote, Structure.SINGLE, plan, 1 / 16)
        workspace.put("0018/0018_e1_raw.smc", b"<html>quota</html>" * 60)
        assert workspace.run() == 1


@pytest.fixture
def ran(tmp_path_factory: pytest.TempPathFactory, workspace: Workspace) -> Workspace:
    """Return a workspace with three published performances, one of them damaged, and one that failed."""
    original = made_once(tmp_path_factory, "four-performances", run_on_four)
    for name in ("remote", "work"):
        shutil.copytree(original / name, workspace.root / name, dirs_exist_ok=True)
    workspace.config()
    return workspace


def report(workspace: Workspace, *arguments: str) -> int:
    return workspace.command("report", "--output", str(workspace.root / "report"), *arguments)


def test_the_page_of_a_run_has_links_and_reasons(ran: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ran) == 0
    summary = capsys.readouterr().out.splitlines()[-1]
    assert "4 performances: 3 completed (1 damaged), 1 failed; 3 pages written, 0 unchanged" in summary
    place = ran.root / "report"
    text = text_of(place)
    parsed = Parsed(text)
    assert len([link for link in parsed.links if link.endswith("index.html")]) == 4  # the damaged one twice
    assert all((place / link).is_file() for link in parsed.links if not link.startswith("#"))
    assert "damaged: gaps: cam_31 without frame 2" in text and "web page" in text
    numbers = json.loads((place / "report.json").read_text())
    assert numbers["totals"]["squares"] == {
        **{state.value: 0 for state in PerformanceState},
        **{"complete": 2, "damaged": 1, "failed": 1},
    }
    assert numbers["performances"]["0018/s3_all"]["checks"]["presence"] == "warn"
    assert numbers["totals"]["bytes_fetched"] > 0 and numbers["disks"][0]["name"] == "output_dir and temp_dir"
    back = text_of(place / "0018/s1_all")
    assert 'href="../../index.html"' in back


def test_only_pages_whose_folder_changed_are_made_again(ran: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    def made() -> str:
        return capsys.readouterr().out.splitlines()[-1].rsplit("; ", 1)[-1]

    assert report(ran) == 0 and made() == "3 pages written, 0 unchanged"
    assert report(ran) == 0 and made() == "0 pages written, 3 unchanged"
    marker = ran.folder("0018/s1_all") / MARKER
    marker.write_text(marker.read_text().replace('"version"', ' "version"'))
    assert report(ran) == 0 and made() == "1 pages written, 2 unchanged"
    (ran.root / "report/0018/s3_all/index.html").unlink()
    assert report(ran) == 0 and made() == "1 pages written, 2 unchanged"
    assert report(ran, "--force", "--performance", "s1*") == 0 and made() == "1 pages written, 0 unchanged"
    assert report(ran, "--force") == 0 and made() == "3 pages written, 0 unchanged"


def test_pages_that_must_not_stay_are_removed(ran: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ran) == 0
    place = ran.root / "report"
    foreign = place / "0018/e9"
    foreign.mkdir()
    (foreign / "report.json").write_text('{"made_by": "somebody"}')
    (foreign / "index.html").write_text("mine")
    (place / "0018/s1_all/notes.txt").write_text("mine, too")
    assert report(ran, "--no-faces", "--performance", "s2_all") == 0
    assert "1 pages written, 0 unchanged, 2 removed" in capsys.readouterr().out
    assert not (place / "0018/s3_all").exists() and (foreign / "index.html").read_text() == "mine"
    assert [path.name for path in (place / "0018/s1_all").iterdir()] == ["notes.txt"]
    numbers = json.loads((place / "report.json").read_text())["performances"]
    assert numbers["0018/s2_all"]["page"] and numbers["0018/s1_all"]["page"] is None


def test_a_removed_folder_affects_only_its_own_page(ran: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(ran.folder("0018/s1_all"))
    assert report(ran) == 1
    captured = capsys.readouterr()
    assert "cannot write the page of 0018/s1_all" in captured.err and "2 pages written" in captured.out
    assert "not a published performance" in text_of(ran.root / "report")


def test_a_page_that_kills_its_process_affects_only_that_page(
    ran: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = {"point": "page begun", "do": "segv"}
    use_hooks(monkeypatch, hook | {"once": str(ran.root / "once")})
    assert report(ran) == 1
    captured = capsys.readouterr()
    assert "2 pages written" in captured.out and captured.err.count("the process that drew it died") == 1
    assert "the process that drew it died" in text_of(ran.root / "report")
    assert report(ran) == 0 and "1 pages written, 2 unchanged" in capsys.readouterr().out


def test_pages_are_kept_out_of_what_is_published(ran: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ran.folder("0018/s1_all")
    for target, output in ((ran.root / "config.yaml", ran.output), (folder, folder / "page"), (folder, folder)):
        assert main(["report", str(target), "--output", str(output)]) == 2
        assert "choose a folder outside it" in capsys.readouterr().err
    assert ran.command("verify") == 0


def test_a_page_of_one_folder(ran: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ran.folder("0018/s3_all")
    assert main(["report", str(folder), "--output", str(ran.root / "page")]) == 0
    assert capsys.readouterr().out.endswith("page/index.html: 0018/s3_all: warn\n")
    numbers = read_page_json(ran.root / "page")
    assert numbers is not None and "presence" in warned_panels(numbers)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["report", "--output", "out"], 2, "config.yaml"),
        (["report", ".", "--output", "../out"], 2, "not a published performance"),
        (["report", "."], 2, "Missing option '--output'"),
        (["report", ".", "--output", "out", "--subject", "0018"], 2, "cannot be used with it"),
        (["summary", "nothing.csv"], 2, "cannot be read"),
        (["summary", "nothing.csv", "--output", "x.pdf"], 2, "must end in .svg or .png"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]


def test_an_unknown_subject_is_an_error(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.config()
    assert report(workspace, "--subject", "18") == 2
    assert "18" in capsys.readouterr().err


def test_without_a_ledger_and_without_a_place_it_stops(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.config()
    assert report(workspace) == 3 and "`rm360 run` creates it" in capsys.readouterr().err
    workspace.put("0018/0018_s1_all_raw.smc", Tiny())
    assert workspace.run() == 0
    (workspace.root / "report").write_text("a file")
    capsys.readouterr()
    assert report(workspace) == 3
    assert len(capsys.readouterr().err.strip().splitlines()) <= 2


def problem_of(folder: Path, page_dir: Path) -> str:
    """Return why the worker of a page could not write it."""

    class Messages:
        sent: ClassVar[list[dict[str, Any]]] = []

        def send(self, message: dict[str, Any]) -> None:
            self.sent.append(message)

    messages = Messages()
    assert report_page.main(json.dumps([str(folder), str(page_dir), True]), messages) == 0  # type: ignore[arg-type]
    return str(messages.sent[-1]["problem"])


def test_a_page_that_cannot_be_written_is_reported(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot write" in problem_of(folders["1"], tmp_path / "file/below")
    assert "not a published performance" in problem_of(tmp_path, tmp_path / "x")


def big_run() -> RunData:
    """Return 500 subjects x 19 performances with everything that can be wrong."""
    names = [f"e{n}" for n in range(12)] + ["h0", "h1_7bk", "h2"] + [f"s{n}_all" for n in range(1, 5)]
    page = {"state": "ok", "panels": {key: {"state": "ok", "sentence": "x"} for key in "abcdefghi"}}
    rows = []
    for subject in range(500):
        for at, name in enumerate(names):
            kind = (subject * 19 + at) % 40
            status = {0: "failed", 1: "waiting", 2: "pending", 3: "downloading"}.get(kind, "completed")
            verdict = f"damaged: gaps: cam_31 without frame {subject}" if kind == 4 else "complete as released"
            error = f"0018_{name}_raw.smc is cut short at {subject}" if kind < 2 else ""
            shown = page if status == "completed" else None
            moment = 1.79e9 + subject * 600.0 + at
            rows.append(PerformanceEntry(f"{subject:04d}", name, status, 60, 700, 10**9, moment, error, verdict, shown))
    fetched = tuple((row.updated, row.bytes, 20.0) for row in rows)
    return RunData("lab", tuple(rows), fetched, (DiskUsage("output_dir", 10**12, 10**13),))


def test_the_page_of_9500_performances_is_small_and_complete(tmp_path: Path) -> None:
    run = big_run()
    numbers = write_run_page(run, tmp_path)
    text = text_of(tmp_path)
    assert len(text.encode()) < MEGABYTE
    parsed = Parsed(text)
    counts = numbers["totals"]["squares"]
    assert sum(counts.values()) == numbers["totals"]["performances"] == 9500 == len(numbers["performances"])
    assert text.count("<b class=") == 9500 + len(PerformanceState)
    assert parsed.links.count("0499/s4_all/index.html") >= 1 and "other reasons; report.json has them all" in text
    assert counts["damaged"] and counts["running"]
    assert numbers["rates"]["bytes_a_second"] == pytest.approx(5e8)


def test_an_invalid_name_gets_no_link(tmp_path: Path) -> None:
    row = PerformanceEntry("../..", "s1_all", "completed", 1, 1, 1, 1.0, "", "", {"state": "ok"})
    numbers = write_run_page(RunData("lab", (row,)), tmp_path)
    assert numbers["performances"]["../../s1_all"]["page"] is None
    assert Performance("0018", "e2").sort_key < Performance("0018", "e10").sort_key
    assert (
        PerformanceEntry("0018", "e2", "", 0, 0, 0, 0, "", "").column_key
        < PerformanceEntry("0018", "e10", "", 0, 0, 0, 0, "", "").column_key
    )


def test_an_empty_run_has_a_page(tmp_path: Path) -> None:
    numbers = write_run_page(RunData("lab", ()), tmp_path)
    assert "0 performances of 0 subjects" in text_of(tmp_path) and numbers["performances"] == {}


def test_report_json_never_describes_a_newer_page(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_page(folders["1"], tmp_path, faces=False)
    written: list[Path] = []

    def fail_at_the_second(path: Path, data: bytes, *, durable: bool = True) -> None:
        if path.parent.name == FILES_FOLDER:
            return
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr("rm360_async.visualization.report.page_files.write_atomically", fail_at_the_second)
    with pytest.raises(Fault, match="no space left"):
        write_page(folders["1"], tmp_path, faces=True)
    assert [path.name for path in written] == ["index.html", "report.json"] and read_page_json(tmp_path) is None


def test_large_pictures_and_the_sound_lie_beside_the_page_and_go_with_it(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    write_page(folders["38"], tmp_path)
    beside = tmp_path / FILES_FOLDER
    assert {path.name for path in beside.iterdir()} == {"sound.mp3", *(f"cam_{camera}.jpg" for camera in S3_CAMERAS)}
    assert (beside / "sound.mp3").read_bytes() == (folders["38"] / "audio" / "audio.mp3").read_bytes()
    stored = cv2.imread(str(folders["38"] / "images/cam_25/frame_000000.jpg"))
    large = cv2.imread(str(beside / "cam_25.jpg"))
    assert stored is not None and large is not None and large.shape == stored.shape, (
        "not enlarged beyond what is stored"
    )
    (beside / "mine.jpg").write_bytes(b"the user's own")
    write_page(folders["38"], tmp_path, faces=False)
    assert [path.name for path in beside.iterdir()] == ["mine.jpg"], "neither faces nor a voice"


@pytest.mark.parametrize(("cameras", "width"), [("25", 640), ("24,25,27", 400), ("ring:10", 260)])
def test_the_fewer_the_cameras_the_larger_the_pictures(tmp_path: Path, cameras: str, width: int) -> None:
    folder = extract_spec(tmp_path, speech_spec(), None, "--cameras", cameras)
    write_page(folder, tmp_path / "page")
    assert {each.shape[1] for each in pictures_in(text_of(tmp_path / "page"))} == {width}
