"""Rendering on a cluster until there are enough samples, the time is over or the noise is low enough."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass

from nrc_tracer.cluster.connection import connected
from nrc_tracer.cluster.driver import Driver, Progress
from nrc_tracer.cluster.ray_nodes import RayNodes
from nrc_tracer.errors import ClusterError
from nrc_tracer.interruption import deferred_interrupt
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.film_sums import BLOCK
from nrc_tracer.tracer.noise import is_check


@dataclass(frozen=True)
class Cluster:
    """Which cluster to render on, and how.

    Attributes:
        address: `auto`, or an address of a Ray cluster, as `connected` takes it.
        device: `cpu`, or None for a GPU where a node has one.
        threads: Threads on a node's CPU; None for as many as Ray counts CPUs there.
        mixed: Whether nodes that give samples with other bits may take part.
    """

    address: str
    device: str | None = None
    threads: int | None = None
    mixed: bool = False


def run_on_cluster(
    renderer: Renderer,
    cluster: Cluster,
    *,
    spp: int | None = None,
    time: float | None = None,
    noise: float | None = None,
    progress: Callable[[Progress], object],
    stop: Callable[[], bool],
    say: Callable[[str], object],
) -> bool:
    """Add samples to a renderer's film, in blocks of 64 that the nodes of a cluster trace, as `nrc_tracer.tracer.run` does here.

    The film's bits do not depend on the nodes. `time` and `noise` are looked at when a block is complete.

    Args:
        renderer: A renderer without a cache.
        cluster: The cluster.
        spp: Samples per pixel at the end.
        time: Longest time [s], from the time at which the scene is on its way to the nodes.
        noise: Largest `Renderer.noise` at the end.
        progress: Called several times a second.
        stop: Called as often; True ends the run early.
        say: Prints a warning.

    Returns:
        False if `stop` or Ctrl-C ended the run.

    Raises:
        ClusterError: The cluster cannot be reached, has no fitting node, or part of the work fails again and again.
    """
    if renderer.cache is not None:
        raise ClusterError(
            "an image with a radiance cache cannot be rendered on a cluster yet; leave out --cache or --cluster"
        )
    if spp is not None and renderer.samples >= spp:
        return True
    with deferred_interrupt() as interrupted:

        def stops() -> bool:
            return interrupted() or stop()

        if renderer.samples % BLOCK:  # a checkpoint of one machine: the rest of its block is rendered here
            rest = BLOCK - renderer.samples % BLOCK
            renderer.step(rest if spp is None else min(rest, spp - renderer.samples))
            if spp is not None and renderer.samples >= spp:
                return True
        fingerprint = None if cluster.mixed else renderer.strip_tracer().fingerprint()
        job = renderer.strip_tracer().job()
        # Nodes that may give other bits choose for themselves
        device = cluster.device if cluster.mixed else renderer.device.partition(":")[0]
        accel = None if cluster.mixed else renderer.accel.value
        with (
            connected(cluster.address, threads=cluster.threads),
            RayNodes(job, device=device, accel=accel, threads=cluster.threads, fingerprint=fingerprint) as nodes,
        ):
            start = clock.monotonic()

            def is_over() -> bool:
                if time is not None and clock.monotonic() - start >= time:
                    return True
                return noise is not None and is_check(renderer.samples) and renderer.noise() <= noise

            driver = Driver(renderer, nodes, end=spp, say=say)
            return driver.run(is_over=is_over, stop=stops, progress=progress)
