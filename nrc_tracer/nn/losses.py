"""Losses between predictions and targets, and their gradients.

Every loss has a value per element. Training minimizes the mean of the values over all elements, each divided by the probability
density with which its sample was drawn, if given. Relative losses treat their denominators as constants: no gradient passes
through them (Lehtinen et al., *Noise2Noise*, ICML 2018, section 3.3, for L2). Definitions are those of tiny-cuda-nn, except for
two that it does not have: Huber is instant-ngp's for radiance fields, and RoundedMape is this package's for signed distances.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from nrc_tracer.errors import ConfigError, NrcError

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration

EPSILON = 0.01
"""Added to the denominators of relative losses."""

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a luminance (Rec. 601)."""

HUBER_SCALE = 1 / 5
"""Factor of the Huber loss."""


class LossFunction(ABC):
    """A loss over predictions and targets [N, C], float32 or float64, without padding columns."""

    min_output_dims: ClassVar[int] = 0
    """The smallest number of outputs for which the loss is defined."""

    def check_output_dims(self, n_output_dims: int) -> None:
        """Raise `ConfigError` if the loss is not defined for that number of outputs."""
        if n_output_dims < self.min_output_dims:
            raise ConfigError(
                f"loss.otype: {type(self).__name__} needs at least {self.min_output_dims} outputs, "
                f"but the model has {n_output_dims}"
            )

    @abstractmethod
    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of every element, [N, C], differentiable with respect to both arguments."""

    def evaluate(self, prediction: Tensor, target: Tensor, pdf: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The mean loss and its gradient.

        Args:
            prediction: [N, C].
            target: [N, C], of the same dtype.
            pdf: Probability density with which each sample was drawn, [N] or [N, C], above 0; 1 unless given.

        Returns:
            The mean over all elements, 0-d (0 if there are none), and its gradient with respect to `prediction`, [N, C].

        Raises:
            NrcError: The shapes do not match.
            ConfigError: The loss is not defined for that number of outputs.
        """
        if prediction.ndim != 2 or target.shape != prediction.shape:
            raise NrcError(
                f"loss: prediction {tuple(prediction.shape)} and target {tuple(target.shape)} must have the same shape [N, C]"
            )
        if pdf is not None:
            if pdf.shape not in (prediction.shape, prediction.shape[:1]):
                raise NrcError(f"loss: a pdf of shape {tuple(pdf.shape)} for a prediction {tuple(prediction.shape)}")
            pdf = pdf if pdf.ndim == 2 else pdf[:, None]
        self.check_output_dims(prediction.shape[1])
        with torch.no_grad():
            return self._evaluate(prediction, target, 1.0 / max(prediction.numel(), 1), pdf)

    @abstractmethod
    def _evaluate(self, prediction: Tensor, target: Tensor, weight: float, pdf: Tensor | None) -> tuple[Tensor, Tensor]:
        """The sum of the values times weight / pdf, and its gradient."""


class Absolute(LossFunction):
    """L1: |p - t|. The slope at p = t is 1, as in tiny-cuda-nn."""

    def denominator(self, prediction: Tensor, target: Tensor) -> Tensor | None:
        """The denominator of the difference, from tensors without gradient; None for 1."""
        return None

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        difference = prediction - target
        denominator = self.denominator(prediction.detach(), target.detach())
        size = difference * torch.copysign(torch.ones_like(difference), difference.detach())
        return size if denominator is None else size / denominator

    def _evaluate(self, prediction: Tensor, target: Tensor, weight: float, pdf: Tensor | None) -> tuple[Tensor, Tensor]:
        difference = prediction - target
        denominator = _product(self.denominator(prediction, target), pdf)
        scale = difference.new_full((), weight) if denominator is None else weight / denominator
        gradient = torch.copysign(scale, difference)
        return _dot(gradient, difference), gradient


class RelativeL1(Absolute):
    """|p - t| / (|p| + 0.01)."""

    def denominator(self, prediction: Tensor, target: Tensor) -> Tensor:
        return prediction.abs().add_(EPSILON)


class Mape(Absolute):
    """Mean absolute percentage error, as a fraction: |p - t| / (|t| + 0.01)."""

    def denominator(self, prediction: Tensor, target: Tensor) -> Tensor:
        return target.abs().add_(EPSILON)


class Smape(Absolute):
    """Symmetric mean absolute percentage error, as a fraction: |p - t| / ((|p| + |t|) / 2 + 0.01)."""

    def denominator(self, prediction: Tensor, target: Tensor) -> Tensor:
        return prediction.abs().add_(target.abs()).mul_(0.5).add_(EPSILON)


class Squared(LossFunction):
    """L2: (p - t)^2."""

    def denominator(self, prediction: Tensor, target: Tensor) -> Tensor | None:
        """The denominator of the squared difference, from tensors without gradient; None for 1."""
        return None

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        self.check_output_dims(prediction.shape[1])
        difference = prediction - target
        denominator = self.denominator(prediction.detach(), target.detach())
        return difference * difference if denominator is None else difference * difference / denominator

    def _evaluate(self, prediction: Tensor, target: Tensor, weight: float, pdf: Tensor | None) -> tuple[Tensor, Tensor]:
        difference = prediction - target
        denominator = _product(self.denominator(prediction, target), pdf)
        gradient = difference * (2 * weight if denominator is None else 2 * weight / denominator)
        return 0.5 * _dot(gradient, difference), gradient


