"""Wavefront OBJ, read with array operations: a million triangles take seconds.

The file is read in blocks of whole lines. In each block the numbers of all lines of one kind (v, vt, vn, f) are parsed
at once. Of materials the names are kept; groups, lines and curves are passed over.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.geometry import polygon_fans, smooth_normals
from nrc_tracer.scene.model import TriangleMesh
from nrc_tracer.scene.vertex_colors import decode_srgb, linear_colors

BLOCK = 1 << 25
"""Bytes that are parsed at once; the memory in use is about ten times as much."""
BLANK = np.uint8(ord(" "))
SPACE = np.zeros(256, dtype=bool)
SPACE[list(b" \t\r\n\v\f\0")] = True
CONTINUED = b" \v"
"""Stands for the end of a line that goes on in the next: a blank that still counts as a line."""
KINDS = {"v": b"v ", "vt": b"vt", "vn": b"vn", "f": b"f "}
NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
WIDTHS = {"v": 3, "vt": 2, "vn": 3}
HASH = b"\x1f"
"""Stands for a # inside a name, where it begins no comment."""
MAX_MATERIALS = 65536
MAX_LIBRARIES = 256


@dataclass(frozen=True)
class ObjMesh:
    """An OBJ file's faces, and the materials it names.

    Attributes:
        mesh: All faces.
        materials: The names after `usemtl`, in the order of their first use.
        material_of: For each triangle an index into `materials`, -1 before the first `usemtl`, shape [triangle_count], int32.
        libraries: What stands after `mtllib`, and the number of the first such line.
    """

    mesh: TriangleMesh
    materials: tuple[str, ...]
    material_of: np.ndarray
    libraries: dict[str, int]


@dataclass
class _Pools:
    """What the lines read so far define.

    Attributes:
        values: Rows of v, vt and vn, a list of arrays of shape [count, width] each.
        colors: Colours of the rows of v, shape [count, 3] each; None where a block has none.
        counts: How many rows of each kind there are.
        corners: For each corner of each face the rows of v, vt and vn, shape [corner_count, 3], -1 if absent.
        sizes: How many corners each face has.
        materials: Numbers of the names after `usemtl`.
        current: The number of the last one, -1 before.
        material_of: For each face the number of its material.
        libraries: What stands after `mtllib`, and the number of the first such line.
    """

    values: dict[str, list[np.ndarray]] = field(default_factory=lambda: {kind: [] for kind in WIDTHS})
    colors: list[np.ndarray | None] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WIDTHS, 0))
    corners: list[np.ndarray] = field(default_factory=list)
    sizes: list[np.ndarray] = field(default_factory=list)
    materials: dict[str, int] = field(default_factory=dict)
    current: int = -1
    material_of: list[np.ndarray] = field(default_factory=list)
    libraries: dict[str, int] = field(default_factory=dict)


def read_obj(path: Path) -> TriangleMesh:
    """Read all faces of an OBJ file as one mesh.

    Polygons are cut into fans, faces of fewer than three corners are passed over, and indices may be negative. A file
    without `vn` gets smooth normals, averaged over the faces around each `v`, as in Mitsuba; so does a corner without
    one. Three numbers after a position are its colour, in sRGB from 0 to 1, as the programs that write them mean it.

    Raises:
        SceneError: The file has a malformed line, or an index that is out of range.
    """
    return read_obj_with_materials(path).mesh


def read_obj_with_materials(path: Path) -> ObjMesh:
    """Read an OBJ file as `read_obj`, with the names of materials.

    Raises:
        SceneError: As `read_obj`, or more than `MAX_MATERIALS` materials are named.
    """
    pools = _Pools()
    line = 1
    with path.open("rb") as stream:
        rest = b""
        while block := stream.read(BLOCK):
            block = rest + block
            end = block.rfind(b"\n") + 1
            block, rest = block[:end], block[end:]
            if block.rstrip(b"\r\n").endswith(b"\\"):  # the line goes on in the next block
                block, rest = b"", block + rest
            line = _read_block(path, block, line, pools)
        _read_block(path, rest + b"\n", line, pools)
    mesh = _assemble(path, pools)
    triangles = [
        np.repeat(of, np.maximum(sizes - 2, 0)) for of, sizes in zip(pools.material_of, pools.sizes, strict=True)
    ]
    return ObjMesh(mesh, tuple(pools.materials), np.concatenate(triangles), pools.libraries)


