"""Corrections of photographs that are fitted along with a field: camera poses, and exposures.

Poses: a view's correction (w, t) turns its camera in place by w and shifts it by t, so a ray goes from o + t along exp([w]) d.
The loss depends on them through the positions p = o + s d of samples and the directions in which colours are seen, so its
gradient is

    dL/dt = sum of dL/dp,    dL/dw = sum of d x (s dL/dp + dL/d(direction))

over the samples of the view's rays, with the distances s held fixed.

Exposures: the linear light of a view is that of the field times exp(gain), with one gain per view, whose mean is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nrc_tracer.errors import SnapshotError
from nrc_tracer.nn.losses import LossFunction
from nrc_tracer.tasks.nerf.marching import Samples
from nrc_tracer.tasks.nerf.rays import PhotographRays

START = 100
"""Steps before corrections start: the field must show something first."""
POSE_RATE, GAIN_RATE = 1e-3, 1e-2
"""Initial learning rates of poses and of exposures."""
HALVED_EVERY = 4000
"""Steps after which both rates are halved."""
BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-15
"""Constants of Adam."""


@dataclass
class Corrected:
    """Corrections of one kind, one row per view, with Adam's moments (Kingma and Ba 2014).

    Attributes:
        values: float32 [views, K].
        first, second: First and second moments, of the same shape.
        steps: Number of steps taken.
    """

    values: Tensor
    first: Tensor
    second: Tensor
    steps: int = 0

    @classmethod
    def zeros(cls, views: int, columns: int, device: torch.device) -> Corrected:
        """No corrections yet."""
        first, second, third = (torch.zeros(views, columns, device=device) for _ in range(3))
        return cls(first, second, third)

    def step(self, gradient: Tensor, rate: float) -> None:
        """Take a step; a gradient that is not finite is ignored."""
        if not torch.isfinite(gradient).all():
            return
        self.steps += 1
        rate *= 0.5 ** (self.steps / HALVED_EVERY)
        self.first.lerp_(gradient, 1.0 - BETA1)
        self.second.lerp_(gradient.square(), 1.0 - BETA2)
        first = self.first / (1.0 - BETA1**self.steps)
        second = self.second / (1.0 - BETA2**self.steps)
        self.values -= rate * first / (second.sqrt() + EPSILON)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Tensors for `check` and `restore`."""
        return {f"{name}.values": self.values, f"{name}.first": self.first, f"{name}.second": self.second}

    def check(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Raise `SnapshotError` if saved tensors are missing or have another shape."""
        for key, own in self.tensors(name).items():
            found = tensors.get(key)
            if found is None or found.shape != own.shape:
                raise SnapshotError(f"the snapshot is damaged: {key} is missing or of another size")

    def restore(self, name: str, steps: int, tensors: Mapping[str, Tensor]) -> None:
        """Continue from saved tensors. Raises `SnapshotError` as `check` does; nothing has changed then."""
        self.check(name, tensors)
        for key, own in self.tensors(name).items():
            own.copy_(tensors[key])
        self.steps = steps


def pose_gradient(samples: Samples, d_x: Tensor, rays: PhotographRays, extent: int, views: int) -> Tensor:
    """The gradient of a loss with respect to the corrections of poses, [views, 6].

    Args:
        samples: Samples of the first rays of `rays`.
        d_x: Gradient of the loss with respect to the model's input, [S, 6].
        rays: The rays.
        extent: Side of the field's box, in unit cubes.
        views: Number of views.
    """
    counts = torch.diff(samples.ends, prepend=samples.ends.new_zeros(1)).long()
    row = torch.repeat_interleave(samples.rays.long(), counts)
    d_position = d_x[:, :3] / extent
    d_direction = samples.t[:, None] * d_position + 0.5 * d_x[:, 3:]
    turning = torch.linalg.cross(rays.directions[row], d_direction)
    return by_view(torch.cat([turning, d_position], dim=1), rays.view[row], views)


def exposed(color: Tensor, gain: Tensor) -> Tensor:
    """sRGB colours [N, 3] of light that is exp(gain) times as strong, gain [N]; differentiable."""
    linear = torch.where(color <= 0.04045, color / 12.92, ((color.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)
    linear = linear * torch.exp(gain)[:, None]
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=0.0031308) ** (1.0 / 2.4) - 0.055)


def exposed_loss(loss: LossFunction, color: Tensor, gain: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean loss of colours [N, 3] after exposure, and its gradients with respect to colours and gains [N]."""
    with torch.enable_grad():
        color, gain = color.detach().requires_grad_(), gain.detach().requires_grad_()
        bright = exposed(color, gain)
    value, d_bright = loss.evaluate(bright.detach(), target)
    d_color, d_gain = torch.autograd.grad(bright, (color, gain), d_bright)
    return value, d_color, d_gain


def by_view(values: Tensor, view: Tensor, views: int) -> Tensor:
    """Sums of rows by view, added in a fixed order on any device."""
    if values.is_cuda:
        # A CUDA scatter adds in any order; a product with a one-hot matrix has a fixed one
        chosen = torch.nn.functional.one_hot(view.long(), views).to(values.dtype)
        return chosen.T @ values
    return torch.zeros(views, values.shape[1]).index_add_(0, view.long(), values)
