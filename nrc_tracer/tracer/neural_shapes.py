"""Learnt signed distances as triangles, made once when a renderer takes a scene.

The network is not sphere-traced inside the path kernel. On one core a ray against an Embree scene of 589,000 triangles took
0.5 us, and a query of a network of the usual size (16 levels, 2 layers of 64 neurons) 0.8 us, in batches of 262,144, which a
kernel that follows one path at a time does not have. A ray needs 10 queries in the mean, one after another, even of a true
distance to a torus: so it is 15 times as expensive at the very least, and the kernel, whose compile time is at its limit,
would have the network's code in it. As triangles a learnt shape is lit, emits, is instanced, cached and resumed like any other;
with vertices brought onto the zero level and the network's own gradient for normals, what is left is how the surface bends
within a cell.
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
from nrc_tracer.scene.validate import shapes_with_places
from nrc_tracer.surfaces.isosurface import Isosurface, extract
from nrc_tracer.surfaces.surface_mesh import mesh_normals

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from nrc_tracer import nn

STEEPEST = 2.0
"""Where the network's distance at the centre of a brick is more than so many times its half diagonal, there is no surface in it:
twice what a true distance needs."""
REFINE = 4
"""Evaluations that bring each vertex onto the zero level."""
LEAST_COSINE = 0.5
"""Of the angle between the network's gradient and the triangles around a vertex; a gradient further off is noise."""
ROWS = 2**18
"""Points of which gradients are taken at once."""

_made: weakref.WeakValueDictionary[tuple, TriangleMesh] = weakref.WeakValueDictionary()
"""Triangles that some scene still holds: a changed scene, and another renderer of the same one, need not make them again."""


def with_triangles(scene: Scene, device: str, threads: int | None = None) -> Scene:
    """The scene with a mesh in place of each learnt shape; the scene itself where it has none.

    A snapshot that several shapes have with the same resolution is made into triangles once. The triangles are the same for
    any number of threads: the network is evaluated in float32 whatever it was trained in.

    Args:
        scene: A scene that has been validated.
        device: Warp device to evaluate networks on.
        threads: Threads on the CPU; one per core unless given.

    Raises:
        SceneError: A snapshot cannot be read, or has no surface; the message begins with the shape's place.
        DeviceError: The device has no room for the network.
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
    """What its triangles are called among the scene's meshes."""
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
    """Triangles of a learnt shape with the network's normals, closed, where the mesh lay that was learnt.

    Args:
        snapshot: Its header.
        resolution: Cells along the longest side.
        device: Warp device to evaluate the network on.
        threads: Threads on the CPU; one per core unless given.

    Raises:
        SnapshotError: The file cannot be read.
        DataError: The network has no surface where the mesh was, or scikit-image is missing.
        DeviceError: The device has no room for the network.
    """
    # Which loads torch
    import torch

    from nrc_tracer.nn import load

    try:
        model = load(snapshot.path, device=device, precision="float32", threads=threads)
        surface = surface_in_cube(
            model,
            cube_box(snapshot.center, snapshot.scale, snapshot.bounds),
            resolution,
            normal=lambda points: gradient(model, points),
            refine=REFINE,
        )
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{device} cannot hold the network of {snapshot.path}") from error
    around = mesh_normals(surface.positions, surface.indices)
    agree = np.sum(surface.normals * around, axis=1) >= LEAST_COSINE
    normals = np.where(agree[:, None], surface.normals, around)
    positions = (surface.positions.astype(np.float64) - 0.5) / snapshot.scale + snapshot.center
    return TriangleMesh(positions.astype(np.float32), surface.indices, normals)


def surface_in_cube(
    model: nn.Model,
    box: np.ndarray,
    resolution: int,
    *,
    normal: Callable[[Tensor], Tensor],
    refine: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Isosurface:
    """Triangles of a learnt distance with normals, closed, in the unit cube of the network.

    Args:
        model: Takes points to distances in units of the cube.
        box: Where the surface is, [2, 3].
        resolution: Cells along the longest side.
        normal: Gives something along the normals, [N, 3], at vertices, float32 [N, 3].
        refine: See `nrc_tracer.surfaces.isosurface.extract`, whose errors it raises.
        progress: Likewise.
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
    """The derivative of a network's one output, [N, 3], at points of its unit cube."""
    import torch

    params = model.inference_params.detach()
    parts = []
    for rows in points.split(ROWS):
        x = rows.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(model.apply(x, params).sum(), x)
        parts.append(found)
    return torch.cat(parts) if parts else torch.empty_like(points)
