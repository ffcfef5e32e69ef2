"""The node hierarchy of a glTF file, which places everything in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.gltf.document import Document
from nrc_tracer.scene.gltf.entry import Entry
from nrc_tracer.scene.model import Transform
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.scene.vectors import as_matrix


@dataclass(frozen=True)
class PlacedNode:
    """A node and its transform to world space, shape [4, 4], float64."""

    entry: Entry
    to_world: np.ndarray


def walk(document: Document) -> Iterator[PlacedNode]:
    """Yield the nodes of the default scene in the order of the file, each after its parent.

    Raises:
        SceneError: A node is its own ancestor or has two parents, or a transform is malformed or not finite.
    """
    seen: set[int] = set()
    # A stack: the last one is visited next
    stack = [(index, np.eye(4), place) for index, place in reversed(_roots(document))]
    while stack:
        index, parent, place = stack.pop()
        if index in seen:
            raise SceneError(f"{document.path}: {place}: node {index} is in the scene twice (two parents, or a circle)")
        seen.add(index)
        entry = document.get("nodes", index)
        with np.errstate(over="ignore", invalid="ignore"):
            to_world = parent @ local_matrix(entry)
        if not np.all(np.isfinite(to_world)) or np.any(np.abs(to_world) > 3e38):
            entry.fail("the transform is not finite")
        yield PlacedNode(entry, to_world)
        children = entry.references("children", "nodes")
        stack += [(child, to_world, f"{entry.at('children')}[{n}]") for n, child in reversed(list(enumerate(children)))]


def default_scene(document: Document) -> Entry | None:
    """Return the scene that the file marks as its default, else the first one; None if it has no scenes."""
    if not document.count("scenes"):
        return None
    return document.get("scenes", document.root.reference("scene", "scenes") or 0)


def local_matrix(node: Entry) -> np.ndarray:
    """Return a node's local transform, shape [4, 4]: its matrix, or scale, then rotation, then translation."""
    if "matrix" in node:
        columns = np.array(node.vector("matrix", 16)).reshape(4, 4)
        if not np.allclose(columns[:, 3], (0.0, 0.0, 0.0, 1.0)):
            node.fail("is not affine: elements 3, 7, 11 and 15 must be 0 0 0 1", "matrix")
        columns[:, 3] = (0.0, 0.0, 0.0, 1.0)
        return columns.T
    result = np.eye(4)
    x, y, z, w = _unit_quaternion(node)
    result[:3, :3] = (
        (1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)),
        (2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)),
        (2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)),
    )
    result[:3, :3] *= node.vector("scale", 3, (1.0, 1.0, 1.0))
    result[:3, 3] = node.vector("translation", 3, (0.0, 0.0, 0.0))
    return result


def as_transform(to_world: np.ndarray) -> Transform:
    """Return a matrix as a transform of the scene, without steps for the identity."""
    if np.array_equal(to_world, np.eye(4)):
        return ()
    return (as_matrix(to_world),)


def is_flat(to_world: np.ndarray) -> bool:
    """Return whether a transform is singular, so that nothing it places is visible."""
    try:
        matrix(as_transform(to_world))
    except SceneError:
        return True
    return False


def view_frame(node: PlacedNode) -> np.ndarray:
    """Return the rigid transform that places a camera or light, without scale and shear, shape [4, 4].

    In glTF these look along local -z with +y up; in the scene model along +z with +y up.

    Raises:
        SceneError: The transform of the node is singular.
    """
    if is_flat(node.to_world):
        node.entry.fail("the transform is singular, so that a camera or light has no direction")
    forward, up = -node.to_world[:3, 2], node.to_world[:3, 1]
    forward = forward / np.linalg.norm(forward)
    up = up / np.linalg.norm(up)
    left = np.cross(up, forward)
    left /= np.linalg.norm(left)
    frame = np.eye(4)
    frame[:3] = np.column_stack((left, np.cross(forward, left), forward, node.to_world[:3, 3]))
    return frame


def _unit_quaternion(node: Entry) -> np.ndarray:
    quaternion = np.array(node.vector("rotation", 4, (0.0, 0.0, 0.0, 1.0)))
    length = np.linalg.norm(quaternion)
    if not length > 1e-12:
        node.fail("must not be zero", "rotation")
    return quaternion / length


def _roots(document: Document) -> list[tuple[int, str]]:
    """Return the root nodes of the default scene, or of the file if it has no scenes, each with the place that names it."""
    scene = default_scene(document)
    if scene is not None:
        return [(node, f"{scene.at('nodes')}[{n}]") for n, node in enumerate(scene.references("nodes", "nodes"))]
    count = document.count("nodes")
    children: set[int] = set()
    for index in range(count):
        children.update(document.get("nodes", index).references("children", "nodes"))
    return [(index, "$.nodes") for index in range(count) if index not in children]
