"""Golden values: every encoding's kernels, and whole models, compared with the independent oracle."""

import itertools

import numpy as np
import pytest
import torch

from nrc_tracer.nn.structure import Structure
from tests.nn import oracle
from tests.nn.samples import make_encoding, make_launcher, make_model, spread_params, uniform

TYPES = ("Hash", "Dense", "Tiled")
INTERPOLATIONS = ("Linear", "Smoothstep", "Nearest")
ACCURACY = 1e-6
"""Largest error of kernels, as a fraction of the largest value."""


def grid(type_="Hash", interpolation="Linear", features=2, **keys):
    return {
        "otype": "Grid",
        "type": type_,
        "interpolation": interpolation,
        "n_features_per_level": features,
        "n_levels": 5,
        "log2_hashmap_size": 8,
        "base_resolution": 4,
        "per_level_scale": 1.45,
    } | keys


# Every type with every number of dimensions and features, and every interpolation with every type and number of dimensions
GRIDS = [
    pytest.param(grid(type_, INTERPOLATIONS[(i + j) % 3], features), n_dims, id=f"{n_dims}d-{features}f-{type_}")
    for n_dims in (2, 3, 4)
    for (j, features), (i, type_) in itertools.product(enumerate((1, 2, 4, 8)), enumerate(TYPES))
]
# Levels too fine for 32-bit indices read entry 0
TOO_FINE = [
    pytest.param(grid("Tiled", n_levels=24, base_resolution=16), 2, id="2d-too-fine"),
    pytest.param(grid("Tiled", n_levels=15, base_resolution=16), 3, id="3d-too-fine"),
    pytest.param(grid("Tiled", n_levels=10, base_resolution=16), 4, id="4d-too-fine"),
]
LARGE = [
    pytest.param(grid(n_levels=16, log2_hashmap_size=15, base_resolution=16), 2, id="2d-16-levels"),
    pytest.param(grid(n_levels=16, log2_hashmap_size=14, base_resolution=16), 3, id="3d-16-levels"),
    pytest.param(grid(n_levels=1, base_resolution=1), 3, id="one-cell"),
    pytest.param(grid(log2_hashmap_size=1), 3, id="two-entries"),
]

IDENTITY = {"otype": "Identity", "scale": -1.7, "offset": 0.3}
ONE_BLOB = {"otype": "OneBlob", "n_bins": 8}
FREQUENCY = {"otype": "Frequency", "n_frequencies": 6}
WAVES = {"otype": "TriangleWave", "n_frequencies": 7}
HARMONICS = {"otype": "SphericalHarmonics", "degree": 4}
LEAVES = [
    pytest.param({"otype": "Identity"}, 3, id="identity"),
    pytest.param(IDENTITY, 5, id="identity-scaled"),
    *[pytest.param({"otype": "OneBlob", "n_bins": n}, 3, id=f"one-blob-{n}") for n in (1, 4, 16)],
    *[pytest.param({"otype": "Frequency", "n_frequencies": n}, 3, id=f"frequency-{n}") for n in (1, 12)],
    *[pytest.param({"otype": "TriangleWave", "n_frequencies": n}, 3, id=f"triangle-wave-{n}") for n in (1, 12)],
    *[pytest.param({"otype": "SphericalHarmonics", "degree": n}, 3, id=f"harmonics-{n}") for n in (1, 4, 8)],
    pytest.param({"otype": "Empty"}, 3, id="empty"),
    pytest.param({"otype": "NRC"}, 14, id="nrc-14"),
    pytest.param({"otype": "OneBlobFrequency"}, 8, id="nrc-8"),
]


def composite(*nested, reduction="Concatenation"):
    return {"otype": "Composite", "nested": list(nested), "reduction": reduction}


def of(encoding, n_dims, begin=None):
    return encoding | {"n_dims_to_encode": n_dims} | ({} if begin is None else {"dims_to_encode_begin": begin})


