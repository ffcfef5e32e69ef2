"""Activation functions of the networks, by their names in tiny-cuda-nn, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LEAKY_SLOPE = 0.01
"""Slope of LeakyReLU for negative arguments."""

SHARPNESS = 10.0
"""Factor K of Squareplus and Softplus, which are f(K x) / K."""


@dataclass(frozen=True)
class Activation:
    """An activation and its backward pass.

    Attributes:
        apply: z -> h, differentiable any number of times.
        derivative: (d_h, z, h) -> d_z; without `keeps_input` it must not look at z.
        keeps_input: Whether the derivative needs z; otherwise h is enough.
    """

    apply: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor, Tensor, Tensor], Tensor]
    keeps_input: bool = False

    def backward(self, d_h: Tensor, z: Tensor | None, h: Tensor) -> Tensor:
        """The gradient with respect to z, which may be None unless the activation keeps its input."""
        return self.derivative(d_h, h if z is None else z, h)


def _squareplus(z: Tensor) -> Tensor:
    # hypot, since the square of a half can overflow
    return 0.5 * (z + torch.hypot(z, z.new_full((), 2.0 / SHARPNESS)))


def _squareplus_backward(d_h: Tensor, _: Tensor, h: Tensor) -> Tensor:
    y = SHARPNESS * h
    return d_h / (1.0 + 1.0 / (y * y))


def _silu_backward(d_h: Tensor, z: Tensor, h: Tensor) -> Tensor:
    sigmoid = torch.sigmoid(z)
    return d_h * (sigmoid + h * (1.0 - sigmoid))


ACTIVATIONS: dict[str, Activation] = {
    "None": Activation(lambda z: z, lambda d_h, z, h: d_h),
    "ReLU": Activation(torch.relu, lambda d_h, z, h: torch.ops.aten.threshold_backward(d_h, h, 0)),
    "LeakyReLU": Activation(
        lambda z: functional.leaky_relu(z, LEAKY_SLOPE),
        lambda d_h, z, h: torch.where(h > 0, d_h, LEAKY_SLOPE * d_h),
    ),
    "SiLU": Activation(functional.silu, _silu_backward, keeps_input=True),
    "Exponential": Activation(torch.exp, lambda d_h, z, h: d_h * h),
    "Sine": Activation(torch.sin, lambda d_h, z, h: d_h * torch.cos(z), keeps_input=True),
    "Sigmoid": Activation(torch.sigmoid, lambda d_h, z, h: d_h * h * (1.0 - h)),
    "Squareplus": Activation(_squareplus, _squareplus_backward),
    "Softplus": Activation(
        lambda z: functional.softplus(z, beta=SHARPNESS, threshold=60.0),
        lambda d_h, z, h: d_h * -torch.expm1(-SHARPNESS * h),
    ),
    "Tanh": Activation(torch.tanh, lambda d_h, z, h: d_h * (1.0 - h * h)),
}
