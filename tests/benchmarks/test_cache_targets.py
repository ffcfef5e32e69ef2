"""The goals of the cache's benchmark: how figures are judged, and that a black cache does not pass."""

import dataclasses

import numpy as np
import pytest

from benchmarks import cache_targets as targets
from benchmarks.cache_figures import freeze, measure_bound, measure_plain, measure_quality, train
from benchmarks.cache_race import crossing, describe_unbiased, ratio_at_equal_time
from benchmarks.cache_references import Stage
from benchmarks.data import find_scene
from nrc_tracer.cache import RadianceCache
from nrc_tracer.report.references import Reference
from nrc_tracer.scene.load import load_scene
from tests.tracer.cached_renders import niche, wrong_cache

GOOD = {"image_mean": 1.0, "block_error": 0.05, "relative_variance_ratio": 0.05, "variance_over_bound": 1.0}


def passed(verdicts):
    """Whether each figure reaches its goal."""
    return [verdict.passed for verdict in verdicts]


def with_reference(stage, samples):
    """The same scene with its reference."""
    images = []
    for seed in (11, 12):
        renderer = stage.renderer(seed=seed)
        renderer.step(samples)
        images.append(renderer.image().rgb)
    return dataclasses.replace(stage, reference=Reference(images[0], images[1], (samples, samples)))


@pytest.fixture(scope="module")
def stage():
    """A small scene with its reference."""
    return with_reference(Stage("niche", niche(film=(48, 32)), 48), 512)


@pytest.fixture(scope="module")
def door_ajar():
    """A room lit through a gap, with no light visible to the camera: all noise comes from paths."""
    return with_reference(Stage("door-ajar", load_scene(find_scene("door-ajar")), 64), 1024)


def quality(stage, cache):
    """The figures of a cache, measured as in the benchmark."""
    renderer = train(stage, cache)
    bound = measure_bound(stage, 64, cache)
    return measure_quality(stage, renderer, 64, measure_plain(stage, 256), bound)


@pytest.mark.slow
def test_a_black_cache_fails(door_ajar):
    """It has less noise than a perfect cache, but fails because of its brightness and structure."""
    figures = quality(door_ajar, wrong_cache(0.0))
    mean, blocks, relative, absolute = targets.judge_quality(figures)
    assert figures["variance_over_bound"] < 0.9
    assert relative.passed
    assert absolute.passed
    assert not mean.passed
    assert not blocks.passed
    assert figures["image_mean"] < 0.7


def test_the_figures_distinguish_a_trained_cache_from_a_black_one(stage):
    """The image mean and the block error of a trained cache are much nearer to the reference than those of a black cache."""
    black = quality(stage, wrong_cache(0.0))
    learnt = quality(stage, RadianceCache(records=4096, train_frames=48))
    assert abs(learnt["image_mean"] - 1.0) < 0.2 * abs(black["image_mean"] - 1.0)
    assert learnt["block_error"] < 0.4 * black["block_error"]


def test_a_frozen_cache_learns_no_more(stage):
    cache = RadianceCache(records=512, train_frames=2)
    renderer = stage.renderer(cache)
    renderer.step(1)
    freeze(cache)
    steps = renderer.cache_report()["training_steps"]
    renderer.step(20)
    assert renderer.cache_report()["training_steps"] == steps > 0


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("image_mean", 0.96),
        ("image_mean", 1.04),
        ("block_error", 0.13),
        ("relative_variance_ratio", 0.11),
        ("variance_over_bound", 1.31),
        ("variance_over_bound", float("nan")),
    ],
)
def test_each_figure_of_quality_counts(name, bad):
    assert passed(targets.judge_quality(GOOD)) == [True] * 4
    assert passed(targets.judge_quality({**GOOD, name: bad})).count(False) == 1


def test_shares_at_equal_time():
    """The goals are 1/5 at 10 s and 1/3 at 60 s, interpolated linearly in the logarithms between them."""
    middle = targets.allowed_share(np.sqrt(600.0))
    expected = [1 / 5, 1 / 5, np.sqrt(1 / 15), 1 / 3, 1 / 3]
    np.testing.assert_allclose(
        [*map(targets.allowed_share, (2, 10)), middle, *map(targets.allowed_share, (60, 600))], expected
    )
    points = [{"seconds": 10.0, "on_ratio": 0.19, "unbiased_ratio": 1.06}, {"seconds": 60.0, "on_ratio": 0.34}]
    assert passed(targets.judge_race({"points": points})) == [True, False, False]


def test_ratio_at_equal_time_corrects_for_a_longer_run():
    """A run that took a tenth longer is compared with uncached rendering of the same, longer time."""
    plain = {"rel_mse": 0.4, "seconds": 10.0}
    assert ratio_at_equal_time({"rel_mse": 0.2, "seconds": 11.0}, plain) == pytest.approx(0.2 / (0.4 / 1.1))


def test_crossing_is_where_the_errors_are_equal():
    """Errors that follow the model are equal at the predicted time."""
    bias, noise, plain = 0.01, 0.3, 4.0

    def at(seconds):
        cached = {"rel_mse": bias + noise / seconds, "variance": noise / seconds, "seconds": seconds}
        return {"rel_mse": plain / seconds, "seconds": seconds}, cached

    when = crossing(*at(20.0))
    uncached, cached = at(when)
    assert uncached["rel_mse"] == pytest.approx(cached["rel_mse"])
    assert crossing(uncached, {"rel_mse": 0.1, "variance": 0.1, "seconds": 1.0}) is None
    assert crossing({"rel_mse": 0.01, "seconds": 1.0}, {"rel_mse": 0.1, "variance": 0.05, "seconds": 1.0}) == 0.0


def test_prediction_of_the_unbiased_mode():
    """Half of the paths continue: V + V_L at a cost of t_0 + t_l / 2, against V at t. At q = 1 nothing is gained or lost."""
    report = {"v_0": 1.0, "v_l": 0.5, "v": 1.6, "t_0": 3.0, "t_l": 8.0, "t": 10.0, "best_probability": 0.4, "gain": 1.1}
    report |= {"continue_probability": 0.5, "warm_up_seconds": 1.0, "warm_up_frames": 8}
    assert describe_unbiased(report)["predicted_error_ratio"] == pytest.approx(2.1 * 7.0 / 16.0)
    assert describe_unbiased({**report, "continue_probability": 1.0})["predicted_error_ratio"] == 1.0


def test_scenes_are_found_by_name():
    assert find_scene("door-ajar").name == "door-ajar.json"
    assert find_scene("no-such-scene") is None
