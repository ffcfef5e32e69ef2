"""`nrc-tracer fit nerf`."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.command import command, gathered, option, under
from nrc_tracer.cli.fitting import Fit, FitOptions, batch_option, fit_options, run_fit
from nrc_tracer.cli.options import DATA, PATH, TRAINING
from nrc_tracer.cli.outputs import Warnings
from nrc_tracer.cli.values import POSITIVE, SECONDS, FiniteRange

if TYPE_CHECKING:
    from nrc_tracer.tasks.nerf.fit import NerfTask

PREVIEW_SIDE = 400
"""Longer side of a preview in pixels."""
COLMAP_FOLDERS = ("sparse", "dense", "colmap", "images", "text", "undistorted")
"""Folders with COLMAP's results that say nothing about what is photographed."""
LISTED = 5
"""Number of missing files that a warning names."""
FEW_PIXELS_TIME = 10.0
"""Longest time in which a few pixels are scored where no whole photograph could be [s]."""


@dataclass(frozen=True)
class PhotographOptions:
    """The options of `nrc-tracer fit nerf`, except those that all tasks share."""

    path: Path
    images: Path | None
    aabb_scale: float | None
    scene_scale: float | None
    near: float | None
    background: str
    evaluate: str
    evaluate_time: float | None
    batch: int | None
    refine_poses: bool
    refine_exposure: bool


@command(
    short_help="Fit a radiance field to photographs with known cameras.",
    examples=(
        "nrc-tracer fit nerf room --time 300",
        "nrc-tracer fit nerf data/fox --steps 2000 --refine-poses --preview now.png",
        "nrc-tracer decode nerf room.safetensors -o view.png --view 1 --scale 2",
    ),
)
@gathered(
    "photographs",
    PhotographOptions,
    click.argument("path", metavar="DATA", type=PATH),
    under(
        DATA,
        option(
            "--images",
            type=PATH,
            metavar="FOLDER",
            help="Folder of the photographs, for example of smaller copies. Default: the folder that the data name.",
        ),
        option(
            "--aabb-scale",
            type=FiniteRange(0, 128, min_open=True),
            help="Side of the cube that holds the scene, in unit cubes. Default: that of the data.",
        ),
        option(
            "--scene-scale",
            type=POSITIVE,
            old={"--scale": "{}"},
            help="Unit cubes per unit of length of the data. Default: that of the data.",
        ),
        option(
            "--near",
            type=FiniteRange(0),
            help="Distance from a camera at which its rays begin, in unit cubes. Default: 0.1.",
        ),
        option(
            "--background",
            type=click.Choice(["random", "black"]),
            default="random",
            show_default=True,
            help="What lies behind the scene while training: a random colour for each ray, or black, for opaque photographs that "
            "were taken in front of black.",
        ),
        option(
            "--evaluate",
            type=click.Choice(["full", "quick"]),
            default="full",
            show_default=True,
            help="Score all pixels of the held-out photographs at the end, or every 16th in x and y as while training.",
        ),
    ),
    under(
        DATA,
        option(
            "--evaluate-time",
            type=SECONDS,
            metavar="SECONDS",
            help="Longest time of scoring at the end: held-out photographs that do not fit into it are left out.",
        ),
    ),
    batch_option("about 2^18 on CUDA, about 2^14 on the CPU, of which only those that matter are counted"),
    under(
        TRAINING,
        option("--refine-poses", is_flag=True, help="Correct the cameras while training."),
        option("--refine-exposure", is_flag=True, help="Correct the exposures of opaque photographs while training."),
    ),
)
@fit_options
def nerf(photographs: PhotographOptions, options: FitOptions) -> None:
    """Learn a radiance field from the photographs of DATA.

    DATA is a transforms.json (of instant-ngp, nerfstudio or Blender), a folder with one, or a COLMAP model with its images.
    Scores are measured on held-out photographs, in sRGB: on the test views of the data if there are any, else on every eighth.
    Transparent images are compared over black and over white.
    """
    from nrc_tracer.tasks.nerf.fit import NEAR, STEPS, NerfOptions, NerfTask
    from nrc_tracer.tasks.nerf.reading import read_views

    path = photographs.path
    views = read_views(
        path, aabb_scale=photographs.aabb_scale, scale=photographs.scene_scale, images=photographs.images
    )
    task = NerfTask(
        views,
        options.config,
        options=NerfOptions(
            near=NEAR if photographs.near is None else photographs.near,
            batch=photographs.batch,
            background=photographs.background,
            refine_poses=photographs.refine_poses,
            refine_exposure=photographs.refine_exposure,
        ),
        device=options.compute.device,
        threads=options.compute.threads,
        seed=options.seed,
    )
    warn = Warnings()
    _warn(task, warn)
    quick = photographs.evaluate == "quick"
    run_fit(
        Fit(
            task,
            name=default_name(path),
            data_line=_data_line(task, path),
            default_steps=STEPS[task.launcher.torch_device.type],
            evaluate=lambda watch: _evaluate(task, watch, quick=quick, longest=photographs.evaluate_time),
            describe=_describe,
            preview=lambda file: _write_preview(task, file),
            facts=_facts(task, quick=quick),
            warnings=warn,
            shorter_evaluation="--evaluate-time or --evaluate quick makes it shorter, Ctrl-C ends it",
        ),
        options,
    )


