"""Whole renders with a cache: units do not matter, unusual scenes work, and a cache outlives images and renderers."""

from __future__ import annotations

import numpy as np
import pytest

from nrc_tracer.cache import RadianceCache
from nrc_tracer.cache.path_source import tiles_of
from nrc_tracer.scene.model import (
    Conductor,
    ConstantLight,
    Dielectric,
    Diffuse,
    LookAt,
    Perspective,
    PointLight,
    Rectangle,
    Rotate,
    Scale,
    Sphere,
    Translate,
)
from nrc_tracer.tracer import Renderer
from tests.tracer.cached_renders import NEVER, blocks, cached, cut_tracer, estimate, freeze, niche, uncached, warm_up
from tests.tracer.tiny_scenes import scene

MODES = ("on", "unbiased", "view")


def niche_image(size: float, light: float) -> np.ndarray:
    """The image of a niche of this size, in units of its light."""
    renderer = cached(niche(size, light), "on", RadianceCache(records=1024, train_frames=16))
    renderer.step(64)
    assert renderer.dropped == 0
    return renderer.image().rgb.astype(np.float64) / light


@pytest.fixture(scope="module")
def image_in_plain_units():
    return niche_image(1.0, 1.0)


@pytest.mark.parametrize(("size", "light"), [(1.0, 2.0**14), (1.0, 2.0**-14), (1024.0, 1.0)])
def test_units_that_are_powers_of_two_change_no_bit(image_in_plain_units, size, light):
    """Numbers in such units only differ in their exponents, provided that nothing in the cache depends on a fixed unit."""
    np.testing.assert_array_equal(niche_image(size, light), image_in_plain_units)


@pytest.mark.parametrize(
    ("size", "light"), [(1000.0, 1.0), pytest.param(1.0, 1e4, marks=pytest.mark.slow), (1.0, 1e-4)]
)
def test_units_hardly_change_the_image(image_in_plain_units, size, light):
    """In other units rounding changes the training: block means differ by the error that such a short training leaves."""
    image = niche_image(size, light)
    assert image.mean() == pytest.approx(image_in_plain_units.mean(), rel=0.03)
    np.testing.assert_allclose(blocks(image), blocks(image_in_plain_units), rtol=0.12)


# Odd scenes


def facing(z: float, half: float = 1.0, **options) -> Rectangle:
    """A square that faces the camera."""
    return Rectangle(to_world=(Scale(half), Translate((0.0, 0.0, z))), **options)


LAMP = Sphere(center=(0.0, 1.5, 1.5), radius=0.4, emission=4.0)
MIRROR = {"mirror": Conductor(specular_reflectance=0.9), "glass": Dielectric(), "black": Diffuse(reflectance=0.0)}
ODD = {
    "glass before a wall": scene(
        facing(-1.0, 3.0), Sphere(radius=0.7, material="glass"), LAMP, materials=MIRROR, film=(16, 16)
    ),
    "two mirrors": scene(
        facing(-1.0, 2.0, material="mirror"),
        Rectangle(
            to_world=(Scale(2.0), Rotate(axis=(0, 1, 0), angle=180.0), Translate((0.0, 0.0, 5.0))), material="mirror"
        ),
        Sphere(center=(0.3, 0.0, 0.0), radius=0.3),
        LAMP,
        materials=MIRROR,
        film=(16, 16),
    ),
    "black things": scene(
        facing(-1.0, 2.0, material="black"), Sphere(radius=0.5, material="black"), LAMP, materials=MIRROR, film=(16, 16)
    ),
    "light alone": scene(Sphere(radius=0.5, emission=(3.0, 2.0, 1.0), material="black"), materials=MIRROR),
    "background alone": scene(lights=[ConstantLight(radiance=(0.3, 0.2, 0.1))]),
    "no light": scene(facing(-1.0, 2.0), Sphere(radius=0.5)),
    "no indirect light": scene(facing(-1.0, 5.0), lights=[PointLight(position=(0.0, 0.0, 2.0), intensity=9.0)]),
    "one pixel": niche(film=(1, 1)),
    "few pixels": niche(film=(3, 2)),
    "a crop window": niche(film=(24, 16), crop=(5, 3, 7, 4)),
    "a long row": niche(film=(4999, 1)),
}


