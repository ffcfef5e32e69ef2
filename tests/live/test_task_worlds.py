"""Worlds of images, shapes and radiance fields, and the session's state machine with them, without a server."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import PIL.Image
import pytest

import nrc_tracer as nrc
from nrc_tracer.errors import NrcError
from nrc_tracer.live.image_world import ImageWorld
from nrc_tracer.live.nerf_world import NerfWorld, page_camera
from nrc_tracer.live.path_kinds import IMAGE, PHOTOGRAPHS, SCENE, SNAPSHOT, kind_of
from nrc_tracer.live.refinement import Refinement, Speed, pixel_points
from nrc_tracer.live.sdf_world import SdfWorld
from nrc_tracer.live.session import REST_SECONDS, Session, State
from nrc_tracer.live.sight import Sight, camera_at
from nrc_tracer.live.task_edits import ChoosePhotograph, Pause, SetCrop, SetSlice
from nrc_tracer.live.task_viewing import training_world, world_of
from nrc_tracer.live.task_world import FIRST_STEPS
from nrc_tracer.live.video import make_video
from nrc_tracer.live.view import View
from nrc_tracer.live.world import Budget
from nrc_tracer.nn.instant_ngp import write_ingp
from nrc_tracer.tasks.image.arrays import array_source
from nrc_tracer.tasks.image.fit import ImageTask
from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.fit import NerfTask
from nrc_tracer.tasks.nerf.rays import rays_of
from nrc_tracer.tasks.nerf.scene_camera import looking_at
from nrc_tracer.tasks.nerf.views import View as Photograph
from nrc_tracer.tasks.nerf.views import Views
from nrc_tracer.tasks.sdf.fit import SdfTask
from nrc_tracer.tasks.sdf.mesh import unit_mesh
from nrc_tracer.tasks.training import Training
from tests.live.stand_ins import Clock, Screen

SIDE = 48
CENTER = (slice(SIDE // 3, 2 * SIDE // 3), slice(SIDE // 3, 2 * SIDE // 3))


def picture(width=40, height=30):
    """A picture whose pixels all differ, uint8 [height, width, 3]."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack((columns * 6, rows * 8, (columns + rows) * 3), axis=2).astype(np.uint8)


def sphere_mesh():
    """A sphere of radius 2 around (10, 0, 0)."""
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=2.0)
    return unit_mesh(mesh.vertices + np.array((10.0, 0.0, 0.0)), mesh.faces)


def photographs(count=4):
    """Photographs of a red plane in front of a blue one, from a circle."""
    found = []
    for index in range(count):
        angle = 2.0 * np.pi * index / count
        place = np.array([2.0 * np.cos(angle), 2.0 * np.sin(angle), 0.5])
        pose = looking_at(place, np.zeros(3), np.array([0.0, 0.0, 1.0]))
        pixels = np.full((SIDE, SIDE, 3), (20, 20, 200), np.uint8)
        pixels[CENTER] = (200, 20 + index, 20)
        camera = PhotoCamera(SIDE, SIDE, SIDE, SIDE, SIDE / 2, SIDE / 2, to_world=pose)
        found.append(Photograph(f"{index}.png", camera, pixels))
    return Views(tuple(found[1:]), test=(found[0],), scale=0.3)


def still(view, samples=None):
    return Budget(view.width, view.height, seconds=1e3, most_samples=samples)


def small(world, layer=None, **changes):
    return dataclasses.replace(world.start, width=SIDE, height=SIDE, layer=layer, **changes)


class Drawn:
    """A painter of the points themselves."""

    def __init__(self):
        self.points = []

    def __call__(self, points):
        self.points.append(points)
        return points.astype(np.float32)


def test_a_refinement_draws_small_pictures_then_all_pixels_then_more_samples():
    """The first full picture has its samples at the centres of the pixels; the mean of many lies near them."""
    refinement, painter = Refinement(16, 8, samples=3, least_pixels=4, speed=Speed()), Drawn()
    sizes = []
    while not refinement.is_complete:
        refinement.add(painter, 0.0, lambda: False)
        sizes.append(refinement.picture.shape[:2])
        if refinement.samples == 1:
            first = refinement.picture
    assert sizes == [(2, 4), (4, 8), (8, 16), (8, 16), (8, 16)]
    np.testing.assert_allclose(first.reshape(-1, 2), pixel_points(np.arange(128), 16, 8), atol=1e-6)
    assert np.abs(refinement.picture - first).max() < 1.0 / 8
    assert not refinement.add(painter, 1.0, lambda: False)


