"""transforms.json in its dialects, and its errors."""

import json
import math

import numpy as np
import OpenEXR
import pytest

from nrc_tracer.errors import DataError
from nrc_tracer.imaging import encode_srgb, write_image
from nrc_tracer.imaging.pixels import write_pixels
from nrc_tracer.tasks.nerf.photographs import photograph_head, read_photograph
from nrc_tracer.tasks.nerf.reading import read_views
from nrc_tracer.tasks.nerf.scene_box import CAMERA_DISTANCE
from nrc_tracer.tasks.nerf.views import View
from tests.tasks.nerf.photo_sets import camera, frame, pixels, pose, save, write_set


def test_fox(data_folder):
    """instant-ngp's fox: 67 frames, 17 of them without an image; OpenCV's distortion."""
    views = read_views(data_folder / "nerf/fox")
    assert len(views.all) == 50
    assert len(views.missing) == 17
    assert len(set(views.missing)) == 17
    assert (len(views.train), len(views.validation), len(views.test)) == (43, 0, 7)
    assert views.split == "every 8th frame held out"
    assert [view.name for view in views.test][:2] == ["images/0001.jpg", "images/0012.jpg"]
    assert (views.aabb_scale, views.scale, views.offset) == (4, 0.33, (0.5, 0.5, 0.5))
    assert not views.has_alpha
    view = views.test[0]
    assert view.camera.model == "opencv"
    assert view.camera.distortion == (0.0578421, -0.0805099, 0.0, 0.0, -0.000980296, 0.00015575)
    assert (view.camera.fx, view.camera.cy) == (1375.52, 965.268)
    assert view.pixels.shape == (1920, 1080, 3)
    # All cameras look at the fox: the centre of attention is in front of each
    center = np.zeros(3)
    assert all((center - v.camera.position) @ v.camera.forward > 0.0 for v in views.all)


def test_blender_set(tmp_path):
    """File names without extensions, splits in separate files, alpha."""
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        frames = [{**frame(i), "file_path": f"./{split}/r_{i}"} for i in range(count)]
        for i in range(count):
            save(tmp_path / f"{split}/r_{i}.png", pixels(i, channels=4))
        document = {"camera_angle_x": 0.6911, "frames": frames}
        (tmp_path / f"transforms_{split}.json").write_text(json.dumps(document))
    views = read_views(tmp_path)
    assert (len(views.train), len(views.validation), len(views.test)) == (3, 1, 2)
    assert views.split == "transforms_test.json"
    assert views.has_alpha
    assert (views.aabb_scale, views.scale) == (1, 0.33)
    eye = views.train[0].camera
    assert eye.fx == eye.fy == pytest.approx(0.5 * 12 / math.tan(0.5 * 0.6911))
    assert (eye.cx, eye.cy, eye.model) == (6.0, 4.0, "pinhole")
    np.testing.assert_array_equal(views.test[1].pixels, pixels(1, channels=4))
    assert read_views(tmp_path / "transforms_train.json").split == "transforms_test.json"


def test_a_test_split_without_images_is_reported(tmp_path):
    """If no test image exists, views are held out from the training frames, with a note."""
    write_set(tmp_path, name="transforms_train.json")
    document = {"camera_angle_x": 0.7, "frames": [frame(90), frame(91)]}
    (tmp_path / "transforms_test.json").write_text(json.dumps(document))
    views = read_views(tmp_path)
    assert views.missing == ("images/090.png", "images/091.png")
    assert (len(views.train), len(views.test), views.split) == (8, 2, "every 8th frame held out")
    assert any("transforms_test.json: none of its 2 images exists" in note for note in views.notes)
    save(tmp_path / "images/091.png", pixels(91))
    views = read_views(tmp_path)
    assert (len(views.train), len(views.test), views.split) == (10, 1, "transforms_test.json")
    assert not any("transforms_test.json" in note for note in views.notes)


