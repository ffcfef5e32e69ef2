"""Encodings without parameters: kernels compared with their definitions, and the definitions with known numbers."""

import math

import numpy as np
import pytest
import torch

from nrc_tracer.device.launch import initialize
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.encodings.empty import EmptyEncoding
from nrc_tracer.nn.encodings.frequency import FrequencyEncoding
from nrc_tracer.nn.encodings.identity import IdentityEncoding
from nrc_tracer.nn.encodings.one_blob import OneBlobEncoding
from nrc_tracer.nn.encodings.spherical_harmonics import SphericalHarmonicsEncoding
from nrc_tracer.nn.encodings.triangle_wave import TriangleWaveEncoding

ENCODINGS = {
    "one_blob_1": (OneBlobEncoding, configuration.OneBlob(n_bins=1), 2),
    "one_blob_2": (OneBlobEncoding, configuration.OneBlob(n_bins=2), 3),
    "one_blob_4": (OneBlobEncoding, configuration.OneBlob(n_bins=4), 5),
    "one_blob_64": (OneBlobEncoding, configuration.OneBlob(n_bins=64), 1),
    "frequency": (FrequencyEncoding, configuration.Frequency(), 3),
    "frequency_24": (FrequencyEncoding, configuration.Frequency(n_frequencies=24), 1),
    "triangle_wave": (TriangleWaveEncoding, configuration.TriangleWave(), 3),
    "triangle_wave_20": (TriangleWaveEncoding, configuration.TriangleWave(n_frequencies=20), 2),
    "identity": (IdentityEncoding, configuration.Identity(), 6),
    "identity_scaled": (IdentityEncoding, configuration.Identity(scale=-1.7, offset=0.3), 2),
    "empty": (EmptyEncoding, configuration.Empty(), 2),
    "spherical_harmonics_1": (SphericalHarmonicsEncoding, configuration.SphericalHarmonics(degree=1), 3),
    "spherical_harmonics_4": (SphericalHarmonicsEncoding, configuration.SphericalHarmonics(), 3),
    "spherical_harmonics_8": (SphericalHarmonicsEncoding, configuration.SphericalHarmonics(degree=8), 3),
}
# Distance from [0, 1] up to which float32 gives values to 1e-6 of the largest one
OUTSIDE = {SphericalHarmonicsEncoding: 0.0}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
NO_PARAMS = torch.empty(0, dtype=torch.float64)


def build(name):
    cls, config, n_dims = ENCODINGS[name]
    return cls(config, n_dims)


def launcher_on(device, threads=2):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    initialize()
    return TorchLauncher(device, threads=threads)


def points(encoding, n=3000):
    """Inputs in [0, 1], including its corners and middle, and some outside if the encoding accepts them."""
    generator = np.random.default_rng(len(type(encoding).__name__))
    x = generator.random((n, encoding.n_input_dims))
    x[:3] = [[0.0], [1.0], [0.5]]
    x[3 : n // 3] += OUTSIDE.get(type(encoding), 1.0) * generator.uniform(-2.5, 2.5, (n // 3 - 3, 1))
    return torch.from_numpy(x.astype(np.float32))


def kernel_values(encoding, launcher, x, width=None):
    out = torch.full((len(x), width or encoding.n_output_dims), math.nan, device=launcher.torch_device)
    encoding.forward(launcher, x.to(launcher.torch_device), torch.empty(0), out)
    return out.cpu()


def kernel_gradient(encoding, launcher, x, d_out):
    d_x = torch.zeros(x.shape, device=launcher.torch_device)
    device = launcher.torch_device
    encoding.backward_input(launcher, x.to(device), torch.empty(0), d_out.to(device), d_x)
    return d_x.cpu()


def defined_gradient(encoding, x, d_values):
    x = x.clone().requires_grad_()
    (encoding.values(x, NO_PARAMS) * d_values).sum().backward()
    return x.grad


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ENCODINGS)
def test_kernel_values_agree_with_the_definition(name, device):
    """They agree to 1e-6 of the largest value, the specified accuracy of float32 kernels."""
    encoding, launcher = build(name), launcher_on(device)
    x = points(encoding)
    expected = encoding.values(x, NO_PARAMS)
    assert expected.shape == (len(x), encoding.n_output_dims)
    assert expected.dtype == torch.float64
    values = kernel_values(encoding, launcher, x)
    largest = expected.abs().max().item() if expected.numel() else 0.0
    np.testing.assert_allclose(values, expected, rtol=0.0, atol=1e-6 * largest)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ENCODINGS)
