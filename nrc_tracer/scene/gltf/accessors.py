"""Accessors: typed arrays in the buffers of a glTF file, including sparse ones."""

from __future__ import annotations

import numpy as np

from nrc_tracer.scene.gltf.document import Document
from nrc_tracer.scene.gltf.entry import Entry

COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
MAX_COUNT = 2**31 - 1
"""Largest accepted number of elements of an accessor."""
MAX_ZEROS = 1 << 24
"""Largest accepted number of elements of an accessor without a buffer view, which take no space in the file."""


class AccessorReader:
    """Reads accessors, each of them once."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._arrays: dict[tuple[int, bool], np.ndarray] = {}

    def numbers(self, owner: Entry, key: str, types: tuple[str, ...]) -> np.ndarray | None:
        """Read an accessor as numbers; normalized integers become fractions.

        Args:
            owner: The object that refers to the accessor.
            key: The key of the reference, such as `POSITION`.
            types: Accepted types, such as `VEC3`.

        Returns:
            Shape [count, width], float32, read-only; None if there is no such key.

        Raises:
            SceneError: The accessor is of another type, or reaches beyond its data.
        """
        return self._read(owner, key, types, False)

    def integers(self, owner: Entry, key: str) -> np.ndarray | None:
        """Read a scalar accessor of unsigned integers: shape [count], int64, read-only; None if there is no such key."""
        array = self._read(owner, key, ("SCALAR",), True)
        return None if array is None else array[:, 0]

    def _read(self, owner: Entry, key: str, types: tuple[str, ...], whole: bool) -> np.ndarray | None:
        index = owner.reference(key, "accessors")
        if index is None:
            return None
        accessor = self.document.get("accessors", index)
        kind = accessor.string("type")
        if kind not in types:
            owner.fail(f'accessors[{index}] is of type "{kind[:20]}", not {" or ".join(types)}', key)
        if whole and accessor.value.get("componentType") not in (5121, 5123, 5125):
            owner.fail(f"accessors[{index}] is not of unsigned integers", key)
        if (index, whole) not in self._arrays:
            array = _read_accessor(self.document, accessor, WIDTHS[kind], whole)
            array.setflags(write=False)
            self._arrays[index, whole] = array
        return self._arrays[index, whole]


def _read_accessor(document: Document, accessor: Entry, width: int, whole: bool) -> np.ndarray:
    component = _component(accessor)
    count = accessor.integer("count", low=1, high=MAX_COUNT)
    normalized = accessor.boolean("normalized", False)
    sparse = accessor.entry("sparse")
    if "bufferView" in accessor:
        stored = _elements(document, accessor, component, count, width)
    elif sparse is None:
        accessor.fail("has no bufferView, so no data (is the mesh compressed?)")
    elif count > MAX_ZEROS:
        accessor.fail(f"{count} elements without data are more than the {MAX_ZEROS} that are accepted", "count")
    else:
        stored = np.zeros((count, width), dtype=component)
    array = _convert(stored, normalized, whole)
    if sparse is not None:
        where, stored = _sparse(document, sparse, component, count, width)
        array[where] = _convert(stored, normalized, whole)
    return array


def _sparse(document: Document, sparse: Entry, component: str, count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    changed = sparse.integer("count", low=1, high=count)
    indices, values = sparse.required_entry("indices"), sparse.required_entry("values")
    if indices.value.get("componentType") not in (5121, 5123, 5125):
        indices.fail("must be unsigned integers", "componentType")
    where = _elements(document, indices, _component(indices), changed, 1)[:, 0].astype(np.int64)
    if np.any(where >= count):
        indices.fail(f"the index {int(where.max())} is beyond the {count} elements")
    return where, _elements(document, values, component, changed, width)


def _component(entry: Entry) -> str:
    code = entry.integer("componentType")
    if code not in COMPONENTS:
        entry.fail(f"{code} is none of {', '.join(map(str, COMPONENTS))}", "componentType")
    return COMPONENTS[code]


def _elements(document: Document, entry: Entry, component: str, count: int, width: int) -> np.ndarray:
    """Return a view of `count` elements in the buffer view that `entry` refers to, without copying them."""
    index = entry.required_reference("bufferView", "bufferViews")
    view = document.view(index)
    size = np.dtype(component).itemsize
    offset, element = entry.integer("byteOffset", 0), size * width
    stride = view.stride or element
    if stride < element:
        entry.fail(f"elements of {element} bytes are more than bufferViews[{index}].byteStride ({stride})")
    end = offset + stride * (count - 1) + element
    if end > len(view.data):
        entry.fail(f"{count} elements end at byte {end} of bufferViews[{index}], which has {len(view.data)}")
    return np.ndarray((count, width), component, view.data, offset, (stride, size))


def _convert(stored: np.ndarray, normalized: bool, whole: bool) -> np.ndarray:
    if whole:
        return stored.astype(np.int64)
    array = stored.astype(np.float32)
    if normalized and stored.dtype.kind in "iu":
        array = np.maximum(array / np.float32(np.iinfo(stored.dtype).max), np.float32(-1.0))
    return array
