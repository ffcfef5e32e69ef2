"""Bias, variances and the best continuation probability, from synthetic paths with known values."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.features import FEATURES
from nrc_tracer.cache.held_out import HeldOut
from nrc_tracer.cache.records import BROKEN, COMPLETE
from nrc_tracer.errors import CacheError

COLUMNS = ("features", "throughput", "tail", "before", "length", "depth")


def _paths(rng, pixels, *, noise=1.0, spread=0.5):
    """Two paths for each pixel. Each pixel has its own light, whose mean is given by the features."""
    count = 2 * pixels
    light = np.repeat(np.exp(rng.normal(0.0, spread, pixels)), 2)
    t = rng.uniform(0.2, 1.0, (count, 3))
    tail = light[:, None] * (1.0 + noise * (rng.exponential(1.0, (count, 3)) - 1.0))
    features = np.zeros((count, FEATURES))
    features[:, 0] = light
    tensors = {
        "features": features,
        "throughput": t,
        "tail": tail,
        "before": rng.exponential(1.0, (count, 3)),
        "length": rng.integers(3, 9, count),
        "depth": np.full(count, 2),
    }
    return {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in tensors.items()}


def _brighter(bias):
    """A cache that knows the mean light of every pixel, but predicts (1 + bias) times it."""
    return lambda features: ((1.0 + bias) * features[:, :1]).expand(-1, 3)


def test_a_known_bias_is_found(rng):
    """The bias of a cache 10 % too bright, exact, or 20 % too dark is found within its standard error, which is small."""
    held = HeldOut(**_paths(rng, 20_000))
    for bias in (0.1, 0.0, -0.2):
        got, error = held.bias(_brighter(bias))
        assert 0.0 < error < 0.02
        assert abs(got - bias) < 4.0 * error


def test_without_noise_the_bias_is_exact(rng):
    got, error = HeldOut(**_paths(rng, 500, noise=0.0)).bias(_brighter(0.25))
    assert got == pytest.approx(0.25, abs=1e-6)
    assert error < 1e-6


@pytest.mark.parametrize("noise", [0.2, 1.0])
def test_the_standard_error_covers_the_truth(rng, noise):
    """Of 600 estimates about 68 % are within one standard error of the true bias, and 95 % within two."""
    draws, bias = 600, 0.05
    ratios = []
    for _ in range(draws):
        got, error = HeldOut(**_paths(rng, 250, noise=noise)).bias(_brighter(bias))
        ratios.append((got - bias) / error)
    for sigmas, share in ((1.0, 0.6827), (2.0, 0.9545)):
        inside = float(np.mean(np.abs(ratios) < sigmas))
        # Four standard errors of the fraction, and 1 % because a ratio of means of 250 is not exactly normal
        assert abs(inside - share) < 4.0 * math.sqrt(share * (1.0 - share) / draws) + 0.01


def test_both_paths_of_a_pixel_may_have_the_same_error(rng):
    """The cache's error is equal within a pixel, so its two paths are not independent; the standard error accounts for that."""
    draws, pixels = 500, 100
    ratios = []
    for _ in range(draws):
        tensors = _paths(rng, pixels, noise=0.0, spread=0.0)
        wrong = np.repeat(rng.normal(0.0, 0.3, pixels), 2).astype(np.float32)
        tensors["throughput"].fill_(1.0)
        tensors["features"][:, 1] = torch.from_numpy(wrong)
        got, error = HeldOut(**tensors).bias(
            lambda features: (features[:, :1] * (1.0 + features[:, 1:2])).expand(-1, 3)
        )
        ratios.append(got / error)
    # Student's t with 99 degrees of freedom has variance 99 / 97; counting 200 independent paths would double it
    assert np.var(ratios) == pytest.approx(99 / 97, abs=4.0 * math.sqrt(2.0 / draws))


def test_the_bias_is_not_a_number_without_paths_or_light():
    """The bias is NaN where there is nothing to compare with."""
    assert all(map(math.isnan, HeldOut.empty().bias(_brighter(0.0))))
    dark = {name: torch.zeros((4, 3)) for name in ("throughput", "tail", "before")}
    dark |= {"features": torch.zeros((4, FEATURES)), "length": torch.ones(4), "depth": torch.zeros(4)}
    assert all(map(math.isnan, HeldOut(**dark).bias(_brighter(0.0))))
    for held in (HeldOut(**dark), HeldOut.empty()):  # then all paths continue, and nothing is gained
        got = held.cost(_brighter(0.0), 1.0)
        assert (got.best_probability, got.gain) == (1.0, 0.0)
    assert (len(HeldOut.empty()), len(HeldOut(**dark))) == (0, 4)


