"""Scenes rendered with and without a radiance cache: `unbiased` has no bias, and the bias of `on` is as measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

import nrc_tracer as nrc
from nrc_tracer.cache import RadianceCache
from nrc_tracer.scene.model import Scene
from nrc_tracer.tracer import Renderer
from tests.agreement.statistics import Estimate, compare, sidak_band
from tests.tracer.cached_renders import (
    NEVER,
    blocks,
    cached,
    estimate,
    freeze,
    niche,
    replicates,
    uncached,
    warm_up,
    wrong_cache,
)
from tests.tracer.checkpoint_contents import contents

SCENES = Path(__file__).resolve().parents[2] / "scenes"
SIZE = {"width": 32, "height": 32}


@dataclass(frozen=True)
class Effort:
    """Numbers of samples, and the resulting largest accepted errors of the image's mean and its median pixel.

    `unbiased` takes `images` images of `samples` samples with different seeds, the plain path tracer `plain` samples.
    """

    images: int
    samples: int
    plain: int
    known_mean: float
    known_pixel: float


QUICK = {
    "cornell-box": Effort(64, 4, 1024, 0.01, 0.15),
    "door-ajar": Effort(64, 4, 1024, 0.03, 0.8),
    "many-lights": Effort(64, 4, 1024, 0.06, 0.4),
    "material-spheres": Effort(64, 4, 1024, 0.01, 0.1),
    "window-room": Effort(64, 4, 1024, 0.015, 0.4),
}


def some_by_default(names, *default):
    """Parameters of a test, of which only some are part of the default run."""
    return [pytest.param(name, marks=() if name in default else pytest.mark.slow) for name in names]


LONG = {
    "cornell-box": Effort(64, 64, 4096, 0.003, 0.04),
    "door-ajar": Effort(64, 128, 8192, 0.006, 0.16),
    "many-lights": Effort(64, 64, 4096, 0.015, 0.1),
    "material-spheres": Effort(64, 64, 4096, 0.0015, 0.03),
    "window-room": Effort(64, 128, 8192, 0.003, 0.08),
}
GIVEN = {
    "veach-ajar": Effort(32, 64, 2048, 0.02, 0.4),
    "grey-white-room": Effort(32, 64, 2048, 0.01, 0.4),
    "classroom": Effort(32, 64, 2048, 0.01, 0.3),
    "modern-hall": Effort(32, 64, 2048, 0.005, 0.08),
}


def unbiased_and_plain(scene, effort, cache, probability, **options):
    """Estimates of `unbiased`, whose paths continue beyond the cache with a probability, and of the plain path tracer."""
    renderer = cached(scene, "unbiased", cache, **SIZE, **options)
    warm_up(renderer, probability)
    ours = replicates(renderer, effort.images, effort.samples)
    assert renderer.cache_report()["queries_per_path"] > 0.0
    return ours, estimate(uncached(scene, effort.plain, seed=7, **SIZE, **options))


def coarse(image: Estimate, size: int = 4) -> Estimate:
    """The estimate of a smaller image of size x size block means; each block contains some of the rare bright paths."""
    shape = (image.mean.shape[0] // size, size, image.mean.shape[1] // size, size, 3)
    mean, variance = (array.reshape(shape).mean(axis=(1, 3)) for array in (image.mean, image.variance))
    return Estimate(mean, variance / size**2, image.samples)


def assert_means_agree(ours: Estimate, plain: Estimate, known_mean: float) -> None:
    """The means of the image and of all 4 x 4 blocks differ only by noise, and the image mean is known well enough."""
    whole, ours, plain = compare(ours, plain), coarse(ours), coarse(plain)
    z = (ours.mean - plain.mean) / np.sqrt(np.maximum(ours.error2 + plain.error2, (1e-5 * plain.mean + 1e-12) ** 2))
    print(
        f"mean known to {whole.relative_mean_error:.2%}, off by {np.round(whole.relative_difference, 4)}: "
        f"z {np.round(whole.z_mean, 2)}; worst block {np.abs(z).max():.2f}, mean z^2 of blocks {np.mean(z**2):.2f}"
    )
    assert whole.relative_mean_error < known_mean
    assert np.all(np.abs(whole.z_mean) < 3.0)
    assert np.mean(np.abs(z) < sidak_band(z.size)) > 0.98
    # Channels share paths, so there are only as many independent numbers as blocks
    assert np.mean(z**2) < 1.0 + 4.0 * np.sqrt(2.0 * 3.0 / z.size)


def assert_images_agree(ours: Estimate, plain: Estimate, effort: Effort) -> None:
    """Every pixel agrees, with larger accepted errors than usual for such noisy scenes."""
    agreement = compare(ours, plain)
    print(
        f"mean known to {agreement.relative_mean_error:.2%}, pixels to {agreement.relative_pixel_error:.1%}; "
        f"means off by {np.round(agreement.relative_difference, 4)}, z {np.round(agreement.z_mean, 2)}; "
        f"mean z^2 {agreement.mean_z2:.3f}, inside {agreement.inside:.3%}, tile {agreement.worst_tile:.1f}"
    )
    assert not agreement.failures(known_mean=effort.known_mean, known_pixel=effort.known_pixel), agreement


def poor_cache(**settings):
    """A cache that has hardly learnt anything and continues to learn during rendering."""
    return RadianceCache(records=1024, train_frames=4, train_every=32, **settings)


@pytest.mark.parametrize("name", some_by_default(QUICK, "cornell-box", "door-ajar"))
def test_unbiased_has_the_plain_mean(name):
    """The mean does not change with a poor cache beyond which three paths in ten continue."""
    effort = QUICK[name]
    ours, plain = unbiased_and_plain(nrc.load_scene(SCENES / f"{name}.json"), effort, poor_cache(), 0.3)
    assert_means_agree(ours, plain, effort.known_mean)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_unbiased_is_the_plain_image(name):
    """The same holds for every pixel."""
    effort = LONG[name]
    ours, plain = unbiased_and_plain(nrc.load_scene(SCENES / f"{name}.json"), effort, poor_cache(), 0.4)
    assert_images_agree(ours, plain, effort)


@pytest.mark.slow
@pytest.mark.parametrize("name", GIVEN)
def test_unbiased_has_the_plain_mean_in_given_interiors(name, data_folder):
    """The same holds in published interiors with textures, masks, glass, rough metals and sky."""
    effort = GIVEN[name]
    path = data_folder / "scenes" / "mitsuba" / name / "scene.xml"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    ours, plain = unbiased_and_plain(nrc.load_scene(path), effort, poor_cache(), 0.4, filter="box")
    assert_means_agree(ours, plain, effort.known_mean)


WRONG = {"black": (0.0, 0.0), "tripled": (3.0, 0.0), "grey": (0.0, 0.2)}
"""Factors and offsets of predictions."""


@pytest.mark.parametrize("wrong", some_by_default(WRONG, "tripled"))
@pytest.mark.parametrize("name", some_by_default(("cornell-box", "material-spheres"), "cornell-box"))
def test_unbiased_does_not_need_a_correct_cache(name, wrong):
    """A cache that predicts black, three times the radiance, or constant grey adds noise but does not change the mean."""
    effort = QUICK[name]
    cache = wrong_cache(*WRONG[wrong], train_every=NEVER)
    ours, plain = unbiased_and_plain(nrc.load_scene(SCENES / f"{name}.json"), effort, cache, 0.5)
    assert_means_agree(ours, plain, 1.5 * effort.known_mean)


def test_a_wrong_cache_without_correction_is_detected():
    """The tests above could detect a bias: the same caches in mode `raw` change the mean by many standard errors."""
    plain = estimate(uncached(niche(film=(32, 32)), 256, seed=7))
    for factor in (0.0, 3.0):
        renderer = cached(niche(film=(32, 32)), "raw", wrong_cache(factor, train_every=NEVER))
        renderer.warm_up()
        agreement = compare(replicates(renderer, 16, 8), plain)
        assert np.all(np.abs(agreement.z_mean) > 20.0)


@pytest.mark.parametrize("factor", [0.0, 3.0], ids=["black", "tripled"])
def test_the_correction_does_not_need_a_correct_cache(factor):
    """The mean of corrected images is that of path tracing though the cache predicts black, or three times the radiance."""
    plain = estimate(uncached(niche(film=(32, 32)), 1024, seed=7))
    renderer = cached(niche(film=(32, 32)), "on", wrong_cache(factor, train_every=NEVER))
    means = []
    for seed in range(12):
        renderer.reset(seed=seed)
        renderer.step(32)
        means.append(renderer.image().rgb.mean(dtype=np.float64))
    error = np.std(means, ddof=1) / np.sqrt(len(means))
    known = np.sqrt(plain.error2.sum()) / plain.error2.size * np.sqrt(3.0)
    assert abs(np.mean(means) - plain.mean.mean()) < 4.5 * np.hypot(error, known)
    assert error < 0.02 * plain.mean.mean()


# The bias of `raw`


def fraction_of_light_from_cache(renderer: Renderer) -> float:
    """The fraction of the image's light that comes from beyond the ends of paths, measured by the held-out paths."""
    arrays = contents(renderer)[0]
    before, throughput, tail = (
        arrays[f"cache/extra/{name}"].astype(np.float64) for name in ("before", "throughput", "tail")
    )
    beyond = (throughput * tail).sum()
    return float(beyond / (beyond + before.sum()))


