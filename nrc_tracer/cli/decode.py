"""`nrc-tracer decode`."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from nrc_tracer.cli import decode_image, decode_nerf, decode_sdf
from nrc_tracer.cli.parameters import compute_options, debug_option

KINDS: dict[str, ModuleType] = {"image": decode_image, "sdf": decode_sdf, "nerf": decode_nerf}
"""By kind of task, the module with its options and what makes its files."""


def _options_of(kind: str) -> list[click.Option]:
    """The options that a kind adds."""
    found = KINDS[kind].options(lambda: None)
    return list(reversed(found.__click_params__))


@click.command(short_help="Turn a fitted model back into an image, a mesh, views or a video.")
@click.argument("snapshot", metavar="SNAPSHOT", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File to write, its kind told by its ending. May be repeated. Image: .png, .tif, .exr. SDF: .ply, .obj, .glb, .stl "
    "(mesh), .png (render). NeRF: .png, .exr, .mp4, .ply, .obj, .glb, or a folder for many views.",
)
@decode_image.options
@decode_sdf.options
@decode_nerf.options
@compute_options
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as one JSON object on stdout.")
@debug_option
@click.pass_context
def decode(
    ctx: click.Context,
    *,
    snapshot: Path,
    outputs: tuple[Path, ...],
    device: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Write what the SNAPSHOT of `nrc-tracer fit` holds: the image, the mesh or a render of the shape, views of the scene."""
    from nrc_tracer.errors import SnapshotError, nearest
    from nrc_tracer.tasks.task import read_kind

    kind = read_kind(snapshot)
    if kind not in KINDS:
        raise SnapshotError(f'{snapshot}: the snapshot of an unknown task "{kind:.40}"{nearest(kind, list(KINDS))}')
    own = {option.name for option in _options_of(kind)}
    for other in KINDS:
        for option in _options_of(other):
            source = ctx.get_parameter_source(option.name)
            if option.name not in own and source is not click.core.ParameterSource.DEFAULT:
                raise click.UsageError(
                    f"{option.opts[0]} is for a snapshot of {other}, and {snapshot} is one of {kind}."
                )
    # Whatever a library prints must not end up between the lines of the summary
    with contextlib.redirect_stdout(sys.stderr):
        summary = KINDS[kind].decode(
            snapshot,
            outputs,
            device=device,
            threads=threads,
            quiet=quiet,
            **{name: value for name, value in given.items() if name in own},
        )
    if as_json:
        click.echo(json.dumps({"task": kind, "snapshot": str(snapshot), **summary}))
