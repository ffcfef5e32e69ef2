"""Fused networks on the CPU: kernels compiled without optimization in a tenth of the time, a check for waiting, a reference."""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.fused.backward import backward_kernel
from nrc_tracer.nn.fused.forward import forward_kernel
from nrc_tracer.nn.fused.network import FusedMlp
from nrc_tracer.nn.initialization import Pcg32
from nrc_tracer.nn.mlp import Mlp


def make_mlp(width=64, n_hidden_layers=2, n_in=32, n_out=3, activation="ReLU", output_activation="None"):
    config = {"otype": "FullyFusedMLP", "n_neurons": width, "n_hidden_layers": n_hidden_layers}
    config |= {"activation": activation, "output_activation": output_activation}
    return Mlp(configuration.read_network(config), n_in, n_out)


def weights_of(mlp, scale=1.0):
    return torch.from_numpy(mlp.initialize(Pcg32(1))) * scale


@contextmanager
def quickly_compiled(*networks: FusedMlp):
    """Compile without optimization on the CPU. Modules share their options with CUDA, so the options are restored."""
    modules = {forward_kernel(fused.forward_variant).kernel.module for fused in networks}
    modules |= {backward_kernel(fused.backward_variant).kernel.module for fused in networks}
    before = {module: module.options["optimization_level"] for module in modules}
    for module in modules:
        module.options["optimization_level"] = 0
    try:
        yield networks[0]
    finally:
        for module, level in before.items():
            module.options["optimization_level"] = level


class NoSynchronization(TorchDispatchMode):
    """Fails where torch would wait for a GPU: reading numbers, and results whose size depends on values in memory."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "item", "is_nonzero", "equal")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function.overloadpacket.__name__.removeprefix("aten::") not in self.FORBIDDEN, function
        return function(*args, **kwargs or {})


def half(values):
    """The values rounded to half, in float64."""
    return values.half().double()


def rounded_reference(mlp, x, params, d_out):
    """Output and gradients in float64 with the operands of products rounded to half, which the kernels should reproduce.

    Returns:
        Output [N, n_output_dims], gradient of the input [N, n_input_dims], of the weights [n_params].
    """
    *hidden, last = matrices = mlp.matrices(half(params))
    layers = [half(x)]
    for matrix in hidden:
        layers.append(half(mlp.activation.apply(layers[-1] @ matrix.T)))
    y = mlp.output_activation.apply(layers[-1] @ last.T)
    padded = torch.zeros_like(y)
    padded[:, : mlp.n_output_dims] = d_out
    d_z = half(mlp.output_activation.backward(padded, None, y))
    d_params = []
    for layer in reversed(range(len(matrices))):
        d_params.insert(0, (d_z.T @ layers[layer]).flatten())
        d_h = d_z @ matrices[layer]
        if layer:
            d_z = half(mlp.activation.backward(d_h, None, layers[layer]))
    return y[:, : mlp.n_output_dims], d_h, torch.cat(d_params)


def unsure_rows(mlp, x, params, margin=1e-5):
    """Rows with a hidden neuron so close to a kink of its activation that the order of a sum decides the side, bool [N]."""
    h, unsure = half(x), torch.zeros(len(x), dtype=torch.bool)
    for matrix in mlp.matrices(half(params))[:-1]:
        z = h @ matrix.T
        unsure |= (z.abs() < margin).any(dim=1)
        h = half(mlp.activation.apply(z))
    return unsure
