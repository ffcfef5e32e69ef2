"""`nrc-tracer info`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.command import command
from nrc_tracer.cli.options import (
    SCENE_FORMATS,
    SceneOptions,
    debug_option,
    json_option,
    scene_argument,
    scene_options,
)

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.table import Table

MOST_ROWS = 20
"""Rows of a list that a table shows; `--json` lists everything."""


@command(
    short_help="List what a scene contains.",
    help=f"""List what SCENE ({SCENE_FORMATS}) contains.

    Cameras, film, lights, shapes, materials, textures, memory and bounds are listed, and features of the file that are not
    supported.
    """,
    examples=(
        "nrc-tracer info scenes/many-lights.json",
        "nrc-tracer info model.glb --json",
    ),
)
@scene_argument
@scene_options
@json_option("Print one JSON object instead of tables.")
@debug_option
def info(scene: Path, loading: SceneOptions, as_json: bool) -> None:
    from nrc_tracer.scene.summary import summarize

    summary = summarize(loading.load(scene))
    if as_json:
        import json

        click.echo(json.dumps(summary))
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    console.print(_overview(summary))
    if summary["images"]:
        console.print(_images(summary["images"]))
    for kind, style in (("note", ""), ("warning", "yellow")):
        for line in summary[f"{kind}s"]:
            console.print(f"{kind}: {line}", style=style, markup=False, soft_wrap=True)


def _overview(summary: dict[str, Any]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    film, sampler, geometry = summary["film"], summary["sampler"], summary["geometry"]
    crop = "" if film["crop"] is None else f", crop {' '.join(map(str, film['crop']))}"
    depth = summary["integrator"]["max_depth"]
    rows = [
        ("scene", summary["scene"]),
        *(("camera" if not index else "", _camera(camera)) for index, camera in _first(summary["cameras"])),
        ("film", f"{film['width']} x {film['height']}{crop}, {sampler['spp']} spp ({sampler['type']})"),
        ("paths", "without limit of length" if depth is None else f"up to {depth} segments"),
        ("lights", _counts(summary["lights"], nouns=True) or "none"),
        ("shapes", _counts(summary["shapes"], nouns=True) or "none"),
        ("triangles", _triangles(geometry)),
        ("materials", _counts(summary["materials"]) or "none (grey diffuse)"),
        ("textures", _counts(summary["textures"]) or "none"),
        ("bounds", _bounds(summary["bounds"])),
        ("memory", _memory(summary["memory"])),
    ]
    for name, text in rows:
        table.add_row(name, escape(text))
    return table


def _first(rows: list[Any]) -> list[tuple[int, Any]]:
    return list(enumerate(rows[:MOST_ROWS]))


def _camera(camera: dict[str, Any]) -> str:
    angle = "" if camera["fov"] is None else f", {camera['fov']:.4g} degrees ({camera['fov_axis']})"
    used = " (default)" if camera["used"] else ""
    return f"{camera['index']} {camera['name']}: {camera['type']} at {_point(camera['position'])}{angle}{used}"


def _triangles(geometry: dict[str, int]) -> str:
    text = f"{geometry['triangles']:,}"
    if geometry["instances"]:
        text += f" ({geometry['unique_triangles']:,} before {geometry['instances']:,} instances)"
    text += f", {geometry['spheres']:,} spheres" if geometry["spheres"] else ""
    return text + (f", and those of {geometry['neural']:,} neural-sdf" if geometry["neural"] else "")


def _counts(counts: dict[str, int], *, nouns: bool = False) -> str:
    """Join counts: `2 meshes, 1 sphere`. Only names that are nouns get a plural."""

    def words(name: str, count: int) -> str:
        ending = ("es" if name.endswith("sh") else "s") if nouns and count != 1 else ""
        return name.replace("_", " ") + ending

    return ", ".join(f"{count:,} {words(name, count)}" for name, count in counts.items())


def _bounds(bounds: dict[str, list[float]] | None) -> str:
    return "no shapes" if bounds is None else f"{_point(bounds['low'])} to {_point(bounds['high'])}"


def _point(values: list[float]) -> str:
    return f"({', '.join(f'{value:.4g}' for value in values)})"


def _memory(memory: dict[str, int]) -> str:
    geometry, images = _size(memory["geometry"]), _size(memory["images"])
    return f"about {_size(memory['total'])} on the device (geometry {geometry}, images {images})"


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _images(images: list[dict[str, Any]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left")
    columns: tuple[tuple[str, JustifyMethod], ...]
    columns = (("image", "left"), ("size", "right"), ("channels", "right"), ("memory", "right"))
    for name, justify in columns:
        table.add_column(name, justify=justify, header_style="bold", overflow="fold")
    ordered = sorted(images, key=lambda image: -image["bytes"])
    for image in ordered[:MOST_ROWS]:
        what = f"{image['file']}{' (environment)' if image['environment'] else ''}"
        size = f"{image['width']} x {image['height']}"
        table.add_row(escape(what), size, f"{image['channels']} x {image['type']}", _size(image["bytes"]))
    rest = ordered[MOST_ROWS:]
    if rest:
        table.add_row(f"and {len(rest)} more", "", "", _size(sum(image["bytes"] for image in rest)))
    return table
