"""Cameras of photographs, compared with OpenCV."""

import numpy as np
import pytest

from nrc_tracer.errors import DataError
from nrc_tracer.scene.model import LookAt, Orthographic, Perspective
from nrc_tracer.tasks.nerf.camera import PhotoCamera, check_camera, rigid_pose
from nrc_tracer.tasks.nerf.scene_camera import looking_at, photograph_camera, scene_camera
from tests.tasks.nerf.photo_sets import FOX, camera, pose

LENSES = {
    "pinhole": ("pinhole", (0.0,) * 6),
    "fox": ("opencv", FOX),
    "barrel": ("opencv", (-0.25, 0.06, -0.01, 0.0, 0.002, -0.003)),
    "eighth power": ("opencv", (0.1, -0.05, 0.02, -0.004, 0.0, 0.0)),
    "fisheye": ("fisheye", (0.05, -0.02, 0.003, -0.001, 0.0, 0.0)),
}


def grid(width, height):
    x, y = np.meshgrid(np.linspace(0, width, 13), np.linspace(0, height, 11))
    return np.column_stack((x.ravel(), y.ravel()))


@pytest.mark.parametrize("name", LENSES)
def test_points_of_a_ray_project_to_its_pixel(name):
    model, distortion = LENSES[name]
    eye, points = camera(model, distortion), grid(60, 40)
    for distance in (0.1, 3.0, 1e4):
        seen, depth = eye.project(eye.position + distance * eye.directions(points))
        np.testing.assert_allclose(seen, points, atol=1e-8)
        assert (depth > 0.0).all()


@pytest.mark.parametrize("name", ["pinhole", "fox", "barrel"])
def test_projection_agrees_with_opencv(name):
    cv2 = pytest.importorskip("cv2")
    model, distortion = LENSES[name]
    eye = camera(model, distortion)
    points = np.random.default_rng(0).uniform(-1.0, 1.0, (50, 3))
    k1, k2, k3, _, p1, p2 = distortion
    axes = (eye.to_world[:, :3] * (1.0, -1.0, -1.0)).T
    matrix = np.array([[eye.fx, 0, eye.cx], [0, eye.fy, eye.cy], [0, 0, 1.0]])
    expected, _ = cv2.projectPoints(
        points, cv2.Rodrigues(axes)[0], -axes @ eye.position, matrix, np.array([k1, k2, p1, p2, k3])
    )
    np.testing.assert_allclose(eye.project(points)[0], expected[:, 0], atol=1e-9)


def test_fisheye_agrees_with_opencv():
    cv2 = pytest.importorskip("cv2")
    eye = camera(*LENSES["fisheye"])
    points = np.random.default_rng(0).uniform(-1.0, 1.0, (50, 3))
    axes = (eye.to_world[:, :3] * (1.0, -1.0, -1.0)).T
    matrix = np.array([[eye.fx, 0, eye.cx], [0, eye.fy, eye.cy], [0, 0, 1.0]])
    expected, _ = cv2.fisheye.projectPoints(
        points[:, None], cv2.Rodrigues(axes)[0], -axes @ eye.position, matrix, np.array(eye.distortion[:4])
    )
    np.testing.assert_allclose(eye.project(points)[0], expected[:, 0], atol=1e-9)


def test_undistortion_agrees_with_opencv():
    cv2 = pytest.importorskip("cv2")
    eye = camera(*LENSES["fox"])
    k1, k2, k3, _, p1, p2 = eye.distortion
    target = (grid(60, 40) - (eye.cx, eye.cy)) / (eye.fx, eye.fy)
    many = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-14)
    expected = cv2.undistortPoints(
        target[:, None], np.eye(3), np.array([k1, k2, p1, p2, k3]), R=np.eye(3), P=np.eye(3), criteria=many
    )
    np.testing.assert_allclose(eye.undistort(target), expected[:, 0], atol=1e-10)


