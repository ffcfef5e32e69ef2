"""`nrc-tracer decode image`: the whole image or a crop, at any scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nrc_tracer.cli.command import command, option, under
from nrc_tracer.cli.decoding import Decoding, decoding_options, run_decode
from nrc_tracer.cli.options import OUTPUT, zoom_at_option
from nrc_tracer.cli.values import POSITIVE


@command(
    short_help="Write a fitted image, or a crop of it, at any scale.",
    examples=(
        "nrc-tracer decode image window-room.safetensors -o whole.png",
        "nrc-tracer decode image window-room.safetensors -o closer.png --crop 55,270,80,80 --scale 6",
        "nrc-tracer decode image map.safetensors -o zoom.png --zoom-at 50,30",
    ),
)
@decoding_options(
    ".png (sRGB), .tif (as the image was), .exr (linear)",
    under(
        OUTPUT,
        option(
            "--crop",
            metavar="X,Y,W,H",
            help="Write only this rectangle, in pixels of the image. Default: the whole image.",
        ),
        option(
            "--scale",
            type=POSITIVE,
            default=1.0,
            show_default=True,
            help="Pixels that are written for one pixel of the image, along each side.",
        ),
        zoom_at_option("Write views side by side that zoom in on this pixel (only .png)."),
    ),
)
def image(decoding: Decoding, crop: str | None, scale: float, zoom_at: tuple[int, int] | None) -> None:
    """Write the image that the SNAPSHOT of `nrc-tracer fit image` holds, a few rows at a time."""
    run_decode("image", decoding, lambda: _decode(decoding, crop, scale, zoom_at))


def _decode(decoding: Decoding, crop: str | None, scale: float, zoom_at: tuple[int, int] | None) -> dict[str, Any]:
    """Write the outputs; return facts about them as JSON data.

    Raises:
        SnapshotError: The snapshot cannot be read.
        DataError: The crop is not inside the image, or the scale is too large.
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
    for output in decoding.outputs:
        if zoom_at is not None and output.suffix.lower() != ".png":
            raise OutputError(f"{output}: views that zoom in are written as .png")
        check_row_file(output, None)
        check_place(output)
    snapshot = read_task(decoding.snapshot, "image")
    model = snapshot.model(device=decoding.compute.device, threads=decoding.compute.threads)
    picture = pictures.ImageInfo.read(decoding.snapshot, snapshot.metadata["image"], model)
    del snapshot
    part = pictures.read_crop(crop, picture)

    def write(output: Path) -> tuple[dict[str, Any], str]:
        if zoom_at is not None:
            facts = pictures.write_zoom(model, picture, output, zoom_at)
        else:
            facts = pictures.write_picture(model, picture, output, crop=part, scale=scale)
        return facts, f"{facts['width']} x {facts['height']} pixels, {facts['samples']}"

    written = decoding.write_each(write)
    return {
        "image": {"width": picture.width, "height": picture.height, "space": picture.space},
        "outputs": written,
        "memory": resident_memory(),
    }
