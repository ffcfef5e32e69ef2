"""Behaviour common to all backends: inference, a differentiable function, and the gradient of a loss."""

import pytest
import torch

from nrc_tracer.errors import ConfigError, DeviceError
from nrc_tracer.nn.backends.backend import Backend
from nrc_tracer.nn.backends.reference import ReferenceBackend
from nrc_tracer.nn.backends.warp import WarpBackend
from nrc_tracer.nn.model import BACKENDS, build_backend
from tests.nn.samples import GRID, SMALL, SMOOTH, make_model, relative, spread_params, uniform

CPU = torch.device("cpu")
BACKEND_OPTIONS = {
    "warp-fused": {"backend": "warp", "precision": "float32", "form": "fused"},
    "blocked": {"backend": "blocked", "precision": "float32"},
    "warp-deterministic": {"backend": "warp", "precision": "float32", "deterministic": True},
    "reference-32": {"backend": "reference", "precision": "float32"},
    "reference-64": {"backend": "reference", "precision": "float64"},
}


def l2(target):
    def evaluate(y):
        difference = y - target.to(y.dtype)
        return (difference**2).mean(), 2.0 * difference / difference.numel()

    return evaluate


@pytest.fixture(params=BACKEND_OPTIONS)
def model(request):
    made = make_model(SMOOTH, SMALL | {"activation": "Softplus"}, **BACKEND_OPTIONS[request.param])
    made.set_params(spread_params(made))
    return made


def test_gradient_agrees_with_autograd(model):
    """Mean loss and flat gradient agree with autograd through the definition in float64."""
    x, target = uniform(300, 3), uniform(300, 3, seed=1)
    params = model.params.double().requires_grad_()
    expected_loss = ((model.structure.reference(x, params) - target) ** 2).mean()
    (expected,) = torch.autograd.grad(expected_loss, params)
    loss, gradient = model.backend.gradient(x, model.params, l2(target))
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-5)
    assert gradient.dense().dtype == torch.float32
    assert gradient.n_matrix_params == model.structure.n_matrix_params
    assert relative(gradient.dense(), expected) < 1e-5


def test_inference_and_the_differentiable_function_agree(model):
    """The values agree, and neither function changes the parameters or builds a graph without need."""
    x, before = uniform(300, 3), model.params.clone()
    y = model.backend.infer(x, model.params)
    assert not y.requires_grad
    assert not model.backend.differentiable(x, model.params).requires_grad
    params = model.params.clone().requires_grad_()
    torch.testing.assert_close(model.backend.differentiable(x, params).detach(), y, rtol=0, atol=0)
    model.backend.gradient(x, model.params, l2(uniform(300, 3)))
    assert torch.equal(model.params, before)


def test_values_that_are_not_finite_give_no_gradient(model):
    """Inputs, targets, parameters, or only the loss may be bad; afterwards a good batch gives the usual gradient."""
    x, target = uniform(100, 3), uniform(100, 3, seed=1)
    expected = model.backend.gradient(x, model.params, l2(target))[1].dense().clone()
    bad_x, bad_target, bad_params = x.clone(), target.clone(), model.params.clone()
    bad_x[3, 1] = bad_target[5, 2] = bad_params[40] = torch.nan
    for arguments in (
        (bad_x, model.params, l2(target)),
        (x, model.params, l2(bad_target)),
        (x, bad_params, l2(target)),
    ):
        loss, gradient = model.backend.gradient(*arguments)
        assert gradient is None
        assert not torch.isfinite(loss)
    _, gradient = model.backend.gradient(x, model.params, lambda y: (y.new_full((), torch.inf), torch.zeros_like(y)))
    assert gradient is None
    assert torch.equal(model.backend.gradient(x, model.params, l2(target))[1].dense(), expected)


def test_an_encoding_alone_gives_no_gradient_for_nan():
    """Even if the loss ignores the prediction, positions that are not numbers give no gradient."""
    for options in BACKEND_OPTIONS.values():
        made = make_model(GRID, None, **{**options, "form": "auto"})
        x = uniform(10, 3)
        x[2] = torch.nan
        _, gradient = made.backend.gradient(x, made.params, lambda y: (y.new_zeros(()), torch.zeros_like(y)))
        assert gradient is None, made


def test_names_of_backends():
    """Every name builds its class (tinycudann has tests of its own), and unknown names and devices are refused."""
    made = make_model()
    assert set(BACKENDS) == {"warp", "blocked", "reference", "tinycudann"}
    for name, cls in (("warp", WarpBackend), ("blocked", WarpBackend), ("reference", ReferenceBackend)):
        backend = build_backend(name, made.structure, CPU, "float32", 1)
        assert type(backend) is cls
        assert isinstance(backend, Backend)
        assert (backend.name, backend.precision) == (name, torch.float32)
    with pytest.raises(ConfigError, match=r'backend: unknown "tinycudan" \(did you mean "tinycudann"'):
        build_backend("tinycudan", made.structure, CPU, "auto", 1)
    with pytest.raises(DeviceError, match="tinycudann"):
        build_backend("tinycudann", made.structure, CPU, "auto", 1)
