"""`nrc-tracer render`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nrc_tracer.cli.cache_options import cache_options
from nrc_tracer.cli.cluster import cluster_options
from nrc_tracer.cli.command import command, gathered, option, under
from nrc_tracer.cli.options import (
    CHECKPOINTS,
    IMAGE_FORMATS,
    OUTPUT,
    PATH,
    QUALITY,
    SCENE_FORMATS,
    denoise_option,
    every_option,
    film_options,
    look_options,
    max_depth_option,
    message_options,
    outputs_option,
    resume_options,
    sampler_option,
    scene_argument,
    scene_options,
    spp_option,
    tracer_options,
)
from nrc_tracer.cli.outputs import run_reporting
from nrc_tracer.cli.partial import check_part, read_samples, run_partial
from nrc_tracer.cli.rendering import Limits, RenderOptions, Sampling, run_render
from nrc_tracer.cli.saving import CheckpointOptions
from nrc_tracer.cli.values import POSITIVE, SECONDS

LAYERS = ("albedo", "normal", "depth", "position", "shape", "material", "variance")
CACHE_LAYERS = ("path_length", "cache_depth", "training_density", "cache_prediction", "cache_target", "correction")


def _read_layers(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """The names of the requested layers; None for all layers."""
    if value == "all":
        return None
    names = tuple(dict.fromkeys(value.split(","))) if value else ()
    for name in names:
        if name not in LAYERS + CACHE_LAYERS:
            raise click.BadParameter(f'there is no layer "{name}" (known: all, {", ".join(LAYERS + CACHE_LAYERS)}).')
    return names


@command(
    short_help="Render a scene to image files.",
    help=f"""Render SCENE ({SCENE_FORMATS}) to image files.

    Ctrl-C or SIGTERM ends the render after the current pass and writes the image so far and a checkpoint, from which the
    same command with --resume continues.
    """,
    examples=(
        "nrc-tracer render scenes/cornell-box.json -o box.png -o box.exr --spp 256",
        "nrc-tracer render model.glb --time 30 --exposure 0.5 --tone agx",
        "nrc-tracer render scenes/door-ajar.json --cache on --max-depth -1 --time 20",
        "nrc-tracer render scenes/door-ajar.json -o door.exr --noise 0.02 --checkpoint door.checkpoint --auto-resume",
        "nrc-tracer render scenes/door-ajar.json -o door.exr --spp 4096 --cluster auto",
        "nrc-tracer render scenes/door-ajar.json --samples 0:512 --partial a.sums",
    ),
)
@scene_argument
@under(
    OUTPUT,
    outputs_option(f"Image to write: {IMAGE_FORMATS}.", "the scene's name with .png, in the current folder"),
    option(
        "--layers",
        callback=_read_layers,
        metavar="NAMES",
        help=f"Also write properties of the first surface seen: all, or names separated by commas: {', '.join(LAYERS)}; with a "
        f"cache also {', '.join(CACHE_LAYERS)}. They become layers of an .exr, and files beside a .png or .npy.",
    ),
    denoise_option,
    look_options("PNG files"),
    every_option("--save-every", "two writes of the image so far. Default: only at the end"),
    option(
        "--partial",
        type=PATH,
        metavar="FILE",
        help="Write the sums of --samples for `nrc-tracer merge`, and no image, so that jobs of a batch queue share a render.",
    ),
)
@gathered(
    "limits",
    Limits,
    under(
        QUALITY,
        spp_option("the scene's, unless --time or --noise is given"),
        option("--time", "seconds", type=SECONDS, metavar="SECONDS", help="End after this time of rendering."),
        option(
            "--noise",
            type=POSITIVE,
            metavar="REL",
            help="End when the estimated relative error is this low: 0.05 is 5 %.",
        ),
    ),
)
@under(
    QUALITY,
    option(
        "--samples",
        metavar="A:B",
        callback=read_samples,
        help="With --partial: render samples A to B - 1 of every pixel. A is a multiple of 64, and B too, unless no samples "
        "follow it.",
    ),
)
@gathered(
    "sampling",
    Sampling,
    under(
        QUALITY,
        max_depth_option(),
        sampler_option,
        option(
            "--filter",
            type=click.Choice(["box", "tent", "gaussian"]),
            help="Reconstruction filter. Default: the scene's filter.",
        ),
        option(
            "--seed",
            type=click.IntRange(0, 2**63 - 1),
            default=0,
            show_default=True,
            help="Seed of the random numbers.",
        ),
    ),
)
@film_options
@cache_options
@under(
    CHECKPOINTS,
    option(
        "--checkpoint",
        metavar="FILE",
        type=PATH,
        help="File from which an interrupted render is resumed. Default: the first output's name with .checkpoint, removed at "
        "the end. A FILE named here is kept, and --resume with a larger --spp adds samples to it.",
    ),
    every_option("--checkpoint-every", "two writes of the checkpoint", 60.0),
    resume_options("checkpoint"),
)
@scene_options
@tracer_options
@cluster_options("Render")
@message_options()
def render(
    *,
    checkpoint: Path | None,
    checkpoint_every: float,
    resume: bool,
    auto_resume: bool,
    save_every: float | None,
    samples: tuple[int, int] | None,
    partial: Path | None,
    scene: Path,
    outputs: tuple[Path, ...],
    **options: Any,
) -> None:
    given = {
        "--output": bool(outputs),
        "--save-every": save_every is not None,
        "--checkpoint": checkpoint is not None,
        "--resume": resume,
        "--auto-resume": auto_resume,
    }
    outputs = tuple(dict.fromkeys(outputs)) or (Path(f"{scene.stem}.png"),)
    checkpoints = CheckpointOptions(
        file=checkpoint or Path(f"{outputs[0]}.checkpoint"),
        kept=checkpoint is not None,
        every=checkpoint_every,
        save_image_every=save_every,
        resume=resume,
        auto_resume=auto_resume,
    )
    asked = RenderOptions(scene=scene, outputs=outputs, checkpoints=checkpoints, **options)
    given |= {"--layers": asked.with_layers, "--denoise": asked.denoise, "--cluster": asked.cluster.cluster is not None}
    if asked.cluster.cluster is not None and asked.cache.mode == "voxel":
        raise click.UsageError("--cluster renders with the caches of networks alone; use --cache on or raw.")
    part = check_part(samples, partial, asked, given)
    run_reporting(
        lambda: run_render(asked) if part is None else run_partial(asked, part), as_json=asked.messages.as_json
    )
