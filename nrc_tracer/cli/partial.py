"""Partial renders: the steps of `nrc-tracer render --partial`, for batch queues."""

from __future__ import annotations

import dataclasses
import time as clock
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from nrc_tracer.cli.outputs import Warnings
from nrc_tracer.cli.progress import COMPILING, Bar, announced, rate
from nrc_tracer.cli.rendering import RenderOptions, load_scene, make_renderer
from nrc_tracer.cli.summary import scene_line
from nrc_tracer.cli.termination import INTERRUPTED, TERMINATED, noted_termination
from nrc_tracer.interruption import deferred_interrupt

BLOCK = 64
"""Number of samples per block, as in `nrc_tracer.tracer.film_sums`, which loads Warp."""


@dataclass(frozen=True)
class Part:
    """Samples `first` .. `end - 1` of every pixel, for the partial file `file`."""

    file: Path
    first: int
    end: int


def read_samples(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read a range of samples, `A:B`."""
    if value is None:
        return None
    words = value.split(":")
    if len(words) != 2 or not all(word.isascii() and word.isdecimal() for word in words):
        raise click.BadParameter(f'"{value}" is not of the form A:B, such as 0:512.')
    first, end = map(int, words)
    if first % BLOCK:
        near = first // BLOCK * BLOCK
        raise click.BadParameter(
            f"the first sample, {first}, is not a multiple of {BLOCK}; the nearest are {near} and {near + BLOCK}."
        )
    if not first < end < 2**31:
        raise click.BadParameter(f"{value} has no samples." if end <= first else f"{end} is too large.")
    return first, end


def run_partial(options: RenderOptions, part: Part) -> tuple[dict[str, Any], int]:
    """Render blocks of samples into a partial file; return the summary and the exit code."""
    from nrc_tracer.cluster.partial_file import PartialRender, write_partial
    from nrc_tracer.errors import CheckpointError
    from nrc_tracer.files.atomic import check_place
    from nrc_tracer.tracer.strips import strips_of

    check_place(part.file, error=CheckpointError)
    warn, quiet = Warnings(), options.messages.quiet
    scene = load_scene(options, warn)
    renderer = make_renderer(scene, options)
    if renderer.notice:
        warn(renderer.notice)
    if not quiet:
        click.echo(scene_line(scene, renderer), err=True)
    with announced(COMPILING, quiet=quiet):
        renderer.compile()
    tracer = renderer.strip_tracer()
    render = PartialRender(
        renderer.width, renderer.height, part.first, part.end, renderer.identity(), tracer.fingerprint()
    )

    start = clock.perf_counter()
    pixels = renderer.width * renderer.height
    bar = Bar("{task.fields[samples]}", after=("{task.fields[rate]}",), quiet=quiet, samples="", rate="")

    def progress(done: int) -> None:
        words = f"samples {part.first}:{part.first + done // pixels} of {part.first}:{part.end}"
        speed = rate(done / max(clock.perf_counter() - start, 1e-9))
        bar.show(done / (pixels * (part.end - part.first)), samples=words, rate=speed)

    with noted_termination() as terminated, deferred_interrupt() as interrupted, bar:
        end = write_partial(
            part.file,
            render,
            strips_of(renderer.width, renderer.height),
            tracer.trace,
            stop=lambda: interrupted() or terminated(),
            progress=progress,
        )
    seconds = clock.perf_counter() - start
    finished = end == part.end
    if end == part.first:
        raise KeyboardInterrupt
    if not finished:
        click.echo(
            f"interrupted: {part.file} has samples {part.first}:{end}; --samples {end}:{part.end} renders the rest into another "
            "file",
            err=True,
        )
    summary = {
        "scene": str(options.scene),
        "partial": str(part.file),
        "width": renderer.width,
        "height": renderer.height,
        "samples": [part.first, end],
        "seconds": seconds,
        "device": renderer.device,
        "accel": renderer.accel,
        "warnings": warn.given,
        "interrupted": not finished,
    }
    if not quiet:
        speed = rate((end - part.first) * pixels / max(seconds, 1e-9))
        click.echo(
            f"{part.file}  {renderer.width}x{renderer.height}, samples {part.first}:{end}, {seconds:.1f} s ({speed})",
            err=True,
        )
    return summary, 0 if finished else TERMINATED if terminated() else INTERRUPTED


def check_part(
    samples: tuple[int, int] | None, file: Path | None, options: RenderOptions, others: dict[str, bool]
) -> Part | None:
    """The part that a command line asks for, None for a whole render.

    Args:
        samples: The value of `--samples`.
        file: That of `--partial`.
        options: The other options.
        others: Options that a partial render does not have, by the name that is typed, and whether each was given.

    Raises:
        click.UsageError: The options do not fit together.
    """
    if samples is None and file is None:
        return None
    if samples is None or file is None:
        raise click.UsageError("--samples A:B and --partial FILE are given together.")
    limits = {f"--{name}": value is not None for name, value in dataclasses.asdict(options.limits).items()}
    limits["--time"] = limits.pop("--seconds")
    for name, given in {**limits, **others, "--cache": options.cache.mode != "off"}.items():
        if given:
            raise click.UsageError(
                f"{name} cannot be combined with --partial, which writes samples for `nrc-tracer merge` and no image."
            )
    return Part(file, *samples)