def _read_block(path: Path, block: bytes, first_line: int, pools: _Pools) -> int:
    """Add what a block of whole lines defines, and return the number of the line after it."""
    next_line = first_line + block.count(b"\n")
    # Blank out what would hide numbers: comments, and the marks of lines that go on
    if b"#" in block:
        for word in (b"usemtl", b"mtllib"):
            if word in block:
                block = re.sub(word + rb"[ \t][^\n]*", lambda match: re.sub(rb"(?<=\S)#", HASH, match[0]), block)
        block = re.sub(rb"#[^\n]*", b"", block)
    if b"\\" in block:
        block = re.sub(rb"\\\r?\n", CONTINUED, block)
        block += b"" if block.endswith(b"\n") else b"\n"
    data = np.frombuffer(block, dtype=np.uint8)
    if not len(data):
        return next_line
    space = SPACE[data]
    blanked = np.where(space, BLANK, data)
    line_ends = np.flatnonzero(data == ord("\n"))
    line_starts = np.concatenate(([0], line_ends[:-1] + 1))

    # Find the keyword of each line: its first token's first two bytes
    starts = np.flatnonzero(~space & np.concatenate(([True], space[:-1])))
    line_of_token = np.searchsorted(line_ends, starts)
    is_first = np.diff(line_of_token, prepend=-1) != 0
    first, line_of_first = starts[is_first], line_of_token[is_first]
    second = np.where(space[first + 1], ord(" "), data[first + 1])
    long = ~space[np.minimum(first + 2, len(data) - 1)] & (second != ord(" "))
    code = np.where(long, 0, data[first].astype(np.int32) * 256 + second)

    # Find which material each line is of
    switches, numbers = [], [pools.current]
    candidates = line_of_first[long & ((second == ord("s")) | (second == ord("t")))]
    for row in candidates if b"usemtl" in block or b"mtllib" in block else ():
        words = block[line_starts[row] : line_ends[row]].split(maxsplit=1)
        name = words[1].strip().replace(HASH, b"#").decode("utf-8", "replace") if len(words) > 1 else ""
        if words[0] == b"mtllib" and name:
            where = _Lines(path, block, candidates, line_starts, line_ends, first_line)
            if name not in pools.libraries:
                pools.libraries[name] = where.number(row)
            if len(pools.libraries) > MAX_LIBRARIES:
                raise SceneError(f"{path}: more than {MAX_LIBRARIES} material libraries are named; use fewer")
        elif words[0] == b"usemtl":
            switches.append(row)
            numbers.append(pools.materials.setdefault(name, len(pools.materials)) if name else -1)
            if len(pools.materials) > MAX_MATERIALS:
                raise SceneError(f"{path}: more than {MAX_MATERIALS} materials are named; use fewer")
    pools.current = numbers[-1]

    face_rows: dict[str, np.ndarray] = {}
    lengths = line_ends - line_starts + 1
    for kind, name in KINDS.items():
        chosen = code == name[0] * 256 + name[1]
        lines = line_of_first[chosen]
        if not len(lines):
            if kind in WIDTHS:
                face_rows[kind] = lines
            continue
        # Gather the bytes of these lines, without their keywords
        of_kind = np.zeros(len(line_ends), dtype=bool)
        of_kind[lines] = True
        mask = np.repeat(of_kind, lengths)
        mask[first[chosen]] = False
        if name[1] != ord(" "):
            mask[first[chosen] + 1] = False
        text = blanked[mask].tobytes()
        in_kind = of_kind[line_of_token] & ~is_first
        per_line = np.bincount(line_of_token[in_kind], minlength=len(line_ends))[lines]
        where = _Lines(path, block, lines, line_starts, line_ends, first_line)
        if kind == "f":
            of = np.array(numbers, dtype=np.int32)[np.searchsorted(switches, lines)]
            _read_faces(text, per_line, where, pools, face_rows, of)
        else:
            face_rows[kind] = lines
            _read_rows(kind, text, per_line, where, pools)
    for kind in WIDTHS:
        pools.counts[kind] += len(face_rows[kind])
    return next_line


