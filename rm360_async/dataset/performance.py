"""One published performance: cameras, pictures, annotations and sound, each read when it is asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rm360_async.dataset.audio import AudioTrack, read_audio_track
from rm360_async.dataset.calibration import read_cameras, read_matrices
from rm360_async.dataset.camera import Camera, frozen
from rm360_async.dataset.camera_files import CameraFiles, checked_camera, names_in
from rm360_async.dataset.errors import DamagedData, MissingData
from rm360_async.dataset.flame import FlameFit, OffsetChoice, candidate_offsets, choose_offset
from rm360_async.dataset.npz_rows import FrameArrays
from rm360_async.dataset.pictures import Pixels, decode_colour, decode_grey, read_size
from rm360_async.dataset.scan import Scan, read_scan
from rm360_async.domain.cameras.rig import RESOLUTION, Array
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import Modality, camera_folder, camera_id, is_camera
from rm360_async.domain.record import EarlierRecord, Record
from rm360_async.store.marker import read_marker

Value = TypeVar("Value")
_MAX_INFO_BYTES = 2**28
_MAX_IDS_SHOWN = 8


class PublishedPerformance:
    """One published performance, `<output_dir>/<subject>/<performance>/`; get it with `open_performance`.

    Cameras are named by their two-digit ids, frames by their **numbers**, which have holes: never by position. Every
    method that is asked for what the folder does not hold raises MissingData (a KeyError) that says what is missing;
    a file that cannot be read raises DamagedData (a ValueError).

    Opening reads one small file. Everything else is read when it is first used, and small things are kept: cameras,
    lists of frames, the places of rows in arrays. No file stays open, so one object can be used by many threads, after
    a fork, and in other processes (pickled, it is the path and the marker). A folder that is replaced or completed
    meanwhile must be opened again.
    """

    def __init__(self, folder: Path, subject: str, performance: str, record: Record | None) -> None:
        self.folder = folder
        """The path of the folder, absolute."""
        self.subject = subject
        """The subject's id, text with its zeros: "0018"."""
        self.performance = performance
        """The name of the performance: "s1_all"."""
        self.record = record
        """What the marker says; None in a folder of an earlier tool, of which only the files are known."""
        self._cache: dict[Any, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} in {self.folder}>"

    @property
    def name(self) -> str:
        """Return subject and performance, "0018/s1_all"."""
        return f"{self.subject}/{self.performance}"

    def _once(self, key: object, read: Callable[[], Value]) -> Value:
        """Return what `read` returned when it was first needed. Two threads may both read: there is no lock to fork."""
        try:
            value: Value = self._cache[key]
        except KeyError:
            value = self._cache.setdefault(key, read())
        return value

    # --- what the folder holds ------------------------------------------------------------------------------------

    @property
    def info(self) -> dict[str, Any]:
        """Return metadata/info.json: actor, capture date, fps, what was absent; {} without the file."""
        return self._once("info", lambda: _read_info(self.folder / "metadata" / "info.json"))

    @property
    def fps(self) -> float | None:
        """Return the frames a second, 30 or 15 in known files; None without sound, which it is derived from."""
        return self.record.fps if self.record is not None else self.info.get("fps")

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the kinds of data that the folder holds: "images", "masks", "audio", ..."""
        if self.record is not None:
            return self.record.modalities
        return self._once("modalities", lambda: tuple(m.value for m in Modality if (self.folder / m.value).is_dir()))

    def time(self, frame: int) -> float:
        """Return when a frame was taken, in seconds from frame 0 and from the first sample of the sound."""
        if self.fps is None:
            raise MissingData(f"{self.name} has no known frame rate: the folder holds no sound to derive it from")
        return frame / self.fps

    # --- cameras --------------------------------------------------------------------------------------------------

    @property
    def cameras(self) -> Mapping[str, Camera]:
        """Return the calibrated cameras that have pictures here, by id in order. Raises MissingData, DamagedData."""
        with_pictures = self.picture_cameras
        return self._once(
            "cameras", lambda: {i: camera for i, camera in self.calibrated_cameras.items() if i in with_pictures}
        )

    @property
    def calibrated_cameras(self) -> Mapping[str, Camera]:
        """Return all calibrated cameras, also those without pictures here, by id in order.

        Raises MissingData without a calibration, DamagedData for one that cannot be read. A camera whose matrices
        hold numbers that are not finite is left out.
        """
        return self._once("calibrated", lambda: read_cameras(self.calibration, self._picture_size, self.name))

    @property
    def calibration(self) -> Mapping[str, Mapping[str, NDArray[Any]]]:
        """Return {id: {"K", "D", "RT"}} as stored, unchecked; see `calibrated_cameras`."""
        return self._once("calibration", lambda: read_matrices(self.folder / "calibration" / "cameras.json", self.name))

    @property
    def picture_cameras(self) -> tuple[str, ...]:
        """Return the ids of the cameras with pictures here, calibrated or not, in order."""
        return self._images.cameras

    def project(self, points: ArrayLike, camera: str | int) -> Array:
        """Return pixels (..., 2) of world points (..., 3) m in full pictures of a camera, lens distortion included.

        (0, 0) is the centre of the first pixel; points that are not in front of the camera give NaN.
        """
        return self._camera(camera).project(points)

    def _camera(self, camera: str | int) -> Camera:
        try:
            return self.calibrated_cameras[camera_id(camera)]
        except (KeyError, ValueError):
            known = ", ".join(list(self.calibrated_cameras)[:_MAX_IDS_SHOWN])
            raise MissingData(f"{self.name} has no calibration of camera {camera!r} (it has {known} ...)") from None

    def _picture_size(self, camera: str) -> tuple[int, int]:
        """Return (width, height) px of a camera's pictures, for one without pictures that of another camera."""
        return self._size_of(camera) or self.picture_size or RESOLUTION[::-1]

    def _size_of(self, camera: str) -> tuple[int, int] | None:
        paths = (self.image_path(camera, frame) for frame in self.frames(camera))
        return self._once(("size", camera), lambda: next(filter(None, map(read_size, paths)), None))

    @property
    def picture_size(self) -> tuple[int, int] | None:
        """Return (width, height) px of the first picture whose header can be read; None if there is none."""
        sizes = (self._size_of(camera) for camera in self.picture_cameras)
        return self._once("size", lambda: next(filter(None, sizes), None))

    @property
    def _images(self) -> CameraFiles:
        return self._once("images", lambda: CameraFiles(self.folder, "images", self.name))

    @property
    def _masks(self) -> CameraFiles:
        return self._once("masks", lambda: CameraFiles(self.folder, "masks", self.name))

    # --- pictures and masks ---------------------------------------------------------------------------------------

    def frames(self, camera: str | int) -> tuple[int, ...]:
        """Return the numbers of the frames of which a camera has a picture, in order; () for an absent camera."""
        return tuple(self._images.frames(camera))

    def has_image(self, camera: str | int, frame: int) -> bool:
        """Return whether a camera has a picture of a frame; quicker than to look into all of its `frames`."""
        return frame in self._images.frames(camera)

    def has_mask(self, camera: str | int, frame: int) -> bool:
        """Return whether a camera has a mask of a frame."""
        return frame in self._masks.frames(camera)

    def mask_frames(self, camera: str | int) -> tuple[int, ...]:
        """Return the numbers of the frames of which a camera has a mask, in order."""
        return tuple(self._masks.frames(camera))

    @property
    def all_frames(self) -> tuple[int, ...]:
        """Return the numbers of the frames of which any camera has a picture, in order."""
        files = (self._images.frames(camera) for camera in self.picture_cameras)
        return self._once("all frames", lambda: tuple(sorted(set().union(*files))))

    def holes(self, camera: str | int) -> tuple[int, ...]:
        """Return the frames that a camera lacks and another has, here or in the source (`missing_frames` of info)."""
        missing = self.info.get("missing_frames", {}).get(checked_camera(camera), ())
        return tuple(sorted({*self.all_frames, *missing} - set(self.frames(camera))))

    def image_path(self, camera: str | int, frame: int) -> Path:
        """Return the path of a picture, `images/cam_25/frame_000012.jpg`: the bytes as stored in the release."""
        return self._images.path(camera, frame)

    def image_bytes(self, camera: str | int, frame: int) -> bytes:
        """Return the bytes of a picture as stored in the release, a JPEG."""
        return self.image_path(camera, frame).read_bytes()

    def image(self, camera: str | int, frame: int, reduce: int = 1) -> Pixels:
        """Return a picture as uint8 (height, width, 3), **RGB**.

        With `reduce` 2, 4 or 8 the decoder itself makes it that much smaller, in a fifth to a tenth of the time;
        `cameras[id].reduced(n)` is the camera that goes with it.
        """
        path = self.image_path(camera, frame)
        return decode_colour(path.read_bytes(), path, reduce)

    def mask_path(self, camera: str | int, frame: int) -> Path:
        """Return the path of a mask, `masks/cam_25/frame_000012.png`: the bytes as stored in the release."""
        return self._masks.path(camera, frame)

    def mask_bytes(self, camera: str | int, frame: int) -> bytes:
        """Return the bytes of a mask as stored in the release, a PNG."""
        return self.mask_path(camera, frame).read_bytes()

    def mask(self, camera: str | int, frame: int, reduce: int = 1) -> Pixels:
        """Return a mask as uint8 (height, width) with the values stored: bright is the person, dark is not."""
        path = self.mask_path(camera, frame)
        return decode_grey(path.read_bytes(), path, reduce)

    # --- annotations ----------------------------------------------------------------------------------------------

    @property
    def keypoints2d_cameras(self) -> tuple[str, ...]:
        """Return the ids of the cameras with 2D landmarks, in order."""
        names = (name.removeprefix(camera_folder("")) for name in names_in(self.folder / "keypoints2d"))
        ids = (name.removesuffix(".npz") for name in names if name.endswith(".npz"))
        return self._once("landmark cameras", lambda: tuple(sorted(camera for camera in ids if is_camera(camera))))

    def keypoints2d_frames(self, camera: str | int) -> tuple[int, ...]:
        """Return the numbers of the frames of which a camera has 2D landmarks; () if it has none."""
        return tuple(self._arrays("keypoints2d", camera_folder(checked_camera(camera))).rows)

    def keypoints2d(self, camera: str | int, frame: int) -> Array:
        """Return the 2D landmarks (106, 2) of a frame **number**, px in the full picture, as stored."""
        camera = checked_camera(camera)
        arrays = self._arrays("keypoints2d", camera_folder(camera))
        self._require_frame(arrays, frame, f"2D landmarks of camera {camera}")
        return np.asarray(arrays.read("keypoints", frame))

    def all_keypoints2d(self, camera: str | int) -> dict[int, Array]:
        """Return all 2D landmarks (106, 2) px of a camera by frame number; {} if it has none."""
        return self._arrays("keypoints2d", camera_folder(checked_camera(camera))).read_all("keypoints")

    def all_keypoints3d(self) -> dict[int, Array]:
        """Return all 3D landmarks (73, 3) world metres by frame number; {} if there are none."""
        return self._arrays("keypoints3d").read_all("keypoints")

    @property
    def keypoints3d_frames(self) -> tuple[int, ...]:
        """Return the numbers of the frames that have 3D landmarks."""
        return tuple(self._arrays("keypoints3d").rows)

    def keypoints3d(self, frame: int) -> Array:
        """Return the 3D landmarks (73, 3) of a frame **number**, world metres, as stored."""
        arrays = self._arrays("keypoints3d")
        self._require_frame(arrays, frame, "3D landmarks")
        return np.asarray(arrays.read("keypoints", frame))

    @property
    def flame_frames(self) -> tuple[int, ...]:
        """Return the numbers of the frames that have a FLAME fit."""
        return tuple(self._arrays("flame").rows)

    def flame(self, frame: int) -> FlameFit:
        """Return the FLAME fit of a frame **number**: parameters as stored, and the vertices in the world.

        Its `choice` says which offset brings the stored vertices to the head, and how far each would be off.
        """
        arrays, choice = self._arrays("flame"), self.flame_offset
        self._require_frame(arrays, frame, "FLAME fit")
        parameters = {name: arrays.read(name, frame) for name in arrays.names}
        return FlameFit(frame, parameters, candidate_offsets(parameters)[choice.name], choice)

    @property
    def flame_offset(self) -> OffsetChoice:
        """Return the offset from stored FLAME vertices to the world, chosen by the 3D landmarks, else the cameras."""
        return self._once("offset", self._choose_offset)

    @property
    def audio(self) -> AudioTrack:
        """Return the sound as stored, with its rate; `time(frame)` tells where in it a frame is."""
        path = self.folder / "audio" / "audio_data.npz"
        if not path.exists():
            raise MissingData(f"{self.name} has no audio")
        return read_audio_track(path)

    @property
    def scan(self) -> Scan:
        """Return the scanned mesh of the head, in the world of the cameras."""
        path = self.folder / "scan" / "mesh.ply"
        if not path.exists():
            raise MissingData(f"{self.name} has no scan")
        return read_scan(path)

    def _arrays(self, kind: str, name: str = "all_frames") -> FrameArrays:
        return self._once((kind, name), lambda: FrameArrays(self.folder / kind / f"{name}.npz"))

    def _require_frame(self, arrays: FrameArrays, frame: int, what: str) -> None:
        rows = arrays.rows
        if frame not in rows:
            span = f"it has {len(rows)}, of frames {min(rows)} to {max(rows)}" if rows else "it has none at all"
            raise MissingData(f"{self.name} has no {what} of frame {frame}; {span}")

    def _choose_offset(self) -> OffsetChoice:
        stored, landmarks = self._arrays("flame"), set(self.keypoints3d_frames)
        names = [name for name in ("verts", "cam", "trans") if name in stored.names]

        def head_of(frame: int) -> Array | None:
            return self.keypoints3d(frame).mean(axis=0) if frame in landmarks else None

        def parameters_of(frame: int) -> dict[str, NDArray[Any]]:
            return {name: stored.read(name, frame) for name in names}

        return choose_offset(tuple(stored.rows), parameters_of, head_of, self._cameras_head())

    def _cameras_head(self) -> Array | None:
        from rm360_async.domain.cameras.calibration.conventions import place_cameras

        try:
            poses = [camera.RT for camera in self.calibrated_cameras.values()]
        except (MissingData, DamagedData):
            return None
        return frozen(place_cameras(np.stack(poses)).head) if poses else None


def open_performance(folder: str | os.PathLike[str]) -> PublishedPerformance:
    """Return a published performance, such as `subjects/0018/s1_all`; see `PublishedPerformance`.

    Raises BadRequest if the folder does not exist or is not a published performance.
    """
    path = Path(folder).absolute()
    if not path.is_dir():
        raise BadRequest(f"{folder}: there is no such folder")
    marker = read_marker(path)
    if marker is None:
        hint = "give one performance's folder, such as subjects/0018/s1_all"
        raise BadRequest(f"{folder} is not a published performance (it has no marker); {hint}")
    if isinstance(marker, EarlierRecord):
        return PublishedPerformance(path, path.parent.name, path.name, None)
    return PublishedPerformance(path, marker.subject, marker.performance, marker)


def _read_info(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            value: Any = json.loads(file.read(_MAX_INFO_BYTES))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DamagedData(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise DamagedData(f"{path} cannot be read: it is not a JSON object")
    return value
