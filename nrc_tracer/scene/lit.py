"""Whether a file's own light can light its scene, so that no sky has to be added.

An emitting material alone does not decide this: a lamp on a convex model lights nothing, and an emission texture may be black
nearly everywhere. So the light that reaches the surfaces is estimated and compared with that of the sky that would be added.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nrc_tracer.scene.fitted import sky_pixels
from nrc_tracer.scene.instances import PlacedShape, file_mesh, placed_shapes
from nrc_tracer.scene.model import (
    Bitmap,
    Color,
    DirectionalLight,
    Mesh,
    PointLight,
    Scene,
    SpotLight,
    TriangleMesh,
    VertexColor,
    Wrap,
)
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.scene.vertex_colors import decode_srgb

LEAST = 0.01
"""Smallest irradiance that counts as light, as a fraction of the sky's."""
MOSTLY = 0.9
"""Fraction of the area that must glow for a scene to be visible without any light."""
RECEIVERS, EMITTERS = 512, 2048
"""Numbers of sample points on all surfaces, and on the emitting ones."""
CANDIDATES = 50_000
"""Largest number of triangles, after instancing, that are all candidates for samples; of more it is an even selection."""


class _Triangles(NamedTuple):
    """Candidates for samples: triangles of one shape in world space.

    Attributes:
        placed: The shape.
        mesh: Its mesh in local space.
        chosen: Indices of the triangles in the mesh, shape [count].
        corners: World positions, shape [count, 3, 3], counter-clockwise seen from the side of the normal.
        areas: Areas, shape [count], scaled so that their sum estimates the area of the whole shape.
    """

    placed: PlacedShape
    mesh: TriangleMesh
    chosen: np.ndarray
    corners: np.ndarray
    areas: np.ndarray


class _Samples(NamedTuple):
    """Random points, uniformly distributed over surfaces.

    Attributes:
        positions: Shape [count, 3].
        normals: Unit normals of the triangles, shape [count, 3].
        radiance: Emitted radiance, the mean of its channels, shape [count].
        area: Total area of the surfaces.
    """

    positions: np.ndarray
    normals: np.ndarray
    radiance: np.ndarray
    area: float


def is_lit(scene: Scene) -> bool:
    """Return whether a scene of meshes has enough light of its own, or most of its surface glows.

    The mean irradiance is estimated without shadows, between random points on the surfaces and on the emitting shapes. A light
    that surrounds the scene is always enough.
    """
    lights = [
        light for light in scene.description.lights if isinstance(light, PointLight | SpotLight | DirectionalLight)
    ]
    if len(lights) < len(scene.description.lights):
        return True
    placed = list(placed_shapes(scene.description))
    if not lights and all(each.shape.emission is None for each in placed):
        return False
    shapes = _candidates(placed, scene)
    glowing = _candidates([each for each in placed if each.shape.emission is not None], scene)
    rng = np.random.default_rng(0)
    least = LEAST * float(sky_pixels(16).mean())
    surfaces = _sample(shapes, scene, RECEIVERS, rng)
    if np.mean(surfaces.radiance >= least) >= MOSTLY:
        return True
    irradiance = sum(_irradiance(light, surfaces) for light in lights)
    if glowing:
        irradiance += _exchanged(_sample(glowing, scene, EMITTERS, rng), surfaces)
    return irradiance >= np.pi * least


