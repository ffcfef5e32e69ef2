"""Training samples: points on the surface, near it and anywhere in the cube, with their distances, mostly from a pool."""

from __future__ import annotations

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tasks.digests import digest64
from nrc_tracer.tasks.sdf import sampling_kernels as kernels
from nrc_tracer.tasks.sdf.distance import MeshDistance, SignMethod

ON_SURFACE, NEAR = 0.5, 0.375
"""Fractions of a batch on and near the surface; the rest is uniform in the cube."""
NEAR_WIDTH = 1.0 / 1024.0
"""Scale of the logistic offsets from the surface, in radii of the sphere around the mesh's bounding box."""
PIECES = 64
"""Number of pieces of the pool; each holds as many samples as a batch draws from the pool."""
REUSE = {SignMethod.NORMAL: 8, SignMethod.PARITY: 16, SignMethod.WINDING: 32}
"""Steps between replacements of a piece of the pool, by the method of the sign: more for slower queries."""


def key(seed: int, purpose: str, number: int = 0) -> int:
    """The 64-bit key of a set of random points."""
    return digest64(f"sdf/{seed}/{purpose}/{number}".encode())


class SurfaceSampler:
    """Draws points on, near and around a mesh, each set a function of a key.

    Args:
        positions: Vertices, float32 [V, 3].
        indices: Vertices of the triangles, int32 [T, 3]; at least one triangle has an area.
        launcher: Launches the kernels.
    """

    def __init__(self, positions: np.ndarray, indices: np.ndarray, launcher: TorchLauncher) -> None:
        self.launcher = launcher
        corners = positions.astype(np.float64)[indices]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        cumulative = np.cumsum(np.linalg.norm(normal, axis=1))
        cumulative /= cumulative[-1]
        parts = np.arange(len(cumulative)) / len(cumulative)
        device = launcher.device
        self.table = kernels.SurfaceTable()
        self.table.positions = wp.array(positions, dtype=wp.vec3, device=device)
        self.table.indices = wp.array(indices.ravel(), dtype=int, device=device)
        self.table.cumulative = wp.array(cumulative, dtype=wp.float64, device=device)
        guide = np.minimum(np.searchsorted(cumulative, parts, side="right"), len(cumulative) - 1)
        self.table.guide = wp.array(guide, dtype=int, device=device)

    def on_surface(self, key: int, count: int) -> tuple[Tensor, Tensor]:
        """Points uniform by area, float32 [count, 3], and their triangles, int32 [count]."""
        return self._beside(key, count, int(kernels.ON_SURFACE), 0.0)

    def near(self, key: int, count: int, width: float) -> Tensor:
        """Points on the surface moved along each axis by a logistic random number of scale `width`, [count, 3]."""
        return self._beside(key, count, int(kernels.LOGISTIC), width)[0]

    def band(self, key: int, count: int, width: float) -> Tensor:
        """Points on the surface moved along each axis by up to `width`, [count, 3]."""
        return self._beside(key, count, int(kernels.UNIFORM), width)[0]

    def in_box(self, key: int, count: int, low: np.ndarray, high: np.ndarray) -> Tensor:
        """Points uniform in a box, [count, 3]."""
        points = self._empty(count)
        arguments = [key, wp.vec3(*map(float, low)), wp.vec3(*map(float, high)), as_warp(points, wp.vec3)]
        self.launcher.run(kernels.box_points, count, lambda base: [base, *arguments])
        return points

    def _beside(self, key: int, count: int, kind: int, width: float) -> tuple[Tensor, Tensor]:
        points = self._empty(count)
        triangles = torch.empty(count, dtype=torch.int32, device=points.device)
        arguments = [self.table, key, kind, width, as_warp(points, wp.vec3), as_warp(triangles)]
        self.launcher.run(kernels.surface_points, count, lambda base: [base, *arguments])
        return points, triangles

    def _empty(self, count: int) -> Tensor:
        return torch.empty(count, 3, device=self.launcher.torch_device)


class SamplePool:
    """Batches of training samples, which depend only on the seed and the step.

    Half of a batch lies on the surface, where the distance is known to be 0. The rest is drawn from a pool of points whose
    distances have been queried. At step k the pool holds the pieces k // r to k // r + 63: every r steps the oldest piece is
    replaced by a new one.

    Args:
        field: Distance to the mesh.
        sampler: Draws points of the mesh.
        method: Method of the sign.
        batch: Samples per batch, at least 8.
        seed: Seed of all samples.
    """

    def __init__(
        self, field: MeshDistance, sampler: SurfaceSampler, method: SignMethod, *, batch: int, seed: int
    ) -> None:
        self._field, self._sampler, self._method, self._seed = field, sampler, method, seed
        self._batch = batch
        self._on_surface = int(batch * ON_SURFACE)
        self._near = int(batch * NEAR)
        self._uniform = batch - self._on_surface - self._near
        self._reuse = REUSE[method]
        low, high = field.mesh.box
        self._width = NEAR_WIDTH * 0.5 * float(np.linalg.norm(high - low))
        device = field.launcher.torch_device
        self._points = torch.empty(PIECES * (self._near + self._uniform), 3, device=device)
        self._distances = torch.empty(len(self._points), device=device)
        self._pieces = [-1] * PIECES

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """The points of step `number`, float32 [batch, 3], and their distances [batch, 1]."""
        first = number // self._reuse
        for piece in range(first, first + PIECES):
            if self._pieces[piece % PIECES] != piece:
                self._fill(piece)
        points = torch.empty(self._batch, 3, device=self._points.device)
        distances = torch.empty(self._batch, device=points.device)
        arguments = [
            self._sampler.table,
            key(self._seed, "batch", number),
            self._on_surface,
            self._near,
            PIECES * self._near,
            as_warp(self._points, wp.vec3),
            as_warp(self._distances),
            as_warp(points, wp.vec3),
            as_warp(distances),
        ]
        self._field.launcher.run(kernels.draw_batch, self._batch, lambda base: [base, *arguments])
        return points, distances[:, None]

    def _fill(self, piece: int) -> None:
        """Fill the place of a piece with points near the surface and points uniform in the cube."""
        place = piece % PIECES
        near = self._sampler.near(key(self._seed, "near", piece), self._near, self._width)
        uniform = self._sampler.in_box(key(self._seed, "uniform", piece), self._uniform, np.zeros(3), np.ones(3))
        points = torch.cat([near, uniform])
        distances = self._field.signed(points, self._method)
        begin, split = place * self._near, PIECES * self._near + place * self._uniform
        for pool, values in ((self._points, points), (self._distances, distances)):
            pool[begin : begin + self._near] = values[: self._near]
            pool[split : split + self._uniform] = values[self._near :]
        self._pieces[place] = piece
