"""Camera paths, and videos."""

import json
import math
import os
import sys

import imageio_ffmpeg
import numpy as np
import PIL.Image
import pytest

from nrc_tracer.errors import DataError, NrcError, OutputError
from nrc_tracer.files.atomic import replacing
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.camera_path import (
    PATHS,
    camera_path,
    orbit_path,
    read_camera_path,
    spline_path,
    spline_through,
    upward,
    write_camera_path,
)
from nrc_tracer.tasks.nerf.reading import read_views
from nrc_tracer.tasks.nerf.rotations import quaternion, rotation_of, turning
from nrc_tracer.tasks.nerf.scene_camera import looking_at
from nrc_tracer.tasks.nerf.video import VideoWriter
from tests.tasks.nerf.photo_sets import camera, pixels, pose


def ring(count=12):
    return [camera().placed(pose(2.0 * math.pi * i / count)) for i in range(count)]


@pytest.mark.parametrize("kind", PATHS)
def test_every_path_is_smooth_and_rigid(kind):
    """No step between frames is more than three times the median, and all poses are rotations."""
    path = camera_path(kind, ring(), 90)
    assert len(path) == 90
    poses = np.array([eye.to_world for eye in path])
    axes = poses[:, :, :3]
    np.testing.assert_allclose(axes.transpose(0, 2, 1) @ axes, np.tile(np.eye(3), (90, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(axes), 1.0, atol=1e-9)
    steps = np.linalg.norm(np.diff(poses[:, :, 3], axis=0), axis=1)
    assert steps.max() < 3.0 * np.median(steps)
    turns = np.arccos(np.clip((np.einsum("nij,nij->n", axes[1:], axes[:-1]) - 1.0) / 2.0, -1.0, 1.0))
    assert turns.max() < 3.0 * np.median(turns) + 1e-6


def test_a_spline_goes_through_its_cameras():
    keys = ring()[:5]
    path = spline_path(keys, 41)
    for i, key in enumerate(keys):
        np.testing.assert_allclose(path[10 * i].to_world, key.to_world, atol=1e-9)


def test_a_spline_through_keys_keeps_their_order_and_their_lenses():
    """Cameras go there and back again, and there are more keys than a path along photographs has."""
    places = [0.0, 3.0, 1.0, 2.0] * 10
    focals = [20.0, 80.0, 30.0, 40.0] * 10
    keys = []
    for x, focal in zip(places, focals, strict=True):
        keys.append(PhotoCamera(60, 40, focal, 2.0 * focal, 29.0, 21.5, to_world=np.eye(4)[:3]))
        keys[-1].to_world[0, 3] = x
    path = spline_through(keys, 10 * (len(keys) - 1) + 1)
    np.testing.assert_allclose([eye.position[0] for eye in path[::10]], places, atol=1e-12)
    np.testing.assert_allclose([eye.fx for eye in path[::10]], focals, rtol=1e-12)
    np.testing.assert_allclose([eye.fy for eye in path], [2.0 * eye.fx for eye in path], rtol=1e-12)
    between = [eye.fx for eye in path[:11]]
    assert between == sorted(between)
    assert all((eye.cx, eye.cy) == (29.0, 21.5) for eye in path)


def test_a_path_along_photographs_has_the_lens_of_the_first():
    keys = [PhotoCamera(60, 40, 50.0 + i, 52.0, 29.0, 21.5, to_world=eye.to_world) for i, eye in enumerate(ring())]
    for kind in PATHS:
        assert {(eye.fx, eye.fy) for eye in camera_path(kind, keys, 20)} == {(50.0, 52.0)}


def test_a_spline_visits_neighbouring_cameras():
    """Cameras in the order of their names jump back and forth; the path goes from neighbour to neighbour."""
    keys = ring()
    order = [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]
    path = spline_path([keys[i] for i in order], 100)
    places = np.array([eye.position for eye in path])
    length = np.linalg.norm(np.diff(places, axis=0), axis=1).sum()
    assert length < 2.0 * math.pi * 4.0


def test_an_orbit_is_a_circle_around_the_centre_of_attention():
    path = camera_path("orbit", ring(), 60)
    places = np.array([eye.position for eye in path])
    np.testing.assert_allclose(np.linalg.norm(places[:, :2], axis=1), 4.0, atol=1e-9)
    np.testing.assert_allclose(places[:, 2], 1.0, atol=1e-9)
    for eye in path:
        np.testing.assert_allclose(eye.project(np.zeros((1, 3)))[0], [[eye.cx, eye.cy]], atol=1e-9)


def test_a_written_path_is_read_back(tmp_path):
    eyes = [camera(angle=0.1 * i) for i in range(4)]
    write_camera_path(tmp_path / "path.json", eyes)
    template = PhotoCamera(30, 20, 9.0, 9.0, 15.0, 10.0)
    for found, eye in zip(read_camera_path(tmp_path / "path.json", template), eyes, strict=True):
        assert (found.width, found.height, found.fx, found.fy, found.cx) == (60, 40, 50.0, 52.0, 29.0)
        np.testing.assert_allclose(found.to_world, eye.to_world, atol=1e-12)


def test_nerfstudios_path(tmp_path):
    rows = np.eye(4)
    rows[:3] = pose(0.2)
    document = {
        "render_width": 64,
        "render_height": 48,
        "camera_path": [{"camera_to_world": rows.ravel().tolist(), "fov": 90.0, "aspect": 4 / 3}],
    }
    (tmp_path / "path.json").write_text(json.dumps(document))
    (found,) = read_camera_path(tmp_path / "path.json", camera())
    assert (found.width, found.height, found.fx) == (64, 48, pytest.approx(24.0))
    np.testing.assert_allclose(found.to_world, pose(0.2), atol=1e-12)


def test_instant_ngps_path(tmp_path):
    """instant-ngp's axes are the data's y, z, x, at u = scale x + offset, and its cameras look along +z with y down."""
    scale, offset = 0.33, np.array([0.5, 0.4, 0.6])
    eye = camera()
    cycle = [1, 2, 0]
    axes = (eye.to_world[:, :3] * (1.0, -1.0, -1.0))[cycle]
    w, x, y, z = quaternion(axes)
    place = (eye.position * scale + offset)[cycle]
    document = {"path": [{"R": [x, y, z, w], "T": place.tolist(), "fov": 50.0}], "time": 0.0}
    (tmp_path / "path.json").write_text(json.dumps(document))
    (found,) = read_camera_path(tmp_path / "path.json", eye, scale, offset)
    np.testing.assert_allclose(found.to_world, eye.to_world, atol=1e-12)


def test_keys_of_instant_ngp_keep_their_order_and_lenses(tmp_path):
    """Key frames are made by a user: their order and their fields of view are kept."""
    places, fovs = np.array([0.0, 3.0, 1.0, 2.0]), np.array([50.0, 60.0, 70.0, 80.0])
    keys = [{"R": [0, 0, 0, 1], "T": [x, 0, 0], "fov": fov} for x, fov in zip(places, fovs, strict=True)]
    (tmp_path / "path.json").write_text(json.dumps({"path": keys}))
    found = read_camera_path(tmp_path / "path.json", camera(), scale=1.0, offset=(0.0,) * 3)
    assert len(found) == 120
    x = np.array([eye.position[1] for eye in found])  # the first axis of the unit cube is the data's second
    fov = np.array([2.0 * math.degrees(math.atan(0.5 * eye.height / eye.fy)) for eye in found])
    # The first and the last frame are at keys; the frames nearest to other keys are at most half a frame off
    at = np.round(np.arange(4) * 119 / 3).astype(int)
    off = 0.5 * 3 / 119
    np.testing.assert_allclose(x[at], places, atol=off * np.abs(np.diff(places)).max())
    np.testing.assert_allclose(fov[at], fovs, atol=off * 20.0)
    np.testing.assert_allclose((x[[0, -1]], fov[[0, -1]]), (places[[0, -1]], fovs[[0, -1]]), atol=1e-9)
    assert np.all(np.diff(fov) > 0.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"frames": []}', "none of the lists"),
        ('{"frames": [{}]}', r"frames\[0\]: not a camera"),
        ('{"frames": [{"transform_matrix": [1, 2]}]}', r"frames\[0\]: not a camera"),
        ('{"camera_path": [{"camera_to_world": [1, 2]}]}', r"camera_path\[0\]: not a camera"),
        ('{"frames": [{"transform_matrix": [[0,0,0,0],[0,0,0,0],[0,0,0,0]]}]}', r"frames\[0\]: .*singular"),
        ('{"path": [{"R": [0, 0, 0, 0], "T": [0, 0, 0]}]}', r"path\[0\]: .*not a quaternion"),
    ],
)
def test_invalid_path_files_are_refused(tmp_path, text, words):
    (tmp_path / "path.json").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_camera_path(tmp_path / "path.json", camera())
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_camera_path(tmp_path / "nothing.json", camera())


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ({"camera_angle_x": 0}, "camera_angle_x: must lie between 0 and pi, not 0"),
        ({"camera_angle_x": 4.0}, "camera_angle_x: must lie between 0 and pi, not 4"),
        ({"w": math.inf, "h": 8}, "w: must be a finite number"),
        ({"w": 10**400, "h": 8}, "w: must be a finite number"),
        ({"w": 0, "h": 8}, "images of 0 x 8 pixels"),
        ({"fl_x": "long"}, "fl_x: must be a finite number, not long"),
        ({"render_width": math.inf, "render_height": 8}, "render_width: must be a finite number"),
        ({"fov": 0}, "fov .*must lie between 0 and pi, not 0"),
        ({"fov": 180}, "fov .*must lie between 0 and pi"),
        ({"fov": "wide"}, "fov .*must be a finite number, not wide"),
        ({"T": [10**400, 0, 0], "fov": 50}, "not a camera: OverflowError"),
    ],
)
def test_invalid_numbers_in_paths_are_refused(tmp_path, root, words):
    eye = np.eye(4).tolist()
    if "fov" in root:
        document = {"path": [{"R": [0, 0, 0, 1], "T": [0, 0, 0], **root}]}
    elif "render_width" in root:
        document = {"camera_path": [{"camera_to_world": eye}], **root}
    else:
        document = {"frames": [{"transform_matrix": eye}], **root}
    (tmp_path / "path.json").write_text(json.dumps(document).replace("Infinity", "1e400"))
    with pytest.raises(DataError, match=rf"path\.json: \w+\[0\]: {words}") as caught:
        read_camera_path(tmp_path / "path.json", camera())
    assert "\n" not in str(caught.value)


