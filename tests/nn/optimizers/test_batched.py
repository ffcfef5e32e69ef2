"""Steps on mean gradients."""

import torch

from nrc_tracer.nn import config
from nrc_tracer.nn.gradients import Gradient
from nrc_tracer.nn.optimizers.build import build_optimizer
from tests.nn.optimizers.model import GridModel, launcher


def test_steps_once_for_several_gradients():
    """Two of three calls change nothing; the third uses the mean of the three, and counting starts again."""
    nested = config.SGD(learning_rate=1.0, l2_reg=0.0)
    optimizer = build_optimizer(config.Batched(batch_size_multiplier=3, nested=nested), 2, 2, launcher())
    params, seen = torch.zeros(2), []
    for gradient in ([3.0, 0.0], [6.0, 3.0], [0.0, 0.0], [3.0, 3.0], [3.0, 3.0], [3.0, 3.0]):
        optimizer.step(params, Gradient(torch.tensor(gradient), 2))
        seen.append(params.round(decimals=5).tolist())
    assert seen == [[0, 0], [0, 0], [-3, -1], [-3, -1], [-3, -1], [-6, -4]]
    assert (optimizer.steps, optimizer.nested.steps) == (6, 2)


def test_lists_of_several_calls_are_joined():
    """Entries touched in any of the calls are updated, with the same bits as for full gradients."""
    batched = config.Batched(batch_size_multiplier=2, nested=config.Adam())
    model, other = GridModel(), GridModel()
    a, b = model.optimizer(batched), other.optimizer(batched)
    for step in range(4):
        a.step(model.params, model.gradient(step, 50))
        b.step(other.params, other.dense_gradient(step, 50))
    assert torch.equal(model.params, other.params)
    assert 0 < (a.nested.counts[300:] > 0).sum() < model.n_params / 4


def test_resumed_steps_between_two_calls_of_a_batch_have_the_same_bits():
    """The gradients gathered so far are part of the state."""
    batched = config.Batched(batch_size_multiplier=4)
    optimizer, resumed = (build_optimizer(batched, 3, 3, launcher()) for _ in range(2))
    params, other = torch.ones(3), torch.ones(3)
    for i in range(6):
        optimizer.step(params, Gradient(torch.full((3,), i + 1.0), 3))
    resumed.load_state(optimizer.state())
    other.copy_(params)
    for i in range(2):
        optimizer.step(params, Gradient(torch.full((3,), i - 4.0), 3))
        resumed.step(other, Gradient(torch.full((3,), i - 4.0), 3))
    assert torch.equal(params, other)
    assert optimizer.nested.steps == 2
