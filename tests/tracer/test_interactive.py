"""Renderers whose camera, size and scene change: each image equals that of a new renderer."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from nrc_tracer.cache import RadianceCache
from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import (
    Bitmap,
    Checkerboard,
    Conductor,
    ConstantLight,
    Diffuse,
    EnvironmentMap,
    LookAt,
    Perspective,
    Plastic,
    PointLight,
    Principled,
    Rectangle,
    Rotate,
    Scale,
    Sphere,
    Translate,
)
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.interactive import InteractiveRenderer
from tests.tracer.cached_renders import niche
from tests.tracer.tiny_scenes import scene

ASIDE = Perspective(to_world=(LookAt(origin=(0.5, 0.2, 3.5), target=(0.0, 0.0, 0.0)),), fov=50.0)


def test_a_look_equals_a_new_renderer():
    """Camera, size and seed, in any combination, give the bits of a renderer that had them from the start."""
    renderer = InteractiveRenderer(niche(), device="cpu")
    renderer.step(2)
    for camera, size, seed in ((ASIDE, {}, None), (None, {"width": 12}, 5), (ASIDE, {"width": 30, "height": 10}, 0)):
        renderer.look(camera, seed=seed, **size)
        assert renderer.samples == 0
        renderer.step(3)
        fresh = Renderer(
            niche(), device="cpu", camera=ASIDE, width=renderer.width, height=renderer.height, seed=seed or 0
        )
        fresh.step(3)
        np.testing.assert_array_equal(renderer.image().rgb, fresh.image().rgb)
    assert (renderer.width, renderer.height) == (30, 10)


def test_siblings_are_independent():
    """Each has its camera, size, seed and film; a changed scene is seen after `follow`."""
    first = InteractiveRenderer(niche(), device="cpu")
    second = first.sibling()
    second.look(ASIDE, width=12, seed=7)
    first.step(2)
    second.step(3)
    fresh = Renderer(niche(), device="cpu")
    fresh.step(2)
    np.testing.assert_array_equal(first.image().rgb, fresh.image().rgb)
    assert (first.width, second.width, second.samples) == (24, 12, 3)

    first.update(niche(light=2.0))
    second.follow(first)
    second.step(3)
    fresh = Renderer(niche(light=2.0), device="cpu", camera=ASIDE, width=12, seed=7)
    fresh.step(3)
    np.testing.assert_array_equal(second.image().rgb, fresh.image().rgb)


def test_a_cache_is_kept_by_looks():
    """It goes on learning at another size and for another camera, and for a sibling."""
    cache = RadianceCache(records=512, train_frames=2, train_every=1)
    renderer = InteractiveRenderer(niche(), device="cpu", cache=cache)
    renderer.step(1)
    steps = cache.trainer.steps
    assert steps > 0
    sibling = renderer.sibling(cache=cache, cache_mode="view")
    for number in range(4):
        for each in (renderer, sibling):
            each.look(ASIDE, width=40 + number, seed=number, keeps_measurements=True)
            each.step(2)
            assert each.image().rgb.shape == (each.height, 40 + number, 3)
            assert np.isfinite(each.image().rgb).all()
    assert cache.trainer.steps > steps
    assert cache.state.warm_up_frames == 2


def test_a_crop_window_does_not_change_its_size():
    """Its meaning in another size is not known."""
    renderer = InteractiveRenderer(scene(Sphere(), crop=(1, 1, 4, 4)), device="cpu")
    with pytest.raises(SceneError, match="crop window"):
        renderer.look(width=16)


def sunny(**changes):
    """A textured plate and a glowing one under a sky, with changed materials, lights or shapes."""
    parts = {
        "shapes": (
            Rectangle(material="plate", to_world=(Rotate(axis=(1, 0, 0), angle=-60.0),)),
            Rectangle(material="lamp", emission=2.0, to_world=(Scale(0.3), Translate((0.5, 0.8, 0.3)))),
            Sphere(center=(-0.5, 0.3, 0.3), radius=0.3, emission=(0.5, 0.1, 0.1)),
        ),
        "materials": {"plate": Diffuse(reflectance="squares"), "lamp": Plastic(alpha=0.2)},
        "lights": (EnvironmentMap(file="sky"), PointLight(position=(0.0, 2.0, 2.0), intensity=3.0)),
        "textures": {"squares": Checkerboard(color0=0.1), "sky": Bitmap(file="sky")},
        **changes,
    }
    shapes = parts.pop("shapes")
    return scene(*shapes, images={"sky": SKY}, **parts)


SKY = np.random.default_rng(4).random((4, 8, 3), dtype=np.float32)

BEFORE = sunny()
GLOWING = BEFORE.description.shapes
EDITS = {
    "material": sunny(materials={"plate": Principled(base_color="sky", roughness=0.3), "lamp": Conductor(alpha=0.1)}),
    "texture": sunny(textures={"squares": Checkerboard(color0=0.7), "sky": Bitmap(file="sky")}),
    "light": sunny(lights=(EnvironmentMap(file="sky"), PointLight(position=(1.0, 2.0, 2.0), intensity=9.0))),
    "sky": sunny(lights=(EnvironmentMap(file="sky", scale=3.0, to_world=(Rotate(axis=(0, 1, 0), angle=70.0),)),)),
    "no sky": sunny(lights=()),
    "emission": sunny(shapes=(GLOWING[0], replace(GLOWING[1], emission="squares"), replace(GLOWING[2], emission=7.0))),
    "no emission": sunny(shapes=(GLOWING[0], replace(GLOWING[1], emission=None), GLOWING[2])),
    "moved": sunny(shapes=(replace(GLOWING[0], to_world=()), *GLOWING[1:])),
    "more": sunny(shapes=(*GLOWING, Rectangle(to_world=(Translate((0.0, 0.0, -1.0)),)))),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_scene_equals_a_new_one(name):
    """Bit for bit, after the edit and after it is undone; what does not change stays on the device."""
    renderer = InteractiveRenderer(BEFORE, device="cpu")
    triangles = renderer.surfaces.triangles  # held, so that no other array gets its address
    for described in (EDITS[name], BEFORE):
        renderer.update(described)
        renderer.step(2)
        fresh = Renderer(described, device="cpu")
        fresh.step(2)
        assert fresh.image().rgb.std() > 0.0
        np.testing.assert_array_equal(renderer.image().rgb, fresh.image().rgb)
    assert (renderer.surfaces.triangles.ptr == triangles.ptr) == (name not in ("no emission", "moved", "more"))


def test_an_impossible_edit_changes_nothing():
    """The renderer goes on with the scene from before."""
    renderer = InteractiveRenderer(BEFORE, device="cpu")
    for lights in ((EnvironmentMap(file="sky", to_world=(Scale((1.0, 2.0, 1.0)),)),), (ConstantLight(),) * 2):
        with pytest.raises(SceneError):
            renderer.update(sunny(lights=lights))
    renderer.step(2)
    fresh = Renderer(BEFORE, device="cpu")
    fresh.step(2)
    np.testing.assert_array_equal(renderer.image().rgb, fresh.image().rgb)
