"""Configurations: tiny-cuda-nn's keys and defaults, instant-ngp's dialect, files, errors and warnings."""

import copy
import json
import math
import os
import subprocess
import sys
import warnings

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nrc_tracer.nn import config
from nrc_tracer.nn.config import ConfigError, ConfigWarning

# As tiny-cuda-nn's data/config_hash.json and data/config_oneblob.json
HASH = {
    "loss": {"otype": "RelativeL2"},
    "optimizer": {
        "otype": "Adam",
        "learning_rate": 1e-2,
        "beta1": 0.9,
        "beta2": 0.99,
        "epsilon": 1e-15,
        "l2_reg": 1e-6,
    },
    "encoding": {
        "otype": "HashGrid",
        "n_levels": 16,
        "n_features_per_level": 2,
        "log2_hashmap_size": 15,
        "base_resolution": 16,
        "per_level_scale": 1.5,
        "fixed_point_pos": False,
    },
    "network": {
        "otype": "FullyFusedMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": 64,
        "n_hidden_layers": 2,
    },
}
ONEBLOB = {
    "loss": {"otype": "RelativeL2"},
    "optimizer": {"otype": "Adam", "learning_rate": 1e-2, "beta2": 0.99},
    "encoding": {"otype": "OneBlob", "n_bins": 64},
    "network": {"otype": "FullyFusedMLP", "n_neurons": 128, "n_hidden_layers": 5},
}
# The shape of instant-ngp's NeRF configurations
NERF = {
    "loss": {"otype": "Huber"},
    "optimizer": {
        "otype": "Ema",
        "decay": 0.95,
        "nested": {
            "otype": "ExponentialDecay",
            "decay_start": 20000,
            "decay_interval": 10000,
            "decay_base": 0.33,
            "nested": {"otype": "Adam", "learning_rate": 1e-2, "beta2": 0.99, "epsilon": 1e-15, "l2_reg": 1e-6},
        },
    },
    "encoding": {"otype": "HashGrid", "n_levels": 8, "n_features_per_level": 4, "log2_hashmap_size": 19},
    "network": {"otype": "FullyFusedMLP", "n_neurons": 64, "n_hidden_layers": 1},
    "dir_encoding": {
        "otype": "Composite",
        "nested": [
            {"n_dims_to_encode": 3, "otype": "SphericalHarmonics", "degree": 4},
            {"otype": "Identity", "n_bins": 4, "degree": 4},
        ],
    },
    "rgb_network": {"otype": "FullyFusedMLP", "n_neurons": 64, "n_hidden_layers": 2},
    "envmap": {"loss": {"otype": "RelativeL2"}},
}
ALL_OPTIMIZERS = [
    config.Adam(beta2=0.99, adabound=True),
    config.SGD(l2_reg=0),
    config.Ema(decay=0.5, full_precision=True, nested=config.SGD()),
    config.ExponentialDecay(decay_base=0.33, nested=config.Ema()),
    config.Lookahead(alpha=1, n_steps=3),
    config.Batched(batch_size_multiplier=2),
    config.Average(n_samples=1),
    config.CompositeOptimizer(
        nested=[
            config.NestedOptimizer(optimizer=config.Adam(), n_params_to_optimize=7),
            config.NestedOptimizer(optimizer=config.Average()),
        ]
    ),
]
ALL_ENCODINGS = [
    config.Grid(type="dense", n_levels=3, per_level_scale=1.45),
    config.OneBlob(n_bins=1),
    config.Frequency(n_frequencies=3),
    config.TriangleWave(),
    config.SphericalHarmonics(degree=8),
    config.Identity(scale=-2, offset=0.5),
    config.Empty(),
    config.Composite(
        nested=[
            config.Nested(encoding=config.Grid(), n_dims_to_encode=3, dims_to_encode_begin=2),
            config.Nested(encoding=config.Identity(), n_dims_to_encode=0),
        ],
        reduction="sum",
    ),
]


