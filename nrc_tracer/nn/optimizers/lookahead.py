"""Lookahead: Zhang, Lucas, Hinton, Ba, *Lookahead Optimizer: k steps forward, 1 step back* (NeurIPS 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nrc_tracer.nn.optimizers.optimizer import Optimizer, Wrapper

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration
    from nrc_tracer.nn.gradients import Gradient


class Lookahead(Wrapper):
    """Slow weights that move towards the trained ones every `n_steps` steps; training continues from them, inference uses them.

    The slow weights are initially the weights before the first step. They move **before** the step after `n_steps` others, so
    inference uses the previous ones until then.
    """

    def __init__(self, config: configuration.Lookahead, nested: Optimizer) -> None:
        super().__init__(config, nested)
        self.slow = torch.zeros(self.n_params, device=self._torch_device)

    @property
    def rests_at_zero(self) -> bool:
        return self.n_params == self.n_matrix_params

    @property
    def has_inference_params(self) -> bool:
        return True

    def inference_params(self, params: Tensor) -> Tensor | None:
        return self.slow if self.steps else None

    @torch.no_grad()
    def step(self, params: Tensor, gradient: Gradient) -> None:
        if self.steps == 0:
            self.slow.copy_(params)
        elif self.steps % self.config.n_steps == 0:
            self.slow.lerp_(params, self.config.alpha)
            params.copy_(self.slow)
        self.nested.step(params, gradient)

    def _tensors(self) -> dict[str, Tensor]:
        return {"slow": self.slow}
