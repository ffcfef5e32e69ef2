"""The optimizers whose steps the fused kernels can take, and the numbers that the kernels need of them."""

from __future__ import annotations

from typing import Any

from nrc_tracer.nn.fused_cpu.arguments import fields
from nrc_tracer.nn.fused_cpu.records import Records
from nrc_tracer.nn.optimizers.adam import Adam
from nrc_tracer.nn.optimizers.ema import Ema
from nrc_tracer.nn.optimizers.exponential_decay import ExponentialDecay
from nrc_tracer.nn.optimizers.optimizer import Optimizer

Numbers = list[tuple[Any, str, float]]
"""Numbers that optimizers count: the optimizer, the name and the value."""


class AdamChain:
    """Adam, optionally with a moving average of the parameters and a decaying learning rate, for the fused kernels.

    Attributes:
        adam: Adam.
        ema: The moving average around it, or None.
        decays: The learning-rate schedules around Adam or around the average.
    """

    def __init__(self, adam: Adam, ema: Ema | None, decays: list[ExponentialDecay]) -> None:
        self.adam = adam
        self.ema = ema
        self.decays = decays
        self._records = Records(adam, ema)

    @staticmethod
    def of(optimizer: Optimizer) -> AdamChain | None:
        """An optimizer as a chain, or None if the fused kernels cannot take its steps."""
        ema, decays = None, []
        while not isinstance(optimizer, Adam):
            if isinstance(optimizer, ExponentialDecay):
                decays.append(optimizer)
            elif isinstance(optimizer, Ema) and ema is None:
                ema = optimizer
            else:
                return None
            optimizer = optimizer.nested
        config = optimizer.config
        lazy = optimizer.n_params == optimizer.n_matrix_params or (
            config.skip_zero_grad_non_matrix_params and config.optimize_non_matrix_params
        )
        return AdamChain(optimizer, ema, decays) if lazy and not optimizer.compact else None

    def begin_step(self, update: Any) -> Numbers:
        """Count a step, and write its numbers and addresses to the fields of an `Update`.

        Returns:
            What the optimizers counted before, for `go_back`.
        """
        adam, ema = self.adam, self.ema
        before: Numbers = [(adam, "steps", adam.steps), (adam, "learning_rate", adam.learning_rate)]
        for decay in self.decays:
            before += [(decay, name, getattr(decay, name)) for name in ("base_learning_rate", "factor")]
        for decay in self.decays:
            decay.begin_step()
        update.records, update.record_size = self._records.address(), self._records.size
        if ema is not None:
            step = adam.steps
            update.ema_step, update.complete = step, ema.complete
            update.debias = 1.0 - ema.decay**step
            ema.powers.extend(step)
            update.powers, update.n_powers = ema.powers.address, ema.powers.length
        update.matrix_rule, update.other_rule = (fields(rule) for rule in adam.begin_step())
        update.matrices = int(adam.config.optimize_matrix_params)
        update.corrections, update.n_corrections = adam.corrections.address, adam.corrections.length
        if ema is not None:
            update.share = ema.share(adam.steps)
        return before

    def before_reading(self, update: Any) -> None:
        """Write what the averages need for being read to the fields of an `Update`."""
        adam, ema = self.adam, self.ema
        assert ema is not None
        ema.powers.extend(adam.steps)
        update.records, update.ema_step, update.complete = self._records.address(), adam.steps, ema.complete
        update.debias = 1.0 - ema.decay**adam.steps
        update.powers, update.n_powers = ema.powers.address, ema.powers.length

    def reserve(self, steps: int) -> None:
        """Extend tables for a number of further steps, so that their addresses stay the same."""
        self.adam.corrections.extend(self.adam.steps + steps)
        if self.ema is not None:
            self.ema.powers.extend(self.adam.steps + steps)

    @staticmethod
    def go_back(before: Numbers) -> None:
        """Forget the steps that were counted since, as they were not taken."""
        for owner, name, value in before:
            setattr(owner, name, value)