@pytest.fixture(autouse=True)
def _no_warnings():
    """A warning that a test does not expect is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConfigWarning)
        yield


# --- Values and defaults


def test_sample_configurations_of_tiny_cuda_nn():
    model = config.read_model(HASH, n_input_dims=2)
    assert model.encoding == config.Grid(log2_hashmap_size=15, per_level_scale=1.5)
    assert model.network == config.Network(otype="FullyFusedMLP", n_neurons=64, n_hidden_layers=2)
    assert model.loss == config.Loss(otype="RelativeL2")
    assert model.optimizer == config.Adam(learning_rate=1e-2, beta2=0.99, epsilon=1e-15, l2_reg=1e-6)
    assert config.read_model(ONEBLOB).encoding == config.OneBlob(n_bins=64)


def test_missing_sections_and_otypes_are_tiny_cuda_nns_defaults():
    expected = config.ModelConfig(
        encoding=config.OneBlob(n_bins=16),
        network=config.Network(otype="CutlassMLP", n_neurons=128, n_hidden_layers=5),
        loss=config.Loss(otype="RelativeL2"),
        optimizer=config.Adam(),
    )
    assert config.read_model({}) == config.ModelConfig() == expected
    assert config.read_model({"encoding": {}, "network": {}, "loss": {}, "optimizer": {}}) == expected


def test_a_null_network_is_an_encoding_alone():
    model = config.read_model({"network": None})
    assert model.network is None
    assert config.read_model(config.to_json(model)) == model


ENCODING_DEFAULTS = {
    "Grid": {
        "type": "Hash",
        "n_levels": 16,
        "n_features_per_level": 2,
        "log2_hashmap_size": 19,
        "base_resolution": 16,
        "per_level_scale": 2.0,
        "interpolation": "Linear",
        "hash": "CoherentPrime",
    },
    "OneBlob": {"n_bins": 16},
    "Frequency": {"n_frequencies": 12},
    "TriangleWave": {"n_frequencies": 12},
    "SphericalHarmonics": {"degree": 4},
    "Identity": {"scale": 1.0, "offset": 0.0},
    "Empty": {},
}
ADAM_DEFAULTS = {
    "otype": "Adam",
    "learning_rate": 1e-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "l2_reg": 1e-8,
    "adabound": False,
    "relative_decay": 0.0,
    "absolute_decay": 0.0,
    "clipping_magnitude": 0.0,
    "gradient_clipping_magnitude": 0.0,
    "non_matrix_learning_rate_factor": 1.0,
    "non_matrix_l2_reg": 0.0,
    "optimize_matrix_params": True,
    "optimize_non_matrix_params": True,
    "skip_zero_grad_non_matrix_params": True,
}
OPTIMIZER_DEFAULTS = {
    "Adam": ADAM_DEFAULTS,
    "SGD": {"learning_rate": 1e-3, "l2_reg": 1e-8},
    "Ema": {"decay": 0.99, "full_precision": False, "nested": ADAM_DEFAULTS},
    "ExponentialDecay": {
        "decay_base": 0.1,
        "decay_interval": 10000,
        "decay_start": 10000,
        "decay_end": 10000000,
        "nested": ADAM_DEFAULTS,
    },
    "Lookahead": {"alpha": 0.5, "n_steps": 16, "nested": ADAM_DEFAULTS},
    "Batched": {"batch_size_multiplier": 16, "nested": ADAM_DEFAULTS},
    "Average": {"n_samples": 128, "nested": ADAM_DEFAULTS},
}


@pytest.mark.parametrize("otype", ENCODING_DEFAULTS)
def test_defaults_of_encodings(otype):
    assert config.to_json(config.read_encoding({"otype": otype})) == {"otype": otype, **ENCODING_DEFAULTS[otype]}


@pytest.mark.parametrize("otype", OPTIMIZER_DEFAULTS)
def test_defaults_of_optimizers(otype):
    assert config.to_json(config.read_optimizer({"otype": otype})) == {"otype": otype, **OPTIMIZER_DEFAULTS[otype]}


def test_defaults_of_networks_and_losses():
    network = {"activation": "ReLU", "output_activation": "None", "n_neurons": 128, "n_hidden_layers": 5}
    assert config.to_json(config.read_network({})) == {"otype": "CutlassMLP", **network}
    assert config.to_json(config.read_loss({})) == {"otype": "RelativeL2"}
    assert config.to_json(config.read_loss({"otype": "huber"})) == {"otype": "Huber", "delta": 0.1}


@pytest.mark.parametrize("part", [*ALL_ENCODINGS, *ALL_OPTIMIZERS], ids=lambda part: type(part).__name__)
def test_json_of_a_part_reads_back(part):
    data = json.loads(json.dumps(config.to_json(part)))
    read = config.read_encoding if isinstance(part, config.Encoding) else config.read_optimizer
    assert read(data) == part
    assert read(part) is part


def test_json_of_a_model_reads_back():
    for encoding in ALL_ENCODINGS:
        for optimizer in ALL_OPTIMIZERS:
            model = config.ModelConfig(
                encoding=encoding, optimizer=optimizer, loss=config.Loss(otype="Huber", delta=2), network=None
            )
            assert config.read_model(json.loads(json.dumps(config.to_json(model)))) == model
            assert config.read_model(model) is model


def test_to_json_is_builtins_and_otype():
    for part in (*ALL_ENCODINGS[:-1], config.Adam(moments="bfloat16"), config.Network()):
        assert config.to_json(part) == msgspec.to_builtins(part)
    assert "moments" not in config.to_json(config.Adam())  # which tiny-cuda-nn has not
    with pytest.raises(ConfigError, match=r"expected a configuration or a part of one"):
        config.to_json({"otype": "Grid"})


def test_parts_may_stand_in_data():
    model = config.read_model(
        {
            "encoding": {"otype": "Composite", "nested": [config.Nested(encoding=config.Empty(), n_dims_to_encode=1)]},
            "network": config.Network(n_neurons=3),
            "optimizer": {"otype": "Ema", "nested": config.SGD()},
        }
    )
    assert model.encoding.nested[0].encoding == config.Empty()
    assert model.network.n_neurons == 3
    assert model.optimizer.nested == config.SGD()


def test_names_are_read_in_any_case_and_kept_in_theirs():
    model = config.read_model(
        {
            "encoding": {"otype": "hASHgRID", "type": "hash", "interpolation": "SMOOTHSTEP", "hash": "coherentprime"},
            "network": {"otype": "megakernelmlp", "activation": "leakyrelu", "output_activation": "SQUAREPLUS"},
            "loss": {"otype": "Mape"},
            "optimizer": {"otype": "EMA", "nested": {"otype": "sgd"}},
        }
    )
    assert (model.encoding.interpolation, model.encoding.hash) == ("Smoothstep", "CoherentPrime")
    assert (model.network.otype, model.network.activation) == ("FullyFusedMLP", "LeakyReLU")
    assert model.network.output_activation == "Squareplus"
    assert model.loss.otype == "MAPE"
    assert model.optimizer == config.Ema(nested=config.SGD())
    assert config.read_network({"otype": "mlp"}).otype == "CutlassMLP"
    assert config.Network(activation="tanh").activation == "Tanh"


@pytest.mark.parametrize(
    "name",
    ["None", "ReLU", "LeakyReLU", "SiLU", "Exponential", "Sine", "Sigmoid", "Squareplus", "Softplus", "Tanh"],
    ids=str,
)
def test_every_activation(name):
    assert config.read_network({"activation": name.upper()}).activation == name


@pytest.mark.parametrize(
    "name",
    ["L1", "L2", "RelativeL1", "RelativeL2", "RelativeL2Luminance", "MAPE", "SMAPE", "CrossEntropy", "Huber"],
    ids=str,
)
def test_every_loss(name):
    assert config.read_loss({"otype": name.lower()}).otype == name


def test_numbers_are_brought_to_their_type():
    grid = config.read_encoding({"otype": "Grid", "n_levels": 16.0, "per_level_scale": 2})
    assert type(grid.n_levels) is int
    assert type(grid.per_level_scale) is float


# --- Grids


@pytest.mark.parametrize(
    ("otype", "given", "expected"),
    [
        ("Grid", {}, "Hash"),
        ("HashGrid", {}, "Hash"),
        ("DenseGrid", {}, "Dense"),
        ("TiledGrid", {}, "Tiled"),
        ("TiledGrid", {"type": "Hash"}, "Hash"),
        ("Grid", {"type": "Tile"}, "Tiled"),
    ],
)
def test_otype_sets_the_default_type_of_a_grid(otype, given, expected):
    assert config.read_encoding({"otype": otype, **given}).type == expected


def test_default_growth_of_a_dense_grid_ends_at_256():
    grid = config.read_encoding({"otype": "DenseGrid", "n_levels": 5, "base_resolution": 16})
    assert grid.per_level_scale == pytest.approx(2.0, rel=1e-7)
    grid = config.read_encoding({"otype": "Grid", "type": "Dense", "n_features": 32})
    assert 16 * grid.per_level_scale**15 == pytest.approx(256, rel=15 * 2**-23)
    assert config.read_encoding({"otype": "DenseGrid", "per_level_scale": 1.3}).per_level_scale == 1.3
    # tiny-cuda-nn divides by zero here
    assert config.read_encoding({"otype": "DenseGrid", "n_levels": 1}).per_level_scale == 2.0


def test_n_features_is_accepted_for_n_levels():
    assert config.read_encoding({"otype": "Grid", "n_features": 32, "n_features_per_level": 4}).n_levels == 8
    assert config.read_encoding({"otype": "Grid", "n_grid_features": 6}).n_levels == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_features": 32, "n_levels": 16}, "encoding.n_features: follows from n_levels"),
        ({"n_features": 30, "n_features_per_level": 4}, "expected a multiple of n_features_per_level = 4, got 30"),
        ({"n_features": 512}, "encoding.n_levels: expected an integer from 1 to 128, got 256"),
        ({"n_features": True}, "encoding.n_features: expected an integer .*got true"),
        ({"n_features_per_level": 3}, "encoding.n_features_per_level: expected 1, 2, 4 or 8, got 3"),
        ({"n_levels": "many"}, 'encoding.n_levels: expected an integer from 1 to 128, got "many"'),
        ({"n_levels": True}, "encoding.n_levels: expected an integer from 1 to 128, got true"),
        ({"n_levels": 2.5}, "got 2.5"),
        ({"n_levels": None}, "got null"),
        ({"n_levels": 0}, "got 0"),
        ({"n_levels": 129}, "got 129"),
        ({"n_levels": 10**5000}, "got an integer of more than 38 digits"),
        ({"n_levels": [16]}, "got an array"),
        ({"log2_hashmap_size": 32}, "from 1 to 31, got 32"),
        ({"log2_hashmap_size": 0}, "from 1 to 31, got 0"),
        ({"base_resolution": 0}, "encoding.base_resolution: .* got 0"),
        ({"per_level_scale": 0}, "encoding.per_level_scale: expected a finite number above 0, got 0"),
        ({"per_level_scale": -1.5}, "got -1.5"),
        ({"per_level_scale": 1e-60}, "above 0, got 1e-60"),
        ({"per_level_scale": math.inf}, "got inf"),
        ({"per_level_scale": math.nan}, "got nan"),
        ({"per_level_scale": 1e39}, r"got 1e\+39"),
        ({"per_level_scale": 10**400}, "got an integer of more"),
        ({"per_level_scale": False}, "got false"),
        ({"type": "Octree"}, 'encoding.type: unknown grid type "Octree"'),
        ({"type": 3}, "encoding.type: expected the name of a grid type, got 3"),
        ({"interpolation": "Cubic"}, "encoding.interpolation: unknown interpolation"),
        ({"hash": "Prime"}, "encoding.hash: Prime is not supported, use CoherentPrime"),
        ({"hash": "basecONVERT"}, "encoding.hash: BaseConvert is not supported, use CoherentPrime"),
        ({"fixed_point_pos": True}, "encoding.fixed_point_pos: not supported"),
        ({"stochastic_interpolation": True}, "encoding.stochastic_interpolation: not supported"),
        ({"stochastic_interpolation": 1}, "encoding.stochastic_interpolation: expected true or false, got 1"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else value,
)
def test_what_a_grid_refuses(given, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config.read_encoding({"otype": "HashGrid", **given})
    assert "\n" not in str(caught.value)


def test_switched_off_features_of_grids_are_accepted():
    given = {"otype": "Grid", "fixed_point_pos": False, "stochastic_interpolation": False}
    assert config.read_encoding(given) == config.Grid()


def test_ends_of_the_ranges_of_a_grid():
    low = {"n_levels": 1, "n_features_per_level": 1, "log2_hashmap_size": 1, "base_resolution": 1}
    high = {"n_levels": 128, "n_features_per_level": 8, "log2_hashmap_size": 31, "base_resolution": 2**31 - 1}
    for values in (low, high):
        assert config.read_encoding({"otype": "Grid", **values}) == config.Grid(**values)


# --- Other encodings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"otype": "OneBlob", "n_bins": 12}, "encoding.n_bins: expected a power of two from 1 to 65536, got 12"),
        ({"otype": "OneBlob", "n_bins": 0}, "got 0"),
        (
            {"otype": "Frequency", "n_frequencies": 0},
            "encoding.n_frequencies: expected an integer from 1 to 128, got 0",
        ),
        ({"otype": "TriangleWave", "n_frequencies": 129}, "got 129"),
        ({"otype": "SphericalHarmonics", "degree": 9}, "encoding.degree: expected an integer from 1 to 8, got 9"),
        ({"otype": "Identity", "scale": "big"}, 'encoding.scale: expected a finite number, got "big"'),
        ({"otype": "HashGird"}, r'encoding.otype: unknown encoding "HashGird" \(did you mean "HashGrid"\?\)'),
        ({"otype": 5}, "encoding.otype: expected the name of an encoding, got 5"),
        ({"otype": None}, "encoding.otype: expected the name of an encoding, got null"),
        ([], "encoding: expected an object, got an empty array"),
        (None, "encoding: expected an object, got null"),
        ({3: 4}, "encoding: expected strings as keys, got 3"),
        ({"otype": "x" * 1000 + "\n\ud800"}, "unknown encoding"),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "replace").decode(),
)
def test_what_encodings_refuse(given, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config.read_encoding(given)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


NRC_DEFAULT = {
    "otype": "Composite",
    "nested": [
        {"n_dims_to_encode": 3, "otype": "TriangleWave", "n_frequencies": 12},
        {"n_dims_to_encode": 5, "otype": "OneBlob", "n_bins": 4},
        {"otype": "Identity"},
    ],
}


@pytest.mark.parametrize("otype", ["NRC", "OneBlobFrequency", "nrc"])
def test_nrc_is_its_composite(otype):
    assert config.read_encoding({"otype": otype}) == config.read_encoding(NRC_DEFAULT)
    nrc = config.read_encoding({"otype": otype, "n_frequencies": 6, "n_bins": 8})
    assert nrc.nested[0].encoding == config.TriangleWave(n_frequencies=6)
    assert nrc.nested[1].encoding == config.OneBlob(n_bins=8)
    with pytest.raises(ConfigError, match=r"encoding.n_bins: expected a power of two"):
        config.read_encoding({"otype": otype, "n_bins": 3})


def test_nrc_needs_eight_dimensions():
    nrc = config.read_encoding({"otype": "NRC"}, n_input_dims=8)
    assert config.input_slices(nrc, 8) == ((0, 3), (3, 5), (8, 0))
    assert config.input_slices(nrc, 14) == ((0, 3), (3, 5), (8, 6))
    with pytest.raises(ConfigError, match=r"encoding.nested: 8 dimensions are to be encoded, but the input has 7"):
        config.read_encoding({"otype": "NRC"}, n_input_dims=7)


@pytest.mark.parametrize(
    ("nested", "message"),
    [
        (None, "encoding.nested: expected an array, got null"),
        ({}, "encoding.nested: expected an array, got an object"),
        ([], "encoding.nested: expected an array with at least one member, got an empty array"),
        ([3], r"encoding.nested\[0\]: expected an object, got 3"),
        ([{}, {}], r"encoding.nested\[1\]: give n_dims_to_encode, which only one may leave out and nested\[0\] does"),
        ([{"dims_to_encode_begin": 1}], r"encoding.nested\[0\]: give n_dims_to_encode"),
        ([{"n_dims_to_encode": 1, "dims_to_encode_begin": 0}, {}], r"encoding.nested\[1\]: give n_dims_to_encode"),
        ([{"n_dims_to_encode": 0}], "encoding.nested: no dimension is encoded"),
        ([{"n_dims_to_encode": -1}], r"encoding.nested\[0\].n_dims_to_encode: expected an integer from 0"),
        (
            [{"otype": "Composite", "nested": [{}, {"otype": "Grid", "n_levels": "x"}]}],
            r"encoding.nested\[0\].nested\[1\].n_levels: expected",
        ),
    ],
    ids=str,
)
def test_what_a_composite_refuses(nested, message):
    with pytest.raises(ConfigError, match=message):
        config.read_encoding({"otype": "Composite", "nested": nested})
    with pytest.raises(ConfigError, match=r"encoding.nested: expected an array, got nothing"):
        config.read_encoding({"otype": "Composite"})
    with pytest.raises(ConfigError, match=r"encoding.reduction: unknown reduction"):
        config.read_encoding({"otype": "Composite", "nested": [{}], "reduction": "Mean"})


def test_slices_of_a_composite():
    def slices(n_input_dims, *nested):
        composite = config.read_encoding({"otype": "Composite", "nested": list(nested)})
        return config.input_slices(composite, n_input_dims)

    assert slices(7, {"n_dims_to_encode": 2}, {}, {"n_dims_to_encode": 1}) == ((0, 2), (2, 4), (6, 1))
    # One without a beginning goes on after the one before it; slices may overlap
    placed = {"n_dims_to_encode": 2, "dims_to_encode_begin": 1}
    assert slices(4, placed, {"n_dims_to_encode": 1}, placed) == ((1, 2), (3, 1), (1, 2))
    with pytest.raises(ConfigError, match=r"encoding.nested\[1\]: dimensions 3 to 4 .* input has 4"):
        slices(4, placed, {"n_dims_to_encode": 2})


@pytest.mark.parametrize(
    ("encoding", "good", "bad"),
    [
        ({"otype": "Grid"}, (2, 3, 4), (1, 5)),
        ({"otype": "SphericalHarmonics"}, (3,), (2, 4)),
        ({"otype": "OneBlob"}, (1, 9), ()),
        ({"otype": "Composite", "nested": [{"n_dims_to_encode": 2}, {"otype": "Grid"}]}, (2, 4, 5, 6), (1, 3, 7)),
    ],
)
def test_input_dimensions_are_checked(encoding, good, bad):
    for n_input_dims in good:
        config.read_model({"encoding": encoding}, n_input_dims=n_input_dims)
    for n_input_dims in bad:
        with pytest.raises(ConfigError, match=r"encoding"):
            config.read_model({"encoding": encoding}, n_input_dims=n_input_dims)
        with pytest.raises(ConfigError, match=r"encoding"):
            config.read_model(config.ModelConfig(encoding=config.read_encoding(encoding)), n_input_dims=n_input_dims)
    with pytest.raises(ConfigError, match=r"n_input_dims: expected an integer"):
        config.read_encoding(encoding, n_input_dims=0)


# --- Networks, losses, optimizers


def test_widths_of_the_fully_fused_network():
    for n_neurons in (16, 32, 64, 128):
        assert config.read_network({"otype": "FullyFusedMLP", "n_neurons": n_neurons}).n_neurons == n_neurons
    with pytest.raises(ConfigError, match=r"network.n_neurons: expected 16, 32, 64 or 128 with FullyFusedMLP, got 48"):
        config.read_network({"otype": "FullyFusedMLP", "n_neurons": 48})
    assert config.read_network({"otype": "CutlassMLP", "n_neurons": 48}).n_neurons == 48


def test_least_number_of_hidden_layers():
    assert config.read_network({"otype": "CutlassMLP", "n_hidden_layers": 0}).n_hidden_layers == 0
    with pytest.raises(ConfigError, match=r"network.n_hidden_layers: expected at least 1 with FullyFusedMLP"):
        config.read_network({"otype": "FullyFusedMLP", "n_hidden_layers": 0})


def test_dimensions_in_a_network_are_passed_over():
    assert config.read_network({"n_input_dims": 3, "n_output_dims": 16}) == config.Network()


@pytest.mark.parametrize(
    ("read", "given", "message"),
    [
        (config.read_network, {"otype": "ResNet"}, 'network.otype: unknown network "ResNet"'),
        (config.read_network, {"activation": "Relu6"}, r'network.activation: .* \(did you mean "ReLU"\?\)'),
        (config.read_network, {"activation": None}, "network.activation: expected the name of an activation"),
        (config.read_network, {"n_neurons": 0}, "network.n_neurons: expected an integer from 1"),
        (config.read_network, 3, "network: expected an object, got 3"),
        (config.read_loss, {"otype": "Variance"}, "loss.otype: Variance is not supported, use L1, .* or Huber"),
        (config.read_loss, {"otype": "L3"}, 'loss.otype: unknown loss "L3"'),
        (config.read_loss, {"otype": "Huber", "delta": 0}, "loss.delta: expected a finite number above 0"),
        (config.read_optimizer, {"otype": "Novograd"}, "optimizer.otype: Novograd is not supported, use Adam"),
        (config.read_optimizer, {"otype": "shampoo"}, "optimizer.otype: Shampoo is not supported, use Adam"),
        (config.read_optimizer, {"otype": "Adamw"}, r'did you mean "Adam"'),
        (config.read_optimizer, {"learning_rate": -1}, "optimizer.learning_rate: expected .* at least 0, got -1"),
        (config.read_optimizer, {"beta2": 1}, "optimizer.beta2: expected .* below 1, got 1"),
        (config.read_optimizer, {"beta2": 1 - 1e-12}, "optimizer.beta2: expected"),
        (config.read_optimizer, {"adabound": "yes"}, "optimizer.adabound: expected true or false"),
        (config.read_optimizer, {"otype": "Ema", "decay": 1}, "optimizer.decay: expected"),
        (config.read_optimizer, {"otype": "Ema", "nested": []}, "optimizer.nested: expected an object"),
        (config.read_optimizer, {"otype": "Ema", "nested": {"beta1": 2}}, "optimizer.nested.beta1: expected"),
        (config.read_optimizer, {"otype": "ExponentialDecay", "decay_interval": 0}, "decay_interval: .* from 1"),
        (config.read_optimizer, {"otype": "Lookahead", "alpha": 1.1}, "optimizer.alpha: .* at most 1, got 1.1"),
        (config.read_optimizer, {"otype": "Lookahead", "n_steps": 0}, "optimizer.n_steps"),
        (config.read_optimizer, {"otype": "Batched", "batch_size_multiplier": 0}, "optimizer.batch_size_multiplier"),
        (config.read_optimizer, {"otype": "Average", "n_samples": 0}, "optimizer.n_samples"),
        (config.read_optimizer, {"otype": "Composite"}, "optimizer.nested: expected an array, got nothing"),
        (config.read_optimizer, {"otype": "Composite", "nested": []}, "optimizer.nested: expected an array with"),
        (
            config.read_optimizer,
            {"otype": "Composite", "nested": [{}, {"n_params_to_optimize": -1}]},
            r"optimizer.nested\[1\].n_params_to_optimize: expected",
        ),
    ],
    ids=str,
)
def test_what_other_sections_refuse(read, given, message):
    with pytest.raises(ConfigError, match=message):
        read(given)


def test_composite_optimizer():
    given = {"otype": "Composite", "nested": [{"n_params_to_optimize": 5}, {"otype": "SGD"}]}
    optimizer = config.read_optimizer(given)
    assert [(nested.optimizer, nested.n_params_to_optimize) for nested in optimizer.nested] == [
        (config.Adam(), 5),
        (config.SGD(), 0),
    ]


def test_parts_made_in_python_are_checked():
    with pytest.raises(ConfigError, match=r"Grid.n_levels: expected an integer from 1 to 128, got 1000"):
        config.Grid(n_levels=1000)
    with pytest.raises(ConfigError, match=r"Network.n_neurons: expected 16, 32, 64 or 128"):
        config.Network(otype="FullyFusedMLP", n_neurons=5)
    with pytest.raises(ConfigError, match=r"Ema.nested: expected an optimizer, got"):
        config.Ema(nested=config.Grid())
    with pytest.raises(ConfigError, match=r"Loss.delta: only Huber has one"):
        config.Loss(otype="L2", delta=0.5)
    with pytest.raises(ConfigError, match=r"ModelConfig.loss: expected a loss"):
        config.ModelConfig(loss="L2")
    with pytest.raises(ConfigError, match=r"Composite.nested\[0\]: expected a Nested"):
        config.Composite(nested=[config.Grid()])
    with pytest.raises(ConfigError, match=r"Grid.hash"):
        msgspec.structs.replace(config.Grid(), hash="Rng")
    with pytest.raises(AttributeError):
        config.Grid().n_levels = 3


# --- Unknown keys


def test_unknown_keys_warn_with_place_and_nearest_key():
    nested = [{"n_dims_to_encode": 2}, {"otype": "OneBlob", "n_binz": 8}]
    with pytest.warns(ConfigWarning) as caught:
        config.read_model({"encoding": {"otype": "Composite", "nested": nested}})
    assert [str(warning.message) for warning in caught] == [
        'encoding.nested[1].n_binz: unknown key, ignored (did you mean "n_bins"?)'
    ]
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"encodng": {}}, 'encodng: unknown key, ignored (did you mean "encoding"?)'),
        ({"network": {"n_neuron": 3}}, 'network.n_neuron: unknown key, ignored (did you mean "n_neurons"?)'),
        ({"loss": {"otype": "L2", "delta": 1}}, "loss.delta: unknown key, ignored"),
        ({"optimizer": {"otype": "SGD", "beta1": 0.9}}, "optimizer.beta1: unknown key, ignored"),
        ({"optimizer": {"otype": "Ema", "nested": {"decay": 1}}}, "optimizer.nested.decay: unknown key"),
        ({"encoding": {"n_dims_to_encode": 3}}, "encoding.n_dims_to_encode: unknown key"),
        ({"encoding": {"otype": "NRC", "degree": 3}}, "encoding.degree: unknown key"),
        ({"encoding": {"otype": "Empty", "odd key\n": 3}}, r'encoding["odd key\n"]: unknown key, ignored'),
    ],
    ids=str,
)
def test_unknown_keys_warn_everywhere(document, message):
    with pytest.warns(ConfigWarning) as caught:
        config.read_model(document)
    assert len(caught) == 1
    assert str(caught[0].message).startswith(message)


def test_warnings_and_errors_name_the_file(tmp_path):
    path = tmp_path / "model.json"
    path.write_text('{"encoding": {"otype": "Grid", "n_level": 3}}')
    with pytest.warns(ConfigWarning, match=r'model.json: encoding.n_level: .*"n_levels"') as caught:
        config.read_model(path)
    assert caught[0].filename == __file__
    path.write_text('{"encoding": {"otype": "Grid", "n_levels": -3}}')
    with pytest.raises(ConfigError, match=r"model.json: encoding.n_levels: expected") as error:
        config.read_model(str(path))
    assert str(error.value).count("model.json") == 1
    with pytest.raises(ConfigError, match=r"^model.json: rgb_network: expected an object"):
        config.read_network(3, place="rgb_network", file="model.json")


def test_not_more_than_twenty_warnings():
    with pytest.warns(ConfigWarning) as caught:
        config.read_loss({f"key{i}": i for i in range(1000)})
    assert len(caught) == 21
    assert str(caught[20].message) == "more unknown keys"


# --- instant-ngp


def test_keys_of_instant_ngp_are_no_reason_to_warn():
    model = config.read_model(NERF, n_input_dims=3)
    assert model.loss == config.Loss(otype="Huber")
    assert model.optimizer.nested.nested.epsilon == 1e-15
    document = config.read_document(NERF)
    direction = config.read_encoding(document["dir_encoding"], dialect="instant-ngp", place="dir_encoding")
    assert direction.nested[0].encoding == config.SphericalHarmonics(degree=4)
    # In tiny-cuda-nn's dialect the same leftovers of another otype are pointed out
    with pytest.warns(ConfigWarning, match=r"dir_encoding.nested\[1\].(n_bins|degree)"):
        config.read_encoding(document["dir_encoding"], place="dir_encoding")
    assert config.read_network(document["rgb_network"], place="rgb_network").n_hidden_layers == 2


def test_other_typing_errors_still_warn_in_instant_ngps_dialect():
    with pytest.warns(ConfigWarning, match=r"encoding.n_lvels"):
        config.read_encoding({"otype": "Grid", "n_lvels": 3}, dialect="instant-ngp")


@pytest.mark.parametrize(
    ("keywords", "n_max"),
    [({}, 2048), ({"aabb_scale": 16}, 32768), ({"image_resolution": (300, 1000)}, 500)],
    ids=str,
)
def test_automatic_growth_ends_at_the_finest_resolution(keywords, n_max):
    grid = config.read_encoding({"otype": "HashGrid", "n_levels": 8}, dialect="instant-ngp", **keywords)
    assert grid.log2_hashmap_size == 15
    # Three roundings to float32, and that of b is raised to the 7th power
    assert 16 * grid.per_level_scale**7 == pytest.approx(n_max, rel=16 * 2**-23)


def test_dialects_differ_only_in_absent_keys():
    given = {"otype": "HashGrid", "per_level_scale": 1.25, "log2_hashmap_size": 20}
    assert config.read_encoding(given, dialect="Instant-NGP") == config.read_encoding(given)
    assert config.read_encoding({"otype": "HashGrid"}) == config.Grid(per_level_scale=2.0, log2_hashmap_size=19)
    nested = {"otype": "Composite", "nested": [{"otype": "HashGrid"}]}
    model = config.read_model({"encoding": nested}, dialect="instant-ngp", aabb_scale=2)
    grid = model.encoding.nested[0].encoding
    assert (grid.log2_hashmap_size, grid.per_level_scale) == (15, config.growth_factor(4096, 16, 16))
    grid = config.Grid()
    assert config.read_encoding(grid, dialect="instant-ngp") is grid


def test_growth_factor_gives_the_parameter_counts_of_the_specification():
    def n_params(b, n_levels, per_level):
        total = 0
        for level in range(n_levels):
            resolution = math.ceil(16 * 2 ** (level * math.log2(b)) - 1) + 1
            total += min(-(-(resolution**3) // 8) * 8, 2**19) * per_level
        return total

    assert n_params(config.growth_factor(2048, 16, 16), 16, 2) == 12_196_240
    assert n_params(config.growth_factor(2048, 16, 8), 8, 4) == 11_681_792


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"dialect": "instant-npg"}, r'unknown dialect "instant-npg" \(did you mean "instant-ngp"\?\)'),
        ({"aabb_scale": 0}, "aabb_scale: expected"),
        ({"aabb_scale": "1"}, "aabb_scale: expected"),
        ({"image_resolution": (3,)}, r"image_resolution: expected \(width, height\)"),
        ({"image_resolution": 3}, r"image_resolution: expected \(width, height\)"),
        ({"image_resolution": (3, 0)}, r"image_resolution\[1\]: expected"),
    ],
    ids=str,
)
def test_arguments_are_checked(keywords, message):
    with pytest.raises(ConfigError, match=message):
        config.read_model({}, **keywords)


# --- Documents


def test_comments_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "model.json"
    text = """// first
    {"loss": /* here { [ " */ {"otype": "L1"}, // to the end "
     "snapshot": "http://x/*no*/\\\\", /**/ "parent": null /* two
     lines */ } // last"""
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert config.read_document(path) == {"loss": {"otype": "L1"}, "snapshot": "http://x/*no*/\\"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1, column 1: Expecting value"),
        (b'{"a": 1,}', "line 1, column"),
        (b'/* a\n b */ {"a"\n: x}', "line 3, column 3: Expecting value"),
        (b'{"a": "no end', "line 1, column 7: Unterminated string"),
        (b'{"a": "no end\\', "Unterminated string"),
        (b"{}\n  /* no end", "line 2, column 3: a comment that does not end"),
        (b"{} / 2", "line 1, column 4: Extra data"),
        (b"[1]", "expected an object at the top, got an array"),
        (b'{"a": NaN}', "NaN is not a number of JSON"),
        (b'{"a": -Infinity}', "-Infinity is not a number of JSON"),
        (b'{"a": 1e999}', "1e999 is too large"),
        (b'{"a": 1, "b": 2, "a": 1}', 'the key "a" appears twice'),
        (b'{"a": ' + b"1" * 5000 + b"}", "an integer in the JSON has too many digits"),
        (b"[" * 100_000, "line 1, column 65: nested more than 64 deep"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested more than 64 deep"),
        (b'{"a": "\xff"}', "not UTF-8 text"),
        (b" " * (16 * 2**20 + 1), "larger than 16 MiB"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_malformed_files(tmp_path, data, message):
    path = tmp_path / "model.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=message) as caught:
        config.read_document(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["no such file.json", "a\0b", "a\ud800b", os.curdir, 3, None], ids=repr)
def test_what_is_no_file(source):
    with pytest.raises(ConfigError):
        config.read_document(source)


@pytest.mark.parametrize("data", [b'"' * 2_000_001, b'"' + b'\\"' * 1_000_000, b"/*/" * 1_000_000, b"//" * 1_000_000])
def test_hostile_files_are_read_in_linear_time(tmp_path, data):
    (tmp_path / "model.json").write_bytes(data)
    with pytest.raises(ConfigError):
        config.read_document(tmp_path / "model.json")


def test_a_mapping_is_copied_and_checked():
    source = {"a": {"b": [1, (2, 3)]}}
    document = config.read_document(source)
    assert document == {"a": {"b": [1, [2, 3]]}}
    document["a"]["b"].append(4)
    assert source == {"a": {"b": [1, (2, 3)]}}
    deep = circle = {}
    for _ in range(70):
        deep = {"a": deep}
    circle["a"] = circle
    for bad in (deep, circle):
        with pytest.raises(ConfigError, match=r"nested more than 64 deep"):
            config.read_document(bad)
    with pytest.raises(ConfigError, match=r"a\[1\]: expected a finite number, got nan"):
        config.read_document({"a": [0, math.nan]})
    with pytest.raises(ConfigError, match=r"a: expected strings as keys, got 1"):
        config.read_document({"a": {1: 2}})
    with pytest.raises(ConfigError, match=r"a\.b: expected what JSON can hold, got a value of type set"):
        config.read_document({"a": {"b": {1}}})


def test_deeply_nested_parts_are_refused():
    encoding = optimizer = {}
    for _ in range(1000):
        encoding = {"otype": "Composite", "nested": [encoding]}
        optimizer = {"otype": "Ema", "nested": optimizer}
    with pytest.raises(ConfigError, match=r"nested more than 64 deep"):
        config.read_encoding(encoding)
    with pytest.raises(ConfigError, match=r"nested more than 64 deep"):
        config.read_optimizer(optimizer)


def test_a_parent_is_merged_from_its_own_folder(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "root.json").write_text(
        '{"loss": {"otype": "L2"}, "envmap": {"a": 1}, "encoding": {"otype": "HashGrid", "n_levels": 4}}'
    )
    (tmp_path / "base" / "base.json").write_text('{"parent": "root.json", "encoding": {"n_levels": 5}, "list": [1, 2]}')
    child = tmp_path / "child.json"
    child.write_text('{"parent": "base/base.json", "envmap": null, "encoding": {"per_level_scale": 1.5}, "list": [3]}')
    expected = {
        "loss": {"otype": "L2"},
        "encoding": {"otype": "HashGrid", "n_levels": 5, "per_level_scale": 1.5},
        "list": [3],
    }
    assert config.read_document(child) == expected
    assert config.read_document({"parent": str(child)}) == expected
    # What was read once can be read again: the parent is spent
    document = {key: expected[key] for key in ("loss", "encoding")}
    assert config.read_model(document).encoding == config.Grid(n_levels=5, per_level_scale=1.5)


def test_a_child_with_another_otype_keeps_its_parents_keys_in_silence(tmp_path):
    (tmp_path / "base.json").write_text(json.dumps(NERF))
    child = tmp_path / "child.json"
    child.write_text('{"parent": "base.json", "encoding": {"otype": "Frequency"}, "loss": {"otype": "L2"}}')
    model = config.read_model(child, dialect="instant-ngp")
    assert model.encoding == config.Frequency()


def test_parents_in_a_circle(tmp_path):
    (tmp_path / "a.json").write_text('{"parent": "b.json"}')
    (tmp_path / "b.json").write_text(json.dumps({"parent": f"./../{tmp_path.name}/a.json"}))
    with pytest.raises(ConfigError, match=r"circle: .*a.json -> .*b.json -> .*a.json$"):
        config.read_document(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"parent": "a.json"}')
    with pytest.raises(ConfigError, match=r"circle"):
        config.read_document({"parent": str(tmp_path / "a.json")})


def test_a_long_line_of_parents(tmp_path):
    for i in range(40):
        (tmp_path / f"{i}.json").write_text(json.dumps({"parent": f"{i + 1}.json"}))
    with pytest.raises(ConfigError, match=r"more than 32 parents"):
        config.read_document(tmp_path / "0.json")


def test_a_parent_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"parent": "none.json"}')
    with pytest.raises(ConfigError, match=r"none.json: cannot be read: No such file.*a.json -> .*none.json"):
        config.read_document(path)
    path.write_text('{"parent": ["b.json"]}')
    with pytest.raises(ConfigError, match=r"a.json: parent: expected a file name, got an array"):
        config.read_document(path)


# RFC 7396, appendix A
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
    ids=str,
)
def test_merge_patch(target, patch, result):
    before = copy.deepcopy((target, patch))
    assert config.merge_patch(target, patch) == result
    assert (target, patch) == before


# --- Anything at all

KEYS = sorted(
    {"otype", "n_features", "fixed_point_pos", "n_dims_to_encode", "dims_to_encode_begin", "n_params_to_optimize"}
    | {key for part in (*ALL_ENCODINGS, *ALL_OPTIMIZERS) for key in part.__struct_fields__}
    | {"encoding", "network", "loss", "optimizer", "parent", "activation", "n_neurons", "n_hidden_layers", "delta"}
)
NAMES = ["Composite", "Grid", "DenseGrid", "NRC", "OneBlob", "Identity", "MLP", "FullyFusedMLP", "Huber", "L2"]
NAMES += ["Ema", "Adam", "Average", "Dense", "Sum", "ReLU"]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 200)
    | st.integers()
    | st.floats()
    | st.sampled_from(NAMES)
    | st.text(st.characters(exclude_categories=()), max_size=8)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=12,
)
SECTIONS = st.fixed_dictionaries({}, optional=dict.fromkeys(("encoding", "network", "loss", "optimizer"), JSON))
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _reads_or_refuses(document, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigWarning)
        try:
            model = config.read_model(document, **keywords)
        except ConfigError as error:
            message = str(error)
            model = None
    if model is None:
        assert message.isascii()
        assert message.isprintable()
        return
    data = json.loads(json.dumps(config.to_json(model), allow_nan=False))
    assert config.read_model(data) == model