def test_variances_by_hand():
    """Two pixels with two paths each; the last path has no cut."""
    tensors = {
        "features": torch.zeros((4, FEATURES)),
        "throughput": torch.tensor([[1.0], [1.0], [0.5], [0.0]]).expand(-1, 3),
        "tail": torch.tensor([[3.0], [0.0], [2.0], [0.0]]).expand(-1, 3),
        "before": torch.tensor([[0.0], [2.0], [1.0], [5.5]]).expand(-1, 3),
        "length": torch.tensor([6.0, 5.0, 9.0, 4.0]),
        "depth": torch.tensor([2.0, 3.0, 2.0, 0.0]),
    }
    got = HeldOut(**tensors).cost(lambda features: torch.ones((len(features), 3)), 10.0)
    # Cached samples: 1, 3 and 1.5, 5.5: variances 2 and 8. T (L - C): 2, -1, 0.5, 0
    assert got.v_0 == pytest.approx(5.0)
    assert got.v_l == pytest.approx((4.0 + 1.0 + 0.25) / 4.0)
    # Whole samples: 3, 2 and 2, 5.5
    assert got.v == pytest.approx(0.5 * (0.5 + 6.125))
    assert got.t == pytest.approx(6.0)
    assert got.t_0 == pytest.approx((12.0 + 13.0 + 12.0 + 4.0) / 4.0)
    assert got.t_l == pytest.approx((4.0 + 2.0 + 7.0) / 4.0)


