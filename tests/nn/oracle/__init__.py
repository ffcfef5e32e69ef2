"""A slow second implementation of `nrc_tracer.nn` in NumPy, with which the tests compare it.

It was written only from the specification and tiny-cuda-nn's headers and imports nothing from the package, so that a mistake in
one is not in the other. Arguments that decide the cell or period of a number are computed in float32, as in tiny-cuda-nn;
everything after that is float64.
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
