"""How fast the radiance cache learns: its error at the ends of the image's paths after a counted number of training frames.

    python -m benchmarks.cache_learning [--scenes NAME ...] [--variants NAME ...] [--seeds 5] [--json FILE]

The truth is measured once per scene: paths are cut where they would end in the cache, and each is continued in many independent
ways. A cache is then judged by its predictions at these cuts alone, without rendering, so that seeds and variants differ by what
was learnt and not by the noise of an image. All errors are products of two independent errors, in which the noise of the truth
cancels. The table has, for each number of frames, the mean, the error of queries and the root of the error of blocks; a
variant is better where the mean over seeds and scenes differs by more than two standard errors. Seconds are processor time.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import nrc_tracer as nrc
from benchmarks.cache_references import Stage
from benchmarks.data import find_scene
from nrc_tracer.cache import RadianceCache, VoxelCache
from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cache import shuffle
from nrc_tracer.cache.cut_policy import RENDER
from nrc_tracer.cache.held_out import HeldOut
from nrc_tracer.cache.options import CONFIGS
from nrc_tracer.cache.path_source import make_cuts
from nrc_tracer.imaging.metrics import block_sums
from nrc_tracer.tracer import Renderer

SCENES = ("door-ajar", "veach-ajar", "grey-white-room", "window-room")
CHECKPOINTS = (8, 12, 16, 21, 32, 48, 64)
"""Numbers of training frames after which a cache is judged."""
TRUTH_SEED = 55_001
SAMPLES, WAYS = 8, 16
"""Paths through each pixel, and continuations of each, of the truth."""
BLOCK = 8
"""Side of the blocks whose mean errors are measured [pixels]."""
ENDLESS = 2**30

Make = Callable[..., RadianceCache]


@dataclass(frozen=True)
class Truth:
    """The radiance that a perfect cache would predict at the cuts of a scene's paths.

    Attributes:
        features: Features of the cuts, float32 [N, FEATURES].
        throughput: Throughput to the cuts, float64 [N, 3]; 0 for paths without a cut.
        first, second: Two independent estimates of the radiance scattered at the cuts, float64 [N, 3].
        level: Reference of relative errors, smoothed over blocks, float64 [height, width, 3].
    """

    features: Tensor
    throughput: np.ndarray
    first: np.ndarray
    second: np.ndarray
    level: np.ndarray

    @classmethod
    def measure(cls, renderer: Renderer) -> Truth:
        """Trace and continue paths; `renderer` has a cache that has begun, of which only the cuts matter."""
        source, cache = renderer.frames.source, renderer.cache
        pixels = renderer.width * renderer.height
        buffers = RecordBuffers.allocate(pixels, 1, source.launcher.torch_device)
        features, throughput, tails, image = [], [], ([], []), 0.0
        for sample in range(SAMPLES):
            sums = [0.0, 0.0]
            for way in range(1, WAYS + 1):
                source.trace(buffers, make_cuts(cache, source, RENDER, sample, 1.0, continuation=way))
                held = HeldOut.of(buffers, pixels)
                sums[way % 2] = sums[way % 2] + held.tail.double().numpy()
            features.append(held.features.clone())
            throughput.append(held.throughput.double().numpy())
            for kept, total in zip(tails, sums, strict=True):
                kept.append(total / (WAYS // 2))
            image = image + held.before.double().numpy() + throughput[-1] * (sums[0] + sums[1]) / WAYS
        shape = (renderer.height, renderer.width, 3)
        return cls(
            torch.cat(features),
            np.concatenate(throughput),
            np.concatenate(tails[0]),
            np.concatenate(tails[1]),
            _smooth((image / SAMPLES).reshape(shape)),
        )

    def judge(self, cache: RadianceCache) -> dict[str, float]:
        """Errors of a cache: `mean` of the cached light over the true light, `query` and `block`.

        * `query`: the mean squared relative error that a sample inherits from its prediction, T^2 (C - L)^2 over the pixel's
          squared level: variance and squared bias together;
        * `block`: the squared relative bias of means over blocks of 8 x 8 pixels.
        """
        predictions = cache.predict(self.features).double().numpy()
        errors = [self.throughput * (predictions - tail) for tail in (self.first, self.second)]
        shape = (SAMPLES, *self.level.shape)
        level = np.square(self.level) + 0.01 * self.level.mean() ** 2
        query = float((np.reshape(errors[0] * errors[1], shape) / level).mean())
        light = self.throughput * (self.first + self.second) / 2.0
        halves = [np.reshape(error, shape)[number::2].mean(axis=0) for number, error in enumerate(errors)]
        weights = block_sums(np.ones((*self.level.shape[:2], 1)), BLOCK)
        blocks, levels = [block_sums(half, BLOCK) / weights for half in halves], block_sums(self.level, BLOCK) / weights
        squared = blocks[0] * blocks[1] / (np.square(levels) + 0.01 * self.level.mean() ** 2)
        mean = float((self.throughput * predictions).sum() / light.sum())
        return {
            "mean": mean,
            "query": query,
            "block": float(np.average(squared.mean(axis=-1), weights=weights[..., 0])),
        }


def _smooth(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    means = block_sums(image, BLOCK) / block_sums(np.ones((height, width, 1)), BLOCK)
    return np.repeat(np.repeat(means, BLOCK, axis=0), BLOCK, axis=1)[:height, :width]


class Replaying(RadianceCache):
    """A cache that draws half of each batch from the records of the last frames."""

    FRAMES = 4

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._kept: list[tuple[Tensor, Tensor]] = []

    def train(self, features: Tensor, targets: Tensor, *, records: int, steps: int, seed: int) -> float:
        fresh = features.clone(), targets.clone()
        if self._kept:
            old = [torch.cat(parts) for parts in zip(*self._kept, strict=True)]
            new = shuffle(len(features), seed + 1)[: records // 2]
            drawn = shuffle(len(old[0]), seed + 2)[: records - len(new)]
            features, targets = (torch.cat((x[new], y[drawn])) for x, y in ((features, old[0]), (targets, old[1])))
        self._kept = [*self._kept, fresh][-self.FRAMES :]
        return super().train(features, targets, records=records, steps=steps, seed=seed)


def configured(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The usual configuration of the network, changed."""
    config = json.loads((CONFIGS / "hash.json").read_text())
    change(config)
    return config


