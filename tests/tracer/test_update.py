"""Renderers that continue with a changed scene: the fate of the cache, and the image of the new scene."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from benchmarks.stability import Bench
from benchmarks.stability_figures import Recovery, compare, drift, flicker
from benchmarks.stability_scenes import room
from nrc_tracer.cache import RadianceCache
from nrc_tracer.scene.model import Rectangle, Scene, Translate
from nrc_tracer.tracer import Renderer
from tests.tracer.cached_renders import NEVER, blocks, cached, freeze, niche, uncached


def larger(described: Scene) -> Scene:
    """The same scene with a wall far behind the camera, ten times as far away as everything else."""
    wall = Rectangle(material="white", to_world=(Translate((0.0, 0.0, 40.0)),))
    description = msgspec.structs.replace(described.description, shapes=(*described.description.shapes, wall))
    return Scene(description, meshes=described.meshes, images=described.images)


def without_shelf(described: Scene) -> Scene:
    """The niche without the shelf that keeps its upper half dark."""
    shapes = [shape for index, shape in enumerate(described.description.shapes) if index != 5]
    description = msgspec.structs.replace(described.description, shapes=tuple(shapes))
    return Scene(description, meshes=described.meshes, images=described.images)


def test_an_update_without_a_cache_equals_a_new_renderer():
    """The image equals that of a new renderer bit for bit."""
    renderer = uncached(niche(), 3)
    assert renderer.update(without_shelf(niche())) is None
    renderer.step(4)
    fresh = uncached(without_shelf(niche()), 4)
    np.testing.assert_array_equal(renderer.image().rgb, fresh.image().rgb)
    assert renderer.samples == 4


def test_the_cache_is_kept_if_the_new_scene_lies_within_its_cube():
    """The new scene may have the same size or be smaller."""
    renderer = cached(niche())
    renderer.step(1)
    steps = renderer.cache.trainer.steps
    assert steps > 0
    assert renderer.update(niche(light=2.0)) == "kept"
    assert renderer.update(niche(size=0.5)) == "kept"
    assert renderer.cache.trainer.steps == steps


def test_the_cache_is_reset_if_the_scene_has_grown():
    """The old network belongs to other places, and the cache warms up for the new ones."""
    renderer = cached(niche())
    renderer.step(1)
    before = renderer.cache.size
    assert renderer.update(larger(niche())) == "reset"
    assert renderer.cache.size > 5 * before
    assert not renderer.cache.is_trained
    renderer.step(1)
    assert renderer.cache_report()["warm_up_frames"] == 4
    assert renderer.dropped == 0


@pytest.fixture(scope="module")
def truth():
    """Means of the blocks of the niche."""
    return blocks(uncached(niche(film=(48, 32)), 1024).image().rgb)


@pytest.mark.parametrize("light", [1e-3, pytest.param(1e3, marks=pytest.mark.slow)])
def test_the_image_follows_a_change_of_all_light(truth, light):
    """No frame shows the old light."""
    renderer = cached(niche(film=(48, 32)), "on", RadianceCache(records=2048, train_frames=32), seed=3)
    renderer.step(1)
    assert renderer.update(niche(light=light, film=(48, 32))) == "kept"
    renderer.step(32)
    assert renderer.dropped == 0
    ratio = blocks(renderer.image().rgb) / light / truth
    assert np.sum(ratio * truth) / np.sum(truth) == pytest.approx(1.0, abs=0.04)
    assert np.sqrt(np.mean(np.square(ratio - 1.0))) < 0.15


def test_a_cache_adapts_to_a_new_scene():
    """After adapting, the frozen cache gives the brightness of path tracing in all parts of the image; a stale one does not."""
    old, new = niche(film=(48, 32)), without_shelf(niche(film=(48, 32)))
    truth = blocks(uncached(new, 512).image().rgb)

    def frozen_after_update(frames: int) -> np.ndarray:
        renderer = cached(old, "raw", RadianceCache(records=2048, train_frames=32, train_every=NEVER))
        renderer.step(1)
        renderer.update(new)
        if frames:
            renderer.step(frames)
        freeze(renderer)
        renderer.reset(seed=9)
        renderer.step(32)
        return blocks(renderer.image().rgb)

    adapted, stale = frozen_after_update(32), frozen_after_update(0)
    assert adapted.mean() == pytest.approx(truth.mean(), rel=0.05)
    error, stale_error = (np.sqrt(np.mean(np.square(x / truth - 1.0))) for x in (adapted, stale))
    assert error < 0.5 * stale_error
    assert error < 0.15


# Measures of the benchmark


def test_the_measured_error_contains_no_noise():
    """The images and references are very noisy, and the blocks are wrong by a tenth."""
    generator = np.random.default_rng(4)
    truth = np.ones((64, 96, 3))
    noisy = [factor * truth + generator.normal(0.0, 4.0, truth.shape) for factor in (1.1, 1.1, 1.0, 1.0)]
    found = compare((noisy[0], noisy[1]), (noisy[2], noisy[3]))
    # The mean of a block of 256 pixels has a noise of 0.25, two and a half times the error to be found
    single = np.sqrt(np.mean(np.square(blocks(noisy[0], 16) - blocks(noisy[2], 16))))
    assert single > 0.15
    exact = compare((1.1 * truth, 1.1 * truth), (truth, truth))
    assert exact.blocks == pytest.approx(0.1 / np.sqrt(1.01))
    assert exact.mean == pytest.approx(1.1)
    assert found.mean == pytest.approx(1.1, abs=0.1)


def test_recovery_ends_when_the_error_stays_small():
    """A lucky frame in between does not count."""
    errors = [1.0, 0.04, 0.2, 0.03, 0.02]
    found = Recovery([0, 1, 2, 4, 8], [compare_to(error) for error in errors])
    assert found.until(0.05) == 4
    assert found.until(0.01) is None
    assert found.until(2.0) == 0


def compare_to(error: float):
    """The result of `compare` for an image that is too bright by `error`, in the units of `compare`."""
    truth = np.ones((16, 16, 3))
    image = (1.0 + error * np.sqrt(1.01)) * truth
    return compare((image, image), (truth, truth))


def test_flicker_and_drift_of_synthetic_images():
    """A mean that jumps by +-1 % flickers by 2 %; one that rises by 7 % in total drifts by that in the last window."""
    frozen = np.ones((64, 2, 3, 3))
    jumping = frozen + 0.01 * (-1.0) ** np.arange(64)[:, None, None, None]
    found = flicker(jumping, frozen + 1e-9 * np.arange(64)[:, None, None, None])
    assert found["change_by_learning"] == pytest.approx(0.02, rel=1e-3)
    rising = frozen * (1.0 + 0.01 * (np.arange(64) // 8))[:, None, None, None]
    assert drift(rising, frozen)["largest_drift"] == pytest.approx(0.07)


def test_measuring_a_cache_does_not_change_it(tmp_path):
    """Neither its weights nor its training state change."""
    bench = Bench(threads=1, reference_samples=1, probe_frames=2, folder=tmp_path)
    scene = room()
    renderer = Renderer(scene, device="cpu", threads=1, cache=RadianceCache(records=512, train_frames=2))
    renderer.step(1)
    before = renderer.cache.model.params.clone()
    found = bench.measure(renderer, bench.references(scene))
    assert (renderer.cache.model.params == before).all()
    assert renderer.samples == 0
    assert not renderer.cache.options.freeze
    assert 0.3 < found.mean < 3.0
