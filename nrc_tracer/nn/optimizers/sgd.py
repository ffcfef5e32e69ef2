"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nrc_tracer.device.launch import Launcher
from nrc_tracer.nn.optimizers.optimizer import Optimizer

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration
    from nrc_tracer.nn.gradients import Gradient


class SGD(Optimizer):
    """Every step replaces each parameter w with gradient g by w - learning_rate (g + l2_reg w)."""

    steps: int = 0
    _numbers = {"steps": int, "learning_rate": float}

    def __init__(self, config: configuration.SGD, n_params: int, n_matrix_params: int, launcher: Launcher) -> None:
        super().__init__(config, n_params, n_matrix_params, launcher)
        self.learning_rate = config.learning_rate

    @property
    def rests_at_zero(self) -> bool:
        return self.config.l2_reg == 0 or self.n_params == self.n_matrix_params

    @torch.no_grad()
    def step(self, params: Tensor, gradient: Gradient) -> None:
        self.steps += 1
        params.add_(torch.add(gradient.dense(), params, alpha=self.config.l2_reg), alpha=-self.learning_rate)
