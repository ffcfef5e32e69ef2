"""Data sets of this package's scenes: cameras agree with the tracer's, images with its renders, positions with the scene."""

import json
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.errors import DataError
from nrc_tracer.imaging import read_image, tone_map
from nrc_tracer.scene.load import load_scene
from nrc_tracer.scene.model import (
    ConstantLight,
    Cube,
    Film,
    Perspective,
    Rectangle,
    Rotate,
    Scale,
    Scene,
    SceneDescription,
    Sphere,
    Translate,
)
from nrc_tracer.tasks.nerf.rays import rays_of
from nrc_tracer.tasks.nerf.reading import read_views
from nrc_tracer.tasks.nerf.scene_camera import photograph_camera, scene_camera
from nrc_tracer.tasks.nerf.shooting import (
    PROBE_SIZE,
    Box,
    Probe,
    Shooting,
    place_cameras,
    r_sequence,
    subject_box,
)
from nrc_tracer.tasks.nerf.synthetic import DatasetWriter, ImageSettings, ViewRenderer, aabb_scale_for, unit_cube
from nrc_tracer.tracer import Renderer, run

SCENES = Path(__file__).resolve().parents[3] / "scenes"
GROUND = Rectangle(
    name="ground", to_world=(Scale(value=(20, 20, 1)), Rotate(axis=(1, 0, 0), angle=-90), Translate(value=(0, -0.5, 0)))
)


def toy(*shapes, light=1.0, film=None):
    description = SceneDescription(
        film=film or Film(width=16, height=12),
        shapes=shapes or (Cube(to_world=(Scale(value=0.5),)),),
        lights=(ConstantLight(radiance=light),),
    )
    return Scene(description)


def probe(scene, box=None):
    return Probe(Renderer(scene, width=PROBE_SIZE, height=PROBE_SIZE, device="cpu"), box or subject_box(scene))


@pytest.mark.parametrize("fov_axis", ["x", "y", "smaller"])
def test_cameras_agree_with_those_of_the_tracer(fov_axis):
    """The point that the tracer sees at a pixel's centre is projected there to 1e-3 pixels, and lies on the training ray."""
    scene = load_scene(SCENES / "window-room.json")
    # Make the samples of a pixel lie almost at its centre
    film = Film(width=96, height=64, filter="box", filter_radius=1e-5)
    scene = Scene(msgspec.structs.replace(scene.description, film=film), scene.meshes, scene.images, scene.source)
    own = msgspec.structs.replace(scene.description.camera, fov_axis=fov_axis, principal_point_offset=(0.07, -0.04))
    camera = photograph_camera(own, 96, 64)
    scale, offset = 0.2, np.array([0.4, 0.1, 0.2])
    made = rays_of(camera, scale, offset, TorchLauncher("cpu"))
    for eye in (own, scene_camera(camera)):
        layers = Renderer(scene, device="cpu", camera=eye).layers(("position", "depth"))
        points = layers["position"].reshape(-1, 3).astype(np.float64)
        seen = np.isfinite(layers["depth"].ravel())
        assert seen.mean() > 0.9
        rows, columns = np.divmod(np.arange(96 * 64), 96)
        found, depth = camera.project(points)
        # Points are rounded to float32 along their triangles, which is sideways too on surfaces seen at a grazing angle
        error = np.abs(found[seen] - np.column_stack((columns, rows))[seen] - 0.5)
        assert np.quantile(error, 0.999) < 1e-3
        assert error.max() < 5e-3
        np.testing.assert_allclose(depth[seen], layers["depth"].ravel()[seen], rtol=1e-5)
        toward = points * scale + offset - made.origins.double().numpy()
        toward /= np.linalg.norm(toward, axis=1, keepdims=True)
        assert np.quantile(np.abs(made.directions.numpy()[seen] - toward[seen]), 0.999) < 5e-6