def test_pixels_beyond_the_fold_of_a_distortion_have_a_ray():
    """1 - r^2 / 2 maps no point farther than 0.544 from the axis; pixels beyond get directions near the fold."""
    eye = camera("opencv", (-0.5, 0.0, 0.0, 0.0, 0.0, 0.0))
    target = np.array([[0.5, 0.0], [0.6, 0.0], [3.0, 1.0]])
    found = eye.undistort(target)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(eye.distort(found[:1]), target[:1], atol=1e-9)
    np.testing.assert_allclose(found[1], [np.sqrt(2.0 / 3.0), 0.0], atol=0.05)


def test_a_resized_camera_has_the_same_view():
    eye = camera(*LENSES["fox"])
    points = eye.position + np.array([[0.1, 0.2, -0.1], [-0.3, 0.1, 0.2]]) + 2.0 * eye.forward
    for other, factor in ((eye.scaled(2.0), 2.0), (eye.resized(width=30), 0.5), (eye.resized(height=20), 0.5)):
        assert (other.width, other.height) == (round(60 * factor), round(40 * factor))
        np.testing.assert_allclose(other.project(points)[0], factor * eye.project(points)[0], atol=1e-9)


def test_a_point_behind_a_camera_is_not_seen():
    eye = camera()
    assert np.isnan(eye.project(eye.position - eye.forward[None])[0]).all()


@pytest.mark.parametrize(
    "kind",
    [
        Perspective(),
        Perspective(fov=70, fov_axis="y", principal_point_offset=(0.1, -0.2)),
        Perspective(fov_axis="diagonal"),
    ],
)
def test_scene_cameras_are_converted_back(kind):
    own = Perspective(
        to_world=(LookAt(origin=(1, 2, 3), target=(0, 0.5, 0)),),
        fov=kind.fov,
        fov_axis=kind.fov_axis,
        principal_point_offset=kind.principal_point_offset,
    )
    eye = photograph_camera(own, 64, 48)
    again = photograph_camera(scene_camera(eye), 64, 48)
    np.testing.assert_allclose(again.to_world, eye.to_world, atol=1e-12)
    np.testing.assert_allclose([again.fx, again.fy, again.cx, again.cy], [eye.fx, eye.fy, eye.cx, eye.cy], atol=1e-9)
    toward = np.array([-1, -1.5, -3]) / np.linalg.norm([1, 1.5, 3])
    np.testing.assert_allclose(eye.forward, toward, atol=1e-12)


def test_cameras_without_a_scene_camera_are_refused():
    with pytest.raises(DataError, match="orthographic"):
        photograph_camera(Orthographic(), 8, 8)
    with pytest.raises(DataError, match="square pixels"):
        scene_camera(camera(*LENSES["fox"]))


def test_looking_straight_down():
    found = looking_at(np.array([0.0, 0.0, 5.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(found[:, :3].T @ found[:, :3], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(-found[:, 2], [0, 0, -1], atol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.__setitem__((0, 0), np.nan), "not finite"),
        (lambda m: m.__setitem__((slice(None), 0), 0.0), "singular"),
        (lambda m: m.__setitem__((slice(None), 0), m[:, 1]), "singular"),
        (lambda m: m.__setitem__((slice(None), 0), -m[:, 0]), "mirrors"),
        (lambda m: m.__setitem__((slice(None), 0), m[:, 0] + 0.2 * m[:, 1]), "not perpendicular"),
    ],
)
def test_invalid_poses_are_refused(change, words):
    matrix = pose(0.3).copy()
    change(matrix)
    with pytest.raises(DataError, match=f"here: .*{words}"):
        rigid_pose(matrix, "here")


def test_scales_are_removed_from_a_pose():
    matrix = pose(0.3).copy()
    matrix[:, :3] *= 0.1
    np.testing.assert_allclose(rigid_pose(matrix, "here"), pose(0.3), atol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fx": 0.0}, "focal length"),
        ({"cx": float("inf")}, "not finite"),
        ({"width": 0}, "0 x 40"),
        ({"height": 10**6}, "60 x 1000000"),
    ],
)
def test_invalid_numbers_are_refused(change, words):
    numbers = {"width": 60, "height": 40, "fx": 50.0, "fy": 50.0, "cx": 30.0, "cy": 20.0, **change}
    with pytest.raises(DataError, match=f"here: .*{words}"):
        check_camera(PhotoCamera(**numbers), "here")
