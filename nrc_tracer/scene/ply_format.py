"""PLY, ASCII and binary of either byte order."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.geometry import smooth_normals, unit_normals
from nrc_tracer.scene.mesh_attributes import (
    FACE,
    GEOMETRY,
    UV_NAMES,
    VERTEX,
    attribute_values,
    color_columns,
    named_columns,
)
from nrc_tracer.scene.model import TriangleMesh
from nrc_tracer.scene.number_text import NUMBER, parse_numbers
from nrc_tracer.scene.ply_header import Element, check_sizes, read_header
from nrc_tracer.scene.polygons import POINT_CLOUD, triangulate
from nrc_tracer.scene.positions import stored_positions
from nrc_tracer.scene.vertex_colors import linear_colors

CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}
FACE_LISTS = ("vertex_indices", "vertex_index")


@dataclass
class _Body:
    """The bytes after the header, and the position of the reader."""

    path: Path
    data: bytes
    order: str
    offset: int = 0
    numbers: np.ndarray | None = None  # the numbers of an ASCII body; `offset` is then an index of these


def read_ply(path: Path, attributes: Collection[str] = ()) -> TriangleMesh:
    """Read the vertices and faces of a PLY file.

    Vertex normals (nx, ny, nz), texture coordinates (u, v or s, t or texture_u, texture_v) and colours (red, green, blue or
    r, g, b, with alpha or a, or color_0 to color_3; integers are sRGB, floats linear) are read, and the named `attributes` (see
    `mesh_attributes`) if the file has them; other properties and elements are skipped. A file without normals gets smooth ones,
    averaged over the faces around each vertex, as in Mitsuba.

    Raises:
        SceneError: The header is malformed or claims more than the file holds, the body has something that is not a number, or
            an index is out of range.
    """
    with path.open("rb") as stream:
        order, elements = read_header(path, stream)
        start = stream.tell()
        check_sizes(path, order, elements, os.path.getsize(path) - start)
        body = _Body(path, stream.read(), order)
    if not order:
        body.numbers = _ascii_numbers(path, body.data)
    vertices: dict[str, np.ndarray] = {}
    faces: dict[str, np.ndarray] = {}
    sizes = corners = np.zeros(0, dtype=np.int64)
    for element in elements:
        if element.name == "vertex":
            vertices = _read_fixed(body, element) if not element.lists else _read_lists(body, element, None)[0]
            if body.numbers is not None:
                vertices = _with_types(vertices, element)
        elif element.name == "face":
            name = next((item.name for item in element.lists if item.name in FACE_LISTS), None)
            if name is None:
                raise SceneError(f"{path}: the faces have no list called vertex_indices")
            faces, sizes, corners = _read_lists(body, element, name)
            if body.numbers is not None:
                faces = _with_types(faces, element)
        elif element.lists:
            _read_lists(body, element, None)
        else:
            _read_fixed(body, element)
    return _assemble(path, vertices, faces, sizes, corners, attributes)


def _assemble(
    path: Path,
    vertices: dict[str, np.ndarray],
    faces: dict[str, np.ndarray],
    sizes: np.ndarray,
    corners: np.ndarray,
    attributes: Collection[str],
) -> TriangleMesh:
    missing = [name for name in "xyz" if name not in vertices]
    if missing:
        raise SceneError(f"{path}: the vertices have no {', '.join(missing)}")
    count = len(vertices["x"])
    if np.any(corners != np.floor(corners)):
        raise SceneError(f"{path}: a face has an index that is not an integer")
    outside = (corners < 0) | (corners >= count)
    if np.any(outside):
        raise SceneError(f"{path}: a face uses vertex {corners[outside][0]:.0f}, and there are only {count} (from 0)")
    positions = stored_positions(np.column_stack([vertices[name] for name in "xyz"]))
    if not np.all(np.isfinite(positions)):
        row = np.argmin(np.isfinite(positions).all(axis=1))
        raise SceneError(f"{path}: vertex {row} has a position that is not finite")
    corners = corners.astype(np.int32)
    try:
        triangles = triangulate(sizes, np.column_stack([vertices[name][corners] for name in "xyz"]))
    except SceneError as error:
        raise SceneError(f"{path}: {error}") from error
    indices = corners[triangles]
    if not len(indices):
        raise SceneError(f"{path}: no triangles in the file" + (f". {POINT_CLOUD}" if count and not len(sizes) else ""))
    stored_normals = {"nx", "ny", "nz"} <= vertices.keys()
    if stored_normals:
        stored = _columns(vertices, ("nx", "ny", "nz"))
        # Normals of unit length, as far as float32 can tell, are kept bit for bit
        unit = np.abs(np.linalg.norm(stored.astype(np.float64), axis=1) - 1.0) < 2e-7
        normals = np.where(unit[:, None], stored, unit_normals(stored, positions, indices))
    else:
        normals = smooth_normals(positions, indices)
    uv_names = next((names for names in UV_NAMES if set(names) <= vertices.keys()), None)
    uvs = _columns(vertices, uv_names) if uv_names else None
    colors = color_columns(vertices)
    values = {}
    if attributes:
        polygons = np.repeat(np.arange(len(sizes)), sizes)[triangles[:, 0]]
        columns = named_columns(VERTEX, vertices)
        columns |= named_columns(FACE, {name: column[polygons] for name, column in faces.items()})
        values = {name: attribute_values(columns[name]) for name in attributes if name in columns}
    return TriangleMesh(
        positions, indices, normals, uvs, linear_colors(colors) if colors else None, not stored_normals, values
    )


def _with_types(vertices: dict[str, np.ndarray], element: Element) -> dict[str, np.ndarray]:
    """Convert colours and other attributes of an ASCII body to the integer types that the header declares."""
    whole = {
        item.name: item.type
        for item in element.properties
        if item.name not in GEOMETRY and item.type[0] in "iu" and not item.count_type
    }
    return {
        name: np.clip(np.nan_to_num(column), *_range(whole[name])).astype(whole[name]) if name in whole else column
        for name, column in vertices.items()
    }


def _range(kind: str) -> tuple[int, int]:
    return np.iinfo(kind).min, np.iinfo(kind).max


def _columns(vertices: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, which is refused later
        return np.column_stack([vertices[name] for name in names]).astype(np.float32)


# --- The body


def _ascii_numbers(path: Path, data: bytes) -> np.ndarray:
    numbers = parse_numbers(data)
    if numbers is not None:
        return numbers
    for number, line in enumerate(data.split(b"\n"), start=1):
        word = next((word for word in line.split() if not NUMBER.fullmatch(word)), None)
        if word is not None:
            text = word.decode("utf-8", "replace")[:40]
            raise SceneError(f'{path}: "{text}" in line {number} after the header is not a number')
    raise SceneError(f"{path}: the body has something that is not a number")


def _truncated(body: _Body, element: Element) -> SceneError:
    return SceneError(f'{body.path}: truncated among its {element.count} records "{element.name}"')


def _read_fixed(body: _Body, element: Element) -> dict[str, np.ndarray]:
    """Read an element without lists; return one column for each property."""
    width = len(element.properties)
    if not width:
        return {}
    if body.numbers is not None:
        end = body.offset + element.count * width
        if end > len(body.numbers):
            raise _truncated(body, element)
        rows = body.numbers[body.offset : end].reshape(element.count, width)
        body.offset = end
        return {item.name: rows[:, column] for column, item in enumerate(element.properties)}
    record = np.dtype([(item.name, body.order + item.type) for item in element.properties])
    end = body.offset + element.count * record.itemsize
    if end > len(body.data):
        raise _truncated(body, element)
    rows = np.frombuffer(body.data, dtype=record, count=element.count, offset=body.offset)
    body.offset = end
    return {name: rows[name] for name in record.names or ()}


def _read_lists(
    body: _Body, element: Element, wanted: str | None
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Read an element with lists.

    Returns:
        The columns of the properties that are not lists; the length of the list `wanted` in each record; and all its items.
    """
    none = np.zeros(0, dtype=np.int64)
    if element.count == 0:
        return {item.name: none for item in element.properties if not item.count_type}, none, none
    uniform = _read_uniform_lists(body, element, wanted)
    return uniform if uniform is not None else _walk_lists(body, element, wanted)


