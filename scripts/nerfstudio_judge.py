"""Read exports with nerfstudio's own parser, and project its own rays back into the cameras of the truth.

Run in an environment with nerfstudio, not with rm360_async. Arguments are folders with transforms.json and truth.json.
The last line of the output is JSON: for each folder the largest error in px, null if it cannot be read or a ray points
away from the head, and whether the masks keep the head. What nerfstudio imports for training only is stood in for.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np

STOOD_IN_FOR = {"viser", "tensorboard", "torchvision", "open3d", "wandb", "comet_ml", "gsplat", "nerfacc", "xatlas"}
_DEPTHS_M = (1.0, 1.3)


class _Nothing:
    """A class of a library that is not there; can be made and called."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing()

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return _Nothing()


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of the libraries that are stood in for, if they are not installed."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Return an empty package."""
        if name.split(".")[0] not in STOOD_IN_FOR:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Return a module that has a class of every name."""
        module = types.ModuleType(spec.name)

        def attribute(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (_Nothing,), {})

        module.__path__ = []
        module.__getattr__ = attribute  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing: the module is empty."""


def judge(folder: Path) -> dict[str, Any]:
    """Return the largest error in px and whether the masks keep the head."""
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    truth = json.loads((folder / "truth.json").read_text())
    try:
        config = NerfstudioDataParserConfig(data=folder, downscale_factor=1, load_3D_points=False, eval_mode="all")
        outputs = config.setup().get_dataparser_outputs("train")
    except Exception as error:  # noqa: BLE001  # whatever the reader says, it has refused
        print(f"{folder.name}: {error}", file=sys.stderr)
        return {"error_px": None, "masks_are_right": False}
    worst, masks_are_right = 0.0, True
    for index, path in enumerate(outputs.image_filenames):
        distance, keeps_head = _judge_view(outputs, index, path, truth)
        worst, masks_are_right = max(worst, distance), masks_are_right and keeps_head
    return {"error_px": worst if np.isfinite(worst) else None, "masks_are_right": masks_are_right}


def _judge_view(outputs: Any, index: int, path: Path, truth: dict[str, Any]) -> tuple[float, bool]:
    import torch

    camera = truth["cameras"][path.stem[-2:]]
    K, D, RT = (np.array(camera[key], np.float64) for key in ("K", "D", "RT"))
    to_camera = np.linalg.inv(RT)
    head = cv2.projectPoints(np.array([truth["head"]]), cv2.Rodrigues(to_camera[:3, :3])[0], to_camera[:3, 3], K, D)
    x, y = head[0][0, 0]
    size = int(outputs.cameras.width[index]) // 8
    rows, columns = np.mgrid[round(y) - size : round(y) + size : 8, round(x) - size : round(x) + size : 8]
    coords = torch.tensor(np.stack([rows, columns], axis=-1) + 0.5, dtype=torch.float32)  # nerfstudio's centres
    rays = outputs.cameras.generate_rays(camera_indices=index, coords=coords)
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 2)
    error = max(_error(outputs, rays, depth, pixels, K, D, to_camera) for depth in _DEPTHS_M)
    mask = cv2.imread(str(outputs.mask_filenames[index]), cv2.IMREAD_GRAYSCALE)
    return error, mask is not None and bool(mask[round(y), round(x)] > 127 and mask[2, 2] < 128)


def _error(outputs: Any, rays: Any, depth: float, pixels: Any, K: Any, D: Any, to_camera: Any) -> float:
    """Return the largest distance in px from where a ray starts to where its point at a depth (m) is seen."""
    scale = float(outputs.dataparser_scale)
    points = (rays.origins + rays.directions * depth * scale).double().numpy().reshape(-1, 3) / scale
    parser = np.eye(4)
    parser[:3] = outputs.dataparser_transform.double().numpy()
    points = (np.c_[points, np.ones(len(points))] @ np.linalg.inv(parser).T)[:, :3]
    in_camera = points @ to_camera[:3, :3].T + to_camera[:3, 3]
    if (in_camera[:, 2] <= 0).any():
        return float("inf")
    seen = cv2.projectPoints(in_camera, np.zeros(3), np.zeros(3), K, D)[0][:, 0]
    return float(np.linalg.norm(seen - pixels, axis=1).max())


if __name__ == "__main__":
    sys.meta_path.append(_StandIns())

    sys.modules["torch.utils.tensorboard"] = types.SimpleNamespace(SummaryWriter=_Nothing)  # type: ignore[assignment]
    print(json.dumps([judge(Path(folder)) for folder in sys.argv[1:]]))