class RelativeL2(Squared):
    """(p - t)^2 / (p^2 + 0.01)."""

    def denominator(self, prediction: Tensor, target: Tensor) -> Tensor:
        return prediction.square().add_(EPSILON)


class RelativeL2Luminance(Squared):
    """(p - t)^2 / (Y^2 + 0.01) with Y the luminance of the first three outputs; if there are six, of the sum of both triples.

    Mueller, Rousselle, Novak, Keller, *Real-time Neural Radiance Caching for Path Tracing* (2021), section 4.
    """

    min_output_dims = 3

    def denominator(self, prediction: Tensor, target: Tensor) -> Tensor:
        rgb = prediction[:, :3] if prediction.shape[1] < 6 else prediction[:, :3] + prediction[:, 3:6]
        luminance = rgb[:, 0:1] * LUMINANCE[0]
        luminance.add_(rgb[:, 1:2], alpha=LUMINANCE[1]).add_(rgb[:, 2:3], alpha=LUMINANCE[2])
        return luminance.square_().add_(EPSILON)


class CrossEntropy(LossFunction):
    """-t log p. Where the target is zero, the loss is zero for any prediction, zero included."""

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        return -target * torch.where(target == 0, 1.0, prediction).log()

    def _evaluate(self, prediction: Tensor, target: Tensor, weight: float, pdf: Tensor | None) -> tuple[Tensor, Tensor]:
        prediction = torch.where(target == 0, 1.0, prediction)
        factor = target * -weight if pdf is None else target * (-weight / pdf)
        return _dot(factor, prediction.log()), factor.div_(prediction)


class Huber(LossFunction):
    """(p - t)^2 / (2 delta) where |p - t| is at most delta, else |p - t| - delta / 2; all divided by 5.

    Args:
        delta: The difference at which the loss changes from quadratic to linear, above 0.
    """

    def __init__(self, delta: float) -> None:
        self.delta = delta

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        # With the difference d and c = clamp(d): inside, c d - c^2 / 2 is d^2 / 2; outside, delta |d| - delta^2 / 2
        difference = prediction - target
        clamped = difference.clamp(-self.delta, self.delta)
        return clamped * (difference - 0.5 * clamped) * (HUBER_SCALE / self.delta)

    def _evaluate(self, prediction: Tensor, target: Tensor, weight: float, pdf: Tensor | None) -> tuple[Tensor, Tensor]:
        difference = prediction - target
        clamped = difference.clamp(-self.delta, self.delta)
        scale = weight * HUBER_SCALE / self.delta
        gradient = clamped * (scale if pdf is None else scale / pdf)
        return _dot(gradient, difference.sub_(clamped, alpha=0.5)), gradient


class RoundedMape(LossFunction):
    """(sqrt((p - t)^2 + r^2) - r) / (|t| + 0.01): MAPE for errors far above r, and a squared error for those far below.

    Args:
        rounding: The error r, above 0.
    """

    def __init__(self, rounding: float) -> None:
        self.rounding = rounding

    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self._lengths(prediction - target)[1] / (target.detach().abs() + EPSILON)

    def _lengths(self, difference: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(d^2 + r^2), and sqrt(d^2 + r^2) - r without the cancellation of the difference."""
        length = torch.hypot(difference, torch.full_like(difference, self.rounding))
        return length, difference * difference / (length + self.rounding)

    def _evaluate(self, prediction: Tensor, target: Tensor, weight: float, pdf: Tensor | None) -> tuple[Tensor, Tensor]:
        difference = prediction - target
        length, beyond = self._lengths(difference)
        scale = weight / (target.abs() + EPSILON)
        scale = scale if pdf is None else scale / pdf
        return (beyond * scale).sum(), difference / length * scale


def _product(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """a * b, where None stands for 1."""
    if a is None or b is None:
        return a if b is None else b
    return a * b


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The sum of products of all elements."""
    if a.is_cuda:  # not cuBLAS, whose workspace CUDA graphs would share
        return (a * b).sum()
    return torch.dot(a.reshape(-1), b.reshape(-1))


@dataclass(frozen=True)
class TargetLoss:
    """The mean loss of predictions against targets, as a function of the model's outputs [N, C].

    Attributes:
        loss: The loss.
        target: float32 [N, C].
        pdf: Probability density with which each sample was drawn, float32 [N] or [N, C]; None for 1.
        factor: Factor of the outputs before they are compared with the target, float32 [N, 1] or [N, C]; None for 1.
    """

    loss: LossFunction
    target: Tensor
    pdf: Tensor | None = None
    factor: Tensor | None = None

    def __call__(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """The mean loss, 0-d, and its gradient with respect to the outputs, [N, C]."""
        target = self.target.to(output.dtype)
        if self.factor is None:
            return self.loss.evaluate(output, target, self.pdf)
        loss, gradient = self.loss.evaluate(output * self.factor, target, self.pdf)
        return loss, gradient * self.factor


_LOSSES: dict[str, type[LossFunction]] = {
    "L1": Absolute,
    "L2": Squared,
    "RelativeL1": RelativeL1,
    "RelativeL2": RelativeL2,
    "RelativeL2Luminance": RelativeL2Luminance,
    "MAPE": Mape,
    "SMAPE": Smape,
    "CrossEntropy": CrossEntropy,
}


def build_loss(config: configuration.Loss) -> LossFunction:
    """The loss that a configuration describes."""
    return Huber(config.delta) if config.otype == "Huber" else _LOSSES[config.otype]()
