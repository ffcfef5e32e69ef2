"""The drop-in for tiny-cuda-nn's Python package: behaviour that existing code relies on, and computed values."""

import copy
import io
import pickle
import threading
import warnings

import numpy as np
import pytest
import torch

from nrc_tracer.device.arrays import ArrayError
from nrc_tracer.errors import NrcError
from nrc_tracer.nn import tinycudann as tcnn
from nrc_tracer.nn import tinycudann_module
from nrc_tracer.nn.backends.reference import ReferenceBackend
from nrc_tracer.nn.config import ConfigError, ConfigWarning
from tests.nn import oracle

GRID = {
    "otype": "HashGrid",
    "n_levels": 4,
    "n_features_per_level": 2,
    "log2_hashmap_size": 9,
    "base_resolution": 4,
    "per_level_scale": 1.45,
}
SMOOTH = GRID | {"interpolation": "Smoothstep"}
ONE_BLOB = {"otype": "OneBlob", "n_bins": 8}
FREQUENCY = {"otype": "Frequency", "n_frequencies": 4}
HARMONICS = {"otype": "SphericalHarmonics", "degree": 4}
WAVES = {"otype": "TriangleWave", "n_frequencies": 4}
COMPOSITE = {"otype": "Composite", "nested": [SMOOTH | {"n_dims_to_encode": 2}, ONE_BLOB]}
ENCODINGS = {
    "linear": GRID,
    "smoothstep": SMOOTH,
    "one_blob": ONE_BLOB,
    "frequency": FREQUENCY,
    "harmonics": HARMONICS,
    "waves": WAVES,
    "composite": COMPOSITE,
}
NETWORK = {"otype": "FullyFusedMLP", "n_neurons": 16, "n_hidden_layers": 2, "activation": "ReLU"}
# Without kinks, so rounding cannot move a unit to the other side of one
SOFT = NETWORK | {"activation": "Softplus"}

each_encoding = pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS.keys())


def points(n, columns=3, *, seed=0, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, columns, generator=generator).requires_grad_(requires_grad)


def on_cpu(module):
    """A module on the CPU whose parameters are large enough for every term of a gradient to matter."""
    module = module.cpu()
    with torch.no_grad():
        split = module.native_tcnn_module.structure.n_matrix_params
        generator = torch.Generator().manual_seed(1)
        module.params[split:] = torch.rand(module.params.numel() - split, generator=generator) - 0.5
    return module


def model(encoding, network=SOFT, n_output_dims=3):
    return on_cpu(tcnn.NetworkWithInputEncoding(3, n_output_dims, encoding, network))


def reference(module, x):
    """Output, inputs and parameters of the float64 reference, prepared for autograd."""
    backend = ReferenceBackend(module.native_tcnn_module.structure, torch.device("cpu"), torch.float64)
    x = x.detach().double().requires_grad_()
    params = module.params.detach().double().requires_grad_()
    return backend.differentiable(x, params), x, params


def relative(found, expected):
    """Distance divided by length, in the L2 norm."""
    return float((found.double() - expected).norm() / expected.norm())


# Attributes of a module


def test_attributes_agree_with_tinycudann():
    """Existing code reads these names, types and defaults."""
    module = tcnn.NetworkWithInputEncoding(
        n_input_dims=3, n_output_dims=5, encoding_config=GRID, network_config=NETWORK, seed=7
    )
    assert isinstance(module, tcnn.Module)
    assert isinstance(module, torch.nn.Module)
    assert (module.n_input_dims, module.n_output_dims, module.seed) == (3, 5, 7)
    assert module.encoding_config is GRID
    assert module.network_config is NETWORK
    assert isinstance(module.params, torch.nn.Parameter)
    assert module.params.dtype == torch.float32
    assert list(module.state_dict()) == ["params"]
    native = module.native_tcnn_module
    assert native.n_params() == module.params.numel() == oracle.n_params(GRID, 3) + 16 * 16 * 3
    assert (native.n_input_dims(), native.n_output_dims()) == (3, 16)
    assert native.name() == native.hyperparams()["otype"] == "NetworkWithInputEncoding"
    assert native.hyperparams()["encoding"]["n_levels"] == 4
    assert native.hyperparams()["network"]["n_neurons"] == 16
    assert repr(module).startswith("NetworkWithInputEncoding(n_input_dims=3, n_output_dims=5, seed=7, dtype=torch.")


