"""The rig against an independent measurement, the convention of RT, and camera sets by coverage."""

from __future__ import annotations

import numpy as np
import pytest

from rm360_async.domain.cameras.cover_search import smallest_gap
from rm360_async.domain.cameras.coverage import TIERS, azimuths, coverage, directions, largest_gap
from rm360_async.domain.cameras.rig import (
    FRONT_CAMERA,
    S3_CAMERAS,
    angles_about,
    camera_centre,
    head_centre,
    nearest_point_to_axes,
    project,
    rig,
    scale_intrinsics,
    tier_of,
    to_camera,
    world_to_camera,
)
from rm360_async.domain.cameras.set_names import is_named_set
from rm360_async.domain.cameras.sets import explicitly_selected, is_chosen_among_present, resolve_cameras
from rm360_async.domain.errors import BadRequest

# camera: azimuth, elevation in degrees, radius in metres, tier; from an independent measurement of the same file
KNOWN = {
    "00": (167.6, 29.4, 1.275, "upper"),
    "01": (168.2, 2.8, 1.283, "middle"),
    "13": (90.8, 2.8, 1.317, "middle"),
    "25": (12.6, 3.5, 1.268, "middle"),
    "26": (12.0, -23.3, 1.300, "lower"),
    "40": (-89.9, 3.9, 1.172, "middle"),
    "51": (-172.9, 30.5, 1.299, "upper"),
    "58": (-91.6, -2.4, 0.998, "eye-inner"),
}


def test_the_rig_has_sixty_cameras_on_four_tiers() -> None:
    assert list(rig()) == [f"{number:02d}" for number in range(60)]
    tiers = [camera.tier for camera in rig().values()]
    assert {tier: tiers.count(tier) for tier in tiers} == {"upper": 18, "middle": 17, "lower": 17, "eye-inner": 8}


@pytest.mark.parametrize("camera", KNOWN)
def test_angles_are_those_measured(camera: str) -> None:
    azimuth, elevation, radius, tier = KNOWN[camera]
    actual = rig()[camera]
    assert (actual.azimuth, actual.elevation) == pytest.approx((azimuth, elevation), abs=0.06)
    assert actual.radius == pytest.approx(radius, abs=0.001)
    assert actual.tier == tier


def test_head_centre_and_origin_are_where_the_calibration_puts_them() -> None:
    assert head_centre() == pytest.approx([-0.043, -0.501, 0.002], abs=0.001)
    four = np.mean([camera_centre(rig()[camera].RT) for camera in ("02", "14", "29", "41")], axis=0)
    assert four == pytest.approx([0, 0, 0], abs=1e-12)


def test_every_camera_has_the_head_in_front_and_in_frame_and_inverted_matrices_do_not() -> None:
    inverses = np.stack([world_to_camera(camera.RT) for camera in rig().values()])
    wrong_centre = nearest_point_to_axes(inverses)
    wrong_depths = [to_camera(wrong_centre, RT)[2] for RT in inverses]
    for camera in rig().values():
        u, v = project(head_centre(), camera.K, camera.RT)
        assert 1000 < u < 1400 and 900 < v < 1250
        assert 0.95 < to_camera(head_centre(), camera.RT)[2] < 1.35
    assert sum(depth < 0 for depth in wrong_depths) == 30


def test_projection_follows_the_pinhole_formula_and_gives_nan_behind_the_camera() -> None:
    camera = rig()["25"]
    optical_axis = camera.RT[:3, 2]
    ahead = camera.centre + 2.0 * optical_axis
    assert project(ahead, camera.K, camera.RT) == pytest.approx(camera.K[:2, 2])
    right = ahead + 0.1 * camera.RT[:3, 0]
    assert project(right, camera.K, camera.RT)[0] == pytest.approx(camera.K[0, 2] + camera.K[0, 0] * 0.05)
    behind = camera.centre - optical_axis
    assert np.isnan(project(np.stack([ahead, behind]), camera.K, camera.RT)).tolist() == [[False] * 2, [True] * 2]
    assert world_to_camera(camera.RT) @ np.append(camera.centre, 1.0) == pytest.approx([0, 0, 0, 1], abs=1e-6)


def test_scaled_intrinsics_keep_pixel_centres() -> None:
    K = np.array([[4000.0, 0, 1223.5], [0, 4000.0, 1023.5], [0, 0, 1]])
    assert scale_intrinsics(K, 1 / 8)[:2, 2] == pytest.approx([152.5, 127.5])
    assert scale_intrinsics(K, 1 / 8)[0, 0] == pytest.approx(500)
    assert scale_intrinsics(scale_intrinsics(K, 0.25), 4.0) == pytest.approx(K)


