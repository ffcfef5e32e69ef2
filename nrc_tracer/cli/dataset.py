"""`nrc-tracer dataset`."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.outputs import leaving
from nrc_tracer.cli.parameters import COUNT, debug_option, device_options, finite, parameters_option
from nrc_tracer.cli.progress import Bar, announced
from nrc_tracer.cli.termination import TERMINATED, noted_termination
from nrc_tracer.interruption import deferred_interrupt

if TYPE_CHECKING:
    from nrc_tracer.scene.model import Scene
    from nrc_tracer.tasks.nerf.camera import PhotoCamera
    from nrc_tracer.tasks.nerf.shooting import Box, Shooting
    from nrc_tracer.tasks.nerf.synthetic import DatasetWriter
    from nrc_tracer.tracer import Renderer


def _box(ctx: click.Context, parameter: click.Parameter, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
    if value is not None:
        if not all(math.isfinite(number) for number in value):
            raise click.BadParameter("must be six finite numbers.")
        if any(low >= high for low, high in zip(value[:3], value[3:], strict=True)):
            raise click.BadParameter("the first three numbers must lie below the last three.")
    return value


def _elevation(ctx: click.Context, parameter: click.Parameter, value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] <= value[1]:
        raise click.BadParameter("the first angle must not be above the second.")
    return value


@click.command(short_help="Render a scene into photographs with known cameras, for fit nerf.")
@click.argument("scene", metavar="SCENE", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder to write to.",
)
@click.option("--views", type=COUNT, default=100, show_default=True, help="Images to learn from.")
@click.option("--test", type=click.IntRange(0, 100_000), default=20, show_default=True, help="Images to measure on.")
@click.option(
    "--val", type=click.IntRange(0, 100_000), default=0, show_default=True, help="Images to look at while learning."
)
@click.option("--width", type=click.IntRange(1, 65536), default=200, show_default=True, help="Pixels in a row.")
@click.option("--height", type=click.IntRange(1, 65536), default=200, show_default=True, help="Rows of pixels.")
@click.option(
    "--spp",
    type=COUNT,
    help="Samples per pixel; noise in test images limits the PSNR (see --denoise). Default: the scene's.",
)
@click.option(
    "--cameras",
    type=click.Choice(["orbit", "inside"]),
    help="Around the scene, or inside of it. Default: inside where the scene's own camera is, and in rooms.",
)
@click.option(
    "--fov",
    type=click.FloatRange(1.0, 170.0),
    callback=finite,
    help="Degrees across the shorter side. Default: 40 around, the scene's inside.",
)
@click.option(
    "--elevation",
    nargs=2,
    type=click.FloatRange(-90.0, 90.0),
    default=(5.0, 80.0),
    show_default=True,
    callback=_elevation,
    help="Of cameras around the scene: least and greatest degrees over its middle.",
)
@click.option(
    "--box",
    nargs=6,
    type=float,
    callback=_box,
    metavar="X0 Y0 Z0 X1 Y1 Z1",
    help="What is photographed. Default: the box around all shapes but ground and sky.",
)
@click.option(
    "--transparent/--opaque",
    default=None,
    help="Whether pixels without a surface are transparent or show the environment. Default: transparent around a scene.",
)
@click.option(
    "--exposure", type=float, callback=finite, default=0.0, show_default=True, help="In stops, for all images."
)
@click.option("--denoise", is_flag=True, help="Remove noise with Open Image Denoise (extra: denoise).")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of places and samples.")
@device_options
@parameters_option
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@debug_option
@click.option("--json", "as_json", is_flag=True, help="Print a summary as one JSON object on stdout.")
@click.pass_context
def dataset(ctx: click.Context, *, as_json: bool, **options: Any) -> None:
    """Render SCENE from many cameras into DIR: PNG images and transforms_train.json, _val, _test, as NeRF's Blender sets are.

    Images are sRGB (linear radiance times 2^exposure, clipped at 1), the same for all views. The files say where the scene lies
    (scale, offset, aabb_scale). After Ctrl-C the same command goes on: whole images of the same settings stay.
    """
    with contextlib.redirect_stdout(sys.stderr):
        summary, exit_code = _dataset(**options)
    if as_json:
        click.echo(json.dumps(summary))
    if exit_code:
        ctx.exit(exit_code)


def _dataset(
    *,
    scene: Path,
    folder: Path,
    views: int,
    test: int,
    val: int,
    width: int,
    height: int,
    spp: int | None,
    cameras: str | None,
    fov: float | None,
    elevation: tuple[float, float],
    box: tuple[float, ...] | None,
    transparent: bool | None,
    exposure: float,
    denoise: bool,
    seed: int,
    device: str | None,
    threads: int | None,
    accel: str | None,
    parameters: dict[str, str],
    quiet: bool,
) -> tuple[dict[str, Any], int]:
    """Render and write; return the summary and the exit code."""
    from nrc_tracer.imaging import check_denoiser
    from nrc_tracer.scene.load import load_scene

    if denoise:
        check_denoiser()
    start = clock.perf_counter()
    loaded = load_scene(scene, parameters=parameters)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)

    from nrc_tracer.tasks.nerf.shooting import Shooting, subject_box
    from nrc_tracer.tasks.nerf.synthetic import DatasetWriter, ImageSettings, aabb_scale_for, without_shapes
    from nrc_tracer.tracer import Renderer
    from nrc_tracer.tracer.checkpoint import scene_parts

    compute = {"device": device, "threads": threads, "accel": accel}
    around = subject_box(loaded) if box is None else _as_box(box)
    shooting = Shooting(cameras, width, height, fov, elevation, seed)
    with announced("looking for places to photograph from ...", after=1.0, quiet=quiet):
        kind, placed = _place(loaded, around, shooting, views + val + test, compute)
    sets = {"train": placed[:views], "val": placed[views : views + val], "test": placed[views + val :]}

    transparent = kind == "orbit" if transparent is None else transparent
    spp = spp or loaded.description.sampler.spp
    size = {"width": width, "height": height}
    renderer = Renderer(loaded, **size, **compute)
    background = Renderer(without_shapes(loaded), **size, **compute) if transparent else None
    picture = ImageSettings(spp, seed, exposure, denoise, transparent)
    writer = DatasetWriter(folder, sets, picture, renderer, background, {"scene": scene_parts(loaded)})
    missing = writer.missing()
    if not quiet:
        total = f"{views} training, {val} validation and {test} test views of {width} x {height} pixels, {spp} spp"
        click.echo(f"{scene.name}: {total}, cameras {kind}", err=True)
        if len(missing) < len(placed):
            click.echo(f"{folder}: {len(placed) - len(missing)} images are there already", err=True)

    done, code = _render(writer, missing, quiet)
    summary = {
        "scene": str(scene),
        "output": str(folder),
        "cameras": kind,
        "views": {split: len(chosen) for split, chosen in sets.items()},
        **size,
        "spp": spp,
        "seed": seed,
        "color": f"sRGB of linear radiance times 2^{exposure:g}, clipped at 1",
        "alpha": transparent,
        "rendered": done,
        "kept": len(placed) - len(missing),
        "interrupted": code != 0,
        "seconds": clock.perf_counter() - start,
    }
    if code:
        left = len(missing) - done
        click.echo(f"interrupted: {left} of {len(placed)} images are missing; the same command goes on", err=True)
        return summary, code
    with leaving(f"{folder} has its images but not yet their cameras; the same command goes on"):
        summary["aabb_scale"] = aabb_scale_for(renderer, sets["train"], around)
        kept = ("scene", "cameras", "spp", "seed", "color")
        writer.finish(around, summary["aabb_scale"], {key: summary[key] for key in kept} | {"scene": scene.name})
    summary["seconds"] = clock.perf_counter() - start
    if not quiet:
        click.echo(
            f"{folder}: {len(placed)} images in {summary['seconds']:.1f} s, aabb_scale {summary['aabb_scale']}; "
            f"go on with: nrc-tracer fit nerf {folder}",
            err=True,
        )
    return summary, 0


def _as_box(numbers: tuple[float, ...]) -> Box:
    import numpy as np

    from nrc_tracer.tasks.nerf.shooting import Box

    return Box(np.array(numbers[:3]), np.array(numbers[3:]))


def _place(
    scene: Scene, around: Box, shooting: Shooting, count: int, compute: dict[str, Any]
) -> tuple[str, list[PhotoCamera]]:
    """Choose the cameras, with a renderer of small views that is gone afterwards."""
    from nrc_tracer.scene.cameras import choose_camera
    from nrc_tracer.tasks.nerf.shooting import PROBE_SIZE, Probe, place_cameras
    from nrc_tracer.tracer import Renderer

    probe = Probe(Renderer(scene, width=PROBE_SIZE, height=PROBE_SIZE, seed=shooting.seed, **compute), around)
    return place_cameras(probe, choose_camera(scene.description), shooting, count)


def _render(writer: DatasetWriter, missing: list[tuple[str, int]], quiet: bool) -> tuple[int, int]:
    """Render the missing views; return how many were written, and the exit code."""
    from nrc_tracer.tracer import run

    def takes(renderer: Renderer, spp: int) -> bool:
        return run(renderer, spp=spp, stop=terminated)

    bar = Bar("{task.completed:.0f}/{task.total:.0f} images", total=len(missing), quiet=quiet)
    done, last_line, start = 0, clock.perf_counter(), clock.perf_counter()
    with noted_termination() as terminated, deferred_interrupt() as interrupted, bar:
        try:
            for split, number in missing:
                if terminated() or interrupted() or not writer.render(split, number, takes):
                    break
                done += 1
                bar.show(done)
                if not quiet and not bar.shown and clock.perf_counter() - last_line > 10.0:
                    last_line = clock.perf_counter()
                    left = (last_line - start) / done * (len(missing) - done)
                    click.echo(f"{done}/{len(missing)} images, {left:.0f} s left", err=True)
        except KeyboardInterrupt:  # a second one: not even the pass is to be finished
            pass
        code = 0 if done == len(missing) else TERMINATED if terminated() else 130
    return done, code