def test_ground_and_sky_do_not_belong_to_the_subject():
    cube = Cube(to_world=(Scale(value=0.5),))
    sky = Sphere(radius=100.0)
    for shapes in ((cube,), (cube, GROUND), (GROUND, sky, cube)):
        box = subject_box(toy(*shapes))
        np.testing.assert_allclose([box.low, box.high], [[-0.5] * 3, [0.5] * 3], atol=1e-6)
    # Large shapes that hide nothing belong to the subject
    big = Sphere(radius=10.0, center=(20.0, 0.0, 0.0))
    np.testing.assert_allclose(subject_box(toy(cube, big)).high, [30.0, 10.0, 10.0], atol=1e-5)
    room = Cube(to_world=(Scale(value=5.0),))
    np.testing.assert_allclose(subject_box(toy(cube, room)).high, [5.0] * 3, atol=1e-5)
    with pytest.raises(DataError, match="no shapes"):
        subject_box(Scene(SceneDescription()))


def test_the_sequence_is_evenly_spread():
    """Any 64 consecutive cells of 4 x 4 x 4 hold about equal numbers of 1,000 points."""
    points = r_sequence(1000, 3, 5)
    cells = np.floor(4 * points).astype(int) @ (16, 4, 1)
    counts = np.bincount(cells, minlength=64)
    assert counts.min() >= 8
    assert counts.max() <= 24  # 15.6 on average; of 1,000 random points some cell has fewer than 7 in most cases
    assert not np.array_equal(points, r_sequence(1000, 3, 6))
    np.testing.assert_array_equal(points[:10], r_sequence(10, 3, 5))


def test_cameras_around_an_object():
    """Cameras look at the centre from above the ground, on a sphere around it, with all of it in the image."""
    scene = toy(Cube(to_world=(Scale(value=0.5),)), GROUND)
    kind, cameras = place_cameras(probe(scene), Perspective(), Shooting(None, 32, 24), 20)
    assert kind == "orbit"
    places = np.array([camera.position for camera in cameras])
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), np.linalg.norm(places[0]), rtol=1e-9)
    assert (places[:, 1] > 0.0).all()
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    for camera in cameras:
        np.testing.assert_allclose(camera.project(np.zeros((1, 3)))[0], [[16, 12]], atol=1e-9)
        pixels = camera.project(corners)[0]
        assert ((pixels >= 0) & (pixels <= (32, 24))).all()
    # From all sides
    assert len(set(np.floor(np.arctan2(places[:, 2], places[:, 0]) / (np.pi / 2)))) == 4
    again = place_cameras(probe(scene), Perspective(), Shooting(None, 32, 24), 5)[1]
    np.testing.assert_array_equal(again[4].to_world, cameras[4].to_world)
    other = place_cameras(probe(scene), Perspective(), Shooting(None, 32, 24, seed=1), 5)[1]
    assert not np.array_equal(other[4].to_world, cameras[4].to_world)


@pytest.mark.parametrize("name", ["cornell-box", "window-room"])
def test_cameras_inside_a_room(name):
    """No camera is inside or close to anything solid: the corners of the room's boxes and meshes enclose none."""
    scene = load_scene(SCENES / f"{name}.json")
    look = probe(scene)
    kind, cameras = place_cameras(look, scene.description.camera, Shooting(None, 20, 20), 12)
    assert kind == "inside"
    places = np.array([camera.position for camera in cameras])
    assert look.box.holds(places).all()
    for placed in scene.description.shapes:
        alone = subject_box(
            Scene(msgspec.structs.replace(scene.description, shapes=(placed,)), scene.meshes, scene.images)
        )
        if isinstance(placed, Cube):
            assert not alone.holds(places).any(), placed.name
    for camera in cameras:
        near, share = look.look_around(camera.position)
        assert near >= 0.05 * look.box.diagonal
        assert share > 0.4
    # Well spread: no two at the same position, over most of the room
    spread = places.std(axis=0) / (look.box.high - look.box.low)
    assert (spread > 0.12).all()


