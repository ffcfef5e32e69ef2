"""A learning rate that falls in steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from nrc_tracer.nn.optimizers.optimizer import Optimizer, Wrapper

if TYPE_CHECKING:
    from nrc_tracer.nn import config as configuration
    from nrc_tracer.nn.gradients import Gradient


class ExponentialDecay(Wrapper):
    """Multiplies the nested learning rate by `decay_base` again and again.

    It does so before the step that follows `decay_start` steps, and every `decay_interval` steps from then on up to and with
    `decay_end`: with a start of 0, before the very first step. A learning rate that is set becomes the current one and is
    decayed further; after a decay by 0 it starts afresh.
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
