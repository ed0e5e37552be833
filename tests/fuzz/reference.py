"""Compare a staged performance with its source by plain h5py, in a process of its own.

`ReferenceServer` keeps one server process, which forks for every file: the fork has an alarm and a memory limit, so a
file on which HDF5 crashes, hangs or runs out of memory costs only its own answer, which is then None. Nothing here is
shared with the package's reading.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

H5 = Any
_SECONDS = 20
_MEMORY_BYTES = 2**31
_IMAGE_PARTS = {"images": "color", "masks": "mask"}


class ReferenceServer:
    """A context manager that compares staged folders with their sources."""

    def __enter__(self) -> ReferenceServer:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "fuzz.reference"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()

    def differences(self, source: Path, staging: Path) -> list[str] | None:
        """Return how the staged folder differs from its source, None if plain h5py cannot read the source."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps([str(source), str(staging)]) + "\n")
        self._server.stdin.flush()
        answer: list[str] | None = json.loads(self._server.stdout.readline())
        return answer


def serve() -> None:
    """Answer requests from standard input, each in a fork."""
    for line in sys.stdin:
        source, staging = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            _answer(Path(source), Path(staging), reader, writer)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        print(answer or "null", flush=True)


def _answer(source: Path, staging: Path, reader: int, writer: int) -> None:
    os.close(reader)
    signal.alarm(_SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(writer, "w") as pipe:
        pipe.write(json.dumps(list(differences(source, staging))))
        pipe.flush()
        os._exit(0)


def differences(source: Path, staging: Path) -> Iterator[str]:
    """Yield every difference between a sealed folder and what plain h5py reads from its source."""
    record = json.loads((staging / ".extraction_complete").read_text())
    folders = {path.name for path in staging.iterdir() if path.is_dir()}
    if folders != set(record["modalities"]):
        yield f"folders {sorted(folders)}, but the record names {record['modalities']}"
    info = json.loads((staging / "metadata/info.json").read_text())
    if len(info["left_out"]) != len(record["left_out"]):
        yield "info.json and the marker leave out different things"
    with h5py.File(source, "r", locking=False) as file:
        comparison = _Comparison(file, staging, record)
        yield from comparison.images()
        yield from comparison.scan_masks()
        yield from comparison.keypoints()
        yield from comparison.flame()
        yield from comparison.audio()
        yield from comparison.absent()
        yield from comparison.calibration()


def _try(read: Callable[[], Any]) -> Any:
    """Return what was read, None if plain h5py fails too."""
    try:
        return read()
    except BaseException:  # noqa: BLE001 (h5py raises many things on a damaged file: then nothing can be compared)
        return None


def _frames(group: H5) -> dict[int, list[str]]:
    """Return the names in a group that are frame numbers, by number; hard links only."""
    names_of: dict[int, list[str]] = {}
    for name in _try(lambda: list(group.keys())) or ():
        hard = isinstance(_try(lambda name=name: group.get(name, getlink=True)), h5py.HardLink)  # type: ignore[misc]
        if hard and name.isascii() and name.isdecimal() and len(name) <= 9:
            names_of.setdefault(int(name), []).append(name)
    return names_of


class _Comparison:
    def __init__(self, file: H5, staging: Path, record: dict[str, Any]) -> None:
        self.file, self.staging, self.record = file, staging, record
        self.left_out = {(item["modality"], item["camera"], item["frame"]) for item in record["left_out"]}

    def is_left_out(self, modality: str, camera: str, frame: int | None, nothing_published: bool) -> bool:
        """Return True if it is left out by name, or with all of a camera or modality of which nothing was published."""
        all_of_it = (modality, camera, None) in self.left_out or (modality, "", None) in self.left_out
        return (modality, camera, frame) in self.left_out or (nothing_published and all_of_it)

    def group(self, *parts: str) -> H5 | None:
        """Return a group that is reached by hard links only, else None."""
        node = self.file
        for part in parts:
            if not isinstance(_try(lambda node=node, part=part: node.get(part, getlink=True)), h5py.HardLink):  # type: ignore[misc]
                return None
            node = _try(lambda node=node, part=part: node[part])  # type: ignore[misc]
            if not isinstance(node, h5py.Group):
                return None
        return node

    def cameras(self) -> list[str]:
        group = self.group("Camera")
        names = _try(lambda: list(group.keys())) if group is not None else None
        return [name for name in names or () if len(name) == 2 and name.isascii() and name.isdecimal()]

    def images(self) -> Iterator[str]:
        for modality, part in _IMAGE_PARTS.items():
            for camera in self.cameras():
                yield from self._image_differences(
                    modality, camera, f"{modality}/cam_{camera}", self.group("Camera", camera, part)
                )
        yield from self._image_differences("uv_textures", "", "uv_textures", self.group("UV_texture"))

    def _image_differences(self, modality: str, camera: str, folder: str, group: H5 | None) -> Iterator[str]:
        published = {int(path.stem[6:]): path for path in (self.staging / folder).glob("frame_*")}
        stored = _frames(group) if group is not None else {}
        for frame, path in published.items():
            yield from self._byte_differences(path, [(group, name) for name in stored.get(frame, ())])
        for frame in stored.keys() - published.keys():
            if not self.is_left_out(modality, camera, frame, not published):
                yield f"{folder} frame {frame} is stored, but neither published nor left out"

    def _byte_differences(self, path: Path, datasets: list[tuple[H5, str]]) -> Iterator[str]:
        """Compare a published image with the bytes of the dataset (or datasets) of its name."""
        values = [_try(lambda g=group, n=name: np.asarray(g[n][()]).tobytes()) for group, name in datasets]  # type: ignore[misc]
        where = path.relative_to(self.staging)
        if not datasets:
            yield f"{where} is published, but no such frame is stored"
        elif all(value is not None for value in values) and path.read_bytes() not in values:
            yield f"{where} is not the stored bytes"

    def scan_masks(self) -> Iterator[str]:
        group = self.group("ScanMask")
        names = (_try(lambda: list(group.keys())) if group is not None else None) or []
        published = {path.stem[4:]: path for path in (self.staging / "scan_masks").glob("cam_*")}
        for camera, path in published.items():
            yield from self._byte_differences(path, [(group, name) for name in names if name == camera])
        for camera in names:
            known = len(camera) == 2 and camera.isascii() and camera.isdecimal()
            if known and camera not in published and not self.is_left_out("scan_masks", camera, None, not published):
                yield f"scan mask of {camera} is neither published nor left out"

    def keypoints(self) -> Iterator[str]:
        group = self.group("Keypoints2d")
        for camera in (_try(lambda: list(group.keys())) if group is not None else None) or ():
            if len(camera) == 2 and camera.isascii() and camera.isdecimal():
                inner = self.group("Keypoints2d", camera)
                yield from self._stack_differences("keypoints2d", camera, f"keypoints2d/cam_{camera}.npz", inner)
        yield from self._stack_differences("keypoints3d", "", "keypoints3d/all_frames.npz", self.group("Keypoints3d"))

    def _stack_differences(self, modality: str, camera: str, relative: str, group: H5 | None) -> Iterator[str]:
        path, arrays = self.staging / relative, {}
        if path.exists():
            with np.load(path, allow_pickle=False) as archive:
                arrays = dict(zip(archive["frames"].tolist(), archive["keypoints"], strict=True))
        stored = _frames(group) if group is not None else {}
        for frame, names in stored.items():
            values = [_try(lambda g=group, n=name: np.asarray(g[n][()])) for name in names]  # type: ignore[misc]
            if frame not in arrays:
                empty = all(value is not None and value.size == 0 for value in values)
                if not empty and not self.is_left_out(modality, camera, frame, not arrays):
                    yield f"{relative} lacks frame {frame}, and does not leave it out"
            elif None not in [v if v is None else 0 for v in values] and not any(
                _equal(arrays[frame], v) for v in values
            ):
                yield f"{relative} frame {frame} is not the stored array"
        for frame in arrays.keys() - stored.keys():
            yield f"{relative} has frame {frame}, which is not stored"

    def flame(self) -> Iterator[str]:
        path, group = self.staging / "flame/all_frames.npz", self.group("FLAME")
        stored = _frames(group) if group is not None else {}
        frames: list[int] = []
        if path.exists():
            with np.load(path, allow_pickle=False) as archive:
                frames = archive["frames"].tolist()
                for name in set(archive.files) - {"frames"}:
                    yield from self._parameter_differences(name, frames, archive[name], stored, group)
        for frame in stored.keys() - set(frames):
            if not self.is_left_out("flame", "", frame, not frames):
                yield f"flame frame {frame} is neither published nor left out"

    def _parameter_differences(
        self, name: str, frames: list[int], values: Any, stored: dict[int, list[str]], group: H5
    ) -> Iterator[str]:
        for index, frame in enumerate(frames):
            names = stored.get(frame, [])
            stored_values = [_try(lambda n=n: np.asarray(group[n][name][()])) for n in names]  # type: ignore[misc]
            if not names:
                yield f"flame has frame {frame}, which is not stored"
            elif all(value is not None for value in stored_values) and not any(
                _equal(values[index], value) for value in stored_values
            ):
                yield f"flame frame {frame} parameter {name!r} is not the stored array"

    def audio(self) -> Iterator[str]:
        path = self.staging / "audio/audio_data.npz"
        if not path.exists():
            return
        with np.load(path, allow_pickle=False) as archive:
            samples, rate = archive["audio"], archive["sample_rate"]
        pairs = []
        for camera in self.cameras():
            group = self.group("Camera", camera, "audio")
            if group is not None:
                pairs.append(_try(lambda g=group: (np.asarray(g["audio"][()]), np.asarray(g["sample_rate"][()]))))  # type: ignore[misc]
        known = [pair for pair in pairs if pair is not None]
        if (
            known
            and len(known) == len(pairs)
            and not any(_equal(samples, a) and rate == r.reshape(-1)[0] for a, r in known)
        ):
            yield "audio_data.npz is not the stored audio"

    def calibration(self) -> Iterator[str]:
        path, group = self.staging / "calibration/cameras.json", self.group("Calibration")
        written = json.loads(path.read_text())["cameras"] if path.exists() else {}
        for camera in (_try(lambda: list(group.keys())) if group is not None else None) or ():
            stored = {part: _try(lambda c=camera, p=part: np.asarray(group[c][p][()])) for part in ("K", "D", "RT")}  # type: ignore[misc, index]
            known = len(camera) == 2 and camera.isascii() and camera.isdecimal()
            if known and camera not in written and not self.is_left_out("calibration", camera, None, not written):
                yield f"calibration of {camera} is neither published nor left out"
            for part, values in stored.items() if camera in written else ():
                if values is not None and not _equal_json(written[camera][part], values):
                    yield f"calibration of {camera}: {part} is not the stored array"

    def absent(self) -> Iterator[str]:
        groups_of = {
            "keypoints2d": "Keypoints2d", "keypoints3d": "Keypoints3d", "flame": "FLAME", "uv_textures": "UV_texture",
            "scan_masks": "ScanMask", "calibration": "Calibration",
        }  # fmt: skip
        for modality in self.record["absent"]:
            if modality in _IMAGE_PARTS:
                groups = [self.group("Camera", camera, _IMAGE_PARTS[modality]) for camera in self.cameras()]
                is_stored = any(_frames(group) for group in groups if group is not None)
            elif modality == "audio":
                groups = [self.group("Camera", camera, "audio") for camera in self.cameras()]
                is_stored = any("audio" in group for group in groups if group is not None)
            elif modality == "scan":
                group = self.group("Scan")
                is_stored = group is not None and isinstance(_try(lambda g=group: g["vertex"]), h5py.Dataset)  # type: ignore[misc]
            else:
                is_stored = (
                    self._has_data(modality, self.group(groups_of[modality])) if modality in groups_of else False
                )
            if is_stored:
                yield f"{modality} is recorded as absent, but the file holds some"

    def _has_data(self, modality: str, group: H5 | None) -> bool:
        if group is None:
            return False
        if modality in ("keypoints3d", "flame", "uv_textures"):
            return bool(_frames(group))
        names = _try(lambda: list(group.keys())) or []
        cameras = [name for name in names if len(name) == 2 and name.isascii() and name.isdecimal()]
        if modality != "keypoints2d":
            return bool(cameras)
        inner = [self.group("Keypoints2d", camera) for camera in cameras]
        return any(_frames(group) for group in inner if group is not None)


def _equal(published: Any, stored: Any) -> bool:
    """Return True if shape, dtype and bytes are equal; only the byte order may differ."""
    published, stored = np.asarray(published), np.asarray(stored)
    if published.shape != stored.shape or published.dtype.newbyteorder("=") != stored.dtype.newbyteorder("="):
        return False
    return bool(published.tobytes() == stored.astype(published.dtype).tobytes())


def _equal_json(published: Any, stored: Any) -> bool:
    if isinstance(published, list):
        return len(published) == len(stored) and all(_equal_json(a, b) for a, b in zip(published, stored, strict=True))
    return not np.isfinite(stored) if published is None else bool(published == stored)


if __name__ == "__main__":
    serve()
