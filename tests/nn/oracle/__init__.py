"""A slow second implementation of `nrc_tracer.nn` in NumPy, for its tests to compare against.

It is written from the specification and tiny-cuda-nn's headers alone and imports nothing of the package, so that a mistake
in one is not in the other. The arguments that decide which cell or period a number falls into are formed in float32 as
tiny-cuda-nn forms them; everything after is float64.
"""

from .encodings import encode, n_params, output_dims
from .grid import Level, grid_levels
from .initialization import Pcg32, initial_parameters
from .losses import loss
from .networks import activate, network, network_shapes
from .optimizers import optimizer

__all__ = [
    "Level",
    "Pcg32",
    "activate",
    "encode",
    "grid_levels",
    "initial_parameters",
    "loss",
    "n_params",
    "network",
    "network_shapes",
    "optimizer",
    "output_dims",
]
