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
    progress = TrainingProgress(task, task.number)
    with deferred_interrupt() as interrupted:
        while not ((watch is not None and watch(progress)) or interrupted()):
            if _is_done(progress, steps, seconds):
                progress.finished = True
                break
            _step(progress)
            progress.fraction = _fraction(progress, steps, seconds)
        progress.interrupted = interrupted()
    return progress


def _step(progress: TrainingProgress) -> None:
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


def _is_done(progress: TrainingProgress, steps: int | None, seconds: float | None) -> bool:
    if steps is None and seconds is None:
        return True
    return (steps is not None and progress.task.number >= steps) or (
        seconds is not None and progress.seconds >= seconds
    )


def _fraction(progress: TrainingProgress, steps: int | None, seconds: float | None) -> float:
    by_steps = 0.0 if steps is None else progress.steps / max(steps - progress.first, 1)
    by_time = 0.0 if seconds is None else progress.seconds / seconds
    return min(1.0, max(by_steps, by_time))
