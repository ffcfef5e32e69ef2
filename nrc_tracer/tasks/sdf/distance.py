"""Distances to a triangle mesh on the CPU and the GPU, with the sign by any of three methods."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tasks.sdf import distance_kernels as kernels
from nrc_tracer.tasks.sdf.mesh import UnitMesh
from nrc_tracer.tasks.sdf.pseudonormals import pseudonormals
from nrc_tracer.tasks.sdf.soundness import EdgeTable, edge_table


class SignMethod(IntEnum):
    """How inside is told from outside.

    `NORMAL` uses the pseudonormal at the nearest point, `PARITY` the number of times that rays cross the mesh, and `WINDING` the
    winding number (Jacobson et al. 2013, approximated as in Barill et al. 2018).
    """

    NORMAL = int(kernels.NORMAL)
    PARITY = int(kernels.PARITY)
    WINDING = int(kernels.WINDING)


class MeshDistance:
    """Distance queries against a mesh.

    Args:
        mesh: The mesh.
        launcher: Launches the queries.
        edges: The mesh's edges, if they are known already.
    """

    def __init__(self, mesh: UnitMesh, launcher: TorchLauncher, edges: EdgeTable | None = None) -> None:
        self.mesh = mesh
        self.launcher = launcher
        device = launcher.device
        self._warp_mesh = warp_mesh(mesh.positions, mesh.indices, device, winding=True)
        faces, at_edges, at_vertices = pseudonormals(mesh, edges or edge_table(mesh.indices))
        self.faces = faces
        self._arguments = kernels.DistanceMesh()
        self._arguments.mesh = self._warp_mesh.id
        self._arguments.normals = wp.array(faces, dtype=wp.vec3, device=device)
        self._arguments.edge_normals = wp.array(at_edges.reshape(-1, 3), dtype=wp.vec3, device=device)
        self._arguments.vertex_normals = wp.array(at_vertices, dtype=wp.vec3, device=device)

    def signed(self, points: Tensor, method: SignMethod) -> Tensor:
        """Signed distances [N] of points, float32 [N, 3], in unit cubes, negative inside."""
        return self._run(points, int(method))

    def wound_backwards(self, points: Tensor) -> Tensor:
        """Whether the mesh winds around a point in the wrong direction (winding number below -0.5), bool [N]."""
        return self._run(points, int(kernels.NEGATIVE_WINDING)) < 0.0

    def nearest(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Unsigned distances [N], and the nearest triangles, int32 [N]."""
        return nearest_triangles(self._warp_mesh, points, self.launcher)

    def _run(self, points: Tensor, method: int) -> Tensor:
        points = points.contiguous()
        distances = torch.empty(len(points), device=points.device)
        arguments = [self._arguments, method, as_warp(points, wp.vec3), as_warp(distances)]
        self.launcher.run(kernels.signed_distance, len(points), lambda base: [base, *arguments])
        return distances


def warp_mesh(positions: np.ndarray, indices: np.ndarray, device: wp.Device, *, winding: bool = False) -> wp.Mesh:
    """A mesh of at least one triangle, for Warp's queries."""
    return wp.Mesh(
        wp.array(positions, dtype=wp.vec3, device=device),
        wp.array(np.ascontiguousarray(indices, np.int32).ravel(), dtype=int, device=device),
        support_winding_number=winding,
        bvh_constructor="sah",
    )


def nearest_triangles(mesh: wp.Mesh, points: Tensor, launcher: TorchLauncher) -> tuple[Tensor, Tensor]:
    """Unsigned distances [N] of points, float32 [N, 3], and the nearest triangles, int32 [N]."""
    points = points.contiguous()
    distances = torch.empty(len(points), device=points.device)
    faces = torch.empty(len(points), dtype=torch.int32, device=points.device)
    arguments = [mesh.id, as_warp(points, wp.vec3), as_warp(distances), as_warp(faces)]
    launcher.run(kernels.nearest_triangle, len(points), lambda base: [base, *arguments])
    return distances, faces
