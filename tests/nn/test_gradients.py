"""First and second gradients of whole models, by backends, autograd and lists, compared with the float64 reference."""

import numpy as np
import pytest
import torch

from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.backends.warp import WarpBackend
from nrc_tracer.nn.blocked_mlp import BLOCK
from nrc_tracer.nn.structure import Structure
from nrc_tracer.nn.touched_lists import ListOrder
from tests.nn.samples import (
    GRID,
    NETWORK,
    SMOOTH,
    SOFT,
    make_launcher,
    make_model,
    relative,
    same_bits,
    spread_params,
    uniform,
)

DEEP = NETWORK | {"n_hidden_layers": 5}
# For float32, and for half and bfloat16, where ReLU masks flip: errors of outputs by max |y|, weights, inputs and grid
LIMITS = {
    "float32": (1e-5, 1e-5, 1e-5),
    "bfloat16": (2e-2, 3e-2, 0.15),
    "float16": (2e-2, 3e-2, 0.06),
}
TWO_GRIDS = {
    "otype": "Composite",
    "nested": [SMOOTH | {"n_dims_to_encode": 2}, {"otype": "OneBlob", "n_bins": 8, "n_dims_to_encode": 1}, GRID],
}
ENCODINGS = {
    "linear": GRID,
    "smoothstep": SMOOTH,
    "one_blob": {"otype": "OneBlob", "n_bins": 8},
    "frequency": {"otype": "Frequency", "n_frequencies": 4},
    "waves": {"otype": "TriangleWave", "n_frequencies": 4},
    "harmonics": {"otype": "SphericalHarmonics", "degree": 4},
    "identity": {"otype": "Identity"},
    "composite": {
        "otype": "Composite",
        "nested": [SMOOTH | {"n_dims_to_encode": 2}, {"otype": "OneBlob", "n_bins": 8}],
    },
}


def same_models(encoding=GRID, network=DEEP, n_input_dims=3, **options):
    """A model with kernels, and the float64 reference with the same parameters."""
    model = make_model(encoding, network, n_input_dims, **options)
    judge = make_model(encoding, network, n_input_dims, backend="reference", precision="float64")
    model.set_params(spread_params(model))
    judge.set_params(model.params)
    return model, judge


def linear_loss(weights):
    """A loss whose gradient does not depend on the prediction."""
    return lambda y: ((y * weights).sum(), weights.to(y.dtype))


def gradients(model, x, weights, dtype=torch.float32):
    """The output, and the gradients of input and parameters by autograd."""
    x = x.clone().requires_grad_()
    params = model.params.to(dtype).requires_grad_()
    y = model.apply(x, params)
    return y.detach(), *torch.autograd.grad(y, (x, params), weights.to(y.dtype))


def l2_weights(y, x):
    """Gradient of the mean squared distance between outputs and a smooth function, as in training."""
    target = torch.stack([torch.sin(6 * x.sum(dim=1)), torch.cos(5 * x[:, 0]), x[:, 1]], dim=1)
    return (2.0 * (y - target) / y.numel()).float()


