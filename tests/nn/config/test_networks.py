"""Accepted and refused configurations of networks, losses and optimizers."""

import msgspec
import pytest

from nrc_tracer.nn import config
from nrc_tracer.nn.config import ConfigError


def test_widths_of_the_fully_fused_network():
    for n_neurons in (16, 32, 64, 128):
        assert config.read_network({"otype": "FullyFusedMLP", "n_neurons": n_neurons}).n_neurons == n_neurons
    with pytest.raises(ConfigError, match=r"network.n_neurons: expected 16, 32, 64 or 128 with FullyFusedMLP, got 48"):
        config.read_network({"otype": "FullyFusedMLP", "n_neurons": 48})
    assert config.read_network({"otype": "CutlassMLP", "n_neurons": 48}).n_neurons == 48


def test_smallest_number_of_hidden_layers():
    assert config.read_network({"otype": "CutlassMLP", "n_hidden_layers": 0}).n_hidden_layers == 0
    with pytest.raises(ConfigError, match=r"network.n_hidden_layers: expected at least 1 with FullyFusedMLP"):
        config.read_network({"otype": "FullyFusedMLP", "n_hidden_layers": 0})


def test_dimensions_in_a_network_are_ignored():
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
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_invalid_sections_are_refused(read, given, message):
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
    with pytest.raises(ConfigError, match=r"Loss.delta: only Huber has it"):
        config.Loss(otype="L2", delta=0.5)
    with pytest.raises(ConfigError, match=r"ModelConfig.loss: expected a loss"):
        config.ModelConfig(loss="L2")
    with pytest.raises(ConfigError, match=r"Composite.nested\[0\]: expected a Nested"):
        config.Composite(nested=[config.Grid()])
    with pytest.raises(ConfigError, match=r"Grid.hash"):
        msgspec.structs.replace(config.Grid(), hash="Rng")
    with pytest.raises(AttributeError):
        config.Grid().n_levels = 3
