"""One performance from file to published folder, and every way in which it must not be published."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest
from tiny_smc import Tiny

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Modality, Performance
from rm360_async.domain.record import LeftOut, SourceFile
from rm360_async.extraction import copier
from rm360_async.extraction.extract import extract
from rm360_async.extraction.job import ExtractJob
from rm360_async.store.file_list import ListedFile, read_file_list
from rm360_async.store.marker import read_marker
from rm360_async.store.publish import publish
from rm360_async.store.seal import open_file_system, seal
from rm360_async.store.staging import StagingFolder, staging_path

PERFORMANCE = Performance("0018", "s1_all")


def job(folder: Path, raw: Path | None, anno: Path | None = None, **changes: Any) -> ExtractJob:
    staging = staging_path(folder / "out/0018/s1_all", "a1")
    plain = ExtractJob(
        PERFORMANCE,
        str(raw) if raw else None,
        str(anno) if anno else None,
        (SourceFile("x.smc", 5, "m"),),
        str(staging),
    )
    return replace(plain, **changes)


def fault(extract_job: ExtractJob) -> Fault:
    """Return the fault of a job that must fail and must leave nothing."""
    with pytest.raises(Fault) as caught:
        extract(extract_job)
    assert not Path(extract_job.staging).exists()
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_job_survives_being_text(tmp_path: Path) -> None:
    for cameras in ("ring:10", ("06", "25")):
        wanted = job(tmp_path, tmp_path / "a", cameras=cameras, damaged="fail", modalities=("images",))
        assert ExtractJob.from_json(wanted.to_json()) == wanted


def test_a_pair_becomes_a_published_performance(tmp_path: Path) -> None:
    broken = {("color", "25", 3): "no_end"}
    tiny = Tiny(frames=30, holes={"31": (2,)}, blobs_broken=broken, calibration=False)
    raw = tiny.write(tmp_path / "raw.smc")
    anno = Tiny(frames=30, images=False, audio=False, masks=True, anno=True).write(tmp_path / "anno.smc")
    extract_job = job(tmp_path, raw, anno)
    seen: list[tuple[int, int]] = []
    record = extract(extract_job, lambda files, size: seen.append((files, size)))
    with open_file_system(Path(extract_job.staging)) as file_system:
        seal(Path(extract_job.staging), record, file_system)
    final = tmp_path / "out/0018/s1_all"
    publish(Path(extract_job.staging), final)

    assert read_marker(final) == record
    assert record.cameras == {"25": 29, "31": 29} and record.frames == 29 and record.fps == 30
    assert record.audio_seconds == pytest.approx(1.0)
    assert record.left_out == (LeftOut("images", "25", 3, "ends without its JPEG end marker"),)
    assert record.modalities == tuple(m.value for m in Modality) and record.absent == ()
    assert record.sources == extract_job.sources and set(record.seconds) >= {"open", "images", "verify", "metadata"}
    assert seen == sorted(seen) and seen[-1] == (record.files, record.bytes)
    listed = {file.path: file.size for file in read_file_list(final)}
    assert len(listed) == record.files and sum(listed.values()) == record.bytes
    assert {name.split("/")[0] for name in listed} == {m.value for m in Modality}
    assert (final / "images/cam_31/frame_000029.jpg").read_bytes() == tiny.image("31", 29)
    info = json.loads((final / "metadata/info.json").read_text())
    assert info["missing_frames"] == {"25": [3], "31": [2]} and len(info["left_out"]) == 1


def test_absent_as_released_is_no_failure(tmp_path: Path) -> None:
    record = extract(job(tmp_path, Tiny().write(tmp_path / "a.smc")))
    assert record.modalities == ("metadata", "calibration", "images", "audio") and record.left_out == ()
    assert record.absent == ("masks", "keypoints2d", "keypoints3d", "flame", "uv_textures", "scan", "scan_masks")
    folders = {path.name for path in Path(job(tmp_path, None).staging).iterdir()}
    assert folders == {"metadata", "calibration", "images", "audio", ".extraction_files.csv"}


@pytest.mark.parametrize(
    ("spec", "got"),
    [
        ("all", {"25", "31"}),
        (("31", "06"), {"31"}),
        ("ring:1", {"25"}),
        ("front:1", {"25"}),
        (("06",), set()),
    ],
)
def test_cameras_are_chosen_among_those_with_images(tmp_path: Path, spec: Any, got: set[str]) -> None:
    raw = Tiny(masks=True, anno=True).write(tmp_path / "a.smc")
    record = extract(job(tmp_path, raw, cameras=spec))
    staging = Path(job(tmp_path, None).staging)
    assert set(record.cameras) == got and record.wanted_cameras == spec
    for modality in ("images", "masks", "keypoints2d", "scan_masks"):
        cameras = {path.name[4:6] for path in (staging / modality).glob("cam_*")}
        assert cameras == got, modality
    assert len(list((staging / "calibration").glob("cam_*.npy"))) == 4
    info = json.loads((staging / "metadata/info.json").read_text())
    assert info["warnings"] == (["wanted, but not in the source: cameras 06"] if "06" in spec else [])


def test_only_wanted_modalities_are_written(tmp_path: Path) -> None:
    record = extract(job(tmp_path, Tiny().write(tmp_path / "a.smc"), modalities=("audio", "masks")))
    assert record.modalities == ("audio",) and record.absent == ("masks",) and record.files == 3


def test_damage_can_be_made_a_failure(tmp_path: Path) -> None:
    raw = Tiny(blobs_broken={("color", "25", 3): "zeros"}).write(tmp_path / "a.smc")
    error = fault(job(tmp_path, raw, damaged="fail"))
    assert (
        error.cause is Cause.DAMAGED
        and "1 of its entries broken, first images cam_25 frame 3: holds zeros" in error.message
    )


@pytest.mark.parametrize("how", ["no_end", "zeros", "garbage"])
def test_no_image_whole_is_a_failure(tmp_path: Path, how: str) -> None:
    every = {("color", camera, frame): how for camera in ("25", "31") for frame in range(4)}
    error = fault(job(tmp_path, Tiny(blobs_broken=every).write(tmp_path / "a.smc")))
    assert error.cause is Cause.DAMAGED and "all images broken" in error.message


def test_sources_that_cannot_be_read_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty.smc").touch()
    assert fault(job(tmp_path, tmp_path / "empty.smc")).cause is Cause.UNREADABLE
    with h5py.File(tmp_path / "other.smc", "w") as file:
        file["measurements"] = [1, 2]
    error = fault(job(tmp_path, tmp_path / "other.smc"))
    assert error.cause is Cause.UNREADABLE and "holds nothing of 0018/s1_all" in error.message
    assert fault(job(tmp_path, None)).cause is Cause.UNREADABLE
    raw = Tiny().write(tmp_path / "a.smc")
    assert "anno.smc does not exist" in fault(job(tmp_path, raw, tmp_path / "anno.smc")).message


def test_a_staging_folder_that_is_there_already_is_not_touched(tmp_path: Path) -> None:
    extract_job = job(tmp_path, Tiny().write(tmp_path / "a.smc"))
    Path(extract_job.staging).mkdir(parents=True)
    (Path(extract_job.staging) / "other").write_text("another attempt's")
    with pytest.raises(Fault):
        extract(extract_job)
    assert (Path(extract_job.staging) / "other").read_text() == "another attempt's"


class Lossy(StagingFolder):
    """A folder on a disk that loses one file and shortens another."""

    spoil = ""

    def add_file(self, file: ListedFile) -> None:
        super().add_file(file)
        self._spoil(file.path)

    def _spoil(self, relative: str) -> None:
        if relative.endswith("cam_25/frame_000002.jpg"):
            path = self.path / relative
            if self.spoil == "lost":
                path.unlink()
            elif self.spoil == "short":
                os.truncate(path, 10)
            elif self.spoil == "extra":
                (self.path / "images/cam_25/frame_9.jpg").write_bytes(b"")


@pytest.mark.parametrize("filler", [300, 100_000])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [("lost", "is missing, but"), ("short", "has 10 bytes"), ("extra", "was not written by this extraction")],
)
def test_what_is_on_disk_is_compared_with_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str, words: str, filler: int
) -> None:
    monkeypatch.setattr("rm360_async.extraction.extract.StagingFolder", Lossy)
    monkeypatch.setattr(Lossy, "spoil", spoil)
    error = fault(job(tmp_path, Tiny(filler=filler).write(tmp_path / "a.smc")))
    assert words in error.message


def test_a_frame_that_gets_lost_between_index_and_disk_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = copier._batches
    monkeypatch.setattr(copier, "_batches", lambda items: (batch[:-1] for batch in real(items)))
    error = fault(job(tmp_path, Tiny().write(tmp_path / "a.smc"), modalities=("images",)))
    assert "the index has 4 entries" in error.message


@pytest.mark.parametrize(("call", "frames", "filler"), [("write", 200, 70_000), ("copy_file_range", 2, 5_000_000)])
def test_a_full_disk_in_a_copying_process_ends_it_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, frames: int, filler: int
) -> None:
    real = getattr(os, call)

    def full(*arguments: Any, **named: Any) -> Any:
        if multiprocessing.parent_process():
            raise OSError(28, os.strerror(28))
        return real(*arguments, **named)

    monkeypatch.setattr(os, call, full)
    error = fault(job(tmp_path, Tiny(frames=frames, filler=filler).write(tmp_path / "a.smc")))
    assert error.cause is Cause.DISK_FULL


MUTATE = """
import random, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tiny_smc import Tiny
from rm360_async.domain.names import Performance
from rm360_async.domain.errors import Fault
from rm360_async.extraction.extract import extract
from rm360_async.extraction.job import ExtractJob
from rm360_async.store.staging import remove_tree
import rm360_async.extraction.modalities.audio as audio
audio.ffmpeg_candidates = lambda: iter(())
root = Path(sys.argv[1])
whole = Tiny(frames=6, masks=True, anno=True, rate=8000).write(root / "whole.smc").read_bytes()
images = {f"images/cam_{c}/frame_{f:06d}.jpg" for c in ("25", "31") for f in range(6)}
ended = {"fault": 0, "same": 0, "less": 0}
for seed in range(int(sys.argv[3])):
    r = random.Random(seed)
    data = bytearray(whole)
    kind = seed % 4
    if kind == 0: del data[r.randrange(len(data)):]
    for _ in range((0, 1, 40, 1)[kind]):
        at = r.randrange(len(data) - 600)
        if kind == 3: data[at:at + 512] = bytes(512)
        else: data[at] = r.randrange(256)
    (root / "m.smc").write_bytes(data)
    staging = root / "o/.s1_all.m.staging"
    try:
        record = extract(ExtractJob(Performance("0018", "s1_all"), str(root / "m.smc"), None, (), str(staging)))
    except Fault as fault:
        assert str(fault) and "\\n" not in str(fault), str(fault)
        ended["fault"] += 1
        assert not staging.exists()
        continue
    there = {str(p.relative_to(staging)) for p in staging.rglob("*.jpg")}
    assert sum(record.cameras.values()) == len(there) and there <= images
    ended["same" if there == images else "less"] += 1
    remove_tree(staging)
print(ended)
"""


def mutate(tmp_path: Path, rounds: int) -> dict[str, int]:
    """Extract mutated files in a child (HDF5 may crash or hang); return how they ended."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MUTATE, str(tmp_path), str(Path(__file__).parent), str(rounds)],
        capture_output=True, text=True, timeout=280, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ended: dict[str, int] = json.loads(done.stdout.replace("'", '"'))
    return ended


@pytest.mark.slow
def test_damaged_files_end_in_a_fault_or_in_whole_frames(tmp_path: Path) -> None:
    ended = mutate(tmp_path, 150)
    assert sum(ended.values()) == 150 and ended["fault"] >= 37


def test_importing_brings_no_heavy_library() -> None:
    code = "import sys, rm360_async.extraction.extract; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=True
    )
    assert "h5py" in done.stdout.split()
    assert not {"cv2", "pydub", "plyfile", "imageio_ffmpeg", "yaml", "pydantic"} & set(done.stdout.split())
