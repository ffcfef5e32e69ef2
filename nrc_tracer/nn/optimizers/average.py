"""The mean of the weights over the last steps, for inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.optimizers.optimizer import Optimizer, Wrapper

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration
    from nrc_tracer.nn.gradients import Gradient


class Average(Wrapper):
    """The mean of the parameters after each of the last `n_samples` steps, which are all kept.

    As in tiny-cuda-nn, missing steps count as weights of zero, so it is a true mean only after `n_samples` steps. Every step
    goes over all parameters.

    Raises:
        ConfigError: There is not enough memory for `n_samples` sets of parameters.
    """

    def __init__(self, config: configuration.Average, nested: Optimizer) -> None:
        super().__init__(config, nested)
        try:
            self.samples = torch.zeros(config.n_samples, self.n_params, device=self._torch_device)
        except RuntimeError as error:
            raise ConfigError(
                f"optimizer.n_samples: {config.n_samples} samples of {self.n_params:,} parameters take "
                f"{4 * config.n_samples * self.n_params / 2**30:,.1f} GiB, more than there is memory; keep fewer"
            ) from error
        self.mean = torch.zeros(self.n_params, device=self._torch_device)

    @property
    def has_inference_params(self) -> bool:
        return True

    def inference_params(self, params: Tensor) -> Tensor | None:
        return self.mean if self.steps else None

    @torch.no_grad()
    def step(self, params: Tensor, gradient: Gradient) -> None:
        self.nested.step(params, gradient)
        oldest = self.samples[self.steps % self.config.n_samples]
        self.mean.add_(torch.sub(params, oldest, out=oldest), alpha=1 / self.config.n_samples)
        oldest.copy_(params)

    def _tensors(self) -> dict[str, Tensor]:
        return {"samples": self.samples, "mean": self.mean}
