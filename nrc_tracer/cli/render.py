"""`nrc-tracer render`."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.progress import Progress, announced, rate
from nrc_tracer.cli.saving import Saves
from nrc_tracer.cli.termination import TERMINATED, noted_termination

if TYPE_CHECKING:
    import numpy as np

    from nrc_tracer.imaging import Image
    from nrc_tracer.scene.model import Scene
    from nrc_tracer.tracer import Renderer

COUNT = click.IntRange(1, 2**31 - 1)
SECONDS = click.FloatRange(0, min_open=True)


def _finite(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


def _debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Set the program's own --debug, which may stand before or after the command."""
    if value:
        ctx.find_root().params["debug"] = True


def _pairs(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for value in values:
        name, equals, content = value.partition("=")
        if not name or not equals:
            raise click.BadParameter(f'"{value}" is not of the form name=value.')
        pairs[name] = content
    return pairs


def _layers(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    known = ("albedo", "normal", "depth", "position", "shape", "material", "variance")
    if not value:
        return ()
    names = known if value == "all" else tuple(dict.fromkeys(value.split(",")))
    for name in names:
        if name not in known:
            raise click.BadParameter(f'there is no layer "{name}" (known: all, {", ".join(known)}).')
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
@click.option("--time", "seconds", type=SECONDS, callback=_finite, help="Stop after so many seconds.")
@click.option(
    "--noise",
    type=click.FloatRange(0, min_open=True),
    callback=_finite,
    metavar="REL",
    help="Stop when the estimated relative error is so low: 0.05 is 5 %.",
)
@click.option("--width", type=click.IntRange(1, 65536), help="Width in pixels; alone, it keeps the aspect ratio.")
@click.option("--height", type=click.IntRange(1, 65536), help="Height in pixels; alone, it keeps the aspect ratio.")
@click.option(
    "--camera", metavar="NAME|INDEX", help="One of the scene's cameras, as `info` lists them. Default: the scene's."
)
@click.option("--max-depth", type=click.IntRange(0, 2**31 - 1), help="Longest path: 1 shows lights, 2 direct light.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the random numbers.")
@click.option("--sampler", type=click.Choice(["sobol", "independent"]), help="Default: what the scene says.")
@click.option("--filter", type=click.Choice(["box", "tent", "gaussian"]), help="Default: what the scene says.")
@click.option("--device", metavar="NAME", help="cpu, or cuda:0 and so on. Default: CUDA if there, else cpu.")
@click.option("--threads", type=click.IntRange(1, 4096), help="On the CPU. Default: all cores.")
@click.option("--accel", type=click.Choice(["embree", "warp"]), help="Ray intersection. Default: the fastest there is.")
@click.option("--cache", type=click.Choice(["off"]), default="off", expose_value=False, help="The radiance cache.")
@click.option(
    "--tone", type=click.Choice(["srgb", "aces", "agx"]), default="srgb", show_default=True, help="For PNG: the look."
)
@click.option("--exposure", type=float, callback=_finite, default=0.0, show_default=True, help="For PNG: in stops.")
@click.option(
    "--denoise", is_flag=True, help="Remove noise with Open Image Denoise (extra: denoise), guided by the layers."
)
@click.option(
    "--layers",
    callback=_layers,
    metavar="NAMES",
    help="What is seen first, beside the image: all, or of albedo,normal,depth,position,shape,material,variance. Parts of an "
    ".exr, files of their own beside a .png or .npy.",
)
@click.option(
    "--checkpoint",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to keep what is needed to go on after an interruption. Default: the first output's name with .checkpoint, "
    "removed at the end; a FILE named here stays, and --resume with a larger --spp adds samples to it.",
)
@click.option(
    "--checkpoint-every", type=SECONDS, callback=_finite, default=60.0, show_default=True, help="Seconds between them."
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint, to the same bits as without an interruption.")
@click.option(
    "--auto-resume", is_flag=True, help="As --resume, but begin anew where there is no checkpoint: for job scripts."
)
@click.option(
    "--save-every", type=SECONDS, callback=_finite, metavar="SECONDS", help="Write the image so far so often."
)
@click.option("-D", "parameters", multiple=True, metavar="NAME=VALUE", callback=_pairs, help="Set a Mitsuba $NAME.")
@click.option("--strict", is_flag=True, help="Treat warnings about the scene as errors.")
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@click.option("--debug", is_flag=True, expose_value=False, callback=_debug, help="Show a traceback with an error.")
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
    layers: tuple[str, ...],
    checkpoint: Path | None,
    checkpoint_every: float,
    resume: bool,
    auto_resume: bool,
    save_every: float | None,
    camera: str | None,
    parameters: dict[str, str],
    strict: bool,
    quiet: bool,
) -> tuple[dict[str, Any], int]:
    """Render and write; return the summary and the exit code."""
    from nrc_tracer.errors import OutputError
    from nrc_tracer.imaging import LAYER_EXTENSIONS, check_denoiser, check_writable
    from nrc_tracer.scene.load import load_scene

    # Whatever can fail quickly comes first
    outputs = tuple(dict.fromkeys(outputs)) or (Path(f"{scene.stem}.png"),)
    for output in outputs:
        check_writable(output)
    if denoise:
        check_denoiser()
    if layers and not any(output.suffix.lower() in LAYER_EXTENSIONS for output in outputs):
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
    )
    load_seconds = clock.perf_counter() - start
    if renderer.notice:
        warn(renderer.notice)
    if not quiet:
        click.echo(_scene_line(loaded, renderer), err=True)
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
            _save(image, outputs, tone, exposure, renderer.layers(layers) if layers else {})
        except OutputError as error:
            raise saves.rescue(renderer, error) from error
        (saves.succeed if finished else saves.stop)(renderer)
    dropped, dropped_pixels = image.dropped, renderer.dropped_pixels()[:10]
    if dropped:
        places = ", ".join(f"({x}, {y})" for x, y in dropped_pixels)
        warn(f"{dropped} samples were not finite and were left out, first at pixels {places}")
    noise_now = renderer.noise()
    summary = {
        "scene": str(scene),
        "width": renderer.width,
        "height": renderer.height,
        "samples": renderer.samples,
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "load_seconds": load_seconds,
        "resumed_from": resumed_from,
        "noise": noise_now if math.isfinite(noise_now) else None,
        "samples_per_second": (renderer.samples - resumed_from) * renderer.width * renderer.height / max(seconds, 1e-9),
        "mean": list(image.mean),
        "dropped": dropped,
        "dropped_pixels": [list(pixel) for pixel in dropped_pixels],
        "device": renderer.device,
        "accel": renderer.accel,
        "outputs": [str(output) for output in outputs],
        "warnings": warnings,
        "interrupted": not finished,
    }
    if not finished:
        click.echo(
            f"interrupted: the image has {renderer.samples} samples per pixel; the same command with --resume goes on "
            f"from {checkpoint}",
            err=True,
        )
    if not quiet:
        click.echo(_result_line(summary), err=True)
    return summary, 0 if finished else TERMINATED if terminated() else 130


def _check_checkpoint(checkpoint: Path, outputs: tuple[Path, ...], resume: bool) -> None:
    """Make sure, before the work of a long render, that its checkpoint can be written, and read if it has to be."""
    from nrc_tracer.atomic import replacing
    from nrc_tracer.errors import CheckpointError

    if resume and not checkpoint.exists():
        raise CheckpointError(
            f"there is no checkpoint {checkpoint} to go on from; leave out --resume, or give --auto-resume, which begins "
            "anew where there is none"
        )
    if checkpoint in outputs:
        raise CheckpointError(f"{checkpoint}: is the name of the image already; choose another for the checkpoint")
    if checkpoint.is_dir():
        raise CheckpointError(f"{checkpoint}: cannot be written: it is a folder")
    with replacing(checkpoint, keep=False, error=CheckpointError) as temporary:
        temporary.touch()


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


def _scene_line(scene: Scene, renderer: Renderer) -> str:
    """Summarise what is about to be rendered: `cornell-box.xml: 8 shapes, 5 materials, 512x512 on cpu (embree)`."""
    description = scene.description
    counts = (
        ("shape", len(description.shapes)),
        ("material", len(description.materials)),
        ("texture", len(description.textures)),
    )
    parts = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts if count]
    size = f"{renderer.width}x{renderer.height} on {renderer.device} ({renderer.accel})"
    return f"{scene.source.name if scene.source else 'scene'}: {', '.join([*parts, size])}"


def _result_line(summary: dict[str, Any]) -> str:
    size = f"{summary['width']}x{summary['height']}, {summary['samples']} spp"
    speed = f"{rate(summary['samples_per_second'])}, {summary['accel']} on {summary['device']}"
    noise = "" if summary["noise"] is None else f"noise {100 * summary['noise']:.2g} %, "
    return f"{', '.join(summary['outputs'])}  {size}, {noise}{summary['seconds']:.1f} s ({speed})"
