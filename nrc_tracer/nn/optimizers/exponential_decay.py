"""A learning rate that decays at intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from nrc_tracer.nn.optimizers.optimizer import Optimizer, Wrapper

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration
    from nrc_tracer.nn.gradients import Gradient


class ExponentialDecay(Wrapper):
    """Multiplies the nested learning rate by `decay_base` at regular intervals.

    It does so after `decay_start` steps and then every `decay_interval` steps, up to and including step `decay_end`; with
    `decay_start` 0 it does so before the first step. A learning rate that is set becomes the current one and decays further, even
    after a decay by 0.
    """

    _numbers = {"base_learning_rate": float, "factor": float}

    def __init__(self, config: configuration.ExponentialDecay, nested: Optimizer) -> None:
        super().__init__(config, nested)
        self.base_learning_rate = self.nested.learning_rate
        self.factor = 1.0

    @property
    def learning_rate(self) -> float:
        return self.base_learning_rate * self.factor

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if self.factor == 0:
            self.factor = 1.0
        self.base_learning_rate = value / self.factor
        self.nested.learning_rate = value

    def step(self, params: Tensor, gradient: Gradient) -> None:
        self.begin_step()
        self.nested.step(params, gradient)

    def begin_step(self) -> None:
        """Set the nested learning rate for the next step."""
        config, done = self.config, self.steps
        if config.decay_start <= done <= config.decay_end and (done - config.decay_start) % config.decay_interval == 0:
            self.factor *= config.decay_base
        self.nested.learning_rate = self.learning_rate
