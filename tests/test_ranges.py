"""What ranges cost, before and after the index is known, and which fetch mode that chooses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rm360_async.domain.cameras.rig import S3_CAMERAS
from rm360_async.domain.names import Modality, Performance, Structure
from rm360_async.domain.selection import FetchMode, Selection
from rm360_async.download.ranges.cost import Cost, bytes_on_disk, data_spans
from rm360_async.download.ranges.estimate import estimate_sizes, share_key
from rm360_async.system.sparse_file import SparseFile

S3 = Performance("0018", "s3_all")
GB = 2**30
IMAGES = (Modality.IMAGES,)


@pytest.mark.parametrize(
    ("cameras", "modalities", "mode"),
    [
        ("all", tuple(Modality), FetchMode.WHOLE),
        ("all", (Modality.AUDIO, Modality.METADATA), FetchMode.RANGES),
        (("25",), IMAGES, FetchMode.RANGES),
        (S3_CAMERAS[:20], IMAGES, FetchMode.RANGES),
        (S3_CAMERAS[:30], IMAGES, FetchMode.WHOLE),
        (("02",), IMAGES, FetchMode.RANGES),
    ],
)
def test_auto_chooses_the_mode_that_costs_less(
    cameras: str | tuple[str, ...], modalities: tuple[Modality, ...], mode: FetchMode
) -> None:
    estimate = estimate_sizes(Structure.SINGLE, S3, Selection(cameras, modalities), GB, {})
    assert (
        estimate.fetch_mode("auto") is mode
        and estimate.fetch_mode("whole") is FetchMode.WHOLE
        and estimate.fetch_mode("ranges") is FetchMode.RANGES
    )
    assert 0 < estimate.range_bytes <= estimate.whole_bytes == GB


def test_known_shares_and_published_content_count() -> None:
    key = share_key(Structure.SINGLE, S3, Modality.IMAGES)
    half = Selection(S3_CAMERAS[:19], IMAGES)
    guessed = estimate_sizes(Structure.SINGLE, S3, half, GB, {}).range_bytes
    assert estimate_sizes(Structure.SINGLE, S3, half, GB, {key: 0.5}).range_bytes < guessed * 0.6
    added = Selection(S3_CAMERAS[:19], IMAGES, (S3_CAMERAS[:18], IMAGES))
    estimate = estimate_sizes(Structure.SINGLE, S3, added, GB, {})
    assert estimate.range_bytes < guessed / 10
    most = Selection("all", IMAGES, (("25",), IMAGES))
    assert estimate_sizes(Structure.SINGLE, S3, most, GB, {}).fetch_mode("auto") is FetchMode.RANGES, (
        "nothing is downloaded twice"
    )


def test_what_the_release_does_not_hold_costs_nothing() -> None:
    every, images = (Selection(S3_CAMERAS[:20], wanted) for wanted in (tuple(Modality), IMAGES))
    more = (
        estimate_sizes(Structure.SINGLE, S3, every, GB, {}).range_bytes
        - estimate_sizes(Structure.SINGLE, S3, images, GB, {}).range_bytes
    )
    assert 0 < more < GB * 0.02, "the sound, and no masks nor models"


def test_a_small_file_is_downloaded_whole_unless_ranges_are_set() -> None:
    estimate = estimate_sizes(Structure.SINGLE, S3, Selection(("25",), IMAGES), 2**20, {})
    assert estimate.fetch_mode("auto") is FetchMode.WHOLE and estimate.fetch_mode("ranges") is FetchMode.RANGES


def test_near_spans_are_joined_with_hardly_any_bytes_in_between() -> None:
    wanted = [(start, start + 2**20 - 4096) for start in range(0, 40 * 2**20, 2**20)]
    spans = data_spans(wanted)
    assert max(end - start for start, end in spans) > 2 * 2**20, "40 images with small gaps are few requests"
    total = sum(end - start for start, end in wanted)
    assert total <= sum(end - start for start, end in spans) <= total * 1.04 and len(spans) < 10
    apart = [(start, start + 300_000) for start in range(0, 40 * 2**20, 2**20)]
    assert data_spans(apart) == apart, "large gaps are not downloaded"


@pytest.mark.parametrize(
    ("requests", "disk_bytes", "too_expensive"),
    [
        (1, 6 * 10**8, False),
        (1, 6 * 10**8 + 1, True),
        (3000, 10**8, False),
        (4000, 10**8, True),  # each costs as much as some bytes, so a small file is worth only a few
    ],
)
def test_too_much_of_a_file_or_too_many_requests_are_too_expensive(
    requests: int, disk_bytes: int, too_expensive: bool
) -> None:
    assert Cost(requests, disk_bytes).is_too_expensive(10**9) is too_expensive


def test_the_disk_that_ranges_take_is_counted_in_whole_blocks(tmp_path: Path) -> None:
    with SparseFile(tmp_path / "a.smc.sparse", 2**20) as file:
        file.write(100, b"x" * 10)
        file.write(4096 * 3 - 1, b"xx")
        wanted = [(200, 300), (4096 * 9 + 5, 4096 * 9 + 6)]
        expected = bytes_on_disk([file], [wanted])
        for start, end in wanted:
            file.write(start, b"y" * (end - start))
        os.fsync(file.descriptor)
        assert expected == 4 * 4096 == file.path.stat().st_blocks * 512
