"""Rendering on a cluster until there are enough samples, the time is over or the noise is low enough."""

from __future__ import annotations

import time as clock
from collections.abc import Callable

from nrc_tracer.cluster.connection import connected
from nrc_tracer.cluster.driver import Driver, Progress
from nrc_tracer.cluster.ray_nodes import RayPathNodes
from nrc_tracer.cluster.settings import Cluster
from nrc_tracer.errors import NrcError
from nrc_tracer.interruption import deferred_interrupt
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.film_sums import BLOCK
from nrc_tracer.tracer.noise import is_check
from nrc_tracer.tracer.run import CACHED_NOISE, warm_up_limits


def run_on_cluster(
    renderer: Renderer,
    cluster: Cluster,
    *,
    spp: int | None = None,
    time: float | None = None,
    noise: float | None = None,
    progress: Callable[[Progress], object],
    after: Callable[[Renderer], object],
    stop: Callable[[], bool],
    say: Callable[[str], object],
) -> bool:
    """Add samples to a renderer's film, in blocks of 64 that the nodes of a cluster trace, as `nrc_tracer.tracer.run` does here.

    The film's bits do not depend on the nodes. `time` and `noise` are looked at when a block is complete.

    Args:
        renderer: The renderer. Its cache, if it has one, is trained here.
        cluster: The cluster.
        spp: Samples per pixel at the end.
        time: Longest time [s], from the time at which the scene is on its way to the nodes.
        noise: Largest `Renderer.noise` at the end.
        progress: Called several times a second.
        after: Called now and then, once there are samples, while the renderer's state is one to continue from.
        stop: Called as often; True ends the run early.
        say: Prints a warning.

    Returns:
        False if `stop` or Ctrl-C ended the run.

    Raises:
        ClusterError: The cluster cannot be reached, has no fitting node, or part of the work fails again and again.
    """
    if noise is not None and renderer.cache is not None and renderer.cache_mode != "unbiased":
        raise NrcError(CACHED_NOISE)
    if spp is not None and renderer.samples >= spp:
        return True
    with deferred_interrupt() as interrupted:

        def stops() -> bool:
            return interrupted() or stop()

        frames, seconds = warm_up_limits(spp, time)
        if not renderer.warm_up(frames=frames, seconds=seconds, stop=stops):
            return False
        if renderer.samples % BLOCK:  # a checkpoint of one machine: the rest of its block is rendered here
            rest = BLOCK - renderer.samples % BLOCK
            renderer.step(rest if spp is None else min(rest, spp - renderer.samples))
            if spp is not None and renderer.samples >= spp:
                return True
        cached = renderer.cache is not None
        tracer = renderer.strip_tracer()
        settings = cluster.node_settings(renderer, lambda: tracer.fingerprint(cached=cached))
        with (
            connected(cluster.address, threads=cluster.threads),
            RayPathNodes(tracer.job(), **settings, cached=cached) as nodes,
        ):
            start = clock.monotonic()

            def is_over() -> bool:
                if time is not None and clock.monotonic() - start >= time:
                    return True
                return noise is not None and is_check(renderer.samples) and renderer.noise() <= noise

            if cached:
                from nrc_tracer.cluster.rounds import render_rounds  # which loads torch

                return render_rounds(
                    renderer,
                    nodes,
                    end=spp,
                    is_over=is_over,
                    stop=stops,
                    progress=progress,
                    after=after,
                    say=say,
                )

            def show(now: Progress) -> None:
                progress(now)
                if renderer.samples:
                    after(renderer)

            driver = Driver(renderer, nodes, end=spp, say=say)
            return driver.run(is_over=is_over, stop=stops, progress=show)
