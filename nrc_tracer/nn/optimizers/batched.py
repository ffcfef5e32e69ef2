"""One step with the mean of several gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nrc_tracer.nn.gradients import Gradient
from nrc_tracer.nn.optimizers.optimizer import Optimizer, Wrapper

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration


class Batched(Wrapper):
    """Steps the nested optimizer once every `batch_size_multiplier` calls, with the mean of their gradients.

    `steps` counts calls, as in tiny-cuda-nn, and so does a schedule around it. Every call goes over all parameters.
    """

    steps: int = 0
    _numbers = {"steps": int}

    def __init__(self, config: configuration.Batched, nested: Optimizer) -> None:
        super().__init__(config, nested)
        self.mean_gradient = torch.zeros(self.n_params, device=self._torch_device)

    @property
    def rests_at_zero(self) -> bool:
        # The last of the calls changes parameters that only an earlier one touched
        return self.n_params == self.n_matrix_params

    def step(self, params: Tensor, gradient: Gradient) -> None:
        calls = self.config.batch_size_multiplier
        if self.steps % calls == 0:
            self.mean_gradient.zero_()
        self.mean_gradient.add_(gradient.dense(), alpha=1 / calls)
        self.steps += 1
        if self.steps % calls == 0:
            self.nested.step(params, Gradient(self.mean_gradient, self.n_matrix_params))

    def _tensors(self) -> dict[str, Tensor]:
        return {"mean_gradient": self.mean_gradient}
