"""`nrc-tracer convert`."""

from __future__ import annotations

from pathlib import Path

import click

from nrc_tracer.cli.parameters import debug_option, parameters_option


@click.command(short_help="Write any scene in the package's own JSON format.")
@click.argument("scene", metavar="IN", type=click.Path(path_type=Path))
@click.argument("output", metavar="OUT.json", type=click.Path(path_type=Path))
@parameters_option
@click.option("--strict", is_flag=True, help="Treat warnings about the scene as errors.")
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@debug_option
def convert(scene: Path, output: Path, parameters: dict[str, str], strict: bool, quiet: bool) -> None:
    """Write the scene IN (any format) as OUT.json, with its meshes (PLY) and images (PNG, EXR) in OUT_files beside it.

    It renders to the same bits as IN.
    """
    from nrc_tracer.scene.convert import write_scene
    from nrc_tracer.scene.load import load_scene

    loaded = load_scene(scene, strict=strict, parameters=parameters)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    files = write_scene(loaded, output)
    if not quiet:
        for note in loaded.notes:
            click.echo(f"note: {note}", err=True)
        size = sum(file.stat().st_size for file in files) / 1e6
        more = f" and {len(files) - 1} files in {files[1].parent}" if len(files) > 1 else ""
        click.echo(f"{output}{more}, {size:,.1f} MB", err=True)
