"""Ending a render by its noise: the work's division does not change the number of samples, and the estimate is the error."""

import math

import numpy as np
import pytest

from nrc_tracer.imaging import rel_mse
from nrc_tracer.tracer import Renderer, render, run
from nrc_tracer.tracer.noise import is_check, next_check, relative_error
from tests.tracer.test_determinism import room
from tests.tracer.tiny_scenes import rendered


def test_checks_are_an_eighth_apart():
    counts = [0]
    while counts[-1] < 300:
        counts.append(next_check(counts[-1]))
    assert counts[1:10] == [32, 36, 40, 44, 48, 52, 56, 60, 64]
    assert counts[10:] == [*range(72, 128, 8), *range(128, 256, 16), *range(256, 321, 32)]
    assert [n for n in range(321) if is_check(n)] == counts[1:]


def test_the_estimate_agrees_with_rel_mse():
    """With known variances, the mean of `rel_mse` over many noisy images is the square of the estimate."""
    random = np.random.default_rng(3)
    truth = random.uniform(0.0, 2.0, (4, 5, 3))
    deviation = random.uniform(0.0, 0.3, truth.shape)
    errors = [rel_mse(truth + deviation * random.standard_normal(truth.shape), truth) for _ in range(4000)]
    standard_error = np.std(errors) / math.sqrt(len(errors))
    assert abs(np.mean(errors) - relative_error(truth, deviation**2) ** 2) < 4 * standard_error


def test_black_is_without_noise():
    assert relative_error(np.zeros((2, 2, 3)), np.zeros((2, 2, 3))) == 0.0
    assert Renderer(room(), device="cpu").noise() == math.inf


@pytest.mark.parametrize("sampler", ["independent", "sobol"])
def test_threads_and_passes_do_not_change_the_number_of_samples(sampler, monkeypatch):
    ends = set()
    for threads, passes in ((1, 1), (2, 3), (2, 1000)):
        renderer = Renderer(room(sampler=sampler), device="cpu", threads=threads)
        monkeypatch.setattr(renderer, "suggested_pass", lambda passes=passes: passes)
        assert run(renderer, noise=0.06)
        ends.add((renderer.samples, renderer.image().rgb.tobytes()))
    assert len(ends) == 1
    samples = next(iter(ends))[0]
    assert 40 < samples < 1000


def test_a_resumed_render_ends_with_the_same_number_of_samples(tmp_path):
    whole = Renderer(room(), device="cpu")
    run(whole, noise=0.06)
    for before in (whole.samples - 1, whole.samples):
        rendered(room(), before).save_checkpoint(tmp_path / "a")
        renderer = Renderer(room(), device="cpu")
        renderer.load_checkpoint(tmp_path / "a")
        run(renderer, noise=0.06)
        assert renderer.samples == whole.samples


@pytest.mark.parametrize(("sampler", "low"), [("independent", 0.7), ("sobol", 0.3)])
def test_the_error_is_the_requested_one(sampler, low):
    """The error against a long reference is within 30 % of the target; that of Sobol samples may be smaller."""
    reference = rendered(room(sampler=sampler), 16384, seed=99).image().rgb
    target = 0.04
    errors = []
    for seed in range(4):
        image = render(room(sampler=sampler), device="cpu", seed=seed, noise=target)
        errors.append(math.sqrt(rel_mse(image.rgb, reference)))
    assert low * target < np.mean(errors) < 1.3 * target


def test_samples_and_time_still_end_a_render():
    assert render(room(), device="cpu", spp=5, noise=1e-9).samples == 5
    assert render(room(), device="cpu", time=0.05, noise=1e-9).samples >= 1
