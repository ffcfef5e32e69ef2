"""Running a task's steps until there are enough, or until the time is up."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Callable
from dataclasses import dataclass

import torch

from nrc_tracer.interruption import deferred_interrupt
from nrc_tracer.tasks.task import Task

Watch = Callable[["Progress"], bool | None]
"""Called between steps, outside the time that counts; ends the training by returning True."""

LOSS_HORIZON = 100
"""Steps over which the loss that is shown is averaged."""


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        task: What is trained.
        first: Number of the first step of this run.
        steps: Steps of this run, those skipped among them.
        seconds: That they took: steps alone, on the CPU and the GPU.
        loss: Of the last steps, averaged; NaN before the first.
        until: How near the end is, from 0 to 1: the larger of the shares of steps and of time.
        finished: Whether the end was reached, and neither Ctrl-C pressed nor an end asked for, be it in the last step.
    """

    task: Task
    first: int
    steps: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    until: float = 0.0
    finished: bool = False


def train(
    task: Task, *, steps: int | None = None, seconds: float | None = None, watch: Watch | None = None
) -> Progress:
    """Train until the task has taken so many steps in all, or this run has taken so much time.

    Args:
        task: What to train.
        steps: Number of steps that the task ends at, those of earlier runs among them.
        seconds: Time of this run's steps; what `watch` does does not count.
        watch: Called before the first step and after each.

    Returns:
        Where it ended. A first Ctrl-C ends it after the current step, without an exception.
    """
    progress = Progress(task, task.number)
    with deferred_interrupt() as interrupted:
        while not ((watch is not None and watch(progress)) or interrupted()):
            if _is_done(progress, steps, seconds):
                progress.finished = True
                break
            _step(progress)
            progress.until = _share(progress, steps, seconds)
    return progress


def _step(progress: Progress) -> None:
    start = clock.perf_counter()
    loss = progress.task.step().detach()
    if loss.is_cuda:
        torch.cuda.synchronize(loss.device)
    value = float(loss)
    progress.seconds += clock.perf_counter() - start
    progress.steps += 1
    if math.isfinite(value):  # that of a skipped step may not be
        last = value if math.isnan(progress.loss) else progress.loss
        progress.loss = last + (value - last) / min(progress.steps, LOSS_HORIZON)


def _is_done(progress: Progress, steps: int | None, seconds: float | None) -> bool:
    if steps is None and seconds is None:
        return True
    return (steps is not None and progress.task.number >= steps) or (
        seconds is not None and progress.seconds >= seconds
    )


def _share(progress: Progress, steps: int | None, seconds: float | None) -> float:
    by_steps = 0.0 if steps is None else progress.steps / max(steps - progress.first, 1)
    by_time = 0.0 if seconds is None else progress.seconds / seconds
    return min(1.0, max(by_steps, by_time))
