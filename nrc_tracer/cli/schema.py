"""`nrc-tracer schema`."""

from __future__ import annotations

import click

from nrc_tracer.cli.command import command


@command(
    short_help="Print the JSON Schema of scene files.",
    examples=("nrc-tracer schema > scene.schema.json",),
)
def schema() -> None:
    """Print the JSON Schema of the package's own scene files.

    Save it beside a scene and name it there, as in {"$schema": "scene.schema.json", ...}: then editors complete and check what
    you type.
    """
    import json

    from nrc_tracer.scene.json_format import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
