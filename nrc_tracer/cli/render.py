"""`nrc-tracer render`."""

from __future__ import annotations

import contextlib
import math
import sys
import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.progress import Progress, announced, rate

if TYPE_CHECKING:
    from nrc_tracer.imaging import Image
    from nrc_tracer.scene.model import Scene
    from nrc_tracer.tracer import Renderer

COUNT = click.IntRange(1, 2**31 - 1)


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
@click.option("--spp", type=COUNT, help="Samples per pixel. Default: what the scene says, unless --time is given.")
@click.option(
    "--time", "seconds", type=click.FloatRange(0, min_open=True), callback=_finite, help="Stop after so many seconds."
)
@click.option("--width", type=click.IntRange(1, 65536), help="Width in pixels; alone, it keeps the aspect ratio.")
@click.option("--height", type=click.IntRange(1, 65536), help="Height in pixels; alone, it keeps the aspect ratio.")
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
@click.option("-D", "parameters", multiple=True, metavar="NAME=VALUE", callback=_pairs, help="Set a Mitsuba $NAME.")
@click.option("--strict", is_flag=True, help="Treat warnings about the scene as errors.")
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@click.option("--debug", is_flag=True, expose_value=False, callback=_debug, help="Show a traceback with an error.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as one JSON object on stdout.")
@click.pass_context
def render(ctx: click.Context, *, as_json: bool, **options: Any) -> None:
    """Render SCENE (.json, or Mitsuba 3 .xml) to image files.

    Ctrl-C ends the render after the current pass and writes the image so far.
    """
    # Whatever a library prints must not end up between the lines of the summary
    with contextlib.redirect_stdout(sys.stderr):
        summary = _render(**options)
    if as_json:
        import json

        click.echo(json.dumps(summary))
    if summary["interrupted"]:
        ctx.exit(130)


def _render(
    *,
    scene: Path,
    outputs: tuple[Path, ...],
    spp: int | None,
    seconds: float | None,
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
    parameters: dict[str, str],
    strict: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Render and write; return the summary."""
    from nrc_tracer.imaging import check_writable
    from nrc_tracer.scene.load import load_scene

    # Whatever can fail quickly comes first
    outputs = tuple(dict.fromkeys(outputs)) or (Path(f"{scene.stem}.png"),)
    for output in outputs:
        check_writable(output)

    start = clock.perf_counter()
    loaded = load_scene(scene, strict=strict, parameters=parameters)
    warnings: list[str] = []

    def warn(warning: str) -> None:
        warnings.append(warning)
        click.echo(f"warning: {warning}", err=True)

    for warning in loaded.warnings:
        warn(warning)

    from nrc_tracer.tracer import Renderer, run

    renderer = Renderer(
        loaded,
        device=device,
        threads=threads,
        accel=accel,
        seed=seed,
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

    if spp is None and seconds is None:
        spp = loaded.description.sampler.spp
    start = clock.perf_counter()
    with Progress(spp=spp, seconds=seconds, quiet=quiet) as progress:
        finished = run(renderer, spp=spp, time=seconds, progress=progress)
    seconds = clock.perf_counter() - start
    if renderer.samples == 0:
        raise KeyboardInterrupt

    image = renderer.image()
    _save(image, outputs, tone, exposure)
    dropped, dropped_pixels = image.dropped, renderer.dropped_pixels()[:10]
    if dropped:
        places = ", ".join(f"({x}, {y})" for x, y in dropped_pixels)
        warn(f"{dropped} samples were not finite and were left out, first at pixels {places}")
    summary = {
        "scene": str(scene),
        "width": renderer.width,
        "height": renderer.height,
        "samples": renderer.samples,
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "load_seconds": load_seconds,
        "samples_per_second": renderer.samples * renderer.width * renderer.height / max(seconds, 1e-9),
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
        click.echo(f"interrupted: the image has {renderer.samples} samples per pixel", err=True)
    if not quiet:
        click.echo(_result_line(summary), err=True)
    return summary


def _save(image: Image, outputs: tuple[Path, ...], tone: str, exposure: float) -> None:
    """Write every output that can be written; if any cannot, raise the error of the first at the end."""
    from nrc_tracer.errors import OutputError

    errors = []
    for output in outputs:
        try:
            image.save(output, tone=tone, exposure=exposure)
        except OutputError as error:
            errors.append(error)
    if errors:
        raise errors[0]


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
    return (
        f"{', '.join(summary['outputs'])}  {summary['width']}x{summary['height']}, {summary['samples']} spp, "
        f"{summary['seconds']:.1f} s ({rate(summary['samples_per_second'])}, {summary['accel']} on {summary['device']})"
    )