QUICK = {("on", name) for name in ODD if "crop" not in name}
QUICK |= {("unbiased", name) for name in ("glass before a wall", "no light", "no indirect light", "a long row")}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        (name, mode) if (mode, name) in QUICK else pytest.param(name, mode, marks=pytest.mark.slow)
        for name in ODD
        for mode in MODES
    ],
)
def test_odd_scenes(name, mode):
    """Every mode gives finite images with the right mean, up to noise and 15 % because of the short warm-up."""
    described = ODD[name]
    # Few training paths reach a dark corner
    effort = {"records": 1024, "train_frames": 64} if "crop" in name else {"records": 512, "train_frames": 8}
    renderer = cached(described, mode, RadianceCache(**effort))
    pixels = renderer.width * renderer.height
    samples = max(4, min(256, 16384 // pixels))
    renderer.step(samples)
    ours, plain = estimate(renderer), estimate(uncached(described, 4 * samples, seed=9))
    assert np.isfinite(ours.mean).all()
    assert ours.mean.min() >= 0.0
    report = renderer.cache_report()
    numbers = (value for value in report.values() if value is not None and not isinstance(value, str | dict))
    assert all(np.isfinite(value).all() for value in numbers)
    error = np.sqrt(ours.error2.sum() + plain.error2.sum()) / ours.mean.size * np.sqrt(3.0)
    bias = 0.0 if mode == "unbiased" else 0.15
    assert abs(ours.mean.mean() - plain.mean.mean()) <= 4.0 * error + (bias + 1e-5) * plain.mean.mean()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_limited_depths_give_no_extra_light(mode, depth):
    """Up to rounding, depth 0 is black and depth 1 shows only the lights; depth 2 does not add more light than exists."""
    renderer = cached(niche(), mode, max_depth=depth)
    renderer.step(16)
    image = renderer.moments()[0]
    assert renderer.dropped == 0
    if depth < 2:
        plain = uncached(niche(), 16, max_depth=depth).moments()[0]
        np.testing.assert_allclose(image, plain, rtol=1e-6, atol=0.0)
        assert image.any() == (depth == 1)
    else:
        plain = uncached(niche(), 256, max_depth=2).moments()[0]
        assert image.mean() == pytest.approx(plain.mean(), rel=0.25 if mode == "view" else 0.1)


# The life of a cache

FROM_THE_LEFT = Perspective(to_world=(LookAt(origin=(-1.5, 0.4, 4.0), target=(0.3, 0.0, 0.0)),), fov=36.0)


@pytest.mark.parametrize("mode", ["on", "view"])
def test_another_camera_keeps_the_cache(mode):
    """There is no second warm-up after `reset`, and the image from the other side has the right mean."""
    described = niche(film=(32, 32))
    renderer = cached(described, mode, RadianceCache(records=2048, train_frames=24))
    renderer.step(4)
    before = renderer.cache_report()
    renderer.reset(camera=FROM_THE_LEFT)
    assert renderer.samples == 0
    assert renderer.warm_up()
    assert renderer.cache_report()["training_steps"] == before["training_steps"]
    renderer.step(64)
    assert renderer.cache_report()["warm_up_frames"] == 24
    ours, plain = estimate(renderer), estimate(uncached(described, 256, camera=FROM_THE_LEFT, seed=9))
    error = np.sqrt(ours.error2.sum() + plain.error2.sum()) / ours.mean.size * np.sqrt(3.0)
    assert abs(ours.mean.mean() - plain.mean.mean()) < 4.0 * error + 0.05 * plain.mean.mean()


def test_a_second_renderer_uses_the_trained_cache():
    """It needs no warm-up of its own, and its first image is right."""
    cache = RadianceCache(records=1024, train_frames=24, train_every=NEVER)
    cached(niche(), "on", cache).step(1)
    steps, weights = cache.trainer.steps, cache.model.params.detach().clone()
    second = cached(niche(film=(12, 8)), "view", cache)
    second.step(128)
    assert cache.trainer.steps == steps
    assert (cache.model.params == weights).all()
    assert second.cache_report()["warm_up_frames"] == 24
    plain = uncached(niche(film=(12, 8)), 128, seed=0)  # with the same first hits on the lamp
    assert second.moments()[0].mean() == pytest.approx(plain.moments()[0].mean(), rel=0.1)


@pytest.mark.parametrize("mode", ["on", "unbiased"])
def test_two_renderers_share_a_cache(mode):
    """Images and counters of two renderers that share a frozen cache are those of each renderer on its own."""
    options = {"records": 512, "train_frames": 8, "unbiased": 1.0}
    other = {"camera": FROM_THE_LEFT, "width": 16}

    def numbers(renderer: Renderer) -> dict:
        names = ("mean_path_length", "mean_query_depth", "queries_per_path", "bias")
        return {name: renderer.cache_report()[name] for name in names}

    def begun(cache: RadianceCache, **settings) -> Renderer:
        renderer = cached(niche(), mode, cache, **settings)
        warm_up(renderer, 0.5)
        freeze(renderer)
        return renderer

    alone = begun(RadianceCache(**options))
    alone.step(6)
    shared = begun(RadianceCache(**options))
    shared.step(2)
    second = begun(shared.cache, **other)
    second.step(3)
    shared.step(2)
    second.step(1)
    shared.step(2)
    np.testing.assert_array_equal(shared.image().rgb, alone.image().rgb)
    assert numbers(shared) == numbers(alone)
    after = begun(alone.cache, **other)
    after.step(4)
    np.testing.assert_array_equal(second.image().rgb, after.image().rgb)
    assert (
        numbers(second)["mean_path_length"] == numbers(after)["mean_path_length"] != numbers(alone)["mean_path_length"]
    )


def test_tiles_fit_the_buffers_for_any_shape_of_film():
    """There are never more tiles than requested, whatever the shape of the film."""
    for film in ((4999, 1), (1, 4999), (3, 2)):
        source = cut_tracer(niche(film=film))
        for count in (1, 7, 2048):
            across, down = tiles_of(source, count)
            assert 0.2 * count <= across * down <= count


@pytest.mark.parametrize("mode", ["on", "unbiased"])
def test_a_frozen_cache_learns_nothing(mode, tmp_path):
    """With `freeze`, a loaded cache keeps its weights bit for bit and renders the same image twice."""
    renderer = cached(niche(), "on", RadianceCache(records=512, train_frames=8))
    renderer.step(1)
    renderer.cache.save(tmp_path / "cache")
    images = []
    for _ in range(2):
        cache = RadianceCache.load(tmp_path / "cache", freeze=True, train_every=1, records=16)
        frozen = Renderer(niche(), device="cpu", cache=cache, cache_mode=mode)
        weights, steps = cache.model.params.detach().clone(), cache.trainer.steps
        frozen.step(4)
        assert (cache.model.params == weights).all()
        assert cache.trainer.steps == steps
        images.append(frozen.image().rgb)
    np.testing.assert_array_equal(*images)


def test_training_continues_unless_frozen():
    """The test above would pass even if no cache ever trained, so this shows that an unfrozen one does."""
    renderer = cached(niche(), "on", RadianceCache(records=16, train_frames=8, train_every=1))
    renderer.step(1)
    weights = renderer.cache.model.params.detach().clone()
    renderer.step(2)
    assert (renderer.cache.model.params != weights).any()
