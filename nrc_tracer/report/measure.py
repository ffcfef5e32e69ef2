"""What a study's images say: errors, their parts, costs, convergence; plain numbers that go into tables and JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nrc_tracer.imaging import bias_and_variance, block_error, flip, psnr, rel_mse, ssim, tone_map
from nrc_tracer.report.crossing import Crossing, find_crossing, slope
from nrc_tracer.report.references import Reference
from nrc_tracer.report.settings import Budget, Setting
from nrc_tracer.report.study import Shot, Shots, longest_budget

TRIM = 0.001
"""Share of the worst pixels that the trimmed error leaves out."""


@dataclass(frozen=True)
class Look:
    """How radiance is brought to a display: for all images of a study alike.

    Attributes:
        tone: As `nrc_tracer.imaging.tone_map` has it.
        exposure: Stops.
    """

    tone: str = "srgb"
    exposure: float = 0.0

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        return tone_map(rgb, self.tone, self.exposure)


@dataclass(frozen=True)
class Result:
    """A setting at a budget: means over its seeds.

    Attributes:
        setting: What was rendered.
        budget: What it could spend.
        samples: Samples per pixel.
        seconds: Time it took.
        samples_per_second: Samples of all pixels a second.
        mean: Mean of the image over the mean of the reference: 1 is right.
        rel_mse: Untrimmed.
        rel_mse_error: Standard error of it, over seeds.
        rel_mse_trimmed: Without the worst 0.1 % of the pixels.
        squared_bias: Relative, may by chance be below zero.
        squared_bias_error: Standard error of it.
        variance: Relative, of one image.
        block_error: RMS relative error of the means of 16 x 16 blocks.
        psnr: Of the tone-mapped image [dB].
        ssim: Of the tone-mapped image.
        flip: HDR-FLIP, of the first seed alone.
        path_length: Mean vertices or segments a path, as the renderer reports it.
        shares: Of the time in tracing, querying and training, as far as reported.
        warm_up_seconds: Part of `seconds`.
        warm_up_frames: Frames that only trained.
        cache_bias: Relative bias of the cache as it measures it itself; above 0 it is too dark.
        dropped: Samples that were not finite.
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
    """Errors of one long run.

    Attributes:
        setting: What was rendered.
        samples: Samples per pixel at each point.
        seconds: Time at each point.
        errors: relMSE at each point.
        slope: Of log error over log samples, in the later half of the points; -1 is what independent samples do, and a bias
            brings it near 0.
    """

    setting: Setting
    samples: tuple[int, ...]
    seconds: tuple[float, ...]
    errors: tuple[float, ...]
    slope: float | None


@dataclass(frozen=True)
class Measured:
    """Everything that a report shows in numbers."""

    results: tuple[Result, ...]
    curves: tuple[Curve, ...]
    crossings: tuple[Crossing, ...]

    def result(self, setting: Setting, budget: Budget) -> Result:
        """The result of a setting at a budget."""
        return next(result for result in self.results if (result.setting, result.budget) == (setting, budget))


def measure(
    shots: Shots, reference: Reference, look: Look, *, say: Callable[[str, float], None] = lambda words, share: None
) -> Measured:
    """Measure all images of a study against a reference.

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
    crossings = tuple(
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
        if setting.mode != "off"
    )
    return Measured(tuple(results), curves, crossings)


def check_control(measured: Measured) -> str | None:
    """Return a warning if uncached rendering, which has no bias, is found to have one: then the reference is too noisy.

    The noise of two references cancels in (x - r1)(x - r2), but not in the division by their mean: what is left is of the
    fourth order, small at the error that is asked for and not at ten times that.
    """
    plain = [r for r in measured.results if r.setting.mode == "off" and r.squared_bias > 4.0 * r.squared_bias_error]
    if not plain:
        return None
    floor = max(result.squared_bias for result in plain)
    return (
        f"the reference is too noisy for small biases: even uncached rendering, which has none, seems to have a squared bias "
        f"of {floor:.2g}; take others' up to that for nothing, or ask for a smaller --reference-error"
    )


def _measure(
    setting: Setting, budget: Budget, shots: Sequence[Shot], reference: Reference, look: Look, shown: np.ndarray
) -> Result:
    first, second = reference.first, reference.second
    images = [shot.rgb for shot in shots]
    errors = [rel_mse(image, first, second) for image in images]
    parts = bias_and_variance(images, first, second)
    seconds = _average(shot.seconds for shot in shots)
    pixels = images[0].shape[0] * images[0].shape[1]
    level = float(np.mean(reference.mean, dtype=np.float64))
    mapped = [look(image) for image in images]
    blocks = [block_error(image, first, second) for image in images]
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
        block_error=math.sqrt(_average(np.square(blocks))),
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
    errors = tuple(rel_mse(point.rgb, reference.first, reference.second) for point in points)
    samples = tuple(point.samples for point in points)
    later = max(0, min(len(points) // 2, len(points) - 3))
    return Curve(
        setting, samples, tuple(point.seconds for point in points), errors, slope(samples[later:], errors[later:])
    )


def _average(values: Any) -> float:
    return float(np.mean(list(values)))


def _reported(shots: Sequence[Shot], name: str) -> float | None:
    """The mean of a number that renderers may report; None if they do not."""
    values = [shot.cache.get(name) for shot in shots]
    return _average(values) if all(isinstance(value, int | float) for value in values) else None


def _shares(shots: Sequence[Shot]) -> dict[str, float]:
    """Shares of the reported times, by what they were spent on."""
    sums: dict[str, float] = {}
    for shot in shots:
        seconds = shot.cache.get("seconds")
        for name, value in seconds.items() if isinstance(seconds, Mapping) else ():
            if isinstance(value, int | float):
                sums[name] = sums.get(name, 0.0) + float(value)
    total = sum(sums.values())
    return {name: value / total for name, value in sums.items()} if total > 0 else {}
