"""The short form of `scripts/suites hostile`: each kind of bad input a few times, against the real parts."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import pytest
from fault_injection.result import Case, SuiteResult, keep_evidence
from fuzz import ledger_rounds, reference
from fuzz.batch import KINDS as BATCHES
from fuzz.file_watch import SECRET, OpenWatch, snapshot
from fuzz.hdf5_edits import FuzzContext, make_outside_files
from fuzz.hostile import HOSTILE, make_hostile
from fuzz.links import put_growing_dataset
from fuzz.mutations import MUTATIONS, read_source
from fuzz.outputs import message_problems
from fuzz.smc_rounds import BaseFiles
from fuzz.suite import KINDS, Plan, run_rounds
from tiny_smc import Tiny
from workspace import overwrite

from rm360_async.commands.inspect import inspect
from rm360_async.commands.inspect_text import as_text
from rm360_async.config import load_settings
from rm360_async.domain.errors import BadRequest, Cause, Fault
from rm360_async.domain.names import Kind, Performance, Structure
from rm360_async.domain.record import Record, SourceFile
from rm360_async.download.rclone.listing import group_by_performance, parse_listing
from rm360_async.extraction.extract import extract
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.modalities import audio
from rm360_async.ledger import Ledger
from rm360_async.store.seal import open_file_system, seal
from rm360_async.system.processes import PIPE, child_process
from rm360_async.system.workers import run_worker

SEED = 20_251_122


async def outcomes_of(cases: list[Case], folder: Path) -> Counter[str]:
    """Run rounds that must all end without a violation; return how they ended."""
    results: list[SuiteResult] = []
    await run_rounds(cases, folder, results.append, many=5000, count=2)
    assert [f"{v.case.again}: {violation}" for v in results for violation in v.violations] == []
    assert sorted((v.case.kind, v.case.number) for v in results) == sorted((c.kind, c.number) for c in cases)
    return Counter(result.ended for result in results)


@pytest.mark.slow
@pytest.mark.anyio
async def test_every_kind_of_bad_smc_ends_well_in_a_real_worker(tmp_path: Path) -> None:
    outcomes = await outcomes_of([Case(kind, SEED, 0) for kind in KINDS if kind not in BATCHES], tmp_path / "rounds")
    assert (
        outcomes["published without broken data"]
        and outcomes["published"]
        and outcomes["unreadable file"]
        and outcomes["damaged file"]
    )


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "rounds"), [("config", 30), ("listing", 30), ("ledger", 72), ("inspect", 14)])
async def test_bad_texts_ledgers_and_inspected_files(tmp_path: Path, kind: str, rounds: int) -> None:
    outcomes = await outcomes_of([Case(kind, SEED, number) for number in range(rounds)], tmp_path / "rounds")
    assert sum(outcomes.values()) == rounds and len(outcomes) > 1


@pytest.mark.slow
@pytest.mark.anyio
async def test_many_rounds(tmp_path: Path) -> None:
    before = dict(os.environ)
    await outcomes_of(list(Plan(20, SEED).cases()), tmp_path / "rounds")
    assert os.environ == before  # or what comes after would have its temporary files in the last round's folder


def test_a_case_makes_the_same_input_again(tmp_path: Path) -> None:
    base = read_source(Tiny().write(tmp_path / "a.smc"))
    for name, mutate in MUTATIONS.items():
        case = Case(name, 5, 9)
        assert mutate(base, case.random) == mutate(base, case.random)
        assert any(mutate(base, Random(number)) != base.data for number in range(10)), name
    plan = Plan(300, 5)
    assert list(plan.cases()) == list(plan.cases()) and {case.kind for case in plan.cases()} >= {"virtual", "config"}
    assert list(Plan(1, 5, "bombs", 7).cases()) == [Case("bombs", 5, 7)]


def test_metadata_and_bulk_share_the_file(tmp_path: Path) -> None:
    base = read_source(Tiny(masks=True, anno=True).write(tmp_path / "a.smc"))
    pieces = sorted([*base.bulk, *base.metadata])
    assert sum(size for _, size in pieces) == len(base.data)
    assert all(start + size == after for (start, size), (after, _) in pairwise(pieces))
    flipped = MUTATIONS["flipped_bulk"](base, Random(1))
    places = [at for at, (old, new) in enumerate(zip(base.data, flipped, strict=True)) if old != new]
    assert places and all(any(start <= at < start + size for start, size in base.bulk) for at in places)


@pytest.mark.parametrize("how", sorted(set(HOSTILE) - {"many_cameras", "many_frames"}))
def test_hostile_files_are_hdf5_that_was_changed(tmp_path: Path, how: str) -> None:
    bases = BaseFiles(tmp_path / "bases")
    make_outside_files(tmp_path / "outside", SECRET)
    path = bases.paths[0]
    before = path.read_bytes()
    make_hostile(path, how, FuzzContext(Random(3), tmp_path / "outside", 1000))
    assert path.read_bytes() != before
    with h5py.File(path) as file:
        assert "Camera" in file


def staged(tmp_path: Path) -> tuple[Path, Path]:
    """Return a source and the folder that was made of it, which is right."""
    source = Tiny(frames=3, masks=True, anno=True, rate=8000).write(tmp_path / "a.smc")
    folder = tmp_path / "out" / ".s1_all.x.staging"
    record = extract(ExtractJob(Performance("0018", "s1_all"), str(source), None, (), str(folder)))
    with open_file_system(folder) as file_system:
        seal(folder, record, file_system)
    assert list(reference.differences(source, folder)) == []
    return source, folder


def test_the_reference_sees_every_kind_of_difference(tmp_path: Path) -> None:
    source, folder = staged(tmp_path)
    image = folder / "images/cam_25/frame_000001.jpg"
    overwrite(image, image.read_bytes()[:-1] + b"x")
    (folder / "masks/cam_31/frame_000002.png").unlink()
    (folder / "uv_textures/frame_000009.png").write_bytes(b"x")
    with np.load(folder / "keypoints3d/all_frames.npz") as arrays:
        frames, keypoints = arrays["frames"], arrays["keypoints"] + 1
    np.savez(folder / "keypoints3d/all_frames.npz", frames=frames, keypoints=keypoints)
    (folder / "audio/audio_data.npz").write_bytes((folder / "flame/all_frames.npz").read_bytes())
    np.savez(folder / "audio/audio_data.npz", audio=np.zeros((5, 2), "f4"), sample_rate=8000)
    text = "\n".join(reference.differences(source, folder))
    for words in (
        "images/cam_25/frame_000001.jpg is not the stored bytes",
        "masks/cam_31 frame 2 is stored, but neither published nor left out",
        "uv_textures/frame_000009.png is published, but no such frame is stored",
        "keypoints3d/all_frames.npz frame 0 is not the stored array",
        "audio_data.npz is not the stored audio",
    ):
        assert words in text


def test_the_reference_server_survives_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    source, folder = staged(tmp_path)
    (tmp_path / "none.smc").write_bytes(b"no HDF5")
    with reference.ReferenceServer() as server:
        assert server.differences(source, folder) == []
        assert server.differences(tmp_path / "none.smc", folder) is None
        assert server.differences(source, folder) == []


def test_the_watch_sees_opened_files_and_the_snapshot_changes(tmp_path: Path) -> None:
    make_outside_files(tmp_path / "outside", SECRET)
    before = snapshot(tmp_path, tmp_path / "staging")
    with OpenWatch(tmp_path / "outside") as watch:
        assert watch.opened() == set()
        assert SECRET in (tmp_path / "outside/secret.jpg").read_bytes()
        assert watch.opened() == {"secret.jpg"} and watch.opened() == set()
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging/file").touch()
    assert snapshot(tmp_path, tmp_path / "staging") == before
    (tmp_path / "outside/new").touch()
    assert snapshot(tmp_path, tmp_path / "staging").keys() - before.keys() == {"outside/new"}


def test_bad_messages_are_problems_and_evidence_is_kept(tmp_path: Path) -> None:
    assert message_problems("0018/s1_all is damaged; tell its owner", "it") == []
    for text in ("", "two\nlines", "\x1b[31m", "Traceback (most", "KeyError('x')", "x" * 5000):
        assert message_problems(text, "it"), text
    (tmp_path / "raw.smc").write_bytes(b"input")
    result = SuiteResult(Case("bombs", 1, 2), "crashed", ["it did"], [tmp_path / "raw.smc"])
    assert (keep_evidence(result, tmp_path / "kept") / "raw.smc").read_bytes() == b"input"
    assert result.case.again == "scripts/suites hostile --seed 1 --only bombs --at 2"


# Faults that the suite has found, one by one.


def changed_source(tmp_path: Path, change: Callable[[Any], None]) -> Path:
    """Return a small source file that was changed by h5py."""
    source = Tiny(frames=3, masks=True, anno=True, rate=8000).write(tmp_path / "a.smc")
    with h5py.File(source, "r+") as file:
        change(file)
    return source


def record_of(tmp_path: Path, source: Path) -> Record:
    return extract(ExtractJob(Performance("0018", "s1_all"), str(source), None, (), str(tmp_path / "o/.x.a.staging")))


@pytest.mark.parametrize("target", ["other.smc", "pipe"])
def test_the_sources_of_a_growing_virtual_dataset_are_never_opened(tmp_path: Path, target: str) -> None:
    make_outside_files(tmp_path / "outside", SECRET)

    def change(file: Any) -> None:
        for place in ("Camera/25/color/1", "Keypoints3d/1", "FLAME/1/shape", "Camera/00/audio/audio"):
            del file[place]
            put_growing_dataset(file, place, str(tmp_path / "outside" / target), "/Camera/25/color/%b")

    source = changed_source(tmp_path, change)
    with OpenWatch(tmp_path / "outside") as watch:
        record = record_of(tmp_path, source)
        assert watch.opened() == set()
    refused = {(item.modality, item.frame) for item in record.left_out if "outside of this file" in item.reason}
    assert {("images", 1), ("keypoints3d", 1), ("audio", None)} <= refused


@pytest.mark.parametrize("number", range(4))
def test_a_file_that_unpacks_out_of_all_proportion_is_refused(tmp_path: Path, number: int) -> None:
    make_outside_files(tmp_path / "outside", SECRET)
    source = Tiny(frames=3, masks=True, anno=True, rate=8000).write(tmp_path / "a.smc")
    make_hostile(source, "hard_bomb", FuzzContext(Random(number), tmp_path / "outside"))
    with pytest.raises(Fault, match="out of all proportion to its size") as caught:
        record_of(tmp_path, source)
    assert caught.value.cause is Cause.DAMAGED and not (tmp_path / "o/.x.a.staging").exists()


def test_absent_unwritten_and_unportable_data_are_distinguished(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        for place, shape, dtype in (
            ("Keypoints3d/1", (0,), "f8"),  # as the release writes a frame without landmarks
            ("Keypoints3d/2", (73, 3), "f8"),
            ("Keypoints2d/25/0", (2,) * 32, "f8"),
            ("Calibration/25/K", (0, 2**60), "f8"),
            ("Calibration/31/K", (3, 3), "longdouble"),
            ("Calibration/00/K", (3, 3), "f8"),
        ):
            del file[place]
            file.create_dataset(place, shape, dtype)
        file["Calibration/31/K"][0] = 1

    record = record_of(tmp_path, changed_source(tmp_path, change))
    reasons = {(item.modality, item.camera, item.frame): item.reason for item in record.left_out}
    assert reasons[("keypoints3d", "", 2)] == "was never written" and ("keypoints3d", "", 1) not in reasons
    assert "more than is possible" in reasons[("keypoints2d", "25", 0)]
    assert "more than is possible" in reasons[("calibration", "25", None)]
    assert "differs from machine to machine" in reasons[("calibration", "31", None)]
    assert reasons[("calibration", "00", None)] == "K was never written"
    with np.load(tmp_path / "o/.x.a.staging/keypoints3d/all_frames.npz") as arrays:
        assert arrays["frames"].tolist() == [0]


def test_a_camera_that_the_index_names_twice_is_written_once_and_noted(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        for group in ("ScanMask", "Keypoints2d"):
            file[f"{group}/25~~~~"] = file[f"{group}/25"]

    source = changed_source(tmp_path, change)
    source.write_bytes(source.read_bytes().replace(b"25~~~~", b"25\0\0\0\0"))
    record = record_of(tmp_path, source)
    reasons = {(item.modality, item.camera) for item in record.left_out if "twice" in item.reason}
    assert reasons == {("scan_masks", "25"), ("keypoints2d", "25")}
    folder = tmp_path / "o/.x.a.staging"
    assert (folder / "scan_masks/cam_25.png").exists() and (folder / "keypoints2d/cam_25.npz").exists()


def test_very_many_names_are_reported_in_a_few_lines(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        for number in range(1000):
            file[f"Camera/25/color/x{number}"] = h5py.SoftLink("/")
            file[f"Camera/odd{number}"] = h5py.SoftLink("/")
        file["FLAME/0"].attrs["x"] = 1
        file["FLAME/0/" + "y" * 5000] = np.ones(3)
        file["FLAME/0/\x1b[2J"] = np.ones(3)

    record = record_of(tmp_path, changed_source(tmp_path, change))
    images = [item for item in record.left_out if item.modality == "images"]
    assert len(images) == 21 and images[-1].reason == "entry ... and 980 more: not a frame number"
    assert all(str(item).isprintable() and len(str(item)) < 300 for item in record.left_out)
    text = (tmp_path / "o/.x.a.staging/metadata/info.json").read_text()
    assert text.count("is not a camera") == 20 and "/Camera/... and 980 more: not a camera" in text


def test_an_encoder_that_fails_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(audio, "ffmpeg_candidates", lambda: iter(["/bin/false"]))
    record = record_of(tmp_path, Tiny().write(tmp_path / "a.smc"))
    assert list((tmp_path / "tmp").iterdir()) == []
    files = sorted(path.name for path in (tmp_path / "o/.x.a.staging/audio").iterdir())
    assert files == ["audio.wav", "audio_data.npz"] and record.left_out == ()


def test_a_disk_that_is_full_for_the_encoder_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'av_interleaved_write_frame(): No space left on device' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(audio, "ffmpeg_candidates", lambda: iter([str(program)]))
    with pytest.raises(Fault) as caught:
        record_of(tmp_path, Tiny().write(tmp_path / "a.smc"))
    assert caught.value.cause is Cause.DISK_FULL


def test_a_rate_that_no_mp3_has_makes_none(tmp_path: Path) -> None:
    record_of(tmp_path, Tiny(rate=7, seconds=30).write(tmp_path / "a.smc"))
    files = sorted(path.name for path in (tmp_path / "o/.x.a.staging/audio").iterdir())
    assert files == ["audio.wav", "audio_data.npz"]


def test_inspect_of_far_apart_frames_and_links_ends_at_once(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        file["Camera/25/color/999999999"] = file["Camera/25/color/0"]
        del file["Camera/31/color"]
        file["Camera/31/color"] = h5py.SoftLink("/")
        file.attrs["color"] = "red\x1b[31m\nx"

    inventory = inspect(changed_source(tmp_path, change))
    assert (
        inventory.cameras["25"]["images"]["holes"][:2] == [3, 4]
        and len(inventory.cameras["25"]["images"]["holes"]) == 10_000
    )
    assert all(line.isprintable() for line in as_text(inventory).split("\n"))
    assert any("camera 31 images:" in remark and "link" in remark for remark in inventory.remarks)


@pytest.mark.anyio
async def test_a_line_that_comes_in_a_thousand_pieces_is_one_line(tmp_path: Path) -> None:
    messages: list[object] = []
    code = (
        "import json; print('noise'); print('{\"started\": true}');"
        " print(json.dumps({'record': ['x' * 100] * 30000})); print('more')"
    )
    worker = child_process([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    await run_worker(worker, "a job", messages.append)
    assert messages == [{"record": ["x" * 100] * 30_000}]


@pytest.mark.parametrize("value", ["!!bool maybe", "!!int ''", "!!float ''", "0x" + "f" * 6000, "9" * 400])
def test_odd_scalars_in_a_config_are_mistakes(tmp_path: Path, value: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"processing: {{max_retries: {value}}}\n")
    with pytest.raises(BadRequest) as caught:
        load_settings(path)
    assert any("max_retries" in line and line.isprintable() for line in caught.value.problems)


@pytest.mark.parametrize(
    "answer",
    [
        b'[{"Path": "0018/0018_e0_raw.smc", "Size": Infinity}]',
        b"[" * 100_000,
        b'[{"Path": ["x"], "Size": 1}]',
        b"[5]",
    ],
)
def test_an_answer_that_is_not_a_listing_is_a_fault(answer: bytes) -> None:
    with pytest.raises(Fault, match="rclone's answer is not a listing") as caught:
        parse_listing(answer, "listing lab:")
    assert caught.value.cause is Cause.UNKNOWN and str(caught.value).isprintable()


def test_odd_values_in_a_listing_are_not_passed_on() -> None:
    entry = {"Path": "0018/0018_e0_raw.smc", "Size": 5, "ModTime": ["x"], "ID": "a\nb", "Hashes": {"md5": "\ud800"}}
    other = {"Path": "0018/0018_e1_raw.smc", "Size": -1}
    entries = parse_listing(json.dumps([entry, other]).encode(), "listing lab:")
    listing = group_by_performance(entries.files, Structure.SINGLE)
    (files,) = listing.files.values()
    assert files[Kind.RAW].source() == SourceFile("0018/0018_e0_raw.smc", 5)
    assert listing.unrecognized == ("0018/0018_e1_raw.smc",)


@pytest.mark.anyio
@pytest.mark.parametrize("harm", ["a letter of a stage", "the last byte", "no text", "a time"])
async def test_a_damaged_ledger_that_sqlite_accepts_is_refused(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "MANIFEST.sqlite"
    async with Ledger.open(path) as ledger:
        await ledger.add([Performance("0018", f"e{number}") for number in range(12)])
    data = path.read_bytes()
    if harm == "a time":
        with closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE performance SET updated = 1e300")
            database.commit()
    else:
        changed = {"a letter of a stage": b"pendinh", "no text": b"pend\xff\xfeg"}.get(harm, b"pending")
        path.write_bytes(data.replace(b"pending", changed)[: -1 if harm == "the last byte" else None])
    with pytest.raises(Fault, match="is not a ledger of rm360, or it is damaged") as caught:
        async with Ledger.open(path):
            pass
    assert caught.value.cause is Cause.LEDGER


@pytest.mark.anyio
@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 37), reason="this SQLite has no STRICT tables")
async def test_a_ledger_whose_schema_has_a_changed_default_is_refused_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "MANIFEST.sqlite"
    async with Ledger.open(path):
        pass
    data = path.read_bytes()
    assert data.count(b"bytes INTEGER NOT NULL DEFAULT 0") > 0
    path.write_bytes(data.replace(b"bytes INTEGER NOT NULL DEFAULT 0", b"bytes INTEGER NOT NULL DEFAULT p"))
    with pytest.raises(Fault, match="it is damaged") as caught:
        async with Ledger.open(path) as ledger:
            await ledger.add([Performance("0018", "e0")])
    assert caught.value.cause is Cause.LEDGER


@pytest.mark.anyio
async def test_a_violation_is_reported_with_its_input_and_a_death_costs_one_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "from fuzz import listing_rounds\n"
        "def broken(output, doing):\n"
        "    if b'Infinity' in output: os._exit(9)\n"
        "    raise ValueError('no parser')\n"
        "listing_rounds.parse_listing = broken\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parent}")
    results: list[SuiteResult] = []
    await run_rounds([Case("listing", SEED, number) for number in range(40)], tmp_path / "rounds", results.append)
    assert [result.case.number for result in results] == list(range(40))
    assert {result.ended for result in results} == {"crashed", "died"}
    for result in results:
        (evidence,) = result.evidence
        assert (b"Infinity" in evidence.read_bytes()) == (result.ended == "died") and result.violations


def test_a_ledger_whose_index_differs_from_its_table_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    result = ledger_rounds.run_round(Case("ledger", 404, 44, "hostile"), tmp_path)
    assert result.ended.endswith("refused") and result.violations == []
