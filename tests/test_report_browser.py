"""Pages of the report in a real headless browser: nothing complains, nothing leaves the page, it fits any screen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import Browser, find_browser, start_browser
from numpy.typing import NDArray
from pages import extract_spec, pair_spec, speech_spec
from test_report import big_run

from rm360_async.visualization.report import write_page, write_run_page
from rm360_async.visualization.theme import DARK, PAPER, bgr

_found = find_browser()
if _found is None:
    pytest.skip(
        "no browser on PATH (chromium, chromium-browser or google-chrome): install one, e.g. apt install chromium",
        allow_module_level=True,
    )
pytestmark = pytest.mark.slow
PROGRAM = _found
PHONE, DESK = (390, 780), (1400, 900)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Give one browser for all tests."""
    with start_browser(PROGRAM, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give pages of 1, 38 and 60 cameras in both layouts, a page without faces, and the index of a large run."""
    root = tmp_path_factory.mktemp("pages")
    specs = {
        "1": speech_spec("s1_all", 90),
        "38": speech_spec(frames=40, holes={"31": (4, 5)}),
        "60": pair_spec("s1_all", 4),
    }
    pages = {}
    for name, spec in specs.items():
        folder = extract_spec(root / "folders", spec)
        write_page(folder, root / name, back="../../index.html")
        pages[name] = root / name / "index.html"
    write_page(folder, root / "silhouettes", faces=False)
    run = big_run()
    write_run_page(run, root / "run")
    write_run_page(replace(run, performances=run.performances[:19], downloads=run.downloads[:19]), root / "few")
    return pages | {name: root / name / "index.html" for name in ("silhouettes", "run", "few")}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", ["1", "38", "60", "silhouettes", "run", "few"])
def test_a_page_requests_nothing_logs_no_errors_and_fits(
    browser: Browser, pages: dict[str, Path], name: str, size: tuple[int, int], dark: bool
) -> None:
    seen = browser.open_page(pages[name], *size, dark=dark)
    assert seen.errors == []
    assert [address for address in seen.requests if not address.startswith("data:image/")] == [pages[name].as_uri()]
    assert seen.content_width <= seen.view_width == size[0]
    red, green, blue = bgr(DARK[PAPER] if dark else PAPER)[::-1]
    assert seen.background == f"rgb({red}, {green}, {blue})"


def press(browser: Browser, key: str, code: int) -> None:
    """Press a key in the page."""
    for kind in ("keyDown", "keyUp"):
        text = {"text": "\r"} if key == "Enter" else {}
        values = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, **text}
        browser.call("Input.dispatchKeyEvent", values)


def wait_for(browser: Browser, condition: str) -> None:
    """Wait until a condition holds in the page; fail after half a minute."""
    deadline = time.monotonic() + 30
    while not browser.evaluate(condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_picture_is_enlarged_and_closed_with_the_keyboard_alone(
    browser: Browser, pages: dict[str, Path], size: tuple[int, int]
) -> None:
    browser.open_page(pages["38"], *size)
    shown = "getComputedStyle(document.getElementById('cam_25')).display"
    assert browser.evaluate(shown) == "none"
    browser.evaluate("document.querySelector('a[href=\"#cam_25\"]').focus()")
    press(browser, "Enter", 13)
    wait_for(browser, f"{shown} == 'block' && document.querySelector('#cam_25 img').naturalWidth > 0")
    assert browser.evaluate("document.querySelector('#cam_25 img').getBoundingClientRect().width") <= size[0]
    press(browser, "Tab", 9)
    assert browser.evaluate("document.activeElement.innerText") == "close"
    press(browser, "Tab", 9)
    press(browser, "Enter", 13)
    wait_for(browser, "location.hash != '#cam_25' && location.hash.startsWith('#cam_')")
    assert browser.evaluate(shown) == "none", "the next one is shown in its place"
    browser.evaluate("location.hash = 'contact'")
    assert browser.evaluate("getComputedStyle(document.querySelector('.zoom')).display") == "none"


def test_the_sound_can_be_heard(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open_page(pages["38"], *DESK)
    browser.evaluate("document.querySelector('audio').load()")
    browser.evaluate("document.querySelector('audio').preload = 'auto'")
    wait_for(browser, "document.querySelector('audio').duration > 0 || document.querySelector('audio').error")
    assert browser.evaluate("document.querySelector('audio').error") is None
    assert browser.evaluate("document.querySelector('audio').duration") == pytest.approx(40 / 15, abs=0.2)


def test_only_what_is_there_is_shown_and_large(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open_page(pages["1"], *DESK)
    sizes = browser.evaluate("[...document.querySelectorAll('#contact figure')].map(e => e.offsetWidth)")
    assert len(sizes) == 1 and sizes[0] >= 500
    assert browser.evaluate("document.querySelectorAll('#contact .none').length") == 0


def test_the_page_of_a_run_uses_its_width(browser: Browser, pages: dict[str, Path]) -> None:
    place = "(e => [e.getBoundingClientRect().left, e.getBoundingClientRect().top])(document.getElementById('{}'))"
    browser.open_page(pages["few"], *DESK)
    for left, right in (("board", "reasons"), ("rates", "storage")):
        (x1, y1), (x2, y2) = (browser.evaluate(place.format(name)) for name in (left, right))
        assert x2 > x1 + 300 and abs(y1 - y2) < 2
    browser.open_page(pages["few"], *PHONE)
    (x1, y1), (x2, y2) = (browser.evaluate(place.format(name)) for name in ("rates", "storage"))
    assert x1 == x2 and y2 > y1


def pixels(browser: Browser, path: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(browser.screenshot(path, full_page=False)))
    assert picture is not None
    return np.asarray(picture, np.uint8)


def test_dark_drawings_are_dark(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    for dark in (False, True):
        browser.open_page(pages["38"], *DESK, dark=dark)
        browser.evaluate("document.getElementById('coverage').scrollIntoView()")
        bright = float(np.mean(pixels(browser, tmp_path / "x.png")))
        assert bright < 90 if dark else bright > 190


def test_every_picture_is_decoded_and_every_text_is_shown(browser: Browser, pages: dict[str, Path]) -> None:
    seen = browser.open_page(pages["60"], *DESK)
    close = browser.evaluate("document.querySelectorAll('.proofs image').length")
    assert close >= 9
    assert len([address for address in seen.requests if address.startswith("data:image/jpeg")]) == 60 + close
    for word in ("Contact sheet", "3D landmarks on 2D ones", "Every frame", "Sound against frames", "Source"):
        assert word in seen.text
    sizes = browser.evaluate("[...document.querySelectorAll('.sheet svg')].map(e => e.getBoundingClientRect().width)")
    assert len(sizes) == 60 and min(sizes) > 40 and max(sizes) - min(sizes) < 1


def test_the_sheet_has_columns_on_a_desktop_and_begins_at_the_face_on_a_phone(
    browser: Browser, pages: dict[str, Path]
) -> None:
    script = (
        "[...document.querySelectorAll('.sheet figure')].map(e => [e.querySelector('figcaption').innerText.slice(0, 2),"
        " e.getBoundingClientRect().x, e.getBoundingClientRect().y])"
    )
    browser.open_page(pages["60"], *DESK)
    positions = {camera: (x, y) for camera, x, y in browser.evaluate(script)}
    assert positions["51"][0] < positions["28"][0] < positions["25"][0] < positions["00"][0]
    assert positions["24"][1] < positions["25"][1] < positions["56"][1] < positions["26"][1]
    browser.open_page(pages["60"], *PHONE)
    order = sorted(browser.evaluate(script), key=lambda each: (each[2], each[1]))
    assert order[0][0] == "25"


def test_links_of_the_run_page_lead_to_pages(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open_page(pages["few"], *DESK)
    links = browser.evaluate("[...document.querySelectorAll('.board a')].map(e => e.href)")
    assert f"{pages['few'].parent.as_uri()}/0000/e5/index.html" in links
    browser.open_page(pages["38"], *DESK)
    assert browser.evaluate("document.querySelector('header a').href").endswith("index.html")


def test_a_page_with_requests_and_errors_is_detected(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text("<body><img src='http://127.0.0.1:9/x.png'><script>console.error('oh'); missing()</script></body>")
    seen = browser.open_page(page)
    assert any("127.0.0.1" in address for address in seen.requests) and len(seen.errors) >= 2
