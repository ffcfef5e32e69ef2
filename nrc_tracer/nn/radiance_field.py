"""The two networks of a radiance field as one: density at a position, then colour in a direction (Mueller et al. 2022, 5.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.encodings.composite import CompositeEncoding
from nrc_tracer.nn.mlp import ALIGNMENT, Mlp

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration
    from nrc_tracer.nn.encodings.encoding import Encoding
    from nrc_tracer.nn.initialization import Pcg32

DENSITY_OUTPUTS = 16
"""Outputs of the density network, all of them inputs of the colour network."""
OUTPUTS = 4


class RadianceField:
    """A density network and a colour network, with the interface of one `Mlp`.

    Inputs are the features of a position and of a direction side by side, outputs red, green, blue and density, each before the
    activation that volume rendering gives it. Parameters are the density network's, then the colour network's, as instant-ngp
    has them.

    Args:
        config: The configuration of both.
        encoding: What makes the features: a Composite of two encodings.
        n_input_dims: Its width with padding.
        n_output_dims: 4.

    Raises:
        ConfigError: Encoding or outputs do not fit.
    """

    def __init__(
        self, config: configuration.RadianceField, encoding: Encoding, n_input_dims: int, n_output_dims: int
    ) -> None:
        if n_output_dims != OUTPUTS:
            raise ConfigError(f"n_output_dims: a RadianceField has {OUTPUTS}, colour and density, got {n_output_dims}")
        if not isinstance(encoding, CompositeEncoding) or not encoding.concatenated or len(encoding.nested) != 2:
            raise ConfigError(
                "encoding: a RadianceField takes a Composite of two, the first of the position, the second of the direction"
            )
        self.config = config
        self.position_encoding = encoding.nested[0]
        self.n_input_dims = n_input_dims
        self.n_output_dims = self.padded_output_dims = OUTPUTS
        self.position_width = encoding.first_column(1)
        if self.position_width % ALIGNMENT:
            raise ConfigError(
                f"encoding.nested[0]: expected a multiple of {ALIGNMENT} features for the density network, "
                f"got {self.position_width}"
            )
        self.density = Mlp(config.density, self.position_width, DENSITY_OUTPUTS)
        self.rgb = Mlp(config.rgb, DENSITY_OUTPUTS + n_input_dims - self.position_width, OUTPUTS - 1)
        self.n_params = self.density.n_params + self.rgb.n_params

    def split(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Views of the density network's and of the colour network's parameters."""
        density, rgb = params.split([self.density.n_params, self.rgb.n_params])
        return density, rgb

    def initialize(self, generator: Pcg32) -> np.ndarray:
        """Draw the initial weights, float32 [n_params]."""
        return np.concatenate([self.density.initialize(generator), self.rgb.initialize(generator)])

    def reference(self, x: Tensor, params: Tensor) -> Tensor:
        """The output [N, 4] by plain torch operations, in the precision of `params`."""
        density, rgb = self.split(params)
        hidden = self.density.reference(x[:, : self.position_width], density)
        color = self.rgb.reference(torch.cat([hidden, x[:, self.position_width :]], dim=1), rgb)
        return torch.cat([color[:, : OUTPUTS - 1], hidden[:, :1]], dim=1)
