"""The default model of a radiance field (Mueller et al. 2022, section 5.4)."""

from __future__ import annotations

import math
from typing import Any

BASE_RESOLUTION = 16
"""Cells along an edge of the unit cube in the coarsest grid."""
FINEST_RESOLUTION = 2048
"""Cells along an edge of the unit cube in the finest grid; a box may be larger than the unit cube."""


def default_config(extent: int, *, on_cpu: bool = False) -> dict[str, Any]:
    """The configuration for a box of side `extent`; on a CPU with a smaller table, which fits its cache better."""
    levels, features = 8, 4
    growth = math.exp(math.log(FINEST_RESOLUTION * extent / BASE_RESOLUTION) / (levels - 1))
    grid = {
        "otype": "HashGrid",
        "n_dims_to_encode": 3,
        "n_levels": levels,
        "n_features_per_level": features,
        "log2_hashmap_size": 17 if on_cpu else 19,
        "base_resolution": BASE_RESOLUTION,
        "per_level_scale": growth,
    }
    layers = {"otype": "FullyFusedMLP", "activation": "ReLU", "output_activation": "None", "n_neurons": 64}
    adam = {"otype": "Adam", "learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-15, "l2_reg": 1e-6}
    decay = {"otype": "ExponentialDecay", "decay_start": 20000, "decay_interval": 10000, "decay_base": 0.33}
    return {
        "loss": {"otype": "Huber"},
        "optimizer": {"otype": "Ema", "decay": 0.95, "nested": decay | {"nested": adam}},
        "encoding": {
            "otype": "Composite",
            "nested": [grid, {"otype": "SphericalHarmonics", "degree": 4, "n_dims_to_encode": 3}],
        },
        "network": {
            "otype": "RadianceField",
            "density": layers | {"n_hidden_layers": 1},
            "rgb": layers | {"n_hidden_layers": 2},
        },
    }
