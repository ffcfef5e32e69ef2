"""The cache itself: first predictions, scale and training."""

import numpy as np
import pytest
import torch

from nrc_tracer.cache import RadianceCache
from nrc_tracer.cache.cache import shuffle
from nrc_tracer.cache.state import CacheState
from nrc_tracer.nn import Model
from tests.cache.small_cache import SMALL, began, samples, trained


def _reflectance(features):
    """max(diffuse + specular, 0.01)."""
    return (features[:, 8:11] + features[:, 11:14]).clamp_min(0.01)


def _with(**network):
    return {**SMALL, "network": {**SMALL["network"], **network}}


def _optimized(optimizer):
    return {**SMALL, "optimizer": optimizer}


# The first prediction


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "settings",
    [
        {"encoding": "hash"},
        {"encoding": "triangle-wave"},
        {"config": _with(output_activation="None")},
        {"config": _with(output_activation="Softplus", n_hidden_layers=3)},
        {"config": _with(output_activation="Exponential")},
        {"config": _with(output_activation="ReLU", n_hidden_layers=5)},
        {"config": _with(output_activation="Squareplus")},
    ],
    ids=["hash", "triangle-wave", "none", "softplus", "exponential", "relu", "squareplus"],
)
def test_the_first_prediction_is_the_gain_times_the_reflectance(settings, precision):
    """The first prediction is the same everywhere, and training can change it: every relevant parameter has a gradient."""
    features, targets = samples(500, 1)
    features[:3, 8:] = 0.0  # black: the smallest reflectance used is 0.01
    cache = began(RadianceCache(precision=precision, **settings))
    assert not cache.is_trained
    assert float(cache.predict(features).max()) == 0.0  # before any light is measured
    cache.measure_scale(features, targets)
    output = (cache.predict(features) / (cache.gain * _reflectance(features))).numpy()
    # A weight in bfloat16 is rounded by up to 2^-9; that the output does not depend on the input is exact
    np.testing.assert_allclose(output, 1.0, rtol=1e-5 if precision == "float32" else 2.0**-8)
    assert np.ptp(output) < 5e-7
    trained(cache, 20)
    assert cache.is_trained
    assert float((cache.predict(features, trained=True) / (cache.gain * _reflectance(features))).std()) > 2e-3


def test_without_factorization_the_first_prediction_is_the_gain():
    features, targets = samples(500, 1)
    cache = began(RadianceCache(config=SMALL, factorize=False))
    cache.measure_scale(features, targets)
    assert cache.gain == pytest.approx(float(targets.mean()), rel=1e-6)
    np.testing.assert_allclose(cache.predict(features).numpy(), cache.gain, rtol=1e-5)


def test_no_prediction_is_below_zero():
    """A linear output trained on darkness beside light may fall below 0, but radiance cannot."""
    cache = began(RadianceCache(config=_with(output_activation="None")))
    features, targets = samples(2048, 1)
    targets[features[:, 0] < 0.5] = 0.0
    cache.measure_scale(features, targets)
    cache.train(features, targets, records=2048, steps=60, seed=0)
    assert float(cache.model(features).min()) < 0.0
    assert float(cache.predict(features).min()) == 0.0


# Scale


def test_the_scale_is_mean_radiance_over_mean_reflectance():
    features, targets = samples(1000, 1)
    cache = began(RadianceCache(config=SMALL))
    cache.measure_scale(features, targets)
    expected = float(targets.double().mean() / _reflectance(features).double().mean())
    assert cache.scale == pytest.approx(expected, rel=1e-6)
    assert cache.gain == cache.scale


def test_darkness_and_values_that_are_not_finite_do_not_change_the_scale():
    features, targets = samples(1000, 1)
    cache = began(RadianceCache(config=SMALL))
    nothing = (
        torch.zeros(1000, 3),
        torch.full((1000, 3), torch.nan),
        torch.full((1000, 3), torch.inf),
        torch.zeros(0, 3),
    )
    for dark in nothing:
        cache.measure_scale(features[: len(dark)], dark)
        assert cache.scale == cache.gain == 0.0
    assert cache.train(features, torch.zeros(1000, 3), records=1000, steps=2, seed=0) == 0.0
    assert not cache.is_trained  # without light there is no scale
    cache.measure_scale(features, targets)
    before = cache.scale, cache.gain
    for dark in nothing:
        cache.measure_scale(features[: len(dark)], dark)
        assert (cache.scale, cache.gain) == before


