"""Reading .smc files: opening, index, wholeness, values; damaged and hostile files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny_smc import HEIGHT, WIDTH, Tiny, broken, end_without_closing, jpeg, png

from rm360_async.domain.errors import Cause, Fault
from rm360_async.smc import (
    Blob,
    SmcFile,
    SmcPair,
    UnreadableData,
    check_picture,
    read_array,
    read_audio,
    read_audio_shape,
    read_calibration,
)


def why_not(path: Path) -> str:
    with pytest.raises(Fault) as caught:
        SmcFile(path)
    assert caught.value.cause is Cause.UNREADABLE
    assert "\n" not in str(caught.value)
    return caught.value.message


def test_a_missing_file_a_folder_and_a_pipe_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.smc")
    assert why_not(tmp_path / "none.smc").endswith("none.smc does not exist")
    assert "is a folder" in why_not(tmp_path)
    assert "is not a regular file" in why_not(tmp_path / "pipe.smc")


@pytest.mark.parametrize("swmr", [False, True])
@pytest.mark.parametrize("userblock", [0, 1024])
def test_a_file_whose_writer_died_is_read_and_says_so(tmp_path: Path, swmr: bool, userblock: int) -> None:
    tiny = Tiny(libver="latest", userblock=userblock)
    path = tiny.write(tmp_path / "0018_s1_all_raw.smc")
    with SmcFile(path) as file:
        assert file.notes == []
    end_without_closing(path, swmr=swmr)
    with pytest.raises(OSError, match="already open for write"):
        h5py.File(path, "r", locking=False)
    with SmcFile(path) as file:
        assert "ended without closing it" in file.notes[0]
        frames = {frame: blob.read() for frame, blob in file.blobs("Camera", "25", "color") if isinstance(blob, Blob)}
    assert frames == {frame: tiny.image("25", frame) for frame in range(tiny.frames)}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty (0 bytes)"),
        (b"<!DOCTYPE html><html>quota</html>", "begins with '<!DOCTYPE html': a web page, not an .smc"),
        (b"\n <HTML><body>", "a web page, not an .smc"),
        (b"\0" * 5000, "begins with zeros only"),
        (b"\x89HDF\r", "is cut short: it has 5 bytes"),
        (b"PK\x03\x04" * 100, "begins with 50 4b 03 04"),
        (b"\x89HDF\r\n\x1a\n" + b"\xff" * 3000, "cannot be read as HDF5"),
    ],
)
def test_a_file_that_is_not_an_smc_is_described(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "0018_s1_all_raw.smc"
    path.write_bytes(data)
    assert words in why_not(path)


def test_a_truncated_file_says_both_sizes(tmp_path: Path) -> None:
    path = Tiny().write(tmp_path / "a.smc")
    whole = path.stat().st_size
    os.truncate(path, whole // 2)
    assert f"is cut short: it has {whole // 2} bytes of {whole}" in why_not(path)


@pytest.mark.parametrize("bytes_attributes", [False, True])
def test_attributes_are_plain_values(tmp_path: Path, bytes_attributes: bool) -> None:
    with SmcFile(Tiny(bytes_attributes=bytes_attributes).write(tmp_path / "a.smc")) as file:
        root, missing = file.read_attributes()
        camera, _ = file.read_attributes("Camera")
    assert missing == []
    assert root["actor_id"] == "0018" and root["gender"] == "female"
    assert root["age"] == 31 and type(root["age"]) is int
    assert root["height"] == 1.66 and type(root["height"]) is float
    assert camera == {"num_device": 60, "num_frame": 999, "resolution": [2048, 2448]}


def test_unusual_attributes_are_distinguished(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.smc", "w") as file:
        file.attrs["one"] = np.array([7])
        file.attrs["none"] = h5py.Empty("f4")
        file.attrs["names"] = ["a", "b"]
        file.attrs["latin"] = np.bytes_(b"caf\xe9")
        file.create_dataset("dense", data=[0]).attrs["x"] = 1
        file.attrs["reference"] = file["dense"].ref
    with SmcFile(tmp_path / "a.smc") as smc:
        values, missing = smc.read_attributes()
    assert values == {"one": 7, "none": None, "names": ["a", "b"], "latin": "caf\\xe9"}
    assert len(missing) == 1 and "reference" in missing[0]


@pytest.mark.parametrize("layout", ["contiguous", "chunked", "gzip", "compact"])
@pytest.mark.parametrize("column", [False, True])
def test_every_layout_gives_the_stored_bytes(tmp_path: Path, layout: str, column: bool) -> None:
    tiny = Tiny(layout=layout, column=column, frames=12, holes={"25": (3, 7)})
    with SmcFile(tiny.write(tmp_path / "a.smc")) as file:
        got = dict(file.blobs("Camera", "25", "color"))
        in_place = [isinstance(blob, Blob) and blob.data is None for blob in got.values()]
        read = {frame: blob.read() for frame, blob in got.items() if isinstance(blob, Blob)}
    assert list(read) == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]
    assert read == {frame: tiny.image("25", frame) for frame in read}
    assert set(in_place) == {layout == "contiguous"}


def test_a_user_block_shifts_all_offsets(tmp_path: Path) -> None:
    tiny = Tiny(userblock=512)
    with SmcFile(tiny.write(tmp_path / "a.smc")) as file:
        blobs = dict(file.blobs("Camera", "31", "color"))
        assert [blob.read() for blob in blobs.values() if isinstance(blob, Blob)] == [
            tiny.image("31", frame) for frame in range(4)
        ]


def test_cameras_are_two_digits_and_other_names_are_reported(tmp_path: Path) -> None:
    path = Tiny(masks=True).write(tmp_path / "a.smc")
    with h5py.File(path, "a") as file:
        file.create_group("Camera/notes")
        file.create_group("Camera/125")
        file["Camera/40"] = h5py.SoftLink("/Camera/25")
        file["Camera/41"] = h5py.ExternalLink("/etc/hostname", "/")
        file["Camera/42"] = np.zeros(3)
    with SmcFile(path) as smc:
        cameras = smc.cameras
    assert cameras.parts == {
        "00": frozenset({"audio"}),
        "25": frozenset({"color", "mask"}),
        "31": frozenset({"color", "mask"}),
    }
    assert sorted(cameras.unreadable) == ["40", "41", "42"] and "link" in cameras.unreadable["40"]
    assert sorted(cameras.unexpected) == ["/Camera/'125' is not a camera", "/Camera/'notes' is not a camera"]
    assert cameras.with_part("color") == ("25", "31")


def test_only_hard_links_to_decimal_names_are_frames(tmp_path: Path) -> None:
    path = Tiny(frames=2).write(tmp_path / "a.smc")
    with h5py.File(path, "a") as file:
        group = file["Camera/25/color"]
        group["007"] = group["0"][()]
        group["01"] = group["0"][()]
        group["5"] = h5py.SoftLink("/Camera/25/color/0")
        group["6"] = h5py.ExternalLink("other.h5", "/x")
        group["\u0663"] = group["0"][()]
        group["x\n"] = group["0"][()]
    with SmcFile(path) as smc:
        listed = smc.frames("Camera", "25", "color")
        seven = dict(smc.blobs("Camera", "25", "color"))[7]
        assert isinstance(seven, Blob) and seven.read() == Tiny().image("25", 0)
    assert listed.frames == (0, 1, 7) and listed.entry_count == 8
    reasons = sorted(f"{frame} {reason}" for frame, reason in listed.unreadable)
    assert reasons[0].startswith("1 entry ") and "is the same frame as" in reasons[0]
    assert [reason.split()[0] for reason in reasons] == ["1", "5", "6", "None", "None"]
    assert not any("\n" in reason for reason in reasons)


def hostile(path: Path) -> Path:
    """Write one group of datasets of which none is a picture in this file."""
    with h5py.File(path, "w") as file:
        group = file.create_group("Camera/25/color")
        group.create_dataset("0", shape=(9,), dtype="u1", external=[("/etc/hostname", 0, 9)])
        source = h5py.VirtualSource("/etc/hostname", "c", (9,))
        virtual = h5py.VirtualLayout((9,), "u1")
        virtual[:] = source
        group.create_virtual_dataset("1", virtual)
        group["2"] = np.zeros(8, np.float32)
        group["3"] = np.zeros((4, 5, 3), np.uint8)
        group["4"] = h5py.Empty("u1")
        group.create_dataset("5", shape=(2**40,), dtype="u1", chunks=(2**20,))
        group.create_dataset("6", shape=(90,), dtype="u1")
        group.create_group("7")
        group["8"] = "text"
        group.create_dataset("9", shape=(900,), dtype="u1", chunks=(90,))
    return path


def test_hostile_datasets_are_unreadable_each_with_its_reason(tmp_path: Path) -> None:
    with SmcFile(hostile(tmp_path / "a.smc")) as smc:
        got = dict(smc.blobs("Camera", "25", "color"))
    reasons = [blob.reason for blob in got.values() if isinstance(blob, UnreadableData)]
    expected = [
        "stored outside", "stored outside", "values of 4 bytes", "pixels", "is empty", "more than any picture",
        "never written", "cannot be opened", "not the bytes of a picture", "never written",
    ]  # fmt: skip
    assert len(reasons) == len(expected)
    assert [words for words, reason in zip(expected, reasons, strict=True) if words not in reason] == []


def test_an_entry_beyond_the_end_of_the_file_is_refused(tmp_path: Path) -> None:
    path = Tiny(frames=1, audio=False, calibration=False, cameras=("25",)).write(tmp_path / "a.smc")
    with h5py.File(path, "r") as file:
        dataset = file["Camera/25/color/0"]
        offset, size = dataset.id.get_offset(), dataset.id.get_storage_size()
    data = bytearray(path.read_bytes())
    where = data.index(offset.to_bytes(8, "little") + size.to_bytes(8, "little"))
    data[where : where + 8] = (len(data) - 10).to_bytes(8, "little")
    path.write_bytes(data)
    with SmcFile(path) as smc:
        got = dict(smc.blobs("Camera", "25", "color"))[0]
    assert isinstance(got, UnreadableData)
    assert "beyond the end" in got.reason or "invalid dataset size" in got.reason  # newer HDF5 sees it first


def whole(data: bytes) -> str:
    """Return "suffix width height", or the reason why it is not whole."""
    try:
        picture = check_picture(Blob(-1, 0, len(data), data))
    except UnreadableData as refusal:
        return refusal.reason
    return f"{picture.suffix} {picture.width} {picture.height}"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (jpeg("a"), f".jpg {WIDTH} {HEIGHT}"),
        (png("a"), f".png {WIDTH} {HEIGHT}"),
        (broken(jpeg("a"), "zeros_tail"), f".jpg {WIDTH} {HEIGHT}"),
        (jpeg("a") + b"\0" * 9000, f".jpg {WIDTH} {HEIGHT}"),
        (broken(png("a"), "zeros_tail"), f".png {WIDTH} {HEIGHT}"),
        (jpeg("x" * 9000), f".jpg {WIDTH} {HEIGHT}"),
        (b"\xff\xd8\xff\xff" + jpeg("a")[3:], f".jpg {WIDTH} {HEIGHT}"),
        (broken(jpeg("a"), "no_end"), "ends without its JPEG end marker"),
        (jpeg("a") + b"more", "ends without its JPEG end marker"),
        (broken(jpeg("a"), "header_only"), "ends before its JPEG header does"),
        (b"\xff\xd8\xff\xd9", "ends before its JPEG header does"),
        (b"\xff\xd8\x00\x11" + jpeg("a")[4:], "breaks off at byte 2"),
        (jpeg("a").replace(bytes((0, HEIGHT, 0, WIDTH)), bytes(4), 1), "impossible size (0 x 0)"),
        (broken(png("a"), "bad_crc"), "wrong checksum"),
        (png("a")[:-12], "ends without its PNG end chunk"),
        (png("a")[:-30], "ends inside a PNG chunk"),
        (png("a") + b"tail", "4 bytes after its PNG end chunk"),
        (broken(jpeg("a"), "webp"), ".bin 0 0"),
        (broken(jpeg("a"), "garbage"), "does not begin like any picture (13 37 13 37)"),
        (bytes(5000), "holds zeros only (5000 bytes)"),
    ],
)
def test_check_picture_accepts_intact_pictures_only(data: bytes, words: str) -> None:
    assert words in whole(data)


@pytest.mark.parametrize("make", [jpeg, png])
def test_no_truncated_picture_passes_as_intact(make: Callable[[str], bytes]) -> None:
    data = make("cut")
    assert [end for end in range(1, len(data)) if whole(data[:end]).startswith(".")] == []


def test_audio_and_its_length(tmp_path: Path) -> None:
    tiny = Tiny(frames=30)
    with SmcFile(tiny.write(tmp_path / "a.smc")) as file:
        shape, audio = read_audio_shape(file), read_audio(file)
    assert shape is not None and (shape.camera, shape.samples, shape.rate, shape.seconds) == ("00", 48_000, 48_000, 1.0)
    assert audio is not None and audio.samples.dtype == np.float32
    np.testing.assert_array_equal(audio.samples, tiny.sound())


@pytest.mark.parametrize("rate", [None, 0, -5, float("nan"), 1e12, 44_100.5, [48_000, 48_000]])
def test_a_sound_without_a_usable_rate_is_refused(tmp_path: Path, rate: object) -> None:
    path = Tiny().write(tmp_path / "a.smc")
    with h5py.File(path, "a") as file:
        del file["Camera/00/audio/sample_rate"]
        if rate is not None:
            file["Camera/00/audio/sample_rate"] = rate
    with SmcFile(path) as smc, pytest.raises(UnreadableData, match="sample rate"):
        read_audio_shape(smc)


def test_arrays_are_bounded_before_memory_is_taken(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.smc", "w") as file:
        file.create_dataset("huge", shape=(2**45,), dtype="f8", chunks=(2**16,))
        file["text"] = "words"
        file["pairs"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
        file.create_dataset("outside", shape=(2,), dtype="f8", external=[("/etc/hostname", 0, 16)])
        file["soft"] = h5py.SoftLink("/huge")
    with SmcFile(tmp_path / "a.smc") as smc:
        for name, words in [("huge", "claims"), ("text", "no numbers"), ("pairs", "no numbers"),
                            ("outside", "outside"), ("soft", "link")]:  # fmt: skip
            with pytest.raises(UnreadableData, match=words):
                read_array(smc, (name,), 2**20)
        assert read_array(smc, ("absent",), 2**20) is None


def test_calibration_names_what_is_wrong_per_camera(tmp_path: Path) -> None:
    path = Tiny().write(tmp_path / "a.smc")
    with h5py.File(path, "a") as file:
        del file["Calibration/01/D"]
        del file["Calibration/31/K"]
        file["Calibration/31/K"] = np.zeros((2, 2))
    with SmcFile(path) as smc:
        cameras, refused = read_calibration(smc)
    assert list(cameras) == ["00", "25"]
    np.testing.assert_array_equal(cameras["25"].RT, np.eye(4) * 3)
    assert refused == {"01": "has no D", "31": "K has shape (2, 2)"}


def test_in_a_pair_anno_comes_first_but_for_images(tmp_path: Path) -> None:
    raw = Tiny(calibration=False).write(tmp_path / "raw.smc")
    anno = Tiny(images=False, audio=False, masks=True, anno=True).write(tmp_path / "anno.smc")
    with SmcPair(raw, anno) as pair:
        assert pair.file_with("Calibration") is pair.anno and pair.file_with_masks() is pair.anno
        assert pair.cameras_with_images() == ("25", "31") and pair.all_cameras() == ("00", "25", "31")
        assert pair.file_with("Nothing") is None
    with pytest.raises(Fault):
        SmcPair(raw, tmp_path / "none.smc")
