"""Running a task's steps until there are enough of them, or until the time is up."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Callable
from dataclasses import dataclass

import torch

from nrc_tracer.interruption import deferred_interrupt
from nrc_tracer.tasks.task import Task

Watch = Callable[["TrainingProgress"], object]
"""Called between steps, outside the time that counts; ends the training by returning True."""

LOSS_HORIZON = 100
"""Number of steps over which the displayed loss is averaged."""


@dataclass
class TrainingProgress:
    """How far a training is.

    Attributes:
        task: The task in training.
        first: Number of the first step of this run.
        steps: Steps of this run so far, including skipped ones.
        seconds: Time that these steps took, on the CPU and the GPU, without anything between them.
        loss: Mean loss of the last steps; NaN before the first.
        fraction: How much of the run is done, from 0 to 1: the larger of the fractions of steps and of time.
        finished: Whether the run reached its end, without being interrupted or ended by `watch`.
        interrupted: Whether Ctrl-C ended the run.
    """

    task: Task
    first: int
    steps: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    fraction: float = 0.0
    finished: bool = False
    interrupted: bool = False


class Training:
    """The training of a task, one step at a time.

    Args:
        task: The task.
        steps: Number of steps to end at, including those of earlier runs.
        seconds: Time at which it ends, counted as in `TrainingProgress`; it may be infinite.

    Attributes:
        progress: How far it is.
    """

    def __init__(self, task: Task, *, steps: int | None = None, seconds: float | None = None) -> None:
        self.progress = TrainingProgress(task, task.number)
        self._steps, self._seconds = steps, seconds

    @property
    def is_done(self) -> bool:
        """Whether there are enough steps, or the time is up; true if neither is given."""
        if self._steps is None and self._seconds is None:
            return True
        return (self._steps is not None and self.progress.task.number >= self._steps) or (
            self._seconds is not None and self.progress.seconds >= self._seconds
        )

    def step(self) -> None:
        """Take one step, and count it and its time."""
        progress = self.progress
        start = clock.perf_counter()
        loss = progress.task.step().detach()
        if loss.is_cuda:
            torch.cuda.synchronize(loss.device)
        value = float(loss)
        progress.seconds += clock.perf_counter() - start
        progress.steps += 1
        if math.isfinite(value):  # a skipped step's loss may not be
            last = value if math.isnan(progress.loss) else progress.loss
            progress.loss = last + (value - last) / min(progress.steps, LOSS_HORIZON)
        progress.fraction = self._fraction()

    def _fraction(self) -> float:
        progress = self.progress
        by_steps = 0.0 if self._steps is None else progress.steps / max(self._steps - progress.first, 1)
        by_time = 0.0 if self._seconds is None else progress.seconds / self._seconds
        return min(1.0, max(by_steps, by_time))


def train(
    task: Task, *, steps: int | None = None, seconds: float | None = None, watch: Watch | None = None
) -> TrainingProgress:
    """Train until the task has taken a number of steps in all, or until this run has taken some time.

    Args:
        task: The task.
        steps: Number of steps to end at, including those of earlier runs.
        seconds: Time of this run's steps, without the time spent in `watch`.
        watch: Called before the first step and after each step; ends the run by returning True.

    Returns:
        How far the training is. A first Ctrl-C ends the run after the current step, without an exception; a second one raises
        `KeyboardInterrupt` at once.
    """
    training = Training(task, steps=steps, seconds=seconds)
    progress = training.progress
    with deferred_interrupt() as interrupted:
        while not ((watch is not None and watch(progress)) or interrupted()):
            if training.is_done:
                progress.finished = True
                break
            training.step()
        progress.interrupted = interrupted()
    return progress
