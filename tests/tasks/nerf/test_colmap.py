"""COLMAP's models: round trips, comparison with pycolmap, damaged files."""

import numpy as np
import pytest

from nrc_tracer.errors import DataError
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.camera_models import MODELS
from nrc_tracer.tasks.nerf.colmap import colmap_model, read_colmap_views
from nrc_tracer.tasks.nerf.colmap_format import (
    ColmapCamera,
    ColmapImage,
    ColmapModel,
    ColmapPoint,
    read_model,
    write_model,
)
from nrc_tracer.tasks.nerf.reading import read_views
from nrc_tracer.tasks.nerf.views import View
from tests.tasks.nerf.photo_sets import FOX, pixels, pose, save

RNG = np.random.default_rng(5)
PARAMETERS = {
    "SIMPLE_PINHOLE": (10.0, 6.0, 4.0),
    "PINHOLE": (10.0, 11.0, 6.0, 4.0),
    "SIMPLE_RADIAL": (10.0, 6.0, 4.0, 0.1),
    "RADIAL": (10.0, 6.0, 4.0, 0.1, -0.05),
    "OPENCV": (10.0, 11.0, 6.0, 4.0, 0.1, -0.05, 0.01, -0.02),
    "OPENCV_FISHEYE": (10.0, 11.0, 6.0, 4.0, 0.1, -0.05, 0.01, -0.002),
    "SIMPLE_RADIAL_FISHEYE": (10.0, 6.0, 4.0, 0.1),
    "RADIAL_FISHEYE": (10.0, 6.0, 4.0, 0.1, -0.05),
    "FULL_OPENCV": (10.0, 11.0, 6.0, 4.0, 0.1, -0.05, 0.01, -0.02, 0.003, 0.0, 0.0, 0.0),
    "THIN_PRISM_FISHEYE": (10.0, 11.0, 6.0, 4.0, 0.1, -0.05, 0.0, 0.0, 0.01, -0.002, 0.0, 0.0),
    "RAD_TAN_THIN_PRISM_FISHEYE": (10.0, 11.0, 6.0, 4.0, 0.1, -0.05, 0.01, -0.002, *(0.0,) * 8),
    "SIMPLE_FISHEYE": (10.0, 6.0, 4.0),
    "FISHEYE": (10.0, 11.0, 6.0, 4.0),
}


def model(points=True, folder="a b"):
    cameras = {i: ColmapCamera(name, 12, 8, PARAMETERS[name]) for i, name in enumerate(PARAMETERS, start=1)}
    images = {}
    for i in range(1, len(PARAMETERS) + 1):
        q = RNG.normal(size=4)
        seen = {}
        if points:
            count = i % 4
            ids = np.arange(count) - 1
            seen = {"points": RNG.uniform(0, 8, (count, 2)), "point_ids": ids.astype(np.int64)}
        images[i] = ColmapImage(
            tuple((q / np.linalg.norm(q)).tolist()), tuple(RNG.normal(size=3).tolist()), i, f"{folder}/{i}.png", **seen
        )
    track = np.array([[1, 0], [2, 1]], np.int32)
    known = {7: ColmapPoint((0.1, -2.0, 1e-9), (255, 0, 7), 0.75, track)} if points else {}
    return ColmapModel(cameras, images, known)


def same(one, two):
    assert {k: vars(v) for k, v in one.cameras.items()} == {k: vars(v) for k, v in two.cameras.items()}
    assert one.images.keys() == two.images.keys()
    assert one.points.keys() == two.points.keys()
    for kind in ("images", "points"):
        for key, value in getattr(one, kind).items():
            for name, content in vars(value).items():
                np.testing.assert_array_equal(content, getattr(getattr(two, kind)[key], name), err_msg=name)


@pytest.mark.parametrize("binary", [True, False])
def test_a_written_model_is_read_back(tmp_path, binary):
    written = model()
    write_model(written, tmp_path / "m", binary=binary)
    same(written, read_model(tmp_path / "m"))


def test_text_and_binary_are_the_same(tmp_path):
    write_model(model(), tmp_path / "text", binary=False)
    text = read_model(tmp_path / "text")
    write_model(text, tmp_path / "binary", binary=True)
    same(text, read_model(tmp_path / "binary"))


def full_model():
    """A model with every lens, and features as pycolmap checks them."""
    base = model(points=False, folder="a")
    return ColmapModel(base.cameras, base.images)


