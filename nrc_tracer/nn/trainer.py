"""Training a model: loss, gradient, optimizer, and what happens when numbers are no longer finite."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.arrays import ArrayError, as_rows
from nrc_tracer.nn.backends.backend import Evaluate
from nrc_tracer.nn.losses import build_loss
from nrc_tracer.nn.model import Model, read_config
from nrc_tracer.nn.optimizers import StateError, build_optimizer
from nrc_tracer.nn.torch_launcher import TorchLauncher, single_threaded_torch

INITIAL_LOSS_SCALE = 128.0
"""Factor of the loss before a backward pass in float16, whose small gradients would be zero."""
MIN_LOSS_SCALE = 2.0**-10
GROWTH_INTERVAL = 1000
"""Steps without overflow after which a loss scale that was halved is doubled again."""


class Trainer:
    """Trains a model by its loss and optimizer, a batch a step.

    A step whose loss or gradient is not finite changes nothing but the count of skipped steps, so parameters are never NaN. In
    float16 the loss is scaled before the backward pass; the scale is halved when a gradient overflows.

    Args:
        model: The model, whose `params` are changed in place. Where the optimizer averages parameters over training, the model
            answers by the average.
        config: Of loss and optimizer, a file, its contents or a `ModelConfig`; the model's own unless given.

    Attributes:
        model: The model.
        optimizer: The optimizer; its `learning_rate` may be set.
        steps: Steps taken, without those skipped.
        skipped_steps: Steps left out because a loss or gradient was not finite.
        loss_scale: Factor of the loss in the backward pass.

    Raises:
        ConfigError: A configuration that cannot be read, or a loss that needs more outputs.
    """

    def __init__(
        self,
        model: Model,
        config: str | os.PathLike[str] | Mapping[str, Any] | configuration.ModelConfig | None = None,
    ) -> None:
        self.model = model
        self.config = model.config if config is None else read_config(config, model.n_input_dims)
        self._loss = build_loss(self.config.loss)
        self._loss.check_output_dims(model.n_output_dims)
        structure = model.structure
        self._launcher = getattr(model.backend, "launcher", None) or TorchLauncher(model.device, threads=model.threads)
        self.optimizer = build_optimizer(
            self.config.optimizer, structure.n_params, structure.n_matrix_params, self._launcher
        )
        self.steps = 0
        self.skipped_steps = 0
        self.loss_scale = INITIAL_LOSS_SCALE if model.backend.precision == torch.float16 else 1.0
        self._max_loss_scale = self.loss_scale
        self._since_overflow = 0
        self._averaged: tuple[int, Tensor | None] = (-1, None)
        model.set_average(self._average)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return self.optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
            raise ConfigError(f"learning_rate: expected a number of at least 0, got {value!r:.40}")
        self.optimizer.learning_rate = float(value)

    def step(self, x: Any, target: Any, *, data_pdf: Tensor | None = None, factor: Tensor | None = None) -> Tensor:
        """Take one step of training.

        Args:
            x: Inputs, float32 [N, n_input_dims]: torch tensor, Warp array or NumPy array on the model's device.
            target: What the model should give for them, float32 [N, n_output_dims].
            data_pdf: Density with which each sample was drawn, [N] or [N, n_output_dims], by which its loss is divided.
            factor: What outputs are multiplied by before they are compared with the target, [N] or [N, n_output_dims].

        Returns:
            The mean loss before the step, 0-d; 0 for an empty batch, which is no step.

        Raises:
            ArrayError: Another shape, type or device.
        """
        model = self.model
        x = as_rows(x, model.n_input_dims, model.device, "x")
        target = as_rows(target, model.n_output_dims, model.device, "target")
        if len(x) != len(target):
            raise ArrayError(f"target: {len(target)} rows for {len(x)} inputs")
        for name, values in (("data_pdf", data_pdf), ("factor", factor)):
            if values is None:
                continue
            if not isinstance(values, Tensor) or values.dtype != torch.float32 or values.device != model.device:
                raise ArrayError(f"{name}: expected a float32 tensor on {model.device}")
            if values.shape not in (target.shape, target.shape[:1]):
                raise ArrayError(f"{name}: expected shape {list(target.shape[:1])} or {list(target.shape)}")
        if not len(x):
            return torch.zeros((), device=model.device)
        if factor is not None and factor.ndim == 1:
            factor = factor[:, None]

        def evaluate(output: Tensor) -> tuple[Tensor, Tensor]:
            goal = target.to(output.dtype)
            if factor is None:
                return self._loss.evaluate(output, goal, data_pdf)
            loss, gradient = self._loss.evaluate(output * factor, goal, data_pdf)
            return loss, gradient * factor

        return self._descend(x, evaluate)

    def descend(self, x: Any, evaluate: Evaluate) -> Tensor:
        """Take one step of training by a loss of the caller's, such as one of rays that many rows of `x` belong to.

        Args:
            x: Inputs, float32 [N, n_input_dims]: torch tensor, Warp array or NumPy array on the model's device.
            evaluate: Given outputs [N, n_output_dims], returns the loss, 0-d, and its gradient with respect to them.

        Returns:
            The loss before the step, 0-d; 0 for an empty batch, which is no step.

        Raises:
            ArrayError: Another shape, type or device.
        """
        x = as_rows(x, self.model.n_input_dims, self.model.device, "x")
        return self._descend(x, evaluate) if len(x) else torch.zeros((), device=self.model.device)

    def _descend(self, x: Tensor, evaluate: Evaluate) -> Tensor:
        model = self.model
        loss, gradient = model.backend.gradient(x, model.params, evaluate, loss_scale=self.loss_scale)
        if gradient is None:
            self._skip(loss)
            return loss
        with single_threaded_torch(self._launcher):
            self.optimizer.step(model.params, gradient)
        self.steps += 1
        self._since_overflow += 1
        if self.loss_scale < self._max_loss_scale and self._since_overflow >= GROWTH_INTERVAL:
            self.loss_scale *= 2.0
            self._since_overflow = 0
        return loss

    def _skip(self, loss: Tensor) -> None:
        """Count a step that is left out; if the loss was finite, its gradient was too large for the scale."""
        self.skipped_steps += 1
        if self._max_loss_scale > 1.0 and torch.isfinite(loss):
            self.loss_scale = max(0.5 * self.loss_scale, MIN_LOSS_SCALE)
            self._since_overflow = 0

    def _average(self) -> Tensor | None:
        """The optimizer's parameters for inference, made once a step."""
        if self._averaged[0] != self.steps:
            with single_threaded_torch(self._launcher):
                self._averaged = (self.steps, self.optimizer.inference_params(self.model.params))
        return self._averaged[1]

    # State

    def state(self, *, copy: bool = True) -> dict[str, Any]:
        """All that the next steps depend on besides the model's parameters: numbers, tensors, and dicts of them.

        Args:
            copy: Else tensors are those in use, which the next step changes.
        """
        return {
            "steps": self.steps,
            "skipped_steps": self.skipped_steps,
            "loss_scale": self.loss_scale,
            "since_overflow": self._since_overflow,
            "optimizer": self.optimizer.state(copy=copy),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: with the same parameters and batches, steps are bit-identical.

        Raises:
            StateError: It is not the state of such a trainer; then nothing has changed.
        """
        expected = {
            "steps": int,
            "skipped_steps": int,
            "loss_scale": float,
            "since_overflow": int,
            "optimizer": Mapping,
        }
        if not isinstance(state, Mapping):
            raise StateError(f"state of a trainer: expected a dict, got {type(state).__name__}")
        if set(state) != set(expected):
            raise StateError(f"state of a trainer: expected {sorted(expected)}, got {sorted(map(str, state))}")
        for key, kind in expected.items():
            value = state[key]
            fits = isinstance(value, kind) and not isinstance(value, bool)
            if not fits or (kind is not Mapping and not 0 <= value < float("inf")):
                raise StateError(
                    f"state of a trainer, {key}: expected {kind.__name__} of at least 0, got {value!r:.40}"
                )
        self.optimizer.load_state(state["optimizer"])
        self.steps = state["steps"]
        self.skipped_steps = state["skipped_steps"]
        self.loss_scale = state["loss_scale"]
        self._since_overflow = state["since_overflow"]
        self._averaged = (-1, None)
