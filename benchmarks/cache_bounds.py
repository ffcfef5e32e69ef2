"""The errors that a perfect cache, and a perfect guide of the correction, would leave in each scene.

    python -m benchmarks.cache_bounds [--scenes NAME ...] [--samples 32] [--width 160] [--json FILE]

Paths are cut where they end in the cache, and each is continued in several independent ways. All figures are for equal numbers of
samples, so that no clock is read. Errors of pixels and of means over 8 x 8 pixels are relative to the squared level of tiles of
32 x 32 pixels. The rows of the table:

* `path tracing`: the variance of paths that go on to their end.
* `raw`: the variance of paths that end in a cache after 32 training frames, and its squared bias.
* `perfect cache`: the variance of paths that end in a cache which knows the radiance scattered at every cut exactly. It is what
  the first part of the paths leaves; no cache removes it.
* `perfect guide`: the variance of the same paths as `raw`, and what is left of the bias when the correction is shrunk ideally.
  The residuals of the paths that continue (share `--continued`) are divided into means over blocks of 1, 2, 4, ... pixels less
  those over the next larger blocks. On each of these levels, an oracle multiplies the details by the one factor that is best for
  the whole image. It knows the mean square of their true values, d^2, and of their noise, v; the factor is d^2 / (d^2 + v), and
  leaves the error d^2 v / (d^2 + v). So the row bounds what a better estimate of these factors can reach on this pyramid, with
  this cache. Less may be left by factors that differ from place to place, by pyramids along edges or divided by an image that
  guides them, and with a better cache.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import nrc_tracer as nrc
from benchmarks.cache_figures import freeze, split_variance
from benchmarks.cache_references import OWN, Stage
from benchmarks.data import find_scene
from nrc_tracer.cache import RadianceCache
from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cut_policy import RENDER
from nrc_tracer.cache.held_out import HeldOut
from nrc_tracer.cache.path_source import make_cuts
from nrc_tracer.imaging.metrics import block_sums

SCENES = (*OWN, "veach-ajar", "grey-white-room", "many-lights")
TILE, BLOCK = 32, 8
"""Sides of the tiles that errors are relative to, and of the blocks whose means are judged [pixels]."""
TRAIN_FRAMES, SEED = 32, 88_001


@dataclass(frozen=True)
class Traced:
    """What was traced of an image, every array [height, width, 3].

    Attributes:
        mean: Mean of all paths.
        whole: Variance of a sample of path tracing.
        shared: Variance of a sample with a perfect cache.
        cached: Variance of a sample that ends in the cache.
        residual: Mean square of the residual T (L - C) of a path that continues.
        first, second: Two independent estimates of the mean residual, which is what the cached image lacks.
    """

    mean: np.ndarray
    whole: np.ndarray
    shared: np.ndarray
    cached: np.ndarray
    residual: np.ndarray
    first: np.ndarray
    second: np.ndarray


def trace(stage: Stage, paths: int, ways: int) -> Traced:
    """Train a cache, then trace `paths` paths through each pixel and continue each in `ways` ways beyond its cut."""
    cache = RadianceCache(train_frames=TRAIN_FRAMES)
    renderer = stage.renderer(cache, seed=SEED)
    renderer.warm_up()
    freeze(cache)
    shape, source = (renderer.height, renderer.width, 3), renderer.frames.source
    buffers = RecordBuffers.allocate(renderer.width * renderer.height, 1, source.launcher.torch_device)
    split, cached = [], []
    residuals, squares = [np.zeros(shape), np.zeros(shape)], np.zeros(shape)
    for sample in range(paths):
        found = []
        for way in range(1, ways + 1):
            source.trace(buffers, make_cuts(cache, source, RENDER, sample, 1.0, continuation=way))
            held = HeldOut.of(buffers, buffers.paths)
            before, throughput = held.before.double(), held.throughput.double()
            found.append((before + throughput * held.tail.double()).numpy().reshape(shape))
        ends = (before + throughput * cache.predict(held.features).double()).numpy().reshape(shape)
        split.append(np.stack(found))
        cached.append(ends)
        lacks = split[-1] - ends
        residuals[sample % 2] += lacks.mean(axis=0)
        squares += np.square(lacks).mean(axis=0)
    shared, whole = split_variance(split)
    return Traced(
        np.mean(split, axis=(0, 1)),
        whole,
        shared,
        np.var(cached, axis=0, ddof=1),
        squares / paths,
        *(total / (paths // 2) for total in residuals),
    )


def means(values: np.ndarray, side: int) -> np.ndarray:
    """Means over blocks of `side` x `side` pixels; blocks at the edge are smaller."""
    return block_sums(values, side) / block_sums(np.ones((*values.shape[:2], 1)), side)


def spread(values: np.ndarray, side: int, shape: tuple[int, ...]) -> np.ndarray:
    """Values of blocks, for each pixel of an image of the given shape."""
    return values.repeat(side, axis=0).repeat(side, axis=1)[: shape[0], : shape[1]]


def details(values: np.ndarray, side: int) -> np.ndarray:
    """Means over blocks less those over blocks of twice the side, for each pixel; the means themselves for tiles."""
    fine = spread(means(values, side), side, values.shape)
    return fine if side >= TILE else fine - spread(means(values, 2 * side), 2 * side, values.shape)


def detail_noise(variance: np.ndarray, side: int) -> np.ndarray:
    """Variance of `details` of independent pixels with this variance, averaged over each tile: [rows, columns, channels]."""
    fine = means(variance, side) / side**2
    noise = spread(fine, side, variance.shape)
    if side < TILE:  # of four equal blocks, the mean has a quarter of the variance, and the details have the rest
        noise = noise * 0.75
    return means(noise, TILE)


def oracle(true_square: float, noise: float) -> float:
    """Mean squared error that the best factor leaves of details with this mean square, seen with this noise.

    An estimate of the mean square that is below 0 by chance counts as 0.
    """
    true_square = max(true_square, 0.0)
    return true_square * noise / (true_square + noise) if noise > 0.0 else 0.0


def judge(traced: Traced, samples: int, continued: float) -> dict[str, dict[str, float]]:
    """Squared relative errors of pixels and of means over 8 x 8 pixels for each row of the table, after so many samples."""
    level = np.square(means(traced.mean, TILE)) + 0.01 * traced.mean.mean() ** 2

    def relative(tiles: np.ndarray) -> float:
        return float((tiles / level).mean())

    def noise(variance: np.ndarray) -> dict[str, float]:
        tiles = means(variance, TILE) / samples
        return {"pixels": relative(tiles), "blocks": relative(tiles / BLOCK**2)}

    residual_noise = np.maximum(traced.residual / continued - traced.first * traced.second, 0.0) / samples
    left, bias = {"pixels": 0.0, "blocks": 0.0}, {"pixels": 0.0, "blocks": 0.0}
    side = 1
    while side <= TILE:
        square = means(details(traced.first, side) * details(traced.second, side), TILE)
        remains = oracle(relative(square), relative(detail_noise(residual_noise, side)))
        for kind in ("pixels", "blocks") if side >= BLOCK else ("pixels",):
            bias[kind] += max(relative(square), 0.0)
            left[kind] += remains
        side *= 2
    variance = noise(traced.cached)
    return {
        "path tracing": noise(traced.whole),
        "raw": {kind: variance[kind] + bias[kind] for kind in variance},
        "perfect cache": noise(traced.shared),
        "perfect guide": {kind: variance[kind] + left[kind] for kind in variance},
    }


def main() -> None:
    """Measure and print the bounds of every scene."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", nargs="+", default=SCENES, metavar="NAME")
    parser.add_argument("--samples", type=int, nargs="+", default=[32, 256], help="samples per pixel of the images")
    parser.add_argument("--continued", type=float, default=0.5, help="share of the paths that continue")
    parser.add_argument(
        "--paths", type=int, default=64, help="paths that are traced through each pixel, an even number"
    )
    parser.add_argument("--ways", type=int, default=4, help="continuations of each path")
    parser.add_argument("--width", type=int, default=160)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = {}
    for name in arguments.scenes:
        path = find_scene(name)
        if path is None:
            print(f"skipped: {name}, which is not available (set NRC_DATA)")
            continue
        stage = Stage(
            path.stem if path.suffix == ".json" else name,
            nrc.load_scene(path),
            arguments.width,
            threads=arguments.threads,
        )
        traced = trace(stage, arguments.paths, arguments.ways)
        results[stage.name] = {}
        for samples in arguments.samples:
            rows = judge(traced, samples, arguments.continued)
            results[stage.name][samples] = rows
            print(f"{stage.name}, {samples} samples per pixel: relMSE; RMS relative error of means over 8 x 8 pixels")
            for row, found in rows.items():
                print(
                    f"  {row:<14}{found['pixels']:>10.5f}{100 * max(found['blocks'], 0.0) ** 0.5:>9.2f} %", flush=True
                )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
