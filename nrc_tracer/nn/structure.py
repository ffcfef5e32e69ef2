"""The parts of a model, and the layout of its flat parameters: first the network's, then the encoding's."""

from __future__ import annotations

import torch
from torch import Tensor

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.encodings.build import build_encoding
from nrc_tracer.nn.encodings.encoding import Encoding
from nrc_tracer.nn.initialization import Pcg32
from nrc_tracer.nn.mlp import ALIGNMENT, Mlp
from nrc_tracer.nn.radiance_field import RadianceField


class Structure:
    """An encoding and the network after it, or an encoding alone.

    Args:
        n_input_dims: Input columns.
        n_output_dims: Output columns; may be None for an encoding alone.
        encoding: Configuration of the encoding.
        network: Configuration of the network, None for an encoding alone.

    Attributes:
        encoding: The encoding.
        mlp: The network; a `RadianceField` if the configuration has its two networks, None for an encoding alone.
        width: Columns of the encoding's output, padding included.
        n_output_dims: Output columns.
        n_matrix_params: Number of parameters of the network.
        n_params: Number of all parameters.

    Raises:
        ConfigError: The parts do not fit together.
    """

    def __init__(
        self,
        n_input_dims: int,
        n_output_dims: int | None,
        encoding: configuration.Encoding,
        network: configuration.Network | configuration.RadianceField | None,
    ) -> None:
        for name, value in (("n_input_dims", n_input_dims), ("n_output_dims", n_output_dims)):
            if isinstance(value, bool) or not isinstance(value, int | None) or (value is not None and value < 1):
                raise ConfigError(f"{name}: expected an integer of at least 1, got {value!r}")
        self.n_input_dims = n_input_dims
        self.encoding = build_encoding(encoding, n_input_dims)
        if network is None:
            if n_output_dims not in (None, self.encoding.n_output_dims):
                raise ConfigError(
                    f"n_output_dims: an encoding alone has {self.encoding.n_output_dims} outputs, got {n_output_dims}; "
                    "give a network, or leave it out"
                )
            self.mlp: Mlp | RadianceField | None = None
            self.width = self.n_output_dims = self.encoding.n_output_dims
        else:
            if n_output_dims is None:
                raise ConfigError("n_output_dims: needed for a model with a network")
            self.width = self.encoding.width(ALIGNMENT)
            if isinstance(network, configuration.RadianceField):
                self.mlp = RadianceField(network, self.encoding, self.width, n_output_dims)
            else:
                self.mlp = Mlp(network, self.width, n_output_dims)
            self.n_output_dims = n_output_dims
        self.n_matrix_params = self.mlp.n_params if self.mlp else 0
        self.n_params = self.n_matrix_params + self.encoding.n_params

    def initial_params(self, seed: int) -> Tensor:
        """The parameters that tiny-cuda-nn draws for a seed, float32 [n_params], on the CPU."""
        generator = Pcg32(seed)
        parts = [self.mlp.initialize(generator)] if self.mlp else []
        parts.append(self.encoding.initialize(generator))
        return torch.cat([torch.from_numpy(part) for part in parts])

    def split(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Views of the network's and of the encoding's parameters."""
        weights, own = params.split([self.n_matrix_params, self.n_params - self.n_matrix_params])
        return weights, own

    @property
    def radiance_field(self) -> RadianceField:
        """The two networks of a radiance field.

        Raises:
            ConfigError: The model has another network, or none.
        """
        if not isinstance(self.mlp, RadianceField):
            raise ConfigError('density: only a model whose network is a "RadianceField" has one')
        return self.mlp

    def density_parts(self, params: Tensor) -> tuple[Encoding, Tensor, Tensor]:
        """The parts of a radiance field that give its density.

        Returns:
            The encoding of positions, its parameters, and those of the density network.

        Raises:
            ConfigError: The model is not a radiance field.
        """
        field = self.radiance_field
        weights, own = self.split(params)
        return field.position_encoding, own[: field.position_encoding.n_params], field.split(weights)[0]

    def reference(self, x: Tensor, params: Tensor) -> Tensor:
        """The output [N, n_output_dims] by plain torch operations, in the precision of `params`."""
        weights, features = self.split(params)
        y = self.encoding.reference(x, features, self.width)
        return y if self.mlp is None else self.mlp.reference(y, weights)[:, : self.n_output_dims]
