"""The multiresolution grid: its levels, its definition in torch, and the launches of its kernels.

Mueller, Evans, Schied, Keller, *Instant Neural Graphics Primitives with a Multiresolution Hash Encoding* (SIGGRAPH 2022),
section 3, with tiny-cuda-nn's arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.launch import Launcher
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.encodings.autograd import GridFunction
from nrc_tracer.nn.encodings.encoding import Encoding, rounded
from nrc_tracer.nn.encodings.grid_kernels import Interpolation, Level, grid_kernels

if TYPE_CHECKING:
    from nrc_tracer.device.torch_launcher import TorchLauncher
    from nrc_tracer.nn import config as configuration
    from nrc_tracer.nn.gradients import GradientSink
    from nrc_tracer.nn.initialization import Pcg32

PRIMES = (1, 2654435761, 805459861, 3674653429)
"""Factors of the spatial hash, dimension by dimension."""

FINEST_INDEXED = {2: 65535, 3: 1625, 4: 255}
"""The finest resolution whose cells can be numbered in 32 bits, by dimensions."""

INITIAL_RANGE = 1e-4
"""Parameters begin uniform in +-INITIAL_RANGE."""

MAX_PARAMS = 2**31 - 1
POINTS_PER_ITEM = 1024
"""Points that one item of a kernel takes on the CPU: a level's table stays in the cache meanwhile."""


@dataclass(frozen=True)
class GridLevel:
    """One level of a grid.

    Attributes:
        scale: Cells along an edge, as a float32: a point is at `x * scale + 0.5`.
        resolution: Vertices along an edge.
        entries: Feature vectors in its table.
        offset: Entries of all levels before it.
        hashed: Whether its vertices are hashed into the table; else they are numbered, dimension 0 fastest.
    """

    scale: float
    resolution: int
    entries: int
    offset: int
    hashed: bool

    def multipliers(self, n_dims: int) -> tuple[int, ...]:
        """What a vertex's coordinates are multiplied by in its index."""
        if self.hashed:
            return PRIMES[:n_dims]
        if self.resolution > FINEST_INDEXED[n_dims]:
            return (0,) * n_dims
        return tuple(self.resolution**d for d in range(n_dims))