def test_unknown_names_of_paths_are_refused():
    with pytest.raises(DataError, match="known: spline, orbit, spiral"):
        camera_path("circle", ring(), 3)
    with pytest.raises(DataError, match="no cameras"):
        camera_path("orbit", [], 3)


def test_quaternions_of_random_rotations():
    """Compared with SciPy, including half turns."""
    transform = pytest.importorskip("scipy.spatial.transform")
    rotations = transform.Rotation.random(50, random_state=0).as_matrix()
    half = transform.Rotation.from_rotvec(np.pi * np.eye(3)).as_matrix()
    for matrix in [*rotations, *half, np.eye(3)]:
        x, y, z, w = transform.Rotation.from_matrix(matrix).as_quat()
        found = quaternion(matrix)
        assert abs(abs(found @ (w, x, y, z)) - 1.0) < 1e-12
        np.testing.assert_allclose(rotation_of(3.0 * found), matrix, atol=1e-12)


@pytest.mark.parametrize("size", [(32, 24), (33, 25)])
def test_a_video_has_every_frame(tmp_path, size):
    """H.264 preserves grey levels within a few steps; an odd size is padded to an even one."""
    width, height = size
    with VideoWriter(tmp_path / "out.mp4", width, height, fps=10) as video:
        for level in (20, 120, 220, 60):
            video.add(np.full((height, width, 3), level, np.uint8))
    frames = imageio_ffmpeg.read_frames(str(tmp_path / "out.mp4"))
    about = next(frames)
    assert about["size"] == (width + width % 2, height + height % 2)
    assert about["fps"] == 10.0
    means = [np.frombuffer(frame, np.uint8).mean() for frame in frames]
    np.testing.assert_allclose(means, [20, 120, 220, 60], atol=5)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_frames_are_written_to_a_folder(tmp_path):
    with VideoWriter(tmp_path / "frames", 12, 8) as video:
        for i in range(3):
            video.add(pixels(i))
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    np.testing.assert_array_equal(np.array(PIL.Image.open(tmp_path / "frames/00002.png")), pixels(2))


