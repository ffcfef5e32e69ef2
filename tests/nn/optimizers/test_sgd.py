"""Gradient descent compared with its definition."""

import numpy as np
import torch

from nrc_tracer.nn import config
from nrc_tracer.nn.gradients import Gradient
from nrc_tracer.nn.optimizers.build import build_optimizer
from tests.nn.optimizers.model import GridModel, launcher


def test_agrees_with_the_definition():
    """w - lr (g + l2 w), also for zero gradients, and both inside and outside of matrices."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(20)
    params = torch.from_numpy(weights.astype(np.float32))
    optimizer = build_optimizer(config.SGD(learning_rate=0.1, l2_reg=0.2), 20, 7, launcher())
    for _ in range(10):
        gradient = rng.standard_normal(20) * (rng.random(20) < 0.6)
        optimizer.step(params, Gradient(torch.from_numpy(gradient.astype(np.float32)), 7))
        weights -= 0.1 * (gradient + 0.2 * weights)
    # Ten steps with a few roundings of 2^-24 of about 2 each
    np.testing.assert_allclose(params, weights, rtol=0, atol=10 * 8 * 2**-24)
    assert optimizer.steps == 10


def test_lists_are_followed():
    """Entries that are not listed have a gradient of zero, whatever their memory contains."""
    model, other = GridModel(), GridModel()
    model.optimizer(config.SGD()).step(model.params, model.gradient(0, 50))
    other.optimizer(config.SGD()).step(other.params, other.dense_gradient(0, 50))
    assert torch.isfinite(model.params).all()
    assert torch.equal(model.params, other.params)
