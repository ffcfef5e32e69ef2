"""Progress of long work on stderr: a bar on a terminal, and a message for what takes longer than usual."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time as clock
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nrc_tracer.tracer import Renderer

COMPILING = "compiling kernels (first run only) ..."


def rate(samples_per_second: float) -> str:
    """Format a rate with three digits: `1.4 M samples/s`."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if samples_per_second >= unit:
            return f"{samples_per_second / unit:.3g}{name} samples/s"
    return f"{samples_per_second:.3g} samples/s"


@contextlib.contextmanager
def announced(message: str, *, after: float = 1.0, quiet: bool) -> Iterator[None]:
    """Print `message` on stderr if the block takes longer than `after` seconds."""
    timer = threading.Timer(after, click.echo, (message,), {"err": True})
    timer.daemon = True
    if not quiet:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Bar:
    """A progress bar on stderr, shown only if that is a terminal. A context.

    Args:
        before: Templates of the texts between the bar and the times, in the format of rich's columns.
        after: Templates of the texts after the times.
        total: Value of `completed` at the end.
        quiet: Whether to show no bar even on a terminal.
        fields: Initial values of the templates' `task.fields`.
    """

    def __init__(
        self, *before: str, after: tuple[str, ...] = (), total: float = 1.0, quiet: bool, **fields: Any
    ) -> None:
        self._bar = None
        if quiet or not sys.stderr.isatty():
            return
        import rich.progress
        from rich.console import Console

        times = (
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left"),
            rich.progress.TimeRemainingColumn(),
        )
        words = ([rich.progress.TextColumn(template) for template in templates] for templates in (before, after))
        columns = (rich.progress.BarColumn(bar_width=20), *next(words), *times, *next(words))
        self._bar = rich.progress.Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=total, **fields)

    @property
    def shown(self) -> bool:
        """Whether a bar is shown."""
        return self._bar is not None

    def __enter__(self) -> Bar:
        if self._bar is not None:
            self._bar.reset(self._task)
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, completed: float, **fields: Any) -> None:
        """Update the bar and the fields of its templates."""
        if self._bar is not None:
            self._bar.update(self._task, completed=completed, **fields)

    def say(self, message: str) -> None:
        """Print a line on stderr, above the bar if it is shown."""
        if self._bar is None:
            click.echo(message, err=True)
        else:
            self._bar.console.print(message, markup=False, highlight=False, soft_wrap=True)


class RenderBar(Bar):
    """The progress of a render: samples, noise, times and speed. Call it with the renderer after every pass.

    Args:
        spp: Samples per pixel at which the render ends, if any.
        seconds: Time at which it ends, if any.
        noise: Relative error at which it ends, if any.
        quiet: Whether to show no bar even on a terminal.
    """

    def __init__(self, *, spp: int | None, seconds: float | None, noise: float | None = None, quiet: bool) -> None:
        self._spp = spp
        self._seconds = seconds
        self._target = noise
        self._noise, self._noise_at = math.inf, 0
        self._begun = 0
        self._start = clock.perf_counter()
        super().__init__("{task.fields[samples]}", after=("{task.fields[rate]}",), quiet=quiet, samples="", rate="")

    def __enter__(self) -> RenderBar:
        self._start = clock.perf_counter()
        super().__enter__()
        return self

    def resume(self, samples: int) -> None:
        """Exclude the samples of a checkpoint from the speed."""
        self._begun = samples

    def _samples_word(self, samples: int) -> str:
        word = f"{samples}/{self._spp} spp" if self._spp else f"{samples} spp"
        return word if math.isinf(self._noise) else f"{word}, noise {100 * self._noise:.2g} %"

    def __call__(self, renderer: Renderer) -> None:
        if not self.shown:
            return
        elapsed = clock.perf_counter() - self._start
        by_samples = renderer.samples / self._spp if self._spp else 0.0
        by_time = elapsed / self._seconds if self._seconds else 0.0
        # The noise is estimated rarely: on a large film this takes a while
        if renderer.samples >= 1.25 * self._noise_at:
            self._noise, self._noise_at = renderer.noise(), renderer.samples
        by_noise = min(1.0, (self._target / self._noise) ** 2) if self._target and self._noise else 0.0
        speed = (renderer.samples - self._begun) * renderer.width * renderer.height / max(elapsed, 1e-9)
        self.show(
            min(1.0, max(by_samples, by_time, by_noise)),
            samples=self._samples_word(renderer.samples) if renderer.samples else "warming up the cache",
            rate=rate(speed),
        )
