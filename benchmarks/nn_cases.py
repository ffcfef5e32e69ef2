"""The models that `benchmarks.nn` measures: hash grids with a network, the radiance cache's model, and a radiance field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import nrc_tracer.nn as nn
from nrc_tracer.cache.features import FEATURES
from nrc_tracer.cache.options import CONFIGS
from nrc_tracer.nn.encodings.grid import GridEncoding
from nrc_tracer.tasks.nerf.config import default_config

N_INPUT, N_OUTPUT = 3, 3
ADAM = {"otype": "Adam", "learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-15, "l2_reg": 0.0}
TRIAL_RANGE = 1.0
"""Bound of the magnitude of grid parameters: with the initial 1e-4, all outputs would be near zero."""


def configuration(log2_entries: int) -> dict[str, Any]:
    """The configuration of a hash grid with a network, in tiny-cuda-nn's dialect."""
    grid = {"n_levels": 16, "n_features_per_level": 2, "base_resolution": 16, "per_level_scale": 1.5}
    return {
        "encoding": {"otype": "HashGrid", "log2_hashmap_size": log2_entries, **grid},
        "network": {"otype": "FullyFusedMLP", "activation": "ReLU", "n_neurons": 64, "n_hidden_layers": 2},
        "loss": {"otype": "RelativeL2"},
        "optimizer": ADAM,
    }


@dataclass(frozen=True)
class Case:
    """A model to measure.

    Attributes:
        name: Its name in tables and results.
        n_inputs: Number of its inputs.
        n_outputs: Number of its outputs.
        config: Its configuration.
        is_plain: Whether it is a grid with a network, of which there are peers in other frameworks.
    """

    name: str
    n_inputs: int
    n_outputs: int
    config: dict[str, Any] | Path
    is_plain: bool


CASES = (
    Case("hash grid, 2^15 entries", N_INPUT, N_OUTPUT, configuration(15), True),
    Case("hash grid, 2^19 entries", N_INPUT, N_OUTPUT, configuration(19), True),
    Case("radiance cache", FEATURES, 3, CONFIGS / "hash.json", False),
    Case("radiance field", 6, 4, default_config(1, on_cpu=True), False),
)


class Ours:
    """A model of this package, and for a plain case its encoding alone.

    Args:
        case: The model.
        device: Torch device.
        threads: Threads on the CPU.
        backend: `warp`; `blocked` for its blocks of matrix products; `tinycudann` for its modules with this package's loss and
            optimizer.
    """

    def __init__(self, case: Case, device: torch.device, threads: int, backend: str = "warp") -> None:
        options: dict[str, Any] = {"device": device, "threads": threads, "backend": backend}
        self.model = nn.Model(case.n_inputs, case.n_outputs, case.config, **options)
        generator = torch.Generator().manual_seed(1)
        split = self.model.structure.n_matrix_params
        grid = TRIAL_RANGE * (2 * torch.rand(self.model.n_params - split, generator=generator) - 1)
        self.model.params[split:] = grid.to(device)
        self.encoder: nn.Model | None = None
        if case.is_plain and isinstance(case.config, dict):
            self.encoder = nn.Model(case.n_inputs, None, {**case.config, "network": None}, **options)
            self.encoder.set_params(grid)
        self.trainer = nn.Trainer(self.model)

    @property
    def grids(self) -> list[GridEncoding]:
        """The grids in the encoding."""
        encoding = self.model.structure.encoding
        return [part for part in (encoding, *getattr(encoding, "nested", ())) if isinstance(part, GridEncoding)]

    def task(self, operation: str, x: Tensor, target: Tensor) -> Callable[[], object]:
        """The function to time for an operation: `encode`, `inference` or `training`."""
        if operation == "encode":
            assert self.encoder is not None
            encoder = self.encoder
            return lambda: encoder(x)
        if operation == "inference":
            return lambda: self.model(x)
        return lambda: self.trainer.step(x, target)


def batch(size: int, device: torch.device, case: Case = CASES[0]) -> tuple[Tensor, Tensor]:
    """Inputs in the unit cube, and a smooth target for them."""
    x = torch.rand(size, case.n_inputs, generator=torch.Generator().manual_seed(size)).to(device)
    sums = x[:, :N_INPUT] @ torch.ones(N_INPUT, case.n_outputs, device=device)
    return x, 0.6 + 0.4 * torch.sin(7.0 * sums)