def test_a_failed_video_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="a frame is uint8"), VideoWriter(tmp_path / "out.mp4", 12, 8) as video:
        video.add(pixels(0, width=13))
    assert list(tmp_path.iterdir()) == []


def test_a_video_file_appears_when_it_is_complete(tmp_path, monkeypatch):
    """A video appears only when it is complete, leftovers of a killed process are removed, and an empty one is an error."""
    (tmp_path / "elsewhere").mkdir()
    with replacing(tmp_path / "elsewhere" / "out.mp4", keep=False) as temporary:
        name = temporary.name
    (tmp_path / "elsewhere").rmdir()
    # As a process with another id would have named it
    left_over = tmp_path / name.replace(f"-{os.getpid()}-", "-999999999-")
    left_over.touch()
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with VideoWriter(tmp_path / "out.mp4", 12, 8) as video:
        video.add(pixels(0))
        assert not left_over.exists()
        assert not (tmp_path / "out.mp4").exists()
    assert len(synced) == 1
    with pytest.raises(OutputError, match="no frames"), VideoWriter(tmp_path / "none.mp4", 12, 8):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_impossible_videos_are_refused(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match=r"unknown video format .*\.mp4"):
        VideoWriter(tmp_path / "out.gifv", 12, 8)
    with pytest.raises(OutputError, match="cannot be written"):
        VideoWriter(tmp_path / "nothing/out.mp4", 12, 8)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(NrcError, match=r"imageio-ffmpeg: pip install .*tasks.*PNG"):
        VideoWriter(tmp_path / "out.mp4", 12, 8)


