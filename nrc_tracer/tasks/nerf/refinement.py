"""What is corrected of photographs while a field is fitted to them: the poses of cameras, and exposures.

Poses: with a correction (w, t) of a view, a turn in place and a shift, a ray goes from o + t along exp([w]) d. The loss depends
on them by the positions p = o + s d of samples and by the directions that colours are seen along, so that its gradient is

    dL/dt = sum of dL/dp,    dL/dw = sum of d x (s dL/dp + dL/d(direction))

over the samples of the view's rays, the distances s held fixed.

Exposures: the linear light of a view is that of the field times exp(gain), one gain for each view, their mean 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nrc_tracer.errors import SnapshotError
from nrc_tracer.nn.losses import LossFunction
from nrc_tracer.tasks.nerf.marching import Samples
from nrc_tracer.tasks.nerf.rays import Rays

START = 100
"""Steps before anything is corrected: the field must show something first."""
POSE_RATE, GAIN_RATE = 1e-3, 1e-2
HALVED_EVERY = 4000
"""Steps after which both rates are half of what they were."""
BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-15


@dataclass
class Corrected:
    """Corrections of one kind, one row a view, with Adam's moments (Kingma and Ba 2014).

    Attributes:
        values: float32 [views, K].
        first, second: The moments, of the same shape.
        steps: Steps taken.
    """

    values: Tensor
    first: Tensor
    second: Tensor
    steps: int = 0

    @classmethod
    def zeros(cls, views: int, columns: int, device: torch.device) -> Corrected:
        """No corrections yet."""
        return cls(*(torch.zeros(views, columns, device=device) for _ in range(3)))

    def step(self, gradient: Tensor, rate: float) -> None:
        """Take a step; a gradient that is not finite is none."""
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
        """What `check` and `restore` take."""
        return {f"{name}.values": self.values, f"{name}.first": self.first, f"{name}.second": self.second}

    def check(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Raise `SnapshotError` if what `tensors` gave is of another shape."""
        for key, own in self.tensors(name).items():
            found = tensors.get(key)
            if found is None or found.shape != own.shape:
                raise SnapshotError(f"the snapshot is damaged: {key} is missing or of another size")

    def restore(self, name: str, steps: int, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave. Raises `SnapshotError` as `check` does, and has changed nothing then."""
        self.check(name, tensors)
        for key, own in self.tensors(name).items():
            own.copy_(tensors[key])
        self.steps = steps


def pose_gradient(samples: Samples, d_x: Tensor, rays: Rays, extent: int, views: int) -> Tensor:
    """The gradient of a loss with respect to the corrections of poses, [views, 6].

    Args:
        samples: Samples of the first of `rays`.
        d_x: Gradient of the loss with respect to the model's input, [S, 6].
        rays: The rays.
        extent: Side of the field's box.
        views: How many there are.
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
    """The mean loss of colours [N, 3] in their exposures, and its gradients with respect to colours and gains [N]."""
    with torch.enable_grad():
        color, gain = color.detach().requires_grad_(), gain.detach().requires_grad_()
        bright = exposed(color, gain)
    value, d_bright = loss.evaluate(bright.detach(), target)
    d_color, d_gain = torch.autograd.grad(bright, (color, gain), d_bright)
    return value, d_color, d_gain


def by_view(values: Tensor, view: Tensor, views: int) -> Tensor:
    """Sums of rows by view, in one order whatever the device."""
    if values.is_cuda:
        # Sums of a CUDA scatter come in any order: a one-hot product has one
        chosen = torch.nn.functional.one_hot(view.long(), views).to(values.dtype)
        return chosen.T @ values
    return torch.zeros(views, values.shape[1]).index_add_(0, view.long(), values)
