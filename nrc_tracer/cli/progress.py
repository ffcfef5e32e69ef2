"""What is said on stderr while a render runs."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nrc_tracer.tracer import Renderer


def rate(samples_per_second: float) -> str:
    """Write a rate with three digits or so: `1.4 M samples/s`."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if samples_per_second >= unit:
            return f"{samples_per_second / unit:.3g}{name} samples/s"
    return f"{samples_per_second:.3g} samples/s"


@contextlib.contextmanager
def announced(message: str, *, after: float, quiet: bool) -> Iterator[None]:
    """Print `message` only if what runs inside takes longer than `after` seconds."""
    timer = threading.Timer(after, click.echo, (message,), {"err": True})
    timer.daemon = True
    if not quiet:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Bar:
    """A bar on a terminal while something runs, nothing elsewhere. A context.

    Args:
        before: Templates of what stands between the bar and the times that have passed and are left, in rich's fields.
        after: Of what stands after them.
        total: What the bar counts up to.
        quiet: Show nothing, even on a terminal.
        fields: Those of the templates, as they begin.
    """

    def __init__(
        self, *before: str, after: tuple[str, ...] = (), total: float = 1.0, quiet: bool, **fields: str
    ) -> None:
        self._bar = None
        if quiet or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        words = ([TextColumn(template) for template in templates] for templates in (before, after))
        columns = (BarColumn(bar_width=20), *next(words), *times, *next(words))
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=total, **fields)

    @property
    def shown(self) -> bool:
        """Whether there is one."""
        return self._bar is not None

    def __enter__(self) -> Bar:
        if self._bar is not None:
            self._bar.reset(self._task)
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, completed: float, **fields: str) -> None:
        """Bring the bar and its fields up to date."""
        if self._bar is not None:
            self._bar.update(self._task, completed=completed, **fields)

    def say(self, message: str) -> None:
        """Print a line beside the bar."""
        if self._bar is None:
            click.echo(message, err=True)
        else:
            self._bar.console.print(message, markup=False, highlight=False, soft_wrap=True)


class Progress(Bar):
    """How far a render is. Call it with the renderer after every pass.

    Args:
        spp: Samples per pixel asked for, if any.
        seconds: Time asked for, if any.
        noise: Relative error asked for, if any.
        quiet: Show nothing, even on a terminal.
    """

    def __init__(self, *, spp: int | None, seconds: float | None, noise: float | None = None, quiet: bool) -> None:
        self._spp = spp
        self._seconds = seconds
        self._target = noise
        self._noise, self._noise_at = math.inf, 0
        self._begun = 0
        self._start = time.perf_counter()
        words = {"samples": "", "rate": ""}
        super().__init__("{task.fields[samples]}", after=("{task.fields[rate]}",), quiet=quiet, **words)

    def __enter__(self) -> Progress:
        self._start = time.perf_counter()
        super().__enter__()
        return self

    def resume(self, samples: int) -> None:
        """Leave the samples that a checkpoint had out of the rate."""
        self._begun = samples

    def _samples_word(self, samples: int) -> str:
        word = f"{samples}/{self._spp} spp" if self._spp else f"{samples} spp"
        return word if math.isinf(self._noise) else f"{word}, noise {100 * self._noise:.2g} %"

    def __call__(self, renderer: Renderer) -> None:
        if not self.shown:
            return
        elapsed = time.perf_counter() - self._start
        by_samples = renderer.samples / self._spp if self._spp else 0.0
        by_time = elapsed / self._seconds if self._seconds else 0.0
        # Asked for seldom: on a large film it takes a while
        if renderer.samples >= 1.25 * self._noise_at:
            self._noise, self._noise_at = renderer.noise(), renderer.samples
        by_noise = min(1.0, (self._target / self._noise) ** 2) if self._target and self._noise else 0.0
        speed = (renderer.samples - self._begun) * renderer.width * renderer.height / max(elapsed, 1e-9)
        self.show(
            min(1.0, max(by_samples, by_time, by_noise)),
            samples=self._samples_word(renderer.samples) if renderer.samples else "warming up the cache",
            rate=rate(speed),
        )
