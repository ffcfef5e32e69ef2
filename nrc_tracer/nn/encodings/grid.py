"""The multiresolution grid: its definition in torch, and its kernels as an encoding.

Mueller, Evans, Schied, Keller, *Instant Neural Graphics Primitives with a Multiresolution Hash Encoding* (SIGGRAPH 2022),
section 3, with tiny-cuda-nn's arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.launch import Launcher
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.encodings.encoding import Encoding, rounded
from nrc_tracer.nn.encodings.grid_autograd import GridFunction
from nrc_tracer.nn.encodings.grid_cells import Interpolation
from nrc_tracer.nn.encodings.grid_launches import GridLaunches
from nrc_tracer.nn.encodings.grid_layout import FINEST_INDEXED, GridLayout, GridLevel, grid_levels

if TYPE_CHECKING:
    from nrc_tracer.device.torch_launcher import TorchLauncher
    from nrc_tracer.nn import config as configuration
    from nrc_tracer.nn.gradients import GradientSink
    from nrc_tracer.nn.initialization import Pcg32

INITIAL_RANGE = 1e-4
"""Bound of the magnitude of initial parameters, which are drawn uniformly."""


class GridEncoding(Encoding):
    """Feature vectors on the vertices of `n_levels` grids, interpolated and put side by side.

    Parameters are ordered by level, entry and feature; the output by level and feature.

    Attributes:
        layout: The tables.
        interpolation: How a point's features are taken from the vertices of its cell.
        launches: The kernels.
    """

    padding_value = 0.0

    def __init__(self, config: configuration.Grid, n_input_dims: int) -> None:
        if n_input_dims not in FINEST_INDEXED:
            raise ConfigError(f"encoding: a Grid takes 2, 3 or 4 input dimensions, got {n_input_dims}")
        super().__init__(config, n_input_dims, config.n_levels * config.n_features_per_level)
        self.layout = GridLayout(n_input_dims, config.n_features_per_level, grid_levels(config, n_input_dims))
        self.alignment = config.n_features_per_level
        self.n_params = self.layout.n_params
        self.interpolation = Interpolation[config.interpolation.upper()]
        self.launches = GridLaunches(self.layout, self.interpolation)

    @property
    def levels(self) -> tuple[GridLevel, ...]:
        """The levels, coarse to fine."""
        return self.layout.levels

    @property
    def n_features(self) -> int:
        """Features per level."""
        return self.layout.n_features

    def initialize(self, generator: Pcg32) -> np.ndarray:
        return generator.grid_floats(self.n_params, INITIAL_RANGE)

    def values(self, x: Tensor, params: Tensor) -> Tensor:
        table = params.view(-1, self.n_features)
        return torch.cat([self._level_values(level, x, table) for level in self.levels], dim=1)

    def _level_values(self, level: GridLevel, x: Tensor, table: Tensor) -> Tensor:
        """One level's features [N, F]."""
        # The product of two float32 is exact in float64, so this rounds like a fused multiply-add, except at ties
        exact = (x.detach().float().double() * level.scale + 0.5).float()
        floor = exact.floor()
        cell = floor.to(torch.int64)
        fraction = rounded(exact.to(table.dtype) - floor.to(table.dtype), level.scale, x)
        if self.interpolation is Interpolation.SMOOTHSTEP:
            fraction = fraction * fraction * (3.0 - 2.0 * fraction)
        elif self.interpolation is Interpolation.NEAREST:
            fraction = 0.0 * fraction

        result = table.new_zeros(len(x), self.n_features)
        for corner in range(2**self.n_input_dims):
            weight = table.new_ones(len(x))
            index = torch.zeros_like(cell[:, 0])
            for d, multiplier in enumerate(level.multipliers(self.n_input_dims)):
                bit = corner >> d & 1
                weight = weight * (fraction[:, d] if bit else 1.0 - fraction[:, d])
                term = (cell[:, d] + bit) * multiplier & 0xFFFFFFFF
                index = index ^ term if level.hashed else index + term & 0xFFFFFFFF
            result = result + weight[:, None] * table[level.offset + index % level.entries]
        return result

    def differentiable(self, launcher: TorchLauncher, x: Tensor, params: Tensor, width: int) -> Tensor:
        return self._padded(GridFunction.apply(x, params, self.launches, launcher), width)

    # The kernels

    def levels_on(self, launcher: Launcher) -> wp.array:
        """The levels on a launcher's device, as kernels read them."""
        return self.launches.levels_on(launcher)

    def backward_params(self, launcher: Launcher, x: Tensor, params: Tensor, d_out: Tensor, sink: GradientSink) -> None:
        self.launches.backward_params(launcher, x, self._split(d_out)[0], sink)

    def _forward(self, launcher: Launcher, x: Tensor, params: Tensor, values: Tensor) -> None:
        self.launches.forward(launcher, x, params, values)

    def _backward_input(self, launcher: Launcher, x: Tensor, params: Tensor, d_values: Tensor, d_x: Tensor) -> None:
        self.launches.backward_input(launcher, x, params, d_values, d_x)


def grids(encoding: Encoding, begin: int = 0) -> list[tuple[GridEncoding, int]]:
    """All grids in an encoding, each with the index of its first parameter, counted from `begin`."""
    if isinstance(encoding, GridEncoding):
        return [(encoding, begin)]
    found = []
    for nested in getattr(encoding, "nested", ()):
        found += grids(nested, begin)
        begin += nested.n_params
    return found
