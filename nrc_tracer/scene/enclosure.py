"""Scenes whose own shapes shut out the sky that is added where a file has no light, such as closed rooms and painted domes.

Rays tell whether the sky reaches what the camera sees. If it does not, the shapes in its way glow in their own colours, as bright
as they would be under the sky.
"""

from __future__ import annotations

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
BLOCK = 4096
"""Number of triangles that are intersected at a time."""


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
    for part in (slice(0, 4), slice(4, SEEN)):
        if not _hits(origins[part], directions[part], triangles.corners).found.all():
            return None
    seen = _hits(origins, directions, triangles.corners)
    points = origins + seen.nearest[:, None] * directions
    leaving = _leaving_rays(directions, _normals(triangles.corners[seen.first]), rng)
    points = np.repeat(points, LEAVING, axis=0)
    points += 1e-4 * np.repeat(seen.nearest, LEAVING)[:, None] * leaving
    hits = _hits(points, leaving, triangles.corners)
    if np.mean(~hits.found) >= LEAST:
        return None
    above = hits.found & (leaving[:, 1] > 0.0)  # in the way of the brighter half of the sky
    last, facing = hits.last[above], np.sum(_normals(triangles.corners[hits.last[above]]) * leaving[above], axis=-1)
    return _glowing(scene, placed, triangles.shapes[last], facing)


def _opaque(placed: list[PlacedShape], scene: Scene) -> _Triangles | None:
    """Return the triangles of the shapes that let no light through; None if there are none."""
    corners, shapes = [], []
    for number, each in enumerate(placed):
        mesh = file_mesh(each.shape, scene.meshes)
        if mesh is not None and not _is_clear(each.shape.material, scene.description):
            world = mesh.positions.astype(np.float64) @ each.to_world[:3, :3].T + each.to_world[:3, 3]
            corners.append(world[mesh.indices])
            shapes.append(np.full(len(mesh.indices), number))
    return _Triangles(np.concatenate(corners), np.concatenate(shapes)) if corners else None


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


def _hits(origins: np.ndarray, directions: np.ndarray, corners: np.ndarray) -> _Hits:
    """Intersect rays with triangles (Moeller and Trumbore, *Fast, Minimum Storage Ray/Triangle Intersection*, 1997)."""
    count = len(origins)
    nearest, opposite = (
        np.full(count, np.inf),
        np.full(count, np.inf),
    )  # the farthest is the nearest of negative distances
    first, last = np.zeros(count, np.int64), np.zeros(count, np.int64)
    o, d = origins[:, None], directions[:, None]
    for begin in range(0, len(corners), BLOCK):
        a, b, c = np.moveaxis(corners[None, begin : begin + BLOCK], 2, 0)
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
        _keep_nearest(np.where(meets, t, np.inf), begin, nearest, first)
        _keep_nearest(np.where(meets, -t, np.inf), begin, opposite, last)
    return _Hits(np.isfinite(nearest), nearest, first, last)


def _keep_nearest(distances: np.ndarray, begin: int, nearest: np.ndarray, index: np.ndarray) -> None:
    """Update the nearest distance of each ray, and the triangle there, by the distances of a block, shape [rays, triangles]."""
    here = np.argmin(distances, axis=1)
    value = distances[np.arange(len(distances)), here]
    better = value < nearest
    nearest[better], index[better] = value[better], begin + here[better]


def _glowing(scene: Scene, placed: list[PlacedShape], met: np.ndarray, facing: np.ndarray) -> Enclosure | None:
    """Return the scene in which the shapes that rays met last glow on the side that most rays met; None if there are none.

    Args:
        scene: The scene.
        placed: Its placed shapes.
        met: The number of the placed shape that each ray met last, shape [rays].
        facing: The cosine between each ray and the normal there, shape [rays].
    """
    description = scene.description
    textures, shapes = dict(description.textures), list(description.shapes)
    radiance = float(sky_pixels(16).mean())
    names = []
    for number in np.unique(met).tolist():
        shape = placed[number].shape
        index = next((i for i, other in enumerate(shapes) if other is shape), None)
        if index is None:  # in an instance, whose meshes may not emit
            continue
        color = _scaled(_own_color(shape.material, description), radiance, textures)
        turned = bool(np.mean(facing[met == number] > 0.0) > 0.5)
        shapes[index] = msgspec.structs.replace(shapes[index], emission=color, flip_normals=turned)
        names.append(shape.name)
    if not names:
        return None
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
