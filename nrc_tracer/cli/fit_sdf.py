"""`nrc-tracer fit sdf`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nrc_tracer.cli.command import command, option, under
from nrc_tracer.cli.fitting import Fit, FitOptions, batch_option, fit_options, run_fit
from nrc_tracer.cli.options import DATA, MESH, PATH, mesh_resolution_option
from nrc_tracer.cli.outputs import Warnings

if TYPE_CHECKING:
    from nrc_tracer.tasks.sdf.fit import SdfTask

PREVIEW_SIZE = 320
"""Width and height of a preview in pixels."""


@command(
    short_help="Fit the signed distance to a mesh.",
    examples=(
        "nrc-tracer fit sdf scenes/meshes/knot.ply --time 60",
        "nrc-tracer fit sdf model.glb --steps 2000 --preview now.png",
        "nrc-tracer decode sdf knot.safetensors -o knot.glb --mesh-resolution 256",
    ),
)
@click.argument("mesh", metavar="MESH", type=PATH)
@under(
    DATA,
    option(
        "--sign",
        type=click.Choice(["auto", "normal", "parity", "winding"]),
        default="auto",
        show_default=True,
        help="How inside and outside are told apart: by the pseudonormal at the nearest point, by the parity of the crossings of "
        "rays, by the winding number, or by what suits the mesh.",
    ),
)
@batch_option("16384 on the CPU, 262144 on a GPU")
@under(MESH, mesh_resolution_option("the mesh that is extracted and compared with MESH at the end"))
@fit_options
def sdf(mesh: Path, sign: str, batch: int | None, mesh_resolution: int, options: FitOptions) -> None:
    """Learn the signed distance to the surface of MESH (.obj, .ply, .stl, glTF .gltf or .glb), negative inside.

    Half of the samples are on the surface, most others near it. How inside and outside are told apart depends on the mesh, and is
    printed. Scores are measured at points that are not trained on: the intersection over union of the inside, and the mean
    absolute error of the distance, in the mesh's bounding box and in a band around the surface, in units of the cube into which
    the mesh is scaled; and the distance between an extracted mesh and MESH.
    """
    from nrc_tracer.imaging import write_image
    from nrc_tracer.tasks.sdf.fit import STEPS, SdfTask
    from nrc_tracer.tasks.sdf.mesh import load_unit_mesh

    surface = load_unit_mesh(mesh)
    task = SdfTask(
        surface,
        config=options.config,
        batch=batch,
        sign=sign,
        device=options.compute.device,
        threads=options.compute.threads,
        seed=options.seed,
    )
    warn = Warnings()
    _warn_of_holes(task, warn)

    def preview(path: Path) -> None:
        from nrc_tracer.tasks.sdf.rendering import render

        write_image(path, render(task.shape, width=PREVIEW_SIZE, height=PREVIEW_SIZE, samples=1))

    run_fit(
        Fit(
            task,
            name=mesh.stem,
            data_line=f"{surface.name}: {len(surface.indices):,} triangles, {task.choice.soundness.words()}\n"
            f"{task.choice.words()}",
            default_steps=STEPS,
            evaluate=lambda _: _evaluate(task, mesh_resolution, warn),
            describe=_describe,
            preview=preview,
            facts=_facts(task, mesh_resolution),
            warnings=warn,
        ),
        options,
    )


def _evaluate(task: SdfTask, mesh_resolution: int, warn: Warnings) -> dict[str, Any]:
    """Scores of the distance, and of an extracted mesh if there is one."""
    from nrc_tracer.errors import DataError

    scores: dict[str, Any] = dict(task.evaluate())
    try:
        scores |= task.evaluate_surface(mesh_resolution)
    except DataError as error:
        warn(f"no scores of the extracted mesh: {error}")
    return scores


def _describe(scores: dict[str, Any]) -> str:
    """Put the scores into words."""
    words = (
        f"IoU {scores['iou']:.5f} in the bounding box, {scores['band_iou']:.5f} in the band; mean absolute error "
        f"{scores['mae']:.2e} and {scores['band_mae']:.2e} of the cube"
    )
    if "chamfer" in scores:
        words += f"; extracted mesh: chamfer distance {scores['chamfer']:.2e}"
        words += f", normals off by {scores['normal_error']:.1f} degrees"
    return words


def _facts(task: SdfTask, mesh_resolution: int) -> dict[str, Any]:
    """Facts about a fit of a shape, for the summary."""
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


def _warn_of_holes(task: SdfTask, warn: Warnings) -> None:
    """Warn of a mesh whose inside is uncertain near its holes."""
    soundness = task.choice.soundness
    if not (soundness.closed or soundness.consistent):
        warn(
            f"{task.mesh.name}: has holes, and {soundness.inconsistent_edges:,} pairs of neighbouring triangles that face "
            "different ways, so inside is uncertain near them; repair the mesh"
        )