@pytest.mark.parametrize("activation", ["ReLU", "SiLU", "Softplus"])
@pytest.mark.parametrize("precision", LIMITS)
def test_a_deep_network_is_near_the_reference(precision, activation):
    """Outputs and gradients of five hidden layers of 64, by autograd and by the backend's own pass.

    With ReLU, errors are within the specified limits; without its kinks they come only from the twelve roundings of weights and
    layers, half an ulp each.
    """
    model, judge = same_models(network=DEEP | {"activation": activation}, precision=precision)
    split = model.structure.n_matrix_params
    if activation == "ReLU":
        outputs, matrices, others = LIMITS[precision]
        model.params[split:] *= 0.1  # with these parameters no unit is within float32 rounding of its kink
        judge.set_params(model.params)
    else:
        outputs = matrices = others = max(12 * torch.finfo(getattr(torch, precision)).eps / 2, 1e-5)
    x = uniform(3 * BLOCK // 2, 3)
    scale = 1024.0 if precision == "float16" else 1.0
    weights = l2_weights(judge(x), x)
    y, d_x, d_params = gradients(model, x, weights * scale)
    expected_y, expected_x, expected = gradients(judge, x, weights, torch.float64)
    assert (y - expected_y).abs().max() < outputs * expected_y.abs().max()
    assert torch.equal(model(x), y)
    assert relative(d_x / scale, expected_x) < others
    _, gradient = model.backend.gradient(x, model.params, linear_loss(weights), loss_scale=scale)
    for found in (d_params / scale, gradient.dense()):
        assert relative(found[:split], expected[:split]) < matrices
        assert relative(found[split:], expected[split:]) < others


@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings_before_a_network(name):
    """The float32 limit holds for every encoding, and the backend's own pass gives the bits of autograd."""
    model, judge = same_models(ENCODINGS[name], SOFT)
    x, weights = uniform(700, 3), uniform(700, 3, low=-1.0, seed=2)
    y, d_x, d_params = gradients(model, x, weights)
    expected_y, expected_x, expected = gradients(judge, x, weights, torch.float64)
    assert (y - expected_y).abs().max() < 1e-5 * expected_y.abs().max()
    assert relative(d_x, expected_x) < 1e-5
    assert relative(d_params, expected) < 1e-5
    loss, gradient = model.backend.gradient(x, model.params, linear_loss(weights))
    assert torch.equal(gradient.dense(), d_params)
    # A sum of 2100 terms
    assert abs(loss - (expected_y * weights).sum()) < 1e-5 * (expected_y * weights).norm() * 2100**0.5


def test_gradient_of_parameters_agrees_with_finite_differences():
    """The float64 reference is differenced along random directions; h^2 and rounding / h are both below 1e-8 of the gradient."""
    _, judge = same_models(SMOOTH, SOFT)
    x, weights = uniform(100, 3), uniform(100, 3, low=-1.0, seed=2)
    _, _, gradient = gradients(judge, x, weights, torch.float64)
    for seed in range(5):
        along = uniform(judge.n_params, low=-1.0, seed=seed + 10).double()
        up, down = ((judge.apply(x, judge.params.double() + h * along) * weights).sum() for h in (1e-5, -1e-5))
        difference = float(up - down) / 2e-5
        assert abs(float(gradient @ along) - difference) < 1e-7 * float(gradient.norm() * along.norm())


@pytest.mark.parametrize("activation", ["ReLU", "Softplus", "SiLU"])
@pytest.mark.parametrize("name", ENCODINGS)
def test_second_derivatives(name, activation):
    """An eikonal loss and a penalty on the parameters' gradient agree for inputs and parameters to 1e-5 in relative norm."""
    model, judge = same_models(ENCODINGS[name], SOFT | {"activation": activation}, n_output_dims=1)

    def derivatives(model, dtype):
        x = uniform(200, 3).requires_grad_()
        params = model.params.to(dtype).requires_grad_()
        y = model.apply(x, params)
        d_x, d_params = torch.autograd.grad((y**2).sum(), (x, params), create_graph=True)
        penalty = ((d_x.norm(dim=1) - 1.0) ** 2).sum() + 1e-2 * (d_params**2).sum()
        return torch.autograd.grad(penalty, (x, params))

    judge = make_model(
        ENCODINGS[name], SOFT | {"activation": activation}, 3, 1, backend="reference", precision="float64"
    )
    judge.set_params(model.params)
    for found, expected in zip(derivatives(model, torch.float32), derivatives(judge, torch.float64), strict=True):
        assert relative(found, expected) < 1e-5


def test_loss_scale_does_not_change_the_gradient():
    """A power of two in float32 does not change a bit, until something overflows."""
    model, _ = same_models()
    x, weights = uniform(500, 3), uniform(500, 3, low=-1.0, seed=2)
    expected = model.backend.gradient(x, model.params, linear_loss(weights))[1].dense()
    for scale in (128.0, 2.0**-10):
        assert torch.equal(
            model.backend.gradient(x, model.params, linear_loss(weights), loss_scale=scale)[1].dense(), expected
        )
    loss, gradient = model.backend.gradient(x, model.params, linear_loss(weights), loss_scale=3e38)
    assert torch.isfinite(loss)
    assert gradient is None


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("n_levels", [1, 5])
@pytest.mark.parametrize("n", [1, 77, BLOCK + 5])
def test_threads_do_not_change_a_bit(n, n_levels, precision):
    """Output, input gradient, autograd's gradient and the listed one are equal; one level is cut into up to six regions."""
    x, weights = uniform(n, 3), uniform(n, 3, low=-1.0, seed=2)

    def everything(threads):
        model, _ = same_models(SMOOTH | {"n_levels": n_levels}, precision=precision, threads=threads)
        listed = model.backend.gradient(x, model.params, linear_loss(weights))[1].dense()
        return model(x), *gradients(model, x, weights), listed

    alone = everything(1)
    for threads in (2, 3):
        for value, expected in zip(everything(threads), alone, strict=True):
            assert same_bits(value, expected)


def test_lists_of_two_grids_and_batches_that_differ():
    """Levels are listed entirely and in part; nothing remains from the batch before, and other memory is not read."""
    model, _ = same_models(TWO_GRIDS, SOFT, 6)
    for step, n in enumerate((300, 20, 3, 64, 1, 2000, 2)):
        x, weights = uniform(n, 6, seed=step), uniform(n, 3, low=-1.0, seed=step + 50)
        _, _, expected = gradients(model, x, weights)
        _, gradient = model.backend.gradient(x, model.params, linear_loss(weights))
        assert torch.equal(gradient.dense(), expected)
        lists = [[stretch.order is ListOrder.WHOLE for stretch in grid.regions.stretches()] for grid in gradient.listed]
        if n == 20:
            assert all(any(whole) and not all(whole) for whole in lists)
        assert len(lists) == 2
        # Memory outside of the lists may contain anything
        gradient.flat[gradient.n_matrix_params :] = torch.nan
        assert torch.equal(gradient.dense(), expected)


def test_deterministic_mode_gives_the_same_gradient():
    """Sums use integers instead of lists; they include every value and differ from plain sums only by rounding."""
    model = make_model(SMOOTH, SOFT, deterministic=True)
    model.set_params(spread_params(model))
    x, weights = uniform(700, 3), uniform(700, 3, low=-1.0, seed=2)
    _, _, expected = gradients(model, x, weights)
    for _ in range(2):
        _, gradient = model.backend.gradient(x, model.params, linear_loss(weights))
        assert gradient.listed is None
        assert relative(gradient.flat, expected) < 1e-6


def test_gradient_of_an_encoding_alone():
    """Its gradient agrees with the definition, and there are no matrices."""
    encoding = configuration.read_encoding(SMOOTH)
    structure = Structure(3, None, encoding, None)
    backend = WarpBackend(structure, make_launcher(), torch.float32)
    x, weights = uniform(200, 3), uniform(200, structure.n_output_dims, low=-1.0, seed=2)
    params = uniform(structure.n_params, low=-1.0).requires_grad_()
    (expected,) = torch.autograd.grad(structure.reference(x, params.double()), params, weights.double())
    _, gradient = backend.gradient(x, params, linear_loss(weights))
    assert gradient.n_matrix_params == 0
    assert relative(gradient.dense(), expected) < 1e-5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_gradients_that_are_not_finite_are_dropped(bad):
    """The lists of the step before do not change."""
    model, _ = same_models()
    x, weights = uniform(50, 3), uniform(50, 3)
    _, before = model.backend.gradient(x, model.params, linear_loss(weights))
    expected = before.dense()[model.structure.n_matrix_params :].clone()
    x[7, 1] = bad
    loss, gradient = model.backend.gradient(x, model.params, linear_loss(weights))
    assert not torch.isfinite(loss)
    assert gradient is None
    assert torch.equal(before.dense()[model.structure.n_matrix_params :], expected)


@pytest.mark.parametrize("precision", LIMITS)
def test_an_empty_batch(precision):
    """All gradients are zero: by autograd, by the backend's own pass, and second ones."""
    model, _ = same_models(precision=precision)
    x, weights = torch.zeros(0, 3), torch.zeros(0, 3)
    y, d_x, d_params = gradients(model, x, weights)
    assert y.shape == (0, 3)
    assert d_x.shape == (0, 3)
    assert not d_params.any()
    loss, gradient = model.backend.gradient(x, model.params, linear_loss(weights))
    assert loss == 0.0
    assert not gradient.dense().any()
    x, params = x.requires_grad_(), model.params.clone().requires_grad_()
    (first,) = torch.autograd.grad(model.apply(x, params).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), params)
    assert not second.any()