def known_model(pycolmap):
    """The model with the lenses that the installed version of pycolmap knows."""
    full = full_model()
    known = {number for number, lens in full.cameras.items() if lens.model in pycolmap.CameraModelId.__members__}
    images = {number: image for number, image in full.images.items() if image.camera in known}
    return ColmapModel({number: full.cameras[number] for number in known}, images)


@pytest.mark.parametrize("binary", [True, False])
def test_pycolmap_reads_the_model_and_projects_alike(tmp_path, binary):
    """Points that COLMAP projects with the written model lie where this package's cameras project them."""
    pycolmap = pytest.importorskip("pycolmap")
    written = known_model(pycolmap)
    write_model(written, tmp_path / "sparse/0", binary=binary)
    for image in written.images.values():
        save(tmp_path / "images" / image.name, pixels(0))
    views = {view.name: view for view in read_views(tmp_path).all}
    theirs = pycolmap.Reconstruction(str(tmp_path / "sparse/0"))
    assert theirs.num_images() == len(written.images)
    points = RNG.uniform(-1.0, 1.0, (20, 3))
    for image in theirs.images.values():
        camera = views[image.name].camera
        # In front of the camera, near its axis
        places = camera.position + 4.0 * camera.forward + points @ camera.to_world[:, :3].T
        expected = np.array([image.project_point(place) for place in places], np.float64)
        np.testing.assert_allclose(camera.project(places)[0], expected, atol=1e-6)


def test_pycolmaps_own_files_are_read(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    write_model(known_model(pycolmap), tmp_path / "ours", binary=False)
    theirs = pycolmap.Reconstruction(str(tmp_path / "ours"))
    for folder, write in (("text", theirs.write_text), ("binary", theirs.write_binary)):
        (tmp_path / folder).mkdir()
        write(str(tmp_path / folder))
        found, ours = read_model(tmp_path / folder), read_model(tmp_path / "ours")
        assert {k: vars(v) for k, v in found.cameras.items()} == {k: vars(v) for k, v in ours.cameras.items()}
        for key, image in found.images.items():
            np.testing.assert_allclose(np.abs(np.dot(image.rotation, ours.images[key].rotation)), 1.0, atol=1e-12)
            assert image.name == ours.images[key].name
            np.testing.assert_allclose(image.translation, ours.images[key].translation, atol=1e-12)


@pytest.mark.parametrize("layout", ["sparse/0", "sparse", "."])
@pytest.mark.parametrize("binary", [True, False])
def test_views_are_read_back(tmp_path, layout, binary):
    """Cameras written as a COLMAP model are read back unchanged; the cameras place the scene."""
    lenses = [("pinhole", (0.0,) * 6), ("opencv", FOX), ("fisheye", (0.05, -0.02, 0.003, 0.001, 0.0, 0.0))] * 3
    views = []
    for i, (name, distortion) in enumerate(lenses):
        camera = PhotoCamera(12, 8, 10.0, 11.0, 5.5, 4.5, distortion, name, pose(0.7 * i))
        views.append(View(f"{i}.png", camera, pixels(i)))
        save(tmp_path / f"images/{i}.png", pixels(i))
    write_model(colmap_model(views), tmp_path / layout, binary=binary)
    found = read_views(tmp_path)
    assert [view.name for view in found.test] == ["0.png", "8.png"]
    for view in found.all:
        camera, ours = view.camera, views[int(view.name[0])].camera
        np.testing.assert_allclose(camera.to_world, ours.to_world, atol=1e-12)
        assert (camera.model, camera.distortion, camera.fx, camera.cy) == (ours.model, ours.distortion, 10.0, 4.5)
        np.testing.assert_array_equal(view.pixels, pixels(int(view.name[0])))
    np.testing.assert_allclose(found.offset, 0.5, atol=1e-9)
    assert "chosen from the cameras" in found.notes[0]
    assert len(read_colmap_views(tmp_path / layout, tmp_path / layout).all) == 9


def test_missing_images_and_masks(tmp_path):
    write_model(full_model(), tmp_path / "sparse/0")
    for i in (2, 3, 5):
        save(tmp_path / f"images/a/{i}.png", pixels(i))
    save(tmp_path / "masks/a/3.png.png", np.full((8, 12), 255, np.uint8))
    views = read_views(tmp_path, scale=1.0, offset=(0, 0, 0), aabb_scale=4)
    assert (len(views.all), len(views.missing), views.scale, views.aabb_scale) == (3, 10, 1.0, 4)
    assert [view.mask is not None for view in sorted(views.all, key=lambda v: v.name)] == [False, True, False]


def set_up(tmp_path, binary):
    write_model(full_model(), tmp_path / "sparse/0", binary=binary)
    for i in range(1, len(PARAMETERS) + 1):
        save(tmp_path / f"images/a/{i}.png", pixels(i))


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("cameras", "PINHOLE 12 8", "PINHOLES 12 8", 'cameras.txt:3: unknown camera model "SIMPLE_PINHOLES"'),
        ("cameras", "SIMPLE_RADIAL 12 8 10.0", "FOV 12 8 9.0 10.0", "camera model FOV is not supported"),
        ("cameras", "12 8 10.0 11.0 6.0 4.0\n", "12 8 10.0 11.0 6.0\n", "PINHOLE takes 4 parameters, not 3"),
        ("cameras", "SIMPLE_PINHOLE 12 8 10.0", "SIMPLE_PINHOLE 12 8 0.0", "image 1 .*focal length must be positive"),
        ("cameras", "SIMPLE_PINHOLE 12 8", "SIMPLE_PINHOLE 13 8", "image 1 .*12 x 8 pixels, but its camera has 13 x 8"),
        ("cameras", "SIMPLE_PINHOLE 12 8 10.0", "SIMPLE_PINHOLE 12 8 ten", "could not convert string"),
        ("cameras", "1 SIMPLE_PINHOLE", "77 SIMPLE_PINHOLE", "image 1 .*there is no camera 1"),
    ],
)
def test_errors_in_text_files_are_one_line(tmp_path, file, old, new, words):
    set_up(tmp_path, binary=False)
    path = tmp_path / f"sparse/0/{file}.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=words) as caught:
        read_views(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("FOV", "10 11 6 4 0.5"),
        ("DIVISION", "10 11 6 4 0.1"),
        ("SIMPLE_DIVISION", "10 6 4 0.1"),
        ("EUCM", "10 11 6 4 0.5 1"),
        ("EQUIRECTANGULAR", "12 8"),
        ("FULL_OPENCV", "10 11 6 4 0 0 0 0 0 0.1 0 0"),
        ("THIN_PRISM_FISHEYE", "10 11 6 4 0 0 0 0 0 0 0.1 0"),
        ("RAD_TAN_THIN_PRISM_FISHEYE", "10 11 6 4 0 0 0 0 0 0 0 0.1 0 0 0 0"),
    ],
)
def test_lenses_that_are_not_supported_are_named(tmp_path, model, parameters):
    """The message says to undistort, and names COLMAP's undistorted images where they exist."""
    set_up(tmp_path, binary=False)
    file = tmp_path / "sparse/0/cameras.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], f"1 {model} 12 8 {parameters}", *lines[3:]]))
    with pytest.raises(DataError, match=rf"image 1 .*{model} .*not supported; undistort the images first .*result$"):
        read_views(tmp_path)
    write_model(full_model(), tmp_path / "dense/0/sparse")
    with pytest.raises(DataError, match=r"not supported; undistort the images first .*result: .*dense/0$"):
        read_views(tmp_path)


