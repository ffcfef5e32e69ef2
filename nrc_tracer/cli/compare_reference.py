"""The reference of `nrc-tracer compare`: given, found, or rendered on this machine or a cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.cluster import ClusterOptions
from nrc_tracer.cli.command import gathered, option, under
from nrc_tracer.cli.options import PATH
from nrc_tracer.cli.values import POSITIVE, SECONDS

if TYPE_CHECKING:
    from nrc_tracer.cluster.settings import Cluster
    from nrc_tracer.report.references import Reference
    from nrc_tracer.scene.model import Scene
    from nrc_tracer.tracer import Renderer


@dataclass(frozen=True)
class ReferenceOptions:
    """The origin of references.

    Attributes:
        references: At most two images; empty for rendered references.
        reference_error: Relative error that a rendered reference has to reach.
        reference_time: Longest time of rendering references in seconds; None for no limit.
        reference_dir: Folder where rendered references are stored; None for `nrc-references` beside the output.
    """

    references: tuple[Path, ...]
    reference_error: float
    reference_time: float | None
    reference_dir: Path | None


reference_options = gathered(
    "reference",
    ReferenceOptions,
    under(
        "Reference",
        option(
            "--reference",
            "references",
            multiple=True,
            metavar="FILE",
            type=PATH,
            help="Image to use as the reference. Given twice: two independent images, whose noise cancels. Default: two images, "
            "rendered and stored.",
        ),
        option(
            "--reference-error",
            type=POSITIVE,
            default=0.02,
            show_default=True,
            metavar="REL",
            help="Relative error that a rendered reference has to reach.",
        ),
        option(
            "--reference-time",
            type=SECONDS,
            metavar="SECONDS",
            help="Longest time of rendering a reference. Default: without limit.",
        ),
        option(
            "--reference-dir",
            metavar="DIR",
            type=PATH,
            help="Folder where references are stored and found again. Default: nrc-references, beside the output.",
        ),
    ),
)


def check_reference(asked: ReferenceOptions, cluster: ClusterOptions) -> None:
    """Check, before any work, that the options about references fit together.

    Raises:
        click.UsageError: They do not.
        ClusterError: `--cluster` is given, and Ray is not installed.
    """
    if len(asked.references) > 2:
        raise click.UsageError("--reference may be given twice at most.")
    if asked.references and cluster.cluster is not None:
        raise click.UsageError("--cluster renders the reference, and --reference gives one: leave one of them out.")
    cluster.check()


def make_reference(
    scene: Scene,
    plain: Renderer,
    make_renderer: Callable[[int], Renderer],
    asked: ReferenceOptions,
    *,
    folder: Path,
    camera: str | None,
    max_depth: int,
    cluster: Cluster | None,
    say: Callable[[str, float], None],
    warn: Callable[[str], object],
) -> Reference:
    """Read or render the reference.

    Args:
        scene: The scene.
        plain: A renderer of it without a cache.
        make_renderer: Makes such renderers with other seeds.
        asked: The options about references.
        folder: Folder of rendered references unless the options name one.
        camera: The camera that the options name, if any.
        max_depth: Longest path in segments, -1 without limit.
        cluster: Where references are rendered; None for this machine.
        say: Shows what is being done, and the share of it that is done.
        warn: Prints a warning.
    """
    from nrc_tracer.errors import OutputError
    from nrc_tracer.report.references import find_reference, read_reference, reference_key

    if asked.references:
        return read_reference(asked.references, width=plain.width, height=plain.height)
    folder = asked.reference_dir or folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise OutputError(f"{folder}: cannot be made: {reason}; choose another with --reference-dir") from problem
    key = reference_key(scene, camera=camera, width=plain.width, height=plain.height, max_depth=max_depth)
    file = folder / f"{scene.source.stem if scene.source else 'scene'}-{key}.npz"
    limits: dict[str, Any] = {
        "error": asked.reference_error,
        "most_seconds": asked.reference_time,
        "say": lambda words: say(words, 0.0),
    }
    if cluster is None:
        return find_reference(file, make_renderer, **limits)

    from nrc_tracer.cluster.reference import ReferenceCluster
    from nrc_tracer.tracer.film_sums import BLOCK

    with ReferenceCluster(cluster, warn) as nodes:
        found = find_reference(file, make_renderer, **limits, advance=nodes.advance, multiple=BLOCK)
    return dataclasses.replace(found, nodes=nodes.nodes)
