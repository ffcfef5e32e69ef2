"""`nrc-tracer render`."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time as clock
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.cache_options import bias_words, cache_line, cache_options, read_cache
from nrc_tracer.cli.parameters import (
    COUNT,
    SECONDS,
    debug_option,
    device_options,
    finite,
    parameters_option,
    size_options,
)
from nrc_tracer.cli.progress import Progress, announced
from nrc_tracer.cli.saving import Saves
from nrc_tracer.cli.summary import dropped_warning, result_line, scene_line, summarize
from nrc_tracer.cli.termination import TERMINATED, noted_termination

if TYPE_CHECKING:
    import numpy as np

    from nrc_tracer.imaging import Image
    from nrc_tracer.tracer import Renderer

LAYERS = ("albedo", "normal", "depth", "position", "shape", "material", "variance")
CACHE_LAYERS = ("path_length", "cache_depth", "training_density", "cache_prediction", "cache_target")


def _layers(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """The layers asked for; None for all."""
    if value == "all":
        return None
    names = tuple(dict.fromkeys(value.split(","))) if value else ()
    for name in names:
        if name not in LAYERS + CACHE_LAYERS:
            raise click.BadParameter(f'there is no layer "{name}" (known: all, {", ".join(LAYERS + CACHE_LAYERS)}).')
    return names


@click.command(short_help="Render a scene to image files.")
@click.argument("scene", metavar="SCENE", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Image to write: .exr, .hdr or .npy (linear), .png (tone-mapped). May be repeated. "
    "Default: the scene's name with .png, in the current folder.",
)
@click.option(
    "--spp", type=COUNT, help="Samples per pixel. Default: what the scene says, unless --time or --noise is given."
)
@click.option("--time", "seconds", type=SECONDS, callback=finite, help="Stop after so many seconds.")
@click.option(
    "--noise",
    type=click.FloatRange(0, min_open=True),
    callback=finite,
    metavar="REL",
    help="Stop when the estimated relative error is so low: 0.05 is 5 %.",
)
@size_options
@click.option(
    "--camera", metavar="NAME|INDEX", help="One of the scene's cameras, as `info` lists them. Default: the scene's."
)
@click.option(
    "--max-depth",
    type=click.IntRange(-1, 2**31 - 1),
    help="Longest path: 1 shows lights, 2 direct light; -1 is without limit.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the random numbers.")
@click.option("--sampler", type=click.Choice(["sobol", "independent"]), help="Default: what the scene says.")
@click.option("--filter", type=click.Choice(["box", "tent", "gaussian"]), help="Default: what the scene says.")
@device_options
@cache_options
@click.option(
    "--tone", type=click.Choice(["srgb", "aces", "agx"]), default="srgb", show_default=True, help="For PNG: the look."
)
@click.option("--exposure", type=float, callback=finite, default=0.0, show_default=True, help="For PNG: in stops.")
@click.option(
    "--denoise", is_flag=True, help="Remove noise with Open Image Denoise (extra: denoise), guided by the layers."
)
@click.option(
    "--layers",
    callback=_layers,
    metavar="NAMES",
    help=f"What is seen first, beside the image: all, or of {','.join(LAYERS)}; with a cache also {','.join(CACHE_LAYERS)}. "
    "Parts of an .exr, files of their own beside a .png or .npy.",
)
@click.option(
    "--checkpoint",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to keep what is needed to go on after an interruption. Default: the first output's name with .checkpoint, "
    "removed at the end; a FILE named here stays, and --resume with a larger --spp adds samples to it.",
)
@click.option(
    "--checkpoint-every", type=SECONDS, callback=finite, default=60.0, show_default=True, help="Seconds between them."
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint, to the same bits as without an interruption.")
@click.option(
    "--auto-resume", is_flag=True, help="As --resume, but begin anew where there is no checkpoint: for job scripts."
)
@click.option("--save-every", type=SECONDS, callback=finite, metavar="SECONDS", help="Write the image so far so often.")
@parameters_option
@click.option("--strict", is_flag=True, help="Treat warnings about the scene as errors.")
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@debug_option
@click.option("--json", "as_json", is_flag=True, help="Print a summary as one JSON object on stdout.")
@click.pass_context
def render(ctx: click.Context, *, as_json: bool, **options: Any) -> None:
    """Render SCENE (.json, Mitsuba 3 .xml, or a mesh: .obj, .ply, .stl) to image files.

    Ctrl-C or SIGTERM ends the render after the current pass and writes the image so far and a checkpoint, from which the
    same command with --resume goes on.
    """
    # Whatever a library prints must not end up between the lines of the summary
    with contextlib.redirect_stdout(sys.stderr):
        summary, exit_code = _render(**options)
    if as_json:
        import json

        click.echo(json.dumps(summary))
    if exit_code:
        ctx.exit(exit_code)


def _render(
    *,
    scene: Path,
    outputs: tuple[Path, ...],
    spp: int | None,
    seconds: float | None,
    noise: float | None,
    width: int | None,
    height: int | None,
    max_depth: int | None,
    seed: int,
    sampler: str | None,
    filter: str | None,
    device: str | None,
    threads: int | None,
    accel: str | None,
    tone: str,
    exposure: float,
    denoise: bool,
    layers: tuple[str, ...] | None,
    checkpoint: Path | None,
    checkpoint_every: float,
    resume: bool,
    auto_resume: bool,
    save_every: float | None,
    camera: str | None,
    parameters: dict[str, str],
    strict: bool,
    quiet: bool,
    **cache: Any,
) -> tuple[dict[str, Any], int]:
    """Render and write; return the summary and the exit code."""
    from nrc_tracer.errors import CacheError, OutputError
    from nrc_tracer.files.atomic import replacing
    from nrc_tracer.imaging import LAYER_EXTENSIONS, check_denoiser, check_writable
    from nrc_tracer.scene.load import load_scene

    # Whatever can fail quickly comes first
    outputs = tuple(dict.fromkeys(outputs)) or (Path(f"{scene.stem}.png"),)
    for output in outputs:
        check_writable(output)
    if cache["save_cache"]:
        with replacing(cache["save_cache"], keep=False, error=CacheError) as temporary:
            temporary.touch()
    if denoise:
        check_denoiser()
    with_layers = layers is None or bool(layers)
    if with_layers and not any(output.suffix.lower() in LAYER_EXTENSIONS for output in outputs):
        raise OutputError(f"--layers needs an output of {', '.join(LAYER_EXTENSIONS)}")
    kept, checkpoint = checkpoint is not None, checkpoint or Path(f"{outputs[0]}.checkpoint")
    _check_checkpoint(checkpoint, outputs, resume)

    start = clock.perf_counter()
    loaded = load_scene(scene, strict=strict, parameters=parameters)
    warnings: list[str] = []

    def warn(warning: str) -> None:
        warnings.append(warning)
        click.echo(f"warning: {warning}", err=True)

    for warning in loaded.warnings:
        warn(warning)
    for note in () if quiet else loaded.notes:
        click.echo(f"note: {note}", err=True)

    from nrc_tracer.tracer import Renderer, run

    with announced("making triangles of learnt shapes ...", after=1.0, quiet=quiet or not loaded.snapshots):
        renderer = Renderer(
            loaded,
            device=device,
            threads=threads,
            accel=accel,
            seed=seed,
            camera=camera,
            width=width,
            height=height,
            max_depth=max_depth,
            sampler=sampler,
            filter=filter,
            cache=read_cache(cache),
            cache_mode="on" if cache["cache_mode"] == "off" else cache["cache_mode"],
        )
    load_seconds = clock.perf_counter() - start
    if renderer.notice:
        warn(renderer.notice)
    if renderer.cache is not None and renderer.cache_mode == "on" and renderer.max_depth is not None:
        warn(
            f"max_depth {renderer.max_depth} ends paths that the cache goes on for without limit; --max-depth -1 is like it"
        )
    if not quiet:
        click.echo(scene_line(loaded, renderer), err=True)
    with announced("compiling kernels (first run only) ...", after=1.0, quiet=quiet):
        compile_seconds = renderer.compile()

    if spp is None and seconds is None and noise is None:
        spp = loaded.description.sampler.spp
    progress = Progress(spp=spp, seconds=seconds, noise=noise, quiet=quiet)

    def warn_between_passes(warning: str) -> None:
        warnings.append(warning)
        progress.say(f"warning: {warning}")

    def save_image(renderer: Renderer) -> None:
        _save(renderer.image(), outputs, tone, exposure)

    saves = Saves(
        checkpoint,
        kept=kept,
        checkpoint_every=checkpoint_every,
        save_image=save_image,
        image_every=save_every,
        warn=warn_between_passes,
    )
    if checkpoint.exists():
        if resume or auto_resume:
            saves.resume(renderer)
            _check_not_beyond(checkpoint, renderer, spp)
            if not quiet:
                click.echo(f"going on from {checkpoint}: {renderer.samples} samples per pixel", err=True)
        else:
            warn(f"{checkpoint} is of an earlier render and will be replaced; --resume goes on from it")
    resumed_from = renderer.samples
    progress.resume(resumed_from)

    def after_pass(renderer: Renderer) -> None:
        progress(renderer)
        if renderer.samples:
            saves(renderer)

    start = clock.perf_counter()
    saves.start()
    with noted_termination() as terminated:
        with progress:
            finished = run(renderer, spp=spp, time=seconds, noise=noise, progress=after_pass, stop=terminated)
        seconds = clock.perf_counter() - start
        if renderer.samples == 0:
            raise KeyboardInterrupt

        image = renderer.image()
        if denoise:
            image = _denoised(image, renderer)
        try:
            _save(image, outputs, tone, exposure, renderer.layers(layers) if with_layers else {})
        except OutputError as error:
            raise saves.rescue(renderer, error) from error
        (saves.succeed if finished else saves.stop)(renderer)
    dropped = dropped_warning(renderer)
    if dropped:
        warn(dropped)
    summary = {
        "scene": str(scene),
        **summarize(renderer, image, seconds=seconds, resumed_from=resumed_from),
        "compile_seconds": compile_seconds,
        "load_seconds": load_seconds,
        "outputs": [str(output) for output in outputs],
        "interrupted": not finished,
    }
    if renderer.cache is not None:
        if cache["save_cache"] is not None:
            renderer.cache.save(cache["save_cache"])
        _judge_cache(summary["cache"], warn)
    summary["warnings"] = warnings
    if not finished:
        click.echo(
            f"interrupted: the image has {renderer.samples} samples per pixel; the same command with --resume goes on "
            f"from {checkpoint}",
            err=True,
        )
    if not quiet:
        if renderer.cache is not None:
            click.echo(cache_line(summary["cache"]), err=True)
        click.echo(result_line(summary), err=True)
    return summary, 0 if finished else TERMINATED if terminated() else 130


def _judge_cache(report: dict[str, Any], warn: Callable[[str], None]) -> None:
    """Warn where the cache is not known to be good enough to end paths in it."""
    if report["mode"] == "on" and not report["converged"]:
        warn(
            f"the cache is not known to be right to 3 %: {bias_words(report)} after {report['warm_up_frames']} frames of "
            "warm-up; more --time, --spp or --train-frames helps"
        )


def _check_checkpoint(checkpoint: Path, outputs: tuple[Path, ...], resume: bool) -> None:
    """Make sure, before the work of a long render, that its checkpoint can be written, and read if it has to be."""
    from nrc_tracer.errors import CheckpointError
    from nrc_tracer.files.atomic import check_place

    if resume and not checkpoint.exists():
        raise CheckpointError(
            f"there is no checkpoint {checkpoint} to go on from; leave out --resume, or give --auto-resume, which begins "
            "anew where there is none"
        )
    if checkpoint in outputs:
        raise CheckpointError(f"{checkpoint}: is the name of the image already; choose another for the checkpoint")
    check_place(checkpoint, error=CheckpointError)


def _check_not_beyond(checkpoint: Path, renderer: Renderer, spp: int | None) -> None:
    from nrc_tracer.errors import CheckpointError

    if spp is not None and renderer.samples > spp:
        raise CheckpointError(
            f"{checkpoint}: has {renderer.samples} samples per pixel, more than the {spp} asked for; give a larger --spp, or "
            "leave out --resume to begin anew"
        )


def _save(
    image: Image, outputs: tuple[Path, ...], tone: str, exposure: float, layers: dict[str, np.ndarray] | None = None
) -> None:
    """Write every output that can be written; if any cannot, raise the error of the first at the end."""
    from nrc_tracer.errors import OutputError
    from nrc_tracer.imaging import LAYER_EXTENSIONS, write_layers

    errors = []
    for output in outputs:
        suffix = output.suffix.lower()
        try:
            if not layers or suffix != ".exr":
                image.save(output, tone=tone, exposure=exposure)
            if layers and suffix in LAYER_EXTENSIONS:
                write_layers(output, image.rgb, layers)
        except OutputError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _denoised(image: Image, renderer: Renderer) -> Image:
    from nrc_tracer.imaging import denoise

    return dataclasses.replace(image, rgb=denoise(image.rgb, **renderer.layers(("albedo", "normal"))))
