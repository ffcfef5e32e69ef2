"""Measuring a study's images: errors, their bias and variance, costs and convergence, as numbers for tables and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nrc_tracer.imaging import bias_and_variance, block_error, flip, psnr, rel_mse, ssim, tone_map
from nrc_tracer.imaging.tonemap import Tone
from nrc_tracer.report.bias import Bias, measure_bias
from nrc_tracer.report.crossing import Crossing, find_crossing, slope
from nrc_tracer.report.references import Reference
from nrc_tracer.report.settings import Budget, Setting
from nrc_tracer.report.study import Say, Shot, Shots, longest_budget, silent

TRIM = 0.001
"""Fraction of the pixels, those with the largest errors, that the trimmed error leaves out."""


@dataclass(frozen=True)
class Look:
    """How radiance is shown on a display, the same for all images of a study.

    Attributes:
        tone: Tone mapping, as in `nrc_tracer.imaging.tone_map`.
        exposure: Exposure in stops.
    """

    tone: Tone = "srgb"
    exposure: float = 0.0

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Return display values in [0, 1] of linear radiance, both [height, width, 3]."""
        return tone_map(rgb, self.tone, self.exposure)


@dataclass(frozen=True)
class Result:
    """What was measured for a setting at a budget: means over its seeds.

    Attributes:
        setting: How the images were rendered.
        budget: What each image could cost.
        samples: Samples per pixel.
        seconds: Time of rendering.
        samples_per_second: Samples of all pixels per second.
        mean: Mean of the image divided by the mean of the reference.
        rel_mse: relMSE over all pixels.
        rel_mse_error: Standard error of `rel_mse`, over seeds.
        rel_mse_trimmed: relMSE without the worst 0.1 % of the pixels.
        squared_bias: Relative squared bias, which may be below zero by chance.
        squared_bias_error: Standard error of `squared_bias`.
        variance: Relative variance of one image.
        block_error: RMS relative error of the means of blocks of 16 x 16 pixels.
        block_error_8: The same for blocks of 8 x 8 pixels.
        block_error_8_error: Standard error of `block_error_8`, over seeds.
        block_error_32: The same for blocks of 32 x 32 pixels.
        block_error_32_error: Standard error of `block_error_32`, over seeds.
        bias: How much too bright the images are, per channel and per region.
        uncorrected_bias: The same before the correction of the images; None if they have none.
        psnr: PSNR of the tone-mapped image [dB].
        ssim: SSIM of the tone-mapped image.
        flip: HDR-FLIP of the first seed's image.
        path_length: Mean number of vertices or segments per path, as the renderer reports it; None if it does not.
        shares: Fractions of the time for tracing, queries and training, as far as they are reported.
        warm_up_seconds: Part of `seconds` in which the cache was only trained; None without a cache.
        warm_up_frames: Frames in which the cache was only trained; None without a cache.
        cache_bias: Relative bias that the cache measures itself, positive if it is too bright; None without a cache.
        dropped: Number of samples that were left out because they were not finite.
    """

    setting: Setting
    budget: Budget
    samples: float
    seconds: float
    samples_per_second: float
    mean: float
    rel_mse: float
    rel_mse_error: float
    rel_mse_trimmed: float
    squared_bias: float
    squared_bias_error: float
    variance: float
    block_error: float
    block_error_8: float
    block_error_8_error: float
    block_error_32: float
    block_error_32_error: float
    bias: Bias
    uncorrected_bias: Bias | None
    psnr: float
    ssim: float
    flip: float
    path_length: float | None
    shares: dict[str, float]
    warm_up_seconds: float | None
    warm_up_frames: float | None
    cache_bias: float | None
    dropped: int


@dataclass(frozen=True)
class Curve:
    """Errors in the course of one long run.

    Attributes:
        setting: How the image was rendered.
        samples: Samples per pixel at each point.
        seconds: Time at each point.
        errors: relMSE at each point.
        slope: Slope of log error over log samples in the later half of the points; -1 for independent samples, near 0 where bias
            dominates. None for too few points.
    """

    setting: Setting
    samples: tuple[int, ...]
    seconds: tuple[float, ...]
    errors: tuple[float, ...]
    slope: float | None


@dataclass(frozen=True)
class Measured:
    """All numbers of a report.

    Attributes:
        results: The results of all settings at all budgets.
        curves: The convergence of each setting.
        crossings: When uncached rendering overtakes settings with a cache, as far as it does.
    """

    results: tuple[Result, ...]
    curves: tuple[Curve, ...]
    crossings: tuple[Crossing, ...]

    def result(self, setting: Setting, budget: Budget) -> Result:
        """Return the result of a setting at a budget."""
        return next(result for result in self.results if (result.setting, result.budget) == (setting, budget))


def measure(shots: Shots, reference: Reference, look: Look, *, say: Say = silent) -> Measured:
    """Measure all images of a study against a reference.

    Args:
        shots: The images.
        reference: The image that they are compared with.
        look: Tone mapping for PSNR and SSIM.
        say: Shows what is being measured.

    Raises:
        NrcError: flip-evaluator or scikit-image is not installed.
    """
    results = []
    shown = look(reference.mean)
    for number, (setting, budget) in enumerate(shots.images):
        say(f"measuring {setting.name}, {budget.name}", number / len(shots.images))
        results.append(_measure(setting, budget, shots.images[setting, budget], reference, look, shown))
    curves = tuple(_curve(setting, points, reference) for setting, points in shots.curves.items())
    plain, longest = shots.settings[0], longest_budget(shots.budgets)
    at = {result.setting: result for result in results if result.budget == longest}
    lines = {curve.setting: curve for curve in curves}
    crossings = [
        find_crossing(
            setting,
            plain_error=at[plain].rel_mse,
            plain_seconds=at[plain].seconds,
            squared_bias=at[setting].squared_bias,
            squared_bias_error=at[setting].squared_bias_error,
            variance=at[setting].variance,
            seconds=at[setting].seconds,
            plain_curve=(lines[plain].seconds, lines[plain].errors),
            curve=(lines[setting].seconds, lines[setting].errors),
        )
        for setting in shots.settings
        if setting.mode != "off" and not setting.denoised
    ]
    return Measured(tuple(results), curves, tuple(crossing for crossing in crossings if crossing is not None))


