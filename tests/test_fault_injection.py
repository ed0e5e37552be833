"""The short form of `scripts/suites`, what its checks detect, and the order of syncs in a trace."""

from __future__ import annotations

import ast
import re
import shutil
import signal
import sqlite3
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from fault_injection import disk
from fault_injection.checks import problems_at_rest, problems_at_the_end, read_state
from fault_injection.crash import KINDS, run_session
from fault_injection.result import Case, SuiteResult
from fault_injection.small_remote import EARLIER_SELECTION, OriginalRemote, run_on
from fault_injection.soak import done_more_than_once, starved
from fault_injection.steps import STEPS
from fault_injection.tally import SuiteTally, table
from tiny_smc import Tiny
from workspace import Workspace, overwrite

from rm360_async.store.marker import MARKER

SEED = 360
RCLONE_FIXTURES = {"original"}


TESTS = Path(__file__).resolve().parent


def trees(folder: Path, word: str = "") -> list[ast.AST]:
    """Return the files below a folder, parsed, that have a word in them."""
    texts = [path.read_text() for path in sorted(folder.rglob("*.py"))]
    return [ast.parse(text) for text in texts if word in text]


def points_of_package() -> list[str]:
    """Return the point of each call of `reach` in the package; a part that is filled in at run time is a `*`."""
    points = []
    for node in (node for tree in trees(TESTS.parent / "rm360_async", "reach(") for node in ast.walk(tree)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach":
            (argument,) = node.args
            parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
            points.append("".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in parts))
    return points


def test_every_step_is_a_fault_point_of_the_package() -> None:
    points = points_of_package()
    assert [step.point for step in STEPS if not any(fnmatch(step.point, point) for point in points)] == []


