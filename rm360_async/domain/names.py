"""The names in the dataset: subject, performance, camera, modality, release layout, and their paths.

All names are checked. A name that passes is safe as one path component, so nothing in a remote's listing or a
config can become another path. Ids stay text: `0026` as a number is 22 in YAML 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_SUBJECT = re.compile(r"[0-9]{4}")
_PERFORMANCE = re.compile(r"(?P<family>[ehs])(?P<number>[0-9]{1,2})(?:_(?P<part>all|[0-9]{1,2}[a-z]{1,8}))?")
LAST_CAMERA = 59
"""The rig has the cameras 00 to 59."""
_CAMERA = re.compile(r"[0-9]{2}")
_FILE = re.compile(r"(?P<subject>[0-9]{4})_(?P<name>[a-z0-9_]+)_(?P<kind>raw|anno)\.smc")


class Modality(str, Enum):
    """A kind of data of a performance, in the order of extraction."""

    METADATA = "metadata"
    CALIBRATION = "calibration"
    IMAGES = "images"
    MASKS = "masks"
    AUDIO = "audio"
    KEYPOINTS2D = "keypoints2d"
    KEYPOINTS3D = "keypoints3d"
    FLAME = "flame"
    UV_TEXTURES = "uv_textures"
    SCAN = "scan"
    SCAN_MASKS = "scan_masks"


class Kind(str, Enum):
    """A kind of source file: `raw` (images, audio), or `anno` (the rest, 21-subject layout)."""

    RAW = "raw"
    ANNO = "anno"


class Structure(str, Enum):
    """The release layout on the remote: one file per performance, or a raw and anno pair."""

    SINGLE = "single"
    PAIR = "separate_anno_raw"


RAW_ONLY = frozenset({Modality.IMAGES, Modality.AUDIO})
"""In the pair layout these are in the raw file; all others may be in the anno file."""
BY_CAMERA = frozenset({Modality.IMAGES, Modality.MASKS, Modality.KEYPOINTS2D, Modality.SCAN_MASKS})
"""Modalities that are stored for each camera."""


@dataclass(frozen=True)
class Performance:
    """One performance of one subject, e.g. 0018/s1_all; sorts by subject, then family and number."""

    subject: str
    name: str

    def __str__(self) -> str:
        return f"{self.subject}/{self.name}"

    @property
    def sort_key(self) -> tuple[str, str, int, str]:
        """Return the key that sorts e2 before e10."""
        match = _PERFORMANCE.fullmatch(self.name)
        family, number = (match["family"], int(match["number"])) if match else (self.name, 0)
        return self.subject, family, number, self.name

    @property
    def family(self) -> str:
        """Return 'e' (expression), 'h' (hair) or 's' (speech)."""
        return self.name[0]


def is_subject(text: str) -> bool:
    """Return True if the text is a subject id: four ASCII digits."""
    return _SUBJECT.fullmatch(text) is not None


def is_performance(text: str) -> bool:
    """Return True if the text is a performance name: e<n>, h<n>[_<wig><colour>] or s<n>_all."""
    match = _PERFORMANCE.fullmatch(text)
    if match is None:
        return False
    has_valid_part = {"e": match["part"] is None, "s": match["part"] == "all", "h": match["part"] != "all"}
    return has_valid_part[match["family"]]


def camera_id(value: int | str) -> str:
    """Return a camera's two-digit id for 7, '7' or '07'; raise ValueError for anything else."""
    text = f"{int(value):02d}" if str(value).isascii() and str(value).isdigit() else str(value)
    if not is_camera(text):
        raise ValueError(f"{value!r} is not a camera id (00 to 99)")
    return text


def is_camera(text: str) -> bool:
    """Return True if the text is a camera key as files hold it: two ASCII digits."""
    return _CAMERA.fullmatch(text) is not None


def kinds_needed(structure: Structure, modalities: Iterable[Modality]) -> tuple[Kind, ...]:
    """Return the kinds of files that hold the wanted modalities, raw first.

    Metadata is in both files of a pair, so it needs a file only if it is wanted alone.
    """
    if structure is Structure.SINGLE:
        return (Kind.RAW,)
    wanted = set(modalities) - {Modality.METADATA}
    needs_raw = bool(wanted & RAW_ONLY) or not wanted
    needs_anno = bool(wanted - RAW_ONLY)
    return tuple(kind for kind, is_needed in ((Kind.RAW, needs_raw), (Kind.ANNO, needs_anno)) if is_needed)


def file_name(performance: Performance, kind: Kind) -> str:
    """Return e.g. `0018_s1_all_raw.smc`."""
    return f"{performance.subject}_{performance.name}_{kind.value}.smc"


def remote_folder(structure: Structure, subject: str, kind: Kind) -> str:
    """Return the folder on the remote: `0018`, or `anno/0026` in the pair layout."""
    return subject if structure is Structure.SINGLE else f"{kind.value}/{subject}"


def remote_path(structure: Structure, performance: Performance, kind: Kind) -> str:
    """Return the path of one file below the remote's root, e.g. `raw/0026/0026_e0_raw.smc`."""
    return f"{remote_folder(structure, performance.subject, kind)}/{file_name(performance, kind)}"


def parse_remote_path(structure: Structure, path: str) -> tuple[Performance, Kind] | None:
    """Return the performance and kind of a file by its path; None outside the layout (`.smc.bak`)."""
    match = _FILE.fullmatch(path.rsplit("/", 1)[-1])
    if match is None or not is_performance(match["name"]):
        return None
    performance, kind = Performance(match["subject"], match["name"]), Kind(match["kind"])
    return (performance, kind) if remote_path(structure, performance, kind) == path else None


def output_folder(output_dir: Path, performance: Performance) -> Path:
    """Return the path of a published performance, `<output_dir>/0018/s1_all`."""
    return output_dir.joinpath(performance.subject, performance.name)


def camera_folder(camera: str) -> str:
    """Return the folder name of one camera's files, `cam_25`."""
    return f"cam_{camera}"


def frame_stem(frame: int) -> str:
    """Return the file name of one frame without its suffix, `frame_000012`."""
    return f"frame_{frame:06d}"
