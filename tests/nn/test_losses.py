"""Losses: comparison with their definitions, and of gradients with automatic differentiation."""

import math
import warnings

import pytest
import torch

from nrc_tracer.errors import ConfigError, NrcError
from nrc_tracer.nn import config
from nrc_tracer.nn.losses import build_loss

# The loss of one element of a row, and its slope with denominators held constant
EPSILON = 0.01


def luminance(p):
    rgb = [p[k] + (p[k + 3] if len(p) >= 6 else 0.0) for k in range(3)]
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


def huber(d, delta):
    return d * d / (2 * delta) if abs(d) <= delta else abs(d) - delta / 2


DEFINITIONS = {
    "L1": lambda p, t, k: abs(p[k] - t[k]),
    "L2": lambda p, t, k: (p[k] - t[k]) ** 2,
    "RelativeL1": lambda p, t, k: abs(p[k] - t[k]) / (abs(p[k]) + EPSILON),
    "RelativeL2": lambda p, t, k: (p[k] - t[k]) ** 2 / (p[k] ** 2 + EPSILON),
    "RelativeL2Luminance": lambda p, t, k: (p[k] - t[k]) ** 2 / (luminance(p) ** 2 + EPSILON),
    "MAPE": lambda p, t, k: abs(p[k] - t[k]) / (abs(t[k]) + EPSILON),
    "SMAPE": lambda p, t, k: abs(p[k] - t[k]) / ((abs(p[k]) + abs(t[k])) / 2 + EPSILON),
    "CrossEntropy": lambda p, t, k: -t[k] * math.log(p[k]),
    "Huber": lambda p, t, k: huber(p[k] - t[k], 0.1) / 5,
}


def samples(n, c, dtype=torch.float64):
    """Predictions above zero and targets of both signs, some of them close to the predictions."""
    generator = torch.Generator().manual_seed(n + c)
    prediction = torch.rand(n, c, generator=generator, dtype=dtype) + 0.05
    target = torch.randn(n, c, generator=generator, dtype=dtype)
    target[::2] = prediction[::2] + 0.05 * target[::2]
    return prediction, target, torch.rand(n, generator=generator, dtype=dtype) + 0.5


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize("n_outputs", [1, 3, 4, 7])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "pdf"])
def test_mean_agrees_with_the_definition(name, n_outputs, weighted):
    """A plain loop computes the mean over all elements, each divided by the density of its sample."""
    if name == "RelativeL2Luminance" and n_outputs < 3:
        return
    prediction, target, pdf = samples(20, n_outputs)
    rows = zip(prediction.tolist(), target.tolist(), pdf.tolist(), strict=True)
    values = [
        DEFINITIONS[name](p, t, k) / (density if weighted else 1.0) for p, t, density in rows for k in range(n_outputs)
    ]
    loss = build_loss(config.Loss(otype=name))
    mean, _ = loss.evaluate(prediction, target, pdf if weighted else None)
    assert mean.shape == ()
    assert mean.item() == pytest.approx(math.fsum(values) / len(values), rel=1e-12)


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize("n_outputs", [3, 7])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "pdf"])
def test_gradient_agrees_with_the_values(name, n_outputs, weighted):
    """It agrees with automatic differentiation, and with finite differences where denominators are held constant."""
    prediction, target, pdf = samples(20, n_outputs)
    prediction.requires_grad_()
    loss = build_loss(config.Loss(otype=name))
    values = loss.values(prediction, target)
    mean = (values / pdf[:, None] if weighted else values).mean()
    mean.backward()
    found, gradient = loss.evaluate(prediction, target, pdf if weighted else None)
    torch.testing.assert_close(found, mean.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, prediction.grad, rtol=1e-12, atol=0)
    assert not gradient.requires_grad


