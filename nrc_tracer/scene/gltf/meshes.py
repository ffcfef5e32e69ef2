"""The primitives of glTF meshes as triangle meshes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nrc_tracer.scene.geometry import unit_normals
from nrc_tracer.scene.gltf.accessors import AccessorReader
from nrc_tracer.scene.gltf.document import Document
from nrc_tracer.scene.gltf.entry import Entry
from nrc_tracer.scene.gltf.materials import MaterialReader, ReadMaterial
from nrc_tracer.scene.gltf.tangents import TOLERATED, differing_tangents
from nrc_tracer.scene.model import Transform, TriangleMesh
from nrc_tracer.scene.transforms import matrix

MODES = ("points", "lines", "line loops", "line strips", "triangles", "triangle strips", "triangle fans")
"""Names of the modes of a primitive, by number."""
MAX_TRIANGLES = 1 << 28
"""Largest accepted number of triangles in a file, before instancing."""


class Primitive(NamedTuple):
    """A part of a mesh with one material: the name of its triangles among the scene's meshes, their number, and the material."""

    mesh: str
    triangles: int
    material: ReadMaterial


class MeshReader:
    """Reads meshes, each of them once. `meshes` contains their triangles, by the name to use as `Mesh.file`."""

    def __init__(self, document: Document, materials: MaterialReader) -> None:
        self.document = document
        self.materials = materials
        self.meshes: dict[str, TriangleMesh] = {}
        self._accessors = AccessorReader(document)
        self._read: dict[int, tuple[Primitive, ...]] = {}
        self._names: dict[tuple, str] = {}
        self._triangles = 0

    def read(self, index: int) -> tuple[Primitive, ...]:
        """Read the primitives of a mesh that have triangles.

        Raises:
            SceneError: An accessor is malformed, an index is out of range, or a position is not finite.
        """
        if index not in self._read:
            mesh = self.document.get("meshes", index)
            entries = mesh.entries("primitives")
            read = (self._primitive(entry, f"mesh{index}.{number}") for number, entry in enumerate(entries))
            self._read[index] = tuple(primitive for primitive in read if primitive is not None)
        return self._read[index]

    def _primitive(self, entry: Entry, label: str) -> Primitive | None:
        mode = entry.integer("mode", 4, high=6)
        if mode < 4:
            entry.warn(f"{MODES[mode]} are not supported and left out", "mode")
            return None
        attributes = entry.entry("attributes")
        if attributes is None or "POSITION" not in attributes:
            entry.warn("has no positions and is left out")
            return None
        if "targets" in entry:
            entry.warn("morph targets are not supported; the base shape is used", "targets")
        colors = self._colors(attributes)
        material = self.materials.read(entry.reference("material", "materials"), colors is not None)
        # Primitives that only differ in their material share their triangles
        accessors = (
            attributes.reference(key, "accessors") for key in ("POSITION", "NORMAL", _uv_key(material), "COLOR_0")
        )
        key = (mode, entry.reference("indices", "accessors"), *accessors)
        if key not in self._names:
            mesh = self._triangle_mesh(entry, attributes, mode, material, colors)
            if mesh is None:
                return None
            self._names[key] = f"{self.document.path.name}#{label}"
            self.meshes[self._names[key]] = mesh
        name = self._names[key]
        return Primitive(name, len(self.meshes[name].indices), material)

    def _triangle_mesh(
        self, entry: Entry, attributes: Entry, mode: int, material: ReadMaterial, colors: np.ndarray | None
    ) -> TriangleMesh | None:
        positions = self._accessors.numbers(attributes, "POSITION", ("VEC3",))
        if positions is None:
            attributes.fail('"POSITION" is missing')
        finite = np.isfinite(positions).all(axis=1)
        if not np.all(finite):
            attributes.fail(f"vertex {int(np.argmin(finite))} is not finite", "POSITION")
        indices = self._indices(entry, attributes, mode, len(positions))
        if not len(indices):
            entry.warn("has no triangles and is left out")
            return None
        self._triangles += len(indices)
        if self._triangles > MAX_TRIANGLES:
            entry.fail(f"the file has more than the {MAX_TRIANGLES:,} triangles that are accepted")
        if colors is not None and len(colors) != len(positions):
            attributes.fail(f"has {len(colors)} entries for {len(positions)} positions", "COLOR_0")
        normals = self._normals(attributes, positions, indices)
        uvs = self._uvs(attributes, material, len(positions))
        mesh = TriangleMesh(positions, indices, normals, uvs, colors)
        if uvs is not None and material.normal_to_uv is not None:
            self._compare_tangents(attributes, mesh, uvs, material.normal_to_uv)
        return mesh

    def _compare_tangents(self, attributes: Entry, mesh: TriangleMesh, uvs: np.ndarray, to_uv: Transform) -> None:
        """Warn if the file's tangents, which are not used, differ from those that the normal map's coordinates give."""
        stored = self._attribute(attributes, "TANGENT", ("VEC4",), len(mesh.positions))
        if stored is None:
            return
        m = matrix(to_uv)
        mapped = uvs @ m[:2, :2].T + m[:2, 3]
        fraction = differing_tangents(np.nan_to_num(stored), mesh.positions, mesh.normals, mesh.indices, mapped)
        if fraction > TOLERATED:
            attributes.warn(
                "tangents that differ from those of the texture coordinates are not supported; the latter are used",
                "TANGENT",
            )

    def _indices(self, entry: Entry, attributes: Entry, mode: int, count: int) -> np.ndarray:
        corners = self._accessors.integers(entry, "indices")
        if corners is None:
            corners = np.arange(count)
        elif corners.max() >= count:
            entry.fail(f"a triangle uses vertex {int(corners.max())}, and there are only {count} (from 0)", "indices")
        if mode == 4:
            if len(corners) % 3:
                entry.warn(f"{len(corners)} corners do not make whole triangles; the last ones are left out")
            triangles = corners[: len(corners) // 3 * 3].reshape(-1, 3)
        else:
            first = np.arange(max(len(corners) - 2, 0))
            odd = first % 2 if mode == 5 else 0
            start = first if mode == 5 else np.zeros_like(first)
            second, third = (first + 1 + odd, first + 2 - odd) if mode == 5 else (first + 1, first + 2)
            triangles = np.column_stack((corners[start], corners[second], corners[third]))
        return np.ascontiguousarray(triangles, dtype=np.int32)

    def _normals(self, attributes: Entry, positions: np.ndarray, indices: np.ndarray) -> np.ndarray | None:
        """Return unit normals; None, for flat faces, where the file has none."""
        stored = self._attribute(attributes, "NORMAL", ("VEC3",), len(positions))
        if stored is None:
            return None
        return unit_normals(stored, positions, indices)

    def _uvs(self, attributes: Entry, material: ReadMaterial, count: int) -> np.ndarray | None:
        key = _uv_key(material)
        uvs = self._attribute(attributes, key, ("VEC2",), count)
        if uvs is None and material.uv_set is not None:
            attributes.warn(f"the material's textures need {key}, which is missing; they are read at (0, 0)")
        if uvs is not None and not np.all(np.isfinite(uvs)):
            attributes.fail("a texture coordinate is not finite", key)
        return uvs

    def _colors(self, attributes: Entry) -> np.ndarray | None:
        """Return linear RGB and opacity; None if there are no colours, or all of them are white."""
        colors = self._accessors.numbers(attributes, "COLOR_0", ("VEC3", "VEC4"))
        if colors is None:
            return None
        colors = np.clip(np.nan_to_num(colors), 0.0, 1.0)
        if colors.shape[1] == 3:
            colors = np.column_stack((colors, np.ones(len(colors))))
        if np.all(colors == 1.0):
            return None
        return np.ascontiguousarray(colors, dtype=np.float32)

    def _attribute(self, attributes: Entry, key: str, types: tuple[str, ...], count: int) -> np.ndarray | None:
        array = self._accessors.numbers(attributes, key, types)
        if array is not None and len(array) != count:
            attributes.fail(f"has {len(array)} entries for {count} positions", key)
        return array


def _uv_key(material: ReadMaterial) -> str:
    return f"TEXCOORD_{material.uv_set or 0}"