def default_name(path: Path) -> str:
    """Name of a set of photographs: that of its folder, even where the path is that of its `transforms.json`.

    Folders in which COLMAP numbers its results do not count.
    """
    path = path.resolve()
    if path.suffix.lower() == ".json" and path.stem.lower().startswith("transforms"):
        path = path.parent
    while path.name in COLMAP_FOLDERS or path.name.isdecimal():
        path = path.parent
    return path.stem or "nerf"


def _evaluate(task: NerfTask, watch: Callable[[float], bool], *, quick: bool, longest: float | None) -> dict[str, Any]:
    """Scores on the held-out photographs; with those of each photograph unless `quick`.

    Args:
        task: The task.
        watch: Called with the fraction done; ends the evaluation by returning True.
        quick: Score every 16th pixel in x and y.
        longest: Longest time in seconds, if it is limited.
    """
    from nrc_tracer.tasks.nerf import evaluation

    start = clock.perf_counter()

    def ends(fraction: float) -> bool:
        return watch(fraction) or (longest is not None and clock.perf_counter() - start > longest)

    found = task.evaluation.sampled(ends) if quick else task.evaluation.full(ends)
    of_few_pixels = quick or not found
    if not found and not quick:
        start_of_few = clock.perf_counter()
        found = task.evaluation.sampled(lambda _: clock.perf_counter() - start_of_few > FEW_PIXELS_TIME)
    scores: dict[str, Any] = dict(evaluation.summary(found))
    if len(found) < len(task.views.test):
        scores["evaluated_views"] = len(found)
    if not of_few_pixels:
        scores["views"] = [{"name": score.name, "psnr": score.psnr, "ssim": score.ssim} for score in found]
    elif not quick and task.views.test:
        scores["evaluated_pixels"] = evaluation.QUICK_WORDS
    return scores


def _data_line(task: NerfTask, path: Path) -> str:
    """Describe the photographs and where the scene lies."""
    views = task.views
    lines = [
        f"{path}: {len(views.train)} training photographs, {len(views.test)} held out ({views.split}), "
        f"{task.table.count:,} pixels",
        *(f"note: {note}" for note in views.notes),
        f"scene in a cube of side {views.aabb_scale}, scale {views.scale:.4g}, near {task.options.near:g}, batches of about "
        f"{task.batch:,} samples",
    ]
    return "\n".join(lines)


def _warn(task: NerfTask, warn: Warnings) -> None:
    """Warn of photographs that are missing, and of a scene that no camera sees."""
    missing = task.views.missing
    if missing:
        more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
        warn(
            f"{len(missing)} images that the data name do not exist and were left out: {', '.join(missing[:LISTED])}{more}"
        )
    if not task.volume.grid.open_cells:
        warn("no camera sees any part of the scene's cube; give another --aabb-scale or --scene-scale")


def _describe(scores: dict[str, Any]) -> str:
    """Put the scores into words."""
    if scores.get("evaluated_views") == 0:
        return "no held-out view could be scored in the time"
    if not any(key.startswith("psnr") for key in scores):
        return "no pixel was held out, so there is no score"
    units = {"psnr": " dB", "ssim": ""}
    parts = []
    for key, value in scores.items():
        figure, _, background = key.partition("_")
        if figure in units:
            over = f" over {background}" if background else ""
            parts.append(f"{figure.upper()} {value:.{2 if units[figure] else 4}f}{units[figure]}{over}")
    count = scores.get("evaluated_views")
    views = "held-out views" if count is None else f"the first {count} of the held-out views"
    pixels = f", {scores['evaluated_pixels']}" if "evaluated_pixels" in scores else ""
    return f"{', '.join(parts)} on {views}{pixels}"


def _facts(task: NerfTask, *, quick: bool) -> dict[str, Any]:
    """Facts about a fit of photographs, for the summary."""
    from nrc_tracer.tasks.nerf.evaluation import QUICK_WORDS

    views = task.views
    return {
        "train_views": len(views.train),
        "test_views": len(views.test),
        "split": views.split,
        "missing": list(views.missing),
        "aabb_scale": views.aabb_scale,
        "scale": views.scale,
        "offset": list(views.offset),
        "near": task.options.near,
        "batch": task.batch,
        "background": task.options.background,
        "refine_poses": task.options.refine_poses,
        "refine_exposure": task.options.refine_exposure,
        "space": "srgb",
        "backgrounds": list(task.evaluation.backgrounds),
        "evaluated_pixels": QUICK_WORDS if quick else "all",
        "notes": list(views.notes),
    }


def _write_preview(task: NerfTask, file: Path) -> None:
    """Write the view of the first held-out photograph, or of the first one if none is held out, over black."""
    from nrc_tracer.imaging import write_image
    from nrc_tracer.imaging.tonemap import decode_srgb
    from nrc_tracer.tasks.nerf.rays import rays_of

    camera = (task.views.test or task.views.train)[0].camera
    longest = max(camera.width, camera.height)
    camera = camera.scaled(min(1.0, PREVIEW_SIDE / longest))
    rays = rays_of(camera, task.views.scale, task.views.offset, task.launcher)
    seen = task.volume.render(rays.origins, rays.directions)
    color = seen.color.clamp(0.0, 1.0).cpu().numpy().reshape(camera.height, camera.width, 3)
    write_image(file, decode_srgb(color))