@pytest.mark.parametrize("name", ["RelativeL1", "RelativeL2", "RelativeL2Luminance", "SMAPE"])
def test_no_gradient_passes_through_denominators(name):
    """The gradient is the slope of the numerator, by finite differences, divided by the denominator at the prediction."""
    prediction, target, _ = samples(8, 3)
    _, gradient = build_loss(config.Loss(otype=name)).evaluate(prediction, target)
    power = 2 if "2" in name else 1
    for row, (p, t) in enumerate(zip(prediction.tolist(), target.tolist(), strict=True)):
        for k in range(3):
            denominator = abs(p[k] - t[k]) ** power / DEFINITIONS[name](p, t, k)
            h = 1e-6
            slope = (abs(p[k] + h - t[k]) ** power - abs(p[k] - h - t[k]) ** power) / (2 * h)
            assert gradient[row, k].item() * prediction.numel() == pytest.approx(slope / denominator, rel=1e-6)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_float32_agrees_with_float64(name):
    """They agree to float32 rounding, with rows that are columns of a padded matrix."""
    prediction, target, pdf = samples(500, 3, torch.float32)
    padded = torch.nn.functional.pad(prediction, (0, 13))
    loss = build_loss(config.Loss(otype=name))
    mean, gradient = loss.evaluate(padded[:, :3], target, pdf)
    expected, slope = loss.evaluate(prediction.double(), target.double(), pdf.double())
    assert gradient.dtype == mean.dtype == torch.float32
    assert gradient.shape == (500, 3)
    # The sum of 1500 terms; differences near zero are exact here
    assert mean.item() == pytest.approx(expected.item(), rel=1500**0.5 * 2**-23)
    torch.testing.assert_close(gradient.double(), slope, rtol=16 * 2**-24, atol=2**-40)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_an_empty_batch(name):
    """The loss is zero, with an empty gradient and no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mean, gradient = build_loss(config.Loss(otype=name)).evaluate(torch.empty(0, 3), torch.empty(0, 3))
    assert mean.item() == 0.0
    assert gradient.shape == (0, 3)


@pytest.mark.parametrize("name", ["L1", "RelativeL1", "MAPE", "SMAPE"])
def test_equal_values_have_the_slope_of_a_positive_difference(name):
    """This is what `copysign` gives in tiny-cuda-nn, and also in automatic differentiation."""
    prediction = torch.ones(1, 1, requires_grad=True)
    loss = build_loss(config.Loss(otype=name))
    loss.values(prediction, torch.ones(1, 1)).sum().backward()
    mean, gradient = loss.evaluate(prediction, torch.ones(1, 1))
    assert mean.item() == 0
    assert gradient.item() > 0
    assert gradient.item() == prediction.grad.item()


def test_cross_entropy_of_a_zero_target():
    """A target of zero has no loss, even where the prediction is zero."""
    prediction, target = torch.tensor([[0.0, 0.5]], requires_grad=True), torch.tensor([[0.0, 1.0]])
    loss = build_loss(config.Loss(otype="CrossEntropy"))
    mean, gradient = loss.evaluate(prediction, target)
    loss.values(prediction, target).mean().backward()
    assert mean.item() == pytest.approx(math.log(2) / 2)
    assert gradient.tolist() == prediction.grad.tolist() == [[0, -1]]


def test_huber_loss_inside_and_outside_of_delta():
    """Within delta it is half the square; beyond, the slope is 1 / 5."""
    loss = build_loss(config.Loss(otype="Huber", delta=2.0))
    mean, gradient = loss.evaluate(torch.tensor([[1.0, -5.0]]), torch.zeros(1, 2))
    assert mean.item() == pytest.approx((1 / 4 + 4) / 5 / 2)
    assert gradient.tolist() == [[pytest.approx(0.05), pytest.approx(-0.1)]]


def test_luminance_needs_three_outputs():
    """The message gives the number of outputs."""
    loss = build_loss(config.Loss(otype="RelativeL2Luminance"))
    with pytest.raises(ConfigError, match="at least 3 outputs, but the model has 2"):
        loss.evaluate(torch.ones(4, 2), torch.ones(4, 2))


@pytest.mark.parametrize(
    ("target", "pdf"), [((4, 1), None), ((3, 2), None), ((4,), None), ((4, 2), (2,)), ((4, 2), (4, 1, 1))]
)
def test_shapes_must_match(target, pdf):
    """Nothing is broadcast by mistake."""
    with pytest.raises(NrcError, match="loss: "):
        build_loss(config.Loss()).evaluate(
            torch.ones(4, 2), torch.ones(target), None if pdf is None else torch.ones(pdf)
        )
