"""A study finds the bias, variance and speed of fake renderers, which are known exactly."""

import json

import numpy as np
import pytest

from nrc_tracer.errors import NrcError
from nrc_tracer.report import study
from nrc_tracer.report.measure import Look, check_control, measure
from nrc_tracer.report.settings import Budget, Setting, make_settings
from nrc_tracer.report.study import shoot
from nrc_tracer.report.table import as_document, rows, terminal_tables
from tests.report.conftest import BUDGETS
from tests.report.stand_in import KINDS, SETTINGS, StandIn, expected, make_renderer, run


def test_settings():
    assert [s.name for s in make_settings()] == ["uncached", "cached", "unbiased"]
    both = make_settings(("hash", "triangle-wave", "hash"), ("on", "unbiased", "view"))
    assert [s.name for s in both][:2] == ["uncached", "cached, hash"]
    rivals = make_settings(("hash", "triangle-wave"), ("voxel", "raw"))
    assert [s.name for s in rivals] == ["uncached", "uncorrected, hash", "uncorrected, triangle-wave", "voxels"]
    assert [s.is_biased for s in rivals] == [False, True, True, True]
    assert [(s.mode, s.encoding) for s in both[4:]] == [(m, "triangle-wave") for m in ("on", "unbiased", "view")]


def test_no_two_images_share_random_numbers(shots):
    seeds = [shot.seed for images in shots.images.values() for shot in images]
    seeds += [points[0].seed for points in shots.curves.values()]
    assert len(set(seeds)) == len(seeds) == 3 * 2 * 4 + 3
    assert all(len(images) == 4 for images in shots.images.values())


def test_budgets_are_spent(shots):
    samples, time = BUDGETS
    for setting in SETTINGS:
        assert all(shot.samples == 64 for shot in shots.images[setting, samples])
        _, _, cost, start = KINDS[setting.mode]
        assert all(shot.samples == round((4.0 - start) / cost) for shot in shots.images[setting, time])


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget.name)
def test_bias_and_variance_are_those_of_the_renderers(measured, setting, budget):
    result = measured.result(setting, budget)
    bias, deviation, _, _ = KINDS[setting.mode]
    variance = deviation**2 / result.samples
    # 4 images of 2304 values: the relative standard error of the variance is sqrt(2 / (3 * 2304)) = 1.7 %
    assert result.variance == pytest.approx(expected(variance), rel=0.07)
    assert result.squared_bias == pytest.approx(expected(bias**2), abs=4.0 * result.squared_bias_error)
    assert result.squared_bias_error < expected(0.05**2) / 4.0
    assert result.rel_mse == pytest.approx(result.variance + result.squared_bias)
    assert result.mean == pytest.approx(1.0 + bias, abs=0.01)
    assert result.block_error == pytest.approx(np.sqrt(expected(bias**2 + variance / 256)), abs=0.01)
    assert result.samples_per_second == pytest.approx(result.samples * 768 / result.seconds)
    if bias:
        assert result.squared_bias > 5.0 * result.squared_bias_error


def test_reports_of_renderers_are_averaged(measured):
    cached, plain = measured.result(SETTINGS[1], BUDGETS[0]), measured.result(SETTINGS[0], BUDGETS[0])
    assert (cached.path_length, cached.cache_bias) == (2.5, pytest.approx(0.05))
    assert cached.shares == pytest.approx({"trace": 0.5, "query": 0.3, "train": 0.2})
    assert (plain.path_length, plain.shares) == (None, {})


def test_noise_falls_with_slope_minus_one_and_a_bias_makes_it_flat(measured):
    slopes = {curve.setting.mode: curve.slope for curve in measured.curves}
    assert slopes["off"] == pytest.approx(-1.0, abs=0.15)
    assert slopes["raw"] > -0.5
    plain = measured.curves[0]
    assert plain.samples == (1, 2, 4, 8, 16, 32, 64, 128, 256, 400)
    assert plain.seconds[-1] == pytest.approx(4.0)


def test_uncached_overtakes_at_the_expected_time(measured):
    found = {crossing.setting.mode: crossing for crossing in measured.crossings}
    # The errors are equal where 0.05^2 + 0.25^2 * 0.02 / (t - 0.1) = 0.01 / t; the model counts the warm-up as part of the time
    assert found["raw"].seconds == pytest.approx(0.01 / 0.05**2 - 0.25**2 * 0.02 / 0.05**2, rel=0.25)
    assert "unbiased" not in found


