"""Staging, sealing, publishing and sweeping, on a real file system."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.record import Record
from rm360_async.store import file_writer
from rm360_async.store import publish as publishing_room
from rm360_async.store import seal as sealing
from rm360_async.store.file_list import FILE_LIST, ListedFile, read_file_list
from rm360_async.store.marker import MARKER, read_marker
from rm360_async.store.publish import publish, require_publishable
from rm360_async.store.replacement import remove_staging
from rm360_async.store.seal import open_file_system, seal
from rm360_async.store.staging import StagingFolder, find_staging_folders, remove_tree, staging_path
from rm360_async.system import files, linux
from rm360_async.system.hashing import hash_of

FINAL = Path("0018") / "s1_all"


def record(files: int, size: int) -> Record:
    return Record(
        subject="0018", performance="s1_all", version="1", published="now", sources=(), wanted_cameras="all",
        wanted_modalities=(), modalities=(), absent=(), cameras={}, frames=0, fps=None, left_out=(),
        files=files, bytes=size,
    )  # fmt: skip


def staged(output: Path, attempt: str = "a1", text: bytes = b"new") -> Path:
    """Return a sealed staging folder."""
    path = staging_path(output / FINAL, attempt)
    with StagingFolder(path) as folder:
        folder.write("images/cam_25/frame_000000.jpg", text)
        folder.write("metadata/info.json", b"{}")
        folder.write_list()
        with open_file_system(path) as file_system:
            seal(path, record(folder.files, folder.bytes), file_system)
    return path


def test_files_are_written_copied_and_counted(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 5000)
    with source.open("rb") as file, StagingFolder(tmp_path / "out" / ".x.staging") as folder:
        folder.write("a.txt", b"abc")
        folder.copy("deep/er/b.bin", file.fileno(), 1000, 1_200_000)
        with folder.open("deep/c.bin") as target:
            target.write(b"12345")
            target.seek(0)
            target.write(b"9")
    assert folder.sizes == {"a.txt": 3, "deep/er/b.bin": 1_200_000, "deep/c.bin": 5}
    assert (folder.files, folder.bytes) == (3, 1_200_008)
    assert (folder.path / "deep/er/b.bin").read_bytes() == source.read_bytes()[1000:1_201_000]
    assert (folder.path / "deep/c.bin").read_bytes() == b"92345"


@pytest.mark.parametrize("error", [18, 22, 38, 95])
def test_where_the_kernel_cannot_copy_a_range_bytes_are_read_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    real, calls = os.copy_file_range, []

    def short_then_refused(source: int, target: int, count: int, offset_src: int) -> int:
        calls.append(count)
        if len(calls) > 1:
            raise OSError(error, "no")
        return real(source, target, min(count, 1000), offset_src)

    monkeypatch.setattr(os, "copy_file_range", short_then_refused)
    monkeypatch.setattr(file_writer, "_CHUNK_BYTES", 777)
    (tmp_path / "source").write_bytes(os.urandom(10_000))
    with (tmp_path / "source").open("rb") as file, StagingFolder(tmp_path / ".x.staging") as folder:
        folder.copy("b", file.fileno(), 5, 9000)
    assert calls == [9000, 8000]
    assert (folder.path / "b").read_bytes() == (tmp_path / "source").read_bytes()[5:9005]


def test_copying_continues_after_a_short_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, write = os.copy_file_range, os.write
    monkeypatch.setattr(os, "copy_file_range", lambda s, t, n, offset_src: copy(s, t, min(n, 13), offset_src))
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    (tmp_path / "source").write_bytes(bytes(range(200)))
    with (tmp_path / "source").open("rb") as file, StagingFolder(tmp_path / ".x.staging") as folder:
        folder.copy("b", file.fileno(), 20, 150)
        folder.write("c", bytes(range(100)))
    assert (folder.path / "b").read_bytes() == bytes(range(20, 170))
    assert (folder.path / "c").read_bytes() == bytes(range(100))


def test_a_source_that_ends_early_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"short")
    with (tmp_path / "source").open("rb") as file, StagingFolder(tmp_path / ".x.staging") as folder:
        with pytest.raises(EOFError):
            folder.copy("b", file.fileno(), 0, 100)
        assert folder.files == 0 and not (folder.path / "b").exists()


def test_processes_share_a_folder(tmp_path: Path) -> None:
    names = [f"d{number % 7}/e{number % 3}/f{number}" for number in range(400)]
    forks = multiprocessing.get_context("fork")
    with StagingFolder(tmp_path / ".x.staging") as folder:
        barrier = forks.Barrier(4)

        def fill(share: list[str]) -> None:
            barrier.wait()
            for name in share:
                folder.write(name, name.encode())

        processes = [forks.Process(target=fill, args=(names[start::4],)) for start in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
    assert dict(sealing.files_below(folder.path)) == {name: len(name) for name in names}


def test_a_file_that_fails_half_way_is_removed(tmp_path: Path) -> None:
    with StagingFolder(tmp_path / ".x.staging") as folder:
        with pytest.raises(KeyError), folder.open("a/b") as file:
            file.write(b"half")
            raise KeyError
        assert folder.sizes == {} and not (folder.path / "a/b").exists()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a//x", "./x"])
def test_no_path_leaves_the_folder(tmp_path: Path, name: str) -> None:
    with StagingFolder(tmp_path / "o" / ".x.staging") as folder, pytest.raises(ValueError, match="not the name"):
        folder.write(name, b"x")
    assert not (tmp_path / "o" / "x").exists() and not (tmp_path / "x").exists()


def test_links_inside_staging_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"keep")
    with StagingFolder(tmp_path / ".x.staging") as folder:
        (folder.path / "images").symlink_to(outside)
        (folder.path / "f").symlink_to(outside / "f")
        for name in ("images/new", "images/f", "f"):
            with pytest.raises(Fault) as caught:
                folder.write(name, b"evil")
            assert caught.value.cause is Cause.IN_THE_WAY
    assert [path.name for path in outside.iterdir()] == ["f"] and (outside / "f").read_bytes() == b"keep"


def test_a_link_or_a_filled_folder_in_place_of_staging_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / ".x.staging").symlink_to(tmp_path / "outside")
    (tmp_path / ".y.staging" / "images").mkdir(parents=True)
    (tmp_path / "0018").symlink_to(tmp_path / "outside")
    for path in (".x.staging", ".y.staging", "0018/.s1_all.a.staging"):
        with pytest.raises(Fault) as caught:
            StagingFolder(tmp_path / path)
        assert caught.value.cause is Cause.IN_THE_WAY
    assert list((tmp_path / "outside").iterdir()) == []


def test_files_respect_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        path = staged(tmp_path)
    finally:
        os.umask(old)
    modes = {p.relative_to(path).parts[0]: p.stat().st_mode & 0o777 for p in path.rglob("*") if p.is_file()}
    assert modes.pop("images") == 0o440  # published pictures are read-only
    assert set(modes.values()) == {0o640} and (path / "images").stat().st_mode & 0o777 == 0o750


def test_sealing_lists_every_file_and_writes_the_marker(tmp_path: Path) -> None:
    path = staged(tmp_path)
    assert {file.path: file.size for file in read_file_list(path)} == {
        "images/cam_25/frame_000000.jpg": 3,
        "metadata/info.json": 2,
    }
    assert read_marker(path) == record(2, 5)


@pytest.mark.parametrize("spoil", ["missing", "longer", "extra", "link", "renamed", "unlisted"])
def test_a_folder_that_differs_from_its_list_is_not_sealed(tmp_path: Path, spoil: str) -> None:
    path = staging_path(tmp_path / FINAL, "a")
    with StagingFolder(path) as folder:
        folder.write("a", b"abc")
        folder.write("b/c", b"abc")
        folder.write_list()
    acts: dict[str, Callable[[], object]] = {
        "missing": (path / "a").unlink,
        "longer": lambda: (path / "a").write_bytes(b"abcd"),
        "extra": lambda: (path / "new").write_bytes(b""),
        "link": lambda: (path / "l").symlink_to("a"),
        "renamed": lambda: (path / "a").rename(path / "d"),
        "unlisted": (path / FILE_LIST).unlink,
    }
    acts[spoil]()
    with pytest.raises(Fault), open_file_system(path) as file_system:
        seal(path, record(2, 6), file_system)
    assert not (path / MARKER).exists()


def test_every_file_is_listed_with_the_hash_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(os.urandom(3_000_000))
    with (tmp_path / "source").open("rb") as file, StagingFolder(tmp_path / ".x.staging") as folder:
        folder.write("a", b"abc")
        folder.write("empty", b"")
        folder.copy("large", file.fileno(), 10, 2_500_000)
        folder.copy("small", file.fileno(), 10, 1000)
        with folder.open("archive") as target:
            target.write(b"12345")
            target.seek(0)
            target.write(b"9")
        folder.write_list()
    listed = {each.path: each for each in read_file_list(folder.path)}
    assert sorted(listed) == ["a", "archive", "empty", "large", "small"]
    for path, each in listed.items():
        data = (folder.path / path).read_bytes()
        assert (each.size, each.hash) == (len(data), hash_of(data))


def test_write_errors_are_reported_from_before_the_first_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out" / ".x.staging"
    synced: list[int] = []

    def sync(descriptor: int) -> bool:
        synced.append(descriptor)
        return True

    with open_file_system(path) as file_system:
        assert not path.parent.exists(), "opened before there is anything"
        with StagingFolder(path) as folder:
            folder.write("a", b"a")
            folder.write_list()
        monkeypatch.setattr(sealing, "sync_file_system", sync)
        seal(path, record(folder.files, folder.bytes), file_system)
        assert synced == [file_system] and os.fstat(file_system).st_dev == path.stat().st_dev


def test_the_marker_comes_last_and_everything_is_synced_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(sealing, "sync_file_system", lambda folder: False)
    real = files.sync

    def sync(path: Path) -> None:
        assert (staging / MARKER).exists()
        synced.append(path)
        real(path)

    monkeypatch.setattr(sealing, "sync", sync)
    staging = staging_path(tmp_path / FINAL, "a1")
    staged(tmp_path)
    assert set(synced) == {staging, staging.parent, *staging.rglob("*")}
    folders = [path for path in synced if path.is_dir()]
    assert folders.index(staging / "images/cam_25") < folders.index(staging / "images") < folders.index(staging)


def test_publishing_moves_once_and_syncs_both_parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(publishing_room, "sync", synced.append)
    monkeypatch.setattr(publishing_room, "sync_folder", synced.append)
    staging = staged(tmp_path)
    publish(staging, tmp_path / FINAL)
    assert synced == [tmp_path / "0018", tmp_path]
    assert not staging.exists() and read_marker(tmp_path / FINAL) == record(2, 5)


def test_an_output_folder_may_be_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    publish(staged(tmp_path / "link"), tmp_path / "link" / FINAL)
    assert read_marker(tmp_path / "real" / FINAL) == record(2, 5)


@pytest.fixture(params=["renameat2", "plain rename"])
def rename_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with the kernel's renameat2 and where the file system has none."""
    kind: str = request.param
    if kind == "plain rename":
        for module in (publishing_room, linux):
            monkeypatch.setattr(module, "rename", lambda old, new, flag: False)
    return kind


