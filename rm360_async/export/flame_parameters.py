"""FLAME fits as GaussianAvatars and VHAP take them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset import FlameFit
from rm360_async.domain.cameras.rig import Array
from rm360_async.export.format import NotExportable

MODEL_SIZES = {"shape": 300, "expr": 100}
"""Numbers of coefficients that the reader's FLAME model has; those of the fits are its first ones."""
MODEL_VERTICES = 5143
"""Of FLAME with the teeth that the reader adds."""
CANONICAL_JAW = (0.3, 0.0, 0.0)


def flame_parameters(fit: FlameFit) -> dict[str, NDArray[np.float32]]:
    """Return a fit as the reader's FLAME model takes it: float32, with its number of coefficients."""
    eyes = np.concatenate([_pose(fit, "left_eye_pose"), _pose(fit, "right_eye_pose")], axis=1)
    values: dict[str, Array] = {
        "translation": fit.offset.reshape(1, 3),
        "rotation": _pose(fit, "global_pose"),
        "neck_pose": _pose(fit, "neck_pose"),
        "jaw_pose": _pose(fit, "jaw_pose"),
        "eyes_pose": eyes,
        "shape": _padded(fit, "shape", MODEL_SIZES["shape"]),
        "expr": _padded(fit, "exp", MODEL_SIZES["expr"])[None],
        "static_offset": np.zeros((1, MODEL_VERTICES, 3)),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


def canonical_parameters(fit: FlameFit) -> dict[str, NDArray[np.float32]]:
    """Return the parameters of the same person at rest, with an open mouth, as VHAP has them."""
    parameters = flame_parameters(fit)
    moved = {name: np.zeros_like(value) for name, value in parameters.items() if name not in ("shape", "static_offset")}
    return {**parameters, **moved, "jaw_pose": np.array([CANONICAL_JAW], np.float32)}


def _pose(fit: FlameFit, name: str) -> Array:
    if name not in fit.parameters:
        raise NotExportable(f"its FLAME fits have no {name}")
    return np.asarray(fit[name], np.float64).reshape(1, 3)


def _padded(fit: FlameFit, name: str, size: int) -> Array:
    if name not in fit.parameters or np.asarray(fit[name]).size > size:
        raise NotExportable(f"its FLAME fits have no {name} of at most {size} coefficients")
    padded = np.zeros(size)
    stored = np.asarray(fit[name], np.float64).reshape(-1)
    padded[: len(stored)] = stored
    return padded