def test_angles_have_up_and_left_where_the_world_has_them() -> None:
    azimuth, elevation, radius = angles_about((0, 0, 0), [(0, 0, -2), (3, 0, 0), (0, -1, -1), (0, 0, 1)])
    assert np.abs(azimuth) == pytest.approx([0, 90, 0, 180])
    assert azimuth[1] == pytest.approx(90)
    assert elevation == pytest.approx([0, 0, 45, 0])
    assert radius == pytest.approx([2, 3, np.sqrt(2), 1])


def test_nearest_point_is_found_where_axes_meet() -> None:
    matrices = [camera.RT.copy() for camera in list(rig().values())[:3]]
    for matrix in matrices:
        matrix[:3, 3] = np.array([0.1, 0.2, 0.3]) - 1.5 * matrix[:3, 2]
    assert nearest_point_to_axes(matrices) == pytest.approx([0.1, 0.2, 0.3], abs=1e-5)


def test_the_rig_cannot_be_changed_by_its_users() -> None:
    with pytest.raises(ValueError, match="read-only"):
        rig()["25"].RT[0, 3] = 0
    with pytest.raises(ValueError, match="read-only"):
        head_centre()[0] = 0


@pytest.mark.parametrize(
    ("pool", "count", "gap", "worst"),
    [
        (60, 6, 63.9, 47.9),
        (60, 8, 59.3, 34.5),
        (60, 10, 43.8, 33.9),
        (60, 12, 41.4, 32.2),
        (60, 20, 21.6, 21.8),
        (38, 4, 99.0, 50.0),
        (38, 6, 78.1, 45.0),
        (38, 8, 59.0, 35.5),
        (38, 10, 41.5, 34.6),
        (38, 12, 41.4, 32.8),
        (38, 24, 38.9, 19.9),
    ],
)
def test_rings_are_at_least_as_good_as_the_best_known_sets(pool: int, count: int, gap: float, worst: float) -> None:
    chosen = resolve_cameras(f"ring:{count}", rig() if pool == 60 else S3_CAMERAS)
    result = coverage(chosen)
    assert len(chosen) == len(set(chosen)) == count
    assert FRONT_CAMERA in chosen
    assert result.gap <= gap + 0.05
    assert result.worst <= worst + 0.05


def test_a_ring_only_takes_cameras_that_are_present() -> None:
    assert set(resolve_cameras("ring:10", S3_CAMERAS)) <= set(S3_CAMERAS)
    assert resolve_cameras("ring:10", ["25"]) == ("25",)
    assert resolve_cameras("ring:10", []) == ()
    without_front = resolve_cameras("ring:3", ["01", "02", "12", "40", "44"])
    assert len(without_front) == 3 and FRONT_CAMERA not in without_front
    assert resolve_cameras("ring:1", rig()) == (FRONT_CAMERA,)
    assert resolve_cameras("ring:60", rig()) == tuple(rig())
    assert "77" not in resolve_cameras("ring:2", ["25", "77", "01", "40"])


def test_coverage_shows_what_is_wrong_with_every_sixth_camera() -> None:
    sixth = coverage(f"{number:02d}" for number in range(0, 60, 6))
    assert (sixth.gap, sixth.worst, sixth.mean) == pytest.approx((44.9, 60.7, 34.5), abs=0.06)
    assert sixth.tiers == {"upper": 9, "eye-inner": 1}
    assert coverage(rig()).worst == 0
    assert (coverage(["25"]).gap, coverage([]).gap) == (360, 360)


def test_directions_and_tiers_are_those_of_the_rig() -> None:
    assert np.linalg.norm(directions(), axis=1) == pytest.approx(np.ones(60))
    front = directions()[list(rig()).index(FRONT_CAMERA)]
    assert np.degrees(np.arctan2(front[0], -front[2])) == pytest.approx(12.6, abs=0.1)
    assert [tier_of(angle) for angle in (31, 2, -3, -24)] == list(TIERS)


def test_a_camera_at_the_centre_has_no_elevation_and_no_error() -> None:
    _, elevation, radius = angles_about((1, 2, 3), [(1, 2, 3)])
    assert elevation.tolist() == radius.tolist() == [0.0]


def test_smallest_gap_is_exact_on_a_small_circle() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        circle = np.sort(rng.uniform(-180, 180, 7))
        best = min(largest_gap(circle[[i, j, k]]) for i in range(7) for j in range(i + 1, 7) for k in range(j + 1, 7))
        assert smallest_gap(circle, np.array([]), 3) == pytest.approx(best)
    assert smallest_gap(np.sort(azimuths()), azimuths()[[25]], 60) == pytest.approx(largest_gap(azimuths()))


def test_front_sets_are_the_nearest_to_the_face() -> None:
    assert resolve_cameras("front:1", rig()) == ("25",)
    assert resolve_cameras("front:3", rig()) == ("22", "25", "28")
    assert all(abs(rig()[camera].azimuth) < 75 for camera in resolve_cameras("front:10", S3_CAMERAS))


