"""Slow weights compared with their definition."""

import numpy as np
import torch

from nrc_tracer.nn import config
from nrc_tracer.nn.gradients import Gradient
from nrc_tracer.nn.optimizers.build import build_optimizer
from tests.nn.optimizers.model import launcher

CONFIG = config.Lookahead(alpha=0.3, n_steps=4, nested=config.SGD(learning_rate=0.1, l2_reg=0.0))


def test_agrees_with_the_definition():
    """Before steps 4, 8, ... the slow weights move 0.3 of the way to the fast ones, which restart from there."""
    rng = np.random.default_rng(0)
    fast = rng.standard_normal(5)
    slow = fast.copy()
    params = torch.from_numpy(fast.astype(np.float32))
    optimizer = build_optimizer(CONFIG, 5, 5, launcher())
    assert optimizer.inference_params(params) is None
    for step in range(11):
        gradient = rng.standard_normal(5)
        optimizer.step(params, Gradient(torch.from_numpy(gradient.astype(np.float32)), 5))
        if step in (4, 8):
            slow = 0.7 * slow + 0.3 * fast
            fast = slow.copy()
        fast -= 0.1 * gradient
        np.testing.assert_allclose(params, fast, rtol=0, atol=11 * 8 * 2**-24)
        np.testing.assert_allclose(optimizer.inference_params(params), slow, rtol=0, atol=11 * 8 * 2**-24)


def test_constant_weights_stay():
    """They are equal to the last bit."""
    params = torch.randn(100, generator=torch.Generator().manual_seed(0))
    before = params.clone()
    optimizer = build_optimizer(CONFIG, 100, 100, launcher())
    for _ in range(9):
        optimizer.step(params, Gradient(torch.zeros(100), 100))
    assert torch.equal(params, before)
    assert torch.equal(optimizer.inference_params(params), before)


def test_resumed_steps_have_the_same_bits():
    """Steps from a saved state equal uninterrupted steps."""
    params = torch.arange(5.0)
    optimizer, resumed = (build_optimizer(CONFIG, 5, 5, launcher()) for _ in range(2))
    for _ in range(6):
        optimizer.step(params, Gradient(torch.ones(5), 5))
    resumed.load_state(optimizer.state())
    other = params.clone()
    for _ in range(4):
        optimizer.step(params, Gradient(torch.ones(5), 5))
        resumed.step(other, Gradient(torch.ones(5), 5))
    assert torch.equal(params, other)
    assert torch.equal(optimizer.inference_params(params), resumed.inference_params(other))
