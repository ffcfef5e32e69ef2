"""Several optimizers, each for a part of the parameters."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nrc_tracer.device.launch import Launcher
from nrc_tracer.errors import ConfigError
from nrc_tracer.nn.gradients import Gradient
from nrc_tracer.nn.optimizers.optimizer import Optimizer

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration


class CompositeOptimizer(Optimizer):
    """Optimizers side by side, each for the `n_params_to_optimize` parameters after those of the one before it.

    Remaining parameters are not trained. `learning_rate` is a factor of all nested learning rates, initially 1; `steps` are
    those of the first optimizer.

    Args:
        config: Their configuration.
        parts: The optimizers, each with the parameters that it trains.
        n_params: Number of parameters.
        n_matrix_params: Number of them that belong to the network.
        launcher: Runs the kernels.
    """

    _numbers = {"factor": float}

    def __init__(
        self,
        config: configuration.CompositeOptimizer,
        parts: list[tuple[slice, Optimizer]],
        n_params: int,
        n_matrix_params: int,
        launcher: Launcher,
    ) -> None:
        super().__init__(config, n_params, n_matrix_params, launcher)
        self.parts = parts
        self.factor = 1.0
        self._base_learning_rates = [optimizer.learning_rate for _, optimizer in self.parts]
        self._inference_params = torch.empty(n_params if self.has_inference_params else 0, device=self._torch_device)

    @property
    def learning_rate(self) -> float:
        return self.factor

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.factor = value
        for base, (_, optimizer) in zip(self._base_learning_rates, self.parts, strict=True):
            optimizer.learning_rate = base * value

    @property
    def steps(self) -> int:
        return self.parts[0][1].steps

    @property
    def rests_at_zero(self) -> bool:
        return all(optimizer.rests_at_zero for _, optimizer in self.parts)

    @property
    def has_inference_params(self) -> bool:
        return any(optimizer.has_inference_params for _, optimizer in self.parts)

    @torch.no_grad()
    def inference_params(self, params: Tensor) -> Tensor | None:
        if not self.has_inference_params or self.steps == 0:
            return None
        self._inference_params.copy_(params)
        for part, optimizer in self.parts:
            own = optimizer.inference_params(params[part])
            if own is not None:
                self._inference_params[part] = own
        return self._inference_params

    def step(self, params: Tensor, gradient: Gradient) -> None:
        for part, optimizer in self.parts:
            optimizer.step(params[part], _part(gradient, part, optimizer.n_matrix_params))

    def _nested(self) -> dict[str, Optimizer]:
        return {str(i): optimizer for i, (_, optimizer) in enumerate(self.parts)}


def parameter_slices(config: configuration.CompositeOptimizer, n_params: int) -> list[slice]:
    """The parameters of each nested optimizer, of a model that has `n_params`.

    Raises:
        ConfigError: They have more parameters than the model.
    """
    ends = list(itertools.accumulate((nested.n_params_to_optimize for nested in config.nested), initial=0))
    if ends[-1] > n_params:
        raise ConfigError(
            f"optimizer.nested: n_params_to_optimize add up to {ends[-1]:,}, but the model has {n_params:,} parameters"
        )
    return [slice(begin, end) for begin, end in itertools.pairwise(ends)]


def _part(gradient: Gradient, part: slice, n_matrix_params: int) -> Gradient:
    """The gradient of a part of the parameters; a grid that is only partly inside loses its lists."""
    if gradient.listed is None:
        return Gradient(gradient.flat[part], n_matrix_params)
    inside = []
    for grid in gradient.listed:
        if part.start <= grid.begin and grid.end <= part.stop:
            inside.append(replace(grid, begin=grid.begin - part.start))
        elif grid.begin < part.stop and part.start < grid.end:
            return Gradient(gradient.dense()[part], n_matrix_params)
    return Gradient(gradient.flat[part], n_matrix_params, inside)
