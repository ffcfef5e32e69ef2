"""What the readers of photographs tolerate, alike for transforms.json and COLMAP, and what they refuse with the reason."""

import json

import numpy as np
import PIL.Image
import pytest

from nrc_tracer.errors import DataError
from nrc_tracer.imaging.orientation import TAG, shown
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.colmap import colmap_model
from nrc_tracer.tasks.nerf.colmap_format import write_model
from nrc_tracer.tasks.nerf.photo_folder import is_even
from nrc_tracer.tasks.nerf.reading import read_views
from nrc_tracer.tasks.nerf.views import View
from tests.tasks.nerf.photo_sets import pixels, pose, save

COUNT = 9


def cameras():
    return [PhotoCamera(120, 80, 100.0, 110.0, 55.0, 45.0, to_world=pose(0.6 * i)) for i in range(COUNT)]


@pytest.fixture(params=["transforms", "colmap-text", "colmap-binary"])
def written(tmp_path, request):
    """Writes the cameras of photographs with given names, without their images; returns the folder."""

    def write(names, cameras=cameras):
        views = [View(name, camera, pixels(0)) for name, camera in zip(names, cameras(), strict=True)]
        if request.param == "transforms":
            first = views[0].camera
            frames = [
                {"file_path": view.name, "transform_matrix": [*view.camera.to_world.tolist(), [0, 0, 0, 1]]}
                for view in views
            ]
            root = {"w": first.width, "h": first.height, "fl_x": first.fx, "fl_y": first.fy, "cx": 55, "cy": 45}
            text = json.dumps({**root, "frames": frames})
            (tmp_path / "transforms.json").write_text(text, encoding="utf-8-sig")  # with a byte order mark
        else:
            write_model(colmap_model(views), tmp_path / "sparse/0", binary=request.param == "colmap-binary")
            if request.param == "colmap-text":
                for file in (tmp_path / "sparse/0").iterdir():
                    lines = file.read_bytes().replace(b"\n", b"\r\n")
                    file.write_bytes(b"\xef\xbb\xbf" + lines)
        return tmp_path

    def images(names, width=120, height=80, folder="images"):
        for i, name in enumerate(names):
            base = tmp_path if request.param == "transforms" and folder == "images" else tmp_path / folder
            save(base / name, pixels(i, width, height))

    write.images = images
    return write