def bias_of_image(
    renderer: Renderer, plain: Estimate, *, samples: int = 256, seed: int = 3
) -> tuple[float, float, np.ndarray]:
    """The relative excess of the image's mean, its standard error, and the relative differences of 8 x 8 blocks."""
    renderer.reset(seed=seed)
    renderer.step(samples)
    ours = estimate(renderer)
    mean = plain.mean.mean()
    # Channels of a pixel share paths: their errors are treated as fully correlated
    error = np.sqrt(sum((np.sqrt(e.error2).mean(axis=2) ** 2).sum() for e in (ours, plain))) / plain.mean[..., 0].size
    difference = blocks(ours.mean) - blocks(plain.mean)
    return float(ours.mean.mean() / mean - 1.0), float(error / mean), difference / blocks(plain.mean).mean()


def assert_bias_is_as_measured(renderer: Renderer, plain: Estimate, name: str) -> None:
    """The image's bias is that reported at the ends of paths, times their fraction of its light."""
    report = renderer.cache_report()
    excess, error, by_block = bias_of_image(renderer, plain)
    share = fraction_of_light_from_cache(renderer)
    expected, tolerance = report["bias"] * share, np.hypot(error, report["bias_error"] * share)
    print(
        f"{name}: bias reported {report['bias']:.3f} +- {report['bias_error']:.3f} of {share:.0%} of the light = "
        f"{expected:.4f}; in the image {excess:.4f} +- {tolerance:.4f} (both), "
        f"rms of blocks {np.sqrt(np.mean(by_block**2)):.3f}"
    )
    assert abs(excess - expected) < 4.0 * tolerance