def test_every_model_has_pycolmaps_number_and_parameters():
    pycolmap = pytest.importorskip("pycolmap", minversion="4")
    theirs = {
        name: (int(number), len(pycolmap.Camera.create_from_model_id(1, number, 10.0, 12, 8).params))
        for name, number in pycolmap.CameraModelId.__members__.items()
        if name != "INVALID"
    }
    ours = {name: (found.number, len(found.parameters)) for name, found in MODELS.items()}
    assert len(theirs) >= 18
    assert {name: ours.get(name) for name in theirs} == theirs


@pytest.mark.parametrize("binary", [True, False])
def test_rigs_of_cameras(tmp_path, binary):
    """A model of COLMAP 3.12 and later with a rig of two cameras, whose poses follow from the frame's and the sensor's."""
    pycolmap = pytest.importorskip("pycolmap", minversion="3.12")
    options = pycolmap.SyntheticDatasetOptions(num_rigs=1, num_cameras_per_rig=2, num_frames_per_rig=3, num_points3D=8)
    options.camera_width, options.camera_height = 12, 8
    made = pycolmap.synthesize_dataset(options)
    (tmp_path / "sparse/0").mkdir(parents=True)
    (made.write_binary if binary else made.write_text)(str(tmp_path / "sparse/0"))
    assert (tmp_path / f"sparse/0/rigs.{'bin' if binary else 'txt'}").is_file()
    for image in made.images.values():
        save(tmp_path / "images" / image.name, pixels(0))
    views = {view.name: view.camera for view in read_views(tmp_path).all}
    assert len(views) == 6
    for image in made.images.values():
        world_to_camera = image.cam_from_world().matrix()
        center = -world_to_camera[:, :3].T @ world_to_camera[:, 3]
        np.testing.assert_allclose(views[image.name].position, center, atol=1e-9)


