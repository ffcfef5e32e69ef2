"""Training steps that are decided on the device, so that a CUDA graph can hold them.

An ordinary step waits for the device to tell whether its gradient is finite. Here that result and the counts of steps stay on the
device. A small kernel checks the gradient. Then one pass over the parameters unscales the gradient, takes Adam's step, moves the
average of the weights, rounds the network's weights to halfs for the next forward pass and sets the gradient to zero; if the step
is skipped, it only sets the gradient to zero.
"""

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_launcher import single_threaded_torch
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.backends.backend import Backend, Evaluate
from nrc_tracer.nn.backends.warp import WarpBackend
from nrc_tracer.nn.fused.passes import packed_place
from nrc_tracer.nn.optimizers.adam import Adam
from nrc_tracer.nn.optimizers.adam_kernels import ADAM, AdamRule
from nrc_tracer.nn.optimizers.ema import Ema
from nrc_tracer.nn.optimizers.ema_kernels import blended
from nrc_tracer.nn.optimizers.optimizer import PARAMS_PER_ITEM, Optimizer
from nrc_tracer.nn.training_counters import (
    LossScaling,
    TrainingCounters,
    scaling_after_overflow,
    scaling_after_step,
)

# Indices of a training's numbers on the device
STEPS = wp.constant(0)
SKIPPED_STEPS = wp.constant(1)
SINCE_OVERFLOW = wp.constant(2)
OPTIMIZER_STEPS = wp.constant(3)  # fewer than STEPS if the counters were set
LOSS_SCALE = wp.constant(0)
LEARNING_RATE = wp.constant(1)
UNSCALE = wp.constant(2)  # factor of the gradient of the current step; 0 if the step is skipped


_adam_update = ADAM["float32"].update

# The rules of `TrainingCounters`, compiled for the device
_after_step = wp.func(scaling_after_step)
_after_overflow = wp.func(scaling_after_overflow)


@wp.kernel(enable_backward=False)
def judge(
    base: int,
    loss: wp.array[float],
    magnitude: wp.array[float],
    first_scale: float,
    least_scale: float,
    interval: int,
    counts: wp.array[int],
    numbers: wp.array[float],
):
    """Count a step as taken where the `magnitude` of its loss and gradient is finite, else as skipped."""
    scale = numbers[LOSS_SCALE]
    since_overflow = counts[SINCE_OVERFLOW]
    if wp.isfinite(magnitude[base + wp.tid()]):
        numbers[UNSCALE] = 1.0 / scale
        counts[STEPS] = counts[STEPS] + 1
        counts[OPTIMIZER_STEPS] = counts[OPTIMIZER_STEPS] + 1
        scale, since_overflow = _after_step(scale, since_overflow, first_scale, interval)
    else:
        numbers[UNSCALE] = 0.0
        counts[SKIPPED_STEPS] = counts[SKIPPED_STEPS] + 1
        if wp.isfinite(loss[0]):
            scale, since_overflow = _after_overflow(scale, since_overflow, first_scale, least_scale)
    numbers[LOSS_SCALE] = scale
    counts[SINCE_OVERFLOW] = since_overflow


@wp.kernel(enable_backward=False)
def take_step(
    base: int,
    begin: int,
    end: int,
    stretch: int,
    step_counts: wp.array[int],
    numbers: wp.array[float],
    rate_factor: float,
    rule: AdamRule,
    corrections: wp.array[float],
    gradient: wp.array[float],
    params: wp.array[float],
    moments: wp.array[wp.vec2],
    counts: wp.array[int],
    shares: wp.array[float],
    averages: wp.array[float],
    ends: wp.array[int],
    columns: wp.array[int],
    packed: wp.array[wp.float16],
):
    """Step the parameters begin .. end - 1, move their averages, round matrix parameters to halfs, and set the gradient to zero.

    `shares` are those of `Ema`; the array is empty if there is no average. `ends`, `columns` and `packed` are those of
    `pack_weights`.
    """
    first = begin + (base + wp.tid()) * stretch
    last = wp.min(first + stretch, end)
    unscale = numbers[UNSCALE]
    if unscale == 0.0:
        for i in range(first, last):
            gradient[i] = 0.0
        return
    for i in range(first, last):
        gradient[i] = gradient[i] * unscale
    step = step_counts[OPTIMIZER_STEPS]
    rule.learning_rate = numbers[LEARNING_RATE] * rate_factor
    rule.step = step
    _adam_update(first, last, 0, rule, corrections, gradient, params, moments, counts)
    for i in range(first, last):
        gradient[i] = 0.0
    if shares.shape[0] > 0:
        share = shares[wp.min(step, shares.shape[0] - 1)]
        for i in range(first, last):
            averages[i] = blended(averages[i], params[i], share)
    for i in range(first, wp.min(last, packed.shape[0])):
        packed[packed_place(i, ends, columns)] = wp.float16(params[i])


