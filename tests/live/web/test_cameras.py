"""Cameras of pages against cameras of scenes."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nrc_tracer.live.web.cameras import Pose, camera_of, pose_of, posed_camera, rotation_matrix, vertical_fov, world_up
from nrc_tracer.live.web.flights import SECONDS_PER_POSE, flight_seconds, pose_at
from nrc_tracer.scene.model import LookAt, Orthographic, Perspective, Scale
from nrc_tracer.scene.transforms import matrix

BOUNDS = (np.array([-1.0, -2.0, -3.0]), np.array([3.0, 2.0, 1.0]))


def _quaternion(pose):
    """The rotation that viser's page reports for a pose: x right, y down, z forward."""
    forward = np.subtract(pose.look_at, pose.position)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, pose.up)
    right /= np.linalg.norm(right)
    x, y, z, w = Rotation.from_matrix(np.stack([right, np.cross(forward, right), forward], axis=1)).as_quat()
    return w, x, y, z


@pytest.mark.parametrize(
    ("up", "target"),
    [((0.0, 1.0, 0.0), (0.3, 0.2, 0.0)), ((0.0, 0.0, 1.0), (0.1, 0.5, 0.3)), ((0.3, -1.0, 0.1), (0.0, 0.0, 1.0))],
    ids=["y up", "z up", "tilted"],
)
@pytest.mark.parametrize("mirror", [(), (Scale((-1.0, 1.0, 1.0)),)], ids=["", "mirrored"])
def test_a_page_at_the_start_sees_what_the_scene_s_camera_sees(up, target, mirror):
    start = Perspective(
        to_world=(*mirror, LookAt((2.0, 3.0, -4.0), target, up)), fov=40.0, fov_axis="y", aperture_radius=0.1
    )
    pose = pose_of(start, 16 / 9, BOUNDS)
    seen = camera_of(start, _quaternion(pose), pose.position, pose.fov)
    np.testing.assert_allclose(matrix(seen.to_world), matrix(start.to_world), atol=1e-9)
    assert math.isclose(seen.fov, 40.0)
    assert seen.fov_axis == "y"
    assert seen.aperture_radius == 0.1


def test_a_page_orbits_about_the_middle_of_the_scene():
    start = Perspective(to_world=(LookAt((1.0, 0.0, -10.0), (1.0, 0.0, 0.0)),))
    np.testing.assert_allclose(pose_of(start, 1.0, BOUNDS).look_at, (1.0, 0.0, -1.0))
    behind = Perspective(to_world=(LookAt((1.0, 0.0, -10.0), (1.0, 0.0, -20.0)),))
    look_at = pose_of(behind, 1.0, BOUNDS).look_at
    assert look_at[2] < -10.0
    np.testing.assert_allclose(pose_of(start, 1.0).look_at, (1.0, 0.0, -9.0))


@pytest.mark.parametrize("axis", ["x", "y", "diagonal", "smaller", "larger"])
@pytest.mark.parametrize("aspect", [0.5, 16 / 9])
def test_vertical_fields_of_view(axis, aspect):
    """The half height of the film at distance 1, measured along each axis, with the half height 1."""
    half = {
        "x": aspect,
        "y": 1.0,
        "diagonal": math.hypot(aspect, 1.0),
        "smaller": min(aspect, 1.0),
        "larger": max(aspect, 1.0),
    }[axis]
    camera = Perspective(fov=math.degrees(2.0 * math.atan(half * math.tan(math.radians(25.0)))), fov_axis=axis)
    assert math.isclose(vertical_fov(camera, aspect), 50.0)


def test_an_orthographic_scene_is_shown_in_perspective():
    start = Orthographic(to_world=(LookAt((0.0, 0.0, 5.0), (0.0, 0.0, 0.0)),))
    pose = pose_of(start, 1.0, BOUNDS)
    seen = camera_of(start, _quaternion(pose), pose.position, pose.fov)
    assert isinstance(seen, Perspective)
    np.testing.assert_allclose(matrix(seen.to_world), matrix(start.to_world), atol=1e-9)


