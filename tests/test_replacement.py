"""Folders that are replaced: what a person put into them is kept, whatever it is and whenever the process dies."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_store import FINAL, record, rename_kind, staged

from rm360_async.store import publish as publishing_room
from rm360_async.store import replacement
from rm360_async.store.check import FlawKind, check_folder
from rm360_async.store.file_list import FILE_LIST, read_file_list
from rm360_async.store.marker import DAMAGED, MARKER
from rm360_async.store.publish import mark_damaged, publish
from rm360_async.store.replacement import (
    kept_folders,
    kept_path,
    remove_staging,
    replaced_folders,
    replaced_path,
    unlisted_entries,
)
from rm360_async.store.seal import open_file_system, seal
from rm360_async.store.staging import StagingFolder, find_staging_folders, staging_path
from rm360_async.system import linux

__all__ = ["rename_kind"]

NAMES = ["images", "cam_25", "frame_000000.jpg", "metadata", "info.json", "masks", "fits", "notes.txt", ".x", "k\udcfc"]
"""Names that the old folder has, that the new one has, and that neither has; one is not UTF-8."""
KINDS = ["file", "link", "folder", "fifo", "read-only folder"]
ENTRIES = st.lists(
    st.tuples(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), st.sampled_from(KINDS)), max_size=12
)
Description = tuple[str, Any]


def new_folder(output: Path) -> Path:
    """Return a sealed staging folder that has more than the published one: masks, and a file `fits`."""
    path = staging_path(output / FINAL, "a2")
    with StagingFolder(path) as folder:
        for name in ("images/cam_25/frame_000000.jpg", "metadata/info.json", "masks/cam_25/frame_000000.png", "fits"):
            folder.write(name, f"new {name}".encode())
        folder.write_list()
        with open_file_system(path) as file_system:
            seal(path, record(folder.files, folder.bytes), file_system)
    return path


def put(folder: Path, names: list[str], kind: str) -> None:
    """Put an entry into a folder as a person might, in the place of what is there if that is a file."""
    path = folder.joinpath(*names)
    for parent in reversed(path.relative_to(folder).parents[:-1]):
        above = folder / parent
        if above.is_symlink() or (above.exists() and not above.is_dir()):
            return
        above.mkdir(exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        return
    path.unlink(missing_ok=True)
    if kind == "file":
        path.write_bytes(os.fsencode("/".join(["mine", *names])))
        path.chmod(0o444)
    elif kind == "link":
        path.symlink_to("../elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
        (path / "inside").write_text("mine")
        path.chmod(0o555 if kind == "read-only folder" else 0o755)


def description(path: Path) -> Description:
    """Return what an entry is."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return "link", os.readlink(path)
    if stat.S_ISDIR(status.st_mode):
        return "folder", None
    if stat.S_ISFIFO(status.st_mode):
        return "fifo", None
    return "file", (path.read_bytes(), status.st_mode, status.st_mtime_ns)


def entries_below(folder: Path) -> dict[str, Description]:
    """Return every entry below a folder; no link is followed."""
    found: dict[str, Description] = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            found[str(path.relative_to(folder))] = description(path)
    return found


def of_a_person(folder: Path) -> dict[str, Description]:
    """Return the entries below a published folder that the list does not name: written again, unlike the room's."""
    listed = {file.path for file in read_file_list(folder)} | {MARKER, DAMAGED, FILE_LIST}
    return {
        path: entry
        for path, entry in entries_below(folder).items()
        if not (entry[0] == "file" and path in listed)
        and not (entry[0] == "folder" and any(each.startswith(f"{path}/") for each in listed))
    }


def lost(entries: dict[str, Description], *folders: Path) -> dict[str, Description]:
    """Return the entries that are in none of the folders, at their path or with a number appended to it."""
    gone = dict(entries)
    for folder in folders:
        there = entries_below(folder) if folder.is_dir() else {}
        for path, entry in entries.items():
            if any(there.get(f"{path}{number}") == entry for number in ("", "-2", "-3")):
                gone.pop(path, None)
    return gone


def with_entries(output: Path, entries: list[tuple[list[str], str]]) -> dict[str, Description]:
    """Publish a folder and put entries into it; return those that it does not list."""
    final = output / FINAL
    publish(staged(output, "a1", b"old"), final)
    for names, kind in entries:
        put(final, names, kind)
    return of_a_person(final)


def assert_replaced(output: Path, before: dict[str, Description]) -> None:
    """The new folder is published and undamaged, every entry is kept, and nothing else is left."""
    final = output / FINAL
    assert lost(before, final, kept_path(final)) == {}
    check = check_folder(final, ("0018", "s1_all"))
    assert [flaw for flaw in check.flaws if flaw.kind is not FlawKind.EXTRA] == []
    assert (final / "fits").read_text() == "new fits"
    assert find_staging_folders(output) == []
    kept = kept_path(final)
    assert kept_folders(output) == ([kept] if kept.exists() else [])


