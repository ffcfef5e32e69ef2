"""`nrc-tracer schema`."""

from __future__ import annotations

import click


@click.command(short_help="Print the JSON Schema of scene files.")
def schema() -> None:
    """Print the JSON Schema of scene files.

    Save it beside a scene and name it there, as in {"$schema": "scene.schema.json", ...}, and editors complete and
    check what you type.
    """
    import json

    from nrc_tracer.scene.json_format import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
