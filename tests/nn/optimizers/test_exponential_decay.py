"""The learning rate, step by step."""

import pytest
import torch

from nrc_tracer.nn import config
from nrc_tracer.nn.gradients import Gradient
from nrc_tracer.nn.optimizers.build import build_optimizer
from tests.nn.optimizers.model import launcher


def rates(optimizer, n):
    """The learning rate of the nested optimizer in each of n steps: with a gradient of one, the distance that SGD moves."""
    result = []
    for _ in range(n):
        params = torch.zeros(1)
        optimizer.step(params, Gradient(torch.ones(1), 1))
        result.append(-params.item())
    return result


def build(**keys):
    nested = config.SGD(learning_rate=8.0, l2_reg=0.0)
    return build_optimizer(config.ExponentialDecay(decay_base=0.5, nested=nested, **keys), 1, 1, launcher())


def test_decays_at_intervals_from_start_to_end():
    """The steps after 2, 5 and 8 others are decayed, and the one after 11 lies beyond the end."""
    optimizer = build(decay_start=2, decay_interval=3, decay_end=8)
    assert rates(optimizer, 13) == [8, 8, 4, 4, 4, 2, 2, 2, 1, 1, 1, 1, 1]
    assert optimizer.learning_rate == 1


def test_a_start_of_zero_decays_the_first_step():
    """This agrees with tiny-cuda-nn."""
    assert rates(build(decay_start=0, decay_interval=2), 4) == [4, 4, 2, 2]


def test_a_rate_that_was_set_is_decayed_further():
    """A rate that is set applies to the next step, unless that step decays it."""
    optimizer = build(decay_start=2, decay_interval=2)
    rates(optimizer, 3)
    optimizer.learning_rate = 100.0
    assert optimizer.learning_rate == 100.0
    assert rates(optimizer, 3) == [100, 50, 50]


def test_a_decay_by_zero_ends_training():
    """The rate stays zero until another one is set."""
    nested = config.SGD(learning_rate=8.0, l2_reg=0.0)
    decay = config.ExponentialDecay(decay_base=0.0, decay_start=1, decay_end=1, nested=nested)
    optimizer = build_optimizer(decay, 1, 1, launcher())
    assert rates(optimizer, 3) == [8, 0, 0]
    optimizer.learning_rate = 3.0
    assert rates(optimizer, 1) == [3]


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_resumed_steps_have_the_same_rates(steps):
    """Rates continue from a saved state as without an interruption."""
    optimizer, resumed = build(decay_start=2, decay_interval=3), build(decay_start=2, decay_interval=3)
    rates(optimizer, steps)
    optimizer.learning_rate = 0.7
    resumed.load_state(optimizer.state())
    assert rates(resumed, 6) == rates(optimizer, 6)