def test_an_interrupted_refinement_goes_on_where_it_was():
    """Nothing is painted while it is interrupted, and no point is painted twice."""
    speed, painter = Speed(), Drawn()
    speed.seconds_per_point = 1.0  # so that pieces are small
    refinement = Refinement(100, 100, samples=1, least_pixels=10**6, speed=speed)
    assert not refinement.add(painter, 1e3, lambda: True)
    assert painter.points == []
    assert not refinement.add(painter, 0.0, lambda: False)
    assert refinement.add(painter, 1e3, lambda: False)
    assert sum(len(points) for points in painter.points) == 100 * 100


def test_a_camera_sees_what_it_looks_at():
    """The middle of the picture is the target, and up is up."""
    camera = camera_at(np.array([1.0, 2.0, 3.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]), 40.0)
    sight = Sight(View(camera, 200, 100))
    middle, top, right = sight.directions(np.array([[0.5, 0.5], [0.5, 0.0], [1.0, 0.5]]))
    np.testing.assert_allclose(middle, -np.array([1.0, 2.0, 3.0]) / np.sqrt(14.0), atol=1e-9)
    assert top[2] > middle[2]
    assert np.degrees(np.arccos(middle @ top)) == pytest.approx(20.0)
    assert sight.half_width == pytest.approx(2.0 * sight.half_height)
    assert np.cross(middle, right)[2] < 0.0  # right of the axis is clockwise, seen from above


# Images


def test_an_image_is_shown_pixel_by_pixel():
    """A camera close to the image shows squares of single pixels, at the places where they are."""
    pixels = picture()
    world = ImageWorld(None, array_source(pixels))
    distance = 0.5 * 4 * world.unit / np.tan(np.radians(22.5))  # four pixels fill the height
    place = np.array([(10 - 20) * world.unit, (15 - 12) * world.unit, distance])
    camera = camera_at(place, place * (1.0, 1.0, 0.0), np.array([0.0, 1.0, 0.0]), 45.0)
    view = small(world, "source", camera=camera)
    left, top, across, down = world.rectangle(view)
    np.testing.assert_allclose((left, top, across, down), (8.0, 10.0, 4.0, 4.0), atol=1e-6)
    shown = world.draw("a", view, Budget(SIDE, SIDE, is_moving=True)).pixels
    blocks = shown[6::12, 6::12]
    np.testing.assert_array_equal(blocks, pixels[10:14, 8:12])
    np.testing.assert_array_equal(shown[1, 1], pixels[10, 8])


def test_turning_the_camera_about_the_image_does_not_move_it():
    """The rectangle depends on the point that is looked at and on the distance alone."""
    world = ImageWorld(None, array_source(picture()))
    for direction in ((0.0, 0.0, 1.0), (0.6, 0.0, 0.8), (0.0, -0.6, 0.8)):
        target = np.array([50.0, -20.0, 0.0])
        camera = camera_at(target + 300.0 * np.array(direction), target, np.array([0.0, 1.0, 0.0]), 45.0)
        found = world.rectangle(small(world, "source", camera=camera))
        if direction[2] == 1.0:
            first = found
        np.testing.assert_allclose(found, first, rtol=1e-6)


def test_the_first_view_holds_the_whole_image():
    """The first view shows the image with a margin, whether it is wide, tall or nearly square."""
    for size in ((300, 20), (20, 300), (160, 90)):
        world = ImageWorld(None, array_source(picture(*size)))
        left, top, across, down = world.rectangle(world.start)
        assert left < 0.0 < size[0] < left + across
        assert top < 0.0 < size[1] < top + down
        assert min(across / size[0], down / size[1]) < 1.1


