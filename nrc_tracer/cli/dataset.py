"""`nrc-tracer dataset`."""

from __future__ import annotations

import math
import time as clock
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.cluster import ClusterOptions, cluster_options
from nrc_tracer.cli.command import command, gathered, option, under
from nrc_tracer.cli.dataset_views import here, on_cluster, write_views
from nrc_tracer.cli.options import (
    CAMERA,
    OUTPUT,
    PATH,
    QUALITY,
    SCENE_FORMATS,
    Messages,
    SceneOptions,
    TracerOptions,
    denoise_option,
    exposure_option,
    message_options,
    scene_argument,
    scene_options,
    spp_option,
    tracer_options,
)
from nrc_tracer.cli.outputs import Warnings, leaving, run_reporting
from nrc_tracer.cli.progress import announced
from nrc_tracer.cli.values import COUNT, PIXELS, SMALL_SEED, FiniteRange

if TYPE_CHECKING:
    from nrc_tracer.scene.model import Scene
    from nrc_tracer.tasks.nerf.camera import PhotoCamera
    from nrc_tracer.tasks.nerf.shooting import Box, Kind
    from nrc_tracer.tracer import Renderer


@dataclass(frozen=True)
class Counts:
    """Numbers of training, test and validation views."""

    train: int
    test: int
    val: int

    @property
    def total(self) -> int:
        """Number of all views."""
        return self.train + self.test + self.val


@dataclass(frozen=True)
class CameraOptions:
    """Where views are taken from.

    Attributes:
        cameras: `orbit` or `inside`; None to find out.
        fov: Degrees across the shorter side of a view; None for the default.
        elevation: Lowest and highest angle of cameras around the scene, in degrees above its middle.
        box: Lower and upper corner of what is photographed; None for the box around all shapes but ground and sky.
    """

    cameras: Kind | None
    fov: float | None
    elevation: tuple[float, float]
    box: tuple[float, ...] | None


@dataclass(frozen=True)
class DatasetOptions:
    """All options of `nrc-tracer dataset`."""

    scene: Path
    folder: Path
    counts: Counts
    width: int
    height: int
    camera: CameraOptions
    spp: int | None
    exposure: float
    denoise: bool
    transparent: bool | None
    seed: int
    loading: SceneOptions
    tracing: TracerOptions
    cluster: ClusterOptions
    messages: Messages


def _check_box(
    ctx: click.Context, parameter: click.Parameter, value: tuple[float, ...] | None
) -> tuple[float, ...] | None:
    if value is not None:
        if not all(math.isfinite(number) for number in value):
            raise click.BadParameter("must be six finite numbers.")
        if any(low >= high for low, high in zip(value[:3], value[3:], strict=True)):
            raise click.BadParameter("the first three numbers must lie below the last three.")
    return value


def _check_elevation(ctx: click.Context, parameter: click.Parameter, value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] <= value[1]:
        raise click.BadParameter("the first angle must not be above the second.")
    return value


