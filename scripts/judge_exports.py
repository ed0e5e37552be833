"""Make exports for nerfstudio, right ones and wrong ones, and have its own parser and rays judge them.

Run by `scripts/judge-exports`, with the interpreter that has nerfstudio as the argument. Exits with 1 if a right export
is refused or a wrong one passes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rm360_async.cli.main import main as rm360
from rm360_async.dataset import open_performance
from rm360_async.domain.names import Modality, Performance
from rm360_async.export.point_cloud import head_centre_of
from rm360_async.synthetic.smc_writer import write_smc
from rm360_async.synthetic.spec import LENS_DISTORTION, NO_DISTORTION, SmcSpec

CAMERAS = ("02", "14", "25", "29", "41", "56")
MAX_ERROR_PX = 0.01
Change = Callable[[list[dict[str, Any]]], None]


def main(judge: str) -> int:
    """Judge every export, print a table, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="rm360-judge-") as name:
        root = Path(name)
        cases = list(_make_cases(root))
        script = Path(__file__).with_name("nerfstudio_judge.py")
        folders = [str(folder) for _, folder, _ in cases]
        done = subprocess.run([judge, "-W", "ignore", str(script), *folders], stdout=subprocess.PIPE, check=True)
        results = json.loads(done.stdout.decode().splitlines()[-1])
    wrong = 0
    for (what, folder, is_right), result in zip(cases, results, strict=True):
        passes = result["error_px"] is not None and result["error_px"] < MAX_ERROR_PX and result["masks_are_right"]
        error = "cannot be read or sees nothing" if result["error_px"] is None else f"{result['error_px']:.5f} px"
        verdict = "accepted" if passes else "refused"
        wrong += passes != is_right
        print(f"{folder.name:24} {what:28} {error:32} {verdict}{'' if passes == is_right else '  <- WRONG'}")
    return 1 if wrong else 0


def _make_cases(root: Path) -> Iterator[tuple[str, Path, bool]]:
    """Yield what each export is, its folder, and whether it is right."""
    for number, (lens, distortion) in enumerate((("no lens", NO_DISTORTION), ("lens", LENS_DISTORTION))):
        right = _export(root, f"{number + 1:04d}", distortion)
        yield f"right, {lens}", right, True
        for index, (what, change) in enumerate(WRONG.items()):
            if what == "lens ignored" and lens == "no lens":
                continue
            folder = right.with_name(f"{right.name}-wrong-{index}")
            shutil.copytree(right, folder)
            document = json.loads((folder / "transforms.json").read_text())
            change(document["frames"])
            (folder / "transforms.json").write_text(json.dumps(document))
            yield what, folder, False
        inverted = right.with_name(f"{right.name}-inverted")
        shutil.copytree(right, inverted)
        for path in (inverted / "masks").iterdir():
            mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            assert mask is not None
            path.unlink()
            cv2.imwrite(str(path), 255 - mask)
        yield "inverted masks", inverted, False


def _export(root: Path, subject: str, distortion: tuple[float, float, float, float, float]) -> Path:
    """Publish and export a synthetic performance; return its folder, with the truth beside the export."""
    modalities = frozenset({Modality.METADATA, Modality.CALIBRATION, Modality.IMAGES, Modality.MASKS})
    spec = SmcSpec(Performance(subject, "e0"), modalities, CAMERAS, 1, scale=1 / 4, distortion=distortion)
    raw, published = root / f"{subject}_e0_raw.smc", root / "subjects" / subject / "e0"
    write_smc(raw, spec)
    with redirect_stdout(sys.stderr):
        assert rm360(["extract", str(raw), "--output", str(published)]) == 0
        assert rm360(["export", "nerfstudio", str(published), "--output", str(root / "out")]) == 0
    folder = root / f"{subject}"
    shutil.copytree(root / "out" / subject / "e0" / "frame_000000", folder)
    performance = open_performance(published)
    cameras = {
        key: {"K": camera.K.tolist(), "D": camera.D.tolist(), "RT": camera.RT.tolist()}
        for key, camera in performance.cameras.items()
    }
    truth = {"head": head_centre_of(performance).tolist(), "cameras": cameras}
    (folder / "truth.json").write_text(json.dumps(truth))
    return folder


def _for_each(change: Callable[[dict[str, Any]], None]) -> Change:
    def apply(frames: list[dict[str, Any]]) -> None:
        for frame in frames:
            change(frame)

    return apply


def _turn_axes(frame: dict[str, Any]) -> None:
    frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist()


def _invert(frame: dict[str, Any]) -> None:
    frame["transform_matrix"] = np.linalg.inv(frame["transform_matrix"]).tolist()


def _shuffle(frames: list[dict[str, Any]]) -> None:
    matrices = [frame["transform_matrix"] for frame in frames]
    for frame, matrix in zip(frames, [*matrices[1:], matrices[0]], strict=True):
        frame["transform_matrix"] = matrix


WRONG: dict[str, Change] = {
    "axes": _for_each(_turn_axes),
    "world to camera": _for_each(_invert),
    "half a pixel in K": _for_each(lambda frame: frame.update(cx=frame["cx"] - 0.5, cy=frame["cy"] - 0.5)),
    "principal point centred": _for_each(lambda frame: frame.update(cx=frame["w"] / 2, cy=frame["h"] / 2)),
    "lens ignored": _for_each(lambda frame: frame.update(k1=0.0, k2=0.0, k3=0.0, p1=0.0, p2=0.0)),
    "shuffled views": _shuffle,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