def _read_uniform_lists(
    body: _Body, element: Element, wanted: str | None
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray] | None:
    """Read all records at once if their lists are as long as in the first record; None if they are not."""
    lengths = _first_lengths(body, element)
    if lengths is None:
        return None
    columns, sizes, items = {}, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    if body.numbers is not None:
        width = sum(1 + lengths.get(item.name, 0) for item in element.properties)
        end = body.offset + element.count * width
        if end > len(body.numbers):
            return None
        rows = body.numbers[body.offset : end].reshape(element.count, width)
        fields, column = {}, 0
        for item in element.properties:
            fields[item.name] = rows[:, column]
            column += 1
            if item.count_type:
                fields[item.name + " items"] = rows[:, column : column + lengths[item.name]]
                column += lengths[item.name]
    else:
        layout: list[tuple] = []
        for item in element.properties:
            layout.append((item.name, body.order + (item.count_type or item.type)))
            if item.count_type:
                layout.append((item.name + " items", body.order + item.type, (lengths[item.name],)))
        record = np.dtype(layout)
        end = body.offset + element.count * record.itemsize
        if end > len(body.data):
            return None
        rows = np.frombuffer(body.data, dtype=record, count=element.count, offset=body.offset)
        fields = {name: rows[name] for name in record.names or ()}
    for item in element.properties:
        if not item.count_type:
            columns[item.name] = fields[item.name]
        elif not np.all(fields[item.name] == lengths[item.name]):
            return None
        elif item.name == wanted:
            sizes = np.full(element.count, lengths[item.name], dtype=np.int64)
            items = fields[item.name + " items"].reshape(-1)
    body.offset = end
    return columns, sizes, items