COMPOSITES = [
    pytest.param(composite(of(IDENTITY, 1), of(grid(features=4), 3), HARMONICS), 7, id="padded-inside"),
    pytest.param(composite(of(grid(features=8), 2), of(grid("Tiled", features=2), 2), ONE_BLOB), 6, id="two-grids"),
    pytest.param(composite(of(HARMONICS, 3), of(grid(), 3), of(ONE_BLOB, 0), of(HARMONICS, 3)), 9, id="harmonics-last"),
    pytest.param(composite(of(WAVES, 2, 1), of(grid(), 3, 0), of(IDENTITY, 4, 0)), 4, id="overlapping"),
    pytest.param(composite(of(composite(of(IDENTITY, 1), grid(features=8)), 3), FREQUENCY), 5, id="nested"),
    pytest.param(composite(of(IDENTITY, 1), of(composite(of(grid(features=4), 2), IDENTITY), 3)), 4, id="nested-last"),
    pytest.param(composite(of(grid(), 2), of(grid("Tiled"), 3), of(IDENTITY, 10), reduction="Sum"), 15, id="sum"),
    pytest.param(composite(of(grid(), 3, 0), of(grid("Dense"), 3, 0), reduction="Product"), 3, id="product"),
    pytest.param(composite(of(IDENTITY, 3, 1), of(IDENTITY, 3, 0), reduction="Sum"), 4, id="sum-overlapping"),
    pytest.param(composite(of(ONE_BLOB, 2), of(HARMONICS, 3), reduction="Product"), 5, id="product-harmonics"),
]


def points(n_dims, far, seed=0):
    """0, 1 and 1/2 in every column, random points inside, and with `far` also points outside up to that distance."""
    x = [uniform(160, n_dims, seed=seed)]
    x[0][:3] = torch.tensor([[0.0], [1.0], [0.5]])
    if far:
        x.append(uniform(160, n_dims, low=-3.0, high=4.0, seed=seed + 1))
        x.append(torch.cat([x[0][10:30] * far, x[0][10:30] * -far]))
        x.append(torch.tensor([[-1.0], [-0.0], [2.0], [far], [-far], [1e-30]]).expand(-1, n_dims))
    return torch.cat(x)


def kernel_values(encoding, x, params, width):
    out = torch.full((len(x), width), torch.nan)
    encoding.forward(make_launcher(), x, params, out)
    return out


def assert_golden(config, n_dims, far):
    encoding = make_encoding(config, n_dims)
    assert encoding.n_params == oracle.n_params(config, n_dims)
    params = uniform(encoding.n_params, low=-1.0, seed=1)
    x = points(n_dims, far)
    for alignment in (1, 16):
        expected = oracle.encode(config, x.numpy(), params.numpy(), alignment)
        width = encoding.n_output_dims if alignment == 1 else encoding.width(16)
        assert expected.shape == (len(x), width)
        values = kernel_values(encoding, x, params, width)
        largest = np.abs(expected).max(initial=0.0)
        np.testing.assert_allclose(values, expected, rtol=0.0, atol=ACCURACY * largest)
        # After the same float32 roundings the definition is float64
        defined = encoding.reference(x, params.double(), width)
        np.testing.assert_allclose(defined, expected, rtol=0.0, atol=1e-13 * largest)


@pytest.mark.parametrize(("config", "n_dims"), [*GRIDS, *LARGE, *TOO_FINE])
def test_grid(config, n_dims):
    """Points inside, outside, and as far away as cells fit into an int32, with and without padding."""
    finest = float(oracle.grid_levels(config, n_dims)[-1].scale)
    assert_golden(config, n_dims, min(1e6, 1e9 / max(finest, 1.0)))


@pytest.mark.parametrize(("config", "n_dims"), LEAVES)
def test_other_encodings(config, n_dims):
    """Points are also far outside, except for harmonics, whose powers are sums of large terms away from the sphere."""
    assert_golden(config, n_dims, 0.0 if config["otype"] == "SphericalHarmonics" else 1e3)


@pytest.mark.parametrize(("config", "n_dims"), COMPOSITES)
def test_composite(config, n_dims):
    """Columns, padding, inputs and parameters of each nested encoding have the right places."""
    assert_golden(config, n_dims, 0.0)


