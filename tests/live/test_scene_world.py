"""Scenes as worlds: edits are seen at once, clients share the scene, and the cache learns while cameras move."""

from __future__ import annotations

import io
import threading
import time

import msgspec
import numpy as np
import PIL.Image
import pytest

from nrc_tracer.cache import RadianceCache
from nrc_tracer.cache.nonnegative import without_negatives
from nrc_tracer.cli.view import save_cache
from nrc_tracer.errors import NrcError
from nrc_tracer.live.edits import MoveShape, SetCache, SetEmission, SetLight, SetMaterial
from nrc_tracer.live.saving import save_picture
from nrc_tracer.live.scene_world import SceneWorld
from nrc_tracer.live.session import Session
from nrc_tracer.live.view import PictureMode, View
from nrc_tracer.scene.model import Diffuse, LookAt, Perspective, PointLight, Sphere, Translate
from nrc_tracer.tracer import Renderer
from tests.live.rooms import HEIGHT, WIDTH, camera, moving, room, still, view
from tests.live.stand_ins import FakeEdit, Screen
from tests.tracer.tiny_scenes import scene

LAMP = 6
"""Number of the glowing ball."""


def warm_up(world):
    """Let the cache of a world learn until it is warm."""
    for _ in range(200):
        if not world.is_training:
            return
        world.advance(10.0)
    pytest.fail("the cache does not become warm")


def test_an_edit_leaves_no_old_light():
    """The first frame after a lamp is dimmed to a tenth has a tenth of the light, moving or still."""
    world = SceneWorld(room(), device="cpu")
    for _ in range(12):
        world.draw("a", view(), moving())
    frames = world.frames("a")
    before = frames.radiance.mean()
    world.edit(SetEmission(LAMP, 2.0))
    world.draw("a", view(), moving())
    assert frames.radiance.mean() == pytest.approx(0.1 * before, rel=0.35)
    picture = world.draw("a", view(), still(4))
    fresh = Renderer(world.scene, device="cpu", camera=camera(0))
    fresh.step(4)
    np.testing.assert_array_equal(frames.renderer.image().rgb, fresh.image().rgb)
    assert picture.is_final


def test_edits_are_undone_by_their_inverses():
    """The scene is then what it was, and edits of parts that do not exist change nothing."""
    description = room(lights=(PointLight(position=(0.0, 0.5, 0.5), intensity=1.0),)).description
    for edit in (
        SetMaterial("red", Diffuse(reflectance=0.2)),
        SetLight(0, PointLight(position=(0.0, 0.0, 1.0), intensity=3.0)),
        SetEmission(LAMP, None),
        MoveShape(LAMP, (Translate((0.1, 0.0, 0.0)),)),
    ):
        changed = edit.apply(description)
        assert changed != description
        assert edit.inverse(description).apply(changed) == description
        assert edit.inverse(description).target == edit.target
    world = SceneWorld(room(), device="cpu")
    for edit, message in (
        (SetMaterial("rad", Diffuse()), 'did you mean "red"'),
        (SetLight(0, PointLight()), "there is no light 0"),
        (SetEmission(99, 1.0), "there is no shape 99"),
        (SetMaterial("red", Diffuse(reflectance="no such texture")), "no such texture"),
        (FakeEdit("lamp"), "cannot be changed by FakeEdit"),
    ):
        with pytest.raises(NrcError, match=message):
            world.edit(edit)
    assert world.scene.description == room().description
    assert world.draw("a", view(), moving()) is not None


def test_each_client_has_its_own_film():
    """What one client does leaves the samples of the other as they are."""
    world = SceneWorld(room(), device="cpu")
    world.draw("a", view(), still(2))
    world.draw("b", view(5), moving(32, 18))
    assert world.draw("a", view(), still(3)).samples == 3
    world.forget("b")
    world.forget("nobody")
    assert world.frames("b") is None


def test_a_mode_that_needs_a_cache_is_refused_without_one():
    """The message says why."""
    world = SceneWorld(room(), device="cpu")
    with pytest.raises(NrcError, match="needs a radiance cache"):
        world.draw("a", view(mode=PictureMode.ON), moving())


def test_only_still_images_are_corrected():
    """A moving frame's few samples do not suffice for it; the still image is that of a render with the same cache."""
    world = SceneWorld(room(), device="cpu", cache=RadianceCache(records=512, train_frames=4))
    seen = view(mode=PictureMode.ON)
    world.draw("a", seen, moving())
    while world.is_training:
        world.advance(0.5)
    world.draw("a", seen, moving())
    frames = world.frames("a")
    assert (frames.mover.cache_mode, frames.renderer.cache_mode) == ("raw", "on")
    assert frames.mover.samples == 1
    assert world.draw("a", seen, still(16)).samples == 16
    image, correction = frames.renderer.image().rgb, frames.renderer.layers(["correction"])["correction"]
    np.testing.assert_array_equal(frames.radiance, image)
    corrected = without_negatives(frames.renderer.moments()[0] + correction)
    np.testing.assert_allclose(corrected, image, atol=1e-5)
    assert np.abs(correction).max() > 0.0


