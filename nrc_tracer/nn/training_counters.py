"""The counters of a training, and the rules by which they and the scale of the loss change.

The rules are plain functions that Warp can compile: a trainer calls them, and so does a kernel that decides steps on the device.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LossScaling:
    """How the loss is scaled before a backward pass in float16, so that small gradients do not become zero.

    Attributes:
        first: The initial scale, which is also the largest; 1 for no scaling.
        least: The smallest scale. An overflow halves the scale down to this.
        interval: Number of steps without an overflow after which a scale that was halved is doubled.
    """

    first: float = 128.0
    least: float = 2.0**-10
    interval: int = 1000


NO_SCALING = LossScaling(first=1.0)
"""The scaling for precisions that need none."""


def scaling_after_step(scale: float, since_overflow: int, first: float, interval: int) -> tuple[float, int]:
    """The loss scale after a step without an overflow, and the number of steps since the last one; see `LossScaling`."""
    count = since_overflow + 1
    if scale < first and count >= interval:
        return 2.0 * scale, 0
    return scale, count


def scaling_after_overflow(scale: float, since_overflow: int, first: float, least: float) -> tuple[float, int]:
    """The loss scale after a gradient overflowed, and the number of steps since: nothing changes where nothing is scaled."""
    if first <= 1.0:
        return scale, since_overflow
    if 0.5 * scale < least:
        return least, 0
    return 0.5 * scale, 0


@dataclass
class TrainingCounters:
    """How many steps a training has taken, and the scale of its loss.

    Attributes:
        loss_scale: Factor of the loss in the backward pass.
        steps: Steps taken.
        skipped_steps: Steps skipped because a loss or gradient was not finite.
        since_overflow: Steps taken since the scale last changed: since a gradient overflowed, or the scale was doubled.
    """

    loss_scale: float
    steps: int = 0
    skipped_steps: int = 0
    since_overflow: int = 0

    def take_step(self, scaling: LossScaling) -> None:
        """Count a step."""
        self.steps += 1
        self.loss_scale, self.since_overflow = scaling_after_step(
            self.loss_scale, self.since_overflow, scaling.first, scaling.interval
        )

    def skip_step(self, scaling: LossScaling, *, overflow: bool) -> None:
        """Count a skipped step.

        Args:
            scaling: How the loss is scaled.
            overflow: Whether the loss was finite, and the gradient too large for the scale.
        """
        self.skipped_steps += 1
        if overflow:
            self.loss_scale, self.since_overflow = scaling_after_overflow(
                self.loss_scale, self.since_overflow, scaling.first, scaling.least
            )
