"""Inference by the fused kernels on the CPU: agreement with the reference, and bits that do not depend on threads or batches."""

import pytest
import torch

from nrc_tracer.nn.activations import ACTIVATIONS
from nrc_tracer.nn.fused_cpu.program import STRETCH
from tests.nn.samples import GRID, SMALL, SMOOTH, make_model, same_bits, spread_params, uniform

TIGHT = 1e-5
"""Largest error of an output, as a fraction of the largest output."""

WIDE = {"otype": "CutlassMLP", "n_neurons": 96, "n_hidden_layers": 1}
NERF = {
    "otype": "RadianceField",
    "density": {"otype": "FullyFusedMLP", "n_neurons": 64, "n_hidden_layers": 1},
    "rgb": {"otype": "FullyFusedMLP", "n_neurons": 64, "n_hidden_layers": 2},
}
DIRECTIONS = {"otype": "SphericalHarmonics", "degree": 4, "n_dims_to_encode": 3}
CACHE = {
    "otype": "Composite",
    "nested": [
        {**GRID, "n_dims_to_encode": 3},
        {"otype": "OneBlob", "n_bins": 4, "n_dims_to_encode": 5},
        {"otype": "Identity", "scale": 0.5, "offset": 0.25},
    ],
}
ENCODINGS = {
    "grid": (GRID, 3),
    "smooth": (SMOOTH, 3),
    "nearest": (GRID | {"interpolation": "Nearest"}, 3),
    "dense 2-D": (GRID | {"otype": "DenseGrid", "n_features_per_level": 4, "per_level_scale": 1.3}, 2),
    "4-D": (GRID | {"n_features_per_level": 1}, 4),
    "8 features": (GRID | {"n_features_per_level": 8}, 3),
    "one blob": ({"otype": "OneBlob", "n_bins": 16}, 3),
    "frequency": ({"otype": "Frequency", "n_frequencies": 10}, 3),
    "triangle wave": ({"otype": "TriangleWave", "n_frequencies": 12}, 3),
    "harmonics": ({"otype": "SphericalHarmonics", "degree": 8}, 3),
    "harmonics behind padding": ({"otype": "SphericalHarmonics", "degree": 3}, 3),
    "identity": ({"otype": "Identity", "scale": 2.0, "offset": -1.0}, 7),
    "composite": (CACHE, 10),
    "nested composite": (
        {
            "otype": "Composite",
            "nested": [{**CACHE, "n_dims_to_encode": 9}, {"otype": "TriangleWave", "n_frequencies": 3}],
        },
        11,
    ),
}


def pair(encoding, n_input_dims, network=SMALL, n_output_dims=3, **options):
    """A fused model and the reference with the same parameters."""
    fused = make_model(encoding, network, n_input_dims, n_output_dims, form="fused", **options)
    exact = make_model(encoding, network, n_input_dims, n_output_dims, backend="reference", precision="float64")
    fused.set_params(spread_params(fused))
    exact.set_params(fused.params)
    return fused, exact


def check(fused, exact, x):
    """Outputs agree with the reference, and are not all close to zero."""
    expected = exact(x)
    assert expected.abs().max() > 1e-3
    assert (fused(x) - expected).abs().max() <= TIGHT * expected.abs().max()


@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings_agree_with_the_reference(name):
    """Every encoding, with padding, for more points than two stretches and an odd number of them."""
    encoding, n_input_dims = ENCODINGS[name]
    check(*pair(encoding, n_input_dims), uniform(2 * STRETCH + 77, n_input_dims, low=0.01, high=0.99))


