"""Fit a network to the signed distance of a mesh, evaluate distances, and write its surface and a picture.

    python scenes/examples/fit_and_query_sdf.py [OUTPUT_FOLDER]

This needs the extra `tasks`: pip install '.[tasks]'.
"""

import sys
from pathlib import Path

import nrc_tracer as nrc

MESH = Path(__file__).resolve().parent.parent / "meshes" / "knot.ply"


def main(
    folder: Path, *, seconds: float | None = 20.0, steps: int | None = None, resolution: int = 128, width: int = 400
) -> nrc.tasks.Fit:
    """Fit the knot for a time, or for a number of steps; return the fit."""
    fit = nrc.tasks.fit_sdf(MESH, seconds=seconds, steps=steps)
    print(f"{fit.steps} steps in {fit.seconds:.1f} s: {fit.scores}")
    distances = fit.model.signed_distance([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]])  # in the mesh's units, negative inside
    print(f"distance of the knot from its center and from a point outside: {distances}")
    fit.save(folder / "knot.safetensors")

    shape = nrc.tasks.load(folder / "knot.safetensors")
    shape.write_mesh(folder / "knot.glb", resolution)
    shape.render(width).save(folder / "knot.png")
    return fit


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
