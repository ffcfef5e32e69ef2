"""A small cache for the tests, and samples that it can learn."""

from __future__ import annotations

import torch
from torch import Tensor

from nrc_tracer.cache import RadianceCache
from nrc_tracer.cache.features import FEATURES

SMALL = {
    "loss": {"otype": "RelativeL2Luminance"},
    "optimizer": {
        "otype": "Ema",
        "decay": 0.9,
        "nested": {"otype": "Adam", "learning_rate": 0.01, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-15},
    },
    "encoding": {
        "otype": "Composite",
        "nested": [
            {
                "n_dims_to_encode": 3,
                "otype": "HashGrid",
                "n_levels": 4,
                "n_features_per_level": 2,
                "log2_hashmap_size": 8,
                "base_resolution": 4,
                "per_level_scale": 2.0,
            },
            {"n_dims_to_encode": 5, "otype": "OneBlob", "n_bins": 4},
            {"otype": "Identity"},
        ],
    },
    "network": {
        "otype": "FullyFusedMLP",
        "activation": "ReLU",
        "output_activation": "Softplus",
        "n_neurons": 64,
        "n_hidden_layers": 1,
    },
}
"""A configuration like those in nrc_tracer/cache/configs, but quicker to build."""


def began(cache: RadianceCache, *, seed: int = 1) -> RadianceCache:
    """The cache, begun in a scene from -1 to 1 on each axis."""
    cache.begin([-1.0] * 3, [1.0] * 3, device="cpu", threads=2, seed=seed)
    return cache


def samples(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random features and the radiance that depends on them: brighter towards one side, and proportional to the reflectance."""
    features = torch.rand((count, FEATURES), generator=torch.Generator().manual_seed(seed))
    features[:, 8:] *= 0.5
    reflectance = (features[:, 8:11] + features[:, 11:14]).clamp_min(0.01)
    return features, 5.0 * reflectance * (0.5 + features[:, :1])


def trained(cache: RadianceCache, steps: int = 20) -> RadianceCache:
    """The cache after some training steps."""
    features, targets = samples(2048, 7)
    if cache.gain == 0.0:
        cache.measure_scale(features, targets)
    cache.train(features, targets, records=2048, steps=steps, seed=3)
    return cache
