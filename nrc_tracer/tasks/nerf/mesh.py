"""A radiance field as a triangle mesh: a surface of equal density, coloured as seen from in front of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from nrc_tracer.errors import DataError
from nrc_tracer.imaging.tonemap import decode_srgb
from nrc_tracer.surfaces.isosurface import Isosurface, extract
from nrc_tracer.surfaces.surface_mesh import mesh_normals
from nrc_tracer.tasks.nerf.compositing import MAX_LOG_DENSITY
from nrc_tracer.tasks.nerf.rendering import Volume

DENSITY = 20.0
"""Default density of the surface per unit cube: it halves light over a thirtieth of the cube's side."""
RESOLUTION = 256
"""Default number of cells along each side of the box."""
BATCH = 1 << 17
"""Points per evaluation of the model."""


def extract_surface(
    volume: Volume,
    *,
    density: float = DENSITY,
    resolution: int = RESOLUTION,
    side: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Isosurface:
    """The surface on which a field has a density, closed, in unit-cube space.

    Empty cells of the occupancy grid have no density.

    Args:
        volume: The field.
        density: Density per unit cube, above 0.
        resolution: Cells along each side of the box.
        side: Side of the meshed box around the centre of the scene in unit cubes; at most the field's own.
        progress: See `nrc_tracer.surfaces.isosurface.extract`.

    Returns:
        The mesh; its attributes are linear RGB in [0, 1].

    Raises:
        DataError: There is no such surface, or a number is out of range.
    """
    if not 0.0 < density < np.exp(MAX_LOG_DENSITY):
        raise DataError(f"density: must be above 0 and below {np.exp(MAX_LOG_DENSITY):.3g}, not {density:g}")
    extent = volume.space.extent
    if not 0.0 < side <= extent:
        raise DataError(
            f"side of the mesh's box: must be above 0 and at most {extent}, the scene's own side, not {side:g}"
        )
    device = volume.launcher.torch_device

    def emptiness(points: np.ndarray) -> np.ndarray:
        """-log density, so that the inside, where it is low, is dense."""
        result = np.empty(len(points), np.float32)
        for begin in range(0, len(points), BATCH):
            u = torch.from_numpy(points[begin : begin + BATCH]).to(device)
            raw = torch.full((len(u),), -MAX_LOG_DENSITY, device=device)
            dense = torch.nonzero(volume.grid.occupied(u))[:, 0]
            if len(dense):
                found = volume.model.density(((u[dense] - 0.5) / extent + 0.5).clamp(0.0, 1.0))
                raw[dense] = torch.nan_to_num(found, nan=-MAX_LOG_DENSITY).clamp(-MAX_LOG_DENSITY, MAX_LOG_DENSITY)
            result[begin : begin + BATCH] = -raw.cpu().numpy()
        return result

    low, high = 0.5 - 0.5 * side, 0.5 + 0.5 * side
    surface = extract(
        emptiness, (low,) * 3, (high,) * 3, resolution, level=-float(np.log(density)), closed=True, progress=progress
    )
    normals = mesh_normals(surface.positions, surface.indices)
    colors = np.empty((len(surface.positions), 3), np.float32)
    for begin in range(0, len(colors), BATCH):
        rows = slice(begin, begin + BATCH)
        u, n = (torch.from_numpy(values[rows]).to(device) for values in (surface.positions, normals))
        # Look along the reversed normal
        x = torch.cat([((u - 0.5) / extent + 0.5).clamp(0.0, 1.0), 0.5 - 0.5 * n], dim=1)
        colors[rows] = torch.sigmoid(volume.model(x)[:, :3]).cpu().numpy()
    return replace(surface, normals=normals, attributes=decode_srgb(colors).astype(np.float32))