def test_a_fitted_image_its_source_and_its_error():
    """The error is the amplified difference of the other two."""
    task = ImageTask(array_source(picture()), batch=2**10)
    world = ImageWorld.of_task(task, Training(task, steps=3))
    world.advance(1e3)
    assert not world.is_training
    fit, source, error = (
        world.draw(name, small(world, layer), Budget(SIDE, SIDE, seconds=1e3, most_samples=1)).pixels.astype(float)
        for name, layer in (("a", None), ("b", "source"), ("c", "error"))
    )
    expected = np.minimum(8.0 * np.abs(fit - source), 255.0)
    beside = np.all(source == source[0, 0], axis=2)
    assert 0 < beside.sum() < SIDE * SIDE
    assert np.abs(error - expected)[~beside].max() <= 8.0 + 1e-6  # both were rounded


# Shapes


def test_a_shape_beside_its_mesh():
    """The mesh's silhouette is a disc in the middle, and pictures of both have the same background."""
    task = SdfTask(sphere_mesh(), batch=2**10)
    world = SdfWorld.of_task(task, Training(task, steps=1))
    world.is_paused = True
    low, high = world.bounds
    np.testing.assert_allclose(0.5 * (low + high), (10.0, 0.0, 0.0), atol=1e-5)
    mesh = world.draw("a", small(world, "mesh"), Budget(SIDE, SIDE, seconds=1e3, most_samples=1)).pixels.astype(int)
    rows, columns = np.nonzero(np.abs(mesh - mesh[:, :1]).max(axis=2) > 2)
    assert abs(rows.mean() - SIDE / 2 + 0.5) < 1.0
    assert abs(columns.mean() - SIDE / 2 + 0.5) < 1.0
    assert 0.15 < len(rows) / SIDE**2 < 0.7
    for layer in (None, "normals", "slice"):
        shown = world.draw("b", small(world, layer), Budget(SIDE, SIDE, is_moving=True)).pixels
        # A moving picture may have fewer pixels, whose centres lie elsewhere in the shaded background
        np.testing.assert_allclose(shown[0, 0], mesh[0, 0], atol=8)
    slices = [
        (world.edit(SetSlice(2, place)), world.draw("c", small(world, "slice"), Budget(SIDE, SIDE, is_moving=True)))[1]
        for place in (0.1, 0.9)
    ]
    assert (slices[0].pixels != slices[1].pixels).any()


# Radiance fields