class Descent:
    """Takes the training steps of a fused model without waiting for the device.

    It uses the tensors of the optimizer. The numbers of the optimizer and the training are on the device; `read` and `write` move
    them.

    Args:
        backend: The backend of the model.
        optimizer: `Adam`, or `Ema` of it.
        scaling: How the loss is scaled.

    Raises:
        ConfigError: The model is not fused or is deterministic, or the optimizer is another one.
    """

    def __init__(self, backend: Backend, optimizer: Optimizer, scaling: LossScaling) -> None:
        ema = optimizer if isinstance(optimizer, Ema) else None
        adam = ema.nested if ema else optimizer
        if not isinstance(backend, WarpBackend) or backend.fused is None:
            raise ConfigError("capturable: needs a model with one network that was made with fused=True")
        if backend.deterministic:
            raise ConfigError("capturable: not together with deterministic=True")
        if not isinstance(adam, Adam) or adam.compact or adam.config.adabound:
            raise ConfigError(
                "capturable: needs the optimizer Adam or Ema of Adam, with moments in float32 and without adabound"
            )
        self._backend, self._fused, self._adam, self._ema, self._scaling = backend, backend.fused, adam, ema, scaling
        device = backend.launcher.torch_device
        self._counts = torch.zeros(4, dtype=torch.int32, device=device)
        self._numbers = torch.zeros(3, device=device)
        self._packed = torch.empty(0, dtype=torch.float16, device=device)
        self._is_begun = False

    def read(self, counters: TrainingCounters) -> None:
        """Update the counters and the optimizer's numbers from the device, which this waits for."""
        counts = self._counts.tolist()
        counters.steps, counters.skipped_steps = counts[STEPS], counts[SKIPPED_STEPS]
        counters.since_overflow = counts[SINCE_OVERFLOW]
        counters.loss_scale = float(self._numbers[LOSS_SCALE])
        self._adam.steps = counts[OPTIMIZER_STEPS]
        if self._ema and self._is_begun:
            self._ema.complete = self._adam.steps

    def write(self, counters: TrainingCounters) -> None:
        """Continue from these counters, and from the optimizer's numbers and tensors."""
        counts = (counters.steps, counters.skipped_steps, counters.since_overflow, self._adam.steps)
        self._counts.copy_(torch.tensor(counts, dtype=torch.int32))
        self._numbers[LOSS_SCALE].fill_(counters.loss_scale)
        self.set_learning_rate()
        self._is_begun = False

    def set_learning_rate(self) -> None:
        """Copy the optimizer's learning rate to the device."""
        self._numbers[LEARNING_RATE].fill_(self._adam.learning_rate)

    def averages(self, params: Tensor) -> Tensor | None:
        """The average of the parameters, float32 [n_params], which every step updates; None if there is no average."""
        if self._ema and not self._is_begun and self._adam.steps > 0:
            self._begin(params)
        return self._ema.averages if self._ema and self._is_begun else None

    def step(self, params: Tensor, x: Tensor, evaluate: Evaluate) -> Tensor:
        """Take a step, or skip it if a number is not finite; see `Trainer.descend`."""
        launcher, scaling = self._backend.launcher, self._scaling
        with single_threaded_torch(launcher):
            if not self._is_begun:
                self._begin(params)
            scale = self._numbers[LOSS_SCALE]
            loss, flat, magnitude = self._backend.fused_sums(x, params, evaluate, scale, packed=self._packed)
            sums = [as_warp(loss.view(1)), as_warp(magnitude.view(1))]
            limits = [scaling.first, scaling.least, scaling.interval]
            state = [as_warp(self._counts), as_warp(self._numbers)]
            launcher.run(judge, 1, lambda base: [base, *sums, *limits, *state])
            adam = self._adam
            if adam.config.optimize_matrix_params:
                self._pass(0, adam.n_matrix_params, state, 1.0, adam.matrix_rule, flat, params)
            if adam.config.optimize_non_matrix_params:
                factor = adam.config.non_matrix_learning_rate_factor
                self._pass(adam.n_matrix_params, adam.n_params, state, factor, adam.other_rule, flat, params)
        return loss

    def _begin(self, params: Tensor) -> None:
        """Prepare the averages, the weights as halfs and the gradient for the first step."""
        if self._ema and self._adam.steps == 0:
            self._ema.averages.copy_(params)
        elif self._ema:
            self._ema.catch_up(params)
        self._packed = self._fused.pack(params[: self._adam.n_matrix_params])
        self._backend.clear_gradient()
        self._is_begun = True

    def _pass(
        self, begin: int, end: int, state: list, factor: float, rule: AdamRule, gradient: Tensor, params: Tensor
    ) -> None:
        launcher, adam = self._backend.launcher, self._adam
        stretch = 1 if launcher.device.is_cuda else PARAMS_PER_ITEM
        arrays = [as_warp(gradient), as_warp(params), as_warp(adam.moments, wp.vec2), as_warp(adam.counts)]
        average = [None, None] if self._ema is None else [self._ema.shares.whole(), as_warp(self._ema.averages)]
        halfs = [as_warp(self._fused.ends), as_warp(self._fused.columns), as_warp(self._packed)]
        rates = [np.float32(factor), rule, adam.corrections.whole()]
        arguments = [begin, end, stretch, *state, *rates, *arrays, *average, *halfs]
        launcher.run(take_step, -(-(end - begin) // stretch), lambda base: [base, *arguments])
