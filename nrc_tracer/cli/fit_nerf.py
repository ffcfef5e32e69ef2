"""`nrc-tracer fit nerf`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.fitting import FitOptions, fit_options, run_fit
from nrc_tracer.cli.parameters import finite

if TYPE_CHECKING:
    from nrc_tracer.tasks.nerf.fit import NerfTask

PREVIEW_SIDE = 400
"""Pixels along the longer side of a preview."""
LISTED = 5
"""Files that are missing of which so many are named."""


@click.command(short_help="Fit a radiance field to photographs with known cameras.")
@click.argument("path", metavar="DATA", type=click.Path(path_type=Path))
@click.option(
    "--aabb-scale",
    type=click.FloatRange(0, 128, min_open=True),
    callback=finite,
    help="Side of the cube that holds the scene, in unit cubes. Default: what the data say.",
)
@click.option(
    "--scale",
    type=click.FloatRange(0, min_open=True),
    callback=finite,
    help="From the data's units to unit cubes. Default: what the data say.",
)
@click.option(
    "--near",
    type=click.FloatRange(0),
    callback=finite,
    help="Distance from a camera at which it begins to see, in unit cubes. Default: 0.1.",
)
@click.option(
    "--batch",
    type=click.IntRange(64, 2**24),
    help="Samples a step that are seen, about. Default: 2^18 on CUDA, else 2^14.",
)
@click.option(
    "--background",
    type=click.Choice(["random", "black"]),
    default="random",
    show_default=True,
    help="What training lays behind the scene: a random colour for each ray, or black, for opaque photographs of things before "
    "black.",
)
@click.option("--refine-poses", is_flag=True, help="Correct the cameras while training.")
@click.option("--refine-exposure", is_flag=True, help="Correct the exposures of opaque photographs while training.")
@click.option(
    "--evaluate",
    type=click.Choice(["full", "quick"]),
    default="full",
    show_default=True,
    help="At the end compare all pixels of the held-out views, or every 16th in x and y as while training.",
)
@fit_options
def nerf(
    path: Path,
    aabb_scale: float | None,
    scale: float | None,
    near: float | None,
    batch: int | None,
    background: str,
    refine_poses: bool,
    refine_exposure: bool,
    evaluate: str,
    options: FitOptions,
) -> None:
    """Learn a radiance field from the photographs of DATA.

    DATA is a transforms.json (of instant-ngp, nerfstudio or Blender), a folder with one, or a COLMAP model with its images.
    Scores are taken on held-out photographs, in sRGB: the data's own test views where they have some, else every eighth.
    Transparent images are compared over black and over white.
    """
    from nrc_tracer.tasks.nerf import evaluation
    from nrc_tracer.tasks.nerf.fit import NEAR, STEPS, NerfOptions, NerfTask
    from nrc_tracer.tasks.nerf.reading import read_views

    views = read_views(path, aabb_scale=aabb_scale, scale=scale)
    task = NerfTask(
        views,
        options.config,
        options=NerfOptions(
            near=NEAR if near is None else near,
            batch=batch,
            background=background,
            refine_poses=refine_poses,
            refine_exposure=refine_exposure,
        ),
        device=options.device,
        threads=options.threads,
        seed=options.seed,
    )

    def scores() -> dict[str, Any]:
        if evaluate == "quick" or not views.test:
            return task.score()
        found = task.evaluation.full()
        return evaluation.summary(found) | {
            "views": [{"name": score.name, "psnr": score.psnr, "ssim": score.ssim} for score in found]
        }

    def preview(file: Path) -> None:
        _write_preview(task, file)

    run_fit(
        task,
        options,
        name=path.resolve().stem or "nerf",
        data_line=_words(task, path),
        default_steps=STEPS[task.launcher.torch_device.type],
        evaluate=scores,
        describe=_describe,
        preview=preview,
        facts=_facts(task, evaluate),
        warnings=_warnings(task),
    )


def _words(task: NerfTask, path: Path) -> str:
    views = task.views
    lines = [
        f"{path}: {len(views.train)} photographs to learn from, {len(views.test)} held out ({views.split}), "
        f"{task.table.count:,} pixels",
        *(f"note: {note}" for note in views.notes),
        f"scene in a cube of side {views.aabb_scale}, scale {views.scale:.4g}, near {task.options.near:g}, batches of about "
        f"{task.batch:,} samples",
    ]
    return "\n".join(lines)


def _warnings(task: NerfTask) -> list[str]:
    found = []
    missing = task.views.missing
    if missing:
        more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
        found.append(f"{len(missing)} images that the data name do not exist: {', '.join(missing[:LISTED])}{more}")
    if not task.volume.grid.open_cells:
        found.append("no camera sees anything of the scene's cube; give another --aabb-scale or --scale")
    return found


def _describe(scores: dict[str, Any]) -> str:
    if not any(key.startswith("psnr") for key in scores):
        return "no pixel was held out, so there is no score"
    units = {"psnr": " dB", "ssim": ""}
    parts = []
    for key, value in scores.items():
        figure, _, background = key.partition("_")
        if figure in units:
            over = f" over {background}" if background else ""
            parts.append(f"{figure.upper()} {value:.{2 if units[figure] else 4}f}{units[figure]}{over}")
    return f"{', '.join(parts)} on held-out views"


def _facts(task: NerfTask, evaluate: str) -> dict[str, Any]:
    from nrc_tracer.tasks.nerf.evaluation import QUICK_STEP

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
        "evaluated_pixels": "all" if evaluate == "full" else f"every {QUICK_STEP}th in x and y",
        "notes": list(views.notes),
    }


def _write_preview(task: NerfTask, file: Path) -> None:
    """Write the first held-out view, or the first of all, over black."""
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
