"""Whether a mesh encloses a volume: edges with one triangle, with more than two, and neighbours that face different ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nrc_tracer.tasks.sdf.mesh import UnitMesh


@dataclass(frozen=True)
class EdgeTable:
    """The edges of a mesh.

    Attributes:
        numbers: Number of the edge from a triangle's corner to the next, int64 [triangle_count, 3]; -1 for triangles with two
            equal vertices.
        triangles: Number of triangles of each edge, int64 [edge_count].
        balance: Number of triangles that traverse each edge from the lower vertex number to the higher, less those that traverse
            it backwards.
    """

    numbers: np.ndarray
    triangles: np.ndarray
    balance: np.ndarray


@dataclass(frozen=True)
class Soundness:
    """What was found about a mesh.

    Attributes:
        vertices: Number of different positions.
        triangles: Number of triangles.
        degenerate: Number of triangles without area.
        boundary_edges: Number of edges with only one triangle, which border holes.
        non_manifold_edges: Number of edges with more than two triangles.
        inconsistent_edges: Number of edges whose two triangles face different ways.
        volume: Signed volume in cubic unit cubes, negative if the triangles face inwards; for an open mesh, that of the cone from
            the centre of its bounding box.
    """

    vertices: int
    triangles: int
    degenerate: int
    boundary_edges: int
    non_manifold_edges: int
    inconsistent_edges: int
    volume: float

    @property
    def closed(self) -> bool:
        """Whether there are no holes."""
        return self.boundary_edges == 0

    @property
    def manifold(self) -> bool:
        """Whether no edge has more than two triangles."""
        return self.non_manifold_edges == 0

    @property
    def consistent(self) -> bool:
        """Whether neighbours face the same way."""
        return self.inconsistent_edges == 0

    @property
    def inside_out(self) -> bool:
        """Whether all of it faces inwards."""
        return self.consistent and self.volume < 0.0

    def words(self) -> str:
        """The findings in words, such as `closed, 3 edges whose triangles face different ways`."""
        found = ["closed" if self.closed else f"open ({self.boundary_edges:,} boundary edges)"]
        if not self.manifold:
            found.append(f"{self.non_manifold_edges:,} edges with more than two triangles")
        found.append(
            "consistently oriented"
            if self.consistent
            else f"{self.inconsistent_edges:,} edges whose triangles face different ways"
        )
        if self.inside_out:
            found.append("inside out")
        if self.degenerate:
            found.append(f"{self.degenerate:,} triangles without area")
        return ", ".join(found)


def edge_table(indices: np.ndarray) -> EdgeTable:
    """The edges of triangles [T, 3]."""
    indices = indices.astype(np.int64)
    begin, end = indices, np.roll(indices, -1, axis=1)
    whole = (begin != end).all(axis=1)
    low, high = np.minimum(begin, end)[whole], np.maximum(begin, end)[whole]
    key = low * (int(indices.max(initial=0)) + 1) + high
    _, number, count = np.unique(key, return_inverse=True, return_counts=True)
    number = number.reshape(-1, 3)
    numbers = np.full(indices.shape, -1, np.int64)
    numbers[whole] = number
    ahead = np.where(begin[whole] < end[whole], 1.0, -1.0)
    balance = np.bincount(number.ravel(), weights=ahead.ravel(), minlength=len(count)).astype(np.int64)
    return EdgeTable(numbers, count, balance)


def check_soundness(mesh: UnitMesh, edges: EdgeTable | None = None) -> Soundness:
    """Count the defects of a mesh; takes a few seconds for a million triangles."""
    edges = edges or edge_table(mesh.indices)
    # Measure volumes from the centre, where those of open meshes are most meaningful
    a, b, c = (mesh.positions[mesh.indices[:, corner]].astype(np.float64) - 0.5 for corner in range(3))
    normal = np.cross(b - a, c - a)
    return Soundness(
        vertices=len(mesh.positions),
        triangles=len(mesh.indices),
        degenerate=int((~normal.any(axis=1)).sum()),
        boundary_edges=int((edges.triangles == 1).sum()),
        non_manifold_edges=int((edges.triangles > 2).sum()),
        inconsistent_edges=int(((edges.triangles == 2) & (edges.balance != 0)).sum()),
        volume=float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0),
    )
