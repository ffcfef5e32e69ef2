"""The backend that runs an installed tiny-cuda-nn, with our drop-in in its place, and with the real package on CUDA."""

import sys

import pytest
import torch

from nrc_tracer.errors import DeviceError
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn import tinycudann as drop_in
from nrc_tracer.nn.backends.reference import ReferenceBackend
from nrc_tracer.nn.backends.tinycudann import TinyCudaNNBackend
from nrc_tracer.nn.config import ConfigError
from nrc_tracer.nn.structure import Structure

CPU = torch.device("cpu")
GRID = {"otype": "HashGrid", "n_levels": 4, "log2_hashmap_size": 9, "base_resolution": 4, "per_level_scale": 1.45}
COMPOSITE = {"otype": "Composite", "nested": [GRID | {"n_dims_to_encode": 2}, {"otype": "OneBlob", "n_bins": 8}]}
NETWORK = {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 2}


def structure(encoding=GRID, network=NETWORK):
    network = None if network is None else configuration.read_network(network)
    return Structure(3, 3 if network else None, configuration.read_encoding(encoding), network)


@pytest.fixture
def stand_in(monkeypatch):
    """Installs our own modules under tiny-cuda-nn's name, on the CPU in float32; the list of modules that are created."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "tinycudann", drop_in)
    made = []

    def noted(kind):
        def make(*arguments, **options):
            made.append(kind(*arguments, **options))
            return made[-1]

        return make

    for name in ("Encoding", "NetworkWithInputEncoding"):
        monkeypatch.setattr(drop_in, name, noted(getattr(drop_in, name)))
    return made


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("encoding", [GRID, COMPOSITE], ids=["grid", "composite"])
@pytest.mark.parametrize("network", [NETWORK, None], ids=["network", "encoding"])
def test_results_agree_with_the_reference(encoding, network):
    """Outputs and gradients for the given parameters, not the module's own, agree to 1e-5 in float32."""
    parts = structure(encoding, network)
    backend = TinyCudaNNBackend(parts, CPU, torch.float32)
    judge = ReferenceBackend(parts, CPU, torch.float64)
    x = torch.rand(100, 3, requires_grad=True)
    params = (parts.initial_params(3) * 2).requires_grad_()
    y, expected = backend.differentiable(x, params), judge.differentiable(x, params)
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=1e-5 * float(expected.detach().abs().max()))
    torch.testing.assert_close(backend.infer(x, params), y.detach())
    assert not backend.infer(x, params).requires_grad
    weights = torch.randn_like(y)
    found = torch.autograd.grad((y * weights).sum(), (x, params))
    wanted = torch.autograd.grad((expected * weights).sum(), (x, params))
    for gradient, other in zip(found, wanted, strict=True):
        assert float((gradient - other).norm()) < 1e-5 * float(other.norm())


def test_gradient_of_a_loss_does_not_depend_on_the_scale(stand_in):
    """The caller's loss scale replaces that of the module for the call."""
    backend = TinyCudaNNBackend(structure(), CPU, torch.float32)
    (module,) = stand_in
    module.loss_scale = 128.0
    x, params = torch.rand(100, 3), structure().initial_params(3)

    def evaluate(y):
        assert module.loss_scale == 1.0
        return (y**2).mean(), 2 * y / y.numel()

    loss, gradient = backend.gradient(x, params, evaluate)
    scaled = backend.gradient(x, params, evaluate, loss_scale=256.0)[1]
    assert float(loss) > 0
    torch.testing.assert_close(scaled.flat, gradient.flat)
    assert module.loss_scale == 128.0


def test_an_empty_batch_does_not_reach_the_module(stand_in):
    """CUDA refuses launches without threads; gradients are zero nevertheless."""
    backend = TinyCudaNNBackend(structure(), CPU, torch.float32)
    (module,) = stand_in
    module.register_forward_pre_hook(lambda *arguments: pytest.fail("the module was called"))
    x = torch.zeros(0, 3, requires_grad=True)
    params = structure().initial_params(3).requires_grad_()
    y = backend.differentiable(x, params)
    assert y.shape == backend.infer(x, params).shape == (0, 3)
    y.sum().backward()
    assert float(params.grad.abs().sum()) == 0


@pytest.mark.usefixtures("stand_in")
def test_another_precision_is_refused():
    """The drop-in was built for float32."""
    with pytest.raises(ConfigError, match='precision="float32"'):
        TinyCudaNNBackend(structure(), CPU, torch.float16)


@pytest.mark.usefixtures("stand_in")
def test_another_device_is_refused():
    """The drop-in is on the CPU, as the real package is on CUDA."""
    with pytest.raises(DeviceError, match='use backend="warp"'):
        TinyCudaNNBackend(structure(), torch.device("cuda", 0), torch.float32)


@pytest.mark.usefixtures("stand_in")
def test_another_layout_is_refused():
    """A version that counts parameters differently must not get ours."""
    parts = structure()
    parts.n_params += 8
    with pytest.raises(ConfigError, match="parameters"):
        TinyCudaNNBackend(parts, CPU, torch.float32)


def test_the_error_for_a_missing_package_says_how_to_install_it(monkeypatch):
    """None in sys.modules makes an import fail like that of a missing package."""
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    with pytest.raises(DeviceError, match="pip install"):
        TinyCudaNNBackend(structure(), CPU, torch.float32)


@pytest.mark.cuda
@pytest.mark.parametrize("encoding", [GRID, COMPOSITE], ids=["grid", "composite"])
def test_the_real_package_agrees_with_the_drop_in(encoding):
    """With equal initial parameters, outputs agree to 2e-2 of the largest and weight gradients to 3e-2, the limits of half."""
    real = pytest.importorskip("tinycudann", reason="needs tinycudann and a GPU", exc_type=(ImportError, OSError))
    parts = structure(encoding)
    device = torch.device("cuda", torch.cuda.current_device())
    module = real.NetworkWithInputEncoding(3, 3, encoding, NETWORK)
    torch.testing.assert_close(module.params.detach().cpu(), parts.initial_params(1337), rtol=2e-7, atol=0)
    backend = TinyCudaNNBackend(parts, device, torch.float16)
    judge = ReferenceBackend(parts, device, torch.float64)
    x = torch.rand(1000, 3, device=device)
    params = parts.initial_params(1337).to(device)
    params[parts.n_matrix_params :] = torch.rand_like(params[parts.n_matrix_params :]) - 0.5
    params.requires_grad_()
    y, expected = backend.differentiable(x, params), judge.differentiable(x, params)
    assert (y - expected).abs().max().item() < 2e-2 * expected.abs().max().item()
    (found,) = torch.autograd.grad(y.sum(), params)
    (wanted,) = torch.autograd.grad(expected.sum(), params)
    matrices = slice(0, parts.n_matrix_params)
    assert float((found - wanted)[matrices].norm()) < 3e-2 * float(wanted[matrices].norm())
