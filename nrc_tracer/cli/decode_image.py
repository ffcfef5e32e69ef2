"""What `nrc-tracer decode` makes of an image: the whole or a crop, at any scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nrc_tracer.cli.fit_image import read_point
from nrc_tracer.cli.outputs import write_each
from nrc_tracer.cli.parameters import finite, together

options = together(
    click.option("--crop", metavar="X,Y,W,H", help="Image: a part of it, in its own pixels. Default: the whole."),
    click.option(
        "--scale",
        type=click.FloatRange(0, min_open=True),
        callback=finite,
        default=1.0,
        show_default=True,
        help="Image: pixels written for one of the image along each side.",
    ),
    click.option(
        "--zoom-at",
        metavar="X,Y",
        callback=read_point,
        help="Image: views side by side that zoom in on this pixel (PNG).",
    ),
)
"""The options for images."""


def decode(
    path: Path,
    outputs: tuple[Path, ...],
    *,
    device: str | None,
    threads: int | None,
    quiet: bool,
    crop: str | None,
    scale: float,
    zoom_at: tuple[int, int] | None,
) -> dict[str, Any]:
    """Write pictures of a model of an image, some rows at a time; what was written, as JSON data.

    Raises:
        SnapshotError: The snapshot cannot be read.
        DataError: A crop or scale that the image has not.
        OutputError: An output has an unknown ending or cannot be written.
    """
    from nrc_tracer.errors import DataError, OutputError
    from nrc_tracer.files.atomic import check_place
    from nrc_tracer.imaging.row_files import check_row_file
    from nrc_tracer.tasks.image import decode as pictures
    from nrc_tracer.tasks.image.memory import resident_memory
    from nrc_tracer.tasks.task import read_task

    if zoom_at is not None and (crop is not None or scale != 1.0):
        raise DataError("zoom-at: has crops and scales of its own; leave out --crop and --scale")
    for output in outputs:
        if zoom_at is not None and output.suffix.lower() != ".png":
            raise OutputError(f"{output}: views that zoom in are written as .png")
        check_row_file(output, None)
        check_place(output)
    snapshot = read_task(path, "image")
    model = snapshot.model(device=device, threads=threads)
    picture = pictures.ImageInfo.read(path, snapshot.metadata["image"], model)
    del snapshot
    part = pictures.read_crop(crop, picture)

    def write(output: Path) -> tuple[dict[str, Any], str]:
        if zoom_at is not None:
            facts = pictures.write_zoom(model, picture, output, zoom_at)
        else:
            facts = pictures.write_picture(model, picture, output, crop=part, scale=scale)
        return facts, f"{facts['width']} x {facts['height']} pixels, {facts['samples']}"

    written = write_each(outputs, write, quiet=quiet)
    return {
        "image": {"width": picture.width, "height": picture.height, "space": picture.space},
        "outputs": written,
        "memory": resident_memory(),
    }
