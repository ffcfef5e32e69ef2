"""How well a fitted distance matches the mesh: inside and outside, distances, and the surface itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nrc_tracer.surfaces.isosurface import Isosurface
from nrc_tracer.tasks.sdf.distance import MeshDistance, SignMethod, nearest_triangles, warp_mesh
from nrc_tracer.tasks.sdf.pseudonormals import face_normals
from nrc_tracer.tasks.sdf.samples import SurfaceSampler, key

BAND = 0.01
"""Half the width of the band around the surface along each axis, in unit cubes."""
SEED = 0
"""Seed of the held-out points, which are always the same."""
QUICK = 2**14
"""Points in the box, and as many in the band, of a score during training."""
POINTS = {SignMethod.NORMAL: 2**19, SignMethod.PARITY: 2**18, SignMethod.WINDING: 2**18}
"""Points in the box, and as many in the band, of a final score, by the method of the sign."""


@dataclass(frozen=True)
class HeldOut:
    """Points held out from training, which draws points of its own, and their distances.

    Attributes:
        box: Points uniform in the mesh's bounding box, float32 [N, 3].
        box_distances: Their distances in unit cubes, float32 [N].
        band: Points on the surface moved along each axis by up to `BAND`, float32 [N, 3].
        band_distances: Their distances in unit cubes, float32 [N].
    """

    box: Tensor
    box_distances: Tensor
    band: Tensor
    band_distances: Tensor

    def scores(self, predict: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Score a function from points [N, 3] to distances [N].

        Returns:
            `iou` and `mae` in the box, `band_iou` and `band_mae` in the band: intersection over union of the insides, and mean
            absolute error of the distance in unit cubes.
        """
        found = {}
        sets = (("", self.box, self.box_distances), ("band_", self.band, self.band_distances))
        for name, points, distances in sets:
            predicted = predict(points)
            found[f"{name}iou"] = intersection_over_union(predicted < 0.0, distances < 0.0)
            found[f"{name}mae"] = float((predicted - distances).abs().double().mean())
        return found


def held_out(field: MeshDistance, sampler: SurfaceSampler, method: SignMethod, count: int) -> HeldOut:
    """Draw `count` points in the box and as many in the band."""
    box = sampler.in_box(key(SEED, "held-out box"), count, *field.mesh.box)
    band = sampler.band(key(SEED, "held-out band"), count, BAND)
    return HeldOut(box, field.signed(box, method), band, field.signed(band, method))


def intersection_over_union(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two sets of points, bool [N]; 1 if both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def surface_scores(
    surface: Isosurface, field: MeshDistance, sampler: SurfaceSampler, *, count: int = 2**17
) -> dict[str, float]:
    """How close an extracted surface, in the unit cube, is to the mesh, measured at points uniform by area on both.

    Returns:
        `chamfer`: mean of the mean distance to the mesh and the mean distance from it, in unit cubes; `hausdorff`: the largest
        distance; `normal_error`: mean angle between the normals of nearest triangles, in degrees, over both directions.
    """
    launcher = field.launcher
    extracted = warp_mesh(surface.positions, surface.indices, launcher.device)
    normals = face_normals(surface.positions, surface.indices)
    own = SurfaceSampler(surface.positions, surface.indices, launcher)

    points, triangles = own.on_surface(key(SEED, "extracted"), count)
    to_mesh, nearest = field.nearest(points)
    angles = [_angles(normals[triangles.cpu().numpy()], field.faces[nearest.cpu().numpy()])]

    points, triangles = sampler.on_surface(key(SEED, "mesh"), count)
    from_mesh, nearest = nearest_triangles(extracted, points, launcher)
    angles.append(_angles(field.faces[triangles.cpu().numpy()], normals[nearest.cpu().numpy()]))
    return {
        "chamfer": 0.5 * float(to_mesh.double().mean() + from_mesh.double().mean()),
        "hausdorff": float(torch.maximum(to_mesh.max(), from_mesh.max())),
        "normal_error": float(np.mean(angles)),
    }


def _angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles between unit vectors [N, 3], in degrees."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), np.einsum("ij,ij->i", a, b)))
