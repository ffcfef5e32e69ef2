"""How well a model reproduces all pixels of its image, band by band, so that neither is ever in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nrc_tracer.imaging.metrics import decibels
from nrc_tracer.nn import Model
from nrc_tracer.tasks.image.pixels import Space, to_space
from nrc_tracer.tasks.image.prediction import PIECE, positions, predict
from nrc_tracer.tasks.image.source import Source

BLACK = 4 / 255
"""A pixel counts as black if its largest channel, in sRGB, is at most this."""
MUCH_BLACK = 0.05
"""Fraction of black pixels from which on the other pixels get a score of their own."""


def evaluate(model: Model, source: Source, space: Space, *, release: bool = True) -> dict[str, Any]:
    """PSNR over all pixels and channels, with a peak of 1 in the colour space of training, and the compression ratio.

    Predictions are clipped to [0, 1] unless the image has linear floating-point samples. `psnr_not_black` is over the pixels that
    are not black, if many are black. `compression` is the ratio of the image's raw bytes to the model's, with parameters as
    float32 and as half.

    Args:
        model: The model.
        source: The image.
        space: Colour space of training.
        release: Whether pages of a mapped file are released as soon as they have been compared.
    """
    clip = space == "srgb" or not source.linear
    sums = np.zeros(2)
    counts = np.zeros(2, np.int64)
    threshold = BLACK if space == "srgb" else float(to_space(np.array([4], np.uint8), linear=False, space="linear")[0])
    for target, found in _pairs(model, source, space):
        if clip:
            found = np.clip(found, 0.0, 1.0)
        errors = np.square(found - target, dtype=np.float32).sum(axis=1, dtype=np.float64)
        bright = target.max(axis=1) > threshold
        sums += errors.sum(), errors[bright].sum()
        counts += len(target), int(bright.sum())
        if release:
            source.release()
    scores: dict[str, Any] = {
        "psnr": decibels(float(sums[0]) / max(counts[0] * source.channels, 1)),
        "space": space,
        "peak": 1.0,
        "pixels": int(counts[0]),
        "black": 1.0 - float(counts[1]) / max(counts[0], 1),
    }
    if scores["black"] >= MUCH_BLACK and counts[1]:
        scores["psnr_not_black"] = decibels(float(sums[1]) / (counts[1] * source.channels))
    scores["raw_bytes"] = source.raw_bytes
    scores["compression"] = {
        "float32": source.raw_bytes / (4 * model.n_params),
        "half": source.raw_bytes / (2 * model.n_params),
    }
    return scores


def _pairs(model: Model, source: Source, space: Space) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield targets and predictions [n, channels], a few rows at a time."""
    for top, band in source.bands():
        rows = max(1, PIECE // source.width)
        for y in range(0, len(band), rows):
            block = band[y : y + rows]
            x = positions(source.width, source.height, (0, top + y), source.width, len(block))
            target = to_space(block, linear=source.linear, space=space).reshape(-1, source.channels)
            yield target, predict(model, x)


def describe(scores: dict[str, Any]) -> str:
    """The scores in words."""
    if "pixels" not in scores:
        return f"PSNR {scores['psnr']:.2f} dB on a sample"
    space = "sRGB" if scores["space"] == "srgb" else "linear light"
    words = f"PSNR {scores['psnr']:.2f} dB over {scores['pixels']:,} pixels ({space}, peak 1)"
    if "psnr_not_black" in scores:
        words += f", {scores['psnr_not_black']:.2f} dB on the {1 - scores['black']:.1%} that are not black"
    ratios = scores["compression"]
    return (
        f"{words}; the samples take {ratios['float32']:.3g} x the bytes of the model ({ratios['half']:.3g} x as half)"
    )
