"""A fitted shape: its distance and gradient, its surface as triangles, and pictures of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nrc_tracer.device.torch_device import find_torch_device
from nrc_tracer.errors import DataError, SnapshotError
from nrc_tracer.imaging import Image
from nrc_tracer.nn.model import Model
from nrc_tracer.scene.neural_sdf import cube_box
from nrc_tracer.scene.positions import stored_positions
from nrc_tracer.surfaces.surface_mesh import Isosurface, write_surface
from nrc_tracer.tasks.sdf.rendering import Orbit, render
from nrc_tracer.tasks.task import read_task
from nrc_tracer.tracer import neural_shapes

TETRAHEDRON = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))
AROUND = 2.0**-11
"""Distance along each axis at which gradients are taken for a normal, in unit cubes."""


class NeuralShape:
    """A signed distance that a network has learnt.

        shape = nrc.tasks.load("knot.safetensors")
        shape.signed_distance(points)  # in the mesh's own coordinates
        shape.write_mesh("knot.glb", resolution=256)
        shape.render(width=400).save("knot.png")

    Methods that take or give `Tensor`s work in the unit cube, into which training scales the mesh.

    Args:
        model: Maps points of the unit cube to distances in unit cubes, negative inside.
        metadata: The task's metadata: `center`, `scale`, `bounds` and `mesh`.

    Attributes:
        model: The network.
        center: Point of the mesh's own coordinates that is mapped to (0.5, 0.5, 0.5), float64 [3].
        scale: Factor from the mesh's own lengths to lengths in the unit cube.
        bounds: Lowest and highest corner of the mesh in its own coordinates, float64 [2, 3].
        name: Name of the mesh.

    Raises:
        SnapshotError: The metadata do not describe a shape.
    """

    def __init__(self, model: Model, metadata: Mapping[str, Any]) -> None:
        self.model = model
        try:
            self.center = np.asarray(metadata["center"], np.float64)
            self.scale = float(metadata["scale"])
            self.bounds = np.asarray(metadata["bounds"], np.float64)
            self.name = str(metadata.get("mesh", "shape"))
        except (KeyError, TypeError, ValueError) as error:
            raise SnapshotError(f"the snapshot of a shape lacks {error}, or it is malformed") from error
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
        """Box of the unit cube that holds the surface: the mesh's bounding box with a margin, float64 [2, 3]."""
        return cube_box(self.center, self.scale, self.bounds)

    @property
    def extent(self) -> np.ndarray:
        """The mesh's bounding box in the unit cube, float64 [2, 3]."""
        return (self.bounds - self.center) * self.scale + 0.5

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.device

    def signed_distance(self, points: ArrayLike) -> np.ndarray:
        """Signed distances in the mesh's own units, negative inside.

        Args:
            points: Points in the mesh's own coordinates, [..., 3].

        Returns:
            float32 [...]. Outside the cube of training, which is a little larger than the mesh's bounding box, it is the distance
            at the nearest point of the cube plus the distance to that point: an upper bound.

        Raises:
            DataError: The points are not an array [..., 3].
        """
        given = np.asarray(points, np.float64)
        if given.shape[-1:] != (3,):
            raise DataError(f"points: expected an array of shape [..., 3], not {list(given.shape)}")
        unit = (given.reshape(-1, 3) - self.center) * self.scale + 0.5
        inside = np.clip(unit, 0.0, 1.0)
        nearest = torch.from_numpy(inside.astype(np.float32)).to(self.device)
        distances = self.distance(nearest).cpu().numpy() + np.linalg.norm(unit - inside, axis=1)
        return (distances / self.scale).astype(np.float32).reshape(given.shape[:-1])

    def distance(self, points: Tensor) -> Tensor:
        """Distances [N] of points in the unit cube, float32 [N, 3], in unit cubes."""
        return self.model(points)[:, 0]

    def gradient(self, points: Tensor) -> Tensor:
        """Gradients of the distance, [N, 3], at points of the unit cube: the network's own derivative."""
        return neural_shapes.gradient(self.model, points)

    def normal(self, points: Tensor) -> Tensor:
        """Unit normals, [N, 3], at surface points in the unit cube: a mean of gradients around them.

        Half of the training samples lie on the surface, where the distance is 0, so the fitted distance is flat in a layer around
        it that is thinner than a cell of the finest grid, and its gradient there is meaningless. So gradients are taken at the
        four corners of a small tetrahedron around the point, and weighted by the distances.
        """
        total = torch.zeros_like(points)
        for corner in TETRAHEDRON:
            beside = (points + AROUND * torch.tensor(corner, device=points.device)).clamp(0.0, 1.0)
            total += self.distance(beside).abs()[:, None] * self.gradient(beside)
        return torch.nn.functional.normalize(total, dim=1)

    def surface(
        self, resolution: int, *, in_cube: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> Isosurface:
        """The surface as a closed triangle mesh with normals, in the mesh's own coordinates or in the unit cube.

        Args:
            resolution: Cells along the longest side.
            in_cube: Give the mesh in the unit cube.
            progress: Called with the number of blocks done and the number of all blocks.

        Raises:
            DataError: There is no surface, or scikit-image is missing.
        """
        surface = neural_shapes.surface_in_cube(self.model, self.box, resolution, normal=self.normal, progress=progress)
        if in_cube:
            return surface
        positions = (surface.positions.astype(np.float64) - 0.5) / self.scale + self.center
        return replace(surface, positions=stored_positions(positions))

    def write_mesh(self, path: str | os.PathLike[str], resolution: int = 256) -> Path:
        """Write the surface as a mesh for other programs: `.ply`, `.obj`, `.glb` or `.stl`.

        Args:
            path: The file, which is replaced only when the new one is complete.
            resolution: Cells along the longest side.

        Returns:
            The path.

        Raises:
            DataError: There is no surface, or scikit-image or trimesh is missing.
            OutputError: The file cannot be written, or has another extension.
        """
        return write_surface(self.surface(resolution), Path(path))

    def render(self, width: int = 800, height: int | None = None, orbit: Orbit | None = None) -> Image:
        """A clay-like picture of the shape, sphere-traced.

        Args:
            width, height: Size in pixels; the height is the width if None.
            orbit: The camera; from the front right, slightly from above, if None.
        """
        return Image(render(self, width=width, height=width if height is None else height, orbit=orbit))


def load_neural_shape(
    path: str | os.PathLike[str], *, device: str | torch.device | None = None, threads: int | None = None
) -> NeuralShape:
    """Read a shape from the snapshot of a fitted signed distance.

    Args:
        path: The snapshot.
        device: Torch device; CUDA if available, if None.
        threads: Threads on the CPU; one per core if None.

    Raises:
        SnapshotError: The file cannot be read, or is of another task.
        DeviceError: There is no such device.
    """
    snapshot = read_task(path, "sdf")
    model = snapshot.model(device=find_torch_device(device), threads=threads)
    try:
        return NeuralShape(model, snapshot.metadata["sdf"])
    except SnapshotError as error:
        raise SnapshotError(f"{path}: {error}") from error
