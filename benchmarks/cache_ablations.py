"""The effect of each part of the radiance cache: bias and variance without it, or with more or less of it.

All variants train for 64 frames: 32 of the warm-up, and 32 that render, in which u is lower.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from torch import Tensor

from benchmarks.cache_figures import FRESH_SEED, Bound, Variance, freeze, measure_quality
from benchmarks.cache_references import Stage
from nrc_tracer.cache import RadianceCache
from nrc_tracer.cache.options import CONFIGS

FRAMES = 32
"""Number of training frames of the warm-up, and also of those after it."""


class FollowingScale(RadianceCache):
    """A cache whose scale follows the mean of its targets, including self-trained ones, without preserving its predictions."""

    def train(self, features: Tensor, targets: Tensor, *, records: int, steps: int, seed: int) -> float:
        self.gain = 0.0
        self.measure_scale(features, targets)
        return super().train(features, targets, records=records, steps=steps, seed=seed)


def with_output(activation: str) -> dict[str, Any]:
    """The usual configuration with another output activation."""
    config = json.loads((CONFIGS / "hash.json").read_text())
    config["network"]["output_activation"] = activation
    return config


def variants(records: int) -> dict[str, Callable[..., RadianceCache]]:
    """The variants by name. Each makes a cache from the common settings; `records` is the usual number of records per frame."""

    def other(**changes: Any) -> Callable[..., RadianceCache]:
        return lambda **settings: RadianceCache(**{**settings, **changes})

    found = {
        "as it is": other(),
        "no self-training (u = 1 throughout)": other(unbiased=1.0),
        "no unbiased suffixes (u = 0 throughout)": other(unbiased=0.0, warm_up_unbiased=0.0),
        "warm-up u = 1/4": other(warm_up_unbiased=0.25),
        "warm-up u = 1/16": other(warm_up_unbiased=1 / 16, unbiased=1 / 16),
        "no factorisation": other(factorize=False),
        "no average of weights": other(average=False),
        "half the records": other(records=records // 2),
        "double the records": other(records=records * 2),
        f"4 steps of {records // 4}": other(steps=4),
        f"16 steps of {records // 16}": other(steps=16),
        "scale follows the targets": lambda **settings: FollowingScale(**settings),
        "scale follows them, u = 1/16": lambda **settings: FollowingScale(
            **{**settings, "unbiased": 1 / 16, "warm_up_unbiased": 1 / 16}
        ),
    }
    found |= {f"output {name}": other(config=with_output(name)) for name in ("None", "Exponential", "Softplus")}
    found |= {f"capacity {number}": other(capacity=number) for number in (4, 16, 32)}
    found |= {f"c = {c:g}": other(spread=c) for c in (0.001, 0.01, 0.1)}
    return found


def measure_ablations(
    stage: Stage,
    plain: Variance,
    bound: Bound,
    *,
    frames: int,
    seeds: int,
    only: list[str] | None = None,
    say: Callable[[str, list[dict[str, Any]]], None],
) -> dict[str, list[dict[str, Any]]]:
    """The quality of each variant for a number of seeds; `say` is called with the results of each variant."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, make in variants(stage.renderer(RadianceCache()).frames.records).items():
        if only and name not in only:
            continue
        found[name] = []
        for seed in range(seeds):
            cache = make(train_frames=FRAMES, train_every=1)
            renderer = stage.renderer(cache, seed=seed)
            renderer.warm_up()
            while cache.state.unbiased_step < FRAMES:  # number of frames that trained
                renderer.step()
            freeze(cache)
            renderer.reset(seed=FRESH_SEED + seed)
            found[name].append(measure_quality(stage, renderer, frames, plain, bound))
        say(name, found[name])
    return found