def test_another_scale_does_not_change_predictions():
    """Predictions of a trained cache stay the same bit for bit, as does the gain; further training adapts to the new light."""
    features, targets = samples(2048, 1)
    cache = trained(began(RadianceCache(config=SMALL)))
    gain, scale, before = cache.gain, cache.scale, cache.predict(features)
    cache.measure_scale(features, 100.0 * targets)
    assert cache.scale == pytest.approx(100.0 * scale, rel=1e-2)  # measured on other samples
    assert cache.gain == gain
    assert cache.predict(features).equal(before)
    cache.train(features, 100.0 * targets, records=2048, steps=4, seed=0)
    assert float(cache.predict(features, trained=True).mean()) > 1.02 * float(before.mean())


@pytest.mark.parametrize("factor", [2.0**14, 2.0**-14])
def test_brighter_light_gives_the_same_image_brighter(factor):
    """A power of two is exact in float32, so everything that is learnt is equal to the last bit."""
    features, targets = samples(2048, 1)
    answers = []
    for brightness in (1.0, factor):
        cache = began(RadianceCache(config=SMALL))
        cache.measure_scale(features, brightness * targets)
        cache.train(features, brightness * targets, records=2048, steps=20, seed=3)
        answers.append(cache.predict(features) / brightness)
    assert answers[0].equal(answers[1])


# Training


def test_a_cache_learns_radiance_by_position_and_reflectance():
    """Radiance that depends on position and reflectance is known to a few per cent after 300 steps."""
    cache = trained(began(RadianceCache(config=SMALL)), 150)
    trained(cache, 150)
    features, targets = samples(2000, 99)
    error = (cache.predict(features) - targets) / targets
    assert float(error.square().mean().sqrt()) < 0.1
    assert abs(float(error.mean())) < 0.03
    start = began(RadianceCache(config=SMALL))
    start.measure_scale(features, targets)
    assert float(((start.predict(features) - targets) / targets).square().mean().sqrt()) > 0.2


def test_the_shuffle_is_a_permutation_by_seed():
    """It is a permutation that depends only on the seed, and all positions are equally likely."""
    for count in (0, 1, 2, 1000):
        assert sorted(shuffle(count, 5).tolist()) == list(range(count))
    assert shuffle(1000, 5).equal(shuffle(1000, 5))
    for seed in (6, 2**63 + 6, 2**64 - 1):
        assert not shuffle(1000, 5).equal(shuffle(1000, seed))
    places = np.array([shuffle(10, seed).tolist().index(0) for seed in range(2000)])
    counts = np.bincount(places, minlength=10)
    assert np.all(np.abs(counts - 200) < 5.0 * np.sqrt(200 * 0.9))


class _Steps:
    """Records the batches that a trainer gets."""

    def __init__(self, cache, monkeypatch):
        self.inputs = []
        original = cache.trainer.take_steps

        def take_steps(x, target, sizes, **options):
            self.inputs += x.clone().split(sizes)
            return original(x, target, sizes, **options)

        monkeypatch.setattr(cache.trainer, "take_steps", take_steps)


@pytest.mark.parametrize(("count", "records", "steps"), [(1000, 700, 4), (1000, 5000, 8), (3, 100, 8)])
def test_training_batches(monkeypatch, count, records, steps):
    """Training makes the requested number of steps with batches of equal size and uses no record twice."""
    features, targets = samples(count, 1)
    features[:, 1] = torch.arange(count) / count  # identifies each record
    cache = began(RadianceCache(config=SMALL))
    cache.measure_scale(features, targets)
    taken = _Steps(cache, monkeypatch)
    cache.train(features, targets, records=records, steps=steps, seed=11)
    sizes = [len(batch) for batch in taken.inputs]
    assert len(sizes) == min(steps, count)
    assert sum(sizes) == min(count, records)
    assert max(sizes) - min(sizes) <= 1
    names = torch.cat(taken.inputs)[:, 1]
    assert len(names.unique()) == len(names)
    if count > 3:
        assert float(names[: sizes[0]].max() - names[: sizes[0]].min()) > 0.9  # in a random order