@pytest.mark.parametrize(
    ("config", "n_dims", "columns", "value"),
    [
        (grid(), 3, range(10, 16), 0.0),
        (IDENTITY, 3, range(3, 16), 1.0),
        (ONE_BLOB | {"n_bins": 4}, 3, range(12, 16), 1.0),
        (FREQUENCY, 1, range(12, 16), 1.0),
        (WAVES, 2, range(14, 16), 1.0),
        (HARMONICS | {"degree": 3}, 3, range(7), 1.0),
        (composite(of(IDENTITY, 1), of(grid(), 3)), 4, range(1, 2), 1.0),
        (composite(of(IDENTITY, 1), of(grid(), 3)), 4, range(12, 16), 0.0),
        (composite(of(IDENTITY, 1), of(HARMONICS | {"degree": 2}, 3)), 4, range(1, 12), 1.0),
        (composite(of(grid(), 3), of(IDENTITY, 1)), 4, range(11, 16), 1.0),
        (composite(of(IDENTITY, 2, 0), of(IDENTITY, 2, 1), reduction="Sum"), 3, range(2, 16), 2.0),
    ],
)
def test_padding_is_exact(config, n_dims, columns, value):
    """Padding has ones to the last bit, or zeros for a grid, in exactly these of 16 columns."""
    encoding = make_encoding(config, n_dims)
    values = kernel_values(encoding, points(n_dims, 1.0), uniform(encoding.n_params, low=-1.0, seed=1), 16)
    assert encoding.width(16) == 16
    np.testing.assert_array_equal(values[:, list(columns)], value)
    for column in {columns[0] - 1, columns[-1] + 1} & set(range(16)):
        assert not (values[:, column] == value).all()


@pytest.mark.parametrize("features", [1, 2])
def test_positions_outside_of_all_cells_are_safe(features):
    """Beyond int32, infinite or NaN positions, reads stay inside the table, and results of NaN are NaN."""
    encoding = make_encoding(grid(features=features), 3)
    params = uniform(encoding.n_params, low=-1.0, seed=1)
    x = torch.tensor([[1e30], [-1e30], [1e36], [1e12], [torch.inf], [-torch.inf], [torch.nan]]).expand(-1, 3)
    values = kernel_values(encoding, x.contiguous(), params, encoding.n_output_dims)
    assert values[:4].abs().max() <= 1.0
    assert torch.isnan(values[4:]).all()


@pytest.mark.parametrize(
    ("n_dims", "config", "count"),
    [
        (3, {}, 14_229_504),
        (3, {"per_level_scale": 1.51572}, 13_074_912),
        (3, {"per_level_scale": 1.66248}, 13_623_184),
        (3, {"per_level_scale": float(np.exp(np.log(2048 / 16) / 15))}, 12_196_240),
        (3, {"n_levels": 8, "n_features_per_level": 4, "per_level_scale": float(np.exp(np.log(128) / 7))}, 11_681_792),
        (2, {"log2_hashmap_size": 15, "per_level_scale": 1.5}, 708_368),
    ],
)
def test_parameter_counts(n_dims, config, count):
    """The counts are those of the specification's table, for the grid and for the structure."""
    config = {"otype": "HashGrid", **config}
    encoding = make_encoding(config, n_dims)
    assert encoding.n_params == count
    assert Structure(n_dims, None, encoding.config, None).n_params == count


MODELS = {
    "grid": (grid(), 3),
    "one_blob": (ONE_BLOB, 3),
    "nrc": ({"otype": "NRC"}, 14),
    "harmonics": (HARMONICS | {"degree": 3}, 3),
    "two-grids": (composite(of(grid(features=8), 2), of(grid("Tiled", features=2), 2), ONE_BLOB), 6),
}
NETWORKS = {
    "fused": {"otype": "FullyFusedMLP", "n_neurons": 64, "n_hidden_layers": 4},
    "odd": {
        "otype": "CutlassMLP",
        "n_neurons": 23,
        "n_hidden_layers": 2,
        "activation": "SiLU",
        "output_activation": "Tanh",
    },
    "matrix": {"otype": "CutlassMLP", "n_hidden_layers": 0, "output_activation": "Sigmoid"},
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", MODELS)
def test_models(name, network):
    """Encoding, padding and network together: the reference agrees to float64's accuracy, the kernels to 1e-5."""
    (config, n_dims), mlp = MODELS[name], NETWORKS[network]
    for n_output_dims in (1, 17):
        kernels = make_model(config, mlp, n_dims, n_output_dims)
        judge = make_model(config, mlp, n_dims, n_output_dims, backend="reference", precision="float64")
        params = spread_params(kernels)
        kernels.set_params(params)
        judge.set_params(params)
        x = points(n_dims, 0.0)
        split = kernels.structure.n_matrix_params
        features = oracle.encode(config, x.numpy(), params[split:].numpy(), 16)
        weights = params[:split].numpy()
        expected = oracle.network(mlp, features.shape[1], n_output_dims, weights, features)
        largest = np.abs(expected).max()
        np.testing.assert_allclose(judge(x), expected, rtol=0.0, atol=1e-13 * largest)
        np.testing.assert_allclose(kernels(x), expected, rtol=0.0, atol=1e-5 * largest)
