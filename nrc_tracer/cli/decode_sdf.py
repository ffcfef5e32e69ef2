"""`nrc-tracer decode sdf`: a mesh or a picture of a shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from nrc_tracer.cli.command import command, gathered, option, under
from nrc_tracer.cli.decoding import MESH_FILES, Decoding, decoding_options, run_decode
from nrc_tracer.cli.options import CAMERA, MESH, mesh_resolution_option
from nrc_tracer.cli.values import FINITE, PIXELS, FiniteRange
from nrc_tracer.errors import OutputError

if TYPE_CHECKING:
    from nrc_tracer.tasks.sdf.shape import NeuralShape

PICTURES = (".png", ".exr", ".hdr", ".npy")
SIZE = 800
"""Width of a picture in pixels, unless its size is given."""


@dataclass(frozen=True)
class ViewOptions:
    """The view and the size of a picture; see the options of the command."""

    width: int | None
    height: int | None
    azimuth: float
    elevation: float
    up: Literal["y", "z"]
    zoom: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width = self.width or self.height or SIZE
        return width, self.height or width


@command(
    short_help="Write a fitted shape as a mesh or a picture.",
    examples=(
        "nrc-tracer decode sdf knot.safetensors -o knot.glb --mesh-resolution 256",
        "nrc-tracer decode sdf knot.safetensors -o knot.png --azimuth 20 --width 600",
    ),
)
@decoding_options(
    f"a mesh ({MESH_FILES}) or a picture ({', '.join(PICTURES)})",
    under(MESH, mesh_resolution_option("the mesh", old={"--resolution": "{}"})),
    gathered(
        "view",
        ViewOptions,
        under(
            CAMERA,
            option("--width", type=PIXELS, help=f"Width of a picture in pixels. Default: its height, or {SIZE}."),
            option("--height", type=PIXELS, help="Height of a picture in pixels. Default: its width."),
            option(
                "--azimuth",
                type=FINITE,
                default=30.0,
                show_default=True,
                metavar="DEGREES",
                help="Direction from which a picture is taken, from the front towards the right.",
            ),
            option(
                "--elevation",
                type=FiniteRange(-90, 90),
                default=18.0,
                show_default=True,
                metavar="DEGREES",
                help="Height from which a picture is taken, above the horizon.",
            ),
            option("--up", type=click.Choice(["y", "z"]), default="y", show_default=True, help="Axis that points up."),
            option(
                "--zoom",
                type=FiniteRange(0.01, 100),
                default=1.0,
                show_default=True,
                help="Size of the shape in the picture: at 1 it just fits.",
            ),
        ),
    ),
)
def sdf(decoding: Decoding, mesh_resolution: int, view: ViewOptions) -> None:
    """Write the shape that the SNAPSHOT of `nrc-tracer fit sdf` holds: as a watertight mesh, or as a picture of it."""
    run_decode("sdf", decoding, lambda: _decode(decoding, mesh_resolution, view))


def _decode(decoding: Decoding, resolution: int, view: ViewOptions) -> dict[str, Any]:
    """Write the outputs; return facts about them as JSON data.

    Raises:
        SnapshotError: The snapshot cannot be read.
        DataError: The shape has no surface, or a package that extracts or writes meshes is missing.
        OutputError: An output has an unknown ending or cannot be written.
    """
    from nrc_tracer.device.torch_launcher import TorchLauncher, single_threaded_torch
    from nrc_tracer.errors import nearest
    from nrc_tracer.files.atomic import check_place
    from nrc_tracer.imaging import check_writable
    from nrc_tracer.surfaces.surface_mesh import FORMATS, write_surface
    from nrc_tracer.tasks.sdf.shape import load_neural_shape

    for output in decoding.outputs:
        kind = output.suffix.lower()
        if kind in PICTURES:
            check_writable(output)
        elif kind in FORMATS:
            check_place(output)
        else:
            raise OutputError(
                f'{output}: a shape is not written as "{output.suffix}"{nearest(kind, (*FORMATS, *PICTURES))}'
            )
    shape = load_neural_shape(decoding.snapshot, device=decoding.compute.device, threads=decoding.compute.threads)
    surface = None

    def write(output: Path) -> tuple[dict[str, Any], str]:
        nonlocal surface
        if output.suffix.lower() not in FORMATS:
            facts = _draw(shape, output, view)
            return facts, f"{facts['width']} x {facts['height']} pixels"
        if surface is None:
            surface = shape.surface(resolution)
        write_surface(surface, output)
        triangles = len(surface.indices)
        facts = {"vertices": len(surface.positions), "triangles": triangles, "resolution": resolution}
        return facts, f"{triangles:,} triangles"

    # One thread of torch: several would wait for each other in busy loops beside those of the kernels
    launcher = TorchLauncher(shape.model.device, threads=decoding.compute.threads)
    with single_threaded_torch(launcher):
        written = decoding.write_each(write)
    return {"mesh": shape.name, "outputs": written}


def _draw(shape: NeuralShape, output: Path, view: ViewOptions) -> dict[str, Any]:
    """Write a picture; return facts about it as JSON data."""
    from nrc_tracer.imaging import write_image
    from nrc_tracer.tasks.sdf.rendering import Orbit, render

    width, height = view.size
    orbit = Orbit(azimuth=view.azimuth, elevation=view.elevation, up=view.up, zoom=view.zoom)
    write_image(output, render(shape, width=width, height=height, orbit=orbit))
    return {"width": width, "height": height, "azimuth": view.azimuth, "elevation": view.elevation}