def _candidates(placed: list[PlacedShape], scene: Scene) -> list[_Triangles]:
    """Select triangles evenly: `CANDIDATES` in all, and at least one of each shape, so that the work is bounded for instances."""
    meshes = [file_mesh(each.shape, scene.meshes) for each in placed]
    step = -(-sum(len(mesh.indices) for mesh in meshes if mesh is not None) // CANDIDATES)
    return [_triangles(each, mesh, step) for each, mesh in zip(placed, meshes, strict=True)]


def _triangles(placed: PlacedShape, mesh: TriangleMesh | None, step: int) -> _Triangles:
    """Return every `step`th triangle of a shape."""
    if mesh is None:
        raise TypeError(f"{placed.place}: only meshes from files are expected")
    chosen = np.arange(0, len(mesh.indices), step)
    linear = placed.to_world[:3, :3]
    corners = mesh.positions[mesh.indices[chosen]].astype(np.float64) @ linear.T + placed.to_world[:3, 3]
    areas = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    return _Triangles(placed, mesh, chosen, corners, areas * (len(mesh.indices) / len(chosen)))


def _sample(shapes: list[_Triangles], scene: Scene, count: int, rng: np.random.Generator) -> _Samples:
    """Draw points uniformly from the area of all triangles."""
    areas = np.concatenate([shape.areas for shape in shapes])
    total = float(areas.sum())
    if not 0.0 < total < np.inf:
        return _Samples(np.zeros((1, 3)), np.zeros((1, 3)), np.zeros(1), 0.0)
    drawn = np.sort(rng.choice(len(areas), count, p=areas / total))
    root, v = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.column_stack((1.0 - root, root * (1.0 - v), root * v))
    begins = np.cumsum([0, *(len(shape.areas) for shape in shapes)])
    cuts = np.searchsorted(drawn, begins)
    positions, normals, radiance = np.empty((count, 3)), np.empty((count, 3)), np.zeros(count)
    for number in np.flatnonzero(np.diff(cuts)).tolist():
        shape, here = shapes[number], slice(cuts[number], cuts[number + 1])
        local = drawn[here] - begins[number]
        corners = shape.corners[local]
        positions[here] = np.einsum("nc,ncx->nx", weights[here], corners)
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        mirrored = np.linalg.det(shape.placed.to_world[:3, :3]) < 0.0
        normal *= -1.0 if mirrored != shape.placed.shape.flip_normals else 1.0
        normals[here] = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
        emission = shape.placed.shape.emission
        if emission is not None:
            vertices = shape.mesh.indices[shape.chosen[local]]
            radiance[here] = _color(emission, shape, vertices, weights[here], scene).mean(axis=-1)
    return _Samples(positions, normals, radiance, total)


def _color(color: Color, shape: _Triangles, vertices: np.ndarray, weights: np.ndarray, scene: Scene) -> np.ndarray:
    """Return the value of a colour, or of the texture that it names, at points of triangles, shape [count, 3] or [count, 1].

    Args:
        color: The colour.
        shape: The shape.
        vertices: The vertices of the points' triangles, shape [count, 3].
        weights: Barycentric coordinates of the points, shape [count, 3].
        scene: The scene.
    """
    if not isinstance(color, str):
        return np.broadcast_to(np.atleast_1d(color), (len(vertices), np.size(color)))
    texture = scene.description.textures[color]
    if isinstance(texture, VertexColor):
        own: np.ndarray | float = 1.0
        if shape.mesh.colors is not None:
            own = np.einsum("nc,ncx->nx", weights, shape.mesh.colors[vertices][..., :3])
        inner = 1.0 if texture.texture is None else _color(texture.texture, shape, vertices, weights, scene)
        return np.ones((len(vertices), 1)) * texture.factor * own * inner
    if not isinstance(texture, Bitmap):
        return np.ones((len(vertices), 1))
    uvs = np.zeros((len(vertices), 2))
    if shape.mesh.uvs is not None:
        uvs = np.einsum("nc,ncx->nx", weights, shape.mesh.uvs[vertices])
    if isinstance(shape.placed.shape, Mesh) and shape.placed.shape.flip_v:
        uvs[:, 1] = 1.0 - uvs[:, 1]
    to_uv = matrix(texture.to_uv)
    uvs = uvs @ to_uv[:2, :2].T + to_uv[:2, 3]
    image = scene.images[texture.file]
    wraps = (texture.wrap, texture.wrap) if isinstance(texture.wrap, str) else texture.wrap
    column, row = (_texel(uvs[:, axis], image.shape[1 - axis], wraps[axis]) for axis in (0, 1))
    texels = image[row, column, : 3 if image.shape[2] >= 3 else 1]
    if texels.dtype.kind == "u":
        texels = texels / np.iinfo(texels.dtype).max
        texels = texels if texture.raw else decode_srgb(texels)
    return texels * texture.factor


def _texel(coordinate: np.ndarray, size: int, wrap: Wrap) -> np.ndarray:
    """Return the index of the nearest texel along an axis of `size` texels."""
    if wrap == "clamp":
        coordinate = np.clip(coordinate, 0.0, 1.0)
    elif wrap == "mirror":
        coordinate = 1.0 - np.abs(coordinate % 2.0 - 1.0)
    else:
        coordinate = coordinate % 1.0
    return np.minimum((coordinate * size).astype(np.int64), size - 1)


def _exchanged(emitters: _Samples, surfaces: _Samples) -> float:
    """Return the mean irradiance of surfaces from emitters: the mean of L cos cos' / r^2 over pairs, times the emitters' area."""
    shining = emitters.radiance > 0.0
    if not shining.any():  # for example, if all glowing triangles have zero area
        return 0.0
    total = 0.0
    for position, normal in zip(surfaces.positions, surfaces.normals, strict=True):
        away = position - emitters.positions[shining]
        square = np.maximum(np.sum(away * away, axis=-1), 1e-12 * max(emitters.area, 1e-300))
        leaving = np.maximum(np.sum(away * emitters.normals[shining], axis=-1), 0.0)
        # An area of this radius around each sample has at most a solid angle of pi: no pair counts more than that
        per_area = np.minimum(
            leaving / square * (np.abs(away @ normal) / square), len(emitters.radiance) / emitters.area
        )
        total += float(np.sum(emitters.radiance[shining] * per_area))
    return total * emitters.area / (len(emitters.radiance) * len(surfaces.positions))


def _irradiance(light: PointLight | SpotLight | DirectionalLight, surfaces: _Samples) -> float:
    """Return the mean irradiance at the samples from a light: half of the irradiance of surfaces that face the light."""
    if isinstance(light, DirectionalLight):
        return 0.5 * float(np.mean(light.irradiance))
    if isinstance(light, PointLight):
        away = surfaces.positions - np.asarray(light.position, np.float64)
        lit = np.ones(len(away), bool)
    else:
        frame = matrix(light.to_world)
        away, axis = surfaces.positions - frame[:3, 3], frame[:3, 2] / np.linalg.norm(frame[:3, 2])
        lit = away @ axis >= np.cos(np.radians(light.cutoff_angle)) * np.linalg.norm(away, axis=-1)
    square = np.maximum(np.sum(away * away, axis=-1), 1e-30)
    return 0.5 * float(np.mean(light.intensity) * np.mean(lit / square))