def test_impossible_camera_positions_are_refused():
    """There is no light inside a closed solid, and no room around one that fills its surroundings."""
    solid = toy(Cube(to_world=(Scale(value=0.5),)))
    with pytest.raises(DataError, match="0 of 3 positions inside"):
        place_cameras(probe(solid), Perspective(), Shooting("inside", 16, 16), 3)
    walled = toy(Cube(to_world=(Scale(value=0.5),)), Cube(to_world=(Scale(value=0.9),)))
    with pytest.raises(DataError, match="0 of 3 positions around"):
        place_cameras(
            probe(walled, Box(np.full(3, -0.5), np.full(3, 0.5))), Perspective(), Shooting("orbit", 16, 16), 3
        )


def test_the_unit_cube_contains_the_subject():
    box = Box(np.array([-1.0, 0.0, 2.0]), np.array([3.0, 1.0, 4.0]))
    scale, offset = unit_cube(box)
    corners = np.array([box.low, box.high]) * scale + offset
    assert corners.min() > 0.0
    assert corners.max() < 1.0
    np.testing.assert_allclose(corners.mean(axis=0), 0.5)
    assert np.ptp(corners, axis=0).max() > 0.9


def test_the_box_contains_everything_visible():
    """A ground of side 40 around a cube of side 1: its visible extent in closed form, where rays through pixels meet it."""
    scene = toy(Cube(to_world=(Scale(value=0.5),)), GROUND)
    look = probe(scene)
    cameras = place_cameras(look, Perspective(), Shooting(None, 16, 12, elevation=(20.0, 60.0)), 6)[1]
    renderer = Renderer(scene, device="cpu")
    scale, offset = unit_cube(look.box)
    reach = []
    for camera in cameras:
        rows, columns = np.divmod(np.arange(16 * 12), 16)
        directions = camera.directions(np.column_stack((columns, rows)) + 0.5)
        ways = (np.array([[-0.5], [0.5]])[:, None] - camera.position) / directions  # to the planes of the cube's sides
        in_cube = ways.min(axis=0).max(axis=1) < ways.max(axis=0).min(axis=1)
        way = (-0.5 - camera.position[1]) / directions[:, 1]
        points = camera.position + way[:, None] * directions
        on_ground = (way > 0.0) & (np.abs(points[:, [0, 2]]).max(axis=1) < 20.0) & ~in_cube
        reach += [np.zeros(in_cube.sum()), 2.0 * np.abs(points[on_ground] * scale + offset - 0.5).max(axis=1)]
    side = np.quantile(np.concatenate(reach), 0.99)
    assert 1.1 * 16 < side < 32 / 1.1  # pixels' samples are not at their centres
    assert aabb_scale_for(renderer, cameras, look.box) == 2 ** math.ceil(math.log2(side))
    assert aabb_scale_for(Renderer(toy(), device="cpu"), cameras, look.box) == 1


def shoot(folder, scene, picture, *, count=2, stop_after=None):
    """Render a small set; returns the writer."""
    cameras = place_cameras(probe(scene), Perspective(), Shooting("orbit", 16, 12), count + 1)[1]
    sets = {"train": cameras[:count], "val": [], "test": cameras[count:]}
    writer = DatasetWriter(folder, sets, picture, (16, 12), {"scene": "toy"})
    renderer = ViewRenderer(picture, lambda scene: Renderer(scene, device="cpu"), scene)
    for number, view in enumerate(writer.missing()):
        if number == stop_after:
            return writer
        writer.write(view, renderer.render(view, lambda renderer, spp: run(renderer, spp=spp)))
    writer.finish(subject_box(scene), 1, {})
    return writer


def test_a_set_is_read_back(tmp_path):
    writer = shoot(tmp_path, toy(), ImageSettings(spp=4))
    views = read_views(tmp_path)
    assert (len(views.train), len(views.validation), len(views.test)) == (2, 0, 1)
    assert views.split == "transforms_test.json"
    assert not views.has_alpha
    scale, offset = unit_cube(Box(np.full(3, -0.5), np.full(3, 0.5)))
    assert (views.scale, views.aabb_scale) == (scale, 1)
    np.testing.assert_allclose(views.offset, offset)
    for view, camera in zip(views.train, writer.cameras["train"], strict=True):
        np.testing.assert_allclose(view.camera.to_world, camera.to_world, atol=1e-12)
        np.testing.assert_allclose([view.camera.fx, view.camera.cx], [camera.fx, camera.cx], rtol=1e-12)