def _set(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        at: Any = config
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = value

    return change


def variants() -> dict[str, Make]:
    """The variants by name; each makes a cache from the settings that all share."""

    def other(
        make: Make = RadianceCache, change: Callable[[dict[str, Any]], None] | None = None, **options: Any
    ) -> Make:
        if change is not None:
            options = {**options, "config": configured(change)}
        return lambda **settings: make(**{**settings, **options})

    adam, grid = ("optimizer", "nested"), ("encoding", "nested", 0)
    return {
        "defaults": other(),
        "8 steps of 1536, u = 1": other(steps=8, records=12288, warm_up_unbiased=1.0),
        "8 steps of 1536": other(steps=8, records=12288),
        "24 steps of 512": other(steps=24, records=12288),
        "16 steps of 1536": other(steps=16),
        "36 steps of 1024": other(records=36864),
        "u = 1/8": other(warm_up_unbiased=0.125),
        "u = 1": other(warm_up_unbiased=1.0),
        "2^15 entries": other(change=_set(*grid, "log2_hashmap_size", value=15)),
        "2^19 entries": other(change=_set(*grid, "log2_hashmap_size", value=19)),
        "constant rate": other(decay_frames=None),
        "rate decays in 8": other(decay_frames=8.0),
        "rate decays in 32": other(decay_frames=32.0),
        "rate 2e-2": other(change=_set(*adam, "learning_rate", value=2e-2)),
        "rate 5e-3": other(change=_set(*adam, "learning_rate", value=5e-3)),
        "Ema 0.95": other(change=_set("optimizer", "decay", value=0.95)),
        "Ema 0.98": other(change=_set("optimizer", "decay", value=0.98)),
        "Ema 0.995": other(change=_set("optimizer", "decay", value=0.995)),
        "loss RelativeL2": other(change=_set("loss", "otype", value="RelativeL2")),
        "loss Huber": other(change=_set("loss", "otype", value="Huber")),
        "beta2 0.999": other(change=_set(*adam, "beta2", value=0.999)),
        "replay": other(Replaying),
        "voxels": other(VoxelCache),
        "voxels of 1/10": other(VoxelCache, voxel_angle=0.1),
        "voxels, 8 records": other(VoxelCache, least_count=8.0),
    }


def learn(stage: Stage, make: Make, truth: Truth, seed: int) -> dict[str, Any]:
    """Train a cache, and judge it at the checkpoints."""
    cache = make(train_frames=ENDLESS)
    renderer = stage.renderer(cache, seed=seed)
    found: dict[str, Any] = {"frames": [], "seconds": []}
    seconds = 0.0
    for frame in range(1, CHECKPOINTS[-1] + 1):
        begin = time.process_time()
        renderer.warm_up(frames=ENDLESS, stop=lambda: True)
        seconds += time.process_time() - begin
        if frame in CHECKPOINTS:
            found["frames"].append(frame)
            found["seconds"].append(seconds)
            for name, value in truth.judge(cache).items():
                found.setdefault(name, []).append(value)
    return found


def main() -> None:
    """Measure all variants in all scenes; print and write them as they come."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", nargs="+", default=SCENES)
    parser.add_argument("--variants", nargs="+")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--width", type=int, default=160)
    parser.add_argument("--height", type=int, default=90)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    chosen = {name: make for name, make in variants().items() if not arguments.variants or name in arguments.variants}
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    stages = {}
    for name in arguments.scenes:
        stage = Stage(
            name, nrc.load_scene(find_scene(name)), arguments.width, height=arguments.height, threads=arguments.threads
        )
        begun = stage.renderer(RadianceCache(train_frames=0), seed=TRUTH_SEED)
        stages[name] = stage, Truth.measure(begun)
    for variant, make in chosen.items():
        for name, (stage, truth) in stages.items():
            begin = time.time()
            runs = [learn(stage, make, truth, seed) for seed in range(arguments.seeds)]
            results.setdefault(name, {})[variant] = runs
            cells = [
                f"{CHECKPOINTS[i]}: {np.mean([r['mean'][i] for r in runs]):.3f} "
                f"{np.mean([r['query'][i] for r in runs]):.4f} {math.sqrt(max(0.0, np.mean([r['block'][i] for r in runs]))):.4f}"
                for i in range(1, len(CHECKPOINTS))
            ]
            cost = np.median([r["seconds"][-1] for r in runs])
            print(
                f"{name:<16} {variant:<24} {cost:5.1f} s  {' | '.join(cells)}  ({time.time() - begin:.0f})", flush=True
            )
            if arguments.json is not None:
                arguments.json.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
