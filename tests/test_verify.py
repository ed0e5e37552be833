"""`rm360 verify` and `--repair`, on folders that the real run published, and the check of a folder by itself."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_smc import Tiny
from workspace import Workspace, overwrite, tree

from rm360_async.commands.verify.progress import VerifyProgress, counts_text
from rm360_async.commands.verify.result import parts_of
from rm360_async.ledger import Claims, lock_path
from rm360_async.store.check import Depth, FlawKind, check_folder
from rm360_async.store.file_list import FILE_LIST, read_file_list
from rm360_async.store.marker import DAMAGED, MARKER
from rm360_async.system.hashing import hash_of

IMAGE = "images/cam_25/frame_000002.jpg"


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Publish two performances of 0018 for the tests of this file to copy, calibration and annotations included."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        workspace = Workspace(tmp_path_factory.mktemp("once"), monkeypatch)
        for name in ("e0", "s1_all"):
            workspace.put(f"0018/0018_{name}_raw.smc", Tiny("0018", name, masks=True, anno=True))
        assert workspace.run() == 0
        yield workspace.root


@pytest.fixture
def published(workspace: Workspace, once: Path) -> Workspace:
    """Return a workspace in which 0018/e0 and 0018/s1_all are published."""
    shutil.copytree(once / "remote", workspace.remote, dirs_exist_ok=True)
    shutil.copytree(once / "work", workspace.root / "work")
    workspace.config()
    return workspace


def flip(path: Path, at: int = -5) -> None:
    """Change one bit and neither size nor time, as a disk does."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[at] ^= 1
    overwrite(path, bytes(data))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def verdict(workspace: Workspace, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = workspace.command("verify", "--json", *arguments)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, found


def flaws(found: dict[str, Any], name: str) -> list[tuple[str, str]]:
    return [(flaw["kind"], flaw["path"]) for flaw in found["performances"][name]["flaws"]]


def test_every_published_file_has_the_hash_of_its_bytes(published: Workspace) -> None:
    folder = published.folder("0018/e0")
    listed = {file.path: file.hash for file in read_file_list(folder)}
    visible = {path: data for path, data in tree(folder).items() if not path.startswith(".")}
    assert listed == {path: hash_of(data) for path, data in visible.items()}


@pytest.mark.parametrize("deep", [False, True])
def test_what_is_as_published_is_said_to_be(
    published: Workspace, capsys: pytest.CaptureFixture[str], deep: bool
) -> None:
    before = tree(published.output)
    code, found = verdict(published, capsys, *(["--deep"] if deep else []))
    assert code == 0 and found["ok"] and found["folders"] == 2 and found["remarks"] == []
    compared = {each["compared"] for each in found["performances"].values()}
    assert compared == {"every byte" if deep else "names and sizes"}
    assert found["files"] == sum(not path.split("/")[-1].startswith(".") for path in before)
    assert published.command("verify", *(["--deep"] if deep else [])) == 0
    assert "all as published" in capsys.readouterr().out
    assert tree(published.output) == before


def test_missing_changed_and_extra_are_told_per_performance_and_camera(
    published: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = published.folder("0018/e0")
    for frame in (0, 1, 3):
        (folder / f"images/cam_25/frame_{frame:06d}.jpg").unlink()
    overwrite(folder / "masks/cam_31/frame_000001.png", b"short")
    (folder / "metadata/info.json").write_text("{}")
    (folder / "images/cam_31/Thumbs.db").write_bytes(b"x")
    flip(folder / IMAGE)
    code, found = verdict(published, capsys, "--deep")
    assert code == 1 and not found["ok"]
    assert flaws(found, "0018/e0") == [
        ("missing", "images/cam_25/frame_000000.jpg"),
        ("missing", "images/cam_25/frame_000001.jpg"),
        ("changed", IMAGE),
        ("missing", "images/cam_25/frame_000003.jpg"),
        ("extra", "images/cam_31/Thumbs.db"),
        ("changed", "masks/cam_31/frame_000001.png"),
        ("changed", "metadata/info.json"),
    ]
    first = found["performances"]["0018/e0"]["flaws"][0]
    assert (first["modality"], first["camera"], first["frame"]) == ("images", "25", 0)
    assert flaws(found, "0018/s1_all") == [] and found["performances"]["0018/s1_all"]["state"] == "ok"
    assert published.command("verify", "--deep") == 1
    said = capsys.readouterr().out
    for line in (
        "0018/e0: damaged",
        "  images cam_25: 3 missing: frames 0-1, 3",
        "  images cam_25: 1 changed: frame 2 content does not match the recorded hash",
        "  images cam_31: 1 extra: Thumbs.db",
        "  masks cam_31: 1 changed: frame 1 has 5 bytes, expected",
    ):
        assert line in said
    assert "0018/s1_all" not in said and "1 damaged or missing" in said.splitlines()[-1]


def test_a_flipped_bit_in_any_file_is_only_seen_deep(published: Workspace, threads: ThreadPoolExecutor) -> None:
    folder, identity = published.folder("0018/e0"), ("0018", "e0")
    for file in list(read_file_list(folder)):
        flip(folder / file.path)
        assert check_folder(folder, identity).flaws == []
        checked = check_folder(folder, identity, threads)
        assert [(flaw.kind, flaw.path) for flaw in checked.flaws] == [(FlawKind.CHANGED, file.path)]
        flip(folder / file.path)
    assert published.command("verify", "--deep") == 0


def test_links_and_odd_entries_are_never_followed(
    tmp_path: Path, published: Workspace, threads: ThreadPoolExecutor
) -> None:
    folder = published.folder("0018/e0")
    twin = tmp_path / "twin.jpg"
    shutil.move(folder / IMAGE, twin)
    (folder / IMAGE).symlink_to(twin)
    shutil.move(folder / "audio", tmp_path / "audio")
    (folder / "audio").symlink_to(tmp_path / "audio")
    os.mkfifo(folder / "pipe")
    checked = check_folder(folder, ("0018", "e0"), threads)
    told = {(flaw.kind.value, flaw.path): flaw.reason for flaw in checked.flaws}
    assert told[("changed", IMAGE)] == "is a symbolic link"
    assert told[("extra", "audio")] == "is a symbolic link"
    assert told[("extra", "pipe")] == "is neither a file nor a folder"
    assert ("missing", "audio/audio.wav") in told


SPOIL: dict[str, tuple[Callable[[Path], object], tuple[str, str], Depth]] = {
    "the marker is gone": (lambda f: (f / MARKER).unlink(), ("missing", MARKER), Depth.EVERY_BYTE),
    "the marker is cut": (
        lambda f: os.truncate(f / MARKER, 100), ("changed", MARKER), Depth.EVERY_BYTE),
    "the marker is of another": (
        lambda f: shutil.copy(f.parent / "s1_all" / MARKER, f / MARKER), ("changed", MARKER), Depth.EVERY_BYTE),
    "the list is gone": (lambda f: (f / FILE_LIST).unlink(), ("missing", FILE_LIST), Depth.COUNTS),
    "the list is cut in a line": (
        lambda f: os.truncate(f / FILE_LIST, 500), ("changed", FILE_LIST), Depth.COUNTS),
    "the list lacks a line": (
        lambda f: (f / FILE_LIST).write_text("".join((f / FILE_LIST).read_text().splitlines(True)[:-1])),
        ("changed", FILE_LIST), Depth.EVERY_BYTE),
    "the list is binary": (
        lambda f: (f / FILE_LIST).write_bytes(b"path,bytes,xxh3_128\n\xff\xfe,\0\n"),
        ("changed", FILE_LIST), Depth.COUNTS),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOIL)
def test_the_marker_and_the_list_are_checked_too(published: Workspace, threads: ThreadPoolExecutor, name: str) -> None:
    spoil, expected, depth = SPOIL[name]
    folder = published.folder("0018/e0")
    spoil(folder)
    checked = check_folder(folder, ("0018", "e0"), threads)
    assert expected in [(flaw.kind.value, flaw.path) for flaw in checked.flaws]
    assert checked.is_damaged and checked.depth is depth


@pytest.mark.parametrize("what", ["a pipe", "a link to all zeroes", "a folder"])
def test_what_stands_in_the_parts_of_a_marker_is_never_read(
    published: Workspace, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    """A pipe would never end, and neither would zeroes."""
    marker = published.folder("0018/e0") / MARKER
    marker.unlink()
    {"a pipe": os.mkfifo, "a link to all zeroes": lambda path: path.symlink_to("/dev/zero"), "a folder": os.mkdir}[
        what
    ](marker)
    code, said = verdict(published, capsys, "--repair")
    (flaw,) = said["performances"]["0018/e0"]["flaws"]
    assert (code, flaw["path"], flaw["reason"]) == (1, MARKER, "is not the marker that was written")
    assert said["queued"] == ["0018/e0"] and "0018/e0" not in said["unread"]
    assert published.run() == 0 and published.command("verify") == 0
    assert marker.is_file() and not marker.is_symlink()


AS_A_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Root may read everything; without these two capabilities he is as anybody else."""


@pytest.mark.skipif(bool(AS_A_USER) and shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_a_folder_that_may_not_be_read_is_told_and_left_alone(published: Workspace) -> None:
    def command(*words: str) -> tuple[int, str]:
        line = [*AS_A_USER, sys.executable, "-m", "rm360_async", *words, str(workspace.root / "config.yaml")]
        ended = subprocess.run(line, capture_output=True, text=True)
        return ended.returncode, ended.stdout + ended.stderr

    workspace, folder = published, published.folder("0018/e0")
    ino = folder.stat().st_ino
    folder.chmod(0)
    code, said = command("verify", "--deep")
    assert code == 1 and "0018/e0: its folder cannot be read: Permission denied" in said
    code, said = command("run")
    assert code == 1 and workspace.status_of("0018/s1_all") == "completed" and "Traceback" not in said
    assert f"cannot read {folder}: Permission denied" in workspace.manifest()["0018/e0"]["error"]
    folder.parent.chmod(0)
    code, said = command("verify")
    assert code == 3 and said.startswith(f"error: {folder.parent}: Permission denied; ") and said.count("\n") == 1
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    assert workspace.run() == 0 and folder.stat().st_ino == ino and workspace.command("verify", "--deep") == 0


def test_a_list_without_hashes_gets_what_can_be_checked(
    published: Workspace, threads: ThreadPoolExecutor, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = published.folder("0018/e0")
    lines = (folder / FILE_LIST).read_text().splitlines()
    (folder / FILE_LIST).write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    checked = check_folder(folder, ("0018", "e0"), threads)
    assert checked.flaws == [] and checked.depth is Depth.READABLE
    assert published.command("verify", "--deep") == 0
    assert "1 folders were compared less thoroughly: names and sizes, and every byte" in capsys.readouterr().out
    (folder / IMAGE).unlink()
    assert [flaw.path for flaw in check_folder(folder, ("0018", "e0"), threads).flaws] == [IMAGE]


def test_a_folder_of_an_earlier_tool_is_checked_as_far_as_it_goes_and_left_alone(
    published: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = published.folder("0018/e1")
    (folder / "images/cam_25").mkdir(parents=True)
    (folder / "images/cam_25/frame_000000.jpg").write_bytes(b"earlier")
    (folder / MARKER).write_text("2025-01-01 done\n")
    code, found = verdict(published, capsys, "--deep")
    assert code == 0 and "an earlier tool" in found["performances"]["0018/e1"]["compared"]
    assert found["unknown_to_ledger"] == ["0018/e1"]
    (folder / "images/cam_25/frame_000001.jpg").touch()
    before = tree(folder)
    code, found = verdict(published, capsys, "--repair")
    assert code == 1 and flaws(found, "0018/e1") == [("changed", "images/cam_25/frame_000001.jpg")]
    assert "left alone" in found["not_queued"]["0018/e1"] and found["queued"] == []
    assert tree(folder) == before


def test_what_the_ledger_believes_is_compared(published: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(published.folder("0018/e0"))
    foreign = published.folder("0018/e5")
    foreign.mkdir()
    (foreign / "mine.txt").write_text("mine")
    shutil.copytree(published.folder("0018/s1_all"), published.folder("0018/s2_all"))
    code, found = verdict(published, capsys)
    assert code == 1 and found["folder_missing"] == ["0018/e0"]
    assert found["performances"]["0018/e5"]["state"] == "not published"
    assert flaws(found, "0018/s2_all") == [("changed", MARKER)], "it is a copy of another performance"
    assert found["unknown_to_ledger"] == ["0018/s2_all"]
    assert published.command("verify", "--subject", "0019") == 0


def test_repair_queues_what_is_damaged_and_nothing_else(
    published: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tree(published.folder("0018/e0"))
    whole = published.folder("0018/s1_all")
    inode, before = whole.stat().st_ino, tree(whole)
    (published.folder("0018/s1_all") / "notes.txt").write_text("mine")
    flip(published.folder("0018/e0") / IMAGE)
    code, found = verdict(published, capsys, "--deep", "--repair")
    assert code == 1 and found["queued"] == ["0018/e0"]
    assert published.status_of("0018/e0") == "pending" and published.status_of("0018/s1_all") == "completed"
    assert "found damaged by verify" in published.manifest()["0018/e0"]["error"]
    assert (published.folder("0018/e0") / IMAGE).exists(), "what is left of it stays until the new one is whole"
    again, found = verdict(published, capsys, "--deep", "--repair")
    assert again == 1 and found["queued"] == ["0018/e0"]
    assert published.run() == 0
    visible = {path: data for path, data in tree(published.folder("0018/e0")).items() if not path.startswith(".")}
    assert visible == {path: data for path, data in good.items() if not path.startswith(".")}
    assert published.attempts() == 3 and whole.stat().st_ino == inode
    assert tree(whole) == {**before, "notes.txt": b"mine"}
    (whole / "notes.txt").unlink()
    assert published.command("verify", "--deep") == 0 and published.leftovers() == []


def test_extra_files_alone_are_told_and_never_queued(published: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    (published.folder("0018/e0") / "notes.txt").write_text("mine")
    code, found = verdict(published, capsys, "--repair")
    assert code == 1 and found["queued"] == [] and found["performances"]["0018/e0"]["state"] == "extra files"
    assert published.status_of("0018/e0") == "completed"


def test_a_repair_that_cannot_be_fetched_is_not_forgotten(published: Workspace) -> None:
    """The remote has lost the file: the damaged folder never counts as completed again."""
    source = published.remote / "0018/0018_e0_raw.smc"
    stored = source.read_bytes()
    flip(published.folder("0018/e0") / IMAGE)
    assert published.command("verify", "--deep", "--repair") == 1
    source.unlink()
    for _ in range(2):
        assert published.run(extraction__performances=["e0", "s1_all"]) == 1
        assert published.status_of("0018/e0") == "download_failed"
        assert (published.folder("0018/e0") / DAMAGED).exists()
    source.write_bytes(stored)
    assert published.run() == 0 and published.command("verify", "--deep") == 0


def test_a_damaged_folder_is_done_again_even_when_the_ledger_is_lost(published: Workspace) -> None:
    flip(published.folder("0018/e0") / IMAGE)
    assert published.command("verify", "--deep", "--repair") == 1
    (published.root / "work/MANIFEST.sqlite").unlink()
    assert published.run() == 0
    assert published.attempts() == 1 and published.command("verify", "--deep") == 0


def test_a_lost_marker_and_a_lost_folder_are_repaired(published: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    (published.folder("0018/e0") / MARKER).unlink()
    shutil.rmtree(published.folder("0018/s1_all"))
    code, found = verdict(published, capsys, "--repair")
    assert code == 1 and found["queued"] == ["0018/e0", "0018/s1_all"]
    assert published.run() == 0 and published.command("verify", "--deep") == 0


def test_what_a_live_instance_has_in_hand_is_not_queued(
    published: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = published.root / "work/MANIFEST.sqlite"
    flip(published.folder("0018/e0") / IMAGE)
    with closing(sqlite3.connect(ledger)) as database:
        number = database.execute("SELECT id FROM performance WHERE name = 'e0'").fetchone()[0]
    with Claims(lock_path(ledger)) as claims:
        assert claims.claim(number)
        code, found = verdict(published, capsys, "--deep", "--repair")
    assert code == 1 and found["queued"] == [] and "is processing it" in found["not_queued"]["0018/e0"]
    assert (published.folder("0018/e0") / MARKER).exists()


def test_a_linked_folder_is_checked_and_not_replaced(
    published: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    moved = tmp_path / "other-disk"
    shutil.move(published.folder("0018/e0"), moved)
    published.folder("0018/e0").symlink_to(moved)
    assert published.command("verify", "--deep") == 0
    flip(moved / IMAGE)
    before = tree(moved)
    code, found = verdict(published, capsys, "--deep", "--repair")
    assert code == 1 and "symbolic link" in found["not_queued"]["0018/e0"]
    assert tree(moved) == before and published.folder("0018/e0").is_symlink()


def test_verify_works_without_a_ledger_and_names_an_unmounted_disk(
    published: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (published.root / "work/MANIFEST.sqlite").unlink()
    code, found = verdict(published, capsys, "--deep")
    assert code == 0 and "no ledger" in found["remarks"][0]
    assert not (published.root / "work/MANIFEST.sqlite").exists()
    (published.root / "work/MANIFEST.sqlite").write_bytes(b"not a ledger" * 100)
    code, found = verdict(published, capsys)
    assert code == 0 and "doctor --rebuild" in found["remarks"][0]
    assert published.command("verify", "--repair") == 3
    published.output.rename(published.root / "away")
    assert published.command("verify") == 2
    assert "is its disk mounted?" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_changed(
    published: Workspace, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pread
    folder = published.folder("0018/e0")
    bad = (folder / IMAGE).stat().st_ino

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == bad:
            raise OSError(5, "Input/output error")
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    (flaw,) = check_folder(folder, ("0018", "e0"), threads).flaws
    assert (flaw.kind, flaw.path, flaw.reason) == (FlawKind.CHANGED, IMAGE, "cannot be read: Input/output error")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (IMAGE, ("images", "25", 2)),
        ("keypoints2d/cam_31.npz", ("keypoints2d", "31", None)),
        ("uv_textures/frame_000010.png", ("uv_textures", "", 10)),
        ("metadata/info.json", ("metadata", "", None)),
        (MARKER, ("", "", None)),
    ],
)
def test_places(path: str, place: tuple[str, str, int | None]) -> None:
    assert parts_of(path) == place


def test_the_progress_counts_folders_and_bytes() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    deep, shallow = VerifyProgress(3, 2048, console), VerifyProgress(3, 0, console)
    for progress in (deep, shallow):
        progress.add_bytes(1024)
        progress.add_folder()
    assert counts_text(deep.task) == "1 of 3 folders, 1 KB of 2 KB" and deep.task.percentage == 50
    assert counts_text(shallow.task) == "1 of 3 folders" and round(shallow.task.percentage) == 33
