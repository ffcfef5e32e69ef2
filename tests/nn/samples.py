"""Small models and batches for several tests."""

import numpy as np
import torch

from nrc_tracer.device.launch import initialize
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.encodings.build import build_encoding
from nrc_tracer.nn.model import Model

# b = 1.45: no scale is an integer, so an ulp of it does not move a point to the next cell
GRID = {
    "otype": "HashGrid",
    "n_levels": 5,
    "n_features_per_level": 2,
    "log2_hashmap_size": 9,
    "base_resolution": 4,
    "per_level_scale": 1.45,
}
SMOOTH = GRID | {"interpolation": "Smoothstep"}
NETWORK = {"otype": "FullyFusedMLP", "n_neurons": 64, "n_hidden_layers": 4}
SMALL = {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 2}
SOFT = SMALL | {"activation": "Softplus"}
EMA = {"otype": "Ema", "decay": 0.9, "nested": {"otype": "Adam", "learning_rate": 1e-2, "epsilon": 1e-10}}


def make_model(encoding=GRID, network=SMALL, n_input_dims=3, n_output_dims=3, **options):
    """A model on the CPU; `loss` and `optimizer` are given as options."""
    config = {"encoding": encoding, "network": network}
    config |= {key: options.pop(key) for key in ("loss", "optimizer") if key in options}
    options = {"precision": "float32", "threads": 2} | options
    return Model(n_input_dims, n_output_dims if network else None, config, device="cpu", **options)


def make_encoding(encoding, n_input_dims):
    return build_encoding(configuration.read_encoding(encoding), n_input_dims)


def make_launcher(threads=2):
    initialize()
    return TorchLauncher("cpu", threads=threads)


def uniform(*shape, low=0.0, high=1.0, seed=0):
    """A float32 tensor of uniform random numbers with the given shape."""
    values = np.random.default_rng(seed).uniform(low, high, shape)
    return torch.from_numpy(np.atleast_1d(values).astype(np.float32)).reshape(shape)


def spread_params(model, seed=5):
    """A model's initial parameters, with grids enlarged to the size of inputs so that every term of a gradient matters."""
    split = model.structure.n_matrix_params
    params = model.params.clone()
    params[split:] = uniform(model.n_params - split, low=-1.0, seed=seed)
    return params


def relative(value, expected):
    """Relative distance in the L2 norm."""
    return float((value.double() - expected.double()).norm() / expected.double().norm())


def same_bits(a, b):
    """Whether two float32 tensors are equal to the last bit, including NaN and the signs of zeros."""
    return a.shape == b.shape and torch.equal(a.contiguous().view(torch.int32), b.contiguous().view(torch.int32))