@command(
    short_help="Render a scene into photographs with known cameras, for fit nerf.",
    help=f"""Render SCENE ({SCENE_FORMATS}) from many cameras into a data set for `nrc-tracer fit nerf`.

    The folder gets PNG images and transforms_train.json, transforms_val.json and transforms_test.json, in the format of NeRF's
    Blender data sets. Images are in sRGB: linear radiance times 2^exposure, clipped at 1. The files also hold the position and
    size of the scene (scale, offset, aabb_scale). After Ctrl-C, the same command continues: complete images with the same
    settings are kept.
    """,
    examples=(
        "nrc-tracer dataset scenes/window-room.json -o room --views 100 --spp 64 --denoise",
        "nrc-tracer dataset model.glb -o model --cameras orbit --elevation-range 10 60 --transparent",
        "nrc-tracer dataset scenes/window-room.json -o room --views 1000 --spp 256 --cluster auto",
    ),
)
@scene_argument
@under(
    OUTPUT,
    option("-o", "--output", "folder", required=True, metavar="DIR", type=PATH, help="Folder to write to."),
    option("--width", type=PIXELS, default=200, show_default=True, help="Width in pixels."),
    option("--height", type=PIXELS, default=200, show_default=True, help="Height in pixels."),
    exposure_option("all images"),
    option(
        "--transparent/--opaque",
        default=None,
        help="Whether pixels without a surface are transparent or show the environment. Default: transparent if the cameras are "
        "around the scene.",
    ),
    denoise_option,
)
@gathered(
    "counts",
    Counts,
    under(
        "Views",
        option("--views", "train", type=COUNT, default=100, show_default=True, help="Number of training views."),
        option(
            "--test",
            type=click.IntRange(0, 100_000),
            default=20,
            show_default=True,
            help="Number of test views.",
        ),
        option(
            "--val",
            type=click.IntRange(0, 100_000),
            default=0,
            show_default=True,
            help="Number of validation views.",
        ),
    ),
)
@gathered(
    "camera",
    CameraOptions,
    under(
        CAMERA,
        option(
            "--cameras",
            type=click.Choice(["orbit", "inside"]),
            help="Whether cameras are around the scene or inside it. Default: inside if the scene's own camera is, and in rooms.",
        ),
        option(
            "--fov",
            type=FiniteRange(1.0, 170.0),
            metavar="DEGREES",
            help="Field of view across the shorter side. Default: 40 around a scene, that of the scene's camera inside.",
        ),
        option(
            "--elevation-range",
            "elevation",
            nargs=2,
            type=click.FloatRange(-90.0, 90.0),
            default=(5.0, 80.0),
            show_default=True,
            callback=_check_elevation,
            metavar="MIN MAX",
            old={"--elevation": "{}"},
            help="Lowest and highest angle of cameras around a scene, in degrees above its middle.",
        ),
        option(
            "--box",
            nargs=6,
            type=float,
            callback=_check_box,
            metavar="X0 Y0 Z0 X1 Y1 Z1",
            help="What is photographed: two corners of a box. Default: the box around all shapes but ground and sky.",
        ),
    ),
)
@under(
    QUALITY,
    spp_option("the scene's. Noise in test images limits the PSNR that can be measured: see --denoise"),
    option("--seed", type=SMALL_SEED, default=0, show_default=True, help="Seed of the random numbers."),
)
@scene_options
@tracer_options
@cluster_options("Render the views")
@message_options()
def dataset(**options: Any) -> None:
    asked = DatasetOptions(**options)
    run_reporting(lambda: _dataset(asked), as_json=asked.messages.as_json)


