"""A small model whose gradients list the touched entries of a grid, as in training on the CPU."""

import torch

from nrc_tracer.device.launch import initialize
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn import config
from nrc_tracer.nn.encodings.grid import GridEncoding
from nrc_tracer.nn.gradients import Gradient, GradientSink, ListedGrid
from nrc_tracer.nn.optimizers.build import build_optimizer
from nrc_tracer.nn.regions import Regions

N_MATRIX = 300


def launcher(threads=1):
    initialize()
    return TorchLauncher("cpu", threads=threads)


class GridModel:
    """300 matrix parameters and a grid; the gradient is NaN wherever nothing was touched, which reveals any read there."""

    def __init__(self, threads=1):
        self.launcher = launcher(threads)
        self.grid = GridEncoding(
            config.Grid(n_levels=3, n_features_per_level=2, log2_hashmap_size=13, base_resolution=24), 2
        )
        self.n_params = N_MATRIX + self.grid.n_params
        self.params = torch.randn(self.n_params, generator=torch.Generator().manual_seed(1))
        self.regions = Regions(self.grid.layout, self.launcher.device, threads, listed=True)
        self.flat = torch.full((self.n_params,), torch.nan)

    def optimizer(self, optimizer_config):
        return build_optimizer(optimizer_config, self.n_params, N_MATRIX, self.launcher)

    def gradient(self, step, n_points):
        """The listed gradient of a step, equal for equal arguments. Every second feature is zero in the last level."""
        generator = torch.Generator().manual_seed(step)
        self.flat[:N_MATRIX] = torch.randn(N_MATRIX, generator=generator)
        x = torch.rand(n_points, 2, generator=generator)
        d_out = torch.randn(n_points, self.grid.n_output_dims, generator=generator)
        d_out[:, -1] = 0.0
        self.regions.begin_step()
        sink = GradientSink(self.flat[N_MATRIX:], {self.grid.layout: self.regions})
        self.grid.backward_params(self.launcher, x, self.params[N_MATRIX:], d_out, sink)
        listed = ListedGrid(N_MATRIX, self.regions)
        return Gradient(self.flat, N_MATRIX, [listed])

    def dense_gradient(self, step, n_points):
        return Gradient(self.gradient(step, n_points).dense(), N_MATRIX)

    def is_touched(self):
        """Which parameters belong to matrices or to listed entries in the last gradient, bool [n_params]."""
        touched = torch.zeros(self.n_params, dtype=torch.bool)
        touched[:N_MATRIX] = True
        for stretch in self.regions.stretches():
            touched[N_MATRIX:].view(-1, 2)[self.regions.entries(stretch)] = True
        return touched


def tensors(state):
    """All tensors of a state, nested ones included."""
    for value in state.values():
        if isinstance(value, dict):
            yield from tensors(value)
        elif isinstance(value, torch.Tensor):
            yield value


def assert_same_state(a, b):
    assert a.keys() == b.keys()
    for key, value in a.items():
        if isinstance(value, dict):
            assert_same_state(value, b[key])
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, b[key]), key
        else:
            assert value == b[key], key
