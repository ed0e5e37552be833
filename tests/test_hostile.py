"""The short form of `scripts/hostile`: each kind of bad input a few times, against the real parts."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pytest
from bad_input import truth
from bad_input.batch import KINDS as BATCHES
from bad_input.decoys import SECRET, Watch, snapshot
from bad_input.smc_rounds import Bases
from bad_input.suite import KINDS, Plan, carry_out, keep
from bad_input.verdict import Case, Verdict, told_well
from tiny_smc import Tiny

from rm360_async.catalog import Performance
from rm360_async.extract import ExtractJob, extract
from rm360_async.package import seal
from rm360_async.synthetic.hostile import HOSTILE, Trap, make_decoys, spoil
from rm360_async.synthetic.mutations import MUTATIONS, whole

SEED = 20_251_122


async def ended(cases: list[Case], folder: Path) -> Counter[str]:
    """Do rounds that must all be without a violation; return how they ended."""
    verdicts: list[Verdict] = []
    await carry_out(cases, folder, verdicts.append, many=20_000, count=2)
    assert [f"{v.case.again}: {violation}" for v in verdicts for violation in v.violations] == []
    assert sorted((v.case.kind, v.case.number) for v in verdicts) == sorted((c.kind, c.number) for c in cases)
    return Counter(verdict.ended for verdict in verdicts)


@pytest.mark.anyio
async def test_every_kind_of_bad_smc_ends_well_in_the_real_worker(tmp_path: Path) -> None:
    outcomes = await ended([Case(kind, SEED, 0) for kind in KINDS if kind not in BATCHES], tmp_path / "rounds")
    assert outcomes["published"] and outcomes["unreadable file"] and outcomes["damaged file"]


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "rounds"), [("config", 30), ("listing", 30), ("ledger", 72), ("inspect", 14)])
async def test_bad_texts_ledgers_and_files_to_look_into(tmp_path: Path, kind: str, rounds: int) -> None:
    outcomes = await ended([Case(kind, SEED, number) for number in range(rounds)], tmp_path / "rounds")
    assert sum(outcomes.values()) == rounds and len(outcomes) > 1


@pytest.mark.slow
@pytest.mark.anyio
async def test_many_rounds(tmp_path: Path) -> None:
    await ended(list(Plan(100, SEED).cases()), tmp_path / "rounds")


def test_a_case_makes_the_same_input_again(tmp_path: Path) -> None:
    base = whole(Tiny().write(tmp_path / "a.smc"))
    for name, mutate in MUTATIONS.items():
        case = Case(name, 5, 9)
        assert mutate(base, case.random) == mutate(base, case.random)
        assert any(mutate(base, Random(number)) != base.data for number in range(10)), name
    plan = Plan(300, 5)
    assert list(plan.cases()) == list(plan.cases()) and {case.kind for case in plan.cases()} >= {"virtual", "config"}
    assert list(Plan(1, 5, "bombs", 7).cases()) == [Case("bombs", 5, 7)]


def test_metadata_and_bulk_share_the_file(tmp_path: Path) -> None:
    base = whole(Tiny(masks=True, anno=True).write(tmp_path / "a.smc"))
    pieces = sorted([*base.bulk, *base.metadata])
    assert sum(size for _, size in pieces) == len(base.data)
    assert all(start + size == after for (start, size), (after, _) in pairwise(pieces))
    flipped = MUTATIONS["flipped_bulk"](base, Random(1))
    places = [at for at, (old, new) in enumerate(zip(base.data, flipped, strict=True)) if old != new]
    assert places and all(any(start <= at < start + size for start, size in base.bulk) for at in places)


@pytest.mark.parametrize("how", sorted(set(HOSTILE) - {"many_cameras", "many_frames"}))
def test_hostile_files_are_hdf5_that_was_changed(tmp_path: Path, how: str) -> None:
    bases = Bases(tmp_path / "bases")
    make_decoys(tmp_path / "outside", SECRET)
    path = bases.paths[0]
    before = path.read_bytes()
    spoil(path, how, Trap(Random(3), tmp_path / "outside", 1000))
    assert path.read_bytes() != before
    with h5py.File(path) as file:
        assert "Camera" in file


def staged(tmp_path: Path) -> tuple[Path, Path]:
    """Return a source and the folder that was made of it, which is right."""
    source = Tiny(frames=3, masks=True, anno=True, rate=8000).write(tmp_path / "a.smc")
    folder = tmp_path / "out" / ".s1_all.x.staging"
    record = extract(ExtractJob(Performance("0018", "s1_all"), str(source), None, (), str(folder)))
    seal(folder, record)
    assert list(truth.contradictions(source, folder)) == []
    return source, folder


def test_truth_sees_every_kind_of_wrong_success(tmp_path: Path) -> None:
    source, folder = staged(tmp_path)
    image = folder / "images/cam_25/frame_000001.jpg"
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    (folder / "masks/cam_31/frame_000002.png").unlink()
    (folder / "uv_textures/frame_000009.png").write_bytes(b"x")
    with np.load(folder / "keypoints3d/all_frames.npz") as arrays:
        frames, keypoints = arrays["frames"], arrays["keypoints"] + 1
    np.savez(folder / "keypoints3d/all_frames.npz", frames=frames, keypoints=keypoints)
    (folder / "audio/audio_data.npz").write_bytes((folder / "flame/all_frames.npz").read_bytes())
    np.savez(folder / "audio/audio_data.npz", audio=np.zeros((5, 2), "f4"), sample_rate=8000)
    told = "\n".join(truth.contradictions(source, folder))
    for words in (
        "images/cam_25/frame_000001.jpg is not the stored bytes",
        "masks/cam_31 frame 2 is stored, not published, and not named as left out",
        "uv_textures/frame_000009.png is published, but no such frame is stored",
        "keypoints3d/all_frames.npz frame 0 is not the stored array",
        "audio_data.npz is not the stored sound",
    ):
        assert words in told


def test_truth_answers_from_a_process_of_its_own_and_outlives_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    source, folder = staged(tmp_path)
    (tmp_path / "none.smc").write_bytes(b"no HDF5")
    with truth.Truth() as server:
        assert server.ask(source, folder) == []
        assert server.ask(tmp_path / "none.smc", folder) is None
        assert server.ask(source, folder) == []


def test_the_watch_and_the_snapshot_see_what_they_are_for(tmp_path: Path) -> None:
    make_decoys(tmp_path / "outside", SECRET)
    before = snapshot(tmp_path, tmp_path / "staging")
    with Watch(tmp_path / "outside") as watch:
        assert watch.opened() == set()
        assert SECRET in (tmp_path / "outside/secret.jpg").read_bytes()
        assert watch.opened() == {"secret.jpg"} and watch.opened() == set()
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging/file").touch()
    assert snapshot(tmp_path, tmp_path / "staging") == before
    (tmp_path / "outside/new").touch()
    assert snapshot(tmp_path, tmp_path / "staging").keys() - before.keys() == {"outside/new"}


def test_bad_words_are_found_and_evidence_is_kept(tmp_path: Path) -> None:
    assert told_well("0018/s1_all is damaged; tell its owner", "it") == []
    for text in ("", "two\nlines", "\x1b[31m", "Traceback (most", "KeyError('x')", "x" * 5000):
        assert told_well(text, "it"), text
    (tmp_path / "raw.smc").write_bytes(b"input")
    verdict = Verdict(Case("bombs", 1, 2), "crashed", ["it did"], [tmp_path / "raw.smc"])
    assert (keep(verdict, tmp_path / "kept") / "raw.smc").read_bytes() == b"input"
    assert verdict.case.again == "scripts/hostile --seed 1 --only bombs --at 2"
