"""The gradient of a model's parameters, and the sinks to which encodings add theirs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nrc_tracer.device.launch import Launcher
from nrc_tracer.nn.encodings.grid_layout import GridLayout
from nrc_tracer.nn.regions import Regions


class GradientSink:
    """The memory to which one encoding adds the gradient of its parameters.

    Attributes:
        values: float32 [n_params of the encoding].
        deterministic: Whether a GPU must give the same bits every time: it then sums integers, which takes longer. The default
            is torch's setting for deterministic algorithms. Sums on the CPU always have a fixed order.
    """

    def __init__(
        self,
        values: Tensor,
        regions: dict[GridLayout, Regions] | None = None,
        *,
        deterministic: bool | None = None,
    ) -> None:
        self.values = values
        self._regions = {} if regions is None else regions
        if deterministic is None:
            deterministic = values.is_cuda and torch.are_deterministic_algorithms_enabled()
        self.deterministic = deterministic

    def part(self, own: slice) -> GradientSink:
        """The sink of an encoding inside a composite, which has the parameters `own`."""
        return GradientSink(self.values[own], self._regions, deterministic=self.deterministic)

    def regions(self, layout: GridLayout, launcher: Launcher) -> Regions:
        """The regions of a grid, made on first use."""
        if layout not in self._regions:
            self._regions[layout] = Regions(layout, launcher.device, launcher.threads, listed=False)
        return self._regions[layout]


@dataclass(frozen=True)
class ListedGrid:
    """A grid whose touched entries are listed.

    Attributes:
        begin: Its first parameter in the flat vector.
        regions: Its regions with their lists.
    """

    begin: int
    regions: Regions

    @property
    def layout(self) -> GridLayout:
        """The grid's tables."""
        return self.regions.layout

    @property
    def end(self) -> int:
        """One past its last parameter in the flat vector."""
        return self.begin + self.layout.n_params


class Gradient:
    """The gradient of all parameters of a model, in the order of its flat parameters.

    If `listed` is not None, the gradients of those grids are in their lists, and **`flat` is undefined there**. Entries that are
    not listed have gradient zero.

    Attributes:
        flat: float32 [n_params].
        n_matrix_params: Number of parameters of the network, which come first.
        listed: The grids with their lists; None if `flat` holds all values.
    """

    def __init__(self, flat: Tensor, n_matrix_params: int, listed: list[ListedGrid] | None = None) -> None:
        self.flat = flat
        self.n_matrix_params = n_matrix_params
        self.listed = listed

    def dense(self) -> Tensor:
        """The gradient with zeros for untouched entries; a new tensor if grids are listed."""
        if self.listed is None:
            return self.flat
        result = torch.zeros_like(self.flat)
        result[: self.n_matrix_params] = self.flat[: self.n_matrix_params]
        for grid in self.listed:
            target = result[grid.begin : grid.end].view(-1, grid.layout.n_features)
            for stretch in grid.regions.stretches():
                target[grid.regions.entries(stretch)] = grid.regions.sums(stretch)
        return result
