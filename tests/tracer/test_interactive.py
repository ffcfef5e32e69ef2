"""Renderers whose camera, size and scene change: each image equals that of a new renderer."""

from __future__ import annotations

import numpy as np
import pytest

from nrc_tracer.cache import RadianceCache
from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import LookAt, Perspective, Sphere
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
