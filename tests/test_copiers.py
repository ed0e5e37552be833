"""The copying processes: whatever they or we die of, nothing is half done and nobody is left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_extract import fault, job
from tiny_smc import Tiny

from rm360_async.errors import Cause
from rm360_async.modalities import Copier, copiers
from rm360_async.modalities.copying import Item
from rm360_async.package import StagingFolder
from rm360_async.smc import Refusal, SmcFile

FRAMES = 150
"""Of each of the two cameras: five batches."""
STARTED = """
import sys, time
from pathlib import Path
from rm360_async.modalities.copiers import Copiers
from rm360_async.package import NewFiles
copiers = Copiers(NewFiles(Path(sys.argv[1])))
copiers.send([])
print(*(process.pid for process, _ in copiers._started), flush=True)
time.sleep(60)
"""


def in_a_copier(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    """Have a copying process do something instead of frame 100 of camera 31."""
    real = copiers.copy_blob

    def disturbed(stem: str, *arguments: object) -> object:
        if stem.endswith("cam_31/frame_000100") and multiprocessing.parent_process():
            do()
        return real(stem, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(copiers, "copy_blob", disturbed)


def fails() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("do", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "a copying process of the extraction was killed by SIGKILL"),
        (fails, "a copying process of the extraction ended with exit code 1"),
    ],
)
def test_a_copying_process_that_dies_ends_the_extraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, do: Callable[[], None], words: str
) -> None:
    in_a_copier(monkeypatch, do)
    told = fault(job(tmp_path, Tiny(frames=FRAMES).write(tmp_path / "a.smc")))
    assert (told.cause, told.message) == (Cause.WORKER_DIED, words)
    assert multiprocessing.active_children() == []


def test_they_die_with_the_extraction(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", STARTED, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    children = [int(pid) for pid in process.stdout.readline().split()]
    assert len(children) == 2 and all(Path(f"/proc/{pid}").exists() for pid in children)
    process.kill()
    process.stdout.read()  # its end: the children held it open as well
    process.wait()
    process.stdout.close()


def test_an_index_that_breaks_off_leaves_no_outcome_to_the_next(tmp_path: Path) -> None:
    tiny = Tiny(frames=FRAMES)
    with SmcFile(tiny.write(tmp_path / "a.smc")) as source, StagingFolder(tmp_path / ".x.staging") as folder:

        def items(camera: str) -> Iterator[Item]:
            for frame, blob in source.blobs("Camera", camera, "color"):
                yield Item(camera, frame, f"{camera}/{frame}", blob)
            if camera == "25":
                raise Refusal("breaks off")

        with Copier(folder, lambda files, size: None) as copier:
            with pytest.raises(Refusal):
                list(copier.run(items("25")))
            assert [copied.frame for copied in copier.run(items("31"))] == list(range(FRAMES))
        assert {path for path in folder.sizes if path.startswith("31/")} == {f"31/{n}.jpg" for n in range(FRAMES)}
        written = {path: (folder.path / path).read_bytes() for path in folder.sizes}
    for camera in ("25", "31"):
        for frame in range(128):  # of the broken one, what was in whole batches
            assert written[f"{camera}/{frame}.jpg"] == tiny.image(camera, frame)
