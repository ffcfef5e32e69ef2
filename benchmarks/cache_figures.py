"""Quality of a radiance cache: brightness, structure and noise of an image whose paths end in it."""

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
"""Seeds of frames that are not used for training, of uncached frames, and of frames with split paths."""

WAYS = 4
"""Number of continuations of each path beyond its cut."""


@dataclass(frozen=True)
class Variance:
    """The variance of one sample, averaged over pixels and channels.

    Attributes:
        absolute: Mean variance [radiance^2].
        relative: Mean of variance / (r^2 + 0.01 mean(r)^2), with the reference r.
    """

    absolute: float
    relative: float

    @classmethod
    def of(cls, variance: np.ndarray, stage: Stage) -> Variance:
        """Average the variance of each pixel, shape [height, width, 3]."""
        r = stage.level
        return cls(float(variance.mean()), float((variance / (np.square(r) + 0.01 * r.mean() ** 2)).mean()))


def measure_plain(stage: Stage, frames: int) -> Variance:
    """The variance of uncached samples."""
    renderer = stage.renderer(seed=PLAIN_SEED)
    renderer.step(frames)
    return Variance.of(renderer.moments()[1], stage)


@dataclass(frozen=True)
class Bound:
    """The noise that a perfect cache would leave.

    Attributes:
        variance: Variance of samples whose paths end in a cache that knows the scattered radiance exactly.
        total: Variance of samples of the same paths without a cache.
    """

    variance: Variance
    total: Variance


def measure_bound(stage: Stage, frames: int, cache: RadianceCache) -> Bound:
    """Split paths where they would end in the cache; the variance that their continuations share is what a perfect cache leaves.

    Given a path up to the cut, its continuations are independent, so the covariance of two of them is the variance of their
    mean, which is what a perfect cache predicts.

    Args:
        stage: The scene.
        frames: Number of paths of each pixel.
        cache: Any cache that has begun; only its settings are used, which decide where paths are cut.
    """
    renderer = stage.renderer(cache, seed=BOUND_SEED)
    shape = (renderer.height, renderer.width, 3)

    def split(sample: int) -> np.ndarray:
        return np.stack([follow(renderer, sample, way)[0] for way in range(1, WAYS + 1)])

    shared, whole = split_variance(split(sample) for sample in range(frames))
    return Bound(Variance.of(shared.reshape(shape), stage), Variance.of(whole.reshape(shape), stage))


def follow(renderer: Renderer, sample: int, way: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of the image without the cache, whose paths use one of several continuations beyond the cut.

    Args:
        renderer: A renderer with a cache that has begun.
        sample: Number of the sample of each pixel.
        way: Number of the continuation. From 1 on, each has other random numbers beyond the cut, and equal ones up to it; 0 is
            the unchanged path.

    Returns:
        The samples, [pixels, 3], and the number of the vertex at the cut, [pixels], 0 for paths without a cut.
    """
    source = renderer.frames.source
    buffers = RecordBuffers.allocate(renderer.width * renderer.height, 1, source.launcher.torch_device)
    source.trace(buffers, make_cuts(renderer.cache, source, RENDER, sample, 1.0, continuation=way))
    held = HeldOut.of(buffers, buffers.paths)
    samples = held.before + held.throughput * held.tail
    return samples.cpu().numpy(), held.depth.cpu().numpy()


def split_variance(samples: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Unbiased variances of the part that all continuations of a path share, and of single continuations.

    Args:
        samples: At least two independent samples with the same distribution, each of shape [ways, ...] with at least two
            continuations.

    Returns:
        Both variances in the shape of one continuation, float64. By chance the first may be negative.
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
    # The product of two samples' means, averaged over all pairs of samples: the square of the mean, free of its noise
    product = (np.square(means) - mean_squares) / (count * (count - 1))
    return pairs / count - product, squares / count - product


def freeze(cache: RadianceCache) -> None:
    """Stop the training of a cache."""
    cache.options = msgspec.structs.replace(cache.options, freeze=True)


def train(stage: Stage, cache: RadianceCache) -> Renderer:
    """Warm a cache up for the frames of its options, freeze it, and begin a new image that it was not trained on."""
    renderer = stage.renderer(cache)
    renderer.warm_up()
    freeze(cache)
    renderer.reset(seed=FRESH_SEED)
    return renderer


def measure_quality(stage: Stage, renderer: Renderer, frames: int, plain: Variance, bound: Bound) -> dict[str, Any]:
    """Render with a frozen cache and compare the image with the reference.

    Args:
        stage: The scene.
        renderer: The result of `train`.
        frames: Samples of each pixel.
        plain: The variance of uncached samples.
        bound: The noise that a perfect cache would leave.
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
