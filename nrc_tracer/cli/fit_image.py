"""`nrc-tracer fit image`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.fitting import FitOptions, fit_options, run_fit

if TYPE_CHECKING:
    from nrc_tracer.tasks.image.fit import ImageTask


def read_point(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read a pixel `X,Y`."""
    if value is None:
        return None
    if not re.fullmatch(r"\s*\d{1,9}\s*,\s*\d{1,9}\s*", value):
        raise click.BadParameter(f'"{value}" is not X,Y in pixels.')
    x, y = value.split(",")
    return int(x), int(y)


@click.command(short_help="Fit an image of any size.")
@click.argument("path", metavar="IMAGE", type=click.Path(path_type=Path))
@click.option(
    "--linear/--srgb",
    default=None,
    help="Learn linear light or sRGB values. Default: linear for float images (EXR, HDR), by a loss relative to brightness; "
    "sRGB for others.",
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="What pixels and model may take of the memory, such as 1GiB: decides how large the model's table is, and whether "
    "samples come from the whole image or from a moving set of its tiles. Default: half of what is free.",
)
@click.option(
    "--batch",
    type=click.IntRange(64, 2**24),
    help="Samples a step, a power of two. Default: 2^18 on CUDA; on the CPU 2^14, for large images 2^16.",
)
@click.option("--bilinear", is_flag=True, help="Draw samples between pixels, not at their centres.")
@click.option(
    "--zoom-at",
    metavar="X,Y",
    callback=read_point,
    help="Make previews of views that zoom in on this pixel, not of the whole image.",
)
@fit_options
def image(
    path: Path,
    linear: bool | None,
    memory: str | None,
    batch: int | None,
    bilinear: bool,
    zoom_at: tuple[int, int] | None,
    options: FitOptions,
) -> None:
    """Learn the colours of IMAGE (TIFF, BigTIFF, EXR, PNG, JPEG, BMP, TGA, HDR, .npy) by their positions.

    The image need not fit into memory: uncompressed TIFF and .npy are read in place, others are decoded once, into memory if they
    are small, else into a scratch file. Alpha is left out. The PSNR is over all pixels, with a peak of 1 in the space that is
    learned.
    """
    from nrc_tracer.errors import DataError
    from nrc_tracer.files.atomic import check_place
    from nrc_tracer.imaging.row_files import check_row_file
    from nrc_tracer.tasks.image import decode, quality
    from nrc_tracer.tasks.image.fit import STEPS, ImageTask
    from nrc_tracer.tasks.image.memory import default_memory, format_size, parse_bytes, resident_memory
    from nrc_tracer.tasks.image.opening import open_source

    budget = default_memory() if memory is None else parse_bytes(memory)
    source = open_source(path, budget)
    if zoom_at is not None and not (zoom_at[0] < source.width and zoom_at[1] < source.height):
        raise DataError(f"zoom-at: {zoom_at[0]},{zoom_at[1]} is outside of {source.width} x {source.height} pixels")
    task = ImageTask(
        source,
        space=None if linear is None else "linear" if linear else "srgb",
        config=options.config,
        batch=batch,
        bilinear=bilinear,
        memory=budget,
        device=options.device,
        threads=options.threads,
        seed=options.seed,
    )
    facts = _facts(task, budget)

    def evaluate() -> dict[str, Any]:
        taken = resident_memory()
        task.sampler.close()
        scores = quality.evaluate(task.trainer.model, source, task.space)
        facts["memory"] = {"allowed": budget, **taken, "peak": resident_memory().get("peak")}
        return scores

    def describe(scores: dict[str, Any]) -> str:
        taken = facts["memory"]
        if not taken.get("peak"):
            return quality.describe(scores)
        return (
            f"{quality.describe(scores)}; resident while training {format_size(taken['anonymous'])} anonymous and "
            f"{format_size(taken['file_backed'])} of files, at most {format_size(taken['peak'])}"
        )

    def preview(file: Path) -> None:
        decode.write_preview(task.trainer.model, decode.ImageInfo.of(source, task.space), file, zoom=zoom_at)

    def check_preview(file: Path) -> None:
        check_row_file(file, None if zoom_at is None else "uint8")
        check_place(file)

    space = "sRGB" if task.space == "srgb" else "linear light"
    lines = [
        f"{source.name}: {source.width} x {source.height}, {source.channels} x {source.kind}, {source.place}",
        *(f"note: {note}" for note in source.notes),
        f"learned in {space}, batches of {task.batch:,} {task.sampling}, memory {format_size(budget)}, {task.table}",
    ]
    run_fit(
        task,
        options,
        name=path.stem or "image",
        data_line="\n".join(lines),
        default_steps=STEPS,
        evaluate=evaluate,
        describe=describe,
        preview=preview,
        check_preview=check_preview,
        facts=facts,
    )


def _facts(task: ImageTask, budget: int) -> dict[str, Any]:
    source = task.source
    encoding = task.trainer.model.config.encoding
    return {
        "image": source.name,
        "width": source.width,
        "height": source.height,
        "channels": source.channels,
        "samples": source.kind,
        "pixels_are": source.place,
        "scratch_bytes": source.scratch_bytes,
        "space": task.space,
        "batch": task.batch,
        "sampling": task.sampling,
        "log2_hashmap_size": getattr(encoding, "log2_hashmap_size", None),
        "loss_function": task.trainer.config.loss.otype,
        "memory": {"allowed": budget},
        "notes": source.notes,
    }