def test_a_reference_that_is_too_noisy_is_reported(shots, reference):
    import dataclasses

    assert check_control(measure(shots, reference, Look())) is None
    rng = np.random.default_rng(0)
    draw = lambda: (reference.mean * rng.gamma(0.3, 1 / 0.3, reference.mean.shape)).astype(np.float32)  # noqa: E731
    noisy = dataclasses.replace(reference, first=draw(), second=draw())
    assert "the reference is too noisy" in check_control(measure(shots, noisy, Look()))


def test_document_and_tables_contain_the_measured_numbers(measured):
    document = json.loads(json.dumps(as_document(measured), allow_nan=False))
    assert len(document["results"]) == 6
    assert document["results"][0]["rel_mse"] == measured.results[0].rel_mse
    assert document["crossings"][0]["setting"] == "uncorrected"
    cells = rows(measured, SETTINGS, BUDGETS[0])
    assert [row[0] for row in cells] == ["uncached", "uncorrected", "unbiased"]
    ratio = measured.results[0].rel_mse / measured.result(SETTINGS[1], BUDGETS[0]).rel_mse
    assert cells[1][3].endswith(f"({ratio:.2g}x)")
    tables = terminal_tables(measured, SETTINGS, BUDGETS)
    assert [table.title for table in tables] == ["equal samples: 64 spp", None, "equal time: 4 s", None]
    assert "path" in [column.header for column in tables[1].columns]
    assert {"relMSE", "8 x 8", "32 x 32", "mean"} <= {column.header for column in tables[0].columns}


def test_interruptions_and_empty_budgets(shots):
    def interrupted(renderer, **budget):
        return False

    with pytest.raises(KeyboardInterrupt):
        shoot(SETTINGS, BUDGETS, make_renderer, seeds=2, run=interrupted)
    with pytest.raises(NrcError, match="uncached finished no sample within 1 s"):
        shoot(SETTINGS, [Budget("time", 1.0)], make_renderer, seeds=2, run=lambda renderer, **budget: True)


def test_a_run_in_progress_is_announced():
    said = []
    setting = Setting("off")
    shoot([setting], BUDGETS[:1], lambda s, seed: StandIn("off", seed), seeds=2, run=run, say=lambda *a: said.append(a))
    assert [share for _, share in said] == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])


def test_a_setting_whose_denoising_takes_all_of_the_time_is_left_out(monkeypatch):
    settings, warned = make_settings(modes=("raw",), denoised=True), []
    monkeypatch.setattr(study, "_denoising_seconds", lambda renderer: 3.0 if renderer.mode == "off" else 5.0)
    monkeypatch.setattr(study, "_denoised", lambda renderer, rgb: rgb)
    shots = shoot(settings, BUDGETS, make_renderer, seeds=2, run=run, warn=warned.append)
    assert [setting.name for setting in shots.settings] == ["uncached", "uncorrected", "uncached, denoised"]
    assert warned == ["uncorrected, denoised: left out, because denoising takes 5 s of 4 s"]


def test_denoised_images_are_rendered_in_the_time_that_denoising_leaves(monkeypatch, reference):
    """They have no curve and no crossing, and uncached rendering is not blamed for their bias."""
    settings = make_settings(modes=("raw", "unbiased"), denoised=True)
    assert [s.name for s in settings] == [
        "uncached",
        "uncorrected",
        "unbiased",
        "uncached, denoised",
        "uncorrected, denoised",
    ]
    seen = []

    def denoise(rgb, *, albedo):
        seen.append(albedo)
        return 0.5 * rgb

    class WithLayers(StandIn):
        def layers(self, names):
            assert names == ("albedo", "normal")
            return {"albedo": self.samples}

    monkeypatch.setattr(study, "denoise", denoise)
    monkeypatch.setattr(study, "_denoising_seconds", lambda renderer: 1.0)
    shots = shoot(settings, BUDGETS, lambda setting, seed: WithLayers(setting.mode, seed), seeds=2, seed=3, run=run)
    assert [setting.denoised for setting in shots.curves] == [False] * 3
    samples = {setting.name: shots.images[setting, BUDGETS[1]][0].samples for setting in settings}
    assert (samples["uncached"], samples["uncached, denoised"]) == (400, 300)
    assert all(shots.images[setting, BUDGETS[0]][0].samples == 64 for setting in settings)
    assert sorted(set(seen)) == [64, 145, 300]  # 145 = (4 - 1 - 0.1 of warm-up) / 0.02
    measured = measure(shots, reference, Look())
    assert measured.result(settings[3], BUDGETS[1]).mean == pytest.approx(0.5, abs=0.01)
    assert [crossing.setting.name for crossing in measured.crossings] == ["uncorrected"]
    assert check_control(measured) is None