@pytest.mark.parametrize("factor", [0.0, 1.0, 2.0], ids=["black", "trained", "doubled"])
def test_the_reported_bias_predicts_that_of_the_image(factor):
    """The reported bias is -1 for a black cache, about 0 for a trained one and 1 for a doubled one, and the image's follows."""
    described = niche(film=(32, 32))
    renderer = cached(described, "raw", wrong_cache(factor, train_frames=32, records=2048))
    renderer.warm_up()
    freeze(renderer)
    report = renderer.cache_report()
    assert abs(report["bias"] - (factor - 1.0)) < 0.1 * factor + 4.0 * report["bias_error"] + 1e-6
    assert_bias_is_as_measured(renderer, estimate(uncached(described, 1024, seed=7)), f"niche, {factor} of the truth")


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_the_reported_bias_predicts_that_of_the_image_in_every_scene(name):
    """The same holds in every scene, with a cache trained for the whole warm-up."""
    scene = nrc.load_scene(SCENES / f"{name}.json")
    renderer = cached(scene, "raw", RadianceCache(records=4096), width=48, height=32)
    renderer.warm_up()
    freeze(renderer)
    plain = estimate(uncached(scene, 8192, seed=7, width=48, height=32))
    assert_bias_is_as_measured(renderer, plain, name)


# Convergence


PAIRED = {"samples": 256, "seed": 3}


def plain_pair(described: Scene) -> Estimate:
    """Plain images with the samples that `errors_while_warming` takes; its paths only differ beyond the cache."""
    return estimate(uncached(described, PAIRED["samples"], seed=PAIRED["seed"]))


def errors_while_warming(seed: int, frames: tuple[int, ...], plain: Estimate) -> list[tuple[float, float]]:
    """Relative error of the image's mean, and RMS of the errors of its blocks, at several frame counts of one warm-up."""
    cache = RadianceCache(records=1024, train_frames=frames[0])
    renderer = cached(niche(film=(32, 32)), "raw", cache, seed=seed)
    found = []
    for count in frames:
        renderer.reset(seed=seed)
        cache.options = msgspec.structs.replace(cache.options, train_frames=count, freeze=False)
        cache.state = msgspec.structs.replace(cache.state, is_warm=False)
        renderer.warm_up()
        assert renderer.cache_report()["warm_up_frames"] == count
        freeze(renderer)
        excess, _, by_block = bias_of_image(renderer, plain, **PAIRED)
        found.append((abs(excess), float(np.sqrt(np.mean(by_block**2)))))
    return found


def test_the_image_converges_as_the_cache_does():
    """From 2 to 32 frames of warm-up the error of the image's blocks falls by at least a third for every seed."""
    plain = plain_pair(niche(film=(32, 32)))
    for seed in (0, 1):
        early, late = errors_while_warming(seed, (2, 32), plain)
        print("mean and blocks after 2 and 32 frames", np.round(early, 4), np.round(late, 4))
        assert late[1] < 0.7 * early[1]
        assert late[0] < 0.03


@pytest.mark.slow
def test_the_image_continues_to_converge():
    """Over five seeds, the errors of blocks after 8, 32 and 128 frames fall to at most 3 %, and that of the mean to at most 2 %.

    The mean's own error need not fall from count to count: early on, dark and bright blocks cancel by chance.
    """
    plain = plain_pair(niche(film=(32, 32)))
    errors = np.array([errors_while_warming(seed, (8, 32, 128), plain) for seed in range(5)])
    mean, block = np.sqrt(np.mean(errors**2, axis=0)).T
    print("RMS over seeds after 8, 32 and 128 frames: mean", mean, "blocks", block)
    assert block[0] > block[1] > block[2]
    assert mean[2] < 0.02
    assert block[2] < 0.03
