"""The base of all backends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nrc_tracer.nn.gradients import Gradient
from nrc_tracer.nn.optimizers.optimizer import Optimizer
from nrc_tracer.nn.structure import Structure

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Returns the mean loss, 0-d, of a prediction [N, n_output_dims], and the gradient with respect to the prediction."""


class Backend(ABC):
    """Runs a model on a device. Inputs are float32 [N, n_input_dims], contiguous and on the device; they are not checked here.

    Attributes:
        structure: Encoding and network.
        device: Torch device.
        precision: Type of matrix products' operands; for the reference of all numbers.
    """

    name: str

    def __init__(self, structure: Structure, device: torch.device, precision: torch.dtype) -> None:
        self.structure = structure
        self.device = device
        self.precision = precision

    @abstractmethod
    def infer(self, x: Tensor, params: Tensor, *, count: Tensor | None = None) -> Tensor:
        """The output, [N, n_output_dims], without a graph for autograd.

        With `count`, int32 [1] on the device, only that number of leading rows is needed; others may have any values.
        """

    def density(self, x: Tensor, params: Tensor) -> Tensor:
        """The density [N] of a radiance field at positions [N, position dims], before its activation, without a graph.

        Raises:
            ConfigError: The model is not a radiance field.
        """
        encoding, own, weights = self.structure.density_parts(params.to(self.precision))
        with torch.no_grad():
            field = self.structure.radiance_field
            return field.density.reference(encoding.reference(x, own, field.position_width), weights)[:, 0]

    @abstractmethod
    def differentiable(self, x: Tensor, params: Tensor) -> Tensor:
        """The output as a function of `x` and `params` that autograd can differentiate."""

    def gradient(
        self, x: Tensor, params: Tensor, evaluate: Evaluate, *, loss_scale: float = 1.0
    ) -> tuple[Tensor, Gradient | None]:
        """The mean loss and the gradient of all parameters.

        Args:
            x: float32 [N, n_input_dims].
            params: float32 [n_params].
            evaluate: The loss and its gradient.
            loss_scale: Factor of the loss in the backward pass, against underflow; it is removed from the result.

        Returns:
            The loss, 0-d, and the gradient; None if it is not finite, in which case nothing was changed.
        """
        leaf = params.detach().requires_grad_()
        y = self.differentiable(x, leaf)
        loss, d_y = evaluate(y.detach())
        (flat,) = torch.autograd.grad(y, leaf, d_y.to(y.dtype) * loss_scale)
        flat = flat.float() / loss_scale
        finite = bool(torch.isfinite(loss)) and bool(torch.isfinite(flat.abs().sum()))
        return loss, Gradient(flat, self.structure.n_matrix_params) if finite else None

    def step(
        self, x: Tensor, params: Tensor, evaluate: Evaluate, optimizer: Optimizer, *, loss_scale: float = 1.0
    ) -> tuple[Tensor, bool]:
        """Take one step of an optimizer.

        Args:
            x: As in `gradient`.
            params: As in `gradient`, but changed in place.
            evaluate: As in `gradient`.
            loss_scale: As in `gradient`.
            optimizer: The optimizer.

        Returns:
            The loss before the step, 0-d, and whether the step was taken: it is skipped if a number is not finite.
        """
        loss, gradient = self.gradient(x, params, evaluate, loss_scale=loss_scale)
        if gradient is None:
            return loss, False
        optimizer.step(params, gradient)
        return loss, True

    def steps(
        self, batches: Sequence[tuple[Tensor, Evaluate]], params: Tensor, optimizer: Optimizer
    ) -> list[tuple[Tensor, bool]] | None:
        """Take steps of an optimizer, one for each batch, without a loss scale; see `step`.

        Args:
            batches: Inputs with at least one row, and the loss with its gradient.
            params: As in `step`.
            optimizer: As in `step`.

        Returns:
            For each step what `step` returns; None if this is not faster than single steps, and nothing was done.
        """
        return None
