"""How good a radiance cache is: brightness, structure and noise of an image whose paths end in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from benchmarks.cache_references import Stage
from nrc_tracer.cache import RadianceCache
from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cut_policy import RENDER
from nrc_tracer.cache.held_out import HeldOut
from nrc_tracer.cache.path_source import make_cuts
from nrc_tracer.imaging import block_error
from nrc_tracer.tracer import Renderer

FRESH_SEED = 77_001
PLAIN_SEED = 77_002
BOUND_SEED = 77_003
"""Of frames on which no cache was trained, of uncached ones, and of those that are split."""

WAYS = 4
"""In which each path goes on beyond its cut."""


@dataclass(frozen=True)
class Variance:
    """Of one sample, mean over pixels and channels.

    Attributes:
        absolute: [radiance^2].
        relative: Of variance / (r^2 + 0.01 mean(r)^2), with the reference r.
    """

    absolute: float
    relative: float

    @classmethod
    def of(cls, variance: np.ndarray, stage: Stage) -> Variance:
        """Of each pixel's variance, shape [height, width, 3]."""
        r = stage.level
        return cls(float(variance.mean()), float((variance / (np.square(r) + 0.01 * r.mean() ** 2)).mean()))


def measure_plain(stage: Stage, frames: int) -> Variance:
    """The variance of uncached samples."""
    renderer = stage.renderer(seed=PLAIN_SEED)
    renderer.step(frames)
    return Variance.of(renderer.moments()[1], stage)


@dataclass(frozen=True)
class Bound:
    """What a perfect cache would leave.

    Attributes:
        variance: Of samples whose paths end in a cache that knows what scatters there.
        total: Of samples of the same paths without a cache.
    """

    variance: Variance
    total: Variance


def measure_bound(stage: Stage, frames: int, cache: RadianceCache) -> Bound:
    """Split paths where they would end in the cache: what their ways on from there have in common is what is left.

    Given the path up to there, ways on are independent; so the covariance of two of them is the variance of their mean, and
    that is what a perfect cache answers.

    Args:
        stage: The scene.
        frames: Paths of each pixel.
        cache: Any that has begun: it decides where paths are cut by its settings alone, and is not asked.
    """
    renderer = stage.renderer(cache, seed=BOUND_SEED)
    shape = (renderer.height, renderer.width, 3)

    def split(sample: int) -> np.ndarray:
        return np.stack([follow(renderer, sample, way)[0] for way in range(1, WAYS + 1)])

    shared, whole = split_variance(split(sample) for sample in range(frames))
    return Bound(Variance.of(shared.reshape(shape), stage), Variance.of(whole.reshape(shape), stage))


def follow(renderer: Renderer, sample: int, way: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of the image without the cache, whose paths go on in one of many ways from where they would end in it.

    Args:
        renderer: One with a cache that has begun.
        sample: Number of the sample of each pixel.
        way: From 1 on, with other random numbers each beyond the cut, and the same up to it; 0 for the path as it is.

    Returns:
        The samples, [pixels, 3], and the number of the vertex at the cut, [pixels], 0 where there is none.
    """
    source = renderer._frames.source
    buffers = RecordBuffers.allocate(renderer.width * renderer.height, 1, source.launcher.torch_device)
    source.trace(buffers, make_cuts(renderer.cache, source, RENDER, sample, 1.0, continuation=way))
    held = HeldOut.of(buffers, buffers.paths)
    samples = held.before + held.throughput * held.tail
    return samples.cpu().numpy(), held.depth.cpu().numpy()


def split_variance(samples: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The variance of what the ways of a path have in common, and that of single ways, without bias.

    Args:
        samples: Two at least, independent and alike; each of shape [ways, ...], two ways or more.

    Returns:
        Both in the shape of one way, float64. By chance the first may be below zero.
    """
    count, ways = 0, 0
    pairs = squares = means = mean_squares = np.float64(0.0)
    for sample in samples:
        values = np.asarray(sample, np.float64)
        count, ways = count + 1, len(values)
        total, squared = values.sum(axis=0), np.square(values).sum(axis=0)
        pairs = pairs + (np.square(total) - squared) / (ways * (ways - 1))
        squares = squares + squared / ways
        means = means + total / ways
        mean_squares = mean_squares + np.square(total / ways)
    # The product of two samples' means, over all pairs of samples: the mean squared, without its noise
    product = (np.square(means) - mean_squares) / (count * (count - 1))
    return pairs / count - product, squares / count - product


def freeze(cache: RadianceCache) -> None:
    """Let a cache learn no more."""
    cache.options = msgspec.structs.replace(cache.options, freeze=True)


def train(stage: Stage, cache: RadianceCache) -> Renderer:
    """Warm a cache up, for as many frames as its options say, freeze it, and begin a new image that it was not trained on."""
    renderer = stage.renderer(cache)
    renderer.warm_up()
    freeze(cache)
    renderer.reset(seed=FRESH_SEED)
    return renderer


def measure_quality(stage: Stage, renderer: Renderer, frames: int, plain: Variance, bound: Bound) -> dict[str, Any]:
    """Render with a frozen cache and hold the image against the reference.

    Args:
        stage: The scene.
        renderer: From `train`.
        frames: Samples of each pixel.
        plain: The variance of uncached samples.
        bound: What a perfect cache would leave.
    """
    renderer.step(frames)
    image, variance = renderer.moments()
    found = Variance.of(variance, stage)
    first, second = stage.references
    reference = np.asarray(stage.reference.mean, np.float64)
    blocks = block_error(image, first, second)
    report = renderer.cache_report()
    return {
        "training_frames": report["frames"],
        "image_mean": float(image.mean() / reference.mean()),
        "image_mean_by_channel": (image.mean(axis=(0, 1)) / reference.mean(axis=(0, 1))).tolist(),
        "block_error": blocks,
        "relative_variance": found.relative,
        "relative_variance_ratio": found.relative / plain.relative,
        "variance": found.absolute,
        "variance_over_bound": found.absolute / bound.variance.absolute,
        "relative_variance_over_bound": found.relative / bound.variance.relative,
        "uncached_variance_over_bound": bound.total.absolute / bound.variance.absolute,
        "uncached_relative_variance": plain.relative,
        "uncached_relative_variance_over_bound": bound.total.relative / bound.variance.relative,
        "bound": bound.variance.absolute,
        "measured_bias": report["bias"],
        "measured_bias_error": report["bias_error"],
        "mean_query_depth": report["mean_query_depth"],
        "queries_per_path": report["queries_per_path"],
    }