@pytest.mark.skipif(torch.cuda.is_available(), reason="defaults of the CPU")
def test_defaults_on_the_cpu():
    """Without a GPU parameters are on the CPU, outputs are float32, and there is no loss scale."""
    module = tcnn.Encoding(3, GRID)
    assert module.params.device == torch.device("cpu")
    assert module.dtype == torch.float32
    assert module.loss_scale == 1.0


@each_encoding
def test_an_encoding_alone_is_not_padded(encoding):
    """Its width is that of its values, and its parameters are those of its grids."""
    module = tcnn.Encoding(3, encoding, dtype=torch.float32)
    assert module.n_output_dims == oracle.output_dims(encoding, 3) == module.native_tcnn_module.n_output_dims()
    assert module.params.numel() == oracle.n_params(encoding, 3)
    assert module(points(7).to(module.params.device)).shape == (7, module.n_output_dims)


def test_dimensions_may_be_numpy_integers():
    """Code that computes dimensions often gets such integers."""
    module = tcnn.Network(np.int64(3), np.int32(2), NETWORK)
    assert (module.n_input_dims, module.n_output_dims) == (3, 2)


def test_jit_fusion_can_be_set_and_is_not_supported():
    """Samples contain `model.jit_fusion = tcnn.supports_jit_fusion()`."""
    module = tcnn.Network(3, 2, NETWORK)
    assert module.jit_fusion is False
    module.jit_fusion = tcnn.supports_jit_fusion()
    assert module.jit_fusion is False
    module.jit_fusion = True
    assert module.jit_fusion is True
    tcnn.free_temporary_memory()


# Values


@pytest.mark.parametrize("seed", [1337, 7])
def test_initial_parameters_agree_with_the_oracle(seed):
    """All three modules start with tiny-cuda-nn's random numbers."""
    whole = tcnn.NetworkWithInputEncoding(3, 5, COMPOSITE, NETWORK, seed=seed)
    encoding = tcnn.Encoding(3, COMPOSITE, seed=seed)
    network = tcnn.Network(5, 2, NETWORK, seed=seed)
    for module, expected in (
        (whole, oracle.initial_parameters(3, 5, COMPOSITE, NETWORK, seed)),
        (encoding, oracle.initial_parameters(3, 0, COMPOSITE, None, seed)),
        (network, oracle.initial_parameters(5, 2, None, NETWORK, seed)),
    ):
        np.testing.assert_allclose(module.params.detach().cpu(), expected, rtol=2e-7)


