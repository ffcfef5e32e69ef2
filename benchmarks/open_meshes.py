"""Holes in the decoded surfaces of public meshes that are open or broken: edges without exactly two triangles.

    python -m benchmarks.open_meshes FOLDER_OR_FILE... [--cells 64 192 256 512] [--steps 400] [--json FILE]

Each mesh is learnt briefly, and its surface is extracted with several numbers of cells.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import nrc_tracer as nrc
from nrc_tracer.errors import DataError
from nrc_tracer.tasks.sdf.mesh import load_unit_mesh

ENDINGS = (".obj", ".ply", ".stl", ".glb", ".gltf")
"""Extensions of the files that are taken from a folder."""


def open_edges(indices: np.ndarray) -> int:
    """Return the number of edges that do not have exactly two triangles; of a watertight mesh it is 0."""
    edges = np.sort(indices[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, counts = np.unique(edges[edges[:, 0] != edges[:, 1]], axis=0, return_counts=True)
    return int((counts != 2).sum())


def mesh_files(paths: list[Path]) -> Iterator[Path]:
    """Yield the files, and the meshes in the folders."""
    for path in paths:
        yield from sorted(f for f in path.iterdir() if f.suffix.lower() in ENDINGS) if path.is_dir() else [path]


def measure(path: Path, cells: list[int], steps: int) -> dict:
    """Learn a mesh and return its facts, and the open edges of its surface by the number of cells."""
    mesh = load_unit_mesh(path)
    fitted = nrc.tasks.fit_sdf(mesh, steps=steps)
    surfaces = {}
    for count in cells:
        start = time.perf_counter()
        surface = fitted.model.surface(count)
        surfaces[count] = {
            "triangles": len(surface.indices),
            "open_edges": open_edges(surface.indices),
            "seconds": time.perf_counter() - start,
        }
    return {
        "mesh": path.name,
        "triangles": len(mesh.indices),
        "open_edges": open_edges(mesh.indices),
        "surfaces": surfaces,
    }


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--cells", nargs="+", type=int, default=[64, 192, 256, 512])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    results: list[dict] = []
    print(f"{'mesh':<24}{'triangles':>10}{'open edges':>12}   open edges of the surface")
    for path in mesh_files(arguments.paths):
        try:
            result = measure(path, arguments.cells, arguments.steps)
        except DataError as error:  # such as a flat mesh, which has no inside
            print(f"{path.name:<24}{error}", flush=True)
            continue
        results.append(result)
        found = ", ".join(f"{count}: {surface['open_edges']}" for count, surface in result["surfaces"].items())
        print(f"{result['mesh']:<24}{result['triangles']:>10}{result['open_edges']:>12}   {found}", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps({"steps": arguments.steps, "meshes": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
