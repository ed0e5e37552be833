"""Spans as sets of bytes, and the sparse file that believes only what it can prove."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rm360_async.system.spans import SpanSet, join_spans, split_spans
from rm360_async.system.sparse_file import MissingBytes, SparseFile, SparseReader, map_path


def test_spans_are_a_set_of_bytes() -> None:
    chance = random.Random(1)
    for _ in range(200):
        spans, truth = SpanSet(), set[int]()
        for _ in range(chance.randrange(12)):
            start = chance.randrange(60)
            end = start + chance.randrange(12)
            spans.add(start, end)
            truth |= set(range(start, end))
        assert {byte for start, end in spans for byte in range(start, end)} == truth
        assert spans.total == len(truth)
        ends = [end for _, end in spans]
        starts = [start for start, _ in spans]
        assert all(end < start for end, start in zip(ends, starts[1:], strict=False)), "touching spans are one"
        start, end = sorted((chance.randrange(80), chance.randrange(80)))
        assert spans.covers(start, end) is (set(range(start, end)) <= truth)
        missing = {byte for gap in spans.missing(start, end) for byte in range(*gap)}
        assert missing == set(range(start, end)) - truth


def test_near_spans_are_joined_and_long_ones_cut() -> None:
    assert join_spans([(10, 20), (0, 5), (24, 30)], 4) == [(0, 5), (10, 30)]
    assert join_spans([(0, 5), (10, 20)], 5) == [(0, 20)]
    assert split_spans([(0, 10), (20, 22)], 4) == [(0, 4), (4, 8), (8, 10), (20, 22)]


def test_written_bytes_are_present_again_and_missing_ones_are_requested(tmp_path: Path) -> None:
    path = tmp_path / "a.smc.sparse"
    with SparseFile(path, 100_000) as file:
        file.write(4096, b"x" * 8192)
        reader = SparseReader(file)
        reader.seek(5000)
        assert reader.read(3) == b"xxx"
        reader.seek(12_000)
        with pytest.raises(MissingBytes):
            reader.read(1000)
        assert list(file.requested_index) == [(12_288, 16_384)]
        assert not file.request(50_000, 50_010, index=False) and list(file.requested_data) == [(50_000, 50_010)]
        file.clear_requests()
        assert len(file.requested_index) == len(file.requested_data) == 0
    with SparseFile(path, 100_000) as file:
        assert list(file.present) == [(4096, 12_288)]
    assert path.stat().st_size == 100_000 and path.stat().st_blocks * 512 < 40_000


@pytest.mark.parametrize("harm", ["a flipped byte", "half an entry", "an entry of elsewhere", "no map"])
def test_a_wrong_map_is_not_trusted(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "a.smc.sparse"
    with SparseFile(path, 100_000) as file:
        file.write(0, b"a" * 100)
        file.write(5000, b"b" * 100)
    entries = map_path(path).read_bytes()
    if harm == "a flipped byte":
        with path.open("r+b") as opened:
            opened.seek(5050)
            opened.write(b"c")
    elif harm == "half an entry":
        map_path(path).write_bytes(entries[:-5])
    elif harm == "an entry of elsewhere":
        map_path(path).write_bytes(entries[:32] + b"\xff" * 32)
    else:
        map_path(path).unlink()
    with SparseFile(path, 100_000) as file:
        assert list(file.present) == ([] if harm == "no map" else [(0, 100)])
        with SparseFile(path) as read:
            assert list(read.present) == list(file.present), "who only reads was told otherwise"
        file.write(5000, b"d" * 100)
    with SparseFile(path, 100_000) as file:
        assert file.present.covers(5000, 5100)


def test_the_children_of_a_node_are_requested_together(tmp_path: Path) -> None:
    node = b"TREE\x00\x00" + (2).to_bytes(2, "little") + b"\xff" * 16
    node += b"".join(number.to_bytes(8, "little") for number in (0, 40_000, 7, 80_000, 9))
    with SparseFile(tmp_path / "a.smc.sparse", 100_000) as file:
        file.write(0, node)
        SparseReader(file).readinto(memoryview(bytearray(len(node))))
        assert [start for start, _ in file.requested_index] == [36_864, 77_824]


def test_a_link_in_the_place_of_a_sparse_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"mine")
    (tmp_path / "a.smc.sparse").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        SparseFile(tmp_path / "a.smc.sparse", 10)
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"