def test_benchmark_sets_partition_the_rig() -> None:
    train, test = resolve_cameras("bench:setting2-train", rig()), resolve_cameras("bench:setting2-test", rig())
    assert (len(train), len(test)) == (38, 22)
    assert sorted(train + test) == list(rig())
    assert train == resolve_cameras("s3-38", rig()) == S3_CAMERAS
    assert resolve_cameras("s3-38", ["25", "26"]) == ("25",)


def test_lists_and_all_keep_what_is_present() -> None:
    assert resolve_cameras("all", ["31", "07", "07"]) == ("07", "31")
    assert resolve_cameras(("7", "31", "31", "99"), ["07", "08", "31"]) == ("07", "31")
    with pytest.raises(ValueError, match="not a camera id"):
        resolve_cameras(("../..",), ["07"])


@pytest.mark.parametrize(
    "text", ["all", "ring:1", "ring:60", "cover:12", "face:5", "front:5", "s3-38", "bench:setting2-test"]
)
def test_names_that_are_sets(text: str) -> None:
    assert is_named_set(text)


@pytest.mark.parametrize(
    "text", ["", "ring:0", "ring:61", "ring:06", "ring:", "ring:x", "bench:", "ALL", "cover", "face:"]
)
def test_names_that_are_not_sets(text: str) -> None:
    assert not is_named_set(text)
    with pytest.raises(BadRequest, match="is not a camera"):
        resolve_cameras(text, rig())


def test_a_face_set_is_about_where_the_face_looks_and_a_front_set_about_camera_25() -> None:
    assert resolve_cameras("face:2", rig()) == ("28", "56")
    for count in range(1, 61):
        chosen = resolve_cameras(f"face:{count}", rig())
        others = set(rig()) - set(chosen)
        angles = {camera: np.degrees(np.arccos(directions()[int(camera)] @ [0, 0, -1])) for camera in rig()}
        assert len(chosen) == count
        assert max(angles[each] for each in chosen) <= min((angles[each] for each in others), default=180)
    azimuths_of_five = [rig()[camera].azimuth for camera in resolve_cameras("face:5", rig())]
    assert abs(sum(azimuths_of_five)) / 5 < 5
    assert resolve_cameras("face:3", ["59", "55", "03"]) == ("03", "55", "59")


@pytest.mark.parametrize("count", [4, 6, 8, 10, 12, 20])
@pytest.mark.parametrize("pool", [60, 38])
def test_a_cover_set_has_a_share_for_each_height_and_sees_nearly_as_well_as_a_ring(pool: int, count: int) -> None:
    cameras = tuple(rig()) if pool == 60 else S3_CAMERAS
    chosen, ring = (resolve_cameras(f"{family}:{count}", cameras) for family in ("cover", "ring"))
    elevations = [rig()[camera].elevation for camera in chosen]
    share = count // 4
    assert len(chosen) == count and FRONT_CAMERA in chosen and set(chosen) <= set(cameras)
    assert sum(angle > 15 for angle in elevations) >= share
    assert sum(-15 <= angle <= 15 for angle in elevations) >= share
    assert sum(angle < -15 for angle in elevations) >= share
    assert coverage(chosen).mean <= coverage(ring).mean + 3
    assert coverage(chosen).worst <= coverage(ring).worst + 15


def test_a_cover_set_takes_what_is_there() -> None:
    assert resolve_cameras("cover:12", ["25"]) == ("25",)
    assert resolve_cameras("cover:12", []) == ()
    level = [camera for camera in rig() if rig()[camera].tier == "middle"]
    assert len(resolve_cameras("cover:8", level)) == 8
    assert resolve_cameras("cover:60", rig()) == tuple(rig())
    assert "77" not in resolve_cameras("cover:2", ["25", "77", "01", "40"])


def test_sets_are_combined_from_left_to_right() -> None:
    ten = set(resolve_cameras("ring:10", rig()))
    assert set(resolve_cameras("ring:10 +26 -49", rig())) == (ten | {"26"}) - {"49"}
    assert "49" in ten and "26" not in ten
    assert resolve_cameras("all -s3-38", rig()) == resolve_cameras("bench:setting2-test", rig())
    assert resolve_cameras("-0-57", rig()) == ("58", "59")
    assert resolve_cameras("s3-38 -30-59 2*", rig())[-3:] == ("27", "28", "29")


def test_only_ids_and_fixed_sets_select_explicitly() -> None:
    every = tuple(rig())
    assert explicitly_selected("ring:10 +25 -49", every) == {"25"}
    assert explicitly_selected("ring:60", every) == set(every)
    assert explicitly_selected("all -49", every) == set(every) - {"49"}
    assert is_chosen_among_present("25 +face:3") and not is_chosen_among_present("all -49")


def test_a_misspelt_set_gets_a_suggestion() -> None:
    with pytest.raises(BadRequest, match="did you mean bench:setting2-train"):
        resolve_cameras("bench:setting2-trian", rig())