@dataclass(frozen=True)
class _Lines:
    """Where the lines of one kind stand, to name one in an error."""

    path: Path
    block: bytes
    lines: np.ndarray
    line_starts: np.ndarray
    line_ends: np.ndarray
    first_line: int

    def fail(self, row: int, problem: str) -> NoReturn:
        line = self.lines[row]
        text = self.block[self.line_starts[line] : self.line_ends[line]].decode("utf-8", "replace").strip()
        raise SceneError(f'{self.path}:{self.number(line)}: {problem}: "{text[:80]}"')

    def number(self, line: int) -> int:
        """The number in the file of a line of the block."""
        before = self.block[: self.line_starts[line]]
        return self.first_line + before.count(b"\n") + before.count(CONTINUED)


def _parse(text: bytes, dtype: type) -> np.ndarray | None:
    """Parse numbers separated by blanks; None if one is malformed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.fromstring(text, dtype=dtype, sep=" ")
        except (DeprecationWarning, ValueError):
            return None


def _read_rows(kind: str, text: bytes, per_line: np.ndarray, where: _Lines, pools: _Pools) -> None:
    width = WIDTHS[kind]
    needed = 1 if kind == "vt" else width  # a texture coordinate may have u alone
    if np.any(per_line < needed):
        where.fail(int(np.argmax(per_line < needed)), f"{kind} needs {width} numbers")
    values = _parse(text, np.float64)
    if values is None or len(values) != per_line.sum():
        where.fail(_first_malformed(text, per_line), f"{kind} has something that is not a number")
    offsets = np.cumsum(per_line) - per_line
    rows = np.zeros((len(per_line), width))
    for column in range(width):
        present = per_line > column
        rows[present, column] = values[offsets[present] + column]
    bad = ~np.all(np.isfinite(rows), axis=1)
    if np.any(bad):
        where.fail(int(np.argmax(bad)), f"{kind} has a number that is not finite")
    pools.values[kind].append(rows)
    if kind == "v":
        pools.colors.append(_read_colors(values, offsets, per_line, where))


def _read_colors(values: np.ndarray, offsets: np.ndarray, per_line: np.ndarray, where: _Lines) -> np.ndarray | None:
    """The colours of lines `v x y z r g b`, white in lines without; None if all are without."""
    present = per_line >= 6
    if not np.any(present):
        return None
    colors = np.ones((len(per_line), 3))
    for channel in range(3):
        colors[present, channel] = values[offsets[present] + 3 + channel]
    bad = ~np.all(np.isfinite(colors), axis=1)
    if np.any(bad):
        where.fail(int(np.argmax(bad)), "v has a colour that is not finite")
    return colors


def _first_malformed(text: bytes, per_line: np.ndarray) -> int:
    tokens = text.split()
    for row, end in enumerate(np.cumsum(per_line)):
        if not all(NUMBER.fullmatch(token) for token in tokens[end - per_line[row] : end]):
            return row
    return 0


def _read_faces(
    text: bytes,
    sizes: np.ndarray,
    where: _Lines,
    pools: _Pools,
    definitions: dict[str, np.ndarray],
    material_of: np.ndarray,
) -> None:
    if not sizes.sum():
        return
    # Write every corner in full: "a//c" as "a/0/c", "a/" as "a/0"
    if b"//" in text:
        text = text.replace(b"//", b"/0/")
    text += b" "
    if b"/ " in text:
        text = text.replace(b"/ ", b"/0 ")
    data = np.frombuffer(text, dtype=np.uint8)
    blank = data == ord(" ")
    starts = np.flatnonzero(~blank & np.concatenate(([True], blank[:-1])))
    slashes = np.add.reduceat(data == ord("/"), starts, dtype=np.int64)
    face_of_corner = np.repeat(np.arange(len(sizes)), sizes)
    values = _parse(text.replace(b"/", b" "), np.int64)
    if values is None or len(values) != np.sum(slashes + 1) or np.any(slashes > 2):
        where.fail(_first_malformed_face(text, sizes), "f has something that is not v, v/vt, v//vn or v/vt/vn")
    offsets = np.cumsum(slashes + 1) - (slashes + 1)
    corners = np.zeros((len(starts), 3), dtype=np.int64)
    for column in range(3):
        present = slashes >= column
        corners[present, column] = values[offsets[present] + column]
    for column, kind in enumerate(WIDTHS):
        index = corners[:, column]
        # A negative index counts back from the definitions before the face
        before = pools.counts[kind] + np.searchsorted(definitions[kind], where.lines)[face_of_corner]
        rows = np.where(index > 0, index - 1, np.where(index < 0, before + index, -1))
        bad = (index < 0) & (rows < 0)
        if column == 0:
            bad |= index == 0
        if np.any(bad):
            corner = int(np.argmax(bad))
            where.fail(face_of_corner[corner], f"there is no {kind} {index[corner]}")
        corners[:, column] = rows
    pools.corners.append(corners)
    pools.sizes.append(sizes)
    pools.material_of.append(material_of)


def _first_malformed_face(text: bytes, sizes: np.ndarray) -> int:
    tokens = text.split()
    for row, end in enumerate(np.cumsum(sizes)):
        if not all(re.fullmatch(rb"[+-]?\d+(/[+-]?\d+){0,2}", token) for token in tokens[end - sizes[row] : end]):
            return row
    return 0


def _assemble(path: Path, pools: _Pools) -> TriangleMesh:
    corners = np.concatenate(pools.corners) if pools.corners else np.zeros((0, 3), dtype=np.int64)
    sizes = np.concatenate(pools.sizes) if pools.sizes else np.zeros(0, dtype=np.int64)
    for column, (kind, count) in enumerate(pools.counts.items()):
        if len(corners) and corners[:, column].max() >= count:
            raise SceneError(f"{path}: a face uses {kind} {corners[:, column].max() + 1}, and there are only {count}")
    triangles = polygon_fans(sizes)
    if not len(triangles):
        raise SceneError(f"{path}: no triangles in the file")
    values = {kind: np.concatenate([np.zeros((0, WIDTHS[kind])), *rows]) for kind, rows in pools.values.items()}
    vertices, vertex_of_corner = _unify(corners)
    with np.errstate(over="ignore"):
        positions = values["v"].astype(np.float32)
    if not np.all(np.isfinite(positions)):
        raise SceneError(f"{path}: a vertex position is beyond the range of float32")
    indices = vertex_of_corner[triangles]
    v, vt, vn = vertices.T

    uvs = None
    if np.any(vt >= 0):
        uvs = np.zeros((len(vertices), 2), dtype=np.float32)
        uvs[vt >= 0] = values["vt"][vt[vt >= 0]]
    normals = np.zeros((len(vertices), 3))
    normals[vn >= 0] = values["vn"][vn[vn >= 0]]
    lengths = np.linalg.norm(normals, axis=1)
    absent = lengths == 0.0
    normals = np.divide(normals, lengths[:, None], out=normals, where=~absent[:, None]).astype(np.float32)
    if np.any(absent):
        normals[absent] = smooth_normals(positions, v[indices])[v[absent]]
    colors = None
    if any(part is not None for part in pools.colors):
        parts = [
            np.ones_like(rows) if part is None else part
            for rows, part in zip(pools.values["v"], pools.colors, strict=True)
        ]
        colors = linear_colors([*decode_srgb(np.concatenate(parts)).T])[v]
    return TriangleMesh(positions[v], indices.astype(np.int32), normals, uvs, colors)


def _unify(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the distinct (v, vt, vn): the rows, and the row of each corner."""
    v, vt, vn = corners.T
    if all(np.array_equal(other, v) or other.max() < 0 for other in (vt, vn)):
        # One index says it all; the vertices are those of the file
        rows = np.arange(v.max() + 1)
        absent = np.full_like(rows, -1)
        return np.column_stack((rows, absent if vt.max() < 0 else rows, absent if vn.max() < 0 else rows)), v
    key = v * (vt.max() + 2) + vt + 1
    _, key = np.unique(key, return_inverse=True)  # so that the product below cannot overflow
    _, first, vertex_of_corner = np.unique(key * (vn.max() + 2) + vn + 1, return_index=True, return_inverse=True)
    return corners[first], vertex_of_corner
