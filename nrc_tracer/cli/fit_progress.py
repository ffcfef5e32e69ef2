"""What is said on stderr while a task trains: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time as clock
from typing import TYPE_CHECKING

import click

from nrc_tracer.cli.periodic import Periodic

if TYPE_CHECKING:
    from nrc_tracer.tasks.training import Progress

SCORE_EVERY = 2.0
LINE_EVERY = 10.0
"""Seconds."""


class FitProgress:
    """Step, loss, the task's own score, steps a second and time left. Call it between steps.

    Args:
        steps: Number of steps to end at, if any.
        seconds: Time of training, if any.
        quiet: Show nothing.
    """

    def __init__(self, *, steps: int | None, seconds: float | None, quiet: bool) -> None:
        self._steps, self._seconds = steps, seconds
        self._quiet = quiet
        self._bar = None if quiet or not sys.stderr.isatty() else _make_bar()
        self._scores: dict[str, float] = {}
        self._score = Periodic(self._ask, SCORE_EVERY)
        self._line = Periodic(self._print, LINE_EVERY)
        self._begun = clock.perf_counter()

    def __enter__(self) -> FitProgress:
        self._score.start()
        self._line.start()
        if self._bar is not None:
            self._task = self._bar.add_task("", total=1.0, words="")
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, message: str) -> None:
        """Print a line beside the bar."""
        if self._bar is None:
            click.echo(message, err=True)
        else:
            self._bar.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def __call__(self, progress: Progress) -> None:
        if self._quiet or not progress.steps:
            return
        if self._bar is None:
            self._line.run_if_due(progress)
            return
        self._score.run_if_due(progress)
        self._bar.update(self._task, completed=progress.until, words=self._words(progress))

    def _ask(self, progress: Progress) -> None:
        self._scores = progress.task.score()

    def _print(self, progress: Progress) -> None:
        self._ask(progress)
        left = progress.seconds / progress.until - progress.seconds if progress.until else math.nan
        click.echo(f"{self._words(progress)}, {left:.0f} s left", err=True)

    def _words(self, progress: Progress) -> str:
        number = progress.first + progress.steps
        steps = f"step {number:,}" if self._steps is None else f"step {number:,}/{self._steps:,}"
        scores = [f"{name} {value:.4g}" for name, value in self._scores.items()]
        speed = progress.steps / max(progress.seconds, 1e-9)
        return ", ".join([steps, f"loss {progress.loss:.3g}", *scores, f"{speed:.3g} steps/s"])


def _make_bar():
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        BarColumn(bar_width=20),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
