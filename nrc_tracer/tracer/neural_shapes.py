"""Triangles of learnt signed distance functions, made once when a renderer takes a scene.

The path kernel does not sphere-trace the network. On one core a ray against an Embree scene of 589,000 triangles took 0.5 us, and
a query of a network of the usual size (16 levels, 2 layers of 64 neurons) 0.8 us in batches of 262,144; a kernel that follows one
path at a time has no batches. A ray needs 10 queries on average, one after another, even for the exact distance to a torus, so
it would cost at least 15 times as much, and the network's code would add to the kernel's compile time, which is at its limit. As
triangles a learnt shape is lit, emits light, is instanced, cached and resumed like any other shape. Its vertices lie on the zero
level and its normals are the network's gradients, so the remaining error is the curvature of the surface within a cell.
"""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from nrc_tracer.errors import DataError, DeviceError, SceneError, SnapshotError
from nrc_tracer.scene.model import GroupShape, Mesh, NeuralSdf, Scene, SdfSnapshot, Shape, TriangleMesh
from nrc_tracer.scene.neural_sdf import cube_box
from nrc_tracer.scene.positions import stored_positions
from nrc_tracer.scene.validate import shapes_with_places
from nrc_tracer.surfaces.isosurface import Isosurface, extract
from nrc_tracer.surfaces.surface_mesh import mesh_normals

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from nrc_tracer import nn

STEEPEST = 2.0
"""Largest slope of the network's distance that is assumed: a brick whose centre is further from the surface than this times its
half diagonal is taken to be empty, unless the surface leads into it. A true distance has slope 1."""
REFINE = 4
"""Evaluations of the network per vertex that move it onto the zero level."""
LEAST_COSINE = 0.5
"""Smallest cosine between the network's gradient and the normal of the triangles around a vertex; below it the gradient is taken
for noise, and the triangles' normal is used."""
ROWS = 2**18
"""Points per batch whose gradients are computed at once."""

_made: weakref.WeakValueDictionary[tuple, TriangleMesh] = weakref.WeakValueDictionary()
"""Triangles that some scene still uses: a changed scene, or another renderer of the same scene, does not make them again."""


def with_triangles(scene: Scene, device: str, threads: int | None = None) -> Scene:
    """Replace each learnt shape of a scene by a mesh; a scene without learnt shapes is returned as it is.

    Shapes with the same snapshot and resolution share their triangles. The triangles do not depend on the number of threads: the
    network is evaluated in float32, whatever precision it was trained in.

    Args:
        scene: A scene that has been validated.
        device: Warp device to evaluate networks on.
        threads: Threads on the CPU; one per core unless given.

    Raises:
        SceneError: A snapshot cannot be read, or has no surface; the message begins with the shape's place.
        DeviceError: The device has not enough memory for the network.
    """
    if not scene.snapshots:
        return scene
    meshes = dict(scene.meshes)
    for place, shape in shapes_with_places(scene.description):
        if isinstance(shape, NeuralSdf) and _name(shape) not in meshes:
            try:
                meshes[_name(shape)] = _triangles(scene.snapshots[shape.file], shape.resolution, device, threads)
            except (SceneError, SnapshotError, DataError) as error:
                source = f"{scene.source}: " if scene.source else ""
                raise SceneError(f"{source}{place}.file: {error}") from error

    description = msgspec.structs.replace(
        scene.description,
        shapes=tuple(map(_as_mesh, scene.description.shapes)),
        groups={name: tuple(map(_as_mesh, group)) for name, group in scene.description.groups.items()},
    )
    return replace(scene, description=description, meshes=meshes, snapshots={})


def _name(shape: NeuralSdf) -> str:
    """The name of the shape's triangles among the scene's meshes."""
    return f"{shape.file} ({shape.resolution} cells)"


