"""A summary of a scene: counts, sizes, memory and bounds, as plain data."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from nrc_tracer.scene.geometry import triangle_count, world_mesh, world_sphere
from nrc_tracer.scene.instances import file_mesh, geometry_size, placed_shapes
from nrc_tracer.scene.memory import geometry_bytes, image_bytes
from nrc_tracer.scene.model import Bitmap, EnvironmentMap, Instance, NeuralSdf, Scene, Sphere
from nrc_tracer.scene.neural_sdf import box_corners
from nrc_tracer.scene.transforms import matrix


def summarize(scene: Scene, accel: str = "embree") -> dict[str, Any]:
    """Summarize a loaded scene as data that can be written as JSON.

    Args:
        scene: The scene.
        accel: Acceleration structure for which memory is estimated, `embree` or `warp`.

    Returns:
        `cameras`, `film`, `sampler`, `integrator`, `lights`, `geometry`, `shapes`, `materials`, `textures`, `images`,
        `memory` [bytes on the device], `bounds`, `warnings` and `notes`.
    """
    description = scene.description
    size = geometry_size(scene)
    images = _images(scene)
    memory = {"geometry": geometry_bytes(size, accel), "images": sum(image["bytes"] for image in images)}
    return {
        "scene": str(scene.source) if scene.source else "",
        "cameras": _cameras(scene),
        "film": {"width": description.film.width, "height": description.film.height, "crop": description.film.crop},
        "sampler": {"type": description.sampler.type, "spp": description.sampler.spp},
        "integrator": {"max_depth": description.integrator.max_depth, "rr_depth": description.integrator.rr_depth},
        "lights": _lights(scene),
        "shapes": _kinds(description.shapes),
        "groups": {name: len(group) for name, group in description.groups.items()},
        "geometry": {
            "shapes": size.shapes,
            "instances": sum(isinstance(shape, Instance) for shape in description.shapes),
            "triangles": size.triangles,
            "unique_triangles": size.unique_triangles,
            "vertices": size.vertices,
            "spheres": size.spheres,
            "neural": size.neural,
        },
        "materials": _kinds(description.materials.values()),
        "textures": _kinds(description.textures.values()),
        "images": images,
        "memory": {**memory, "total": sum(memory.values())},
        "bounds": _bounds(scene),
        "warnings": list(scene.warnings),
        "notes": list(scene.notes),
    }


def _tag(value: Any) -> str:
    return value.__struct_config__.tag


def _kinds(values: Any) -> dict[str, int]:
    """Count the values of each type, the most frequent first."""
    return dict(Counter(_tag(value) for value in values).most_common())


def _cameras(scene: Scene) -> list[dict[str, Any]]:
    description = scene.description
    cameras = description.cameras or {"camera": description.camera}
    rows = []
    for index, (name, camera) in enumerate(cameras.items()):
        to_world = matrix(camera.to_world)
        rows.append(
            {
                "index": index,
                "name": name,
                "type": _tag(camera),
                "position": to_world[:3, 3].tolist(),
                "direction": (to_world[:3, 2] / np.linalg.norm(to_world[:3, 2])).tolist(),
                "fov": getattr(camera, "fov", None),
                "fov_axis": getattr(camera, "fov_axis", None),
                "used": camera == description.camera,
            }
        )
    return rows


def _lights(scene: Scene) -> dict[str, int]:
    """Count the lights of each type, the emitting shapes, and the triangles of the latter."""
    counts = _kinds(scene.description.lights)
    emitting = [placed.shape for placed in placed_shapes(scene.description) if placed.shape.emission is not None]
    if emitting:
        counts["shining_shape"] = len(emitting)
        counts["shining_triangle"] = sum(triangle_count(shape, file_mesh(shape, scene.meshes)) for shape in emitting)
    return counts


def _images(scene: Scene) -> list[dict[str, Any]]:
    """List every image file once, with its uses."""
    users: dict[str, list[str]] = {}
    for name, texture in scene.description.textures.items():
        if isinstance(texture, Bitmap):
            users.setdefault(texture.file, []).append(name)
    environments = {light.file for light in scene.description.lights if isinstance(light, EnvironmentMap)}
    rows = []
    for file in dict.fromkeys([*users, *environments]):
        pixels = scene.images[file]
        rows.append(
            {
                "file": file,
                "width": pixels.shape[1],
                "height": pixels.shape[0],
                "channels": pixels.shape[2],
                "type": str(pixels.dtype),
                "textures": users.get(file, []),
                "environment": file in environments,
                "bytes": image_bytes(pixels, texture=file in users, environment=file in environments),
            }
        )
    return rows


def scene_bounds(scene: Scene) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the lowest and the highest corner of the box around all shapes, [3] each, or None if there are none."""
    bounds = _bounds(scene)
    return None if bounds is None else (np.array(bounds["low"]), np.array(bounds["high"]))


def _bounds(scene: Scene) -> dict[str, list[float]] | None:
    """Return the lowest and highest corner of the box around all shapes, or None if there are none."""
    corners = []
    for placed in placed_shapes(scene.description):
        shape = placed.shape
        sphere = world_sphere(shape) if isinstance(shape, Sphere) else None
        if sphere is not None:
            corners += [sphere[0] - sphere[1], sphere[0] + sphere[1]]
        elif isinstance(shape, NeuralSdf):
            to_world = matrix(shape.to_world)
            box = box_corners(scene.snapshots[shape.file]) @ to_world[:3, :3].T + to_world[:3, 3]
            corners += [box.min(axis=0), box.max(axis=0)]
        else:
            mesh = world_mesh(shape, file_mesh(shape, scene.meshes))
            corners += [mesh.positions.min(axis=0), mesh.positions.max(axis=0)]
    if not corners:
        return None
    return {"low": np.min(corners, axis=0).tolist(), "high": np.max(corners, axis=0).tolist()}
