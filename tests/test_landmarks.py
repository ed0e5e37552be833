"""3D landmarks on 2D ones: the map between them is measured, and errors of one camera and of all are distinguished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rm360_async.domain.cameras.calibration.landmarks import (
    Landmarks2d,
    ReprojectionErrors,
    check_landmarks,
    measure_reprojection,
    project_with_distortion,
)
from rm360_async.domain.cameras.rig import Array, project, rig
from rm360_async.domain.check_status import CheckState
from rm360_async.domain.names import Performance
from rm360_async.synthetic import ground_truth
from rm360_async.synthetic.spec import SmcSpec

SPEC = SmcSpec(Performance("0026", "e0"), cameras=tuple(rig()), frames=20)
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def cameras(
    spec: SmcSpec = SPEC, change: Callable[[str, Array], Array] = lambda camera, RT: RT
) -> dict[str, Landmarks2d]:
    """Return the 2D landmarks of a synthetic performance, with some RT changed."""
    stored = ground_truth.calibration(spec)
    return {
        camera: Landmarks2d(
            stored[camera]["K"],
            stored[camera]["D"],
            change(camera, stored[camera]["RT"]),
            ground_truth.keypoints2d(spec, camera),
        )
        for camera in ground_truth.keypoint_cameras(spec)
    }


def errors_of(views: dict[str, Landmarks2d]) -> ReprojectionErrors:
    result = measure_reprojection(views, ground_truth.keypoints3d(SPEC))
    assert result is not None
    return result


def test_clean_landmarks_agree_and_the_map_is_the_true_one() -> None:
    result = errors_of(cameras())
    picked = np.linspace(0, 105, 73).round().astype(int)
    marked = ground_truth.keypoints2d(SPEC, "25")[0]
    for point, mark in result.pairs.items():  # some landmarks of the synthetic head lie on each other
        assert np.allclose(marked[mark], marked[picked[point]], atol=1e-6)
    assert len(result.pairs) == result.points == 73 and len(result.cameras) == 12
    assert max(error.px for error in result.cameras.values()) < 1e-6
    check = check_landmarks(result)
    assert check.state is CheckState.OK and "73 of 73" in check.sentence and "the worst of 12" in check.sentence


@pytest.mark.parametrize("pair", [("21", "22"), ("25", "28")])
def test_swapped_cameras_stand_out_and_no_others(pair: tuple[str, str]) -> None:
    result = errors_of(cameras(replace(SPEC, swapped=(pair,))))
    far = {camera for camera, error in result.cameras.items() if error.mm > 4}
    assert far == set(pair)
    check = check_landmarks(result)
    assert check.state is CheckState.FAIL and f"more than 4 mm in cameras {pair[0]} and {pair[1]}" in check.sentence


@pytest.mark.parametrize("change", [np.linalg.inv, lambda RT: RT @ FLIP])
def test_another_convention_of_rt_leaves_no_pairs(change: Callable[[Array], Array]) -> None:
    check = check_landmarks(errors_of(cameras(change=lambda camera, RT: change(RT))))
    assert check.state is CheckState.FAIL and "do not fall on the 2D ones: 0 of 73" in check.sentence


def test_a_shift_of_a_centimetre_is_a_warning_in_one_camera_and_a_failure_in_all() -> None:
    shift = np.eye(4)
    shift[0, 3] = 0.01
    result = errors_of(cameras(change=lambda camera, RT: shift @ RT if camera == "25" else RT))
    assert result.cameras["25"].mm == pytest.approx(10, abs=1) and check_landmarks(result).state is CheckState.WARN
    assert check_landmarks(errors_of(cameras(change=lambda camera, RT: shift @ RT))).state is CheckState.FAIL


def test_a_camera_with_all_points_behind_it_has_an_infinite_error_and_null_in_json() -> None:
    turn = np.diag([-1.0, 1.0, -1.0, 1.0])
    result = errors_of(cameras(change=lambda camera, RT: RT @ turn if camera == "26" else RT))
    assert not np.isfinite(result.cameras["26"].mm) and result.cameras["25"].mm < 1e-6
    check = check_landmarks(result)
    assert check.state is CheckState.FAIL and "behind it" in check.sentence and check.as_json()["number"] is None


def test_one_camera_gives_a_lower_bound_and_none_gives_nothing() -> None:
    alone = {"25": cameras()["25"]}
    result = errors_of(alone)
    assert result.is_lower_bound and "by at least" in check_landmarks(result).sentence
    assert measure_reprojection({}, ground_truth.keypoints3d(SPEC)) is None and measure_reprojection(alone, {}) is None
    assert check_landmarks(None).state is CheckState.UNCHECKED


def test_points_that_are_not_finite_affect_no_others() -> None:
    views, points = cameras(), ground_truth.keypoints3d(SPEC)
    for frame in points:
        points[frame] = points[frame].copy()
        points[frame][3] = np.nan
    result = measure_reprojection(views, points)
    assert result is not None and len(result.pairs) == 72 and max(e.mm for e in result.cameras.values()) < 1e-6


def test_distortion_matches_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    camera, points = rig()["25"], ground_truth.keypoints3d(SPEC)[0]
    D = np.array([0.12, -0.9, 0.002, -0.001, 3.0])
    inverse = np.linalg.inv(camera.RT)
    expected, _ = cv2.projectPoints(points, cv2.Rodrigues(inverse[:3, :3])[0], inverse[:3, 3], camera.K, D)
    assert project_with_distortion(points, camera.K, D, camera.RT) == pytest.approx(expected[:, 0], abs=1e-3)
    assert project_with_distortion(points, camera.K, np.zeros(5), camera.RT) == pytest.approx(
        project(points, camera.K, camera.RT)
    )
