"""The checks of a calibration: clean ones pass, and each fault is reported by the right check and by no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rm360_async.domain.cameras.calibration.check import cameras_text
from rm360_async.domain.cameras.calibration.checks import CalibrationResult, check_calibration
from rm360_async.domain.cameras.calibration.conventions import ALL_CONVENTIONS, STATED_CONVENTION, best_convention
from rm360_async.domain.cameras.calibration.lens import corner_radius, distortion_coefficients, fold_radius
from rm360_async.domain.cameras.rig import RESOLUTION, S3_CAMERAS, Array, rig, scale_intrinsics
from rm360_async.domain.check_status import CheckState

Calibration = dict[str, dict[str, Array]]
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def clean(*cameras: str) -> Calibration:
    """Return the calibration of some cameras of the rig, of all by default."""
    return {c: {"K": rig()[c].K.copy(), "D": rig()[c].D.copy(), "RT": rig()[c].RT.copy()} for c in cameras or rig()}


def changed(change: Callable[[Array], Array], *cameras: str) -> Calibration:
    """Return the calibration of the rig with the RT of some cameras (all by default) changed."""
    values = clean()
    for camera in cameras or rig():
        values[camera]["RT"] = change(values[camera]["RT"])
    return values


def in_millimetres(RT: Array) -> Array:
    return np.block([[RT[:3, :3], RT[:3, 3:] * 1000], [np.array([[0.0, 0.0, 0.0, 1.0]])]])


def states(result: CalibrationResult) -> dict[str, str]:
    """Return the checks that are not ok, by name."""
    return {check.name: check.state.value for check in result.checks if check.state is not CheckState.OK}


def sentence(result: CalibrationResult, name: str) -> str:
    return next(check.sentence for check in result.checks if check.name == name)


@pytest.mark.parametrize("scale", [1.0, 0.125])
@pytest.mark.parametrize(
    ("cameras", "unchecked"),
    [
        (tuple(rig()), set()),
        (S3_CAMERAS, {"origin"}),
        (("25",), {"axes meet", "origin"}),
        (("24", "25"), {"axes meet", "origin"}),
    ],
)
def test_clean_calibrations_pass_and_name_what_cannot_be_checked(
    cameras: tuple[str, ...], unchecked: set[str], scale: float
) -> None:
    values = clean(*cameras)
    for entry in values.values():
        entry["K"] = scale_intrinsics(entry["K"], scale)
    size = (round(RESOLUTION[0] * scale), round(RESOLUTION[1] * scale))
    result = check_calibration(values, size, cameras)
    assert result.state is CheckState.OK and not result.failures
    assert states(result) == dict.fromkeys(unchecked, "not checked")
    assert [standing.id for standing in result.positions] == list(cameras)


def test_numbers_are_those_of_the_independent_measurement() -> None:
    result = check_calibration(clean(), RESOLUTION)
    numbers = {check.name: check.number for check in result.checks}
    assert result.head == pytest.approx((-0.043, -0.501, 0.002), abs=0.001)
    assert numbers["axes meet"] == pytest.approx(53.6, abs=0.1)
    assert numbers["level"] == pytest.approx(4.1, abs=0.05)
    place = next(standing for standing in result.positions if standing.id == "58")
    assert (place.azimuth, place.elevation) == pytest.approx((-91.6, -2.4), abs=0.06) and place.tier == "eye-inner"
    assert "18 mm on average, 54 mm at most (camera 49)" in sentence(result, "axes meet")


@pytest.mark.parametrize("cameras", [tuple(rig()), S3_CAMERAS, ("25",)])
@pytest.mark.parametrize(
    ("change", "name"),
    [
        (np.linalg.inv, "world-to-camera, OpenCV axes, metres"),
        (lambda RT: RT @ FLIP, "camera-to-world, OpenGL axes, metres"),
        (lambda RT: np.linalg.inv(RT @ FLIP), "world-to-camera, OpenGL axes, metres"),
        (in_millimetres, "camera-to-world, OpenCV axes, millimetres"),
        (lambda RT: FLIP @ RT, "camera-to-world, OpenCV axes, metres, world up +Y"),
    ],
)
def test_another_convention_is_named_and_the_other_checks_follow_it(
    cameras: tuple[str, ...], change: Callable[[Array], Array], name: str
) -> None:
    values = changed(change)
    result = check_calibration({camera: values[camera] for camera in cameras}, RESOLUTION)
    assert [check.name for check in result.failures] == ["convention"]
    assert str(result.convention) == name and f"read as {name}" in sentence(result, "convention")
    assert result.matrices[cameras[0]] == pytest.approx(rig()[cameras[0]].RT, abs=1e-5)


def test_every_convention_is_distinguished_from_every_other() -> None:
    stack = np.stack([camera.RT for camera in rig().values()])
    for convention in ALL_CONVENTIONS:
        converted: NDArray[Any] = stack.copy()
        if convention.y_up:
            converted = FLIP @ converted
        if convention.gl_axes:
            converted = converted @ FLIP
        if convention.world_to_camera:
            converted = np.linalg.inv(converted)
        converted[:, :3, 3] *= {"metres": 1, "millimetres": 1000, "centimetres": 100}[convention.unit]
        assert best_convention(converted)[0] == convention
        assert convention.to_stated(converted) == pytest.approx(stack, abs=1e-5)
    assert ALL_CONVENTIONS[0] == STATED_CONVENTION and len(set(ALL_CONVENTIONS)) == 24


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("24", "27")], "cameras 24 and 27 are swapped"),
        ([("16", "54")], "cameras 16 and 54 are swapped"),  # the two nearest of the rig, 5.4 degrees apart
        (
            [("01", "40"), ("02", "29")],
            "cameras 01 and 40 are swapped: each has the other's calibration; cameras 02 and 29",
        ),
    ],
)
def test_swapped_ids_are_named(pairs: list[tuple[str, str]], message: str) -> None:
    values = clean()
    for one, other in pairs:
        values[one], values[other] = values[other], values[one]
    result = check_calibration(values, RESOLUTION)
    assert [check.name for check in result.failures] == ["ids"] and message in sentence(result, "ids")


def test_three_exchanged_ids_and_a_turned_world_are_distinguished() -> None:
    values = clean()
    values["10"], values["20"], values["30"] = values["20"], values["30"], values["10"]
    message = sentence(check_calibration(values), "ids")
    assert "camera 10 stands" in message and "where 20 belongs" in message and "swapped" not in message
    turn = np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
    result = check_calibration(changed(lambda RT: turn @ RT), RESOLUTION)
    assert [check.name for check in result.failures] == ["ids"] and "another world" in sentence(result, "ids")


def test_one_camera_of_another_convention_is_named() -> None:
    result = check_calibration(changed(lambda RT: RT @ FLIP, "10"), RESOLUTION)
    assert {check.name for check in result.failures} == {"convention", "head in frame"}
    assert "camera 10 read as camera-to-world, OpenGL axes" in sentence(result, "convention")
    assert result.convention == STATED_CONVENTION


def test_mirrors_rolls_scales_and_shifts_are_named_by_their_checks() -> None:
    mirrored = check_calibration(changed(lambda RT: RT @ np.diag([-1.0, 1, 1, 1]), "33"), RESOLUTION)
    assert "R of camera 33 mirrors" in sentence(mirrored, "rotations")
    stretched = check_calibration(changed(lambda RT: RT * np.array([[1.001, 1, 1, 1]]).T, "33"), RESOLUTION)
    assert states(stretched)["rotations"] == "warn" and "camera 33" in sentence(stretched, "rotations")
    angle = np.radians(15)
    roll = np.eye(4)
    roll[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    rolled = check_calibration(changed(lambda RT: RT @ roll, "28"), RESOLUTION)
    assert states(rolled) == {"level": "warn"} and "camera 28" in sentence(rolled, "level")
    far = clean()
    far["28"]["RT"][:3, 3] -= 0.5 * far["28"]["RT"][:3, 2]
    assert "camera 28 outside" in sentence(check_calibration(far, RESOLUTION), "distance")
    turned = np.eye(4)
    turned[[0, 0, 2, 2], [0, 2, 0, 2]] = [np.cos(0.3), np.sin(0.3), -np.sin(0.3), np.cos(0.3)]
    missed = check_calibration(changed(lambda RT: RT @ turned, "28"), RESOLUTION)
    assert {"axes meet", "head in frame"} == {check.name for check in missed.failures}
    assert "(camera 28)" in sentence(missed, "axes meet")


def test_images_of_another_size_than_k_are_detected() -> None:
    result = check_calibration(clean(), (256, 306))
    assert states(result) == {"head in frame": "fail", "intrinsics": "warn"}
    assert states(check_calibration(clean())) == {"head in frame": "not checked", "intrinsics": "not checked"}


def test_a_moved_origin_is_a_warning_only() -> None:
    moved = clean()
    moved["29"]["RT"][2, 3] += 0.03
    assert states(check_calibration(moved, RESOLUTION)) == {"origin": "warn"}


def test_distortion_is_measured_where_it_folds() -> None:
    none, mild, folding = clean(), clean(), clean()
    mild["25"]["D"] = np.array([0.01, 0, 0, 0, 0])
    folding["25"]["D"] = np.array([0.1, -14.5, 0, 0, -400.0])
    assert "D is zero" in sentence(check_calibration(none, RESOLUTION), "distortion")
    assert states(check_calibration(mild, RESOLUTION)) == {}
    assert "camera 25 with lens distortion; it folds nowhere" in sentence(
        check_calibration(mild, RESOLUTION), "distortion"
    )
    result = check_calibration(folding, RESOLUTION)
    assert states(result) == {"distortion": "warn"} and "camera 25 at" in sentence(result, "distortion")
    assert fold_radius(np.array([-1 / 3, 0, 0, 0, 0])) == pytest.approx(1.0)  # r - r^3/3 turns at 1
    assert fold_radius(np.zeros(5)) == fold_radius(np.array([0.3, 0, 0, 0, 0])) == float("inf")
    radii = np.linspace(0, 0.4, 4001)
    k1, k2, _, _, k3 = distortion_coefficients(folding["25"]["D"])
    mapped = radii * (1 + k1 * radii**2 + k2 * radii**4 + k3 * radii**6)
    assert fold_radius(folding["25"]["D"]) == pytest.approx(radii[mapped.argmax()], abs=2e-4)
    assert corner_radius(rig()["25"].K, RESOLUTION) == pytest.approx(0.34, abs=0.02)
    assert distortion_coefficients(np.array([[1.0, 2.0]])).tolist() == [1, 2, 0, 0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_invalid_values_are_a_failed_check_and_never_an_error(bad: float) -> None:
    values = clean()
    values["07"]["RT"] = np.full((4, 4), bad)
    values["08"]["K"] = np.zeros((3, 3))
    values["09"]["RT"] = np.eye(3)
    del values["11"]["D"]
    result = check_calibration(values, RESOLUTION, ["25", "77"])
    message = sentence(result, "present")
    assert [check.name for check in result.failures] == ["present"] and len(result.positions) == 56
    assert message.startswith("cameras 07, 08, 09 and 11 not finite") and "camera 77 with images but without" in message
    nothing = check_calibration({}, None)
    assert nothing.state is CheckState.FAIL and nothing.head is None and "there is none" in nothing.checks[0].sentence


def test_random_numbers_never_raise() -> None:
    random = np.random.default_rng(4)
    for round_ in range(60):
        size = 10.0 ** random.uniform(-9, 7)
        values = {
            f"{camera:02d}": {
                "K": random.normal(0, size, (3, 3)) + np.diag([1e3, 1e3, 1]),
                "D": random.normal(0, size, 5),
                "RT": random.normal(0, size, (4, 4)) if round_ % 3 else np.zeros((4, 4)),
            }
            for camera in range(round_ % 7 + 1)
        }
        result = check_calibration(values, RESOLUTION)
        assert result.state is CheckState.FAIL
        json.dumps([check.as_json() for check in result.checks], allow_nan=False)


def test_names_of_cameras_are_short() -> None:
    assert (
        cameras_text([]) == "no camera"
        and cameras_text(["25"]) == "camera 25"
        and cameras_text(["25", "26"]) == "cameras 25 and 26"
    )
    assert cameras_text(f"{number:02d}" for number in range(9)) == "9 cameras (00 01 02 03 04 05 ...)"