def test_fox_paths(data_folder):
    """Paths along a real capture stay among its cameras."""
    eyes = [view.camera for view in read_views(data_folder / "nerf/fox").all]
    places = np.array([eye.position for eye in eyes])
    center, reach = places.mean(axis=0), np.linalg.norm(places - places.mean(axis=0), axis=1).max()
    for kind in PATHS:
        for eye in camera_path(kind, eyes, 20):
            assert np.isfinite(eye.to_world).all()
            assert kind == "orbit" or np.linalg.norm(eye.position - center) < 1.5 * reach


def test_up_of_cameras_in_half_a_turn():
    """Cameras that look down from one side, in arbitrary axes: their mean upward direction leans, the orbit does not."""
    tilt = turning(np.array([0.7, -0.4, 0.2]))
    up = tilt @ np.array([0.0, 0.0, 1.0])
    rng = np.random.default_rng(3)

    def level_ring(angles, roll=0.0):
        made = []
        for angle in angles:
            place = np.array([3.0 * np.cos(angle), 3.0 * np.sin(angle), 2.5])
            rolled = turning(rng.normal(0.0, roll, 3)) if roll else np.eye(3)
            level = looking_at(place, np.zeros(3), np.array([0.0, 0.0, 1.0]))
            turned = tilt @ np.column_stack((rolled @ level[:, :3], level[:, 3]))
            made.append(PhotoCamera(12, 8, 10.0, 10.0, 6.0, 4.0, to_world=turned))
        return made

    half = np.linspace(0.0, np.pi, 30)
    mean = np.mean([camera.to_world[:, 1] for camera in level_ring(half)], axis=0)
    assert np.degrees(np.arccos(mean @ up / np.linalg.norm(mean))) > 15.0
    for cameras, degrees in (
        (level_ring(half), 0.01),
        (level_ring(half, roll=0.03), 2.0),
        (level_ring(2.0 * half), 0.01),
    ):
        assert np.degrees(np.arccos(min(1.0, upward(cameras) @ up))) < degrees
        middle = np.mean([camera.position for camera in orbit_path(cameras, 12)], axis=0)
        assert np.degrees(np.arccos(min(1.0, middle @ up / np.linalg.norm(middle)))) < max(5.0, degrees)
    # One camera, or several that look the same way, have only their own upward direction
    np.testing.assert_allclose(upward(level_ring([0.3])), level_ring([0.3])[0].to_world[:, 1], atol=1e-9)