def test_nerfstudio(tmp_path):
    """A frame's intrinsics override the file's; units are arbitrary, so the cameras decide."""
    frames = [frame(i) for i in range(10)]
    frames[3] |= {"fl_x": 20.0, "fl_y": 21.0, "cx": 5.0, "k1": 0.1}
    root = {"fl_x": 10.0, "fl_y": 11.0, "cx": 6.5, "cy": 4.5, "w": 12, "h": 8, "camera_model": "OPENCV"}
    path = write_set(tmp_path, frames=frames, aabb_scale=None, camera_angle_x=None, ply_file_path="sparse.ply", **root)
    views = read_views(path)
    by_name = {view.name: view.camera for view in views.all}
    one, other = by_name["images/000.png"], by_name["images/003.png"]
    assert (one.fx, one.fy, one.cx, one.cy, one.model) == (10.0, 11.0, 6.5, 4.5, "pinhole")
    assert (other.fx, other.fy, other.cx, other.cy, other.model) == (20.0, 21.0, 5.0, 4.5, "opencv")
    assert any("ply_file_path" in note for note in views.notes)
    assert any("chosen from the cameras" in note for note in views.notes)
    # All look at the origin, from a distance of sqrt(17)
    np.testing.assert_allclose(views.offset, 0.5, atol=1e-9)
    assert views.scale == pytest.approx(CAMERA_DISTANCE / math.sqrt(17.0))
    assert views.aabb_scale == 16


def test_nerfstudio_split_lists(tmp_path):
    names = [f"images/{i:03d}.png" for i in range(10)]
    path = write_set(tmp_path, train_filenames=names[:6], val_filenames=names[6:7], test_filenames=names[7:])
    views = read_views(path)
    assert [view.name for view in views.train] == names[:6]
    assert [view.name for view in views.validation] == names[6:7]
    assert [view.name for view in views.test] == names[7:]
    assert "test_filenames" in views.split


def test_fisheye(tmp_path):
    path = write_set(tmp_path, camera_model="OPENCV_FISHEYE", fl_x=6.0, k1=0.01)
    eye = read_views(path).train[0].camera
    assert (eye.model, eye.fx, eye.fy, eye.distortion[0]) == ("fisheye", 6.0, 6.0, 0.01)


def test_the_placement_given_by_a_file(tmp_path):
    views = read_views(write_set(tmp_path, scale=0.5, offset=[0.1, 0.2, 0.3], aabb_scale=8))
    assert (views.scale, views.offset, views.aabb_scale) == (0.5, (0.1, 0.2, 0.3), 8)
    views = read_views(write_set(tmp_path, aabb=[[-1, -2, -3], [3, 2, 1]], aabb_scale=None))
    box = np.array([[-1, -2, -3], [3, 2, 1]]) * views.scale + views.offset
    np.testing.assert_allclose(box, [[0, 0, 0], [1, 1, 1]], atol=1e-12)
    views = read_views(write_set(tmp_path, aabb_scale=3))
    assert views.aabb_scale == 4
    assert "next power of two" in views.notes[0]
    views = read_views(tmp_path, aabb_scale=16, scale=0.25, offset=(0, 0, 0))
    assert (views.scale, views.offset, views.aabb_scale) == (0.25, (0.0, 0.0, 0.0), 16)


def test_an_incomplete_placement_is_completed(tmp_path):
    """Numbers of the file and of the user are completed by the usual ones."""
    views = read_views(write_set(tmp_path, offset=[0.1, 0.2, 0.3], aabb_scale=None))
    assert (views.scale, views.offset, views.aabb_scale) == (0.33, (0.1, 0.2, 0.3), 1)
    views = read_views(write_set(tmp_path, scale=0.5, aabb_scale=0.5), offset=(0, 0, 0))
    assert (views.scale, views.offset, views.aabb_scale) == (0.5, (0.0, 0.0, 0.0), 1)
    assert "0.5 becomes 1" in views.notes[0]


