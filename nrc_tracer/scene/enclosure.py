"""Scenes whose own shapes shut out the sky that is added where a file has no light, such as closed rooms and painted domes.

Rays tell whether the sky reaches what the camera sees. If it does not, the shapes in its way glow in their own colours, as bright
as they would be under the sky.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from nrc_tracer.scene.fitted import sky_pixels
from nrc_tracer.scene.instances import PlacedShape, file_mesh, placed_shapes
from nrc_tracer.scene.lit import LEAST
from nrc_tracer.scene.model import (
    Bitmap,
    Checkerboard,
    Color,
    Diffuse,
    Mask,
    Orthographic,
    Principled,
    Scene,
    SceneDescription,
    Texture,
    VertexColor,
)
from nrc_tracer.scene.names import unique_name
from nrc_tracer.scene.nesting import lets_through, nested_materials
from nrc_tracer.scene.transforms import matrix

SEEN = 64
"""Number of rays from the camera; none may reach the sky in a scene that shuts it out."""
LEAVING = 4
"""Number of rays that leave each point that the camera sees, in directions of equal cosine-weighted density."""
MOST_TRIANGLES = 2_000_000
"""Most triangles, after instancing, of a scene that is examined; the sky is thought to reach larger ones."""
MOST_TESTS = 4_000_000
"""Most tests of a ray with a triangle for one set of rays; the sky is thought to reach scenes that need more."""
BLOCK = 256
"""Number of neighbouring triangles that are intersected at a time by the rays that meet their bounding box."""
MOST_LAYERS = 3
"""Most layers of shapes, from the outermost inwards, that are tried; a wall whose skins are two shapes has two."""


class Enclosure(NamedTuple):
    """What lights an enclosed scene.

    Attributes:
        description: The scene, with shapes that glow.
        names: The names of these shapes.
    """

    description: SceneDescription
    names: tuple[str, ...]


class _Triangles(NamedTuple):
    """All opaque triangles in world space.

    Attributes:
        corners: Their corners, shape [count, 3, 3].
        shapes: The numbers of their placed shapes, shape [count].
    """

    corners: np.ndarray
    shapes: np.ndarray


class _Hits(NamedTuple):
    """What rays meet.

    Attributes:
        found: Whether they meet anything, shape [rays].
        nearest: Distance of the nearest triangle, shape [rays].
        first: Its number, shape [rays].
        last: Number of the farthest triangle, shape [rays].
    """

    found: np.ndarray
    nearest: np.ndarray
    first: np.ndarray
    last: np.ndarray


def glowing_enclosure(scene: Scene) -> Enclosure | None:
    """Return the scene with glowing shapes in place of a sky; None if the sky reaches what its camera sees.

    The scene's meshes are from files. A shape that lets light through shuts out nothing.
    """
    placed = list(placed_shapes(scene.description))
    if sum(len(mesh.indices) for each in placed if (mesh := file_mesh(each.shape, scene.meshes))) > MOST_TRIANGLES:
        return None
    triangles = _opaque(placed, scene)
    if triangles is None:
        return None
    rng = np.random.default_rng(0)
    origins, directions = _camera_rays(scene.description, rng)
    # A few rays at first, as one of them reaches the sky in most scenes
    parts = []
    for part in (slice(0, 4), slice(4, SEEN)):
        met = _hits(origins[part], directions[part], triangles.corners)
        if met is None or not met.found.all():
            return None
        parts.append(met)
    seen = _Hits(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    points = origins + seen.nearest[:, None] * directions
    leaving = _leaving_rays(directions, _normals(triangles.corners[seen.first]), rng)
    points = np.repeat(points, LEAVING, axis=0)
    points += 1e-4 * np.repeat(seen.nearest, LEAVING)[:, None] * leaving
    hits = _hits(points, leaving, triangles.corners)
    if hits is None or np.mean(~hits.found) >= LEAST:
        return None
    sides = _glowing_sides(points, leaving, hits, triangles, placed)
    return None if sides is None else _glowing(scene, placed, sides)


def _glowing_sides(
    points: np.ndarray, leaving: np.ndarray, hits: _Hits, triangles: _Triangles, placed: list[PlacedShape]
) -> dict[int, bool] | None:
    """Return which shapes shall glow, and whether their normals must be turned round; None if none of them lights the points.

    These are the shapes that rays to the upper half of the sky meet last. If their glowing sides are hidden from the points, as
    those of the outer skins of walls are, the next shapes inwards are tried.
    """
    left = triangles
    for _ in range(MOST_LAYERS):
        last = hits if left is triangles else _hits(points, leaving, left.corners)
        if last is None:
            return None
        above = last.found & (leaving[:, 1] > 0.0)  # in the way of the brighter half of the sky
        met = left.shapes[last.last]
        sides = {}
        for number in np.unique(met[above]).tolist():
            rays = above & (met == number)
            corners = triangles.corners[triangles.shapes == number]
            inner = _hits(points[rays], leaving[rays], corners)  # a wall of two skins glows with the inner one
            if inner is None:
                return None
            facing = np.sum(_normals(corners[inner.first]) * leaving[rays], axis=-1) * _handedness(placed[number])
            if placed[number].shape is placed[number].prototype:  # meshes in instances may not emit
                sides[number] = bool(np.mean(facing > 0.0) > 0.5)
        first = triangles.shapes[hits.first]
        facing = np.sum(_normals(triangles.corners[hits.first]) * leaving, axis=-1)
        lit = np.zeros(len(leaving), bool)
        for number, turned in sides.items():
            lit |= hits.found & (first == number) & ((facing * _handedness(placed[number]) > 0.0) == turned)
        if np.mean(lit) >= LEAST:
            return sides
        keep = ~np.isin(left.shapes, met[above])
        left = _Triangles(left.corners[keep], left.shapes[keep])
        if not len(left.shapes):
            break
    return None


def _handedness(placed: PlacedShape) -> float:
    """Return -1 for a mirrored shape, whose normals the tracer keeps outwards though its triangles turn round, and else 1."""
    return -1.0 if np.linalg.det(placed.to_world[:3, :3]) < 0.0 else 1.0


def _opaque(placed: list[PlacedShape], scene: Scene) -> _Triangles | None:
    """Return the triangles of the shapes that let no light through; None if there are none."""
    corners, shapes = [], []
    for number, each in enumerate(placed):
        mesh = file_mesh(each.shape, scene.meshes)
        if mesh is not None and not _is_clear(each.shape.material, scene.description):
            world = mesh.positions.astype(np.float64) @ each.to_world[:3, :3].T + each.to_world[:3, 3]
            corners.append(_grouped(world[mesh.indices]))
            shapes.append(np.full(len(mesh.indices), number))
    return _Triangles(np.concatenate(corners), np.concatenate(shapes)) if corners else None


def _grouped(corners: np.ndarray) -> np.ndarray:
    """Return triangles in Morton order of their middles, so that the bounding boxes of blocks are small."""
    if len(corners) <= BLOCK:
        return corners
    middles = corners.mean(axis=1)
    low = middles.min(axis=0)
    cells = (1023.0 / max(np.ptp(middles, axis=0).max(), 1e-300) * (middles - low)).astype(np.uint32)
    for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):  # two zeros between bits
        cells = (cells | (cells << np.uint32(shift))) & np.uint32(mask)
    order = np.argsort(cells[:, 0] | (cells[:, 1] << np.uint32(1)) | (cells[:, 2] << np.uint32(2)))
    return corners[order]


def _is_clear(name: str | None, description: SceneDescription) -> bool:
    if name is None:
        return False
    material = description.materials[name]
    inner = (_is_clear(other, description) for _, other in nested_materials(material))
    return isinstance(material, Mask) or lets_through(material) or any(inner)


def _camera_rays(description: SceneDescription, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return origins and unit directions of rays through the largest square in the middle of the image, shape [SEEN, 3]."""
    camera = description.camera
    frame = matrix(camera.to_world)
    across = 2.0 * rng.random((SEEN, 2)) - 1.0
    across[:4] = ((-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0))
    if isinstance(camera, Orthographic):
        origins = across @ frame[:3, :2].T + frame[:3, 3]
        directions = np.broadcast_to(frame[:3, 2], (SEEN, 3))
    else:
        film = description.film
        side = {"x": film.width, "y": film.height, "larger": max(film.width, film.height)}
        size = side.get(camera.fov_axis, min(film.width, film.height))
        slope = np.tan(np.radians(0.5 * camera.fov)) * min(film.width, film.height) / size
        local = np.column_stack((slope * across, np.ones(SEEN)))
        origins, directions = np.broadcast_to(frame[:3, 3], (SEEN, 3)), local @ frame[:3, :3].T
    return origins, directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def _normals(corners: np.ndarray) -> np.ndarray:
    """Return the unit normals of triangles, shape [count, 3]."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-300)


def _leaving_rays(arriving: np.ndarray, normals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return `LEAVING` directions in turn for each point, on the side from which it is seen, shape [LEAVING count, 3]."""
    normals = np.where(np.sum(normals * arriving, axis=-1, keepdims=True) > 0.0, -normals, normals)
    normals = np.repeat(normals, LEAVING, axis=0)
    ball = rng.normal(size=normals.shape)
    leaving = normals + (1.0 - 1e-6) * ball / np.linalg.norm(ball, axis=-1, keepdims=True)
    return leaving / np.linalg.norm(leaving, axis=-1, keepdims=True)


