"""The launches of the grid's kernels: values, gradients, and the second derivatives that autograd needs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp, structs_as_warp
from nrc_tracer.device.launch import Launcher
from nrc_tracer.nn.encodings.grid_cells import Interpolation, Level
from nrc_tracer.nn.encodings.grid_kernels import GridBatch, GridKernels, grid_kernels
from nrc_tracer.nn.encodings.grid_layout import GridLayout
from nrc_tracer.nn.gradient_memory import GradientMemory

if TYPE_CHECKING:
    from nrc_tracer.nn.gradients import GradientSink
    from nrc_tracer.nn.regions import Regions

POINTS_PER_ITEM = 1024
"""Number of points per item of a kernel on the CPU: one level's table stays in the cache while they are processed."""


class GridLaunches:
    """Runs the kernels of one grid.

    Inputs `x` are float32 [N, n_dims], parameters float32 [n_params], values and their gradients float32 [N, n_outputs], all on
    the launcher's device; nothing is checked.

    Args:
        layout: The grid's tables.
        interpolation: How a point's features are taken from the vertices of its cell.
    """

    def __init__(self, layout: GridLayout, interpolation: Interpolation) -> None:
        self.layout = layout
        self.interpolation = interpolation
        self._level_arrays: dict[str, wp.array] = {}
        self._memory: GradientMemory | None = None

    @cached_property
    def _kernels(self) -> GridKernels:
        return grid_kernels(self.layout.n_dims, self.layout.n_features)

    def levels_on(self, launcher: Launcher) -> wp.array:
        """The levels on a launcher's device, as kernels read them."""
        key = str(launcher.device)
        if key not in self._level_arrays:
            n_dims, levels = self.layout.n_dims, self.layout.levels
            rows = [
                (
                    level.scale,
                    level.offset,
                    level.entries,
                    level.entries - 1 if level.hashed else 0xFFFFFFFF,
                    level.hashed,
                    (*level.multipliers(n_dims), 0, 0)[:4],
                )
                for level in levels
            ]
            self._level_arrays[key] = structs_as_warp(rows, Level, launcher.device)
        return self._level_arrays[key]

    def forward(self, launcher: Launcher, x: Tensor, params: Tensor, values: Tensor) -> None:
        """Write the values of all levels."""
        self._run_by_level(launcher, self._kernels.forward, x, [self._table(params), as_warp(values)])

    def tangent(self, launcher: Launcher, x: Tensor, params: Tensor, direction: Tensor, out: Tensor) -> None:
        """Write the derivatives of the values along `direction` [N, n_dims]."""
        arrays = [self._table(params), as_warp(direction), as_warp(out)]
        self._run_by_level(launcher, self._kernels.tangent, x, arrays)

    def zero_gradient(self, launcher: Launcher) -> Tensor:
        """Memory for a gradient of the parameters: zeros, float32 [n_params], on the launcher's device."""
        if launcher.device.is_cuda:
            return torch.zeros(self.layout.n_params, device=wp.device_to_torch(launcher.device))
        if self._memory is None or self._memory.launcher is not launcher:
            self._memory = GradientMemory(self.layout.n_params, launcher)
        return self._memory.zeros()

    def backward_input(self, launcher: Launcher, x: Tensor, params: Tensor, d_values: Tensor, d_x: Tensor) -> None:
        """Add the gradient with respect to the input to `d_x`."""
        arrays = [self._table(params), as_warp(d_values), as_warp(d_x)]
        self._run_by_point(launcher, self._kernels.input_gradient, x, arrays)

    def backward_backward_input(
        self, launcher: Launcher, x: Tensor, params: Tensor, d_values: Tensor, direction: Tensor, d_x: Tensor
    ) -> None:
        """Add to `d_x` the gradient, with respect to x, of the input gradient's product with `direction`."""
        arrays = [self._table(params), as_warp(d_values), as_warp(direction), as_warp(d_x)]
        self._run_by_point(launcher, self._kernels.input_hessian, x, arrays)

    def backward_params(
        self, launcher: Launcher, x: Tensor, d_values: Tensor, sink: GradientSink, direction: Tensor | None = None
    ) -> None:
        """Add the gradient with respect to the parameters to `sink`: that of the values, or of `tangent` along a direction."""
        kernels, regions = self._kernels, sink.regions(self.layout, launcher)
        table = sink.values.view(-1, self.layout.n_features)
        if direction is not None:
            gradient = as_warp(table, kernels.features)
            arrays = [as_warp(direction), as_warp(d_values), gradient, regions.rows]
            self._run_by_region(launcher, kernels.scatter_tangent, x, regions, arrays)
        elif sink.deterministic:
            scale = _fixed_point_scale(d_values)
            totals = torch.zeros(table.shape, dtype=torch.int64, device=table.device)
            arrays = [as_warp(d_values), as_warp(scale), as_warp(totals), regions.rows]
            self._run_by_region(launcher, kernels.scatter_fixed, x, regions, arrays)
            table += (totals / scale).to(table.dtype)
        else:
            if regions.listed:
                regions.reserve(len(x))
            gradient = as_warp(regions.values if regions.listed else table, kernels.features)
            arrays = [as_warp(d_values), gradient, regions.rows, regions.lists()]
            self._run_by_region(launcher, kernels.scatter, x, regions, arrays)

    def _table(self, params: Tensor) -> wp.array:
        return as_warp(params.view(-1, self.layout.n_features), self._kernels.features)

    def _run_by_level(self, launcher: Launcher, kernel: wp.Kernel, x: Tensor, arrays: list) -> None:
        """Run a kernel that fills one level's columns of the output per item, level by level."""
        batch = self._batch(len(x), 1 if launcher.device.is_cuda else POINTS_PER_ITEM)
        self._run(launcher, kernel, batch.stretches * len(self.layout.levels), batch, x, arrays)

    def _run_by_point(self, launcher: Launcher, kernel: wp.Kernel, x: Tensor, arrays: list) -> None:
        """Run a kernel that owns rows of an input gradient per item."""
        batch = self._batch(len(x), 1 if launcher.device.is_cuda else POINTS_PER_ITEM)
        self._run(launcher, kernel, batch.stretches, batch, x, arrays)

    def _run_by_region(self, launcher: Launcher, kernel: wp.Kernel, x: Tensor, regions: Regions, arrays: list) -> None:
        """Run a kernel that owns a region of the parameters per item, which takes all points on the CPU."""
        batch = self._batch(len(x), 1 if launcher.device.is_cuda else max(len(x), 1))
        self._run(launcher, kernel, batch.stretches * regions.count, batch, x, arrays, block_size=1)

    def _batch(self, n: int, points: int) -> GridBatch:
        batch = GridBatch()
        batch.n, batch.points, batch.stretches = n, points, -(-n // points)
        batch.interpolation = int(self.interpolation)
        return batch

    def _run(
        self,
        launcher: Launcher,
        kernel: wp.Kernel,
        items: int,
        batch: GridBatch,
        x: Tensor,
        arrays: list,
        block_size: int | None = None,
    ) -> None:
        every = [batch, self.levels_on(launcher), as_warp(x), *arrays]
        launcher.run(kernel, items, lambda base: [base, *every], block_size=block_size)


def _fixed_point_scale(values: Tensor) -> Tensor:
    """The power of two, float64 [1], with which a sum of all values with weights up to 1 fits into 62 bits."""
    largest = values.abs().max().double() if values.numel() else values.new_zeros((), dtype=torch.float64)
    exponent = 62.0 - torch.ceil(torch.log2(torch.clamp(largest * max(len(values), 1), min=1e-300)))
    return torch.exp2(torch.clamp(exponent, max=1000.0)).reshape(1)