@FUZZ
@given(SECTIONS, st.sampled_from(["tiny-cuda-nn", "instant-ngp"]), st.none() | st.integers(1, 9))
def test_any_data_is_read_or_refused(document, dialect, n_input_dims):
    _reads_or_refuses(document, dialect=dialect, n_input_dims=n_input_dims)


def _members(value):
    """Yield (container, key) for every member of JSON data, at any depth."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _members(value[key])


@FUZZ
@given(st.data(), st.sampled_from([HASH, ONEBLOB, NERF, {"encoding": NRC_DEFAULT}]))
def test_any_change_of_a_configuration_is_read_or_refused(data, document):
    document = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        members = list(_members(document))
        if not members:
            break
        container, key = data.draw(st.sampled_from(members))
        if isinstance(container, dict) and data.draw(st.booleans()):
            container[data.draw(st.sampled_from(KEYS[1:]).filter(lambda key: key != "parent"))] = container.pop(key)
        else:
            container[key] = data.draw(JSON)
    _reads_or_refuses(document)


@FUZZ
@given(
    st.binary(max_size=40)
    | st.text('{}[]"/*\\,:a1.eE+-\n\ud800', max_size=60).map(lambda t: t.encode("utf-8", "replace"))
)
def test_any_file_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_bytes(content)
    try:
        document = config.read_document(path)
    except ConfigError:
        return
    assert isinstance(document, dict)


def test_loads_neither_torch_nor_warp():
    code = "import sys, nrc_tracer.nn.config; print([n for n in ('torch', 'warp', 'numpy') if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