def _hits(origins: np.ndarray, directions: np.ndarray, corners: np.ndarray) -> _Hits | None:
    """Intersect rays with triangles; None if that takes more than `MOST_TESTS` tests.

    The test is that of Moeller and Trumbore, *Fast, Minimum Storage Ray/Triangle Intersection*, 1997.
    """
    count = len(origins)
    # The farthest is the nearest of negative distances
    nearest, opposite = np.full(count, np.inf), np.full(count, np.inf)
    first, last = np.zeros(count, np.int64), np.zeros(count, np.int64)
    tests = 0
    for begin, rays in _blocks_met(origins, directions, corners):
        block = corners[begin : begin + BLOCK]
        tests += len(rays) * len(block)
        if tests > MOST_TESTS:
            return None
        o, d = origins[rays, None], directions[rays, None]
        a, b, c = np.moveaxis(block[None], 2, 0)
        across, along = b - a, c - a
        normal = np.cross(d, along)
        determinant = np.sum(normal * across, axis=-1)
        inverse = 1.0 / np.where(determinant == 0.0, np.inf, determinant)
        away = o - a
        turned = np.cross(away, across)
        u = np.sum(away * normal, axis=-1) * inverse
        v = np.sum(d * turned, axis=-1) * inverse
        t = np.sum(along * turned, axis=-1) * inverse
        meets = (determinant != 0.0) & (u >= 0.0) & (v >= 0.0) & (u + v <= 1.0) & (t > 0.0)
        _keep_nearest(np.where(meets, t, np.inf), begin, rays, nearest, first)
        _keep_nearest(np.where(meets, -t, np.inf), begin, rays, opposite, last)
    return _Hits(np.isfinite(nearest), nearest, first, last)


