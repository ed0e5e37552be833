"""FLAME fits, and where in the world their vertices belong.

The stored vertices are not in the world: in the one known fit they lack `cam[-3:]`, without which the head is 27 cm
off and still in most pictures; the notes of the dataset also name `trans`. So the offset is chosen by the data, once
for a performance: of {0, cam[-3:], trans} the one that brings the vertices nearest to the 3D landmarks of the same
frames, or, if there are no landmarks, to the point that the cameras look at. The choice reports
the distance that each leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.rig import Array

MAX_FRAMES_SAMPLED = 8


@dataclass(frozen=True)
class OffsetChoice:
    """Which offset brings the vertices to the head, and how far each leaves their middle from it, in metres."""

    name: str
    """none: no offset; cam: the last three numbers of `cam`; trans: `trans`."""
    distances: Mapping[str, float]
    reference: str
    """What the head's position was taken from: landmarks or cameras."""

    def __str__(self) -> str:
        distances = ", ".join(f"{name} {1000 * distance:.0f} mm" for name, distance in self.distances.items())
        return f"offset {self.name}, by the {self.reference} (distance to the head: {distances})"


@dataclass(frozen=True, eq=False)
class FlameFit:
    """The parameters of one frame as stored, and the offset (3,) m from stored vertices to the world.

    In known files: global_pose, neck_pose, jaw_pose, left_eye_pose, right_eye_pose, trans (3,); shape (100,);
    exp (50,); verts (5023, 3) m; albedos (3, 256, 256); cam (3,) or (4,); tex; lit.
    """

    frame: int
    parameters: Mapping[str, NDArray[Any]]
    offset: Array
    choice: OffsetChoice

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.parameters[name]

    @property
    def vertices(self) -> Array:
        """Return the vertices (V, 3) in world metres."""
        return np.asarray(self.parameters["verts"], np.float64) + self.offset


def candidate_offsets(parameters: Mapping[str, NDArray[Any]]) -> Mapping[str, Array]:
    """Return the offsets (3,) that a frame's parameters allow, by name."""
    offsets: dict[str, Array] = {"none": np.zeros(3)}
    if "cam" in parameters and np.asarray(parameters["cam"]).size >= 3:
        offsets["cam"] = np.asarray(parameters["cam"], np.float64).reshape(-1)[-3:]
    if "trans" in parameters and np.asarray(parameters["trans"]).size == 3:
        offsets["trans"] = np.asarray(parameters["trans"], np.float64).reshape(3)
    return offsets


def choose_offset(
    frames: tuple[int, ...],
    read: Callable[[int], Mapping[str, NDArray[Any]]],
    head_of: Callable[[int], Array | None],
    camera_head: Array | None,
) -> OffsetChoice:
    """Return the offset of a performance from some of its frames.

    `read` gives verts, cam and trans of a frame, `head_of` the middle (3,) of its 3D landmarks, None without them;
    `camera_head` (3,) is used if no frame has landmarks. Without either the choice is "none", by "nothing".
    """
    with_landmarks = tuple(frame for frame in frames if head_of(frame) is not None)
    sampled = _spread(with_landmarks or frames)
    distances: dict[str, list[float]] = {}
    for frame in sampled:
        head = head_of(frame) if with_landmarks else camera_head
        parameters = read(frame)
        if head is None or "verts" not in parameters:
            continue
        middle = np.asarray(parameters["verts"], np.float64).reshape(-1, 3).mean(axis=0)
        for name, offset in candidate_offsets(parameters).items():
            distances.setdefault(name, []).append(float(np.linalg.norm(middle + offset - head)))
    medians = {name: float(np.median(values)) for name, values in distances.items()}
    if not medians:
        return OffsetChoice("none", {}, "nothing")
    reference = "landmarks" if with_landmarks else "cameras"
    return OffsetChoice(min(medians, key=lambda name: medians[name]), medians, reference)


def _spread(frames: tuple[int, ...]) -> tuple[int, ...]:
    """Return at most `MAX_FRAMES_SAMPLED` frames, evenly spaced."""
    count = min(MAX_FRAMES_SAMPLED, len(frames))
    return tuple(frames[index] for index in np.linspace(0, len(frames) - 1, count).round().astype(int))
