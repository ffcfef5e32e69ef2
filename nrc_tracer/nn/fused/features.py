"""The inputs of a fused network: one grid that is encoded inside the kernels, and features in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn.encodings.composite import CompositeEncoding
from nrc_tracer.nn.encodings.encoding import Encoding
from nrc_tracer.nn.encodings.grid import GridEncoding
from nrc_tracer.nn.fused.plan import GridColumns
from nrc_tracer.nn.gradients import GradientSink


@dataclass(frozen=True)
class Inputs:
    """The inputs of a fused network.

    Attributes:
        features: float32 [N, n_input_dims], or None where a grid makes all of them.
        x: Inputs of the grid, float32 [N, n_dims], or None without a grid.
        table: Parameters of the grid, float32, or None without a grid.
    """

    features: Tensor | None
    x: Tensor | None = None
    table: Tensor | None = None

    def __len__(self) -> int:
        given = self.x if self.features is None else self.features
        return 0 if given is None else len(given)


@dataclass(frozen=True)
class FusedGrid:
    """The grid that is encoded inside the kernels.

    Attributes:
        encoding: The whole encoding, of which the grid is a part, or the grid itself.
        width: Columns of the encoding's output, padding included.
        grid: The grid.
        inputs: Its columns of the model's input.
        own: Its parameters among those of the whole encoding.
        columns: Its columns among the network's inputs, and whether others are read from memory.
    """

    encoding: Encoding
    width: int
    grid: GridEncoding
    inputs: slice
    own: slice
    columns: GridColumns

    @staticmethod
    def of(encoding: Encoding, width: int) -> FusedGrid | None:
        """The grid with the most features in an encoding that can be encoded inside the kernels, or None."""
        if isinstance(encoding, GridEncoding):
            inputs, own = slice(0, encoding.n_input_dims), slice(0, encoding.n_params)
            return FusedGrid(encoding, width, encoding, inputs, own, _columns(encoding, 0, others=False))
        if not isinstance(encoding, CompositeEncoding) or not encoding.concatenated:
            return None
        # A lane holds two neighbouring columns of one level
        fitting = [
            (part, inputs, own, columns)
            for part, inputs, own, columns in encoding.parts(width)
            if isinstance(part, GridEncoding) and (part.n_features == 1 or columns.start % 2 == 0)
        ]
        if not fitting:
            return None
        grid, inputs, own, columns = max(fitting, key=lambda part: part[0].n_output_dims)
        return FusedGrid(encoding, width, grid, inputs, own, _columns(grid, columns.start, others=True))

    @property
    def alone(self) -> bool:
        """Whether the grid has all parameters of the encoding."""
        return self.grid.n_params == self.encoding.n_params

    def encode(self, launcher: TorchLauncher, x: Tensor, own: Tensor) -> Inputs:
        """The network's inputs for the model's inputs x [N, n_input_dims]. All but the grid is encoded into memory now."""
        features = None
        if self.columns.others:
            features = x.new_empty(len(x), self.width)
            for encoding, inputs, params, columns in self._all():
                if encoding is self.grid:
                    features[:, columns.start + encoding.n_output_dims : columns.stop] = encoding.padding_value
                else:
                    encoding.forward(launcher, x[:, inputs], own[params], features[:, columns])
        return Inputs(features, x[:, self.inputs], own[self.own])

    def backward_others(
        self, launcher: TorchLauncher, x: Tensor, own: Tensor, d_features: Tensor, sink: GradientSink
    ) -> None:
        """Add the gradients of all parameters except those of the grid."""
        for encoding, inputs, params, columns in self._all():
            if encoding is not self.grid and encoding.n_params:
                part = sink.part(params)
                encoding.backward_params(launcher, x[:, inputs], own[params], d_features[:, columns], part)

    def _all(self) -> Iterator[tuple[Encoding, slice, slice, slice]]:
        return self.encoding.parts(self.width) if isinstance(self.encoding, CompositeEncoding) else iter(())


def _columns(grid: GridEncoding, begin: int, *, others: bool) -> GridColumns:
    return GridColumns(grid.n_input_dims, grid.n_features, len(grid.levels), begin, others)
