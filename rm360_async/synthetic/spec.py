"""The specification of a synthetic .smc: what it holds and what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rm360_async.domain.cameras.rig import FRONT_CAMERA, rig
from rm360_async.domain.names import RAW_ONLY, Modality, Performance
from rm360_async.synthetic.encoded import BlobBreak

SINGLE_RELEASE = frozenset({Modality.METADATA, Modality.CALIBRATION, Modality.IMAGES, Modality.AUDIO})
"""The modalities in a file of the 500-subject layout."""

AUDIO_CAMERA = "00"
NO_DISTORTION = (0.0, 0.0, 0.0, 0.0, 0.0)
LENS_DISTORTION = (-0.08, 0.6, 1e-3, -5e-4, -3.0)
"""A lens as in the release's calibrations that have one: it moves the outline of the head by some pixels."""
_DEFAULT_PERFORMANCE = Performance("0018", "s1_all")


@dataclass(frozen=True)
class SmcSpec:
    """One synthetic performance; the default is a small intact file of the 500-subject layout.

    `frames` is the number of frames of each camera, `camera_frames` overrides it, `holes` removes frames. The mouth
    opens and closes once in `distinct_images` frames; then the same images are repeated with other bytes (1 or 2
    are enough for big files). `scale` 1 is 2448 x 2048 px. `broken` and `broken_masks` name blobs by (camera,
    frame). `omit` names HDF5 objects (`Calibration`, `Camera/00/audio/sample_rate`) or attributes (`@actor_id`,
    `Camera@num_frame`) that the file lacks. `swapped` exchanges the calibrations of pairs of cameras. Compact
    storage is only for blobs below 64 KB. `distortion` is k1 k2 p1 p2 k3 of the lenses, through which everything is
    drawn; each camera has its own share of it (`distortion_of`).
    """

    performance: Performance = _DEFAULT_PERFORMANCE
    modalities: frozenset[Modality] = SINGLE_RELEASE
    cameras: tuple[str, ...] = (FRONT_CAMERA,)
    frames: int = 4
    camera_frames: Mapping[str, int] = field(default_factory=dict)
    fps: float = 30.0
    scale: float = 1 / 8
    seed: int = 0
    distinct_images: int = 8
    holes: Mapping[str, Collection[int]] = field(default_factory=dict)
    reported_cameras: int = 60
    reported_frames: int | None = None
    order: Literal["camera", "frame"] = "camera"
    storage: Literal["contiguous", "chunked", "gzip", "compact"] = "contiguous"
    column_blobs: bool = False
    bytes_attributes: bool = False
    broken: Mapping[tuple[str, int], BlobBreak] = field(default_factory=dict)
    broken_masks: Mapping[tuple[str, int], BlobBreak] = field(default_factory=dict)
    omit: Collection[str] = ()
    swapped: tuple[tuple[str, str], ...] = ()
    distortion: tuple[float, float, float, float, float] = NO_DISTORTION

    def __post_init__(self) -> None:
        unknown = sorted({*self.cameras, *self.camera_frames} - set(rig()))
        if unknown:
            raise ValueError(f"the rig has no camera {', '.join(unknown)}")

    def frames_of(self, camera: str) -> tuple[int, ...]:
        """Return the frames of a camera, in order."""
        missing = set(self.holes.get(camera, ()))
        return tuple(frame for frame in range(self.camera_frames.get(camera, self.frames)) if frame not in missing)

    def distortion_of(self, camera: str) -> tuple[float, ...]:
        """Return k1 k2 p1 p2 k3 of a camera: half of `distortion` for camera 00, up to one and a half for 59."""
        return tuple((0.5 + int(camera) / len(rig())) * coefficient for coefficient in self.distortion)

    def opening(self, frame: int) -> float:
        """Return the opening of the mouth in a frame, from 0 to 1."""
        phase = frame % self.distinct_images / self.distinct_images
        return 1.0 - abs(2.0 * phase - 1.0)

    @property
    def openings(self) -> list[float]:
        """Return every mouth opening that occurs, sorted."""
        most_frames = max(self.frames, *self.camera_frames.values(), 0)
        return sorted({self.opening(frame) for frame in range(min(most_frames, self.distinct_images))})

    @property
    def raw_modalities(self) -> frozenset[Modality]:
        """Return the modalities in the raw file of a pair."""
        return self.modalities & (RAW_ONLY | {Modality.METADATA})

    @property
    def anno_modalities(self) -> frozenset[Modality]:
        """Return the modalities in the anno file of a pair."""
        return self.modalities - RAW_ONLY
