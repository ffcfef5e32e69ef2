"""Optimizers for parts of the parameters."""

import pytest
import torch

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn import config
from nrc_tracer.nn.gradients import Gradient
from nrc_tracer.nn.optimizers.build import build_optimizer
from tests.nn.optimizers.model import N_MATRIX, GridModel, assert_same_state, launcher


def composite(*parts):
    return config.CompositeOptimizer(
        nested=[config.NestedOptimizer(optimizer=optimizer, n_params_to_optimize=n) for optimizer, n in parts]
    )


SLOW, FAST = config.SGD(learning_rate=1.0, l2_reg=0.0), config.SGD(learning_rate=2.0, l2_reg=0.0)


def test_each_optimizer_has_its_parameters():
    """The first has two parameters and the second one; the rest is not trained, and the learning rate is a factor."""
    optimizer = build_optimizer(composite((SLOW, 2), (FAST, 1)), 4, 4, launcher())
    params = torch.zeros(4)
    optimizer.step(params, Gradient(torch.ones(4), 4))
    assert params.tolist() == [-1, -1, -2, 0]
    assert (optimizer.learning_rate, optimizer.steps) == (1, 1)
    optimizer.learning_rate = 10.0
    optimizer.step(params, Gradient(torch.ones(4), 4))
    assert params.tolist() == [-11, -11, -22, 0]
    assert optimizer.inference_params(params) is None


def test_inference_weights_come_from_each_optimizer():
    """These are slow weights for one optimizer, and trained ones for the other and for the rest."""
    optimizer = build_optimizer(composite((config.Lookahead(nested=SLOW), 2), (FAST, 1)), 4, 4, launcher())
    params = torch.zeros(4)
    assert optimizer.inference_params(params) is None
    optimizer.step(params, Gradient(torch.ones(4), 4))
    assert optimizer.inference_params(params).tolist() == [0, 0, -2, 0]
    assert params.tolist() == [-1, -1, -2, 0]


@pytest.mark.parametrize("cut", [N_MATRIX - 100, N_MATRIX, N_MATRIX + 500], ids=["matrix", "between", "grid"])
def test_lists_are_passed_on(cut):
    """Wherever the parameters are divided, two Adams equal one bit for bit, and matrix parameters are still treated as such."""
    model, other = GridModel(), GridModel()
    adam = config.Adam(l2_reg=0.1, non_matrix_learning_rate_factor=0.3)
    a = model.optimizer(composite((adam, cut), (adam, model.n_params - cut)))
    b = other.optimizer(adam)
    for step in range(3):
        a.step(model.params, model.gradient(step, 50))
        b.step(other.params, other.gradient(step, 50))
    assert torch.equal(model.params, other.params)


def test_an_average_around_a_composite_follows_lists():
    """SGD for the network and Adam for the grid leave entries without a gradient alone, so their averages are postponed."""
    model = GridModel()
    pair = composite((SLOW, N_MATRIX), (config.Adam(), model.n_params - N_MATRIX))
    optimizer = model.optimizer(config.Ema(decay=0.9, nested=pair))
    optimizer.step(model.params, model.gradient(0, 20))
    assert torch.equal(optimizer.inference_params(model.params), model.params)
    optimizer.step(model.params, model.gradient(1, 20))
    # These averages include the first step before the second changed the entries
    assert ((optimizer.updated == 1) == model.is_touched())[N_MATRIX:].all()
    assert 0 < model.is_touched()[N_MATRIX:].sum() < model.n_params - N_MATRIX


def test_resumed_steps_have_the_same_bits():
    """The state contains the nested states and the factor."""
    model, other = GridModel(), GridModel()
    pair = composite((SLOW, N_MATRIX), (config.Ema(), model.n_params - N_MATRIX))
    a, b = model.optimizer(pair), other.optimizer(pair)
    a.learning_rate = 0.5
    a.step(model.params, model.gradient(0, 50))
    b.load_state(a.state())
    other.params.copy_(model.params)
    a.step(model.params, model.gradient(1, 50))
    b.step(other.params, other.gradient(1, 50))
    assert torch.equal(model.params, other.params)
    assert_same_state(a.state(), b.state())


def test_more_parameters_than_the_model_has_are_refused():
    """The message gives the requested number of parameters."""
    with pytest.raises(ConfigError, match=r"add up to 5, but the model has 4"):
        build_optimizer(composite((SLOW, 2), (FAST, 3)), 4, 4, launcher())