def grid_levels(config: configuration.Grid, n_dims: int) -> tuple[GridLevel, ...]:
    """The levels of a grid in `n_dims` dimensions; every rounding is that of tiny-cuda-nn."""
    log2_scale = np.float32(np.log2(np.float64(np.float32(config.per_level_scale))))
    levels: list[GridLevel] = []
    offset = 0
    for index in range(config.n_levels):
        growth = np.float32(2.0 ** np.float64(np.float32(index) * log2_scale))
        scale = np.float32(growth * np.float32(config.base_resolution)) - np.float32(1.0)
        if not scale < 2.0**31:
            raise ConfigError(
                f"encoding.per_level_scale: level {index} would have {float(scale):.3g} cells along an edge; "
                "take fewer levels or a smaller factor"
            )
        resolution = math.ceil(scale) + 1
        entries = -(-(resolution**n_dims) // 8) * 8
        if config.type == "Hash":
            entries = min(entries, 2**config.log2_hashmap_size)
        elif config.type == "Tiled":
            entries = min(entries, config.base_resolution**n_dims)
        hashed = config.type == "Hash" and entries < resolution**n_dims
        levels.append(GridLevel(float(scale), resolution, entries, offset, hashed))
        offset += entries
    if offset * config.n_features_per_level > MAX_PARAMS:
        raise ConfigError(
            f"encoding: a grid of {offset * config.n_features_per_level:,} parameters (at most {MAX_PARAMS:,}); "
            "take fewer levels, a smaller log2_hashmap_size or type Hash"
        )
    return tuple(levels)


class GridEncoding(Encoding):
    """Feature vectors on the vertices of `n_levels` grids, interpolated and put side by side.

    Parameters are ordered by level, entry and feature; the output by level and feature.
    """

    padding_value = 0.0

    def __init__(self, config: configuration.Grid, n_input_dims: int) -> None:
        if n_input_dims not in FINEST_INDEXED:
            raise ConfigError(f"encoding: a Grid takes 2, 3 or 4 input dimensions, got {n_input_dims}")
        super().__init__(config, n_input_dims, config.n_levels * config.n_features_per_level)
        self.levels = grid_levels(config, n_input_dims)
        self.n_features = config.n_features_per_level
        self.alignment = config.n_features_per_level
        self.n_entries = self.levels[-1].offset + self.levels[-1].entries
        self.n_params = self.n_entries * self.n_features
        self.interpolation = Interpolation[config.interpolation.upper()]

    def level_slice(self, level: int) -> slice:
        """Where a level's parameters lie among those of this encoding."""
        begin = self.levels[level].offset * self.n_features
        return slice(begin, begin + self.levels[level].entries * self.n_features)

    def initialize(self, generator: Pcg32) -> np.ndarray:
        return generator.grid_floats(self.n_params, INITIAL_RANGE)

    def values(self, x: Tensor, params: Tensor) -> Tensor:
        table = params.view(self.n_entries, self.n_features)
        return torch.cat([self._level_values(level, x, table) for level in self.levels], dim=1)

    def _level_values(self, level: GridLevel, x: Tensor, table: Tensor) -> Tensor:
        """One level's features [N, F]."""
        # The product of two float32 is exact in float64, so this rounds as a fused multiply-add but for ties
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
        return self._padded(GridFunction.apply(x, params, self, launcher), width)

    # The launches

    @cached_property
    def _kernels(self):
        return grid_kernels(self.n_input_dims, self.n_features)

    def levels_on(self, launcher: Launcher) -> wp.array:
        """The levels as kernels read them."""
        key = str(launcher.device)
        if key not in self._level_arrays:
            rows = np.zeros(len(self.levels), dtype=Level.numpy_dtype())
            for row, level in zip(rows, self.levels, strict=True):
                row["scale"] = level.scale
                row["offset"] = level.offset
                row["entries"] = level.entries
                row["mask"] = level.entries - 1 if level.hashed else 0xFFFFFFFF
                row["hashed"] = level.hashed
                row["multipliers"][: self.n_input_dims] = level.multipliers(self.n_input_dims)
            self._level_arrays[key] = wp.array(rows, dtype=Level, device=launcher.device)
        return self._level_arrays[key]

    @cached_property
    def _level_arrays(self) -> dict[str, wp.array]:
        return {}

    def _table(self, params: Tensor) -> wp.array:
        return as_warp(params.view(self.n_entries, self.n_features), self._kernels.features)

    def _forward(self, launcher: Launcher, x: Tensor, params: Tensor, values: Tensor) -> None:
        self._run_by_level(launcher, self._kernels.forward, x, [self._table(params)], values)

    def tangent(self, launcher: Launcher, x: Tensor, params: Tensor, direction: Tensor, out: Tensor) -> None:
        """The directional derivative of the values, [N, n_output_dims], along `direction` [N, n_input_dims]."""
        self._run_by_level(launcher, self._kernels.tangent, x, [self._table(params), as_warp(direction)], out)

    def _run_by_level(self, launcher: Launcher, kernel: wp.Kernel, x: Tensor, arguments: list, out: Tensor) -> None:
        """Run a kernel that fills a level's columns of `out`, over all levels, one after the other."""
        n = len(x)
        points = 1 if launcher.device.is_cuda else POINTS_PER_ITEM
        items = -(-n // points)
        arrays = [self.levels_on(launcher), int(self.interpolation), as_warp(x), *arguments, as_warp(out)]
        launcher.run(kernel, items * len(self.levels), lambda base: [base, n, points, items, *arrays])

    def _backward_input(self, launcher: Launcher, x: Tensor, params: Tensor, d_values: Tensor, d_x: Tensor) -> None:
        self._run_by_point(launcher, self._kernels.input_gradient, x, [self._table(params), as_warp(d_values)], d_x)

    def backward_backward_input(
        self, launcher: Launcher, x: Tensor, params: Tensor, d_values: Tensor, direction: Tensor, d_x: Tensor
    ) -> None:
        """Add to `d_x` the gradient, with respect to x, of the input gradient's product with `direction`."""
        arrays = [self._table(params), as_warp(d_values), as_warp(direction)]
        self._run_by_point(launcher, self._kernels.input_hessian, x, arrays, d_x)

    def _run_by_point(self, launcher: Launcher, kernel: wp.Kernel, x: Tensor, arguments: list, d_x: Tensor) -> None:
        """Run a kernel that owns rows of `d_x`."""
        n = len(x)
        points = 1 if launcher.device.is_cuda else POINTS_PER_ITEM
        arrays = [self.levels_on(launcher), int(self.interpolation), as_warp(x), *arguments, as_warp(d_x)]
        launcher.run(kernel, -(-n // points), lambda base: [base, n, points, *arrays])

    def backward_params(
        self,
        launcher: Launcher,
        x: Tensor,
        params: Tensor,
        d_out: Tensor,
        sink: GradientSink,
        direction: Tensor | None = None,
    ) -> None:
        """Add the gradient with respect to the parameters to `sink`; along `direction`, that of `tangent`."""
        kernels, n = self._kernels, len(x)
        regions = sink.regions(self, launcher)
        points = 1 if launcher.device.is_cuda else max(n, 1)
        items = -(-n // points)
        d_values = self._split(d_out)[0]
        arrays = [self.levels_on(launcher), int(self.interpolation), as_warp(x)]

        def run(kernel: wp.Kernel, arguments: list) -> None:
            every = [*arrays, *arguments]
            launcher.run(kernel, items * regions.count, lambda base: [base, n, points, items, *every], block_size=1)

        table = sink.values.view(self.n_entries, self.n_features)
        gradient = as_warp(table, kernels.features)
        if direction is not None:
            run(kernels.scatter_tangent, [as_warp(direction), as_warp(d_values), gradient, regions.rows])
        elif sink.deterministic:
            scale = _fixed_point_scale(d_values)
            totals = torch.zeros(table.shape, dtype=torch.int64, device=table.device)
            run(kernels.scatter_fixed, [as_warp(d_values), as_warp(scale), as_warp(totals), regions.rows])
            table += (totals / scale).to(table.dtype)
        else:
            if regions.listed:
                regions.reserve(n)
                gradient = as_warp(regions.values, kernels.features)
            run(kernels.scatter, [as_warp(d_values), gradient, regions.rows, *regions.lists()])


def _fixed_point_scale(values: Tensor) -> Tensor:
    """The power of two, float64 [1], by which a sum of weighted values fits into 62 bits whatever the weights up to 1."""
    largest = values.abs().max().double() if values.numel() else values.new_zeros((), dtype=torch.float64)
    exponent = 62.0 - torch.ceil(torch.log2(torch.clamp(largest * max(len(values), 1), min=1e-300)))
    return torch.exp2(torch.clamp(exponent, max=1000.0)).reshape(1)
