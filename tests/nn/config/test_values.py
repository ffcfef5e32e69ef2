"""Values of configurations: tiny-cuda-nn's samples and defaults, and writing parts as JSON."""

import json

import msgspec
import pytest

from nrc_tracer.nn import config
from nrc_tracer.nn.config import ConfigError
from tests.nn.config.documents import ALL_ENCODINGS, ALL_OPTIMIZERS, HASH, ONEBLOB


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
def test_json_of_a_part_is_read_back(part):
    data = json.loads(json.dumps(config.to_json(part)))
    read = config.read_encoding if isinstance(part, config.Encoding) else config.read_optimizer
    assert read(data) == part
    assert read(part) is part


def test_json_of_a_model_is_read_back():
    for encoding in ALL_ENCODINGS:
        for optimizer in ALL_OPTIMIZERS:
            model = config.ModelConfig(
                encoding=encoding, optimizer=optimizer, loss=config.Loss(otype="Huber", delta=2), network=None
            )
            assert config.read_model(json.loads(json.dumps(config.to_json(model)))) == model
            assert config.read_model(model) is model


def test_to_json_gives_builtins_with_otype():
    for part in (*ALL_ENCODINGS[:-1], config.Adam(moments="bfloat16"), config.Network()):
        assert config.to_json(part) == msgspec.to_builtins(part)
    assert "moments" not in config.to_json(config.Adam())  # a key that tiny-cuda-nn does not have
    with pytest.raises(ConfigError, match=r"expected a configuration or a part of one"):
        config.to_json({"otype": "Grid"})


def test_data_may_contain_parts():
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


def test_names_are_read_in_any_case_and_written_in_the_usual_one():
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


def test_numbers_are_converted_to_their_type():
    grid = config.read_encoding({"otype": "Grid", "n_levels": 16.0, "per_level_scale": 2})
    assert type(grid.n_levels) is int
    assert type(grid.per_level_scale) is float
