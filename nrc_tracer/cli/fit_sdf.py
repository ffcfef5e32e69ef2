"""`nrc-tracer fit sdf`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.fitting import FitOptions, fit_options, run_fit

if TYPE_CHECKING:
    from nrc_tracer.tasks.sdf.fit import SdfTask

PREVIEW_SIZE = 320


@click.command(short_help="Fit the signed distance of a mesh.")
@click.argument("mesh", metavar="MESH", type=click.Path(path_type=Path))
@click.option(
    "--sign",
    type=click.Choice(["auto", "normal", "parity", "winding"]),
    default="auto",
    show_default=True,
    help="How inside is told from outside: by the pseudonormal at the nearest point, the parity of the crossings of rays, the "
    "winding number, or whichever suits the mesh.",
)
@click.option(
    "--batch", type=click.IntRange(64, 2**24), help="Samples a step. Default: 16384 on the CPU, 262144 on a GPU."
)
@click.option(
    "--mesh-resolution",
    type=click.IntRange(8, 4096),
    default=256,
    show_default=True,
    help="Of the extracted mesh whose distance from MESH is measured at the end.",
)
@fit_options
def sdf(mesh: Path, sign: str, batch: int | None, mesh_resolution: int, options: FitOptions) -> None:
    """Learn the signed distance to the surface of MESH (.obj, .ply, .stl, .glb, .gltf), negative inside.

    Half of the samples are on the surface, most others near it. How inside is told from outside depends on what the mesh is like,
    and is printed. Scores are taken at points that are not trained on: intersection over union of what is inside and mean
    absolute error of the distance, in the mesh's bounding box and in a band about the surface, in units of the cube into which
    the mesh is scaled; and the distance of an extracted mesh from MESH.
    """
    from nrc_tracer.errors import DataError
    from nrc_tracer.imaging import write_image
    from nrc_tracer.tasks.sdf.fit import STEPS, SdfTask
    from nrc_tracer.tasks.sdf.mesh import load_unit_mesh

    surface = load_unit_mesh(mesh)
    task = SdfTask(
        surface,
        config=options.config,
        batch=batch,
        sign=sign,
        device=options.device,
        threads=options.threads,
        seed=options.seed,
    )

    warnings = _warnings(task)

    def evaluate() -> dict[str, Any]:
        scores: dict[str, Any] = task.evaluate()
        try:
            scores |= task.evaluate_surface(mesh_resolution)
        except DataError as error:
            warnings.append(f"no scores of the extracted mesh: {error}")
            click.echo(f"warning: {warnings[-1]}", err=True)
        return scores

    def preview(path: Path) -> None:
        from nrc_tracer.tasks.sdf.rendering import render

        write_image(path, render(task.shape, width=PREVIEW_SIZE, height=PREVIEW_SIZE, samples=1))

    run_fit(
        task,
        options,
        name=mesh.stem,
        data_line=f"{surface.name}: {len(surface.indices):,} triangles, {task.choice.soundness.words()}\n"
        f"{task.choice.words()}",
        default_steps=STEPS,
        evaluate=evaluate,
        describe=_words,
        preview=preview,
        facts=_facts(task, mesh_resolution),
        warnings=warnings,
    )


def _words(scores: dict[str, Any]) -> str:
    """The scores in a line."""
    words = (
        f"IoU {scores['iou']:.5f} in the bounding box, {scores['band_iou']:.5f} in the band; mean absolute error "
        f"{scores['mae']:.2e} and {scores['band_mae']:.2e} of the cube"
    )
    if "chamfer" in scores:
        words += f"; extracted mesh: chamfer distance {scores['chamfer']:.2e}"
        words += f", normals off by {scores['normal_error']:.1f} degrees"
    return words


def _facts(task: SdfTask, mesh_resolution: int) -> dict[str, Any]:
    return {
        "mesh": task.mesh.name,
        "triangles": len(task.mesh.indices),
        "center": task.mesh.center.tolist(),
        "scale": task.mesh.scale,
        "sign": task.choice.document(),
        "batch": task.batch,
        "held_out_points": task.held_out_points,
        "mesh_resolution": mesh_resolution,
    }


def _warnings(task: SdfTask) -> list[str]:
    soundness = task.choice.soundness
    if soundness.closed or soundness.consistent:
        return []
    return [
        f"{task.mesh.name}: has holes, and {soundness.inconsistent_edges:,} pairs of neighbours that face different ways, so "
        "inside is uncertain near them; repair the mesh"
    ]
