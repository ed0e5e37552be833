"""The copy processes: however they or the extraction die, nothing is half done and no process is left."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from instance import wait_until
from made_once import made_once
from test_extract import fault, job
from tiny_smc import Tiny

from rm360_async.domain.errors import Cause, Fault
from rm360_async.extraction import copy_processes
from rm360_async.extraction.copier import Copier, Item
from rm360_async.extraction.extract import extract
from rm360_async.smc import SmcFile, UnreadableData
from rm360_async.store.staging import StagingFolder

FRAMES = 150
"""Of each of the two cameras: five batches."""
IMAGES = ("cam_25/frame_000010", "cam_31/frame_000100")
"""One of the first process's, and one of the second's."""
STARTED = """
import sys, time
from pathlib import Path
from rm360_async.extraction.copy_processes import CopyProcesses
from rm360_async.store.file_writer import FileWriter
processes = CopyProcesses(FileWriter(Path(sys.argv[1])))
processes.send([])
processes.send([])
print(*(fork.process.pid for fork in processes._started), flush=True)
time.sleep(60)
"""


def in_copy_process(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None], image: str) -> None:
    """Have a copy process do something instead of copying one image."""
    real = copy_processes.copy_blob

    def disturbed(stem: str, *arguments: object) -> object:
        if stem.endswith(image) and multiprocessing.parent_process():
            do()
        return real(stem, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(copy_processes, "copy_blob", disturbed)


def fails() -> None:
    raise ZeroDivisionError("a bug")


def lacks_memory() -> None:
    raise MemoryError


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize(
    ("do", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL (by hand, or by the system"),
        (lambda: os._exit(7), "ended with exit code 7"),
        (fails, "failed: ZeroDivisionError: a bug"),
    ],
)
def test_a_copy_process_that_dies_ends_the_extraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, do: Callable[[], None], words: str, image: str
) -> None:
    in_copy_process(monkeypatch, do, image)
    caught = fault(job(tmp_path, Tiny(frames=FRAMES).write(tmp_path / "a.smc")))
    assert caught.cause is Cause.WORKER_DIED and f"a copy process of the extraction {words}" in caught.message
    assert multiprocessing.active_children() == []


def test_a_copy_process_without_memory_is_a_memory_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_copy_process(monkeypatch, lacks_memory, IMAGES[1])
    with pytest.raises(MemoryError):
        extract(job(tmp_path, Tiny(frames=FRAMES).write(tmp_path / "a.smc")))
    assert not list(tmp_path.glob("**/*.staging"))


def test_without_further_processes_the_extraction_does_all_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container or a batch system may bound the processes of a user; the limit is not the performance's fault."""
    source = Tiny(frames=FRAMES).write(tmp_path / "a.smc")
    usual = extract(job(tmp_path / "usual", source))

    def refused() -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refused)
    alone = extract(job(tmp_path / "alone", source))
    assert (alone.files, alone.bytes, alone.sizes) == (usual.files, usual.bytes, usual.sizes)
    assert alone.left_out == () and multiprocessing.active_children() == []


@pytest.fixture(scope="module")
def long_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of 80 MB, whose extraction takes long enough to be stopped; no test changes it."""
    name = "0018_e0_raw.smc"
    tiny = Tiny(frames=2000, filler=20_000)
    return made_once(tmp_path_factory, "long", lambda folder: tiny.write(folder / name)) / name


@pytest.mark.slow
@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05])
def test_a_signal_stops_an_extraction_and_leaves_nothing(
    long_source: Path, tmp_path: Path, number: signal.Signals, group: bool, seconds: float
) -> None:
    output_folder = tmp_path / "out" / "e0"
    command = [sys.executable, "-m", "rm360_async", "extract", str(long_source), "--output", str(output_folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: any(tmp_path.glob("out/.*.staging/images")) or process.poll() is not None, "a first image")
    time.sleep(seconds)
    (os.killpg if group else os.kill)(process.pid, number)
    output = process.communicate(timeout=60)[1]
    assert "Traceback" not in output and "copy process" not in output and "stopped" in output
    assert process.returncode == 128 + number and not (tmp_path / "out").exists()


def test_batches_in_flight_count_against_the_limit_of_a_source(tmp_path: Path) -> None:
    with SmcFile(Tiny(frames=FRAMES).write(tmp_path / "a.smc")) as source, StagingFolder(tmp_path / "x") as folder:
        items = [Item("25", frame, f"25/{frame}", blob) for frame, blob in source.blobs("Camera", "25", "color")]
        most = sum(item.size for item in items[:130])
        with Copier(folder, lambda files, size: None, most) as copier, pytest.raises(Fault, match="out of all propor"):
            list(copier.run(items))
        assert folder.bytes == 0, "noticed before the first batch was received"


def test_copy_processes_die_with_the_extraction(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", STARTED, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    children = [int(pid) for pid in process.stdout.readline().split()]
    assert len(children) == 2 and all(Path(f"/proc/{pid}").exists() for pid in children)
    process.kill()
    process.stdout.read()  # its end: the children held it open as well
    process.wait()
    process.stdout.close()


def test_an_index_that_breaks_off_leaves_no_result_to_the_next_run(tmp_path: Path) -> None:
    tiny = Tiny(frames=FRAMES)
    with SmcFile(tiny.write(tmp_path / "a.smc")) as source, StagingFolder(tmp_path / ".x.staging") as folder:

        def items(camera: str) -> Iterator[Item]:
            for frame, blob in source.blobs("Camera", camera, "color"):
                yield Item(camera, frame, f"{camera}/{frame}", blob)
            if camera == "25":
                raise UnreadableData("breaks off")

        with Copier(folder, lambda files, size: None) as copier:
            with pytest.raises(UnreadableData):
                list(copier.run(items("25")))
            assert [copied.frame for copied in copier.run(items("31"))] == list(range(FRAMES))
        assert {path for path in folder.sizes if path.startswith("31/")} == {f"31/{n}.jpg" for n in range(FRAMES)}
        written = {path: (folder.path / path).read_bytes() for path in folder.sizes}
    for camera in ("25", "31"):
        for frame in range(128):  # of the broken one, what was in whole batches
            assert written[f"{camera}/{frame}.jpg"] == tiny.image(camera, frame)