@pytest.mark.parametrize("width", [16, 32, 48, 64, 128, 256])
def test_widths_agree_with_the_reference(width):
    """Layers of odd and even numbers of vectors."""
    network = {"otype": "CutlassMLP", "n_neurons": width, "n_hidden_layers": 3}
    check(*pair(GRID, 3, network, n_output_dims=19), uniform(500, 3))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_agree_with_the_reference(activation):
    """Every activation, in the hidden layers and at the output."""
    hidden = "ReLU" if activation == "Exponential" else activation
    network = SMALL | {"activation": hidden, "output_activation": activation}
    check(*pair(CACHE, 10, network), uniform(500, 10))


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"Sine"}))
def test_activations_for_extreme_inputs(activation):
    """For inputs from very small to nearly the largest float, and for NaN, results are those of torch."""
    encoding = {"otype": "Identity"}
    network = {"otype": "CutlassMLP", "n_neurons": 16, "n_hidden_layers": 0, "output_activation": activation}
    model = make_model(encoding, network, 1, 1, form="fused")
    weights = torch.zeros(16, 16)
    weights[0, 0] = 1.0
    model.set_params(weights.reshape(-1))
    ends = [
        0.0,
        1e-30,
        -1e-30,
        1e-4,
        -1e-4,
        0.3,
        5.0,
        -5.0,
        20.0,
        -20.0,
        87.0,
        -87.0,
        -100.0,
        200.0,
        -200.0,
        1e30,
        -1e30,
    ]
    z = torch.tensor([*ends, torch.inf, -torch.inf, torch.nan])
    # An infinite input times weights of zero is NaN, so 3e38 takes the place of infinity
    x = torch.where(z.isinf(), torch.copysign(torch.tensor(3e38), z), z)
    expected = ACTIVATIONS[activation].apply(x.double()).float()
    torch.testing.assert_close(model(x[:, None])[:, 0], expected, rtol=2e-6, atol=1e-31, equal_nan=True)


def test_radiance_fields_agree_with_the_reference():
    """Colour and density from both networks, and the density alone from its own network."""
    encoding = {"otype": "Composite", "nested": [{**GRID, "n_levels": 8, "n_dims_to_encode": 3}, DIRECTIONS]}
    fused, exact = pair(encoding, 6, NERF, 4)
    x = uniform(1000, 6)
    check(fused, exact, x)
    density = exact.density(x[:, :3])
    assert (fused.density(x[:, :3]) - density).abs().max() <= TIGHT * density.abs().max()


def test_bits_depend_neither_on_threads_nor_on_other_rows():
    """Outputs are the same for one to four threads, and for a whole batch or pieces of any size."""
    models = [make_model(CACHE, WIDE, 10, form="fused", threads=threads) for threads in (1, 2, 3, 4)]
    for model in models:
        model.set_params(spread_params(models[0]))
    x = uniform(3 * STRETCH + 5, 10)
    y = models[0](x)
    for model in models[1:]:
        assert same_bits(model(x), y)
    for size in (1, 13, 100, STRETCH + 1):
        assert same_bits(torch.cat([models[1](piece) for piece in x[:500].split(size)]), y[:500])
    assert models[0](x[:0]).shape == (0, 3)


def test_values_that_are_not_finite_stay_in_their_row():
    """A NaN input gives a NaN output, and changes no other row, neither in this call nor in the next."""
    fused, _ = pair(CACHE, 10)
    x = uniform(200, 10)
    clean = fused(x)
    bad = x.clone()
    bad[3, 0] = bad[50, 7] = bad[120, 9] = torch.nan
    y = fused(bad)
    rows = torch.zeros(200, dtype=torch.bool)
    rows[[3, 50, 120]] = True
    assert y[rows].isnan().any(dim=1).all()
    assert same_bits(y[~rows], clean[~rows])
    assert same_bits(fused(x), clean)


def test_derivatives_of_the_fused_function_agree_with_the_reference():
    """First derivatives and the gradient of a gradient, with respect to inputs and parameters."""
    fused, exact = pair(SMOOTH, 3, SMALL | {"activation": "Softplus"}, 1)
    results = []
    for model in (fused, exact):
        x = uniform(50, 3).to(torch.float64 if model is exact else torch.float32).requires_grad_()
        params = model.params.clone().requires_grad_()
        y = model.backend.differentiable(x, params)
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        results.append((slope, *torch.autograd.grad(slope.square().sum(), (x, params))))
    for found, expected in zip(*results, strict=True):
        assert (found - expected).norm() <= 1e-4 * expected.norm()