def _dataset(options: DatasetOptions) -> tuple[dict[str, Any], int]:
    """Render and write; return the summary and the exit code."""
    from nrc_tracer.imaging import check_denoiser

    options.cluster.check()
    if options.denoise:
        check_denoiser()
    start, quiet = clock.perf_counter(), options.messages.quiet
    scene = options.loading.load(options.scene)
    Warnings().of_scene(scene)

    from nrc_tracer.tasks.nerf.shooting import subject_box
    from nrc_tracer.tasks.nerf.synthetic import DatasetWriter, ImageSettings, ViewRenderer, aabb_scale_for
    from nrc_tracer.tracer.scene_digests import scene_digests

    counts, box = options.counts, options.camera.box
    around = subject_box(scene) if box is None else _as_box(box)
    kind, placed = _place(scene, around, options)
    sets = {
        "train": placed[: counts.train],
        "val": placed[counts.train : counts.train + counts.val],
        "test": placed[counts.train + counts.val :],
    }
    transparent = kind == "orbit" if options.transparent is None else options.transparent
    spp = options.spp or scene.description.sampler.spp
    picture = ImageSettings(spp, options.seed, options.exposure, options.denoise, transparent)
    film = (options.width, options.height)
    writer = DatasetWriter(options.folder, sets, picture, film, {"scene": scene_digests(scene)})
    missing = writer.missing()
    if not quiet:
        views = f"{counts.train} training, {counts.val} validation and {counts.test} test views"
        size = f"{options.width} x {options.height} pixels"
        click.echo(f"{options.scene.name}: {views} of {size}, {spp} spp, cameras {kind}", err=True)
        if len(missing) < len(placed):
            click.echo(f"{options.folder}: {len(placed) - len(missing)} images exist already", err=True)

    if options.cluster.cluster is None:
        plain = ViewRenderer(picture, lambda described: _renderer(described, *film, options), scene)
        renderer, work = plain.renderer, here(plain, missing)
    else:
        from nrc_tracer.cluster.views import ViewsJob

        renderer = _renderer(scene, *film, options)
        work = on_cluster(options.cluster.chosen(options.tracing), ViewsJob(scene, *film, picture, missing), renderer)
    done, code = write_views(writer, missing, work, quiet=quiet)
    summary: dict[str, Any] = {
        "scene": str(options.scene),
        "output": str(options.folder),
        "cameras": kind,
        "views": {split: len(chosen) for split, chosen in sets.items()},
        "width": options.width,
        "height": options.height,
        "spp": spp,
        "seed": options.seed,
        "color": f"sRGB of linear radiance times 2^{options.exposure:g}, clipped at 1",
        "alpha": transparent,
        "rendered": done,
        "kept": len(placed) - len(missing),
        "interrupted": code != 0,
        "seconds": clock.perf_counter() - start,
    }
    if code:
        left = len(missing) - done
        click.echo(f"interrupted: {left} of {len(placed)} images are missing; the same command continues", err=True)
        return summary, code
    with leaving(f"{options.folder} has its images but not yet their cameras; the same command continues"):
        summary["aabb_scale"] = aabb_scale_for(renderer, sets["train"], around)
        kept = ("scene", "cameras", "spp", "seed", "color")
        source = {key: summary[key] for key in kept} | {"scene": options.scene.name}
        writer.finish(around, summary["aabb_scale"], source)
    summary["seconds"] = clock.perf_counter() - start
    if not quiet:
        click.echo(
            f"{options.folder}: {len(placed)} images in {summary['seconds']:.1f} s, aabb_scale {summary['aabb_scale']}; "
            f"next: nrc-tracer fit nerf {options.folder}",
            err=True,
        )
    return summary, 0


def _as_box(numbers: tuple[float, ...]) -> Box:
    import numpy as np

    from nrc_tracer.tasks.nerf.shooting import Box

    return Box(np.array(numbers[:3]), np.array(numbers[3:]))


def _renderer(scene: Scene, width: int, height: int, options: DatasetOptions, *, seed: int = 0) -> Renderer:
    from nrc_tracer.tracer import Renderer

    tracing = options.tracing
    return Renderer(
        scene,
        width=width,
        height=height,
        seed=seed,
        device=tracing.device,
        threads=tracing.threads,
        accel=tracing.accel,
    )


def _place(scene: Scene, around: Box, options: DatasetOptions) -> tuple[str, list[PhotoCamera]]:
    """Choose the cameras, with a renderer of small views that is dropped afterwards."""
    from nrc_tracer.scene.cameras import choose_camera
    from nrc_tracer.tasks.nerf.shooting import PROBE_SIZE, Probe, Shooting, place_cameras

    camera = options.camera
    shooting = Shooting(camera.cameras, options.width, options.height, camera.fov, camera.elevation, options.seed)
    with announced("looking for places to take photographs from ...", quiet=options.messages.quiet):
        probe = Probe(_renderer(scene, PROBE_SIZE, PROBE_SIZE, options, seed=options.seed), around)
        return place_cameras(probe, choose_camera(scene.description), shooting, options.counts.total)