def test_variances_of_known_distributions(rng):
    """v_0 is the variance within pixels, not between them; v_l is the tail's noise and the squared error of the cache."""
    tensors = _paths(rng, 50_000, spread=0.0)
    count = len(tensors["tail"])
    tensors["throughput"].fill_(0.5)
    between = np.repeat(rng.normal(0.0, 100.0, count // 2), 2)[:, None]
    tensors["before"] = torch.from_numpy(between + rng.normal(0.0, 2.0, (count, 3)))
    got = HeldOut(**tensors).cost(_brighter(0.4), 1.0)
    # 1.5e5 differences: a relative standard error of sqrt(2 / 1.5e5) = 0.4 %. An exponential's fourth moment: 1.2 %
    assert got.v_0 == pytest.approx(4.0, rel=0.015)
    assert got.v_l == pytest.approx(0.25 * (1.0 + 0.4**2), rel=0.04)


def _steps(v_0, v_l):
    """Half of the difference of two samples with variance v_0, and the root of a mean square v_l."""
    return math.sqrt(v_0 / 2.0), math.sqrt(v_l)


def _synthetic(v_0, v_l, length, depth):
    """Two pixels with two paths each, whose cached samples and tails have these variances."""
    a, b = _steps(v_0, v_l)
    return {
        "features": torch.zeros((4, FEATURES)),
        "throughput": torch.ones((4, 3)),
        "tail": torch.tensor([[b], [-b], [b], [-b]], dtype=torch.float64).expand(-1, 3),
        "before": torch.tensor([[a], [-a], [-a], [a]], dtype=torch.float64).expand(-1, 3),
        "length": torch.full((4,), length),
        "depth": torch.full((4,), depth),
    }


@pytest.mark.parametrize(
    ("v_0", "v_l", "length", "depth"),
    [
        (4.0, 1.0, 9.0, 2.0),
        (1.0, 0.01, 20.0, 2.0),
        (1.0, 30.0, 5.0, 2.0),
        (9.0, 1e-6, 30.0, 2.0),
        (1.0, 1.0, 40.0, 3.0),
    ],
)
def test_the_best_probability_has_the_least_variance_in_a_given_time(v_0, v_l, length, depth):
    """The variance times the time, (v_0 + v_l / q) (t_0 + q t_l), is smallest there among all probabilities from 0.05 to 1."""
    predict = lambda features: torch.zeros((len(features), 3))  # noqa: E731
    a, b = _steps(v_0, v_l)
    held = HeldOut(**_synthetic(v_0, v_l, length, depth))
    measured = held.cost(predict, 1.5)
    assert (measured.v_0, measured.v_l) == (pytest.approx(v_0), pytest.approx(v_l))
    q = np.linspace(0.05, 1.0, 20_001)
    cost = (v_0 + v_l / q) * (depth + 1.5 + q * (length - depth))
    assert measured.best_probability == pytest.approx(q[np.argmin(cost)], abs=1e-4)
    # Path tracing: its variance times its length, relative to the smallest cost
    whole = np.array([[a, b], [-a, -b], [-a, b], [a, -b]]).sum(axis=1)
    variance = np.mean([(whole[0] - whole[1]) ** 2, (whole[2] - whole[3]) ** 2]) / 2.0
    assert measured.gain == pytest.approx(variance * length / cost.min(), rel=1e-4)


def test_what_paths_left_behind(rng):
    """Paths keep the first cut's vertex and the light before and beyond it; broken paths keep nothing."""
    buffers = RecordBuffers.allocate(6, 1, torch.device("cpu"))
    for name in ("features", "throughput", "gathered"):
        tensor = getattr(buffers, name)
        tensor.copy_(torch.from_numpy(rng.random(tuple(tensor.shape), np.float32)))
    buffers.throughput[2] = math.nan
    buffers.gathered[2] = math.nan
    buffers.count.copy_(torch.tensor([1, 0, 1, 1, 0, 1]))
    buffers.status.copy_(torch.tensor([int(COMPLETE), int(COMPLETE), int(BROKEN), int(COMPLETE), int(BROKEN), 0]))
    buffers.length.copy_(torch.arange(6))
    held = HeldOut.of(buffers, 4)
    assert set(held.tensors()) == set(COLUMNS)
    for path, (cut, counts) in enumerate([(True, True), (False, True), (False, False), (True, True)]):
        expected = buffers.throughput[path, 0] if cut else torch.zeros(3)
        assert held.throughput[path].equal(expected), path
        assert held.tail[path].equal(buffers.gathered[path, 1] if cut else torch.zeros(3)), path
        assert held.before[path].equal(buffers.gathered[path, 0] if counts else torch.zeros(3)), path
        assert held.features[path].equal(buffers.features[path, 0] if cut else torch.full((FEATURES,), 0.5)), path
    buffers.gathered.fill_(9.0)  # the paths are copies, because the buffers are used again
    assert float(held.before.max()) < 1.0
    assert held.length.tolist() == [0, 1, 2, 3]


def test_joining_keeps_the_last():
    """New paths follow the old ones, and only the last `most` are kept."""
    first, second = (HeldOut(**{name: torch.arange(a, a + 4.0) for name in COLUMNS}) for a in (0.0, 4.0))
    assert first.joined(second, most=100).tail.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    joined = first.joined(second, most=6)
    assert all(tensor.tolist() == [2, 3, 4, 5, 6, 7] for tensor in joined.tensors().values())


def test_joining_to_nothing_gives_the_new_ones(rng):
    new = HeldOut(**_paths(rng, 5))
    assert HeldOut.empty().joined(new, most=100).tail.equal(new.tail)


def test_joining_paths_with_and_without_a_second_continuation_keeps_the_new_ones(rng):
    first, second = (_paths(rng, 3) for _ in range(2))
    both = HeldOut(**first, again=first["tail"])
    assert both.joined(HeldOut(**second), most=100).tail.equal(second["tail"])
    assert HeldOut(**second).joined(both, most=100).again.equal(first["tail"])


def test_tensors_give_the_same_paths_back(rng):
    """Tensors are read back with and without a second continuation; a set with other or fewer tensors is refused."""
    paths = HeldOut(**_paths(rng, 3))
    for held in (paths, dataclasses.replace(paths, again=paths.tail + 1.0)):
        tensors = held.tensors()
        back = HeldOut.from_tensors(tensors, torch.device("cpu")).tensors()
        assert set(back) == set(tensors)
        assert all(back[name].equal(tensors[name]) for name in tensors)
    tensors = paths.tensors()
    for damaged in (
        {},
        {**tensors, "more": tensors["tail"]},
        {**tensors, "tail": tensors["tail"][:, :2]},
        {**tensors, "tail": tensors["tail"][:-1]},
        {name: tensor for name, tensor in tensors.items() if name != "tail"},
    ):
        with pytest.raises(CacheError, match="held-out paths are damaged"):
            HeldOut.from_tensors(damaged, torch.device("cpu"))
