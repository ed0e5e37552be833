"""What a staged performance must hold, by plain h5py: high-level reading only, in a process of its own.

`Truth` keeps one server process, which forks for every file: the fork has an alarm and a memory limit, so a
file on which HDF5 crashes, hangs or swells costs only its own answer, which is then "cannot tell". Nothing
here is shared with the package's reading.
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
_MEMORY = 2**31
_PICTURES = {"images": "color", "masks": "mask"}


class Truth:
    """Judge staged folders; a context manager. `ask` returns contradictions, or None where truth cannot tell."""

    def __enter__(self) -> Truth:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "fuzz.truth"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()

    def ask(self, source: Path, staging: Path) -> list[str] | None:
        """Return how the staged folder contradicts its source."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps([str(source), str(staging)]) + "\n")
        self._server.stdin.flush()
        answer: list[str] | None = json.loads(self._server.stdout.readline())
        return answer


def serve() -> None:
    """Answer questions from standard input, each in a fork."""
    for line in sys.stdin:
        source, staging = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            _answer(Path(source), Path(staging), reader, writer)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        print(said or "null", flush=True)


def _answer(source: Path, staging: Path, reader: int, writer: int) -> None:
    os.close(reader)
    signal.alarm(_SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(writer, "w") as pipe:
        pipe.write(json.dumps(list(contradictions(source, staging))))
        pipe.flush()
        os._exit(0)


def contradictions(source: Path, staging: Path) -> Iterator[str]:
    """Yield every way in which a sealed folder is not what plain reading of its source says."""
    record = json.loads((staging / ".extraction_complete").read_text())
    tops = {path.name for path in staging.iterdir() if path.is_dir()}
    if tops != set(record["modalities"]):
        yield f"folders {sorted(tops)}, but the record names {record['modalities']}"
    info = json.loads((staging / "metadata/info.json").read_text())
    if len(info["left_out"]) != len(record["left_out"]):
        yield "info.json and the marker name different things as left out"
    with h5py.File(source, "r", locking=False) as file:
        judge = _Judge(file, staging, record)
        for step in (judge.pictures, judge.lone_pictures, judge.keypoints, judge.flame, judge.audio, judge.absent):
            yield from step()
        yield from judge.calibration()


def _try(read: Callable[[], Any]) -> Any:
    """Return what was read, or None where plain reading fails too."""
    try:
        return read()
    except BaseException:  # noqa: BLE001 (whatever h5py raises of a damaged file: then truth cannot tell)
        return None


def _frames(group: H5) -> dict[int, list[str]]:
    """Return the names of a group that are frame numbers, by number; hard links only."""
    found: dict[int, list[str]] = {}
    for name in _try(lambda: list(group.keys())) or ():
        hard = isinstance(_try(lambda name=name: group.get(name, getlink=True)), h5py.HardLink)  # type: ignore[misc]
        if hard and name.isascii() and name.isdecimal() and len(name) <= 9:
            found.setdefault(int(name), []).append(name)
    return found


class _Judge:
    def __init__(self, file: H5, staging: Path, record: dict[str, Any]) -> None:
        self.file, self.staging, self.record = file, staging, record
        self.left_out = {(item["modality"], item["camera"], item["frame"]) for item in record["left_out"]}

    def excused(self, modality: str, camera: str, frame: int | None, nothing: bool) -> bool:
        """Tell whether something is named as left out: itself, or all of a camera or modality that gave nothing."""
        whole = (modality, camera, None) in self.left_out or (modality, "", None) in self.left_out
        return (modality, camera, frame) in self.left_out or (nothing and whole)

    def group(self, *parts: str) -> H5 | None:
        """Return a group that hard links lead to."""
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

    def pictures(self) -> Iterator[str]:
        for modality, part in _PICTURES.items():
            for camera in self.cameras():
                yield from self._frames_of(
                    modality, camera, f"{modality}/cam_{camera}", self.group("Camera", camera, part)
                )
        yield from self._frames_of("uv_textures", "", "uv_textures", self.group("UV_texture"))

    def _frames_of(self, modality: str, camera: str, folder: str, group: H5 | None) -> Iterator[str]:
        published = {int(path.stem[6:]): path for path in (self.staging / folder).glob("frame_*")}
        stored = _frames(group) if group is not None else {}
        for frame, path in published.items():
            yield from self._same(path, [(group, name) for name in stored.get(frame, ())])
        for frame in stored.keys() - published.keys():
            if not self.excused(modality, camera, frame, not published):
                yield f"{folder} frame {frame} is stored, not published, and not named as left out"

    def _same(self, path: Path, places: list[tuple[H5, str]]) -> Iterator[str]:
        """A published picture is the bytes of the dataset of that name."""
        values = [_try(lambda g=group, n=name: np.asarray(g[n][()]).tobytes()) for group, name in places]  # type: ignore[misc]
        where = path.relative_to(self.staging)
        if not places:
            yield f"{where} is published, but no such frame is stored"
        elif all(value is not None for value in values) and path.read_bytes() not in values:
            yield f"{where} is not the stored bytes"

    def lone_pictures(self) -> Iterator[str]:
        group = self.group("ScanMask")
        names = (_try(lambda: list(group.keys())) if group is not None else None) or []
        published = {path.stem[4:]: path for path in (self.staging / "scan_masks").glob("cam_*")}
        for camera, path in published.items():
            yield from self._same(path, [(group, name) for name in names if name == camera])
        for camera in names:
            known = len(camera) == 2 and camera.isascii() and camera.isdecimal()
            if known and camera not in published and not self.excused("scan_masks", camera, None, not published):
                yield f"scan mask of {camera} is neither published nor named as left out"

    def keypoints(self) -> Iterator[str]:
        group = self.group("Keypoints2d")
        for camera in (_try(lambda: list(group.keys())) if group is not None else None) or ():
            if len(camera) == 2 and camera.isascii() and camera.isdecimal():
                inner = self.group("Keypoints2d", camera)
                yield from self._stack("keypoints2d", camera, f"keypoints2d/cam_{camera}.npz", inner)
        yield from self._stack("keypoints3d", "", "keypoints3d/all_frames.npz", self.group("Keypoints3d"))

    def _stack(self, modality: str, camera: str, relative: str, group: H5 | None) -> Iterator[str]:
        path, arrays = self.staging / relative, {}
        if path.exists():
            with np.load(path, allow_pickle=False) as archive:
                arrays = dict(zip(archive["frames"].tolist(), archive["keypoints"], strict=True))
        stored = _frames(group) if group is not None else {}
        for frame, names in stored.items():
            values = [_try(lambda g=group, n=name: np.asarray(g[n][()])) for name in names]  # type: ignore[misc]
            if frame not in arrays:
                empty = all(value is not None and value.size == 0 for value in values)
                if not empty and not self.excused(modality, camera, frame, not arrays):
                    yield f"{relative} lacks frame {frame}, and it is not named as left out"
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
                    yield from self._parameter(name, frames, archive[name], stored, group)
        for frame in stored.keys() - set(frames):
            if not self.excused("flame", "", frame, not frames):
                yield f"flame frame {frame} is neither published nor named as left out"

    def _parameter(
        self, name: str, frames: list[int], values: Any, stored: dict[int, list[str]], group: H5
    ) -> Iterator[str]:
        for place, frame in enumerate(frames):
            names = stored.get(frame, [])
            found = [_try(lambda n=n: np.asarray(group[n][name][()])) for n in names]  # type: ignore[misc]
            if not names:
                yield f"flame has frame {frame}, which is not stored"
            elif all(value is not None for value in found) and not any(_equal(values[place], value) for value in found):
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
            yield "audio_data.npz is not the stored sound"

    def calibration(self) -> Iterator[str]:
        path, group = self.staging / "calibration/cameras.json", self.group("Calibration")
        written = json.loads(path.read_text())["cameras"] if path.exists() else {}
        for camera in (_try(lambda: list(group.keys())) if group is not None else None) or ():
            stored = {part: _try(lambda c=camera, p=part: np.asarray(group[c][p][()])) for part in ("K", "D", "RT")}  # type: ignore[misc, index]
            known = len(camera) == 2 and camera.isascii() and camera.isdecimal()
            if known and camera not in written and not self.excused("calibration", camera, None, not written):
                yield f"calibration of {camera} is neither published nor named as left out"
            for part, values in stored.items() if camera in written else ():
                if values is not None and not _equal_json(written[camera][part], values):
                    yield f"calibration of {camera}: {part} is not the stored array"

    def absent(self) -> Iterator[str]:
        places = {
            "keypoints2d": "Keypoints2d", "keypoints3d": "Keypoints3d", "flame": "FLAME", "uv_textures": "UV_texture",
            "scan_masks": "ScanMask", "calibration": "Calibration",
        }  # fmt: skip
        for modality in self.record["absent"]:
            if modality in _PICTURES:
                groups = [self.group("Camera", camera, _PICTURES[modality]) for camera in self.cameras()]
                held = any(_frames(group) for group in groups if group is not None)
            elif modality == "audio":
                groups = [self.group("Camera", camera, "audio") for camera in self.cameras()]
                held = any("audio" in group for group in groups if group is not None)
            elif modality == "scan":
                group = self.group("Scan")
                held = group is not None and isinstance(_try(lambda g=group: g["vertex"]), h5py.Dataset)  # type: ignore[misc]
            else:
                held = self._holds(modality, self.group(places[modality])) if modality in places else False
            if held:
                yield f"{modality} is called absent, but the file holds some"

    def _holds(self, modality: str, group: H5 | None) -> bool:
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


def _equal(mine: Any, stored: Any) -> bool:
    """Bit for bit, shape and type included; only the byte order may differ."""
    mine, stored = np.asarray(mine), np.asarray(stored)
    if mine.shape != stored.shape or mine.dtype.newbyteorder("=") != stored.dtype.newbyteorder("="):
        return False
    return bool(mine.tobytes() == stored.astype(mine.dtype).tobytes())


def _equal_json(mine: Any, stored: Any) -> bool:
    if isinstance(mine, list):
        return len(mine) == len(stored) and all(_equal_json(a, b) for a, b in zip(mine, stored, strict=True))
    return not np.isfinite(stored) if mine is None else bool(mine == stored)


if __name__ == "__main__":
    serve()
