"""What `nrc-tracer decode` makes of a shape: a mesh, or a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nrc_tracer.cli.outputs import write_each
from nrc_tracer.cli.parameters import finite, together
from nrc_tracer.errors import OutputError

PICTURES = (".png", ".exr", ".hdr", ".npy")
RESOLUTION = 256
SIZE = 800


options = together(
    click.option(
        "--resolution",
        type=click.IntRange(8, 4096),
        default=RESOLUTION,
        show_default=True,
        help="SDF: cells along the longest side of the mesh.",
    ),
    click.option("--width", type=click.IntRange(1, 65536), help=f"SDF: of a picture. Default: {SIZE}."),
    click.option("--height", type=click.IntRange(1, 65536), help="SDF: of a picture. Default: its width."),
    click.option(
        "--azimuth",
        type=float,
        callback=finite,
        default=30.0,
        show_default=True,
        help="SDF: degrees from the front to the right from where a picture is taken.",
    ),
    click.option(
        "--elevation",
        type=click.FloatRange(-90, 90),
        callback=finite,
        default=18.0,
        show_default=True,
        help="SDF: degrees above the horizon.",
    ),
    click.option("--up", type=click.Choice(["y", "z"]), default="y", show_default=True, help="SDF: what is up."),
    click.option(
        "--zoom",
        type=click.FloatRange(0.01, 100),
        callback=finite,
        default=1.0,
        show_default=True,
        help="SDF: how much larger than fitted into the picture.",
    ),
)
"""The options for shapes."""


def decode(
    path: Path,
    outputs: tuple[Path, ...],
    *,
    device: str | None,
    threads: int | None,
    quiet: bool,
    resolution: int,
    width: int | None,
    height: int | None,
    azimuth: float,
    elevation: float,
    up: str,
    zoom: float,
) -> dict[str, Any]:
    """Write meshes and pictures of a shape; what was written, as JSON data.

    Raises:
        SnapshotError: The snapshot cannot be read.
        DataError: It has no surface, or a package that extracts or writes it is missing.
        OutputError: An output has an unknown ending or cannot be written.
    """
    from nrc_tracer.errors import nearest
    from nrc_tracer.files.atomic import check_place
    from nrc_tracer.imaging import check_writable
    from nrc_tracer.surfaces.surface_mesh import FORMATS, write_surface
    from nrc_tracer.tasks.sdf.shape import load_neural_shape

    for output in outputs:
        kind = output.suffix.lower()
        if kind in PICTURES:
            check_writable(output)
        elif kind in FORMATS:
            check_place(output)
        else:
            raise OutputError(
                f'{output}: a shape is not written as "{output.suffix}"{nearest(kind, (*FORMATS, *PICTURES))}'
            )
    shape = load_neural_shape(path, device=device, threads=threads)
    surface = None

    def write(output: Path) -> tuple[dict[str, Any], str]:
        nonlocal surface
        if output.suffix.lower() not in FORMATS:
            facts = _draw(shape, output, width, height, azimuth, elevation, up, zoom)
            return facts, f"{facts['width']} x {facts['height']} pixels"
        if surface is None:
            surface = shape.surface(resolution)
        write_surface(surface, output)
        triangles = len(surface.indices)
        facts = {"vertices": len(surface.positions), "triangles": triangles, "resolution": resolution}
        return facts, f"{triangles:,} triangles"

    written = write_each(outputs, write, quiet=quiet)
    return {"mesh": shape.name, "outputs": written}


def _draw(
    shape: Any,
    output: Path,
    width: int | None,
    height: int | None,
    azimuth: float,
    elevation: float,
    up: str,
    zoom: float,
) -> dict[str, Any]:
    """Write a picture."""
    from nrc_tracer.imaging import write_image
    from nrc_tracer.tasks.sdf.rendering import Orbit, render

    width = width or height or SIZE
    height = height or width
    orbit = Orbit(azimuth=azimuth, elevation=elevation, up=up, zoom=zoom)
    write_image(output, render(shape, width=width, height=height, orbit=orbit))
    return {"width": width, "height": height, "azimuth": azimuth, "elevation": elevation}
