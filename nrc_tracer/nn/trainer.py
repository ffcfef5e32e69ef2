"""Training a model: loss, gradient and optimizer step, and steps that are skipped because a number is not finite."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nrc_tracer.device.arrays import ArrayError, as_rows
from nrc_tracer.device.torch_launcher import TorchLauncher, single_threaded_torch
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn import config as configuration
from nrc_tracer.nn.backends.backend import Evaluate
from nrc_tracer.nn.losses import TargetLoss, build_loss
from nrc_tracer.nn.model import Model, read_config
from nrc_tracer.nn.optimizers.build import build_optimizer
from nrc_tracer.nn.optimizers.optimizer import Optimizer, StateError
from nrc_tracer.nn.training_counters import NO_SCALING, LossScaling, TrainingCounters

if TYPE_CHECKING:
    from nrc_tracer.nn.fused.descent import Descent


class _Average:
    """The optimizer's parameters for inference, computed once per step.

    The model keeps this object, which refers to neither model nor trainer: a cycle would keep their memory and threads until a
    garbage collection.
    """

    def __init__(self, model: Model, optimizer: Optimizer, launcher: TorchLauncher, descent: Descent | None) -> None:
        self._params, self._optimizer, self._launcher, self._descent = model.params, optimizer, launcher, descent
        self._is_known = False
        self._answer: Tensor | None = None

    def __call__(self) -> Tensor | None:
        if self._descent is not None:
            return self._descent.averages(self._params)
        if not self._is_known:
            with single_threaded_torch(self._launcher):
                self._answer = self._optimizer.inference_params(self._params)
            self._is_known = True
        return self._answer

    def forget(self) -> None:
        """Compute the average again when it is next asked for."""
        self._is_known, self._answer = False, None


class Trainer:
    """Trains a model with its loss and optimizer, one batch per step.

    A step whose loss or gradient is not finite changes only the count of skipped steps, so parameters never become NaN. In
    float16 the loss is scaled before the backward pass; the scale is halved when a gradient overflows.

    Args:
        model: The model, whose `params` are changed in place. If the optimizer averages parameters over training, the model
            uses the average for inference.
        config: Configuration of loss and optimizer: a file, its contents or a `ModelConfig`; the model's own unless given.
        capturable: Steps never wait for the device, so that a CUDA graph can hold them; reading counters such as `steps` does
            wait. For models made with `fused=True`, and the optimizer Adam or Ema of Adam. Parameters must not be changed
            between steps; after `load_state`, `skip` or setting `counters`, record the graph again. **It has never run on a
            GPU.**

    Attributes:
        model: The model.
        optimizer: The optimizer; its numbers are up to date after `state`.

    Raises:
        ConfigError: The configuration cannot be read, the loss needs more outputs, or steps cannot be captured.
    """

    def __init__(
        self,
        model: Model,
        config: str | os.PathLike[str] | Mapping[str, Any] | configuration.ModelConfig | None = None,
        *,
        capturable: bool = False,
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
        self._scaling = LossScaling() if model.backend.precision == torch.float16 else NO_SCALING
        self._counters = TrainingCounters(self._scaling.first)
        self._descent: Descent | None = None
        if capturable:
            from nrc_tracer.nn.fused.descent import Descent

            self._descent = Descent(model.backend, self.optimizer, self._scaling)
            self._descent.write(self._counters)
        self._average = _Average(model, self.optimizer, self._launcher, self._descent)
        model.set_average(self._average)

    @property
    def counters(self) -> TrainingCounters:
        """Steps taken and skipped, and the loss scale."""
        if self._descent is not None:
            self._descent.read(self._counters)
        return self._counters

    @counters.setter
    def counters(self, counters: TrainingCounters) -> None:
        self._counters = counters
        self._average.forget()
        if self._descent is not None:
            self._descent.write(counters)

    @property
    def steps(self) -> int:
        """Number of steps taken; skipped steps do not count."""
        return self.counters.steps

    @property
    def skipped_steps(self) -> int:
        """Number of steps skipped because a loss or gradient was not finite."""
        return self.counters.skipped_steps

    @property
    def loss_scale(self) -> float:
        """Factor of the loss in the backward pass."""
        return self.counters.loss_scale

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return self.optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
            raise ConfigError(f"learning_rate: expected a number of at least 0, got {value!r:.40}")
        self.optimizer.learning_rate = float(value)
        if self._descent is not None:
            self._descent.set_learning_rate()

    def step(self, x: Any, target: Any, *, data_pdf: Tensor | None = None, factor: Tensor | None = None) -> Tensor:
        """Take one step of training.

        Args:
            x: Inputs, float32 [N, n_input_dims]: torch tensor, Warp array or NumPy array on the model's device.
            target: Targets, float32 [N, n_output_dims].
            data_pdf: Probability density with which each sample was drawn, [N] or [N, n_output_dims]; its loss is divided by it.
            factor: Factor of the outputs before they are compared with the targets, [N] or [N, n_output_dims].

        Returns:
            The mean loss before the step, 0-d; 0 for an empty batch, with which no step is taken.

        Raises:
            ArrayError: An argument has another shape, type or device.
        """
        x, target, factor = self._checked(x, target, data_pdf, factor)
        if not len(x):
            return torch.zeros((), device=self.model.device)
        return self._descend(x, TargetLoss(self._loss, target, data_pdf, factor))

    def take_steps(self, x: Any, target: Any, sizes: Sequence[int], *, factor: Tensor | None = None) -> Tensor:
        """Take several steps of training, the same as with `step`, but faster where a step is short.

        Args:
            x: Inputs of all steps, float32 [N, n_input_dims]: torch tensor, Warp array or NumPy array on the model's device.
            target: Targets, float32 [N, n_output_dims].
            sizes: Number of rows of each step, at least 1. They are taken in order, and are N together.
            factor: Factor of the outputs before they are compared with the targets, [N] or [N, n_output_dims].

        Returns:
            The mean loss before each step, [steps].

        Raises:
            ArrayError: An argument has another shape, type or device, or the sizes do not fit.
        """
        x, target, factor = self._checked(x, target, None, factor)
        if min(sizes, default=1) < 1 or sum(sizes) != len(x):
            raise ArrayError(f"sizes: expected numbers of at least 1 whose sum is {len(x)}, got {list(sizes)!r:.60}")
        factors = [None] * len(sizes) if factor is None else factor.split(list(sizes))
        parts = zip(x.split(list(sizes)), target.split(list(sizes)), factors, strict=True)
        batches = [(rows, TargetLoss(self._loss, own, None, by)) for rows, own, by in parts]
        done = None
        if self._descent is None and self._counters.loss_scale == 1.0:
            with single_threaded_torch(self._launcher):
                done = self.model.backend.steps(batches, self.model.params, self.optimizer)
        if done is None:
            losses = [self._descend(*batch) for batch in batches]
        else:
            losses = [self._counted(loss, taken) for loss, taken in done]
        return torch.stack(losses) if losses else torch.zeros(0, device=self.model.device)

    def _checked(
        self, x: Any, target: Any, data_pdf: Tensor | None, factor: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Inputs, targets and factors of a step as tensors; the arguments are those of `step`."""
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
        return x, target, factor[:, None] if factor is not None and factor.ndim == 1 else factor

    def descend(self, x: Any, evaluate: Evaluate) -> Tensor:
        """Take one step of training with a loss of the caller's, for example of rays to which many rows of `x` belong.

        Args:
            x: Inputs, float32 [N, n_input_dims]: torch tensor, Warp array or NumPy array on the model's device.
            evaluate: Given outputs [N, n_output_dims], returns the loss, 0-d, and its gradient with respect to them.

        Returns:
            The loss before the step, 0-d; 0 for an empty batch, with which no step is taken.

        Raises:
            ArrayError: `x` has another shape, type or device.
        """
        x = as_rows(x, self.model.n_input_dims, self.model.device, "x")
        return self._descend(x, evaluate) if len(x) else torch.zeros((), device=self.model.device)

    def _descend(self, x: Tensor, evaluate: Evaluate) -> Tensor:
        model, counters = self.model, self._counters
        if self._descent is not None:
            return self._descent.step(model.params, x, evaluate)
        with single_threaded_torch(self._launcher):
            loss, taken = model.backend.step(x, model.params, evaluate, self.optimizer, loss_scale=counters.loss_scale)
        return self._counted(loss, taken)

    def _counted(self, loss: Tensor, taken: bool) -> Tensor:
        """Count a step that was taken or skipped. Returns its loss."""
        if taken:
            self._counters.take_step(self._scaling)
            self._average.forget()
        else:
            self._counters.skip_step(self._scaling, overflow=bool(torch.isfinite(loss)))
        return loss

    def skip(self) -> None:
        """Count a step that the caller skips."""
        counters = self.counters
        counters.skip_step(self._scaling, overflow=False)
        self.counters = counters

    # State

    def state(self, *, copy: bool = True) -> dict[str, Any]:
        """The state that the next steps depend on besides the model's parameters: numbers, tensors, and dicts of them.

        Args:
            copy: Copy the tensors; else they are those in use, which the next step changes.
        """
        return {**asdict(self.counters), "optimizer": self.optimizer.state(copy=copy)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state: with the same parameters and batches, steps are bit-identical.

        Raises:
            StateError: It is not the state of such a trainer; nothing has changed then.
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
        self.counters = TrainingCounters(**{key: state[key] for key in expected if key != "optimizer"})