def test_missing_frames_are_listed_and_left_out(tmp_path):
    path = write_set(tmp_path)
    (tmp_path / "images/004.png").unlink()
    (tmp_path / "images/000.png").unlink()
    views = read_views(path)
    assert views.missing == ("images/000.png", "images/004.png")
    assert [view.name for view in views.test] == ["images/001.png"]
    assert len(views.train) == 7


def test_a_single_view_is_not_held_out(tmp_path):
    views = read_views(write_set(tmp_path, count=1))
    assert (len(views.train), len(views.test)) == (1, 0)


def test_masks(tmp_path):
    """nerfstudio's masks are black where pixels do not count, instant-ngp's are white there."""
    left = np.zeros((8, 12), np.uint8)
    left[:, :5] = 255
    save(tmp_path / "masks/left.png", left)
    save(tmp_path / "images/dynamic_mask_001.png", left)
    views = read_views(write_set(tmp_path, count=3, frames=[frame(0, mask_path="masks/left.png"), frame(1), frame(2)]))
    by_name = {view.name: view for view in views.all}
    np.testing.assert_array_equal(by_name["images/000.png"].mask, left > 0)
    np.testing.assert_array_equal(by_name["images/001.png"].mask, left == 0)
    assert by_name["images/002.png"].mask is None


def test_deep_and_linear_images_become_8_bits_of_srgb(tmp_path):
    """16-bit PNG is rounded; linear EXR is encoded in sRGB, and its colours are divided by alpha."""
    deep = np.random.default_rng(0).integers(0, 65536, (8, 12, 3)).astype(np.uint16)
    write_pixels(tmp_path / "deep.png", deep)
    view = View("deep", camera(width=12, height=8), tmp_path / "deep.png")
    np.testing.assert_array_equal(view.pixels, np.round(deep / 257.0).astype(np.uint8))

    linear = np.full((8, 12, 3), 0.25, np.float32)
    alpha = np.full((8, 12), 0.5, np.float32)
    channels = {"R": linear[..., 0] * 0.5, "G": linear[..., 1] * 0.5, "B": linear[..., 2] * 0.5, "A": alpha}
    OpenEXR.File({}, channels).write(str(tmp_path / "linear.exr"))
    found = View("linear", camera(width=12, height=8), tmp_path / "linear.exr").pixels
    assert found.shape == (8, 12, 4)
    assert (found[..., 3] == 128).all()
    assert (found[..., :3] == round(255 * float(encode_srgb(np.array(0.25))))).all()


def test_sizes_of_float_images_are_read_from_headers(tmp_path):
    """Headers are enough: files with truncated pixels can be measured, and nothing is decoded."""
    layers = {name: np.zeros((200, 300), np.float32) for name in "RGBA"}
    OpenEXR.File({"compression": OpenEXR.NO_COMPRESSION}, layers).write(str(tmp_path / "a.exr"))
    write_image(tmp_path / "b.hdr", np.ones((200, 300, 3), np.float32))
    for name, has_alpha in (("a.exr", True), ("b.hdr", False)):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:4000])
        assert photograph_head(path, "frame") == (300, 200, has_alpha, 1)
        with pytest.raises(DataError, match=f"frame: .*{name}"):
            read_photograph(path, "frame")
        path.write_bytes(path.read_bytes()[:30])
        with pytest.raises(DataError, match=f"frame: .*{name}: not a readable image"):
            photograph_head(path, "frame")


def edited(index, **changes):
    frames = [frame(i) for i in range(10)]
    frames[index] = {key: value for key, value in {**frames[index], **changes}.items() if value is not None}
    return frames


