"""The numbers of a training: how many steps were taken, and by what factor losses are scaled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LossScaling:
    """How the factor of a loss before a backward pass in float16, whose small gradients would be zero, changes.

    Attributes:
        first: In the beginning, and at most.
        least: At least. An overflow halves it.
        interval: Steps without overflow after which one that was halved is doubled again.
    """

    first: float = 128.0
    least: float = 2.0**-10
    interval: int = 1000


NO_SCALING = LossScaling(first=1.0)
"""For precisions that do not need it."""


@dataclass
class Progress:
    """The numbers of a training.

    Attributes:
        loss_scale: Factor of the loss in the backward pass.
        steps: Steps taken.
        skipped_steps: Steps left out, as a loss or gradient was not finite.
        since_overflow: Steps taken since a gradient was too large for the loss scale.
    """

    loss_scale: float
    steps: int = 0
    skipped_steps: int = 0
    since_overflow: int = 0

    def take_step(self, scaling: LossScaling) -> None:
        """Count a step."""
        self.steps += 1
        self.since_overflow += 1
        if self.loss_scale < scaling.first and self.since_overflow >= scaling.interval:
            self.loss_scale *= 2.0
            self.since_overflow = 0

    def skip_step(self, scaling: LossScaling, *, overflow: bool) -> None:
        """Count a step that is left out; with an overflow, its loss was finite, and its gradient too large for the scale."""
        self.skipped_steps += 1
        if scaling.first > 1.0 and overflow:
            self.loss_scale = max(0.5 * self.loss_scale, scaling.least)
            self.since_overflow = 0
