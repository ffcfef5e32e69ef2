"""Rendering the views of a data set, on this machine or on a cluster."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from nrc_tracer.cli.progress import Bar
from nrc_tracer.cli.termination import INTERRUPTED, TERMINATED, noted_termination
from nrc_tracer.interruption import deferred_interrupt

if TYPE_CHECKING:
    import numpy as np

    from nrc_tracer.cluster.settings import Cluster
    from nrc_tracer.cluster.views import ViewsJob
    from nrc_tracer.tasks.nerf.synthetic import DatasetWriter, View, ViewRenderer
    from nrc_tracer.tracer import Renderer

LINE_EVERY = 10.0
"""Shortest time between two lines about the progress where there is no bar [s]."""

Write = Callable[["View", "np.ndarray"], None]
Work = Callable[[Write, Callable[[], bool], "Writing"], object]
"""Renders views: hands each to the first argument, and ends early when the second returns True."""


class Writing:
    """Writes views as they come, and shows how many there are.

    Args:
        writer: Writes them.
        count: Number of views to come.
        quiet: Whether to show nothing.

    Attributes:
        done: Number of views written.
        bar: The progress bar.
    """

    def __init__(self, writer: DatasetWriter, count: int, quiet: bool) -> None:
        self.done = 0
        self.bar = Bar(
            "{task.completed:.0f}/{task.total:.0f} images{task.fields[nodes]}", total=count, quiet=quiet, nodes=""
        )
        self._writer, self._count, self._quiet = writer, count, quiet
        self._start = self._last_line = clock.perf_counter()

    def write(self, view: View, pixels: np.ndarray) -> None:
        """Write a view. Raises `OutputError`."""
        self._writer.write(view, pixels)
        self.done += 1
        self.bar.show(self.done)
        if not self._quiet and not self.bar.shown and clock.perf_counter() - self._last_line > LINE_EVERY:
            self._last_line = clock.perf_counter()
            left = (self._last_line - self._start) / self.done * (self._count - self.done)
            click.echo(f"{self.done}/{self._count} images, {left:.0f} s left", err=True)

    def show_nodes(self, nodes: int) -> None:
        """Show how many nodes of a cluster are at work."""
        self.bar.show(self.done, nodes=" on 1 node" if nodes == 1 else f" on {nodes} nodes")


def write_views(writer: DatasetWriter, views: Sequence[View], work: Work, *, quiet: bool) -> tuple[int, int]:
    """Render and write views until all are written, or Ctrl-C or SIGTERM comes; return their number and the exit code."""
    writing = Writing(writer, len(views), quiet)
    with noted_termination() as terminated, deferred_interrupt() as interrupted, writing.bar:
        try:
            if views:
                work(writing.write, lambda: terminated() or interrupted(), writing)
        except KeyboardInterrupt:  # a second Ctrl-C: not even the current pass is to be finished
            pass
        code = 0 if writing.done == len(views) else TERMINATED if terminated() else INTERRUPTED
    return writing.done, code


def here(renderer: ViewRenderer, views: Sequence[View]) -> Work:
    """Render views on this machine."""

    def work(write: Write, stop: Callable[[], bool], writing: Writing) -> None:
        from nrc_tracer.tracer import run

        def takes(renderer: Renderer, spp: int) -> bool:
            return run(renderer, spp=spp, stop=stop)

        for view in views:
            pixels = None if stop() else renderer.render(view, takes)
            if pixels is None:
                break
            write(view, pixels)

    return work


def on_cluster(cluster: Cluster, job: ViewsJob, renderer: Renderer) -> Work:
    """Render views on the nodes of a cluster; `renderer` is one of the scene on this machine."""

    def work(write: Write, stop: Callable[[], bool], writing: Writing) -> None:
        from nrc_tracer.cluster.views import render_views

        render_views(job, cluster, renderer, take=write, progress=writing.show_nodes, stop=stop, say=writing.bar.say)

    return work
