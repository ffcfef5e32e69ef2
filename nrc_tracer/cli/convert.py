"""`nrc-tracer convert`."""

from __future__ import annotations

from pathlib import Path

import click

from nrc_tracer.cli.command import command
from nrc_tracer.cli.options import PATH, SCENE_FORMATS, SceneOptions, debug_option, quiet_option, scene_options
from nrc_tracer.cli.outputs import Warnings


@command(
    short_help="Write any scene in the package's own JSON format.",
    help=f"""Write the scene IN ({SCENE_FORMATS}) as OUT.json.

    Its meshes (.ply) and images (.png, .exr) are written to the folder OUT_files beside it. OUT.json renders to the same bits as
    IN.
    """,
    examples=(
        "nrc-tracer convert model.glb model.json",
        "nrc-tracer convert scene.xml scene.json -D spp=64",
    ),
)
@click.argument("scene", metavar="IN", type=PATH)
@click.argument("output", metavar="OUT.json", type=PATH)
@scene_options
@quiet_option
@debug_option
def convert(scene: Path, output: Path, loading: SceneOptions, quiet: bool) -> None:
    from nrc_tracer.scene.convert import write_scene

    loaded = loading.load(scene)
    Warnings().of_scene(loaded)
    files = write_scene(loaded, output)
    if not quiet:
        for note in loaded.notes:
            click.echo(f"note: {note}", err=True)
        size = sum(file.stat().st_size for file in files) / 1e6
        more = f" and {len(files) - 1} files in {files[1].parent}" if len(files) > 1 else ""
        click.echo(f"{output}{more}, {size:,.1f} MB", err=True)
