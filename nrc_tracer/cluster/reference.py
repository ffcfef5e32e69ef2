"""References of comparisons on a cluster: several images of one scene that differ in their seeds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from nrc_tracer.cluster.connection import connected
from nrc_tracer.cluster.dispatch import Nodes
from nrc_tracer.cluster.driver import Driver
from nrc_tracer.cluster.node import PathResult
from nrc_tracer.cluster.ray_nodes import RayPathNodes
from nrc_tracer.cluster.settings import Cluster
from nrc_tracer.interruption import deferred_interrupt
from nrc_tracer.tracer import Renderer

if TYPE_CHECKING:
    from typing_extensions import Self


class SeededNodes(Nodes[PathResult], Protocol):
    """The nodes of a cluster that can trace images of one scene with several seeds."""

    def begin_image(self, seed: int) -> None:
        """Let units that are given from now on belong to the image with this seed."""


class ReferenceCluster:
    """Adds samples to images of one scene on the nodes of a cluster, which load it once. A context manager.

    It connects to the cluster when samples are first asked for, and leaves it at the end of the context.

    Args:
        cluster: The cluster.
        say: Prints a warning.

    Attributes:
        nodes: Names of the nodes that took part, in alphabetical order.
    """

    def __init__(self, cluster: Cluster, say: Callable[[str], object]) -> None:
        self._cluster, self._say = cluster, say
        self._stack = contextlib.ExitStack()
        self._connected: SeededNodes | None = None
        self._joined: tuple[str, ...] = ()
        self.nodes: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connected = None
        self._stack.__exit__(kind, error, traceback)

    def advance(self, renderer: Renderer, samples: int, show: Callable[[], object]) -> None:
        """Add samples to a renderer's film until there are so many per pixel, a multiple of 64.

        Args:
            renderer: The renderer, without a cache. All renderers have the same scene and settings apart from their seeds.
            samples: Samples per pixel at the end.
            show: Called several times a second.

        Raises:
            ClusterError: The cluster cannot be reached, has no fitting node, or part of the work fails again and again.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        if renderer.samples >= samples:
            return
        with deferred_interrupt() as interrupted:
            nodes = self._connected or self._connect(renderer)
            self._joined, finished = render_seed(
                renderer, nodes, samples, joined=self._joined, stop=interrupted, show=show, say=self._say
            )
        self.nodes = tuple(sorted({*self.nodes, *self._joined}))
        if not finished:
            raise KeyboardInterrupt

    def _connect(self, renderer: Renderer) -> SeededNodes:
        """Connect to the cluster, and let its nodes load the scene."""
        cluster, tracer = self._cluster, renderer.strip_tracer()
        settings = cluster.node_settings(renderer, tracer.fingerprint)
        self._stack.enter_context(connected(cluster.address, threads=cluster.threads))
        self._connected = self._stack.enter_context(RayPathNodes(tracer.job(), **settings))
        return self._connected


def render_seed(
    renderer: Renderer,
    nodes: SeededNodes,
    samples: int,
    *,
    joined: Sequence[str] = (),
    stop: Callable[[], bool],
    show: Callable[[], object],
    say: Callable[[str], object],
) -> tuple[tuple[str, ...], bool]:
    """Add samples to a renderer's film on nodes, with the renderer's seed, until there are so many per pixel.

    Args:
        renderer: The renderer, without a cache.
        nodes: The nodes.
        samples: Samples per pixel at the end, a multiple of 64.
        joined: Nodes that are ready already.
        stop: Called several times a second; True ends the work.
        show: Called as often.
        say: Prints a warning.

    Returns:
        The nodes at the end, and whether all samples are there.
    """
    nodes.begin_image(renderer.strip_tracer().job().seed)
    driver = Driver(renderer, nodes, end=samples, say=say, joined=joined)
    finished = driver.run(is_over=lambda: False, stop=stop, progress=lambda progress: show())
    return driver.nodes, finished
