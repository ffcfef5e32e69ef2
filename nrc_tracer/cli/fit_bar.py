"""The progress of a training on stderr: a bar on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from nrc_tracer.cli.periodic import Periodic
from nrc_tracer.cli.progress import Bar

if TYPE_CHECKING:
    from nrc_tracer.tasks.training import TrainingProgress

SCORE_EVERY = 2.0
"""Shortest time between two scores that the bar shows, in seconds."""
LINE_EVERY = 10.0
"""Shortest time between two lines where there is no bar, in seconds."""


class FitBar(Bar):
    """Step, loss, the task's own score, steps per second and time left. Call it between steps.

    Args:
        steps: Number of steps at which the training ends, if any.
        seconds: Time of training at which it ends, if any.
        quiet: Whether to show nothing.
    """

    def __init__(self, *, steps: int | None, seconds: float | None, quiet: bool) -> None:
        self._steps, self._seconds = steps, seconds
        self._quiet = quiet
        super().__init__("{task.fields[words]}", quiet=quiet, words="")
        self._scores: dict[str, float] = {}
        self._score = Periodic(self._take_score, SCORE_EVERY)
        self._line = Periodic(self._print, LINE_EVERY)

    def __enter__(self) -> FitBar:
        self._score.start()
        self._line.start()
        super().__enter__()
        return self

    def __call__(self, progress: TrainingProgress) -> None:
        if self._quiet or not progress.steps:
            return
        if not self.shown:
            self._line.run_if_due(progress)
            return
        self._score.run_if_due(progress)
        self.show(progress.fraction, words=self._words(progress))

    def _take_score(self, progress: TrainingProgress) -> None:
        self._scores = progress.task.score()

    def _print(self, progress: TrainingProgress) -> None:
        self._take_score(progress)
        left = progress.seconds / progress.fraction - progress.seconds if progress.fraction else math.nan
        click.echo(f"{self._words(progress)}, {left:.0f} s left", err=True)

    def _words(self, progress: TrainingProgress) -> str:
        number = progress.first + progress.steps
        steps = f"step {number:,}" if self._steps is None else f"step {number:,}/{self._steps:,}"
        scores = [f"{name} {value:.4g}" for name, value in self._scores.items()]
        speed = progress.steps / max(progress.seconds, 1e-9)
        return ", ".join([steps, f"loss {progress.loss:.3g}", *scores, f"{speed:.3g} steps/s"])
