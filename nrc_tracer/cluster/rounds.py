"""Rendering with a radiance cache on a cluster, in rounds: the driver trains the cache, and nodes trace a block with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

from nrc_tracer.cluster.dispatch import Nodes
from nrc_tracer.cluster.driver import Driver, Progress
from nrc_tracer.cluster.node import PathResult
from nrc_tracer.errors import ClusterError
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.cached_strips import Round
from nrc_tracer.tracer.film_sums import BLOCK


class CachedNodes(Nodes[PathResult], Protocol):
    """The nodes of a cluster that can trace with a radiance cache."""

    def begin_round(self, number: Round | None) -> None:
        """Let units that are given from now on be traced with this cache; None for no cache."""


def render_rounds(
    renderer: Renderer,
    nodes: CachedNodes,
    *,
    end: int | None,
    is_over: Callable[[], bool],
    stop: Callable[[], bool],
    progress: Callable[[Progress], object],
    after: Callable[[Renderer], object],
    say: Callable[[str], object],
) -> bool:
    """Render an image whose paths end in a cache.

    In each round the cache is fixed and sent to the nodes, which trace a block of 64 samples with it; then the driver trains the
    cache for as many frames as one machine would. So the image is a function of the seed, the settings and the rounds, and not of
    the nodes.

    Args:
        renderer: The renderer, after the warm-up of its cache. It has a multiple of 64 samples per pixel.
        nodes: The nodes.
        end: Samples per pixel at the end; None to go on until `is_over`.
        is_over: Called after each round.
        stop: Called several times a second; True ends the render.
        progress: Called as often.
        after: Called after each round; only then film and cache fit together, for a checkpoint.
        say: Prints a warning.

    Returns:
        False if `stop` ended the render.

    Raises:
        ClusterError: As `Driver.run` raises it.
    """
    frames = renderer.frames
    if frames is None:
        raise ClusterError("an image without a radiance cache is not rendered in rounds")
    joined: tuple[str, ...] = ()
    units = samples = 0

    def in_all(now: Progress) -> None:
        progress(dataclasses.replace(now, units=units + now.units, samples=samples + now.samples))

    while end is None or renderer.samples < end:
        first = renderer.samples
        last = first + BLOCK if end is None else min(first + BLOCK, end)
        nodes.begin_round(Round.of(frames, first))
        driver = Driver(renderer, nodes, end=last, say=say, joined=joined)
        if not driver.run(is_over=lambda: False, stop=stop, progress=in_all):
            return False
        joined, units, samples = driver.nodes, units + driver.units, samples + driver.samples
        frames.train_for(last - first, counts=driver.counts)
        after(renderer)
        if is_over():
            return True
    return True
