"""Data sets on a cluster: each node loads the scene once, renders whole views, and sends their pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata

import numpy as np

from nrc_tracer.cluster.connection import connected
from nrc_tracer.cluster.dispatch import Dispatcher, Nodes
from nrc_tracer.cluster.ledger import Ledger, Unit
from nrc_tracer.cluster.node import Node, error_line
from nrc_tracer.cluster.ray_nodes import RayNodes
from nrc_tracer.cluster.settings import Cluster
from nrc_tracer.errors import ClusterError
from nrc_tracer.imaging import check_denoiser
from nrc_tracer.scene.model import Scene
from nrc_tracer.tasks.nerf.synthetic import ImageSettings, View, ViewRenderer
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.vocabulary import Accel

Take = Callable[[View, np.ndarray], object]
"""Takes the pixels of a view, uint8 [height, width, 3 or 4]."""


@dataclass(frozen=True)
class ViewsJob:
    """All that decides the pixels of a data set.

    Attributes:
        scene: The scene.
        width, height: Size of the views [pixels].
        settings: How they are rendered.
        views: The views that are to be rendered.
    """

    scene: Scene
    width: int
    height: int
    settings: ImageSettings
    views: Sequence[View]

    def renderer(self, *, device: str, accel: Accel, threads: int | None) -> ViewRenderer:
        """What renders the views on a device. Raises as `Renderer` does."""

        def make(scene: Scene) -> Renderer:
            return Renderer(
                scene, width=self.width, height=self.height, device=device, accel=accel.value, threads=threads
            )

        return ViewRenderer(self.settings, make, self.scene)


def views_fingerprint(renderer: Renderer, settings: ImageSettings) -> dict[str, str]:
    """What else decides the bits of a view's pixels on a machine."""
    found = renderer.strip_tracer().fingerprint()
    return {**found, "denoiser": metadata.version("pyoidn")} if settings.denoise else found


class ViewNode(Node[ViewsJob]):
    """Renders views of a scene. A unit is a view: its strip is the index of the view in the job."""

    def _prepare(self, job: ViewsJob, device: str, accel: Accel, threads: int, cached: bool) -> dict[str, str]:
        if job.settings.denoise:
            check_denoiser()
        self._views, self._renderer = job.views, job.renderer(device=device, accel=accel, threads=threads)
        return views_fingerprint(self._renderer.renderer, job.settings)

    def work(self, unit: Unit) -> np.ndarray:
        """Render a view; return its pixels. Raises `ClusterError`."""

        def run(renderer: Renderer, spp: int) -> bool:
            renderer.step(spp)
            return True

        try:
            pixels = self._renderer.render(self._views[unit.strip], run)
        except Exception as error:
            raise ClusterError(error_line(error)) from error
        assert pixels is not None  # nothing interrupts `run`
        return pixels


RayViewNodes = RayNodes[ViewsJob, np.ndarray]
"""Nodes of a Ray cluster that render views."""


def render_views(
    job: ViewsJob,
    cluster: Cluster,
    renderer: Renderer,
    *,
    take: Take,
    progress: Callable[[int], object],
    stop: Callable[[], bool],
    say: Callable[[str], object],
) -> bool:
    """Render views on the nodes of a cluster. Their pixels do not depend on the nodes.

    Args:
        job: The views.
        cluster: The cluster.
        renderer: A renderer of the scene on this machine, whose device and fingerprint nodes must have.
        take: Called with each view once, in any order.
        progress: Called several times a second with the number of nodes at work.
        stop: Called as often; True ends the work.
        say: Prints a warning.

    Returns:
        False if `stop` ended the work.

    Raises:
        ClusterError: The cluster cannot be reached, has no fitting node, or a view fails again and again.
    """
    settings = cluster.node_settings(renderer, lambda: views_fingerprint(renderer, job.settings))
    with connected(cluster.address, threads=cluster.threads), RayViewNodes(ViewNode, job, **settings) as nodes:
        return dispatch_views(job.views, nodes, take=take, progress=progress, stop=stop, say=say)


def dispatch_views(
    views: Sequence[View],
    nodes: Nodes[np.ndarray],
    *,
    take: Take,
    progress: Callable[[int], object],
    stop: Callable[[], bool],
    say: Callable[[str], object],
) -> bool:
    """Let nodes render views, whose indices are the strips of units; arguments as in `render_views`."""

    def name(unit: Unit) -> str:
        view = views[unit.strip]
        return f"view {view.number} of the split {view.split}"

    ledger = Ledger(len(views), first=0, end=1, window=1, name=name)

    def taken(unit: Unit, pixels: np.ndarray) -> bool:
        take(views[unit.strip], pixels)
        return False

    dispatcher = Dispatcher(ledger, nodes, take=taken, say=say)
    return dispatcher.run(is_over=lambda: False, stop=stop, progress=lambda: progress(len(ledger.nodes)))