@settings(max_examples=60, deadline=None)
@given(ENTRIES, st.booleans())
def test_nothing_of_a_person_is_lost_when_a_folder_is_replaced(
    entries: list[tuple[list[str], str]], damaged: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        before = with_entries(output, entries)
        if damaged:
            mark_damaged(output / FINAL)
        announced = unlisted_entries(output / FINAL)
        assert all(any(path == each or path.startswith(f"{each}/") for each in announced) for path in before)
        publish(new_folder(output), output / FINAL, replace=True)
        assert_replaced(output, before)


def killed_at(step: int, output: Path) -> bool:
    """Replace the folder in a child process that dies by SIGKILL at its n-th fault point; return True if it did.

    `<output>.points` lists the points that it reached.
    """
    child = os.fork()
    if child == 0:
        points: list[str] = []

        def reach(point: str) -> None:
            points.append(point)
            output.with_suffix(".points").write_text("\n".join(points))
            if len(points) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        publishing_room.reach = replacement.reach = reach  # type: ignore[attr-defined]
        try:
            publish(staging_path(output / FINAL, "a2"), output / FINAL, replace=True)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


EVERY_KIND = [
    (["notes.txt"], "file"),
    (["fits"], "file"),
    (["images", "cam_25", "mine"], "folder"),
    (["images", "cam_25", "frame_000000.jpg"], "link"),
    (["masks", "k\udcfc"], "fifo"),
    (["metadata", "empty"], "read-only folder"),
]


@pytest.mark.parametrize("marked", ["published", "damaged", "without a marker"])
def test_killed_at_any_step_of_a_replacement_it_loses_nothing(tmp_path: Path, marked: str, rename_kind: str) -> None:
    for step in range(1, 100):
        output = tmp_path / str(step)
        before = with_entries(output, EVERY_KIND)
        if marked != "published":
            (output / FINAL / MARKER).rename(output / FINAL / DAMAGED)
        if marked == "without a marker":
            (output / FINAL / FILE_LIST).unlink()
            (output / FINAL / DAMAGED).unlink()
            before = entries_below(output / FINAL)
        new_folder(output)
        killed = killed_at(step, output)
        assert (output / FINAL).is_dir() or find_staging_folders(output), "the folder is there, or its old one"
        for _, folder in find_staging_folders(output):
            remove_staging(folder, output / FINAL)
        assert lost(before, output / FINAL, kept_path(output / FINAL)) == {}, step
        assert find_staging_folders(output) == []
        if not (output / FINAL / "masks/cam_25").exists():  # killed before the exchange
            publish(new_folder(output), output / FINAL, replace=True)
        assert_replaced(output, before)
        if not killed:
            break
    points = output.with_suffix(".points").read_text().splitlines()
    assert points.count("unlisted entry moved") >= len(EVERY_KIND) and points[-1] == "published"
    if rename_kind == "plain rename":
        assert "old folder renamed" in points


def test_of_an_earlier_tool_s_folder_the_layout_says_what_is_published(tmp_path: Path) -> None:
    final = tmp_path / FINAL
    publish(staged(tmp_path), final)
    (final / FILE_LIST).unlink()
    (final / MARKER).write_text("extracted")
    (final / "audio").mkdir()
    (final / "images/cam_25/fit.obj").write_text("mine")
    (final / "images/cam_31").mkdir()
    assert unlisted_entries(final) == ["images/cam_25/fit.obj"]
    moved = publish(new_folder(tmp_path), final, replace=True)
    assert moved is not None and (moved.carried_over, moved.kept) == (["images/cam_25/fit.obj"], [])
    assert_replaced(tmp_path, {})
    assert kept_folders(tmp_path) == []


def test_entries_of_the_same_name_are_kept_side_by_side(tmp_path: Path) -> None:
    final = tmp_path / FINAL
    for text in ("first", "second"):
        shutil.rmtree(final, ignore_errors=True)
        publish(staged(tmp_path), final)
        (final / "fits").write_text(text)
        moved = publish(new_folder(tmp_path), final, replace=True)
        assert moved is not None and str(kept_path(final)) in moved.messages[0]
    kept = kept_path(final)
    assert [(kept / name).read_text() for name in ("fits", "fits-2")] == ["first", "second"]


def test_what_cannot_be_moved_stays_and_is_moved_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / FINAL
    publish(staged(tmp_path), final)
    (final / "notes.txt").write_text("mine")

    def refused(source: Path, target: Path) -> None:
        raise OSError(30, "Read-only file system", str(source))

    with monkeypatch.context() as read_only:
        read_only.setattr(replacement, "rename_without_replacing", refused)
        moved = publish(new_folder(tmp_path), final, replace=True)
    assert moved is not None and "notes.txt: Read-only file system" in moved.messages[0]
    [(_, left)] = find_staging_folders(tmp_path)
    assert (left / "notes.txt").read_text() == "mine" and (left / FILE_LIST).exists()
    remove_staging(left, final)
    assert (final / "notes.txt").read_text() == "mine" and find_staging_folders(tmp_path) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_user_s_read_only_folders_move_and_are_read_only_again() -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        before = with_entries(output, [*EVERY_KIND, (["locked"], "read-only folder")])
        new_folder(output)
        for path in (output / FINAL, output / FINAL / "images"):
            path.chmod(0o555)
        for path in (output, *output.rglob("*")):
            os.chown(path, 12345, 12345, follow_symlinks=False)
        child = os.fork()
        if child == 0:
            try:
                os.setgid(12345)
                os.setuid(12345)
                publish(staging_path(output / FINAL, "a2"), output / FINAL, replace=True)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert_replaced(output, before)
        assert stat.S_IMODE((output / FINAL / "locked").stat().st_mode) == 0o555


def test_left_folders_are_found_whatever_the_name_of_the_new_one_is(tmp_path: Path) -> None:
    for name in ("take[1]", "t*"):
        left = replaced_path(staging_path(tmp_path / name, "0123abcd"))
        left.mkdir()
        assert replaced_folders(tmp_path / name) == [left]
    assert replaced_folders(tmp_path / "take") == []


def test_both_ways_to_rename_refuse_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").mkdir()
    for _ in range(2):
        with pytest.raises(FileExistsError):
            linux.rename_without_replacing(tmp_path / "a", tmp_path / "b")
        monkeypatch.setattr(linux, "rename", lambda old, new, flag: False)
    linux.rename_without_replacing(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_text() == "a"