def singular():
    rows = np.eye(4)
    rows[:3] = pose(0.1)
    rows[:3, 1] = rows[:3, 0]
    return rows.tolist()


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ({"frames": edited(4, transform_matrix=singular())}, r"frames\[4\] \(images/004.png\): .*singular"),
        ({"frames": edited(4, transform_matrix=[[1, 0, 0, float("nan")]] * 4)}, r"frames\[4\].*finite"),
        ({"frames": edited(4, transform_matrix=[[1, 0, 0]] * 4)}, r"frames\[4\].*4 rows of 4 numbers"),
        ({"frames": edited(4, transform_matrix=None)}, r"frames\[4\].*transform_matrix"),
        ({"frames": edited(4, file_path=None)}, r"frames\[4\]: has no file_path"),
        ({"frames": edited(4, w=13)}, r"frames\[4\] .*w is 13 and the image has 12 x 8"),
        ({"frames": edited(4, fl_x=0)}, r"frames\[4\].*focal length must be positive"),
        ({"frames": edited(4, fl_x=-3)}, r"frames\[4\].*focal length must be positive"),
        ({"frames": edited(4, k1="much")}, r"frames\[4\].*k1: must be a finite number, not much"),
        ({"frames": edited(4, mask_path="none.png")}, r"frames\[4\].*there is no mask none.png"),
        (
            {"frames": edited(4, camera_model="FISHEYES")},
            r'frames\[4\].*"FISHEYES" is not supported \(did you mean "FISHEYE"',
        ),
        ({"frames": [*edited(0), 7]}, r"frames\[10\]: must be an object"),
        ({"frames": []}, "frames: the list is empty"),
        ({"frames": {}}, 'has no list "frames"'),
        ({"camera_angle_x": None}, "neither fl_x nor camera_angle_x"),
        ({"camera_angle_x": 3.2}, "between 0 and pi"),
        ({"w": 1e9}, "w is 1e\\+09 and the image has 12 x 8"),
        ({"h": 10**400}, "h: must be a finite number"),
        ({"camera_angle_x": 5e-324}, "between 0 and pi"),
        ({"aabb_scale": 0}, "aabb_scale must be above 0 and at most 128, not 0"),
        ({"aabb_scale": 4096}, "aabb_scale must be above 0 and at most 128, not 4096"),
        ({"scale": -1}, "scale must be a positive number"),
        ({"offset": [1, 2]}, "offset must be three"),
        ({"aabb": [[0, 0, 0], [0, 0, 0]]}, "aabb: the second corner"),
        ({"ftheta_p0": 1.0}, "ftheta_p0: this kind of lens"),
    ],
)
def test_errors_in_transforms_are_one_line(tmp_path, root, words):
    path = write_set(tmp_path, **root)
    with pytest.raises(DataError, match=words) as caught:
        read_views(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_truncated_image_is_named(tmp_path):
    path = write_set(tmp_path)
    image = tmp_path / "images/003.png"
    image.write_bytes(image.read_bytes()[:120])
    view = next(view for view in read_views(path).all if view.name == "images/003.png")
    with pytest.raises(DataError, match=r"images/003.png"):
        _ = view.pixels
    image.write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"frames\[3\] \(images/003.png\).*not a readable image"):
        read_views(path)


def test_an_image_that_changed_its_size_is_named():
    view = View("a", camera(width=12, height=9), pixels(0))
    with pytest.raises(DataError, match="a: the image has 12 x 8 pixels, but its camera has 12 x 9"):
        _ = view.pixels


def test_a_set_without_images_is_refused(tmp_path):
    path = write_set(tmp_path, count=3)
    for image in (tmp_path / "images").iterdir():
        image.unlink()
    with pytest.raises(DataError, match=r"none of its 3 images exists .*000.png"):
        read_views(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, "\x00", '{"frames": 3}'])
def test_files_that_are_not_transforms_are_refused(tmp_path, text):
    (tmp_path / "transforms.json").write_text(text)
    with pytest.raises(DataError, match=r"transforms.json"):
        read_views(tmp_path)


def test_paths_without_photographs_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        read_views(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"neither transforms.json nor"):
        read_views(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(DataError, match="not a set of photographs"):
        read_views(tmp_path / "a.txt")
