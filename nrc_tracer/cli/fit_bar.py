"""The progress of a training on stderr: a bar on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import math
import time as clock
from typing import TYPE_CHECKING

import click

from nrc_tracer.cli.periodic import Periodic
from nrc_tracer.cli.progress import Bar

if TYPE_CHECKING:
    from nrc_tracer.tasks.training import TrainingProgress

SCORE_EVERY = 2.0
"""Shortest time between two scores that the bar shows, in seconds."""
ANNOUNCED = 5.0
"""Estimated time of scoring from which on it is announced, in seconds."""
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
        self._next_line = 0.0

    def __enter__(self) -> FitBar:
        self._score.start()
        self._next_line = clock.perf_counter() + LINE_EVERY
        super().__enter__()
        return self

    def __call__(self, progress: TrainingProgress) -> None:
        if self._quiet or not progress.steps:
            return
        if not self.shown:
            # Lines come on time however long scores take; these are taken less often then
            if clock.perf_counter() >= self._next_line:
                self._next_line = clock.perf_counter() + LINE_EVERY
                self._score.run_if_due(progress)
                self._print(progress)
            return
        self._score.run_if_due(progress)
        self.show(progress.fraction, words=self._words(progress))

    def _take_score(self, progress: TrainingProgress) -> None:
        self._scores = progress.task.score()

    def _print(self, progress: TrainingProgress) -> None:
        left = progress.seconds / progress.fraction - progress.seconds if progress.fraction else math.nan
        click.echo(f"{self._words(progress)}, {left:.0f} s left", err=True)

    def _words(self, progress: TrainingProgress) -> str:
        number = progress.first + progress.steps
        steps = f"step {number:,}" if self._steps is None else f"step {number:,}/{self._steps:,}"
        scores = [f"{name} {value:.4g}" for name, value in self._scores.items()]
        speed = progress.steps / max(progress.seconds, 1e-9)
        return ", ".join([steps, f"loss {progress.loss:.3g}", *scores, f"{speed:.3g} steps/s"])


class EvaluationBar(Bar):
    """The progress of the scoring after a training. Call it with the fraction done, from 0 to 1.

    Scoring that will take long is announced with an estimate.

    Args:
        hint: How to make it shorter, for the announcement.
        quiet: Whether to show nothing.
    """

    def __init__(self, hint: str, *, quiet: bool) -> None:
        self._hint, self._quiet = hint, quiet
        self._start = clock.perf_counter()
        self._next_line = math.inf
        self._is_announced = False
        super().__init__("evaluating", quiet=quiet)

    def __call__(self, fraction: float) -> None:
        if self._quiet or not 0.0 < fraction < 1.0:
            return
        now = clock.perf_counter()
        left = (now - self._start) * (1.0 - fraction) / fraction
        if not self._is_announced:
            self._is_announced = True
            self._next_line = now + LINE_EVERY
            if left > ANNOUNCED:
                self.say(f"evaluating takes about {left:.0f} s; {self._hint}")
        if not self.shown and now >= self._next_line:
            self._next_line = now + LINE_EVERY
            click.echo(f"evaluating: {fraction:.0%}, {left:.0f} s left", err=True)
        self.show(fraction)
