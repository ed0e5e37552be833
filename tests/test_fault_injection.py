"""The short form of `scripts/suites`, what its checks can see, and the order of syncs in a trace."""

from __future__ import annotations

import ast
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest
from fault_injection import disk
from fault_injection.checks import look, wrong_at_rest, wrong_at_the_end
from fault_injection.crash import KINDS, live
from fault_injection.result import Case, SuiteResult
from fault_injection.small_remote import Original, run_on
from fault_injection.steps import STEPS
from fault_injection.tally import SuiteTally, table
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.store.marker import MARKER

SEED = 360
RCLONE_FIXTURES = {"original"}


TESTS = Path(__file__).resolve().parent


def trees(folder: Path) -> list[ast.AST]:
    return [ast.parse(path.read_text()) for path in sorted(folder.rglob("*.py"))]


def points_of_package() -> list[str]:
    """Return the point of each call of `reach` in the package; a part that is filled in at run time is a `*`."""
    points = []
    for node in (node for tree in trees(TESTS.parent / "rm360_async") for node in ast.walk(tree)):
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
    assert [point for point in points if not any(fnmatch(name, point) for name in names)] == []


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return Original(tmp_path_factory.mktemp("original") / "it", count=2)


@pytest.mark.parametrize("kind", ["worker-step", "rclone-byte"])
def test_a_life_of_kills_ends_whole(original: Original, tmp_path: Path, kind: str) -> None:
    session = live(Case(kind, SEED, 0, "crash"), original.copy(tmp_path / "life"), original)
    assert session.violations == [] and session.rounds > 0


@pytest.mark.parametrize("kind", ["stranger-first", "io-error"])
def test_a_life_on_a_spoilt_disk_ends_whole(original: Original, tmp_path: Path, kind: str) -> None:
    (tmp_path / "tried").mkdir()
    if reason := disk.lacking(tmp_path / "tried").get(kind):
        pytest.skip(reason)
    session = disk.live(Case(kind, SEED, 3, "disk"), original.copy(tmp_path / "life"), original)
    assert session.violations == [] and session.rounds > 0


def test_the_checks_see_every_kind_of_wrong(original: Original, tmp_path: Path) -> None:
    workspace = original.copy(tmp_path / "life")
    with run_on(workspace) as run:
        assert run.wait() == 0
    before = look(workspace, original)
    assert list(wrong_at_rest(workspace, original, before, before)) == []
    assert list(wrong_at_the_end(workspace, original)) == []
    first, second = original.names
    image = min((workspace.folder(first) / "images").rglob("*.jpg"))
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    (workspace.folder(second) / MARKER).unlink()
    (workspace.temp / "0018_e0_raw.0123abcd.smc.part").touch()
    told = "\n".join(
        [*wrong_at_rest(workspace, original, before, look(workspace, original)), *wrong_at_the_end(workspace, original)]
    )
    for words in (
        f"{second} stands under its final name without a marker",
        f"{second} was published, and is gone",
        f"the ledger says that {second} is completed, and it is not published",
        "frame_000000.jpg has other bytes, and the folder has its marker",
        "left behind: ",
    ):
        assert words in told


def test_the_account_names_the_way_to_see_it_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    account = SuiteTally("crash", KINDS, tmp_path / "kept")
    (tmp_path / "life").mkdir()
    (tmp_path / "life" / "file").write_text("x")
    account(SuiteResult(Case("group-step", 7, 12, "crash"), "violation", ["it did"], [tmp_path / "life"], 2.0, 4))
    said = capsys.readouterr().out
    assert "again: scripts/suites crash --seed 7 --only group-step --at 12" in said
    assert (tmp_path / "kept" / "group-step-7-12" / "life" / "file").read_text() == "x"
    assert f"| crash group-step | {KINDS['group-step']} | 4 | 1 | 0.50 |" in table([account], markdown=True)


CALLS = "write,pwrite64,copy_file_range,fsync,fdatasync,syncfs,rename,renameat,renameat2,unlink,unlinkat"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_trace_shows_written_then_synced_then_renamed_then_told_then_removed(workspace: Workspace) -> None:
    """What a power cut would find is what had been synced before it."""
    workspace.put("0018/0018_e0_raw.smc", Tiny("0018", "e0", masks=True, anno=True, rate=8000))
    trace = workspace.root / "trace"
    config = workspace.config()
    with run_on(
        workspace, config=config, prefix=["strace", "-f", "-y", "-qq", "-e", f"trace={CALLS}", "-o", str(trace)]
    ) as run:
        code = run.wait()
    if "ptrace" in run.output:
        pytest.skip("this system lets nobody trace his own processes")
    assert code == 0, run.output
    lines = trace.read_text(errors="replace").splitlines()

    def places(pattern: str) -> list[int]:
        found = [number for number, line in enumerate(lines) if re.search(pattern, line)]
        assert found, f"never: {pattern}"
        return found

    staged = r"\.e0\.[0-9a-f]+\.staging/"
    written = places(rf"(write|pwrite64|copy_file_range)\(.*{staged}")
    marker = places(rf"write\(.*{staged}{re.escape(MARKER)}>")
    (renamed,) = places(r"rename(at|at2)?\(.*\.staging\".*/e0\"")
    synced = [n for n in places(r"\b(syncfs\(.*|fsync\(.*\.staging)") if n < renamed]
    parents = [n for n in places(r"fsync\(.*/subjects/0018>") if n > renamed]
    removed = places(r"unlink(at)?\(.*0018_e0_raw\.[0-9a-f]{8}\.smc\"")
    told = [n for n in places(r"f(data)?sync\(.*MANIFEST\.sqlite>") if renamed < n < removed[0]]
    assert max(written) == max(marker) < max(synced) < renamed < min(parents) < min(told) < min(removed)