def test_kernel_gradients_agree_with_the_definition(name, device):
    """Terms are accurate to 1e-6 of the largest one and are summed with random signs; gradients are added to existing values."""
    encoding, launcher = build(name), launcher_on(device)
    x = points(encoding, 600)
    d_values = torch.randn(len(x), encoding.n_output_dims, dtype=torch.float64)
    # The magnitudes of the terms of each gradient: one term per column
    at = x.double().requires_grad_()
    columns = torch.eye(encoding.n_output_dims, dtype=torch.float64)[:, None, :] * d_values
    sizes = torch.zeros_like(at)
    if len(columns):
        terms = torch.autograd.grad(encoding.values(at, NO_PARAMS), at, columns, is_grads_batched=True)[0]
        sizes = terms.abs().sum(dim=0)
    expected = defined_gradient(encoding, x.double(), d_values)
    gradient = kernel_gradient(encoding, launcher, x, d_values.float())
    np.testing.assert_array_less((gradient - expected).abs(), 1e-6 * sizes.max() + 1e-30)

    d_x = torch.ones(x.shape, device=launcher.torch_device)
    encoding.backward_input(launcher, x.to(d_x.device), torch.empty(0), d_values.float().to(d_x.device), d_x)
    torch.testing.assert_close(d_x.cpu(), 1.0 + gradient, rtol=1e-6, atol=1e-6)