def _as_mesh(shape: Shape) -> GroupShape | Shape:
    if not isinstance(shape, NeuralSdf):
        return shape
    return Mesh(
        name=shape.name,
        material=shape.material,
        emission=shape.emission,
        to_world=shape.to_world,
        flip_normals=shape.flip_normals,
        file=_name(shape),
    )


def _triangles(snapshot: SdfSnapshot, resolution: int, device: str, threads: int | None) -> TriangleMesh:
    try:
        file = snapshot.path.stat()
    except OSError as error:
        raise SceneError(f"{snapshot.path}: cannot be read: {error.strerror or error}") from error
    placed = (*snapshot.center.tolist(), snapshot.scale, *snapshot.bounds.ravel().tolist())
    key = (str(snapshot.path.resolve()), file.st_mtime_ns, file.st_size, placed, resolution, device)
    mesh = _made.get(key)
    if mesh is None:
        mesh = _made[key] = extract_shape(snapshot, resolution, device, threads)
    return mesh


def extract_shape(snapshot: SdfSnapshot, resolution: int, device: str, threads: int | None = None) -> TriangleMesh:
    """Triangles of a learnt shape, closed, with the network's normals, in the coordinates of the mesh that it was trained on.

    Args:
        snapshot: Its header.
        resolution: Cells along the longest side.
        device: Warp device to evaluate the network on.
        threads: Threads on the CPU; one per core unless given.

    Raises:
        SnapshotError: The file cannot be read.
        DataError: The network has no surface within the mesh's bounds, or scikit-image is missing.
        DeviceError: The device has not enough memory for the network.
    """
    # Imported here because it loads torch
    import torch

    from nrc_tracer.nn import load

    try:
        place = device if torch.cuda.is_available() else "cpu"  # torch may lack CUDA where Warp has it
        model = load(snapshot.path, device=place, precision="float32", threads=threads)
        surface = surface_in_cube(
            model,
            cube_box(snapshot.center, snapshot.scale, snapshot.bounds),
            resolution,
            normal=lambda points: gradient(model, points),
            refine=REFINE,
        )
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{device} has not enough memory for the network of {snapshot.path}") from error
    around = mesh_normals(surface.positions, surface.indices)
    learnt = around if surface.normals is None else surface.normals
    agree = np.sum(learnt * around, axis=1) >= LEAST_COSINE
    normals = np.where(agree[:, None], learnt, around)
    positions = (surface.positions.astype(np.float64) - 0.5) / snapshot.scale + snapshot.center
    return TriangleMesh(stored_positions(positions), surface.indices, normals)


def surface_in_cube(
    model: nn.Model,
    box: np.ndarray,
    resolution: int,
    *,
    normal: Callable[[Tensor], Tensor],
    refine: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Isosurface:
    """Triangles of a learnt distance, closed and with normals, in the unit cube of the network.

    Args:
        model: Maps points to distances in units of the cube.
        box: Box that contains the surface, [2, 3].
        resolution: Cells along the longest side.
        normal: Returns vectors along the normals, [N, 3], at vertices, float32 [N, 3].
        refine: See `nrc_tracer.surfaces.isosurface.extract`, whose errors are raised.
        progress: See `extract`.
    """
    import torch

    def numpy(function: Callable[[Tensor], Tensor]) -> Callable[[np.ndarray], np.ndarray]:
        return lambda points: function(torch.from_numpy(points).to(model.device)).cpu().numpy()

    low, high = box
    return extract(
        numpy(model),
        tuple(low.tolist()),
        tuple(high.tolist()),
        resolution,
        gradient=numpy(normal),
        lipschitz=STEEPEST,
        closed=True,
        refine=refine,
        progress=progress,
    )


def gradient(model: nn.Model, points: Tensor) -> Tensor:
    """The gradient of a network's single output, [N, 3], at points of its unit cube."""
    import torch

    params = model.inference_params.detach()
    parts = []
    for rows in points.split(ROWS):
        x = rows.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(model.apply(x, params).sum(), x)
        parts.append(found)
    return torch.cat(parts) if parts else torch.empty_like(points)
