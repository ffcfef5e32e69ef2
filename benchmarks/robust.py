"""Cost and effect of Embree's robust mode: rays per second, and rays that leave a closed mesh between its triangles.

    python -m benchmarks.robust [--mesh scenes/meshes/knot.ply] [--rays 20000000] [--json FILE]

Rays start just inside random faces of a closed mesh, in random directions; a ray that hits nothing has leaked. An origin that
loses 1 % of its rays or more does not lie inside the mesh, and is left out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import warp as wp

from nrc_tracer.device.launch import Launcher, initialize
from nrc_tracer.scene.mesh_files import load_mesh
from nrc_tracer.tracer.accel.embree import EmbreeScene
from nrc_tracer.tracer.accel.intersect import embree_intersect
from nrc_tracer.tracer.device_scene import face_normals

RAYS_PER_ORIGIN = 2000
"""Rays that start from each origin."""


@wp.kernel(enable_backward=False)
def count_misses(intersect: wp.uint64, scene: wp.uint64, origins: wp.array[wp.vec3], base: int, misses: wp.array[int]):
    """Trace rays in random directions from one origin; count those that hit nothing."""
    i = base + wp.tid()
    state = wp.rand_init(7, i)
    lost = int(0)
    for _ in range(RAYS_PER_ORIGIN):
        d = wp.sample_unit_sphere_surface(state)
        if embree_intersect(intersect, scene, origins[i], d, 0.0, 1.0e30)[0] < wp.float64(0.0):
            lost += 1
    misses[i] = lost


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mesh", type=Path, default=Path(__file__).parent.parent / "scenes" / "meshes" / "knot.ply")
    parser.add_argument("--rays", type=int, default=20_000_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    initialize()
    mesh = load_mesh(arguments.mesh)
    positions, inverse = np.unique(mesh.positions, axis=0, return_inverse=True)  # close seams
    indices = inverse.reshape(-1)[mesh.indices].astype(np.int32)
    faces = np.random.default_rng(1).integers(0, len(indices), arguments.rays // RAYS_PER_ORIGIN)
    depth = 2e-3 * np.linalg.norm(np.ptp(positions, axis=0))
    origins = positions[indices[faces]].mean(axis=1) - depth * face_normals(positions, indices[faces])
    launcher, results = Launcher("cpu", block_size=64), {}
    origins = wp.array(origins.astype(np.float32), dtype=wp.vec3, device="cpu")
    misses = wp.zeros(len(faces), dtype=int, device="cpu")
    wp.load_module(device="cpu")
    for name, robust in (("robust", True), ("fast", False)):
        scene = EmbreeScene(positions, indices, robust=robust)
        start = time.perf_counter()
        launcher.run(count_misses, len(faces), lambda base, s=scene: [s.intersect, s.address, origins, base, misses])
        seconds = time.perf_counter() - start
        inside = misses.numpy() < RAYS_PER_ORIGIN // 100
        results[name] = {
            "rays": int(inside.sum()) * RAYS_PER_ORIGIN,
            "leaks": int(misses.numpy()[inside].sum()),
            "rays_per_second": len(faces) * RAYS_PER_ORIGIN / seconds,
        }
    ratio = results["robust"]["rays_per_second"] / results["fast"]["rays_per_second"]
    print(f"{arguments.mesh.name}, {len(indices):,} triangles; robust traces at {ratio:.2f} x the speed of fast")
    for name, r in results.items():
        print(f"  {name:<8}{r['rays_per_second'] / 1e6:>7.2f} M rays/s{r['leaks']:>6} of {r['rays']:,} rays leaked")
    if arguments.json:
        arguments.json.write_text(json.dumps({"mesh": arguments.mesh.name, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