STEP = 2.0**-14
# Encodings, and the accepted difference of first and second derivatives from central differences with STEP, per unit of weight:
# STEP^2 / 6 times the third and fourth derivatives of one output. Those of OneBlob jump at its ends.
DIFFERENCES = {
    "one_blob": (OneBlobEncoding, configuration.OneBlob(n_bins=8), 2, STEP**2 * 7.5 * 8**3, STEP * 7.5 * 8**3),
    "frequency": (
        FrequencyEncoding,
        configuration.Frequency(n_frequencies=4),
        2,
        STEP**2 / 6.0 * (8.0 * math.pi) ** 3,
        STEP**2 / 6.0 * (8.0 * math.pi) ** 4,
    ),
    "triangle_wave": (TriangleWaveEncoding, configuration.TriangleWave(n_frequencies=8), 2, 0.0, 0.0),
    "identity": (IdentityEncoding, configuration.Identity(scale=-1.7, offset=0.3), 2, 0.0, 0.0),
    "empty": (EmptyEncoding, configuration.Empty(), 2, 0.0, 0.0),
    # A harmonic of degree 7 has derivatives below 7^n times its size, which is below 30 in the cube
    "spherical_harmonics": (
        SphericalHarmonicsEncoding,
        configuration.SphericalHarmonics(degree=8),
        3,
        STEP**2 / 6.0 * 30.0 * 14.0**3,
        STEP**2 / 6.0 * 30.0 * 14.0**4,
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_derivatives_of_the_definition_agree_with_finite_differences(name):
    """First and second derivatives in float64, on a lattice of exact float32 arguments where no triangle wave has a kink."""
    cls, config, n_dims, first_error, second_error = DIFFERENCES[name]
    encoding = cls(config, n_dims)
    generator = np.random.default_rng(1)
    x = torch.from_numpy(generator.integers(0, 1024, (50, n_dims)) + 0.5) / 1024.0
    weights = torch.from_numpy(generator.standard_normal((50, encoding.n_output_dims)))
    unit = weights.abs().sum(dim=1).numpy()

    def weighted(at):
        return (encoding.values(at, NO_PARAMS) * weights).sum(dim=1)

    def slope(at, axis):
        """The derivative along an axis, which can be differentiated again where that makes sense."""
        return torch.autograd.grad(weighted(at).sum(), at, create_graph=True)[0][:, axis]

    for axis in range(n_dims):
        move = torch.zeros_like(x)
        move[:, axis] = STEP
        at, right, left = (place.requires_grad_() for place in (x.clone(), x + move, x - move))
        difference = (weighted(right) - weighted(left)) / (2.0 * STEP)
        error = (slope(at, axis) - difference).detach().abs().numpy()
        assert np.all(error <= first_error * unit + 1e-9)

        change = ((slope(right, axis) - slope(left, axis)) / (2.0 * STEP)).detach()
        second = torch.zeros_like(change)
        if slope(at, axis).requires_grad:
            gradient = torch.autograd.grad(slope(at, axis).sum(), at, allow_unused=True)[0]
            second = second if gradient is None else gradient[:, axis]
        assert np.all((second - change).abs().numpy() <= second_error * unit + 1e-8)


@pytest.mark.parametrize("name", ENCODINGS)
def test_result_does_not_depend_on_threads(name):
    """One thread and two threads give the same bits for values and gradients."""
    encoding = build(name)
    x = points(encoding)
    d_out = torch.randn(len(x), encoding.n_output_dims)
    one, two = (launcher_on("cpu", threads) for threads in (1, 2))
    assert torch.equal(kernel_values(encoding, one, x), kernel_values(encoding, two, x))
    assert torch.equal(kernel_gradient(encoding, one, x, d_out), kernel_gradient(encoding, two, x, d_out))


@pytest.mark.parametrize("name", ENCODINGS)
def test_strided_columns(name):
    """Inputs, outputs and gradients may be slices of columns; other columns stay unchanged."""
    encoding, launcher = build(name), launcher_on("cpu")
    x = points(encoding)
    d_out = torch.randn(len(x), encoding.n_output_dims)
    expected, slope = kernel_values(encoding, launcher, x), kernel_gradient(encoding, launcher, x, d_out)

    n_in, n_out = x.shape[1], d_out.shape[1]
    wide = {key: torch.full((len(x), 3 + n + 2), 7.0) for key, n in (("x", n_in), ("d_x", n_in), ("out", n_out))}
    wide["d_out"] = wide["out"].clone()
    inner = {key: value[:, 3:-2] for key, value in wide.items()}
    inner["x"][:], inner["d_out"][:], inner["d_x"][:] = x, d_out, 0.0
    encoding.forward(launcher, inner["x"], torch.empty(0), inner["out"])
    encoding.backward_input(launcher, inner["x"], torch.empty(0), inner["d_out"], inner["d_x"])
    assert torch.equal(inner["out"], expected)
    assert torch.equal(inner["d_x"], slope)
    for value in wide.values():
        assert torch.all(value[:, :3] == 7.0)
        assert torch.all(value[:, -2:] == 7.0)


@pytest.mark.parametrize("name", ENCODINGS)
def test_padding(name):
    """Ones follow the values, but precede those of spherical harmonics; their gradient is discarded."""
    encoding, launcher = build(name), launcher_on("cpu")
    x = points(encoding, 100)
    width = encoding.width(16) + 16
    assert encoding.width(16) % 16 == 0
    values = kernel_values(encoding, launcher, x)
    out = kernel_values(encoding, launcher, x, width)
    n, first = encoding.n_output_dims, isinstance(encoding, SphericalHarmonicsEncoding)
    at = slice(width - n, width) if first else slice(0, n)
    assert torch.equal(out[:, at], values)
    rest = torch.cat((out[:, : at.start], out[:, at.stop :]), dim=1)
    assert rest.shape[1] == width - n
    assert torch.all(rest == 1.0)
    np.testing.assert_allclose(encoding.reference(x, NO_PARAMS, width), out, rtol=0.0, atol=2e-5)

    d_out = torch.full((len(x), width), math.nan)
    d_out[:, at] = torch.randn(len(x), n)
    assert torch.equal(
        kernel_gradient(encoding, launcher, x, d_out), kernel_gradient(encoding, launcher, x, d_out[:, at])
    )


@pytest.mark.parametrize("name", ENCODINGS)
def test_an_empty_batch(name):
    """A batch without points gives empty results."""
    encoding, launcher = build(name), launcher_on("cpu")
    x = torch.empty(0, encoding.n_input_dims)
    assert kernel_values(encoding, launcher, x).shape == (0, encoding.n_output_dims)
    assert encoding.values(x, NO_PARAMS).shape == (0, encoding.n_output_dims)
    assert kernel_gradient(encoding, launcher, x, torch.empty(0, encoding.n_output_dims)).shape == x.shape


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ENCODINGS)
def test_inputs_that_are_not_numbers_give_values_that_are_not_finite(name, bad):
    """All values computed from them are NaN or, if the encoding is linear, infinite; other rows do not change."""
    encoding, launcher = build(name), launcher_on("cpu")
    x = points(encoding, 10)
    expected = kernel_values(encoding, launcher, x)
    x[4] = bad
    values = kernel_values(encoding, launcher, x)
    d_out = torch.rand(len(x), encoding.n_output_dims) + 1.0
    gradient = kernel_gradient(encoding, launcher, x, d_out)
    for result in (values, encoding.values(x, NO_PARAMS)):
        assert not result[4].isfinite().any()
    others = [i for i in range(10) if i != 4]
    assert torch.equal(values[others], expected[others])
    assert gradient[others].isfinite().all()
    if not isinstance(encoding, (IdentityEncoding, EmptyEncoding)) and encoding.n_output_dims > 1:
        assert gradient[4].isnan().all()


@pytest.mark.parametrize("name", ENCODINGS)
def test_large_inputs_change_no_other_row(name):
    """The largest floats cause no writes outside of their own row."""
    encoding, launcher = build(name), launcher_on("cpu")
    x = torch.tensor([[3.0e38], [-3.0e38], [2.0**31], [-1e-45], [1e-45]]).expand(-1, encoding.n_input_dims)
    wide = torch.full((7, encoding.n_output_dims), 7.0)
    encoding.forward(launcher, x, torch.empty(0), wide[1:-1])
    assert torch.all(wide[[0, -1]] == 7.0)
    kernel_gradient(encoding, launcher, x, torch.ones(5, encoding.n_output_dims))


@pytest.mark.parametrize("name", ENCODINGS)
def test_float32_definition(name):
    """In float32 the definition returns float32, accurate to its precision."""
    encoding = build(name)
    x = points(encoding, 500)
    exact, single = encoding.values(x, NO_PARAMS), encoding.values(x, torch.empty(0))
    assert single.dtype == torch.float32
    largest = exact.abs().max().item() if exact.numel() else 0.0
    # Sums of three integrals up to 3 in OneBlob, angles up to 2 pi in Frequency
    np.testing.assert_allclose(single, exact, rtol=0.0, atol=4e-6 * largest)


def test_one_blob_in_the_middle_of_a_bin():
    """In the middle of bin 1 of 4, the integrals are those of 15/16 (1 - u^2)^2 over [-1, -1/2], [-1/2, 1/2], [1/2, 1]."""
    # 15/16 (u - 2/3 u^3 + u^5 / 5) from -1/2 to 1/2
    middle = 15 / 8 * (1 / 2 - 2 / 3 / 8 + 1 / 5 / 32)
    side = (1.0 - middle) / 2.0
    encoding = OneBlobEncoding(configuration.OneBlob(n_bins=4), 1)
    values = kernel_values(encoding, launcher_on("cpu"), torch.tensor([[0.375]]))
    np.testing.assert_allclose(values, [[side, middle, side, 0.0]], atol=1e-7)


def test_one_blob_wraps_around():
    """At 0 and 1 half of the blob is at the other end; the copies reach at most one interval beyond."""
    encoding = OneBlobEncoding(configuration.OneBlob(n_bins=4), 1)
    x = torch.tensor([[0.0], [1.0], [-0.75], [1.25], [-1.0], [2.0], [-1.25], [2.25], [50.0]])
    half = [
        [0.5, 0.0, 0.0, 0.5],
        [0.5, 0.0, 0.0, 0.5],
        [0.5, 0.5, 0.0, 0.0],
        [0.5, 0.5, 0.0, 0.0],
        [0.5, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.5],
        [0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0],
    ]
    np.testing.assert_allclose(kernel_values(encoding, launcher_on("cpu"), x), half, atol=1e-7)


def test_one_blob_has_mass_one():
    """The mass is complete as long as the blob or its copies lie in the interval."""
    encoding = OneBlobEncoding(configuration.OneBlob(n_bins=16), 1)
    x = torch.linspace(-0.9, 1.9, 1001)[:, None]
    values = kernel_values(encoding, launcher_on("cpu"), x)
    np.testing.assert_allclose(values.sum(dim=1), 1.0, atol=1e-6)
    assert torch.all(values >= -1e-7)


def test_frequency_order_and_reduction():
    """Sine and cosine alternate and frequencies double; multiples of a full turn lose no accuracy."""
    encoding = FrequencyEncoding(configuration.Frequency(n_frequencies=3), 2)
    x = torch.tensor([[0.25, 0.5], [2.0**20 + 0.25, 0.5 - 2.0**20]])
    h = math.sqrt(0.5)
    expected = [[h, h, 1.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0, -1.0, 0.0, 1.0]] * 2
    np.testing.assert_allclose(kernel_values(encoding, launcher_on("cpu"), x), expected, atol=3e-7)


def test_triangle_wave_by_hand():
    """Frequency 2^(k-1), shifted by k quarters: all frequencies of the first input come before those of the next."""
    encoding = TriangleWaveEncoding(configuration.TriangleWave(n_frequencies=3), 2)
    x = torch.tensor([[0.0, 0.5]])
    # v = 0, 1/4, 1/2 and 1/4, 3/4, 3/2
    np.testing.assert_array_equal(kernel_values(encoding, launcher_on("cpu"), x), [[1.0, 0.0, -1.0, 0.0, 0.0, -1.0]])


def test_triangle_wave_has_the_slope_to_the_right_of_a_kink():
    """Kernel and definition also agree there."""
    encoding = TriangleWaveEncoding(configuration.TriangleWave(n_frequencies=1), 1)
    x = torch.tensor([[0.0], [1.0], [2.0], [-1.0]])
    expected = [[-2.0], [2.0], [-2.0], [2.0]]
    d_out = torch.ones(4, 1)
    np.testing.assert_array_equal(kernel_gradient(encoding, launcher_on("cpu"), x, d_out), expected)
    np.testing.assert_array_equal(defined_gradient(encoding, x, d_out), expected)