@each_encoding
def test_encoding_agrees_with_the_oracle(encoding):
    """Values agree to the rounding of float32."""
    module = on_cpu(tcnn.Encoding(3, encoding, dtype=torch.float32))
    x = points(200)
    expected = oracle.encode(encoding, x.numpy(), module.params.detach().numpy())
    np.testing.assert_allclose(module(x).detach(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_network_alone_pads_its_input_with_ones():
    """Five columns are followed by eleven ones."""
    module = on_cpu(tcnn.Network(5, 3, NETWORK))
    x = points(200, 5)
    expected = oracle.network(NETWORK, 5, 3, module.params.detach().numpy(), x.numpy())
    y = module(x).float().detach()
    tolerance = 1e-5 if module.dtype == torch.float32 else 2e-2
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@each_encoding
def test_encoding_and_network_agree_with_the_oracle(encoding):
    """The encoding is padded to sixteen columns; the matrices come first in the parameters."""
    module = model(encoding)
    x, params = points(200), module.params.detach().numpy()
    split = params.size - oracle.n_params(encoding, 3)
    features = oracle.encode(encoding, x.numpy(), params[split:], alignment=16)
    expected = oracle.network(SOFT, features.shape[1], 3, params[:split], features)
    tolerance = 1e-5 if module.dtype == torch.float32 else 2e-2
    for y in (module(x).detach(), inferred(module, x)):
        assert y.shape == (200, 3)
        np.testing.assert_allclose(y.float(), expected, rtol=0, atol=tolerance * np.abs(expected).max())


def inferred(module, x):
    with torch.no_grad():
        y = module(x)
    assert not y.requires_grad
    return y


# Derivatives, in float32


@pytest.fixture
def float32(monkeypatch):
    """Modules with dtype float32 on any machine."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("float32")
@each_encoding
def test_gradients_agree_with_the_reference(encoding):
    """Gradients of parameters and inputs agree to 1e-5 in float32."""
    module, x = model(encoding), points(300, requires_grad=True)
    y, x_64, params_64 = reference(module, x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    (module(x) * weights).sum().backward()
    (y * weights).sum().backward()
    assert relative(x.grad, x_64.grad) < 1e-5
    assert relative(module.params.grad, params_64.grad) < 1e-5


def eikonal(x, y):
    """Mean of (|dy/dx| - 1)^2, with a graph."""
    (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return ((gradient.norm(dim=1) - 1) ** 2).mean()


@pytest.mark.usefixtures("float32")
@each_encoding
def test_gradients_of_an_eikonal_loss_agree_with_the_reference(encoding):
    """Second derivatives, of the input's gradient with respect to parameters and inputs, agree to 1e-5."""
    module, x = model(encoding, n_output_dims=1), points(300, requires_grad=True)
    y, x_64, params_64 = reference(module, x)
    loss, loss_64 = eikonal(x, module(x)), eikonal(x_64, y)
    assert loss.item() == pytest.approx(loss_64.item(), rel=1e-5)
    loss.backward()
    loss_64.backward()
    assert relative(module.params.grad, params_64.grad) < 1e-5
    assert relative(x.grad, x_64.grad) < 1e-5


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("encoding", [GRID, SMOOTH, COMPOSITE], ids=["linear", "smoothstep", "composite"])
def test_gradient_of_the_parameters_can_be_differentiated_again(encoding):
    """Gradient penalties and meta-learning need these terms, which tiny-cuda-nn omits."""
    module, x = model(encoding), points(300, requires_grad=True)
    y, x_64, params_64 = reference(module, x)

    def penalty(y, x, params):
        d_x, d_params = torch.autograd.grad((y**2).sum(), (x, params), create_graph=True)
        return (d_params**2).sum() + (d_x**2).sum()

    penalty(module(x), x, module.params).backward()
    penalty(y, x_64, params_64).backward()
    assert relative(x.grad, x_64.grad) < 1e-5
    assert relative(module.params.grad, params_64.grad) < 1e-5


def test_third_derivatives_of_a_grid_are_refused():
    """There are no kernels for them, so they are an error instead of a wrong number."""
    module, x = on_cpu(tcnn.Encoding(3, SMOOTH, dtype=torch.float32)), points(10, requires_grad=True)
    (first,) = torch.autograd.grad(module(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), x, create_graph=True)
    with pytest.raises(NrcError, match="third"):
        second.sum().backward()


def test_gradients_are_only_computed_where_required():
    """Parameters may be frozen, and inputs may be plain data."""
    module, x = model(GRID), points(10, requires_grad=True)
    module.params.requires_grad_(False)
    module(x).sum().backward()
    assert module.params.grad is None
    assert x.grad.abs().sum() > 0
    module.params.requires_grad_(True)
    module(points(10)).sum().backward()
    assert module.params.grad.abs().sum() > 0
    module.params.requires_grad_(False)
    assert not module(points(10)).requires_grad


# Half


@pytest.fixture
def half():
    """A module on the CPU with the dtype of CUDA."""
    module = model(GRID, NETWORK)
    state = module.__getstate__() | {"dtype": torch.float16, "loss_scale": 128.0}
    restored = tcnn.NetworkWithInputEncoding.__new__(tcnn.NetworkWithInputEncoding)
    restored.__setstate__(state)
    return restored


def test_half_agrees_with_the_reference(half):
    """Outputs agree to 2e-2 of the largest and weight gradients to 3e-2, the limits of half operands; gradients are float32."""
    x = points(500, requires_grad=True)
    y = half(x)
    expected, x_64, params_64 = reference(half, x)
    assert y.dtype == torch.float16
    assert (y - expected).abs().max().item() < 2e-2 * expected.abs().max().item()
    y.float().sum().backward()
    expected.sum().backward()
    split = half.native_tcnn_module.structure.n_matrix_params
    assert half.params.grad.dtype == torch.float32
    assert relative(half.params.grad[:split], params_64.grad[:split]) < 3e-2
    assert relative(x.grad, x_64.grad) < 0.15


def test_loss_scale_keeps_small_gradients(half, monkeypatch):
    """2^-23 is only twice float16's smallest number: products with it lose most digits without a scale, and few with 128.

    The returned gradients do not contain the scale.
    """
    monkeypatch.setattr(tinycudann_module, "choose_precision", lambda *_: torch.float16)
    expected, _, params_64 = reference(half, points(500))
    (expected.sum() * 2.0**-23).backward()
    error = {}
    for half.loss_scale in (1.0, 128.0):
        half.params.grad = None
        (half(points(500)).float().sum() * 2.0**-23).backward()
        error[half.loss_scale] = relative(half.params.grad, params_64.grad)
    assert error[1.0] > 0.2
    assert error[128.0] < 0.06


def test_encoding_takes_a_dtype():
    """float32 and float16 are accepted, and features differ by the rounding to half."""
    x = points(100)
    single, double = (on_cpu(tcnn.Encoding(3, GRID, dtype=dtype)) for dtype in (torch.float32, torch.float16))
    assert (single.loss_scale, double.loss_scale) == (1.0, 128.0)
    y = double(x)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y, single(x).half())
    with pytest.raises(ConfigError, match=r"dtype: .*bfloat16"):
        tcnn.Encoding(3, GRID, dtype=torch.bfloat16)


def test_autocast_does_not_change_the_result():
    """NeRF code runs under autocast; the module's own precision is kept."""
    module, x = model(GRID), points(100)
    expected = module(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(module(x), expected)


# Parameters


def test_changes_of_parameters_take_effect():
    """Parameters can be changed through `data`, in place, and by assigning a new parameter."""
    module, x = model(GRID), points(50)
    other = tcnn.NetworkWithInputEncoding(3, 3, GRID, SOFT, seed=99).cpu()
    with torch.no_grad():
        expected = other(x)
        assert not torch.equal(module(x), expected)
        module.params.data.copy_(other.params)
        assert torch.equal(module(x), expected)
        module.params.mul_(0)
        assert not torch.equal(module(x), expected)
        module.params = torch.nn.Parameter(other.params.detach().clone())
        assert torch.equal(module(x), expected)
        module.params.data = module.params.data.double()
        assert torch.equal(module(x), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tcnn.NetworkWithInputEncoding(3, 3, COMPOSITE, NETWORK, seed=5),
        lambda: tcnn.Encoding(3, GRID, seed=5, dtype=torch.float16),
        lambda: tcnn.Network(3, 2, NETWORK, seed=5),
    ],
    ids=["both", "encoding", "network"],
)
def test_copies_are_equal_and_independent(make):
    """Copies are made by pickle, `copy.deepcopy`, and `torch.save` of the module and of its state."""
    module, x = make().cpu(), points(50)
    expected = module(x)
    saved, state = io.BytesIO(), io.BytesIO()
    torch.save(module, saved)
    torch.save(module.state_dict(), state)
    saved.seek(0)
    state.seek(0)
    loaded = make().cpu()
    loaded.params.data.zero_()
    loaded.load_state_dict(torch.load(state, weights_only=True))
    copies = [
        pickle.loads(pickle.dumps(module)),
        copy.deepcopy(module),
        torch.load(saved, weights_only=False),
        loaded,
    ]
    for duplicate in copies:
        assert torch.equal(duplicate(x), expected)
        assert (duplicate.seed, duplicate.dtype, duplicate.loss_scale) == (5, module.dtype, module.loss_scale)
        assert repr(duplicate) == repr(module)
        duplicate.params.data.zero_()
    assert torch.equal(module(x), expected)


def test_checkpoint_of_another_model_is_refused():
    """torch refuses it and names the sizes."""
    with pytest.raises(RuntimeError, match="size mismatch"):
        tcnn.Network(3, 2, NETWORK).load_state_dict({"params": torch.zeros(5)})


@pytest.mark.usefixtures("float32")
def test_adam_learns_a_function():
    """A hundred steps of torch's optimizer reduce the error of a smooth function to less than a hundredth of its variance."""
    module = tcnn.NetworkWithInputEncoding(2, 1, GRID, NETWORK).cpu()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2, eps=1e-15)
    x = points(1024, 2)
    target = torch.sin(6 * x[:, :1]) * torch.cos(5 * x[:, 1:])
    for _ in range(100):
        loss = ((module(x) - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.01 * float(target.var())


# Inputs


@each_encoding
def test_an_empty_batch_works(encoding):
    """If all samples missed, gradients are zero."""
    module, x = model(encoding), torch.zeros(0, 3, requires_grad=True)
    y = module(x)
    assert y.shape == (0, 3)
    y.sum().backward()
    assert x.grad.shape == (0, 3)
    assert float(module.params.grad.abs().sum()) == 0
    assert inferred(module, x).shape == (0, 3)


def test_an_empty_batch_can_be_differentiated_twice():
    """This happens to the regularizer of a step without samples."""
    module, x = model(GRID), torch.zeros(0, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(x).sum(), x, create_graph=True)
    gradient.sum().backward()
    assert module.params.grad is None or float(module.params.grad.abs().sum()) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_inputs_of_any_float_type_are_taken_as_float32(dtype):
    """Their gradients have the type of the inputs."""
    module = model(GRID)
    x = points(50).to(dtype).requires_grad_()
    y = module(x)
    assert torch.equal(y, module(x.detach().float()))
    y.sum().backward()
    assert x.grad.dtype == dtype


def test_inputs_need_not_be_contiguous():
    """Tensors, and their gradients, may be transposed, sliced or expanded."""
    module, x = model(GRID), points(50)
    expected = module(x)
    assert torch.equal(module(x.T.contiguous().T), expected)
    assert torch.equal(module(torch.cat((x, x), dim=1)[:, 3:]), expected)
    assert torch.equal(module(x[:1].expand(50, 3)), expected[:1].expand(50, 3))
    x.requires_grad_()
    module(x).sum().backward()  # the gradient of a sum is expanded
    found, x.grad = x.grad, None
    (module(x) * torch.ones(3, 50).T).sum().backward()
    assert torch.equal(found, x.grad)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.rand(5, 4), r"x: expected shape \[N, 3\], got \[5, 4\]"),
        (torch.rand(3), r"got \[3\]"),
        (torch.rand(2, 5, 3), r"got \[2, 5, 3\]"),
        (torch.zeros(5, 3, dtype=torch.int64), "floats .*, got int64"),
        (np.zeros((5, 3), np.float32), "torch tensor .*, got ndarray"),
    ],
    ids=["columns", "1d", "3d", "integers", "numpy"],
)
def test_wrong_inputs_are_refused(x, message):
    """The error states what was expected and what was given."""
    with pytest.raises(ArrayError, match=message):
        model(GRID)(x)


