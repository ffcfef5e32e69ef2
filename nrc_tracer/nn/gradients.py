"""Where gradients of parameters are summed up: a flat tensor and, on the CPU, lists of the grid entries that got any.

A grid of 2^19 entries a level has twelve million parameters of which a step touches a few per cent. The lists let an
optimizer go over those alone. A step has a number, its *stamp*: an entry whose stamp is older holds nothing yet, so nothing has
to be cleared between steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.launch import Launcher
from nrc_tracer.nn.arrays import as_warp
from nrc_tracer.nn.encodings.grid_kernels import Region

if TYPE_CHECKING:
    from nrc_tracer.nn.encodings.encoding import Encoding
    from nrc_tracer.nn.encodings.grid import GridEncoding


class Regions:
    """A grid's entries cut into stretches, each written by one thread, with a list of touched entries for each or without.

    Args:
        grid: The grid.
        device: Where the arrays live.
        threads: Threads that share the work: with few levels to a thread, levels are cut. Sums do not depend on it.
        listed: Keep lists of touched entries (CPU only).
    """

    def __init__(self, grid: GridEncoding, device: wp.Device, threads: int, *, listed: bool) -> None:
        parts = 1 if device.is_cuda else max(1, -(-2 * threads // len(grid.levels))) if threads > 1 else 1
        rows = []
        for index, level in enumerate(grid.levels):
            cuts = np.linspace(0, level.entries, min(parts, level.entries) + 1).astype(np.int64)
            rows += [(index, first, last) for first, last in itertools.pairwise(cuts)]
        self.count = len(rows)
        self.first = np.array([grid.levels[level].offset + first for level, first, _ in rows], dtype=np.int64)
        self.sizes = np.array([last - first for _, first, last in rows], dtype=np.int64)
        """The first entry of each region, counted from the grid's first; its list of touched entries begins there too."""
        self.rows = wp.array(np.array(rows, dtype=Region.numpy_dtype()), dtype=Region, device=device)
        size = grid.n_entries if listed else 0
        torch_device = wp.device_to_torch(device)
        self.stamp = 1 if listed else 0
        self.stamps = torch.zeros(size, dtype=torch.int32, device=torch_device)
        self.touched = torch.empty(size, dtype=torch.int32, device=torch_device)
        self.counts = torch.zeros(self.count if listed else 0, dtype=torch.int32, device=torch_device)

    def lists(self) -> list:
        """The lists as kernels take them."""
        return [self.stamp, as_warp(self.stamps), as_warp(self.touched), as_warp(self.counts)]

    def begin_step(self) -> None:
        """Empty the lists."""
        if self.stamp == 2**31 - 1:
            self.stamps.zero_()
            self.stamp = 0
        self.stamp += 1
        self.counts.zero_()

    def stretches(self) -> Iterator[tuple[int, int, bool]]:
        """Begin and end, in `touched`, of each list that is not empty, and whether it has all entries of its region.

        Then these are the entries numbered begin to end - 1, and the list itself may not have been written.
        """
        rows = zip(self.first.tolist(), self.sizes.tolist(), self.counts.tolist(), strict=True)
        for first, size, count in rows:
            if count:
                yield first, first + count, count == size


class GradientSink:
    """Where one encoding adds the gradient of its parameters.

    Attributes:
        values: float32 [n_params of the encoding].
        deterministic: Whether sums must not depend on the order in which a GPU makes them: they are then made of integers, which
            takes longer. Where torch is asked for deterministic algorithms, this is so unless said otherwise. Sums on the
            CPU are always made in one order.
    """

    def __init__(
        self,
        values: Tensor,
        regions: dict[GridEncoding, Regions] | None = None,
        *,
        deterministic: bool | None = None,
    ) -> None:
        self.values = values
        self._regions = {} if regions is None else regions
        if deterministic is None:
            deterministic = values.is_cuda and torch.are_deterministic_algorithms_enabled()
        self.deterministic = deterministic

    def part(self, begin: int, encoding: Encoding) -> GradientSink:
        """The sink of an encoding inside a composite, whose parameters begin at `begin`."""
        values = self.values[begin : begin + encoding.n_params]
        return GradientSink(values, self._regions, deterministic=self.deterministic)

    def regions(self, grid: GridEncoding, launcher: Launcher) -> Regions:
        """The regions of a grid; made when first asked for."""
        if grid not in self._regions:
            self._regions[grid] = Regions(grid, launcher.device, launcher.threads, listed=False)
        return self._regions[grid]


@dataclass(frozen=True)
class ListedGrid:
    """A grid whose touched entries are listed.

    Attributes:
        begin: Its first parameter in the flat vector.
        n_entries, n_features: Its shape.
        regions: Its regions with their lists.
    """

    begin: int
    n_entries: int
    n_features: int
    regions: Regions


class Gradient:
    """The gradient of all parameters of a model, in the order of its flat parameters.

    Where `listed` is not None, entries of those grids that are not listed have gradient zero **whatever `flat` holds there**.

    Attributes:
        flat: float32 [n_params].
        n_matrix_params: Parameters of the network, the first ones.
        listed: The grids with their lists, or None: every value of `flat` counts.
    """

    def __init__(self, flat: Tensor, n_matrix_params: int, listed: list[ListedGrid] | None = None) -> None:
        self.flat = flat
        self.n_matrix_params = n_matrix_params
        self.listed = listed

    def dense(self) -> Tensor:
        """The gradient with zeros where nothing was touched: a new tensor if grids are listed."""
        if self.listed is None:
            return self.flat
        result = torch.zeros_like(self.flat)
        result[: self.n_matrix_params] = self.flat[: self.n_matrix_params]
        for grid in self.listed:
            size = grid.n_entries * grid.n_features
            source = self.flat[grid.begin : grid.begin + size].view(-1, grid.n_features)
            target = result[grid.begin : grid.begin + size].view(-1, grid.n_features)
            for first, last, whole in grid.regions.stretches():
                entries = slice(first, last) if whole else grid.regions.touched[first:last].long()
                target[entries] = source[entries]
        return result