def test_images_equal_renders_of_the_tracer(tmp_path):
    """An opaque image is, bit for bit, the tone-mapped render with the same camera, seed and exposure."""
    writer = shoot(tmp_path, toy(light=0.6), ImageSettings(spp=8, seed=3, exposure=-1.0))
    renderer = Renderer(
        toy(light=0.6), device="cpu", camera=scene_camera(writer.cameras["train"][1]), seed=3 * 1_000_003 + 1
    )
    renderer.step(8)
    expected = (tone_map(renderer.image().rgb, exposure=-1.0) * 255.0 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(read_image(tmp_path / "train/r_001.png"), expected)
    assert expected.std() > 10


def test_transparent_images_contain_no_light_of_the_sky(tmp_path):
    """In a white furnace a white cube is as bright as the sky: colours are straight, and alpha is the fraction of the surface.

    A cube of reflectance 0.5 under light 1 shows 0.5 on all faces that see no other face, even at its edges, where half of a
    pixel is sky.
    """
    shoot(tmp_path, toy(Cube(to_world=(Scale(value=0.5),))), ImageSettings(spp=64, transparent=True))
    pixels = read_image(tmp_path / "train/r_000.png")
    assert pixels.shape == (12, 16, 4)
    alpha = pixels[..., 3]
    assert (alpha == 0).any()
    assert (alpha == 255).any()
    edges = (alpha > 60) & (alpha < 200)
    assert edges.any()
    # The default material is grey 0.5, or 188 in sRGB. Test edge pixels with at least 16 samples on the surface
    colors = pixels[alpha > 60][:, :3].astype(float)
    np.testing.assert_allclose(colors, 188.0, atol=12.0)
    assert abs(colors.mean() - 188.0) < 1.0
    assert (pixels[alpha == 0] == 0).all()


def test_continuing_an_interrupted_set_gives_the_same_files(tmp_path):
    """Complete images are kept, truncated ones are rendered again, and the result is that of a single run."""
    picture = ImageSettings(spp=4)
    shoot(tmp_path / "once", toy(), picture)
    shoot(tmp_path / "twice", toy(), picture, stop_after=2)
    assert not list((tmp_path / "twice").glob("transforms*"))
    first = tmp_path / "twice/train/r_000.png"
    kept = first.stat().st_mtime_ns
    (tmp_path / "twice/train/r_001.png").write_bytes(b"\x89PNG")
    shoot(tmp_path / "twice", toy(), picture)
    assert first.stat().st_mtime_ns == kept
    names = sorted(str(path.relative_to(tmp_path / "once")) for path in (tmp_path / "once").rglob("*.*"))
    assert len(names) == 3 + 2 + 1
    for name in names:
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes(), name


def test_a_folder_with_other_files_is_refused(tmp_path):
    shoot(tmp_path / "set", toy(), ImageSettings(spp=4), stop_after=1)
    with pytest.raises(DataError, match="made with another spp; choose another folder"):
        shoot(tmp_path / "set", toy(), ImageSettings(spp=5))
    (tmp_path / "set/dataset.json").write_text("{")
    with pytest.raises(DataError, match="other settings"):
        shoot(tmp_path / "set", toy(), ImageSettings(spp=4))
    (tmp_path / "set/dataset.json").unlink()
    with pytest.raises(DataError, match=r"images of its own \(r_000.png\)"):
        shoot(tmp_path / "set", toy(), ImageSettings(spp=4))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file: cannot be written"):
        shoot(tmp_path / "file", toy(), ImageSettings(spp=4))


def test_the_files_record_how_they_were_made(tmp_path):
    shoot(tmp_path, toy(), ImageSettings(spp=4))
    document = json.loads((tmp_path / "transforms_train.json").read_text())
    assert {"camera_angle_x", "w", "h", "aabb_scale", "scale", "offset", "frames", "nrc_tracer"} <= set(document)
    assert document["frames"][0]["file_path"] == "./train/r_000"
    assert not (tmp_path / "transforms_val.json").exists()
