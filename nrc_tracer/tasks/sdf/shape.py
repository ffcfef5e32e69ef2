"""A fitted shape: its distance and gradient in the unit cube, and its surface as triangles."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nrc_tracer import nn
from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.errors import SnapshotError
from nrc_tracer.scene.neural_sdf import cube_box
from nrc_tracer.surfaces.isosurface import Isosurface
from nrc_tracer.tasks.task import read_task
from nrc_tracer.tracer import neural_shapes

TETRAHEDRON = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))
AROUND = 2.0**-11
"""Distance along each axis, in units of the cube, at which gradients are taken for a normal."""


class NeuralShape:
    """A signed distance that a network has learnt.

    Args:
        model: Takes points of the unit cube to distances in units of the cube, negative inside.
        metadata: Of its task: `center`, `scale` and `bounds`, and `mesh`.

    Attributes:
        model: The network.
        center: What is (0.5, 0.5, 0.5) in the cube, in the mesh's own coordinates, float64 [3].
        scale: What lengths of the mesh are multiplied by.
        bounds: Of the mesh in its own coordinates, float64 [2, 3].
        name: Of the mesh.

    Raises:
        SnapshotError: The metadata are not those of a shape.
    """

    def __init__(self, model: nn.Model, metadata: Mapping[str, Any]) -> None:
        self.model = model
        try:
            self.center = np.asarray(metadata["center"], np.float64)
            self.scale = float(metadata["scale"])
            self.bounds = np.asarray(metadata["bounds"], np.float64)
            self.name = str(metadata.get("mesh", "shape"))
        except (KeyError, TypeError, ValueError) as error:
            raise SnapshotError(f"the snapshot of a shape lacks or has a malformed {error}") from error
        fits = self.center.shape == (3,) and self.bounds.shape == (2, 3) and 0.0 < self.scale < np.inf
        if not fits or not np.isfinite(self.bounds).all() or (self.bounds[0] > self.bounds[1]).any():
            raise SnapshotError("the snapshot of a shape has no usable center, scale and bounds")
        if (model.n_input_dims, model.n_output_dims) != (3, 1):
            raise SnapshotError(
                f"the snapshot of a shape has a model of {model.n_input_dims} inputs and {model.n_output_dims} outputs, not 3 "
                "and 1"
            )

    @property
    def box(self) -> np.ndarray:
        """Where the surface is, in the unit cube: the mesh' bounding box and a margin, float64 [2, 3]."""
        return cube_box(self.center, self.scale, self.bounds)

    def distance(self, points: Tensor) -> Tensor:
        """Distances [N] of points in the unit cube, float32 [N, 3], in units of the cube."""
        return self.model(points)[:, 0]

    def gradient(self, points: Tensor) -> Tensor:
        """The distance's gradient, [N, 3], at points of the unit cube: the network's own derivative."""
        return neural_shapes.gradient(self.model, points)

    def normal(self, points: Tensor) -> Tensor:
        """Unit normals, [N, 3], at points of the surface in the unit cube: a mean of gradients around them.

        Half of the training samples are on the surface, whose distance is 0, so what is learnt is flat in a layer around it,
        thinner than a cell of the finest grid, and its gradient there says nothing. So gradients are taken a little beside,
        at four corners of a tetrahedron, and weighted by the distances.
        """
        total = torch.zeros_like(points)
        for corner in TETRAHEDRON:
            beside = (points + AROUND * torch.tensor(corner, device=points.device)).clamp(0.0, 1.0)
            total += self.distance(beside).abs()[:, None] * self.gradient(beside)
        return torch.nn.functional.normalize(total, dim=1)

    def surface(
        self, resolution: int, *, in_cube: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> Isosurface:
        """Triangles of the surface with normals, closed, in the mesh's own coordinates or in the unit cube.

        Args:
            resolution: Cells along the longest side.
            in_cube: Leave it in the unit cube.
            progress: Called with how many blocks are done, and with their number.

        Raises:
            DataError: There is no surface, or scikit-image is missing.
        """
        surface = neural_shapes.surface_in_cube(self.model, self.box, resolution, normal=self.normal, progress=progress)
        if in_cube:
            return surface
        positions = (surface.positions.astype(np.float64) - 0.5) / self.scale + self.center
        return replace(surface, positions=positions.astype(np.float32))


def load_shape(
    path: str | os.PathLike[str], *, device: str | torch.device | None = None, threads: int | None = None
) -> NeuralShape:
    """Read a shape from a snapshot of `nrc-tracer fit sdf`.

    Raises:
        SnapshotError: The file cannot be read, or is of something else.
        DeviceError: There is no such device.
    """
    snapshot = read_task(path, "sdf")
    model = snapshot.model(device=find_torch_device(device), threads=threads)
    try:
        return NeuralShape(model, snapshot.metadata["sdf"])
    except SnapshotError as error:
        raise SnapshotError(f"{path}: {error}") from error