def check_control(measured: Measured) -> str | None:
    """Return a warning if uncached rendering, which has no bias, seems to have one: then the reference is too noisy.

    The noise of two references cancels in (x - r1)(x - r2), but not in the division by their mean. The remaining error is of
    fourth order: small for the requested reference error, but not for ten times that.
    """
    uncached = [r for r in measured.results if r.setting.mode == "off" and not r.setting.denoised]
    plain = [r for r in uncached if r.squared_bias > 4.0 * r.squared_bias_error]
    if not plain:
        return None
    floor = max(result.squared_bias for result in plain)
    return (
        f"the reference is too noisy to measure small biases: even uncached rendering, which has none, seems to have a squared "
        f"bias of {floor:.2g}; squared biases up to that mean nothing, and a smaller --reference-error makes them smaller"
    )


def _measure(
    setting: Setting, budget: Budget, shots: Sequence[Shot], reference: Reference, look: Look, shown: np.ndarray
) -> Result:
    """Return the result of a setting at a budget; `shown` is the tone-mapped reference."""
    first, second = reference.first, reference.second
    images = [shot.rgb for shot in shots]
    errors = [rel_mse(image, first, second) for image in images]
    parts = bias_and_variance(np.stack(images), first, second)
    seconds = _average(shot.seconds for shot in shots)
    pixels = images[0].shape[0] * images[0].shape[1]
    level = float(np.mean(reference.mean, dtype=np.float64))
    mapped = [look(image) for image in images]
    blocks = {size: _block_error([block_error(x, first, second, size=size) for x in images]) for size in (8, 16, 32)}
    before = [shot.uncorrected for shot in shots if shot.uncorrected is not None]
    return Result(
        setting=setting,
        budget=budget,
        samples=_average(shot.samples for shot in shots),
        seconds=seconds,
        samples_per_second=_average(shot.samples for shot in shots) * pixels / max(seconds, 1e-9),
        mean=_average(np.mean(image, dtype=np.float64) for image in images) / level if level else math.nan,
        rel_mse=_average(errors),
        rel_mse_error=float(np.std(errors, ddof=1) / math.sqrt(len(errors))),
        rel_mse_trimmed=_average(rel_mse(image, first, second, trim=TRIM) for image in images),
        squared_bias=parts.squared_bias,
        squared_bias_error=parts.squared_bias_error,
        variance=parts.variance,
        block_error=blocks[16][0],
        block_error_8=blocks[8][0],
        block_error_8_error=blocks[8][1],
        block_error_32=blocks[32][0],
        block_error_32_error=blocks[32][1],
        bias=measure_bias(images, reference),
        uncorrected_bias=measure_bias(before, reference) if len(before) == len(images) else None,
        psnr=_average(psnr(image, shown) for image in mapped),
        ssim=_average(ssim(image, shown) for image in mapped),
        flip=flip(images[0], reference.mean),
        path_length=_reported(shots, "mean_path_length"),
        shares=_shares(shots),
        warm_up_seconds=_reported(shots, "warm_up_seconds"),
        warm_up_frames=_reported(shots, "warm_up_frames"),
        cache_bias=_reported(shots, "bias"),
        dropped=sum(shot.dropped for shot in shots),
    )


def _curve(setting: Setting, points: Sequence[Shot], reference: Reference) -> Curve:
    """Return the errors of the images of a long run."""
    errors = tuple(rel_mse(point.rgb, reference.first, reference.second) for point in points)
    samples = tuple(point.samples for point in points)
    later = max(0, min(len(points) // 2, len(points) - 3))
    return Curve(
        setting, samples, tuple(point.seconds for point in points), errors, slope(samples[later:], errors[later:])
    )


def _block_error(errors: Sequence[float]) -> tuple[float, float]:
    """Return the root mean square of the errors of all seeds, and its standard error."""
    squares = np.square(errors)
    root = math.sqrt(float(np.mean(squares)))
    spread = float(np.std(squares, ddof=1)) / math.sqrt(len(squares))
    return root, spread / (2.0 * root) if root > 0.0 else 0.0


def _average(values: Iterable[Any]) -> float:
    """Return the mean of numbers."""
    return float(np.mean(list(values)))


def _reported(shots: Sequence[Shot], name: str) -> float | None:
    """Return the mean of a number of the renderers' reports; None if it is not in all of them."""
    values = [shot.cache.get(name) for shot in shots]
    return _average(values) if all(isinstance(value, int | float) for value in values) else None


def _shares(shots: Sequence[Shot]) -> dict[str, float]:
    """Return the fractions of the reported times, by what they were spent on."""
    sums: dict[str, float] = {}
    for shot in shots:
        seconds = shot.cache.get("seconds")
        for name, value in seconds.items() if isinstance(seconds, Mapping) else ():
            if isinstance(value, int | float):
                sums[name] = sums.get(name, 0.0) + float(value)
    total = sum(sums.values())
    return {name: value / total for name, value in sums.items()} if total > 0 else {}
