"""Adam: Kingma and Ba, *Adam: A Method for Stochastic Optimization* (ICLR 2015), in tiny-cuda-nn's variant.

AdaBound: Luo, Xiong, Liu, Sun, *Adaptive Gradient Methods with Dynamic Bound of Learning Rate* (ICLR 2019).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.launch import Launcher
from nrc_tracer.device.pages import prefer_large_pages
from nrc_tracer.nn.optimizers import adam_kernels
from nrc_tracer.nn.optimizers.adam_kernels import ADAM, AdamRule
from nrc_tracer.nn.optimizers.optimizer import Optimizer
from nrc_tracer.nn.optimizers.step_table import StepTable

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration
    from nrc_tracer.nn.gradients import Gradient

FINAL_RATE = 0.1
"""Limit of both of AdaBound's bounds of the learning rate."""

LARGEST = float(np.finfo(np.float32).max)


class Adam(Optimizer):
    """Adam with a step count for every parameter.

    By default, a non-matrix parameter rests while its gradient is exactly zero: its moments, count and value stay as they are,
    even if it is regularized. Where the gradient lists the touched entries of grids, other entries are not read at all. With
    `skip_zero_grad_non_matrix_params` false, every step goes over all parameters.

    With `moments` bfloat16, the state of a parameter takes 6 bytes instead of 12. Moments are rounded stochastically, so that
    small changes are not lost; the random numbers depend only on the parameter and the step.

    The bias correction of the moments is computed in float64: tiny-cuda-nn's, in float32, has a relative error of up to 3e-5
    in the first steps.

    Attributes:
        matrix_rule: The rule for matrix parameters, except for the values that change from step to step.
        other_rule: The same for all other parameters.
        corrections: Bias correction of the learning rate by a parameter's step count.
    """

    steps: int = 0
    _numbers = {"steps": int, "learning_rate": float}

    def __init__(self, config: configuration.Adam, n_params: int, n_matrix_params: int, launcher: Launcher) -> None:
        super().__init__(config, n_params, n_matrix_params, launcher)
        wp.load_module(adam_kernels, device=launcher.device)
        self.learning_rate = config.learning_rate
        self.compact = config.moments == "bfloat16"
        kinds = (torch.bfloat16, torch.int16) if self.compact else (torch.float32, torch.int32)
        self.moments = prefer_large_pages(torch.zeros(n_params, 2, dtype=kinds[0], device=self._torch_device))
        self.counts = prefer_large_pages(torch.zeros(n_params, dtype=kinds[1], device=self._torch_device))
        self._kernels = ADAM[config.moments]

        # Hyperparameters are float32 in tiny-cuda-nn: 1 - beta2 is 1 - 0.999f, which is not 0.001
        beta1, beta2 = float(np.float32(config.beta1)), float(np.float32(config.beta2))
        self._bound_speed = 1 - beta2

        def correction(t: np.ndarray) -> np.ndarray:
            t = np.maximum(t, 1)
            return np.sqrt(1 - beta2**t) / (1 - beta1**t)

        self.corrections = StepTable(correction, (beta1, beta2), launcher.device)
        self.matrix_rule = self._rule(config.l2_reg, skip_zero=False)
        self.other_rule = self._rule(config.non_matrix_l2_reg, skip_zero=config.skip_zero_grad_non_matrix_params)

    def _rule(self, l2_reg: float, *, skip_zero: bool) -> AdamRule:
        """A rule, except for the values that change from step to step."""
        rule = AdamRule()
        rule.beta1 = self.config.beta1
        rule.beta2 = self.config.beta2
        rule.epsilon = self.config.epsilon
        rule.l2_reg = l2_reg
        rule.relative_decay = self.config.relative_decay
        rule.absolute_decay = self.config.absolute_decay
        rule.gradient_limit = self.config.gradient_clipping_magnitude
        rule.weight_limit = self.config.clipping_magnitude
        rule.lowest_rate = 0.0
        rule.highest_rate = LARGEST
        rule.skip_zero = int(skip_zero)
        return rule

    @property
    def rests_at_zero(self) -> bool:
        return (
            self.config.skip_zero_grad_non_matrix_params
            or not self.config.optimize_non_matrix_params
            or self.n_params == self.n_matrix_params
        )

    def begin_step(self) -> tuple[AdamRule, AdamRule]:
        """Count a step; the rules of this step for the network's parameters and for the others."""
        self.steps += 1
        self.corrections.extend(self.steps)
        factor = self.config.non_matrix_learning_rate_factor
        return self._at_this_step(self.matrix_rule, 1.0), self._at_this_step(self.other_rule, factor)

    def step(self, params: Tensor, gradient: Gradient) -> None:
        matrix_rule, rule = self.begin_step()
        corrections = self.corrections.up_to(self.steps)
        if self.config.optimize_matrix_params:
            arrays = [matrix_rule, corrections, *self._arrays(gradient.flat, params)]
            self._run_dense(self._kernels.dense, 0, self.n_matrix_params, arrays)
        if not self.config.optimize_non_matrix_params:
            return
        if gradient.listed is not None and self.config.skip_zero_grad_non_matrix_params:
            for listed in gradient.listed:
                arrays = [rule, corrections, *self._arrays(listed.regions.values.view(-1), params)]
                self._run_listed(self._kernels.listed, listed, arrays)
        else:
            flat = gradient.dense()
            arrays = [rule, corrections, *self._arrays(flat, params)]
            self._run_dense(self._kernels.dense, self.n_matrix_params, self.n_params, arrays)

    def _at_this_step(self, rule: AdamRule, factor: float) -> AdamRule:
        rule.learning_rate = np.float32(self.learning_rate) * np.float32(factor)
        rule.step = self.steps
        if self.config.adabound:
            speed = self._bound_speed * self.steps
            rule.lowest_rate = FINAL_RATE - FINAL_RATE / (speed + 1)
            rule.highest_rate = FINAL_RATE + FINAL_RATE / speed
        return rule

    def _arrays(self, gradient: Tensor, params: Tensor) -> list:
        # They may have become views of records, but these kernels take them one after the other
        self.moments, self.counts = self.moments.contiguous(), self.counts.contiguous()
        moments = as_warp(self.moments.view(torch.int32)[:, 0]) if self.compact else as_warp(self.moments, wp.vec2)
        return [as_warp(gradient), as_warp(params), moments, as_warp(self.counts)]

    def _tensors(self) -> dict[str, Tensor]:
        return {"moments": self.moments, "counts": self.counts}
