"""`nrc-tracer fit image`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.command import command, gathered, option, under
from nrc_tracer.cli.fitting import Fit, FitOptions, batch_option, fit_options, run_fit
from nrc_tracer.cli.options import DATA, PATH, SNAPSHOT, zoom_at_option

if TYPE_CHECKING:
    from nrc_tracer.tasks.image.fit import ImageTask
    from nrc_tracer.tasks.image.source import Source


@dataclass(frozen=True)
class ImageOptions:
    """The options of `nrc-tracer fit image`, except those that all tasks share."""

    path: Path
    linear: bool | None
    memory: str | None
    batch: int | None
    bilinear: bool
    zoom_at: tuple[int, int] | None


@command(
    short_help="Fit an image of any size.",
    examples=(
        "nrc-tracer fit image scenes/pictures/window-room.png --time 20",
        "nrc-tracer fit image map.tif --memory 2GiB --preview now.png --zoom-at 1200,800",
        "nrc-tracer decode image window-room.safetensors -o closer.png --crop 55,270,80,80 --scale 6",
    ),
)
@gathered(
    "image",
    ImageOptions,
    click.argument("path", metavar="IMAGE", type=PATH),
    under(
        DATA,
        option(
            "--linear/--srgb",
            default=None,
            help="Learn linear light or sRGB values. Default: linear for float images (EXR, HDR), with a loss relative to "
            "brightness; sRGB for others.",
        ),
        option(
            "--memory",
            metavar="SIZE",
            help="Memory for pixels and model, such as 1GiB. It decides how large the model's table is, and whether samples come "
            "from the whole image or from a moving set of its tiles. Default: half of the free memory.",
        ),
        option("--bilinear", is_flag=True, help="Draw samples between pixels, not at their centers."),
    ),
    batch_option("2^18 on CUDA; on the CPU 2^14, for large images 2^16. It must be a power of two"),
    under(SNAPSHOT, zoom_at_option("Make previews that zoom in on this pixel instead of showing the whole image.")),
)
@fit_options
def image(image: ImageOptions, options: FitOptions) -> None:
    """Learn the colours of IMAGE (TIFF, BigTIFF, EXR, PNG, JPEG, BMP, TGA, HDR, .npy) from their positions.

    The image need not fit into memory: uncompressed TIFF and .npy files are read in place, others are decoded once, into memory
    if they are small, else into a scratch file. Alpha is left out. The PSNR is over all pixels, with a peak of 1 in the space
    that is learned.
    """
    from nrc_tracer.errors import DataError
    from nrc_tracer.tasks.image.fit import STEPS, ImageTask
    from nrc_tracer.tasks.image.memory import default_memory, format_size, parse_bytes
    from nrc_tracer.tasks.image.opening import open_source

    budget = default_memory() if image.memory is None else parse_bytes(image.memory)
    source = open_source(image.path, budget)
    zoom = image.zoom_at
    if zoom is not None and not (zoom[0] < source.width and zoom[1] < source.height):
        raise DataError(f"zoom-at: {zoom[0]},{zoom[1]} is outside of {source.width} x {source.height} pixels")
    task = ImageTask(
        source,
        space=None if image.linear is None else "linear" if image.linear else "srgb",
        config=options.config,
        batch=image.batch,
        bilinear=image.bilinear,
        memory=budget,
        device=options.compute.device,
        threads=options.compute.threads,
        seed=options.seed,
    )
    space = "sRGB" if task.space == "srgb" else "linear light"
    lines = [
        f"{source.name}: {source.width} x {source.height}, {source.channels} x {source.kind}, {source.place}",
        *(f"note: {note}" for note in source.notes),
        f"learned in {space}, batches of {task.batch:,} {task.sampling}, memory {format_size(budget)}, {task.table}",
    ]
    fitting = _ImageFit(task, source, budget, zoom)
    run_fit(
        Fit(
            task,
            name=image.path.stem or "image",
            data_line="\n".join(lines),
            default_steps=STEPS,
            evaluate=lambda _: fitting.evaluate(),
            describe=fitting.describe,
            preview=fitting.preview,
            check_preview=fitting.check_preview,
            facts=fitting.facts,
        ),
        options,
    )


class _ImageFit:
    """Scores and previews of an image in training.

    Args:
        task: The task.
        source: The image.
        budget: Memory that the training may take, in bytes.
        zoom: Pixel on which previews zoom in, if any.
    """

    def __init__(self, task: ImageTask, source: Source, budget: int, zoom: tuple[int, int] | None) -> None:
        self._task, self._source, self._budget, self._zoom = task, source, budget, zoom
        self.facts = _facts(task, budget)

    def evaluate(self) -> dict[str, Any]:
        """Score the model over all pixels, and add the memory taken to the facts."""
        from nrc_tracer.tasks.image import quality
        from nrc_tracer.tasks.image.memory import resident_memory

        taken = resident_memory()
        self._task.sampler.close()
        scores = quality.evaluate(self._task.trainer.model, self._source, self._task.space)
        self.facts["memory"] = {"allowed": self._budget, **taken, "peak": resident_memory().get("peak")}
        return scores

    def describe(self, scores: dict[str, Any]) -> str:
        """Put the scores and the memory taken into words."""
        from nrc_tracer.tasks.image import quality
        from nrc_tracer.tasks.image.memory import format_size

        taken = self.facts["memory"]
        if not taken.get("peak"):
            return quality.describe(scores)
        return (
            f"{quality.describe(scores)}; resident while training {format_size(taken['anonymous'])} anonymous and "
            f"{format_size(taken['file_backed'])} of files, at most {format_size(taken['peak'])}"
        )

    def preview(self, file: Path) -> None:
        """Write a picture of the current state."""
        from nrc_tracer.tasks.image import decode

        picture = decode.ImageInfo.of(self._source, self._task.space)
        decode.write_preview(self._task.trainer.model, picture, file, zoom=self._zoom)

    def check_preview(self, file: Path) -> None:
        """Raise `OutputError` for a file that cannot become a preview."""
        import numpy as np

        from nrc_tracer.files.atomic import check_place
        from nrc_tracer.imaging.row_files import check_row_file

        check_row_file(file, None if self._zoom is None else np.uint8)
        check_place(file)


def _facts(task: ImageTask, budget: int) -> dict[str, Any]:
    """Facts about a fit of an image, for the summary."""
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