def put_in_the_way(final: Path, what: str) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    other = final.parent.parent / "other"
    if what == "file":
        final.write_bytes(b"mine")
    elif what in ("link", "dangling link"):
        final.symlink_to(other)
        if what == "link":
            other.mkdir()
    else:
        final.mkdir()
        if what != "empty folder":
            (final / "mine").write_bytes(b"mine")
        if what == "published":
            (final / MARKER).write_text("an earlier tool")


@pytest.mark.usefixtures("rename_kind")
@pytest.mark.parametrize("what", ["file", "link", "dangling link", "empty folder", "folder", "published"])
@pytest.mark.parametrize("replace", [False, True])
def test_only_a_real_folder_is_replaced_and_only_with_force(tmp_path: Path, what: str, replace: bool) -> None:
    final = tmp_path / FINAL
    staging = staged(tmp_path)
    put_in_the_way(final, what)
    if replace and what in ("empty folder", "folder", "published"):
        publish(staging, final, replace=True)
        assert read_marker(final) == record(2, 5) and (final / "mine").exists() == (what != "empty folder")
        assert sorted(path.name for path in final.parent.iterdir()) == ["s1_all"]
        return
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(Fault) as caught:
        publish(staging, final, replace)
    assert caught.value.cause is Cause.IN_THE_WAY and caught.value.hint
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_a_crash_while_the_old_folder_is_removed_leaves_a_staging_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / FINAL
    publish(staged(tmp_path, "a1", b"old"), final)

    def crash(replaced: Path, final: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(publishing_room, "finish_replacement", crash)
    with pytest.raises(KeyboardInterrupt):
        publish(staged(tmp_path, "a2", b"newer"), final, replace=True)
    assert (final / "images/cam_25/frame_000000.jpg").read_bytes() == b"newer"
    [(performance, left)] = find_staging_folders(tmp_path)
    assert performance == Performance("0018", "s1_all")
    remove_staging(left, final)
    assert [path.name for path in final.parent.iterdir()] == ["s1_all"]


def test_only_staging_folders_are_found(tmp_path: Path) -> None:
    wanted = [("0018", "h1_7bk"), ("0018", "s1_all"), ("0026", "e0")]
    for subject, name in wanted:
        staging_path(tmp_path / subject / name, "0a-b_C").mkdir(parents=True)
    for other in (".s1_all.staging", ".nonsense.a.staging", "s1_all", ".s1_all.a.b.staging", ".s1_all.a.staging.x"):
        (tmp_path / "0018" / other).mkdir()
    (tmp_path / "0018" / ".e1.a.staging").write_bytes(b"a file")
    (tmp_path / "0018" / ".e2.a.staging").symlink_to(tmp_path / "0026")
    (tmp_path / "notes" / ".e1.a.staging").mkdir(parents=True)
    (tmp_path / "0099").symlink_to(tmp_path / "0026")
    assert [(p.subject, p.name) for p, _ in find_staging_folders(tmp_path)] == wanted
    assert find_staging_folders(tmp_path / "absent") == []


def test_removing_a_tree_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "f").write_bytes(b"x")
    (tmp_path / "tree" / "a").mkdir(parents=True)
    (tmp_path / "tree" / "a" / "l").symlink_to(tmp_path / "keep")
    remove_tree(tmp_path / "tree")
    remove_tree(tmp_path / "tree")
    (tmp_path / "link").symlink_to(tmp_path / "keep")
    remove_tree(tmp_path / "link")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "keep" / "f").read_bytes() == b"x" and not (tmp_path / "tree").exists()