def test_parameters_of_another_size_are_refused():
    """Parameters may be assigned by hand, which torch does not check."""
    module = model(GRID)
    module.params.data = torch.zeros(5)
    with pytest.raises(ArrayError, match=r"params: expected shape .* got \[5\]"):
        module(points(5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tcnn.Encoding(5, GRID), "2, 3 or 4"),
        (lambda: tcnn.Encoding(3, {"otype": "HashGird"}), 'did you mean "HashGrid"'),
        (lambda: tcnn.Network(0, 3, NETWORK), "n_input_dims"),
        (lambda: tcnn.Network(3, None, NETWORK), "n_output_dims"),
        (lambda: tcnn.Network(3, 3, None), "network: expected an object"),
        (lambda: tcnn.NetworkWithInputEncoding(3, 3, GRID, NETWORK | {"n_neurons": 48}), "n_neurons"),
    ],
    ids=["dims", "otype", "inputs", "outputs", "none", "neurons"],
)
def test_wrong_configurations_are_refused(make, message):
    """Errors belong to this package."""
    with pytest.raises(ConfigError, match=message):
        make()


def test_an_unknown_key_gives_one_warning():
    """The warning comes when the module is made, and not again when it is copied."""
    with pytest.warns(ConfigWarning, match="n_level"):
        module = tcnn.Encoding(3, GRID | {"n_level": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy.deepcopy(module)


def test_a_device_that_warp_does_not_know_is_named():
    """Parameters can be moved to any device by `.to()`."""
    with pytest.raises(NrcError, match="meta"):
        model(GRID).to("meta")(points(5))


def test_modules_share_one_pool_of_threads():
    """Otherwise a model of many small modules would have as many pools."""
    first, second = model(GRID), model(ONE_BLOB)
    x = points(100_000)
    first(x)
    threads = threading.active_count()
    second(x)
    assert threading.active_count() == threads


@pytest.mark.cuda
def test_modules_move_with_to():
    """Modules move from CUDA, where they start, to the CPU and back, with inputs on either device."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    module = tcnn.NetworkWithInputEncoding(3, 3, GRID, NETWORK)
    assert module.params.is_cuda
    assert (module.dtype, module.loss_scale) == (torch.float16, 128.0)
    x = points(300, requires_grad=True)
    with pytest.warns(UserWarning, match="the input is on cpu"):
        on_gpu = module(x)
    assert on_gpu.is_cuda
    on_gpu.float().sum().backward()
    gradient, module.params.grad, x.grad = module.params.grad.cpu(), None, None
    module.cpu()
    y = module(x)
    assert not y.is_cuda
    torch.testing.assert_close(y, on_gpu.cpu(), rtol=0, atol=2e-2 * float(y.abs().max()))
    y.float().sum().backward()
    assert relative(gradient, module.params.grad.double()) < 0.15
    module.cuda()
    assert torch.equal(module(x.cuda()), on_gpu)


def test_torch_compile_calls_the_kernels_as_they_are():
    """A compiled module has the outputs and gradients of the module, alone and among other layers."""
    network = {"otype": "FullyFusedMLP", "activation": "ReLU", "output_activation": "None"}
    made = tcnn.Network(2, 1, {**network, "n_neurons": 16, "n_hidden_layers": 1})
    x = torch.rand(64, 2)
    for module in (made, torch.nn.Sequential(torch.nn.Linear(2, 2), made)):
        y = torch.compile(module, backend="eager")(x)
        torch.testing.assert_close(y, module(x))
        (found,) = torch.autograd.grad(y.sum(), made.params)
        (expected,) = torch.autograd.grad(module(x).sum(), made.params)
        torch.testing.assert_close(found, expected)