def test_a_photograph_at_its_own_camera_is_the_photograph():
    """Without a field, pages show the photographs; outside of them there is grey."""
    views = photographs()
    world = NerfWorld.of_views(views)
    world.edit(ChoosePhotograph(2))
    view = View(page_camera(world.cameras[2]), 2 * SIDE, SIDE, layer="photograph")
    shown = world.draw("a", view, Budget(2 * SIDE, SIDE, is_moving=True)).pixels
    np.testing.assert_array_equal(shown[:, SIDE // 2 : -SIDE // 2], views.all[2].pixels)
    assert np.ptp(shown[:, : SIDE // 2 - 1]) == 0
    with pytest.raises(NrcError, match="no photograph 4"):
        world.edit(ChoosePhotograph(4))


@pytest.fixture(scope="module")
def field():
    """A radiance field after a few steps."""
    task = NerfTask(photographs(), device="cpu")
    task.compile()
    training = Training(task, steps=20)
    while not training.is_done:
        training.step()
    return task


def test_a_still_picture_of_a_field_is_that_of_decode(field):
    """The first sample of each pixel is that of `NeuralScene.view`."""
    world = NerfWorld.of_task(field, Training(field))
    camera = world.cameras[0]
    view = View(page_camera(camera), SIDE, SIDE)
    shown = world.draw("a", view, still(view, samples=1))
    assert shown.is_final
    assert shown.is_complete
    expected = field.scene.view(camera).pixels()
    assert np.abs(shown.pixels.astype(int) - expected).max() <= 1
    assert expected.std() > 1.0


def test_layers_of_a_field(field):
    """Depth and occupied cells are shown, and nothing is seen in an empty crop box."""
    world = NerfWorld.of_task(field, Training(field))
    view = View(page_camera(world.cameras[0]), SIDE, SIDE)
    moving = Budget(SIDE, SIDE, is_moving=True)
    for layer in ("depth", "occupancy", "error"):
        assert world.draw("a", dataclasses.replace(view, layer=layer), moving).pixels.std() > 1.0
    world.edit(SetCrop((0.0, 0.0, 0.0), (0.001, 0.001, 0.001)))
    assert world.draw("a", view, moving).pixels.max() == 0
    world.edit(SetCrop((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    assert world.draw("a", view, moving).pixels.max() > 0
    with pytest.raises(NrcError, match="higher than low"):
        SetCrop((0.0, 0.5, 0.0), (1.0, 0.5, 1.0))


def test_cropped_cells_are_those_in_the_box(field):
    """A ray samples only inside of the box."""
    from nrc_tracer.tasks.nerf.crop import cropped_words

    volume, views = field.volume, field.views
    words = cropped_words(volume.grid, (0.4, 0.4, 0.4), (0.6, 0.6, 0.6))
    rays = rays_of(views.all[0].camera, views.scale, views.offset, volume.launcher)
    import torch

    jitter = torch.zeros(len(rays))
    samples = volume.marcher.march(words, rays.origins, rays.directions, jitter, limit=1024)
    counts = torch.diff(samples.ends, prepend=samples.ends.new_zeros(1))
    origins = torch.repeat_interleave(rays.origins, counts, dim=0)
    directions = torch.repeat_interleave(rays.directions, counts, dim=0)
    places = origins + samples.t[:, None] * directions
    assert len(places) > 100
    assert places.min() >= 0.4 - 1 / 128
    assert places.max() <= 0.6 + 1 / 128


def test_a_stride_leaves_out_samples_and_keeps_the_thickness(field):
    """Every second sample of a ray stands for two steps."""
    import torch

    volume, views = field.volume, field.views
    rays = rays_of(views.all[0].camera, views.scale, views.offset, volume.launcher)
    everything = torch.full_like(volume.grid.words, -1)
    jitter = torch.full((len(rays),), 0.5)
    one, two = (
        volume.marcher.march(everything, rays.origins, rays.directions, jitter, limit=2000, stride=stride)
        for stride in (1, 2)
    )
    assert abs(2 * len(two) - len(one)) <= len(rays)
    assert float(two.steps.sum()) == pytest.approx(float(one.steps.sum()), rel=2e-3)


# Training


def make_session(world, clock, **options):
    screen = Screen()
    session = screen.session = Session(world, screen, now=clock, **options)
    return session, screen


def test_a_session_trains_draws_pauses_and_completes():
    """The states follow the training: it yields to a moving camera, ends when it is paused, and the picture then completes."""
    clock = Clock()
    task = ImageTask(array_source(picture()), batch=2**10)
    training = Training(task, steps=60)
    world = ImageWorld.of_task(task, training)
    step = training.step

    def timed():
        step()
        clock.wait(0.05)

    def colors(view, values):
        clock.wait(0.01)  # drawing takes time too
        return values[:, :, :3]

    def draw(*arguments):
        clock.wait(1e-6)
        return drawn(*arguments)

    drawn = world.draw
    training.step, world.colors, world.draw = timed, colors, draw
    world._now = clock
    session, screen = make_session(world, clock)
    session.look("a", small(world))
    assert session.step()
    assert screen.pictures == []  # a random model shows nothing
    heard = []
    world.heard = lambda: heard.append(training.progress.steps)
    while not screen.pictures:
        assert session.step()
    assert training.progress.steps >= FIRST_STEPS
    clock.wait(2 * REST_SECONDS)
    for _ in range(6):
        session.step()
    assert session.state is State.TRAINING
    assert 2 * FIRST_STEPS > training.progress.steps > FIRST_STEPS
    session.edit(Pause(True))
    session.step()
    clock.wait(2 * REST_SECONDS)
    before = training.progress.steps
    while session.step():
        pass
    assert session.state is State.STILL
    assert training.progress.steps == before
    last = screen.pictures[-1][2]
    assert last.is_complete
    assert last.is_final
    session.edit(Pause(False))
    for _ in range(300):
        session.step()
        clock.wait(0.01)
    assert training.progress.steps == 60
    assert not world.is_training
    assert world.is_over
    assert heard[-1] == 60
    assert world.score.last > 3.0
    assert screen.messages == []


def test_a_session_rests_after_the_training_whatever_it_shows():
    """A layer that does not learn is sent once, though the training goes on, and then there is nothing to do."""
    clock = Clock()
    task = ImageTask(array_source(picture()), batch=2**10)
    world = ImageWorld.of_task(task, Training(task, steps=8))
    advance = world.advance

    def advance_a_step(seconds):
        clock.wait(0.05)
        advance(0.0)

    world.advance = advance_a_step
    session, screen = make_session(world, clock)
    session.look("a", small(world, "source"))
    session.step()
    clock.wait(2 * REST_SECONDS)
    for _ in range(200):
        clock.wait(0.001)
        if not session.step():
            break
    else:
        pytest.fail("the session never rests")
    assert world.is_over
    assert [shown.is_complete for _, _, shown in screen.pictures].count(True) == 1


def test_a_video_of_a_model_in_training_is_refused():
    """Its frames would never be complete; a layer that does not learn can be saved, with frames that are equal too."""
    pytest.importorskip("imageio_ffmpeg")
    task = ImageTask(array_source(picture()), batch=2**10)
    world = ImageWorld.of_task(task, Training(task, steps=100))
    world.advance = lambda seconds: time.sleep(0.001)
    with Session(world, Screen()) as session:
        with pytest.raises(NrcError, match="pause it"):
            make_video(session, "video", [small(world)] * 2, 16)
        assert len(make_video(session, "video", [small(world, "source")] * 2, 16)) > 100
        session.edit(Pause(True))
        assert len(make_video(session, "video", [small(world)] * 2, 16)) > 100


def test_an_error_of_the_training_is_kept_and_told():
    """The page shows it, and who started the training can raise it again."""
    task = ImageTask(array_source(picture()), batch=2**10)
    training = Training(task, steps=12)

    def fail():
        raise NrcError("no more data")

    training.step = fail
    world = training_world(task, training)
    session, screen = make_session(world, Clock())
    session.step()
    session.step()
    assert screen.messages == [("", "training has stopped: no more data")]
    assert str(world.error) == "no more data"
    assert world.is_over


def test_a_training_ends_when_its_watch_says_so():
    task = ImageTask(array_source(picture()), batch=2**10)
    training = Training(task, steps=12)
    world = training_world(task, training, lambda: training.progress.steps >= 2)
    world.advance(1e3)
    assert training.progress.steps == 2
    assert world.is_over
    assert not training.is_done


# What is shown for what


def test_kinds_of_paths(tmp_path):
    """Names decide, and for JSON the contents."""
    for name, kind in {
        "a.safetensors": SNAPSHOT,
        "a.ingp": SNAPSHOT,
        "a.TIF": IMAGE,
        "a.glb": SCENE,
        "missing.json": SCENE,
    }.items():
        assert kind_of(tmp_path / name) == kind
    assert kind_of(tmp_path) == PHOTOGRAPHS
    for text, kind in (('{"frames": []}', PHOTOGRAPHS), ('{"shapes": []}', SCENE), ("[1", SCENE)):
        (tmp_path / "some.json").write_text(text)
        assert kind_of(tmp_path / "some.json") == kind


def test_worlds_of_files_and_objects(tmp_path):
    """An image, a snapshot, a model and a task each have a world, and a scene has none of these."""
    PIL.Image.fromarray(picture()).save(tmp_path / "a.png")
    image = world_of(tmp_path / "a.png")
    assert isinstance(image, ImageWorld)
    assert not image.is_training
    assert image.labels == {"source": "source"}
    fit = nrc.tasks.fit_image(picture(), steps=1, batch=2**10)
    fit.save(tmp_path / "a.safetensors")
    for shown in (tmp_path / "a.safetensors", fit, fit.model):
        assert world_of(shown).labels == {"fit": None}
    assert world_of(fit.task).is_training
    write_ingp(tmp_path / "a.ingp", fit.model.model)
    assert world_of(tmp_path / "a.ingp").labels == {"fit": None}
    assert world_of(object()) is None
    with pytest.raises(NrcError, match="no layer"):
        image.draw("a", small(image, "fog"), Budget(8, 8))
    with pytest.raises(NrcError, match="cannot be changed"):
        image.edit(SetSlice(0, 0.5))
