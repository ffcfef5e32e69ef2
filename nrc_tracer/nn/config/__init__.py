"""Configurations of models: tiny-cuda-nn's JSON, and instant-ngp's dialect of it.

`read_model` returns frozen parts from a file or from data; `read_document` returns the data of a file, without comments and with
parents merged. Loads neither torch nor Warp.
"""

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.config.dialects import growth_factor
from nrc_tracer.nn.config.document import merge_patch, read_document
from nrc_tracer.nn.config.encodings import (
    Composite,
    Empty,
    Encoding,
    Frequency,
    Grid,
    Identity,
    Nested,
    OneBlob,
    SphericalHarmonics,
    TriangleWave,
    check_input_dims,
    input_slices,
)
from nrc_tracer.nn.config.model import Loss, ModelConfig, Network, RadianceField, networks
from nrc_tracer.nn.config.optimizers import (
    SGD,
    Adam,
    Average,
    Batched,
    CompositeOptimizer,
    Ema,
    ExponentialDecay,
    Lookahead,
    NestedOptimizer,
    Optimizer,
)
from nrc_tracer.nn.config.reader import ConfigWarning
from nrc_tracer.nn.config.reading import (
    read_encoding,
    read_loss,
    read_model,
    read_network,
    read_optimizer,
)
from nrc_tracer.nn.config.writing import to_json

__all__ = [
    "SGD",
    "Adam",
    "Average",
    "Batched",
    "Composite",
    "CompositeOptimizer",
    "ConfigError",
    "ConfigWarning",
    "Ema",
    "Empty",
    "Encoding",
    "ExponentialDecay",
    "Frequency",
    "Grid",
    "Identity",
    "Lookahead",
    "Loss",
    "ModelConfig",
    "Nested",
    "NestedOptimizer",
    "Network",
    "OneBlob",
    "Optimizer",
    "RadianceField",
    "SphericalHarmonics",
    "TriangleWave",
    "check_input_dims",
    "growth_factor",
    "input_slices",
    "merge_patch",
    "networks",
    "read_document",
    "read_encoding",
    "read_loss",
    "read_model",
    "read_network",
    "read_optimizer",
    "to_json",
]