def _blocks_met(origins: np.ndarray, directions: np.ndarray, corners: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield where each block of triangles begins and the numbers of the rays that meet its bounding box, if there are any."""
    begins = np.arange(0, len(corners), BLOCK)
    lows = np.minimum.reduceat(corners.min(axis=1), begins)
    highs = np.maximum.reduceat(corners.max(axis=1), begins)
    margin = 1e-9 * max(np.abs(lows).max(), np.abs(highs).max(), np.abs(origins).max(initial=0.0))  # for rounding
    inverse = 1.0 / np.where(np.abs(directions) < 1e-30, 1e-30, directions)
    for begin, low, high in zip(begins.tolist(), lows - margin, highs + margin, strict=True):
        to_low, to_high = (low - origins) * inverse, (high - origins) * inverse
        enter, leave = np.minimum(to_low, to_high).max(axis=-1), np.maximum(to_low, to_high).min(axis=-1)
        rays = np.flatnonzero((enter <= leave) & (leave >= 0.0))
        if len(rays):
            yield begin, rays


def _keep_nearest(distances: np.ndarray, begin: int, rays: np.ndarray, nearest: np.ndarray, index: np.ndarray) -> None:
    """Update the nearest distance of some rays, and the triangle there, by the distances of a block, shape [rays, triangles]."""
    here = np.argmin(distances, axis=1)
    value = distances[np.arange(len(distances)), here]
    better = value < nearest[rays]
    nearest[rays[better]], index[rays[better]] = value[better], begin + here[better]


def _glowing(scene: Scene, placed: list[PlacedShape], sides: dict[int, bool]) -> Enclosure:
    """Return the scene in which shapes glow.

    Args:
        scene: The scene.
        placed: Its placed shapes.
        sides: The numbers of the placed shapes that glow, and whether their normals are turned round. None is in a group.
    """
    description = scene.description
    textures, shapes = dict(description.textures), list(description.shapes)
    radiance = float(sky_pixels(16).mean())
    names = []
    for number, turned in sides.items():
        shape = placed[number].shape
        index = next(i for i, other in enumerate(shapes) if other is shape)
        color = _scaled(_own_color(shape.material, description), radiance, textures)
        shapes[index] = msgspec.structs.replace(shapes[index], emission=color, flip_normals=turned)
        names.append(shape.name)
    changed = msgspec.structs.replace(description, textures=textures, shapes=tuple(shapes))
    return Enclosure(changed, tuple(dict.fromkeys(names)))


def _own_color(name: str | None, description: SceneDescription) -> Color:
    """Return the colour of a material, or of the first one in it that has one."""
    material = None if name is None else description.materials[name]
    if isinstance(material, Principled):
        return material.base_color
    if isinstance(material, Diffuse):
        return material.reflectance
    for _, inner in nested_materials(material) if material is not None else ():
        return _own_color(inner, description)
    return 0.5


def _scaled(color: Color, factor: float, textures: dict[str, Texture]) -> Color:
    """Return a colour times a factor; a texture becomes another one, which is added to `textures`."""
    if not isinstance(color, str):
        return _times(color, factor)
    texture = textures[color]
    if isinstance(texture, Checkerboard):
        scaled: Texture = msgspec.structs.replace(
            texture, color0=_times(texture.color0, factor), color1=_times(texture.color1, factor)
        )
    else:
        assert isinstance(texture, Bitmap | VertexColor)
        scaled = msgspec.structs.replace(texture, factor=_times(texture.factor, factor))
    name = unique_name(f"{color} (glow)", textures)
    textures[name] = scaled
    return name


def _times(color: float | tuple[float, float, float], factor: float) -> float | tuple[float, float, float]:
    if isinstance(color, tuple):
        return (factor * color[0], factor * color[1], factor * color[2])
    return factor * color