def test_the_vertical_of_the_world_is_the_axis_nearest_to_the_camera_s():
    assert world_up(Perspective(to_world=(LookAt((0, 5, 9), (0, 0, 0), (0.0, 1.0, 0.0)),))) == (0.0, 1.0, 0.0)
    assert world_up(Perspective(to_world=(LookAt((9, 5, 1), (0, 0, 0), (0.0, 0.0, 1.0)),))) == (0.0, 0.0, 1.0)
    assert world_up(Perspective(to_world=(LookAt((0, 0, 9), (0, 0, 0), (0.0, -1.0, 0.0)),))) == (0.0, -1.0, 0.0)


def test_rotations_agree_with_scipy():
    rng = np.random.default_rng(1)
    for wxyz in rng.normal(size=(8, 4)):
        w, x, y, z = wxyz
        np.testing.assert_allclose(rotation_matrix(wxyz), Rotation.from_quat([x, y, z, w]).as_matrix(), atol=1e-12)


def test_a_page_orbits_about_the_surface_at_its_centre_if_there_is_one():
    """The camera orbits about the given surface point instead of the middle of the scene, which a wall may hide."""
    camera = Perspective(to_world=(LookAt((0.0, 0.0, 5.0), (0.0, 0.0, 0.0)),))
    np.testing.assert_allclose(pose_of(camera, 1.0, BOUNDS, (0.0, 0.0, 4.5)).look_at, (0.0, 0.0, 4.5), atol=1e-12)


def test_a_camera_at_a_pose_is_that_of_the_page_there():
    start = Perspective(to_world=(LookAt((2.0, 3.0, -4.0), (0.3, 0.2, 0.0), (0.3, 1.0, 0.1)),), fov=40.0, fov_axis="y")
    pose = pose_of(start, 16 / 9, BOUNDS)
    np.testing.assert_allclose(matrix(posed_camera(start, pose).to_world), matrix(start.to_world), atol=1e-9)


def test_a_flight_passes_through_its_poses_without_a_jump():
    cameras = [Perspective(to_world=(LookAt((x, x * x, 5.0), (0.0, 0.0, x)),), fov=30.0 + x) for x in (0.0, 1.0, 3.0)]
    poses = [pose_of(camera, 1.0) for camera in cameras]
    assert flight_seconds(poses) == 2 * SECONDS_PER_POSE
    for number, pose in enumerate(poses):
        found = pose_at(poses, number * SECONDS_PER_POSE)
        np.testing.assert_allclose(found.position, pose.position, atol=1e-12)
        assert math.isclose(found.fov, pose.fov)
    assert pose_at(poses, 1e9) == pose_at(poses, flight_seconds(poses))
    assert pose_at(poses[:1], 1.0).position == poses[0].position
    times = np.linspace(0.0, flight_seconds(poses), 200)
    steps = np.linalg.norm(np.diff([pose_at(poses, time).position for time in times], axis=0), axis=1)
    assert steps.max() < 4.0 * np.median(steps)


def test_a_flight_does_not_leave_the_fields_of_view_of_its_poses():
    """The curve through the poses would overshoot."""
    for fovs in ((5.0, 5.0, 100.0), (50.0, 150.0, 150.0, 50.0)):
        poses = [Pose((float(i), 0.0, 0.0), (float(i), 0.0, 5.0), (0.0, 1.0, 0.0), fov) for i, fov in enumerate(fovs)]
        found = [pose_at(poses, seconds).fov for seconds in np.linspace(0.0, flight_seconds(poses), 50)]
        assert min(found) == min(fovs)
        assert max(found) == max(fovs)


def test_a_flight_between_opposite_views_has_a_direction_everywhere():
    """The camera and its orbit centre change places, and meet in the middle; `up` is reversed too."""
    poses = [
        Pose((0.0, 0.0, 2.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), 1.0),
        Pose((0.0, 0.0, 0.0), (0.0, 0.0, 2.0), (0.0, -1.0, 0.0), 1.0),
    ]
    for seconds in np.linspace(0.0, flight_seconds(poses), 31):
        pose = pose_at(poses, seconds)
        assert np.linalg.norm(np.subtract(pose.look_at, pose.position)) >= 0.2 - 1e-9
        assert np.linalg.norm(pose.up) == pytest.approx(1.0)
        assert np.isfinite(matrix(posed_camera(Perspective(), pose).to_world)).all()