def test_every_fault_point_is_reached_by_one_name_and_used_by_a_test() -> None:
    points = points_of_package()
    assert sorted(points) == sorted(set(points)), "two calls of reach have the same name"
    used = {node.value for tree in trees(TESTS) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    names = {name for name in used if isinstance(name, str)}
    assert [point for point in points if point not in names and not any(fnmatch(name, point) for name in names)] == []


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> OriginalRemote:
    return OriginalRemote(tmp_path_factory.mktemp("original") / "remote", count=2)


def reached_points(workspace: Workspace, folder: Path, **settings: Any) -> set[str]:
    """Run without disturbance, and return the points of the steps that come as often as they say."""
    folder.mkdir()
    hooks = []
    for number, step in enumerate(STEPS):
        mark = {"do": "mark", "path": str(folder / str(number))}
        hooks.append({"point": step.point, "side": step.side, "nth": step.times, **mark})
    with run_on(workspace, tuple(hooks), **settings) as run:
        assert run.wait() == 0, run.output
    return {STEPS[int(path.name)].point for path in folder.iterdir()}


def test_runs_reach_every_step(original: OriginalRemote, tmp_path: Path) -> None:
    whole = reached_points(original.copy(tmp_path / "whole"), tmp_path / "1", processing__fetch="whole")
    larger = OriginalRemote(
        tmp_path / "larger", count=1, filler=30_000, fetch_settings=("ranges",), earlier=EARLIER_SELECTION
    )
    workspace = larger.copy(tmp_path / "ranges")
    larger.restore_earlier_work(workspace)
    ranges = reached_points(workspace, tmp_path / "2", processing__fetch="ranges")
    workspace = larger.copy(tmp_path / "both")
    with run_on(workspace, ({"point": "ranges downloaded", "do": "kill"},), processing__fetch="ranges") as run:
        assert run.wait() == -signal.SIGKILL
    both = reached_points(workspace, tmp_path / "3", processing__fetch="whole")
    assert [step.point for step in STEPS if step.point not in whole | ranges | both] == []


@pytest.mark.parametrize("kind", ["worker-step", "rclone-byte"])
def test_a_session_of_kills_ends_with_everything_published(original: OriginalRemote, tmp_path: Path, kind: str) -> None:
    session = run_session(Case(kind, SEED, 0, "crash"), original.copy(tmp_path / "session"), original)
    assert session.violations == [] and session.rounds > 0


@pytest.mark.parametrize("kind", ["fill-start", "io-error"])
def test_a_session_on_a_faulty_disk_ends_with_everything_published(
    original: OriginalRemote, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "try").mkdir()
    if reason := disk.unavailable_kinds(tmp_path / "try").get(kind):
        pytest.skip(reason)
    session = disk.run_session(Case(kind, SEED, 3, "disk"), original.copy(tmp_path / "session"), original)
    assert session.violations == [] and session.rounds > 0


def test_the_checks_see_every_kind_of_problem(original: OriginalRemote, tmp_path: Path) -> None:
    workspace = original.copy(tmp_path / "session")
    with run_on(workspace) as run:
        assert run.wait() == 0
    before = read_state(workspace, original)
    assert list(problems_at_rest(workspace, original, before, before)) == []
    assert list(problems_at_the_end(workspace, original)) == []
    first, second = original.names
    image = min((workspace.folder(first) / "images").rglob("*.jpg"))
    overwrite(image, image.read_bytes()[:-1] + b"x")
    (workspace.folder(second) / MARKER).unlink()
    (workspace.temp / "0018_e0_raw.0123abcd.smc.part").touch()
    problems = "\n".join(
        [
            *problems_at_rest(workspace, original, before, read_state(workspace, original)),
            *problems_at_the_end(workspace, original),
        ]
    )
    for words in (
        f"{second} has its final name without a marker",
        f"{second} was published, and is gone",
        f"the ledger says that {second} is completed, and it is not published",
        "frame_000000.jpg has other bytes, and the folder has its marker",
        "left behind: ",
    ):
        assert words in problems


def test_the_tally_names_the_command_that_runs_a_case_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = SuiteTally("crash", KINDS, tmp_path / "kept")
    (tmp_path / "session").mkdir()
    (tmp_path / "session" / "file").write_text("x")
    tally(SuiteResult(Case("group-step", 7, 12, "crash"), "violation", ["it did"], [tmp_path / "session"], 2.0, 4))
    output = capsys.readouterr().out
    assert "again: scripts/suites crash --seed 7 --only group-step --at 12" in output
    assert (tmp_path / "kept" / "group-step-7-12" / "session" / "file").read_text() == "x"
    assert f"| crash group-step | {KINDS['group-step']} | 4 | 1 | 0.50 |" in table([tally], markdown=True)


CALLS = "write,pwrite64,copy_file_range,fsync,fdatasync,syncfs,rename,renameat,renameat2,unlink,unlinkat"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_trace_shows_written_then_synced_then_renamed_then_recorded_then_removed(workspace: Workspace) -> None:
    """After a power cut only what had been synced before is certain to be there."""
    workspace.put("0018/0018_e0_raw.smc", Tiny("0018", "e0", masks=True, anno=True, rate=8000))
    trace = workspace.root / "trace"
    config = workspace.config()
    with run_on(
        workspace, config=config, prefix=["strace", "-f", "-y", "-qq", "-e", f"trace={CALLS}", "-o", str(trace)]
    ) as run:
        code = run.wait()
    if "ptrace" in run.output:
        pytest.skip("this system does not allow to trace")
    assert code == 0, run.output
    lines = trace.read_text(errors="replace").splitlines()

    def lines_of(pattern: str) -> list[int]:
        numbers = [number for number, line in enumerate(lines) if re.search(pattern, line)]
        assert numbers, f"never: {pattern}"
        return numbers

    staged = r"\.e0\.[0-9a-f]+\.staging/"
    written = lines_of(rf"(write|pwrite64|copy_file_range)\(.*{staged}")
    marker = lines_of(rf"write\(.*{staged}{re.escape(MARKER)}>")
    (renamed,) = lines_of(r"rename(at|at2)?\(.*\.staging\".*/e0\"")
    synced = [n for n in lines_of(r"\b(syncfs\(.*|fsync\(.*\.staging)") if n < renamed]
    parents = [n for n in lines_of(r"fsync\(.*/subjects/0018>") if n > renamed]
    removed = lines_of(r"unlink(at)?\(.*0018_e0_raw\.[0-9a-f]{8}\.smc\"")
    recorded = [n for n in lines_of(r"f(data)?sync\(.*MANIFEST\.sqlite>") if renamed < n < removed[0]]
    assert max(written) == max(marker) < max(synced) < renamed < min(parents) < min(recorded) < min(removed)


def ledger_of(*attempts: tuple[int, str, str, str]) -> sqlite3.Connection:
    """Return a ledger with attempts: performance, started, ended, outcome."""
    ledger = sqlite3.connect(":memory:")
    ledger.execute("CREATE TABLE performance (id, subject, name)")
    ledger.execute("CREATE TABLE attempt (id INTEGER PRIMARY KEY, performance, started, ended, outcome)")
    for number in sorted({attempt[0] for attempt in attempts}):
        ledger.execute("INSERT INTO performance VALUES (?, '0018', 'e' || ?)", (number, number))
    ledger.executemany("INSERT INTO attempt (performance, started, ended, outcome) VALUES (?, ?, ?, ?)", attempts)
    return ledger


def test_the_soak_finds_what_was_done_twice_and_what_starved() -> None:
    ledger = ledger_of(
        (1, "10:00", "10:01", "failed"),
        (2, "10:00", "10:03", "completed"),
        (3, "10:02", "10:03", "completed"),
        (4, "10:02", "10:03", "completed"),
        (1, "10:04", "10:05", "completed"),
        (2, "10:06", "10:07", "completed"),
    )
    with closing(ledger):
        assert done_more_than_once(ledger) == ["0018/e2 was completed 2 times"]
        assert starved(ledger, most=2) == []
        assert starved(ledger, most=1) == ["2 performances were begun before row 1 was tried again"]