NAMES = {
    "plain": ("{}.png", "{}.png"),
    "two spaces": ("IMG  {}.png", "IMG  {}.png"),
    "backslashes": ("left\\{}.png", "left/{}.png"),
    "no extension": ("r_{}", "r_{}.png"),
    "other case": ("{}.JPG", "{}.jpg"),
    "dots": ("v1.2.{}", "v1.2.{}.png"),
    "not ASCII": ("Straße {}.png", "Straße {}.png"),
    "a separator of lines": ("a\u2028{}.png", "a\u2028{}.png"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_of_files(written, kind):
    """A name that is meant for a file finds it, in every format, with CRLF and a byte order mark."""
    named, stored = ([form.format(i) for i in range(COUNT)] for form in NAMES[kind])
    folder = written(named)
    written.images(stored)
    views = read_views(folder)
    assert (len(views.all), views.missing) == (COUNT, ())
    by_name = {view.name: view for view in views.all}
    for name, camera in zip(named, cameras(), strict=True):
        np.testing.assert_allclose(by_name[name].camera.to_world, camera.to_world, atol=1e-12)


def test_intrinsics_follow_evenly_resized_photographs(written):
    names = [f"{i}.png" for i in range(COUNT)]
    folder = written(names)
    written.images(names, 30, 20)
    views = read_views(folder)
    camera = views.train[0].camera
    assert (camera.width, camera.height) == (30, 20)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (25.0, 27.5, 13.75, 11.25)
    assert views.notes[0] == "the intrinsics of 9 photographs were scaled to the size of the image files, 0.png by 0.25"
    assert views.train[0].pixels.shape == (20, 30, 3)


def test_unevenly_resized_photographs_are_refused(written):
    names = [f"{i}.png" for i in range(COUNT)]
    folder = written(names)
    written.images(names, 30, 30)
    with pytest.raises(DataError, match=r"0.png.* 30 x 30"):
        read_views(folder)


def test_which_sizes_are_even():
    """Sizes of published sets and of their copies, rounded or cut off; one pixel more or less of a small image is not even."""
    for size, others in {
        (4946, 3286): [(2473, 1643), (1237, 822), (1236, 821), (618, 411), (618, 410)],
        (5187, 3361): [(2594, 1681), (2593, 1680), (1297, 840), (648, 420)],
        (1080, 1920): [(540, 960), (270, 480)],
    }.items():
        for other in others:
            assert is_even(size, other), (size, other)
            assert is_even(size[::-1], other[::-1]), (size, other)
    for size, other in [((12, 8), (13, 8)), ((120, 80), (30, 30)), ((4946, 3286), (3286, 4946)), ((100, 0), (50, 0))]:
        assert not is_even(size, other), (size, other)


def test_images_from_another_folder(written):
    """With `images`, folders at the start of names may be missing; two photographs in one file are refused."""
    names = [f"images/left/{i}.png" for i in range(COUNT)]
    folder = written(names)
    written.images([f"left/{i}.png" for i in range(COUNT)], 60, 40, folder="images_2")
    views = read_views(folder, images=folder / "images_2")
    assert len(views.all) == COUNT
    assert views.train[0].camera.width == 60
    with pytest.raises(DataError, match="no such folder of images"):
        read_views(folder, images=folder / "images_3")


def test_two_photographs_in_one_file(written):
    names = [f"{side}/{i}.png" for i in range(COUNT) for side in ("left", "right")][:COUNT]
    folder = written(names)
    written.images([f"{i}.png" for i in range(COUNT)], folder="flat")
    with pytest.raises(DataError, match=r"both left/0.png and right/0.png would be .*0.png"):
        read_views(folder, images=folder / "flat")


def test_cameras_in_one_place_are_refused(written):
    """Without parallax there is no depth; the rounding of large coordinates is no parallax."""

    def turned():
        found = [camera.placed(camera.to_world) for camera in cameras()]
        for i, camera in enumerate(found):
            camera.to_world[:, 3] = [5e5, 5.5e6, 30.0 + 1e-9 * i]
        return found

    names = [f"{i}.png" for i in range(COUNT)]
    folder = written(names, turned)
    written.images(names)
    with pytest.raises(DataError, match=r"all 9 cameras are at \(5e\+05, 5.5e\+06, 30\); without photographs from"):
        read_views(folder)


def test_dynamic_masks(written):
    names = [f"{i}.png" for i in range(COUNT)]
    folder = written(names)
    written.images(names)
    left = np.zeros((80, 120), np.uint8)
    left[:, :50] = 255
    file = next(folder.rglob("3.png"))
    save(file.with_name("dynamic_mask_3.png"), left)
    masks = {view.name: view.mask for view in read_views(folder).all}
    np.testing.assert_array_equal(masks["3.png"], left == 0)
    assert masks["4.png"] is None


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("name", ["{}.png", "{}.tif"])
def test_orientations_follow_the_cameras(written, orientation, name):
    """Cameras tell by their sizes whether they are those of turned images; COLMAP does not look at orientations."""
    names = [name.format(i) for i in range(COUNT)]
    for turned in (False, True):
        # A camera has 120 x 80 pixels, so an image that is shown so after a quarter turn is stored as 80 x 120
        size = (80, 120) if turned and orientation == 6 else (120, 80)
        folder = written(names)
        exif = PIL.Image.Exif()
        exif[TAG] = orientation
        written.images(names)
        files = sorted(next(folder.rglob(names[0])).parent.glob("*" + name[2:]))
        for i, file in enumerate(files):
            PIL.Image.fromarray(pixels(i, *size)).save(file, exif=exif)
        views = read_views(folder)
        colmap = (folder / "sparse").is_dir()
        applied = turned if orientation == 6 else not colmap
        view = min(views.all, key=lambda view: view.name)
        assert (view.camera.width, view.camera.height) == (120, 80)
        expected = shown(pixels(0, *size), orientation) if applied else pixels(0, *size)
        np.testing.assert_array_equal(view.pixels, expected)
        assert f"of 9 photographs is {'' if applied else 'not '}applied" in views.notes[0]


def test_paths_of_another_machine(written):
    """Photographs named by paths of another machine, and converted since, are found in the folder that the user names."""
    folder = written([f"/home/someone/scan/images/{i}.jpeg" for i in range(COUNT)])
    with pytest.raises(DataError, match="--images"):
        read_views(folder)
    written.images([f"{i}.png" for i in range(COUNT)], 60, 40, folder="pictures")
    assert len(read_views(folder, images=folder / "pictures").all) == COUNT
