"""Multilayer perceptrons without biases: shapes, initial weights and the definition in torch."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from nrc_tracer.nn.activations import ACTIVATIONS

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration
    from nrc_tracer.nn.initialization import Pcg32

ALIGNMENT = 16
"""Widths of input and output are padded to multiples of this."""


class Mlp:
    """`n_hidden_layers` layers of `n_neurons` and an output layer, without biases.

    Weights are row-major matrices [out, in], in the order of the layers.

    Args:
        config: The network's configuration.
        n_input_dims: Input width, a multiple of ALIGNMENT.
        n_output_dims: Output width without padding.
    """

    def __init__(self, config: configuration.Network, n_input_dims: int, n_output_dims: int) -> None:
        self.config = config
        self.n_input_dims = n_input_dims
        self.n_output_dims = n_output_dims
        self.padded_output_dims = -(-n_output_dims // ALIGNMENT) * ALIGNMENT
        self.activation = ACTIVATIONS[config.activation]
        self.output_activation = ACTIVATIONS[config.output_activation]
        widths = [n_input_dims, *[config.n_neurons] * config.n_hidden_layers, self.padded_output_dims]
        self.shapes = [(rows, columns) for columns, rows in itertools.pairwise(widths)]
        self.n_params = sum(rows * columns for rows, columns in self.shapes)

    def matrices(self, params: Tensor) -> list[Tensor]:
        """Views of the weights, each [out, in], in flat parameters [n_params]."""
        sizes = [rows * columns for rows, columns in self.shapes]
        parts = params.split(sizes)
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def initialize(self, generator: Pcg32) -> np.ndarray:
        """Draw the initial weights, float32 [n_params], as Xavier does, or with Sine as SIREN does (Sitzmann et al. 2020)."""
        parts = []
        for index, (rows, columns) in enumerate(self.shapes):
            if self.config.activation != "Sine":
                bound = np.sqrt(np.float32(6.0) / np.float32(rows + columns))
            elif index == 0:
                bound = np.float32(30.0) / np.float32(columns)
            else:
                bound = np.sqrt(np.float32(6.0) / np.float32(columns))
            parts.append(generator.symmetric_floats(rows * columns, bound))
        return np.concatenate(parts)

    def reference(self, x: Tensor, params: Tensor) -> Tensor:
        """The padded output [N, padded_output_dims] by plain torch operations, in the precision of `params`."""
        *hidden, last = self.matrices(params)
        for matrix in hidden:
            x = self.activation.apply(x @ matrix.T)
        return self.output_activation.apply(x @ last.T)
