"""Networks: their definition, and its blocked implementation, forward and backward."""

import numpy as np
import pytest
import torch

from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.activations import ACTIVATIONS
from nrc_tracer.nn.blocked_mlp import BLOCK, BlockedMlp
from nrc_tracer.nn.initialization import Pcg32
from nrc_tracer.nn.mlp import Mlp
from tests.nn import oracle
from tests.nn.samples import make_launcher, relative, same_bits, uniform

SHAPES = {
    "fused": {"otype": "FullyFusedMLP", "n_neurons": 32, "n_hidden_layers": 2},
    "odd": {"otype": "CutlassMLP", "n_neurons": 23, "n_hidden_layers": 3},
    "one-neuron": {"otype": "CutlassMLP", "n_neurons": 1, "n_hidden_layers": 1},
    "matrix": {"otype": "CutlassMLP", "n_neurons": 64, "n_hidden_layers": 0},
}


def make_mlp(config, n_in=32, n_out=3):
    return Mlp(configuration.read_network(config), n_in, n_out)


def weights_of(mlp, scale=1.0):
    return torch.from_numpy(mlp.initialize(Pcg32(1))) * scale


@pytest.mark.parametrize("n_out", [1, 16, 17])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes_and_values_agree_with_the_oracle(name, n_out):
    """Matrices are in order and row-major, with outputs padded to 16; the definition agrees in float64, and blocks in float32."""
    mlp = make_mlp(SHAPES[name], n_out=n_out)
    assert mlp.shapes == oracle.network_shapes(SHAPES[name], 32, n_out)
    assert mlp.padded_output_dims == -(-n_out // 16) * 16
    x, params = uniform(50, 32, low=-1.0), weights_of(mlp)
    expected = oracle.network(SHAPES[name], 32, mlp.padded_output_dims, params.numpy(), x.numpy())
    np.testing.assert_allclose(mlp.reference(x.double(), params.double()), expected, rtol=1e-12, atol=1e-14)
    found = BlockedMlp(mlp, make_launcher(), torch.float32).infer(x, params)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_agree_with_the_oracle(name):
    """Large and small values agree in float64."""
    z = torch.cat([uniform(200, low=-4.0, high=4.0), torch.tensor([0.0, 50.0, -50.0, 1e-8, 300.0, -300.0])]).double()
    if name == "Exponential":
        z = z[z < 100.0]
    expected = oracle.activate(name, z.numpy())
    # Squareplus and Softplus of negative numbers are small differences of large ones
    np.testing.assert_allclose(ACTIVATIONS[name].apply(z), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_backward_of_activations_agrees_with_autograd(name):
    """They only get the values that `keeps_input` requests."""
    z = torch.cat([uniform(200, low=-4.0, high=4.0), torch.tensor([30.0, -30.0, 1e-3])]).double().requires_grad_()
    activation = ACTIVATIONS[name]
    h = activation.apply(z)
    d_h = uniform(*h.shape, low=-1.0, seed=2).double()
    (expected,) = torch.autograd.grad(h, z, d_h)
    kept = z.detach() if activation.keeps_input else None
    found = activation.backward(d_h, kept, h.detach())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "Exponential"])
def test_activations_of_large_halves_stay_finite(name, dtype):
    """Values and gradients stay finite up to a hundredth of the largest half; only an exponential may be infinite."""
    activation = ACTIVATIONS[name]
    z = torch.tensor([-600.0, -26.0, -1.0, 0.0, 1.0, 26.0, 600.0], dtype=dtype)
    h = activation.apply(z)
    d_z = activation.backward(torch.ones_like(z), z if activation.keeps_input else None, h)
    expected = oracle.activate(name, z.double().numpy())
    if name != "Sine":  # an argument this large has no meaning in half
        np.testing.assert_allclose(h.double(), expected, rtol=2e-2, atol=2e-2)
    assert torch.isfinite(d_z).all()
    assert d_z.abs().max() <= 1.25  # SiLU's slope is up to 1.1


@pytest.mark.parametrize("output_activation", ["None", "Sigmoid", "SiLU"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_blocked_backward_agrees_with_autograd(activation, output_activation):
    """All activations of hidden and output layers, over two and a half blocks; gradients agree to 1e-5 in relative norm."""
    config = SHAPES["fused"] | {"activation": activation, "output_activation": output_activation}
    mlp = make_mlp(config)
    n = 2 * BLOCK + 7
    x = uniform(n, 32, low=-1.0).double().requires_grad_()
    # Exponentials of exponentials grow fast, and sines start with the widest matrix
    params = weights_of(mlp, {"Exponential": 0.2}.get(activation, 1.0)).double().requires_grad_()
    d_out = uniform(n, mlp.padded_output_dims, low=-1.0, seed=2)
    y = mlp.reference(x, params)
    expected = torch.autograd.grad(y, (x, params), d_out.double())

    blocked = BlockedMlp(mlp, make_launcher(), torch.float32)
    out, kept = blocked.forward(x.detach().float(), params.detach().float())
    assert relative(out, y.detach()) < 1e-5
    assert same_bits(out, blocked.infer(x.detach().float(), params.detach().float()))
    d_params = torch.full((mlp.n_params,), torch.nan)
    d_x = blocked.backward(d_out, kept, params.detach().float(), d_params)
    assert relative(d_x, expected[0]) < 1e-5
    assert relative(d_params, expected[1]) < 1e-5


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n", [0, 1, 100, BLOCK, BLOCK + 1, 3 * BLOCK - 1])
def test_threads_do_not_change_a_bit(n, precision):
    """Blocks have a fixed size, and their gradients are added in order."""
    mlp = make_mlp(SHAPES["odd"] | {"activation": "SiLU"}, 16)
    params, x = weights_of(mlp), uniform(n, 16, low=-1.0)
    d_out = uniform(n, mlp.padded_output_dims, low=-1.0, seed=2)

    def everything(threads):
        from nrc_tracer.device.torch_launcher import single_threaded_torch

        blocked = BlockedMlp(mlp, make_launcher(threads), precision)
        with single_threaded_torch(blocked.launcher):
            out, kept = blocked.forward(x, params)
            d_params = torch.full((mlp.n_params,), torch.nan)
            d_x = blocked.backward(d_out, kept, params, d_params)
            return out, blocked.infer(x, params), d_x, d_params

    alone = everything(1)
    assert all(torch.isfinite(value).all() for value in alone)
    for threads in (2, 3):
        for value, expected in zip(everything(threads), alone, strict=True):
            assert same_bits(value, expected)


def test_unneeded_gradients_are_not_computed():
    """The gradient of the input is only computed if it is needed."""
    mlp = make_mlp(SHAPES["odd"])
    blocked, params = BlockedMlp(mlp, make_launcher(), torch.float32), weights_of(mlp)
    out, kept = blocked.forward(uniform(10, 32), params)
    assert blocked.backward(torch.ones_like(out), kept, params, torch.empty_like(params), need_input=False) is None