def test_the_cache_learns_while_cameras_move():
    """Frames are path traced until it is warm, then it is used and kept, through moves and edits."""
    cache = RadianceCache(records=512, train_every=1)
    world = SceneWorld(room(), device="cpu", cache=cache)
    assert world.start.mode is PictureMode.ON
    assert not world.is_training  # nobody looks
    seen = view(mode=PictureMode.ON)
    assert world.draw("a", seen, moving()).view.mode is PictureMode.ON
    assert world.is_training
    warm_up(world)
    assert cache.state.warm_up_frames == 16
    steps = cache.trainer.steps
    for step in range(6):
        picture = world.draw("a", view(step, mode=PictureMode.ON), moving(32 + step, 18))
        world.draw("b", view(-step, mode=PictureMode.VIEW), moving())
    assert {"trace", "query", "train"} <= set(picture.stage_times)
    assert cache.trainer.steps > steps
    world.edit(SetMaterial("red", msgspec.structs.replace(room().description.materials["red"], reflectance=0.3)))
    steps = cache.trainer.steps
    world.draw("a", view(6, mode=PictureMode.ON), moving())
    assert cache.trainer.steps > steps  # it adapts before it is shown
    assert cache.state.warm_up_frames == 16
    assert world.draw("a", view(6, mode=PictureMode.UNBIASED), still(2)).samples == 2


def test_the_cache_is_frozen_and_begun_anew():
    """A frozen one learns nothing; another encoding or a wish begins with one that has learnt nothing."""
    cache = RadianceCache(records=512, train_every=1, train_frames=2)
    world = SceneWorld(room(), device="cpu", cache=cache, cache_mode="raw")
    seen = view(mode=PictureMode.RAW)
    assert world.start.mode is PictureMode.RAW
    with pytest.raises(NrcError, match="learnt too little"):
        world.edit(SetCache("hash", 0.01, is_frozen=True))
    assert world.cache_settings == SetCache("hash", cache.options.spread)  # a refused change has changed nothing
    world.draw("a", seen, moving())
    warm_up(world)
    world.edit(SetCache("hash", 0.02, is_frozen=True))
    steps = cache.trainer.steps
    for number in range(3):
        world.draw("a", seen, still(2 + number))
    assert cache.trainer.steps == steps > 0
    assert cache.options.spread == 0.02
    world.edit(SetCache("hash", 0.02))
    world.draw("a", seen, still(2))
    assert cache.trainer.steps > steps

    for edit in (SetCache("hash", 0.02, generation=1), SetCache("triangle-wave", 0.02, generation=1)):
        world.edit(edit)
        fresh = world.renderer.cache
        assert fresh is not cache
        assert not fresh.is_trained
        assert fresh.options.encoding == edit.encoding
        world.draw("a", seen, moving())
        warm_up(world)
        assert world.draw("a", seen, still(2)).samples == 2
        assert fresh.trainer.steps > 0
    with pytest.raises(NrcError, match="spread"):
        world.edit(SetCache("hash", -1.0, generation=1))
    with pytest.raises(NrcError, match="without a radiance cache"):
        SceneWorld(room(), device="cpu").edit(SetCache("hash", 0.01))


def test_the_cache_that_the_command_saves_is_that_of_the_last_beginning(tmp_path):
    """`view --cache-save` writes what the page has learnt since "Learn from scratch"."""
    world = SceneWorld(room(), device="cpu", cache=RadianceCache(records=512, train_every=1, train_frames=2))
    world.edit(SetCache("triangle-wave", 0.02, generation=1))
    world.draw("a", view(mode=PictureMode.RAW), moving())
    warm_up(world)
    save_cache(world, tmp_path / "cache.safetensors")
    assert RadianceCache.load(tmp_path / "cache.safetensors").options.encoding == "triangle-wave"
    save_cache(SceneWorld(room(), device="cpu"), tmp_path / "none.safetensors")
    assert not (tmp_path / "none.safetensors").exists()


def test_points_of_surfaces_are_found():
    """The ball in the middle of the picture; nothing where rays escape."""
    world = SceneWorld(scene(Sphere(radius=0.5)), device="cpu")
    seen = View(
        Perspective(to_world=(LookAt((0.0, 0.0, 4.0), (0.0, 0.0, 0.0)),), fov=30.0, aperture_radius=0.3), 65, 65
    )
    np.testing.assert_allclose(world.point_at(seen, 0.5, 0.5), (0.0, 0.0, 0.5), atol=0.03)
    assert world.point_at(seen, 0.0, 0.0) is None
    assert world.point_at(seen, 5.0, -1.0) is None  # the upper right corner


def test_a_picture_saved_while_the_camera_moves_has_the_size_of_the_view():
    """A moving frame, which is smaller, may be all that there is."""
    world = SceneWorld(room(), device="cpu")
    with pytest.raises(NrcError, match="no picture"):
        save_picture(world, "a", view(), "png", "room")
    world.draw("a", view(), moving(32, 18))
    saved = save_picture(world, "a", view(), "png", "room")
    assert saved.name == "room-1spp.png"
    assert PIL.Image.open(io.BytesIO(saved.data)).size == (WIDTH, HEIGHT)


def test_a_session_of_a_scene_ends_with_the_render():
    """The last picture that a client receives, after moves, is complete and has the bits of a render."""
    done = threading.Event()

    class Client(Screen):
        def show(self, client, number, picture):
            super().show(client, number, picture)
            if picture.is_final and picture.samples == 5:
                done.set()

    client = Client()
    with Session(SceneWorld(room(), device="cpu"), client, samples=5, least_pixels=100) as session:
        client.session = session
        for step in range(3):
            session.look("a", view(step))
            time.sleep(0.02)
        assert done.wait(timeout=120)
        assert client.messages == []
        image = session.ask(lambda world: world.frames("a").renderer.image().rgb).result(timeout=60)
    fresh = Renderer(room(), device="cpu", camera=camera(2), width=WIDTH, height=HEIGHT)
    fresh.step(5)
    np.testing.assert_array_equal(image, fresh.image().rgb)