def _first_lengths(body: _Body, element: Element) -> dict[str, int] | None:
    """Return the length of each list in the first record; None if the record is truncated."""
    lengths = {}
    offset = body.offset
    for item in element.properties:
        if body.numbers is not None:
            if offset >= len(body.numbers) or not np.isfinite(body.numbers[offset]):
                return None
            length, step = int(body.numbers[offset]) if item.count_type else 0, 1
            offset += 1
        else:
            head = np.dtype(body.order + (item.count_type or item.type))
            if offset + head.itemsize > len(body.data):
                return None
            length = int(np.frombuffer(body.data, head, 1, offset)[0]) if item.count_type else 0
            offset, step = offset + head.itemsize, np.dtype(item.type).itemsize
        if item.count_type:
            if length < 0 or offset + length * step > len(body.data):
                return None
            lengths[item.name] = length
            offset += length * step
    return lengths


def _walk_lists(
    body: _Body, element: Element, wanted: str | None
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Read lists of varying length, record by record."""
    values: dict[str, list] = {item.name: [] for item in element.properties if not item.count_type}
    sizes: list[int] = []
    items: list = []
    readers = [
        (
            item,
            struct.Struct((body.order or "<") + CODES[item.count_type or item.type]).unpack_from,
            (body.order or "<") + "{}" + CODES[item.type],
            np.dtype(item.type).itemsize,
        )
        for item in element.properties
    ]
    numbers, data = body.numbers, body.data
    offset = body.offset
    try:
        for _ in range(element.count):
            for item, unpack, code, size in readers:
                if numbers is not None:
                    value, step, size = numbers[offset], 1, 1
                else:
                    value, step = unpack(data, offset)[0], np.dtype(item.count_type or item.type).itemsize
                offset += step
                if not item.count_type:
                    values[item.name].append(value)
                    continue
                length = int(value)
                if length < 0 or offset + length * size > (len(data) if numbers is None else len(numbers)):
                    raise _truncated(body, element)
                if item.name == wanted:
                    sizes.append(length)
                    if numbers is not None:
                        items.extend(numbers[offset : offset + length])
                    else:
                        items.extend(struct.unpack_from(code.format(length), data, offset))
                offset += length * size
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise _truncated(body, element) from error
    body.offset = offset
    return {name: np.array(column) for name, column in values.items()}, np.array(sizes, np.int64), np.array(items)
