"""An exponential moving average of the weights, for inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.pages import prefer_large_pages
from nrc_tracer.nn.optimizers import ema_kernels as kernels
from nrc_tracer.nn.optimizers.optimizer import Optimizer, Wrapper
from nrc_tracer.nn.optimizers.step_table import StepTable

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration
    from nrc_tracer.nn.gradients import Gradient, ListedGrid


class Ema(Wrapper):
    """The debiased average e of the nested optimizer's weights w: e_t = e_(t-1) + (1 - d) / (1 - d^t) (w_t - e_(t-1)).

    In this form, a weight that never changes equals its average to the last bit. The average is always float32, whatever
    `full_precision` is.

    For a weight that does not change from the step after s to step t, e_t = w + (e_s - w) d^(t-s) (1 - d^s) / (1 - d^t). Where
    the gradient lists the touched entries of grids, their averages are brought up to date before a step changes them, and those
    of other entries wait. This assumes that the parameters are not changed between steps. Reading the average brings a copy up
    to date, so that it changes nothing, not even by rounding.

    Attributes:
        averages: The averages, float32 [n_params], each up to date for the step in `updated`, or `complete` if that is later.
        updated: The last step of each average, int32 [n_params].
        complete: The last step for which all averages are up to date.
        powers: d^k and 1 - d^k by k.
        shares: Weight of a step's parameters in their average, by step.
        reader: A faster way to read the averages, for those who store them otherwise: given the parameters, it copies the
            averages, up to date, to a tensor, or returns False. None for the usual way.
    """

    _numbers = {"complete": int}

    def __init__(self, config: configuration.Ema, nested: Optimizer) -> None:
        super().__init__(config, nested)
        wp.load_module(kernels, device=self.launcher.device)
        self.decay = decay = float(np.float32(config.decay))
        self.averages = prefer_large_pages(torch.zeros(self.n_params, device=self._torch_device))
        self.updated = prefer_large_pages(torch.zeros(self.n_params, dtype=torch.int32, device=self._torch_device))
        self.complete = 0
        self.reader: Callable[[Tensor, Tensor], bool] | None = None
        self._answer: Tensor | None = None

        # The functions of the tables do not refer to the optimizer: a cycle would keep its memory until a garbage collection
        def powers(t: np.ndarray) -> np.ndarray:
            power = decay**t
            return np.stack((power, 1 - power), axis=1)

        self.powers = StepTable(powers, (decay,), self.launcher.device, wp.vec2)
        self.shares = StepTable(lambda t: (1 - decay) / (1 - decay ** np.maximum(t, 1)), (decay,), self.launcher.device)

    @property
    def has_inference_params(self) -> bool:
        return True

    def inference_params(self, params: Tensor) -> Tensor | None:
        if self.steps == 0:
            return None
        if self.complete == self.steps and self.averages.is_contiguous():
            return self.averages
        if self._answer is None:
            self._answer = prefer_large_pages(torch.empty_like(self.averages))
        if self.reader is None or not self.reader(params, self._answer):
            self._answer.copy_(self.averages)
            self._bring_up(params, self._answer)
        return self._answer

    def step(self, params: Tensor, gradient: Gradient) -> None:
        if gradient.listed is not None and self.nested.rests_at_zero and not self.nested.has_inference_params:
            self._step_listed(params, gradient, gradient.listed)
            return
        # Bring averages up to date before the step changes their weights
        self.catch_up(params)
        self.nested.step(params, gradient)
        weights = self.nested.inference_params(params)
        self._blend(params if weights is None else weights, self.n_params)
        self.complete = self.steps

    def _step_listed(self, params: Tensor, gradient: Gradient, grids: list[ListedGrid]) -> None:
        if self.steps > 0:
            arguments = self._catching_up(params, self.averages)
            for listed in grids:
                self._run_listed(kernels.ema_listed, listed, arguments)
        self.nested.step(params, gradient)
        self._blend(params, self.n_matrix_params)

    def _blend(self, weights: Tensor, end: int) -> None:
        """Blend the first `end` weights into their averages, which are up to date, after a step."""
        arguments = [self.share(self.steps), as_warp(weights), as_warp(self.averages)]
        self._run_dense(kernels.ema_dense, 0, end, arguments)

    def share(self, step: int) -> float:
        """The weight of a step's parameters in their average: 1 for the first step."""
        return (1 - self.decay) / (1 - self.decay**step)

    def catch_up(self, params: Tensor) -> None:
        """Bring the averages of all parameters up to the last step."""
        if self.complete != self.steps:
            self._bring_up(params, self.averages)
            self.complete = self.steps

    def _bring_up(self, params: Tensor, averages: Tensor) -> None:
        """Bring averages, or a copy of them, up to the last step."""
        self._run_dense(kernels.ema_catch_up, self.n_matrix_params, self.n_params, self._catching_up(params, averages))

    def _catching_up(self, params: Tensor, averages: Tensor) -> list:
        """The arguments of the kernels that bring averages up to the last step."""
        step = self.steps
        numbers = [step, self.complete, self.powers.up_to(step), 1 - self.decay**step]
        return [*numbers, as_warp(params), as_warp(averages), as_warp(self.updated)]

    def _tensors(self) -> dict[str, Tensor]:
        return {"averages": self.averages, "updated": self.updated}