FULL_DISK = """
import os, sys
import numpy as np
from pathlib import Path
from rm360_async.domain.errors import Fault
from rm360_async.store.staging import StagingFolder
root = Path(sys.argv[1])
source = os.open(sys.argv[2], os.O_RDONLY)
def np_save(folder):
    with folder.open("d") as file: np.save(file, np.zeros(2**21))
for number, act in enumerate((
    lambda folder: folder.write("a/b", bytes(2**23)),
    lambda folder: folder.copy("c", source, 0, 2**23),
    np_save,
)):
    with StagingFolder(root / f".{number}.staging") as folder:
        try: act(folder)
        except Fault as fault: print(fault.cause.code, "|", folder.files, "|", fault.message)
"""


def test_every_write_reports_a_full_disk_as_such(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    (tmp_path / "source").write_bytes(bytes(2**23))
    command = f'mount -t tmpfs -o size=4m none {tmp_path}/mount && exec "$0" -c "$1" {tmp_path}/mount {tmp_path}/source'
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here, so no small file system to fill")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, sys.executable, FULL_DISK],
        capture_output=True, text=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert [line.split(" | ")[:2] for line in lines] == [["disk full", "0"]] * 3, done.stderr
    assert all(f"cannot write {tmp_path}/mount/" in line and "no space left" in line for line in lines)


@pytest.mark.parametrize(
    ("spoil", "replace", "reason"),
    [
        ("subject is a link", False, "is a symbolic link"),
        ("subject is a dangling link", False, "is a symbolic link"),
        ("subject is a file", False, "is not a folder"),
        ("folder is a link", True, "is a symbolic link"),
        ("folder is a file", True, "is a file, not a folder"),
        ("folder is there", False, "already exists and was not published by rm360"),
        ("subject is read-only", False, "no permission to write"),
        ("output is read-only", False, "no permission to write"),
        ("nothing", False, ""),
        ("folder is there", True, ""),
    ],
)
def test_what_prevents_publishing_is_known_before(tmp_path: Path, spoil: str, replace: bool, reason: str) -> None:
    output = tmp_path / "output"
    final, other = output / FINAL, tmp_path / "other"
    output.mkdir()
    other.mkdir()
    acts: dict[str, Callable[[], object]] = {
        "subject is a link": lambda: final.parent.symlink_to(other),
        "subject is a dangling link": lambda: final.parent.symlink_to(other / "absent"),
        "subject is a file": lambda: final.parent.write_text(""),
        "folder is a link": lambda: final.symlink_to(other),
        "folder is a file": lambda: final.write_text(""),
        "folder is there": lambda: final.mkdir(parents=True),
        "subject is read-only": lambda: final.parent.mkdir(0o555),
        "output is read-only": lambda: output.chmod(0o555),
        "nothing": lambda: None,
    }
    if spoil in ("folder is a link", "folder is a file"):
        final.parent.mkdir()
    acts[spoil]()
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    error = fault_of_another_user(tmp_path, lambda: require_publishable(final, replace))
    assert reason in error and bool(reason) == bool(error)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
    assert error.startswith("not writable" if spoil == "output is read-only" else "in the way" if reason else "")


def fault_of_another_user(folder: Path, act: Callable[[], object]) -> str:
    """Return cause and message of the fault of an act in a child process, which is not root's; "" for none."""
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")) if folder.exists() else ():
            os.chown(path, 12345, 12345, follow_symlinks=False)
        for parent in folder.parents[:-2]:  # pytest's folders are for root alone
            parent.chmod(parent.stat().st_mode | 0o011)
    report, result = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgid(12345)
                os.setuid(12345)
            act()
        except Fault as fault:
            os.write(result, f"{fault.cause.code}: {fault}".encode())
        finally:
            os._exit(0)
    os.close(result)
    os.waitpid(child, 0)
    with os.fdopen(report) as lines:
        return lines.read()


def test_a_folder_of_another_user_below_a_sticky_one_cannot_be_replaced(tmp_path: Path) -> None:
    final = tmp_path / FINAL
    final.mkdir(parents=True)
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to another user")
    final.parent.chmod(0o1777)

    def act() -> None:
        require_publishable(final, True)

    assert fault_of_another_user(tmp_path, act) == ""
    for path in (final, final.parent):
        os.chown(path, 1, 1)
    child_sees = fault_of_another_user(tmp_path / "absent", act)
    assert "belongs to another user" in child_sees


def test_a_picture_of_an_earlier_version_becomes_read_only_when_it_is_reused(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name in ("images", "audio"):
        (tmp_path / "old" / name).write_bytes(b"bytes")
    with StagingFolder(tmp_path / ".x.staging") as folder:
        folder.link(tmp_path / "old" / "images", ListedFile("images/cam_25/frame_000000.jpg", 5))
        folder.link(tmp_path / "old" / "audio", ListedFile("audio/audio.mp3", 5))
    modes = {name: (tmp_path / "old" / name).stat().st_mode & 0o222 for name in ("images", "audio")}
    assert modes["images"] == 0
    assert modes["audio"] != 0
