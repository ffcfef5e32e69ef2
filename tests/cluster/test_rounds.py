"""A radiance cache on a cluster: the image depends on the seed, the settings and the rounds, and not on the nodes."""

import numpy as np
import pytest

from nrc_tracer.cluster.rounds import render_rounds
from nrc_tracer.tracer import strips
from tests.cluster.fake_nodes import FakeNodes
from tests.tracer.cached_renders import uncached
from tests.tracer.checkpoint_contents import assert_same
from tests.tracer.test_cached_determinism import begun
from tests.tracer.test_determinism import accumulated, room

SPP = 70
SIZE = {"width": 30, "height": 24}


@pytest.fixture(autouse=True)
def few_strips(monkeypatch):
    """Three strips of 8 rows: with a cache, a unit has a cost per sample that is large for small strips."""
    monkeypatch.setattr(strips, "FEWEST_STRIPS", 3)


def rounds(renderer, names, *, spp=SPP, stop=lambda: False, after=lambda renderer: None, **chances):
    """Render on fake nodes; return whether that was finished."""
    return render_rounds(
        renderer,
        FakeNodes(renderer, names, **chances),
        end=spp,
        is_over=lambda: False,
        stop=stop,
        progress=lambda progress: None,
        after=after,
        say=pytest.fail,
    )


@pytest.mark.parametrize("mode", ["on", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("unbiased", "view"))])
def test_the_nodes_change_no_bit(mode):
    """One node with one thread; five with two threads, that die and deliver twice: film, cache and counts are equal."""
    reference = begun(mode, threads=1, **SIZE)
    assert rounds(reference, "a")
    assert reference.samples == SPP
    assert reference.cache_report()["queries_per_path"] > 0.1
    before = begun(mode, threads=1, **SIZE).cache.trainer.steps
    assert reference.cache.trainer.steps > before
    other = begun(mode, threads=2, **SIZE)
    assert rounds(other, "abcde", dies=0.1, twice=0.5, seed=3)
    np.testing.assert_array_equal(accumulated(other), accumulated(reference))
    assert_same(other, reference)


@pytest.mark.slow
def test_it_goes_on_from_the_checkpoint_of_a_round(tmp_path):
    """Stopped in its second round and resumed with other nodes: the bits of a render that was not stopped."""
    reference = begun("on", **SIZE)
    rounds(reference, "a", spp=128)
    renderer = begun("on", **SIZE)
    assert not rounds(renderer, "ab", spp=128, stop=lambda: renderer.samples == 64)
    renderer.save_checkpoint(tmp_path / "a")
    resumed = begun("on", **SIZE)
    resumed.load_checkpoint(tmp_path / "a")
    assert resumed.samples == 64
    rounds(resumed, "xyz", spp=128)
    np.testing.assert_array_equal(accumulated(resumed), accumulated(reference))
    assert_same(resumed, reference)


@pytest.mark.slow
def test_unbiased_images_are_those_without_a_cache():
    """Within the noise, on means over the image."""
    renderer = begun("unbiased", **SIZE)
    rounds(renderer, "ab", spp=256)
    plain = uncached(room(), 1024, seed=9, **SIZE)
    (mean, variance), (expected, noise) = renderer.moments(), plain.moments()
    pixels = mean[..., 0].size
    error = np.sqrt((variance / 256 + noise / 1024).sum(axis=(0, 1))) / pixels
    assert np.all(np.abs(mean.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))) < 4.0 * error)


@pytest.mark.slow
def test_the_bias_is_that_of_one_machine():
    """The cache is fixed for 64 samples instead of one or two: means of the image agree within 2 % and the noise."""
    here, there = begun("on", **SIZE), begun("on", **SIZE)
    here.step(128)
    rounds(there, "ab", spp=128)
    (mean, variance), (expected, noise) = here.moments(), there.moments()
    error = np.sqrt(((variance + noise) / 128).sum(axis=(0, 1))) / mean[..., 0].size
    difference = np.abs(mean.mean(axis=(0, 1)) - expected.mean(axis=(0, 1)))
    assert np.all(difference < 4.0 * error + 0.02 * expected.mean(axis=(0, 1)))
