"""The mean of the last weights."""

import numpy as np
import torch

from nrc_tracer.nn import config
from nrc_tracer.nn.gradients import Gradient
from nrc_tracer.nn.optimizers.build import build_optimizer
from tests.nn.optimizers.model import launcher

CONFIG = config.Average(n_samples=4, nested=config.SGD(learning_rate=0.1, l2_reg=0.0))


def test_agrees_with_the_definition():
    """It is the mean of the last four weights, with zeros in place of those before the first step."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(5)
    history = [np.zeros(5)] * 4
    params = torch.from_numpy(weights.astype(np.float32))
    optimizer = build_optimizer(CONFIG, 5, 5, launcher())
    assert optimizer.inference_params(params) is None
    for _ in range(11):
        gradient = rng.standard_normal(5)
        optimizer.step(params, Gradient(torch.from_numpy(gradient.astype(np.float32)), 5))
        weights = weights - 0.1 * gradient
        history.append(weights)
        expected = np.mean(history[-4:], axis=0)
        np.testing.assert_allclose(optimizer.inference_params(params), expected, rtol=0, atol=11 * 8 * 2**-24)


def test_resumed_steps_have_the_same_bits():
    """The samples are part of the state."""
    params = torch.arange(5.0)
    optimizer, resumed = (build_optimizer(CONFIG, 5, 5, launcher()) for _ in range(2))
    for _ in range(6):
        optimizer.step(params, Gradient(torch.ones(5), 5))
    resumed.load_state(optimizer.state())
    other = params.clone()
    for _ in range(5):
        optimizer.step(params, Gradient(torch.ones(5), 5))
        resumed.step(other, Gradient(torch.ones(5), 5))
    assert torch.equal(optimizer.inference_params(params), resumed.inference_params(other))