@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [line for line in lines if line.strip()],  # no line where there are no features
        lambda lines: [line for pair in lines for line in (pair, "")],  # a blank line after each, as \r\r\n reads
        lambda lines: [*lines, "", ""],
        lambda lines: [f"  {line}\t" for line in lines],
    ],
    ids=["no blank lines", "more blank lines", "blank lines at the end", "padded"],
)
def test_blank_lines_do_not_matter(tmp_path, change, points):
    written = model()
    write_model(written, tmp_path, binary=False)
    file = tmp_path / "images.txt"
    file.write_text("\n".join(change(file.read_text().split("\n"))))
    found = read_model(tmp_path, points=points)
    assert found.images.keys() == written.images.keys()
    if points:
        same(written, found)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1.5 2.5", r"images.txt:4: has 2 words, so it is not an image; as features of image 1 it must be triples"),
        ("1.5 2.5 x", r"images.txt:4: has 3 words"),
        ("1 0 0 0 0 0 0 0 1 again.png", r"images.txt:4: there are two images 1"),
        ("1.5 2.5 99999999999999999999", r"images.txt:4: has an integer of more than 64 bits"),
    ],
)
def test_a_line_that_is_neither_image_nor_features(tmp_path, line, words):
    write_model(model(points=False), tmp_path, binary=False)
    file = tmp_path / "images.txt"
    lines = file.read_text().split("\n")
    file.write_text("\n".join([*lines[:3], line, *lines[4:]]))
    with pytest.raises(DataError, match=words):
        read_model(tmp_path)


@pytest.mark.parametrize("layout", ["colmap/sparse/0", "colmap/sparse", "colmap"])
def test_nerfstudios_folders(tmp_path, layout):
    """nerfstudio keeps the model in `colmap`, beside `images`."""
    write_model(full_model(), tmp_path / layout)
    for i in range(1, len(PARAMETERS) + 1):
        save(tmp_path / f"images/a/{i}.png", pixels(i))
    for given in (tmp_path, tmp_path / layout, tmp_path / layout / "images.bin"):
        assert len(read_views(given).all) == len(PARAMETERS)


def test_one_of_several_models(tmp_path):
    set_up(tmp_path, binary=True)
    write_model(full_model(), tmp_path / "sparse/1")
    assert read_views(tmp_path).notes[0].endswith("sparse has 2 models that are not connected; 0 is read")


def test_a_folder_with_undistorted_images_only(tmp_path):
    write_model(full_model(), tmp_path / "dense/0/sparse")
    with pytest.raises(DataError, match=r"has no COLMAP model, but .*dense/0 has one of undistorted images"):
        read_views(tmp_path)


def test_an_invalid_quaternion_is_refused(tmp_path):
    base = full_model()
    images = {**base.images, 4: ColmapImage((0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 4, "a/4.png")}
    write_model(ColmapModel(base.cameras, images), tmp_path / "sparse/0")
    save(tmp_path / "images/a/4.png", pixels(0))
    with pytest.raises(DataError, match=r"image 4 .*not a quaternion"):
        read_views(tmp_path)


@pytest.mark.parametrize("file", ["cameras", "images", "points3D"])
def test_damaged_binaries(tmp_path, file):
    """A file truncated anywhere, or with any byte changed, is read or refused in one line, without delay."""
    write_model(model(), tmp_path)
    path = tmp_path / f"{file}.bin"
    data = path.read_bytes()
    for end in range(0, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:end])
        with pytest.raises(DataError, match=rf"{file}.bin: .*damaged"):
            read_model(tmp_path)
    said = []
    for at in range(0, len(data), max(1, len(data) // 200)):
        path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
        said.append(refusal(tmp_path))
    assert any(said)
    assert not any("\n" in words for words in said)


def refusal(folder):
    """The reason why a model is refused; empty if it is not refused."""
    try:
        read_model(folder)
    except DataError as error:
        return str(error)
    return ""


def test_folders_without_images_are_refused(tmp_path):
    write_model(full_model(), tmp_path / "sparse/0")
    with pytest.raises(DataError, match='no folder "images"'):
        read_views(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="none of the 13 images of the model exists"):
        read_views(tmp_path)
    write_model(ColmapModel({}, {}), tmp_path / "sparse/0")
    with pytest.raises(DataError, match="the model has no images"):
        read_views(tmp_path)
