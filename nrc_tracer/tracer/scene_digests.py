"""Digests of what decides a scene's image, part by part, so that a difference between two scenes can be named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import Scene, TriangleMesh

_OVERRIDDEN = ("camera", "cameras", "film", "sampler", "integrator")
"""Parts of a description that a renderer may replace; they are compared as its settings."""


def digest(*parts: bytes | memoryview) -> str:
    """BLAKE2b digest of bytes, 32 hexadecimal digits."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        total.update(part)
    return total.hexdigest()


def scene_digests(scene: Scene) -> dict[str, dict[str, str]]:
    """Digests of everything in a scene that decides its image, by kind and name.

    Raises:
        SceneError: A snapshot of a neural shape cannot be read.
    """
    description = scene.description
    digests: dict[str, dict[str, str]] = {}
    for kind in description.__struct_fields__:
        if kind in _OVERRIDDEN:
            continue
        content = getattr(description, kind)
        items = content.items() if isinstance(content, dict) else enumerate(content)
        digests[kind] = {_label(name, item): digest(msgspec.json.encode(item)) for name, item in items}
    digests["mesh files"] = {name: _mesh_digest(mesh) for name, mesh in scene.meshes.items()}
    if scene.snapshots:
        digests["snapshots"] = {name: _file_digest(snapshot.path) for name, snapshot in scene.snapshots.items()}
    digests["image files"] = {name: _array_digest(image) for name, image in scene.images.items()}
    return digests


def _file_digest(path: Path) -> str:
    try:
        return digest(path.read_bytes())
    except OSError as error:
        raise SceneError(f"{path}: cannot be read: {error.strerror or error}") from error


def _array_digest(*arrays: np.ndarray | None) -> str:
    return digest(*_with_shapes(arrays))


def _mesh_digest(mesh: TriangleMesh) -> str:
    return _array_digest(mesh.positions, mesh.indices, mesh.normals, mesh.uvs, mesh.colors)


def _with_shapes(arrays: Iterable[np.ndarray | None]) -> Iterable[bytes | memoryview]:
    for array in arrays:
        if array is None:
            yield b"none;"
        else:
            yield f"{array.dtype.str}{array.shape};".encode()
            if array.size:  # an array without items has no buffer
                yield np.ascontiguousarray(array).data


def _label(name: object, item: Any) -> str:
    """What to call a part: its name, or its index and its own name if it has one."""
    own = getattr(item, "name", "") if isinstance(name, int) else ""
    return f"{name} ({own})" if own else str(name)
