"""The two networks of a radiance field as one: density at a position, then colour in a direction.

Mueller, Evans, Schied, Keller, *Instant Neural Graphics Primitives with a Multiresolution Hash Encoding* (2022), section 5.4.
"""

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
"""Number of outputs of the density network, all of which are inputs of the colour network."""

OUTPUTS = 4
"""Number of outputs of both: red, green, blue and density."""


class RadianceField:
    """A density network and a colour network, with the interface of one `Mlp`.

    Inputs are the features of a position and of a direction side by side. Outputs are red, green, blue and density, each before
    the activation that volume rendering applies. The density network's parameters come first, as in instant-ngp.

    Args:
        config: The configuration of both networks.
        encoding: The encoding of the inputs, a Composite of two encodings.
        n_input_dims: Width of the encoding with padding.
        n_output_dims: Must be 4.

    Attributes:
        position_encoding: The encoding of positions.
        position_width: Number of features of a position.
        density: The density network.
        rgb: The colour network.

    Raises:
        ConfigError: The encoding or the number of outputs does not fit.
    """

    def __init__(
        self, config: configuration.RadianceField, encoding: Encoding, n_input_dims: int, n_output_dims: int
    ) -> None:
        if n_output_dims != OUTPUTS:
            raise ConfigError(
                f"n_output_dims: a RadianceField has {OUTPUTS} outputs, colour and density, got {n_output_dims}"
            )
        if not isinstance(encoding, CompositeEncoding) or not encoding.concatenated or len(encoding.nested) != 2:
            raise ConfigError(
                "encoding: a RadianceField needs a Composite of two encodings, first of the position, then of the direction"
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
        """Views of the parameters of the density network and of the colour network."""
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
