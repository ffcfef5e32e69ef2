"""Configurations for tests, including one part of every kind."""

from nrc_tracer.nn import config

# As in tiny-cuda-nn's data/config_hash.json and data/config_oneblob.json
HASH = {
    "loss": {"otype": "RelativeL2"},
    "optimizer": {
        "otype": "Adam",
        "learning_rate": 1e-2,
        "beta1": 0.9,
        "beta2": 0.99,
        "epsilon": 1e-15,
        "l2_reg": 1e-6,
    },
    "encoding": {
        "otype": "HashGrid",
        "n_levels": 16,
        "n_features_per_level": 2,
        "log2_hashmap_size": 15,
        "base_resolution": 16,
        "per_level_scale": 1.5,
        "fixed_point_pos": False,
    },
    "network": {
        "otype": "FullyFusedMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": 64,
        "n_hidden_layers": 2,
    },
}
ONEBLOB = {
    "loss": {"otype": "RelativeL2"},
    "optimizer": {"otype": "Adam", "learning_rate": 1e-2, "beta2": 0.99},
    "encoding": {"otype": "OneBlob", "n_bins": 64},
    "network": {"otype": "FullyFusedMLP", "n_neurons": 128, "n_hidden_layers": 5},
}
# The structure of instant-ngp's NeRF configurations
NERF = {
    "loss": {"otype": "Huber"},
    "optimizer": {
        "otype": "Ema",
        "decay": 0.95,
        "nested": {
            "otype": "ExponentialDecay",
            "decay_start": 20000,
            "decay_interval": 10000,
            "decay_base": 0.33,
            "nested": {"otype": "Adam", "learning_rate": 1e-2, "beta2": 0.99, "epsilon": 1e-15, "l2_reg": 1e-6},
        },
    },
    "encoding": {"otype": "HashGrid", "n_levels": 8, "n_features_per_level": 4, "log2_hashmap_size": 19},
    "network": {"otype": "FullyFusedMLP", "n_neurons": 64, "n_hidden_layers": 1},
    "dir_encoding": {
        "otype": "Composite",
        "nested": [
            {"n_dims_to_encode": 3, "otype": "SphericalHarmonics", "degree": 4},
            {"otype": "Identity", "n_bins": 4, "degree": 4},
        ],
    },
    "rgb_network": {"otype": "FullyFusedMLP", "n_neurons": 64, "n_hidden_layers": 2},
    "envmap": {"loss": {"otype": "RelativeL2"}},
}
ALL_OPTIMIZERS = [
    config.Adam(beta2=0.99, adabound=True),
    config.SGD(l2_reg=0),
    config.Ema(decay=0.5, full_precision=True, nested=config.SGD()),
    config.ExponentialDecay(decay_base=0.33, nested=config.Ema()),
    config.Lookahead(alpha=1, n_steps=3),
    config.Batched(batch_size_multiplier=2),
    config.Average(n_samples=1),
    config.CompositeOptimizer(
        nested=[
            config.NestedOptimizer(optimizer=config.Adam(), n_params_to_optimize=7),
            config.NestedOptimizer(optimizer=config.Average()),
        ]
    ),
]
ALL_ENCODINGS = [
    config.Grid(type="dense", n_levels=3, per_level_scale=1.45),
    config.OneBlob(n_bins=1),
    config.Frequency(n_frequencies=3),
    config.TriangleWave(),
    config.SphericalHarmonics(degree=8),
    config.Identity(scale=-2, offset=0.5),
    config.Empty(),
    config.Composite(
        nested=[
            config.Nested(encoding=config.Grid(), n_dims_to_encode=3, dims_to_encode_begin=2),
            config.Nested(encoding=config.Identity(), n_dims_to_encode=0),
        ],
        reduction="sum",
    ),
]
NRC_DEFAULT = {
    "otype": "Composite",
    "nested": [
        {"n_dims_to_encode": 3, "otype": "TriangleWave", "n_frequencies": 12},
        {"n_dims_to_encode": 5, "otype": "OneBlob", "n_bins": 4},
        {"otype": "Identity"},
    ],
}
