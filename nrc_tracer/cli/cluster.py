"""Options and progress of renders on a cluster."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from nrc_tracer.cli.command import Decorator, gathered, option, under
from nrc_tracer.cli.options import DEVICE, TracerOptions
from nrc_tracer.cli.progress import Bar, rate

if TYPE_CHECKING:
    from nrc_tracer.cluster.driver import Progress
    from nrc_tracer.cluster.settings import Cluster
    from nrc_tracer.tracer import Renderer


@dataclass(frozen=True)
class ClusterOptions:
    """Whether a command works on a Ray cluster.

    Attributes:
        cluster: The cluster's address, `auto` for the running one or else local processes; None to work in this process.
        mixed: Whether nodes may take part whose samples have other bits.
    """

    cluster: str | None
    mixed: bool

    def check(self) -> None:
        """Check, before any work, that the options fit together and that Ray is installed.

        Raises:
            click.UsageError: They do not fit together.
            ClusterError: Ray is not installed.
        """
        if self.cluster is None:
            if self.mixed:
                raise click.UsageError("--mixed needs --cluster.")
            return
        from nrc_tracer.cluster.connection import check_ray

        check_ray()

    def chosen(self, tracing: TracerOptions) -> Cluster:
        """The cluster that `--cluster` names; `tracing` has the device and threads of its nodes."""
        from nrc_tracer.cluster.settings import Cluster

        return Cluster(self.cluster or "auto", tracing.device, tracing.threads, self.mixed)


def cluster_options(work: str) -> Decorator:
    """Options for a cluster, as the argument `cluster`: `ClusterOptions`. `work` is what is done there, for the help."""
    return gathered(
        "cluster",
        ClusterOptions,
        under(
            DEVICE,
            option(
                "--cluster",
                metavar="auto|ADDRESS",
                help=f"{work} on a Ray cluster: auto (the running cluster, or else local processes), HOST:PORT of its "
                "head, or ray://HOST:PORT. Needs the extra `cluster`.",
            ),
            option(
                "--mixed",
                is_flag=True,
                help="With --cluster: let nodes with other processors, devices or package versions take part. Their samples are "
                "right, but have other bits.",
            ),
        ),
    )


def run_with_cluster(
    renderer: Renderer,
    options: ClusterOptions,
    tracing: TracerOptions,
    *,
    spp: int | None,
    seconds: float | None,
    noise: float | None,
    bar: Bar,
    after: Callable[[Renderer], object],
    stop: Callable[[], bool],
) -> bool:
    """Render on the cluster that the options name; return False if it was stopped.

    Args:
        renderer: The renderer whose film gets the samples.
        options: Which cluster.
        tracing: Devices and threads of its nodes.
        spp, seconds, noise: When to end, as in `run_on_cluster`.
        bar: Shows the progress in its fields `samples` and `rate`.
        after: Called several times a second once there are samples.
        stop: Called as often; True ends the render.
    """
    from nrc_tracer.cluster.run import run_on_cluster

    cluster = options.chosen(tracing)
    start, begun = clock.perf_counter(), renderer.samples
    pixels = renderer.width * renderer.height

    def progress(now: Progress) -> None:
        elapsed = clock.perf_counter() - start
        by_samples = now.samples / (pixels * max(spp - begun, 1)) if spp else 0.0
        by_time = elapsed / seconds if seconds else 0.0
        goal = f"/{spp}" if spp else ""
        nodes = "1 node" if now.nodes == 1 else f"{now.nodes} nodes"
        bar.show(
            min(1.0, max(by_samples, by_time)),
            samples=f"{renderer.samples}{goal} spp, {now.units} units done, {now.out} in work on {nodes}",
            rate=rate(now.samples / max(elapsed, 1e-9)),
        )

    return run_on_cluster(
        renderer,
        cluster,
        spp=spp,
        time=seconds,
        noise=noise,
        progress=progress,
        after=after,
        stop=stop,
        say=bar.say,
    )
