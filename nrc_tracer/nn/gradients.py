"""The gradient of a model's parameters, and where encodings add theirs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nrc_tracer.device.launch import Launcher
from nrc_tracer.nn.encodings.grid_layout import GridLayout
from nrc_tracer.nn.regions import Regions


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
        """The sink of an encoding inside a composite that has the parameters `own`."""
        return GradientSink(self.values[own], self._regions, deterministic=self.deterministic)

    def regions(self, layout: GridLayout, launcher: Launcher) -> Regions:
        """The regions of a grid; made when first asked for."""
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

    Where `listed` is not None, the gradients of those grids are in their lists, **whatever `flat` holds**; entries that are not
    listed have gradient zero.

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
            target = result[grid.begin : grid.end].view(-1, grid.layout.n_features)
            for stretch in grid.regions.stretches():
                target[grid.regions.entries(stretch)] = grid.regions.sums(stretch)
        return result
