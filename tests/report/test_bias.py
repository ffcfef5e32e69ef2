"""The bias by channel and region, with standard errors that say how far it is from the truth."""

import re

import numpy as np
import pytest
from scipy.special import stdtrit

from nrc_tracer.report.bias import measure_bias, significant_errors
from nrc_tracer.report.bias_table import _map, bias_maps, bias_table, named_biases
from nrc_tracer.report.measure import Look, measure
from nrc_tracer.report.references import Reference
from nrc_tracer.report.settings import Budget, Setting
from nrc_tracer.report.study import shoot
from tests.report.stand_in import StandIn, run

SIZE = (40, 60)
SETTINGS = (Setting("off"), Setting("on", "hash", "cached"))


def _reference(rng, noise):
    truth = np.full((*SIZE, 3), 2.0)
    first, second = (truth + noise * rng.standard_normal(truth.shape) for _ in range(2))
    return Reference(first, second, 0.01, (1, 1), (), False)


def test_biases_of_channels_and_regions_are_found_within_their_standard_errors():
    """Divided by their standard errors, the errors of 70 regions have a standard deviation of 1."""
    rng = np.random.default_rng(1)
    truth, bias = np.full((*SIZE, 3), 2.0), np.zeros((*SIZE, 3))
    bias[:, :30], bias[..., 2] = 0.2, 0.4
    images = [truth + bias + 0.5 * rng.standard_normal(truth.shape) for _ in range(16)]
    found = measure_bias(images, _reference(rng, 0.2))
    assert found.side == 6
    assert (len(found.regions), len(found.regions[0])) == (7, 10)
    assert np.shape(found.region_errors) == np.shape(found.regions)
    # The scale is sqrt(2^2 + 0.01 x 2^2)
    scale = 2.0 * np.sqrt(1.01)
    expected = np.array([0.1, 0.1, 0.4]) / scale
    assert np.all(np.abs(np.array(found.channels) - expected) < 4.5 * np.array(found.channel_errors))
    assert np.array(found.channel_errors) == pytest.approx(
        np.sqrt(0.5**2 / 16 + 0.2**2 / 2) / np.sqrt(2400) / scale, rel=0.6
    )
    regions = np.where(np.arange(10) < 5, (0.2 + 0.2 + 0.4) / 3.0, 0.4 / 3.0) / scale
    normalized = (np.array(found.regions) - regions) / np.array(found.region_errors)
    assert np.sqrt(np.mean(np.square(normalized))) == pytest.approx(1.0, abs=0.35)


def test_a_noisy_reference_makes_the_bias_less_certain():
    rng = np.random.default_rng(2)
    images = [np.full((*SIZE, 3), 2.0) for _ in range(2)]
    assert measure_bias(images, _reference(rng, 0.0)).channel_errors == (0.0, 0.0, 0.0)
    assert all(error > 0.0 for error in measure_bias(images, _reference(rng, 0.1)).channel_errors)


class Corrected(StandIn):
    """A renderer whose images are corrected by -4 %."""

    def moments(self):
        return 1.04 * self._sum / self.samples, None

    def cache_report(self):
        return {} if self.mode == "off" else {"correction": [-0.04] * 3}


@pytest.fixture(scope="module")
def corrected(reference):
    shots = shoot(
        SETTINGS,
        (Budget("samples", 64.0),),
        lambda setting, seed: Corrected("off" if setting.mode == "off" else "raw", seed),
        seeds=8,
        run=run,
    )
    return measure(shots, reference, Look())


def test_a_corrected_image_has_a_bias_before_and_after_its_correction(corrected):
    budget = Budget("samples", 64.0)
    assert corrected.result(SETTINGS[0], budget).uncorrected_bias is None
    result = corrected.result(SETTINGS[1], budget)
    before, after = np.array(result.uncorrected_bias.channels), np.array(result.bias.channels)
    assert before == pytest.approx(1.04 * (1.0 + after) - 1.0, abs=0.002)
    names = [name for name, _ in named_biases(corrected, SETTINGS[1], budget)]
    assert names == ["cached, before correction", "cached"]


def test_the_page_shows_every_bias_with_its_standard_error(corrected):
    budgets = (Budget("samples", 64.0),)
    table = bias_table(corrected, SETTINGS, budgets)
    assert table.count("<tr>") == 1 + 3
    assert len(re.findall(r"<td>[+-]\d+\.\d+ ± \d+\.\d+ %</td>", table)) == 9
    maps = bias_maps(corrected, SETTINGS, budgets)
    regions = sum(
        np.size(bias.regions) for setting in SETTINGS for _, bias in named_biases(corrected, setting, budgets[0])
    )
    assert maps.count("±") == regions
    # The bias of 5 % and 9 % is far beyond the noise, and uncached rendering has none
    plain, before, after = maps.split("<figure>")[1:]
    assert before.count("background:") == after.count("background:") == regions // 3
    assert plain.count("background:") < regions // 20


@pytest.mark.parametrize("seeds", [2, 4])
def test_chance_colours_one_region_in_twenty_whatever_the_number_of_seeds(seeds):
    """Of 2100 regions of unbiased images, 5 % are coloured; two standard errors coloured 30 % and 14 %."""
    rng = np.random.default_rng(seeds)
    truth = np.full((*SIZE, 3), 2.0)
    exact = Reference(truth, None, None, (1,), (), False)
    coloured = regions = 0
    for _ in range(30):
        bias = measure_bias([truth + rng.standard_normal(truth.shape) for _ in range(seeds)], exact)
        ratios = np.abs(np.array(bias.regions)) / np.array(bias.region_errors)
        coloured += _map(bias).count("background:")
        regions += ratios.size
        assert np.count_nonzero(ratios > significant_errors(seeds)) == _map(bias).count("background:")
    assert coloured / regions == pytest.approx(0.05, abs=4.5 * np.sqrt(0.05 * 0.95 / 2100))


def test_the_threshold_is_the_quantile_of_students_t():
    for seeds in (*range(2, 20), 100, 10**6):
        assert significant_errors(seeds) == pytest.approx(stdtrit(seeds - 1, 0.975), rel=2e-4)
