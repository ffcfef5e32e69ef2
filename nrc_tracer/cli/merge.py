"""`nrc-tracer merge`."""

from __future__ import annotations

import math
import time as clock
from pathlib import Path
from typing import Any

import click

from nrc_tracer.cli.command import command, option, under
from nrc_tracer.cli.options import (
    IMAGE_FORMATS,
    OUTPUT,
    PATH,
    LookOptions,
    Messages,
    look_options,
    message_options,
    outputs_option,
)
from nrc_tracer.cli.outputs import Warnings, run_reporting


@command(
    short_help="Merge partial renders to one image.",
    help="""Merge the PARTIAL files that `nrc-tracer render --samples A:B --partial FILE` has written, in any order, to one image.

    The image is bit-identical to that of one render with all the samples. The files must have every sample from the first on,
    and none twice.
    """,
    examples=("nrc-tracer merge a.sums b.sums -o out.exr",),
)
@click.argument("files", metavar="PARTIAL...", nargs=-1, required=True, type=PATH)
@under(
    OUTPUT,
    outputs_option(f"Image to write: {IMAGE_FORMATS}."),
    option(
        "--mixed",
        is_flag=True,
        help="Merge files of machines with other processors, devices or package versions too. Their samples are right, but have "
        "other bits.",
    ),
    look_options("PNG files"),
)
@message_options()
def merge(
    *, files: tuple[Path, ...], outputs: tuple[Path, ...], mixed: bool, look: LookOptions, messages: Messages
) -> None:
    def work() -> tuple[dict[str, Any], int]:
        return _merge(files, tuple(dict.fromkeys(outputs)), mixed, look, messages)

    run_reporting(work, as_json=messages.as_json)


def _merge(
    files: tuple[Path, ...], outputs: tuple[Path, ...], mixed: bool, look: LookOptions, messages: Messages
) -> tuple[dict[str, Any], int]:
    """Merge and write; return the summary and the exit code."""
    from nrc_tracer.cluster.merge import merge as merge_files
    from nrc_tracer.imaging import check_writable

    for output in outputs:
        check_writable(output)
    start = clock.perf_counter()
    merged = merge_files(files, mixed=mixed)
    image = merged.image
    warn = Warnings()
    for difference in merged.differences:
        warn(difference)
    if image.dropped:
        warn(f"{image.dropped} samples were not finite and were left out")
    for output in outputs:
        image.save(output, tone=look.tone, exposure=look.exposure)
    noise = merged.noise if math.isfinite(merged.noise) else None
    seconds = clock.perf_counter() - start
    if not messages.quiet:
        words = "" if noise is None else f"noise {100 * noise:.2g} %, "
        names = ", ".join(map(str, outputs))
        size = f"{image.width}x{image.height}, {image.samples} spp"
        click.echo(f"{names}  {size}, {words}{len(files)} files merged in {seconds:.1f} s", err=True)
    summary = {
        "partials": [str(file) for file in files],
        "width": image.width,
        "height": image.height,
        "samples": image.samples,
        "seconds": seconds,
        "noise": noise,
        "mean": list(image.mean),
        "dropped": image.dropped,
        "outputs": [str(output) for output in outputs],
        "warnings": warn.given,
    }
    return summary, 0
