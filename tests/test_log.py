"""The log: one line for one record, none lost, no secret told, and no full disk felt by the work."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
import structlog

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system import log as logs
from rm360_async.system.secrets import MASK, masked

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (DEBUG|INFO |WARNING|ERROR|CRITICAL) .+")
PROJECT = Path(__file__).resolve().parent.parent
BIG = 2**30

log = logs.logger("rm360_async.test")


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before = (list(logging.root.handlers), logging.root.level, logging.raiseExceptions)
    yield
    assert (logging.root.handlers, logging.root.level, logging.raiseExceptions) == before


def written(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_lines_are_readable_and_grep_finds_failures(tmp_path: Path) -> None:
    with logs.open_log(tmp_path / "logs", "INFO", False, BIG) as opened:
        log.info("published", performance="0018/s1_all", files=12, seconds=1.5, note="two words")
        log.error("failed", reason="")
        logging.getLogger("rm360_async.other").warning("plain %s %d", "text", 5)
    assert re.fullmatch(r"extraction_\d{8}_\d{6}\.log", opened.path.name)
    lines = written(opened.path)
    assert all(LINE.fullmatch(line) for line in lines)
    assert [line[20:] for line in lines] == [
        'INFO  published performance=0018/s1_all files=12 seconds=1.5 note="two words"',
        'ERROR failed reason=""',
        "WARNING plain text 5",
    ]
    when = datetime.strptime(lines[0][:19], "%Y-%m-%d %H:%M:%S")
    assert abs((datetime.now() - when).total_seconds()) < 60


def test_bound_fields_of_the_task_are_added(tmp_path: Path) -> None:
    with logs.open_log(tmp_path, "INFO", False, BIG) as opened, structlog.contextvars.bound_contextvars(subject="0018"):
        log.info("begins")
    assert written(opened.path)[0].endswith("INFO  begins subject=0018")


def test_the_level_is_honoured_and_other_libraries_are_quieter(tmp_path: Path) -> None:
    found = {}
    for level in ("DEBUG", "WARNING"):
        with logs.open_log(tmp_path / level, level, False, BIG) as opened:
            log.debug("ours, fine")
            log.warning("ours, loud")
            logging.getLogger("aiosqlite").debug("theirs, fine")
            logging.getLogger("asyncio").warning("theirs, loud")
        found[level] = [line.split(maxsplit=3)[3] for line in written(opened.path)]
    assert found == {
        "DEBUG": ["ours, fine", "ours, loud", "theirs, loud"],
        "WARNING": ["ours, loud", "theirs, loud"],
    }


def test_no_line_is_lost_between_many_threads_and_the_end(tmp_path: Path) -> None:
    with logs.open_log(tmp_path, "INFO", False, BIG) as opened, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: log.info("line", number=number), range(8000)))
    numbers = {int(line.rpartition("=")[2]) for line in written(opened.path)}
    assert numbers == set(range(8000))


def test_lines_that_do_not_fit_into_the_queue_are_counted_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_QUEUED_LINES", 10)
    first, go_on = threading.Event(), threading.Event()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            first.set()
            go_on.wait(30)

    with logs.open_log(tmp_path, "INFO", False, BIG) as opened:
        opened.replace_console(Slow())
        log.info("first")
        assert first.wait(30)
        for number in range(25):
            log.info("line", number=number)
        go_on.set()
    lines = written(opened.path)
    assert [line.rpartition("=")[2] for line in lines[1:-1]] == [str(number) for number in range(10)]
    assert lines[-1].endswith("WARNING log lines dropped, too many at once: 15")


def test_arguments_are_rendered_when_they_are_logged(tmp_path: Path) -> None:
    changing = [1]
    with logs.open_log(tmp_path, "INFO", False, BIG) as opened:
        logging.getLogger("rm360_async").info("list %s", changing)
        log.info("list", value=changing)
        changing.append(2)
    assert [line.split("list")[1] for line in written(opened.path)] == [" [1]", " value=[1]"]


@pytest.mark.parametrize(
    "name", ["a\n2026-01-01 00:00:00 ERROR forged", "a\rb", "\x1b[2Jgone", "a\u2028b", "bad\udcff"]
)
def test_names_cannot_forge_lines(tmp_path: Path, name: str) -> None:
    with logs.open_log(tmp_path, "INFO", False, BIG) as opened:
        log.info(f"found {name}")
        log.info("found", name=name)
        logging.getLogger("rm360_async").info("found %s", name)
    lines = written(opened.path)
    assert len(lines) == 3
    assert all(LINE.fullmatch(line) and line.isprintable() and line[20:25] == "INFO " for line in lines)


def test_a_traceback_follows_its_line_indented(tmp_path: Path) -> None:
    with logs.open_log(tmp_path, "INFO", False, BIG) as opened:
        try:
            raise ValueError("first\n2026-01-01 00:00:00 ERROR forged")
        except ValueError:
            log.exception("broke", part=1)
            logging.getLogger("rm360_async").exception("broke too")
    lines = written(opened.path)
    heads = [line for line in lines if LINE.fullmatch(line)]
    assert [line[20:] for line in heads] == ["ERROR broke part=1", "ERROR broke too"]
    assert all(line.startswith("    ") for line in lines if line not in heads)
    assert sum("ValueError: first" in line for line in lines) == 2


def test_endless_lines_are_cut(tmp_path: Path) -> None:
    with logs.open_log(tmp_path, "INFO", False, BIG) as opened:
        log.info("x" * 100_000)
    (line,) = written(opened.path)
    assert line.endswith("x... (83616 more characters)")


SECRET = "hunter2-S3CR3T"


@pytest.mark.parametrize(
    "text",
    [
        f'token = {{"access_token":"{SECRET}","refresh_token":"{SECRET}","expiry":"x"}}',
        f"{{'client_secret': '{SECRET}'}}",
        f"Authorization: Bearer {SECRET}",
        f"authorization: Basic {SECRET}",
        f"password: {SECRET}",
        f"RCLONE_CONFIG_PASS={SECRET} rclone",
        f"rclone --drive-token {SECRET} lsjson",
        f"rclone --webdav-pass={SECRET}",
        f"secret_access_key = {SECRET}",
        f'"sse_customer_key":"{SECRET}"',
        f"GET /x?alt=media&access_token={SECRET}&b=1",
        f"https://user:{SECRET}@host/x",
        f'api_key="{SECRET} and {SECRET}"',
    ],
)
def test_secrets_are_masked_wherever_they_come_from(tmp_path: Path, text: str) -> None:
    with logs.open_log(tmp_path, "INFO", False, BIG) as opened:
        log.info(text)
        log.info("answer", words=text, access_token=SECRET, password=f"{SECRET} x")
        logging.getLogger("rclone").error("%s", text)
        try:
            raise RuntimeError(text)
        except RuntimeError:
            log.exception("broke")
    assert SECRET not in opened.path.read_text()
    assert MASK in opened.path.read_text()


def test_google_tokens_are_masked_without_a_name() -> None:
    text = "got ya29.a0AfB_by-C and 1//0gAbCdEfGhIjKlMnOpQrStUv and GOCSPX-abcDEF_1"
    assert masked(text) == "got *** and *** and ***"


@pytest.mark.parametrize(
    "text",
    [
        "couldn't fetch token: invalid_grant: maybe token expired? - try `rclone config reconnect gdrive:`",
        "passed=3 tokens=5 subject=0018",
        "wrong password, see https://rclone.org/drive",
        "md5=0cc175b9c0f1b6a831c399e269772661 at 12:05:01",
    ],
)
def test_ordinary_words_are_not_masked(text: str) -> None:
    assert masked(text) == text


def test_the_file_is_rotated_by_size_and_nothing_is_lost(tmp_path: Path) -> None:
    with logs.open_log(tmp_path, "INFO", False, 2000) as opened:
        for number in range(100):
            log.info("line", number=number)
    files = sorted(tmp_path.iterdir())
    assert opened.path in files and len(files) > 2
    assert all(path.stat().st_size <= 2000 for path in files)
    numbers = {int(line.rpartition("=")[2]) for path in files for line in written(path)}
    assert numbers == set(range(100))


def test_two_runs_in_one_second_get_different_files(tmp_path: Path) -> None:
    opened = [logs.open_log(tmp_path, "INFO", False, BIG) for _ in range(3)]
    for one in reversed(opened):
        one.close()
        one.close()
    assert len({one.path for one in opened}) == 3
    assert all(re.fullmatch(r"extraction_\d{8}_\d{6}\.log", one.path.name) for one in opened)


def test_a_folder_that_cannot_be_written_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fault, match="cannot write a log in") as caught:
        logs.open_log(tmp_path / "file" / "logs", "INFO", False, BIG)
    assert caught.value.cause is Cause.NOT_WRITABLE


def test_the_console_may_be_off_and_may_be_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = io.StringIO()
    with logs.open_log(tmp_path / "off", "INFO", False, BIG):
        log.info("silent")
    assert capsys.readouterr().err == ""
    with logs.open_log(tmp_path / "on", "INFO", True, BIG) as opened:
        opened.replace_console(logging.StreamHandler(live))
        log.error("to the display")
    assert capsys.readouterr() == ("", "")
    assert LINE.fullmatch(live.getvalue().rstrip("\n"))
    assert written(opened.path) == live.getvalue().splitlines()


def test_a_console_that_is_not_a_terminal_has_the_same_lines_without_colours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with logs.open_log(tmp_path, "INFO", True, BIG) as opened:
        log.error("failed")
    told = capsys.readouterr()
    assert (told.out, told.err.splitlines()) == ("", written(opened.path))


@pytest.mark.parametrize(("no_colour", "begins"), [("", "\x1b[31mERROR\x1b[0m failed"), ("1", "ERROR failed")])
def test_a_terminal_gets_colours_unless_no_color_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_colour: str, begins: str
) -> None:
    monkeypatch.setenv("NO_COLOR", no_colour)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        with logs.open_log(tmp_path, "INFO", True, BIG) as opened:
            log.error("failed")
        assert begins in screen.read(1000).decode()
    assert "\x1b" not in opened.path.read_text()


WORK = """
import os, resource, sys
from pathlib import Path
from rm360_async.system import log as logs
log = logs.logger("rm360_async.test")
folder, how = Path(sys.argv[1]), sys.argv[2]
if how == "console":
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
with logs.open_log(folder, "INFO", how == "console", 2**30 if how != "rotation" else 3000):
    if how != "console":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096 if how == "disk" else 2000,) * 2)
    for number in range(500):
        log.info("line", number=number)
    done = sum(range(10))
os.write(1, b"work is done %d" % done)
"""


@pytest.mark.parametrize("how", ["disk", "rotation", "console"])
def test_work_continues_when_nothing_can_be_written(tmp_path: Path, how: str) -> None:
    result = subprocess.run(
        [sys.executable, "-u", "-c", WORK, str(tmp_path), how],
        cwd=PROJECT,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert result.stdout == b"work is done 45"
    assert (result.returncode, result.stderr) == (0, b"")
    lines = [line for path in tmp_path.iterdir() for line in path.read_bytes().splitlines()]
    assert (len(lines) == 500) is (how == "console")


def test_a_record_that_cannot_be_rendered_does_no_harm(tmp_path: Path) -> None:
    with logs.open_log(tmp_path, "INFO", False, BIG) as opened:
        logging.getLogger("rm360_async").info("%d", "not a number")
        log.info("goes on")
    assert written(opened.path)[-1].endswith("goes on")
