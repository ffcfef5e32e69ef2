"""The mesh of a task as a shape that can be rendered beside the fitted one."""

from __future__ import annotations

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.scene.neural_sdf import cube_box
from nrc_tracer.tasks.sdf.distance import MeshDistance, SignMethod, warp_mesh

wp.set_module_options({"enable_backward": False})


@wp.kernel
def first_hit(
    base: int,
    mesh: wp.uint64,
    origins: wp.array[wp.vec3],
    directions: wp.array[wp.vec3],
    distances: wp.array[float],
):
    """Find the distance along a ray to a mesh; infinite if the ray misses it."""
    i = base + wp.tid()
    query = wp.mesh_query_ray(mesh, origins[i], directions[i], 1.0e6)
    distances[i] = wp.where(query.result, query.t, wp.inf)


class MeshField:
    """A mesh with its exact distances, as `nrc_tracer.tasks.sdf.rendering.DistanceField`.

    Args:
        field: Distances to the mesh.
        method: How inside is told from outside.
    """

    def __init__(self, field: MeshDistance, method: SignMethod) -> None:
        self._field, self._method = field, method
        self._mesh = warp_mesh(field.mesh.positions, field.mesh.indices, field.launcher.device)
        self._normals = torch.from_numpy(np.ascontiguousarray(field.faces, np.float32)).to(self.device)

    @property
    def device(self) -> torch.device:
        """Device of the queries."""
        return self._field.launcher.torch_device

    @property
    def extent(self) -> np.ndarray:
        """The mesh's bounding box, float64 [2, 3]."""
        return self._field.mesh.box

    @property
    def box(self) -> np.ndarray:
        """The same with a margin, float64 [2, 3]."""
        mesh = self._field.mesh
        return cube_box(mesh.center, mesh.scale, mesh.bounds)

    def distance(self, points: Tensor) -> Tensor:
        """Distances [N] of points, float32 [N, 3], in unit cubes."""
        return self._field.signed(points, self._method)

    def normal(self, points: Tensor) -> Tensor:
        """Normals [N, 3] of the nearest triangles."""
        return self._normals[self._field.nearest(points)[1].long()]

    def hits(self, origins: Tensor, directions: Tensor) -> Tensor:
        """Distances along rays to the mesh, [N]; infinite for rays that miss it."""
        distances = torch.empty(len(origins), device=origins.device)
        both = [as_warp(tensor.contiguous(), wp.vec3) for tensor in (origins, directions)]
        arguments = [self._mesh.id, *both, as_warp(distances)]
        self._field.launcher.run(first_hit, len(origins), lambda base: [base, *arguments])
        return distances