def test_the_seed_decides_what_is_learnt():
    features, targets = samples(2048, 1)
    answers = []
    for seed in (1, 1, 2):
        cache = began(RadianceCache(config=SMALL))
        cache.measure_scale(features, targets)
        cache.train(features, targets, records=2048, steps=8, seed=seed)
        answers.append(cache.predict(features))
    assert answers[0].equal(answers[1])
    assert not answers[0].equal(answers[2])


# The average


def test_the_average_of_weights_that_do_not_change_is_those_weights():
    """This holds for a learning rate of 0 after any number of steps."""
    optimizer = {"otype": "Ema", "decay": 0.99, "nested": {"otype": "Adam", "learning_rate": 0.0}}
    cache = began(RadianceCache(config=_optimized(optimizer), precision="float32"))
    features, targets = samples(2048, 1)
    cache.measure_scale(features, targets)
    first = cache.predict(features, trained=True)
    for steps in (1, 4, 30):
        cache.train(features, targets, records=2048, steps=steps, seed=0)
        assert cache.predict(features, trained=True).equal(first)
        np.testing.assert_allclose(cache.predict(features).numpy(), first.numpy(), rtol=1e-5)


def test_the_average_lags_behind():
    """Plain descent by steps of size 1, in weights that only then begin to move: E_1 = W_1, and E_2 by the design's formula."""
    optimizer = {"otype": "Ema", "decay": 0.75, "nested": {"otype": "SGD", "learning_rate": 1.0}}
    cache = began(RadianceCache(config=_optimized(optimizer), precision="float32"))
    features, targets = samples(256, 1)
    cache.measure_scale(features, targets)
    weights = []
    for t in range(1, 4):
        cache.train(features, targets, records=256, steps=1, seed=t)
        weights.append(cache.model.params.double().clone())
        # Closed form of the recursion: weights a^(t - i) (1 - a), divided by their sum
        shares = np.array([0.25 * 0.75 ** (t - i) for i in range(1, t + 1)]) / (1.0 - 0.75**t)
        average = sum(share * w for share, w in zip(shares, weights, strict=True))
        plain = Model(14, 3, cache.model.config, device="cpu", seed=0, precision="float32")
        plain.set_params(average.float())
        expected = plain(features) * (cache.gain * _reflectance(features))
        np.testing.assert_allclose(
            cache.predict(features).numpy(), expected.clamp_min(0.0).numpy(), rtol=2e-5, atol=1e-7
        )
    assert not torch.allclose(cache.predict(features), cache.predict(features, trained=True), rtol=1e-4)


def test_without_averaging_predictions_use_the_trained_weights():
    features, _ = samples(500, 5)
    plain, averaged = (trained(began(RadianceCache(config=SMALL, average=average))) for average in (False, True))
    assert plain.predict(features).equal(plain.predict(features, trained=True))
    assert plain.predict(features).equal(averaged.predict(features, trained=True))
    assert not plain.predict(features).equal(averaged.predict(features))


# Scenes


def test_a_scene_within_the_cube_keeps_the_network_and_a_larger_one_resets_it():
    """The network is kept for a scene that lies within the cube and its margin, and a larger scene gets a new network."""
    cache = trained(began(RadianceCache(config=SMALL)))
    features, _ = samples(100, 5)
    before, steps = cache.predict(features), cache.trainer.steps
    inside = {"device": "cpu", "threads": 2, "seed": 9}
    assert cache.begin([-1.01] * 3, [0.5, 0.9, 1.01], **inside)
    assert cache.predict(features).equal(before)
    assert cache.trainer.steps == steps
    cache.state = CacheState(frame=7, is_warm=True)
    assert not cache.begin([-1.0] * 3, [1.0, 1.0, 3.0], **inside)
    assert (cache.gain, cache.scale, cache.is_trained, cache.state) == (0.0, 0.0, False, CacheState())
    assert cache.size == pytest.approx(4.08)
