"""The smoothed relative error: its gradient, and its limits for large and small errors."""

import numpy as np
import torch

from nrc_tracer.nn.losses import EPSILON, Mape
from nrc_tracer.tasks.sdf.loss import LOSS, ROUNDING


def samples(scale, count=1000):
    generator = torch.Generator().manual_seed(1)
    target = torch.randn(count, 1, generator=generator) * 0.1
    return target + scale * torch.randn(count, 1, generator=generator), target


def test_gradient_is_that_of_the_loss():
    prediction, target = (values.double().requires_grad_() for values in samples(5e-4))
    length = (prediction - target).square().add(ROUNDING**2).sqrt()
    loss = ((length - ROUNDING) / (target.abs() + EPSILON)).mean()
    (gradient,) = torch.autograd.grad(loss, prediction)
    found, slope = LOSS.evaluate(prediction.detach().float(), target.detach().float())
    # Errors are differences of float32 numbers of about 0.1, accurate to a few parts in 1e5
    np.testing.assert_allclose(found, loss.item(), rtol=1e-4)
    np.testing.assert_allclose(slope, gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max()))


def test_large_errors_have_the_loss_of_mape():
    prediction, target = samples(10.0)
    loss, gradient = Mape().evaluate(prediction, target, None)
    found, slope = LOSS.evaluate(prediction, target)
    np.testing.assert_allclose(found, loss, rtol=1e-3)
    far = (prediction - target).abs() > 1.0
    np.testing.assert_allclose(slope[far], gradient[far], rtol=1e-5)


def test_small_errors_have_a_squared_loss():
    """Doubling a small error quadruples the loss, even where float32 cannot resolve the root from the rounding."""
    target = torch.zeros(10, 1)
    small, twice = (LOSS.evaluate(torch.full((10, 1), error), target)[0] for error in (1e-8, 2e-8))
    np.testing.assert_allclose(twice / small, 4.0, rtol=1e-5)
    np.testing.assert_allclose(small, 0.5 * 1e-16 / ROUNDING / EPSILON, rtol=1e-5)
    assert LOSS.evaluate(target, target)[0] == 0.0
