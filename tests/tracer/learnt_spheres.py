"""A network that learns the distance to a sphere within seconds, in a snapshot like those of `fit sdf`."""

from __future__ import annotations

from pathlib import Path

import torch

from nrc_tracer import nn
from nrc_tracer.nn.snapshot_writing import save_model

CENTER, SCALE, RADIUS = (0.0, 0.0, 0.0), 0.4, 1.0

CONFIG = {
    "loss": {"otype": "L2"},
    "optimizer": {
        "otype": "ExponentialDecay",
        "decay_base": 0.5,
        "decay_start": 130,
        "decay_interval": 35,
        "nested": {"otype": "Adam", "learning_rate": 1e-2, "beta2": 0.99, "epsilon": 1e-15},
    },
    "encoding": {
        "otype": "HashGrid",
        "n_levels": 4,
        "n_features_per_level": 2,
        "log2_hashmap_size": 15,
        "base_resolution": 4,
        "per_level_scale": 1.4,
        "interpolation": "Smoothstep",
    },
    "network": {
        "otype": "FullyFusedMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": 32,
        "n_hidden_layers": 2,
    },
}


def sphere_distance(points: torch.Tensor) -> torch.Tensor:
    """Signed distance to the sphere in the network's cube, [N]."""
    return (points - 0.5).norm(dim=1) - SCALE * RADIUS


METADATA = {"task": "sdf", "sdf": {"center": CENTER, "scale": SCALE, "bounds": [[-RADIUS] * 3, [RADIUS] * 3]}}
"""Metadata that `fit sdf` would write for it."""


def learn_sphere(path: Path, steps: int = 400, batch: int = 4096) -> Path:
    """Train on points near the unit sphere and in the whole cube, and write the snapshot."""
    # The same kernels on every machine, so that tests of a snapshot see the same network
    model = nn.Model(3, 1, CONFIG, seed=7, device="cpu", precision="float32", backend="blocked")
    trainer = nn.Trainer(model)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.rand(batch, 3, generator=generator)
        direction = torch.nn.functional.normalize(x[: batch // 2] - 0.5, dim=1)
        x[: batch // 2] = 0.5 + direction * (0.32 + 0.16 * torch.rand(batch // 2, 1, generator=generator))
        trainer.step(x, sphere_distance(x)[:, None])
    return nn.save_training(trainer, path, metadata=METADATA)


def untrained(path: Path, output_activation: str = "None") -> Path:
    """The snapshot of an untrained network, whose values before the activation are nearly 0."""
    config = {**CONFIG, "network": {**CONFIG["network"], "output_activation": output_activation}}
    return save_model(nn.Model(3, 1, config, seed=7, device="cpu", precision="float32"), path, metadata=METADATA)
