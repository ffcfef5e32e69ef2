"""Wavefront OBJ, read with array operations, so that a million triangles take only seconds.

The file is read in blocks of whole lines. In each block the numbers of all lines of one kind (v, vt, vn, f) are parsed at once.
The names of materials are kept; groups, lines and curves are skipped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.corners import unify_corners
from nrc_tracer.scene.geometry import smooth_normals
from nrc_tracer.scene.model import TriangleMesh
from nrc_tracer.scene.number_text import NUMBER, parse_numbers
from nrc_tracer.scene.polygons import POINT_CLOUD, triangulate
from nrc_tracer.scene.positions import stored_positions
from nrc_tracer.scene.vertex_colors import decode_srgb, linear_colors

BLOCK = 1 << 25
"""Size of a block [bytes]. The memory in use is about ten times as large."""
BLANK = np.uint8(ord(" "))
SPACE = np.zeros(256, dtype=bool)
SPACE[list(b" \t\r\n\v\f\0")] = True
CONTINUED = b" \v"
"""Replacement for the end of a line that continues on the next: a blank that still counts as a line."""
KINDS = {"v": b"v ", "vt": b"vt", "vn": b"vn", "f": b"f "}
WIDTHS = {"v": 3, "vt": 2, "vn": 3}
HASH = b"\x1f"
"""Replacement for a # inside a name, where it does not begin a comment."""
MAX_MATERIALS = 65536
"""Largest accepted number of materials named in a file."""
MAX_LIBRARIES = 256
"""Largest accepted number of material libraries named in a file."""


@dataclass(frozen=True)
class ObjMesh:
    """The faces of an OBJ file, and the materials that it names.

    Attributes:
        mesh: All faces.
        materials: The names after `usemtl`, in the order of their first use.
        material_of: Index into `materials` of each triangle, -1 before the first `usemtl`, shape [triangle_count], int32.
        libraries: The text after each `mtllib`, with the number of its first line.
        smoothing: Smoothing group of each triangle, shape [triangle_count], int32: 0 after `s off`, 1 where there is no `s`.
        without_normal: Whether each vertex has no usable `vn`, shape [vertex_count].
    """

    mesh: TriangleMesh
    materials: tuple[str, ...]
    material_of: np.ndarray
    libraries: dict[str, int]
    smoothing: np.ndarray
    without_normal: np.ndarray


@dataclass
class _Pools:
    """The definitions in the lines read so far, one array per block.

    Attributes:
        values: Rows of v, vt and vn, shape [count, width].
        colors: Colours of the rows of v, shape [count, 3]; None for a block without colours.
        counts: Number of rows of each kind.
        corners: Rows of v, vt and vn of each corner of each face, shape [corner_count, 3], -1 if absent.
        sizes: Number of corners of each face.
        materials: Numbers of the names after `usemtl`.
        current: Number of the current material, -1 before the first `usemtl`.
        material_of: Number of the material of each face.
        libraries: The text after each `mtllib`, with the number of its first line.
        group: Current smoothing group.
        smoothing: Smoothing group of each face.
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
    group: int = 1
    smoothing: list[np.ndarray] = field(default_factory=list)


def read_obj(path: Path) -> TriangleMesh:
    """Read all faces of an OBJ file as one mesh.

    Polygons are divided into triangles, faces with fewer than three corners are skipped, and indices may be negative. Corners
    without a `vn` get smooth normals, averaged over the faces around each `v`, as in Mitsuba. Three numbers after a position are
    its colour, in sRGB from 0 to 1, as the programs mean it that write them.

    Raises:
        SceneError: The file has a malformed line, or an index that is out of range.
    """
    return read_obj_with_materials(path).mesh


def read_obj_with_materials(path: Path) -> ObjMesh:
    """Read an OBJ file as `read_obj` does, with the names of its materials.

    Raises:
        SceneError: As `read_obj`, or the file names too many materials or libraries.
    """
    pools = _Pools()
    line = 1
    with path.open("rb") as stream:
        rest = b""
        while block := stream.read(BLOCK):
            block = rest + block
            end = block.rfind(b"\n") + 1
            block, rest = block[:end], block[end:]
            if block.rstrip(b"\r\n").endswith(b"\\"):  # the last line continues in the next block
                block, rest = b"", block + rest
            line = _read_block(path, block, line, pools)
        _read_block(path, rest + b"\n", line, pools)
    mesh, without_normal = _assemble(path, pools)
    triangles = np.maximum(np.concatenate(pools.sizes) - 2, 0)
    material_of, smoothing = (np.repeat(np.concatenate(of), triangles) for of in (pools.material_of, pools.smoothing))
    return ObjMesh(mesh, tuple(pools.materials), material_of, pools.libraries, smoothing, without_normal)


def _read_block(path: Path, block: bytes, first_line: int, pools: _Pools) -> int:
    """Add the definitions in a block of whole lines, and return the number of the line after it."""
    next_line = first_line + block.count(b"\n")
    # Blank out comments and the marks of continued lines
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

    # Find the keyword of each line: the first two bytes of its first token
    starts = np.flatnonzero(~space & np.concatenate(([True], space[:-1])))
    line_of_token = np.searchsorted(line_ends, starts)
    is_first = np.diff(line_of_token, prepend=-1) != 0
    first, line_of_first = starts[is_first], line_of_token[is_first]
    second = np.where(space[first + 1], ord(" "), data[first + 1])
    long = ~space[np.minimum(first + 2, len(data) - 1)] & (second != ord(" "))
    code = np.where(long, 0, data[first].astype(np.int32) * 256 + second)

    # Find where the material changes
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

    # Find where the smoothing group changes
    smoothing_rows = line_of_first[code == ord("s") * 256 + ord(" ")]
    smoothing = [pools.group]
    smoothing += [_smoothing_group(block[line_starts[row] : line_ends[row]]) for row in smoothing_rows]
    pools.group = smoothing[-1]

    face_rows: dict[str, np.ndarray] = {}
    lengths = line_ends - line_starts + 1
    for kind, keyword in KINDS.items():
        chosen = code == keyword[0] * 256 + keyword[1]
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
        if keyword[1] != ord(" "):
            mask[first[chosen] + 1] = False
        text = blanked[mask].tobytes()
        in_kind = of_kind[line_of_token] & ~is_first
        per_line = np.bincount(line_of_token[in_kind], minlength=len(line_ends))[lines]
        where = _Lines(path, block, lines, line_starts, line_ends, first_line)
        if kind == "f":
            of = np.array(numbers, dtype=np.int32)[np.searchsorted(switches, lines)]
            smooth = np.array(smoothing, dtype=np.int32)[np.searchsorted(smoothing_rows, lines)]
            _read_faces(text, per_line, where, pools, face_rows, of, smooth)
        else:
            face_rows[kind] = lines
            _read_rows(kind, text, per_line, where, pools)
    for kind in WIDTHS:
        pools.counts[kind] += len(face_rows[kind])
    return next_line


def _smoothing_group(line: bytes) -> int:
    """Return the number in a line `s 3`; 0 for `s off`, 1 for anything else."""
    word = line.split()[1:2]
    if word == [b"off"]:
        return 0
    return int(word[0]) if word and re.fullmatch(rb"\d{1,9}", word[0]) else 1


@dataclass(frozen=True)
class _Lines:
    """The positions of the lines of one kind, for error messages."""

    path: Path
    block: bytes
    lines: np.ndarray
    line_starts: np.ndarray
    line_ends: np.ndarray
    first_line: int

    def fail(self, row: int, problem: str) -> NoReturn:
        """Raise a `SceneError` about one of the lines."""
        line = self.lines[row]
        text = self.block[self.line_starts[line] : self.line_ends[line]].decode("utf-8", "replace").strip()
        raise SceneError(f'{self.path}:{self.number(line)}: {problem}: "{text[:80]}"')

    def number(self, line: int) -> int:
        """Return the number in the file of a line of the block."""
        before = self.block[: self.line_starts[line]]
        return self.first_line + before.count(b"\n") + before.count(CONTINUED)


def _read_rows(kind: str, text: bytes, per_line: np.ndarray, where: _Lines, pools: _Pools) -> None:
    width = WIDTHS[kind]
    needed = 1 if kind == "vt" else width  # a texture coordinate may have only u
    if np.any(per_line < needed):
        where.fail(int(np.argmax(per_line < needed)), f"{kind} needs {width} numbers")
    values = parse_numbers(text)
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
    """Return the colours of lines `v x y z r g b`, white for lines without a colour; None if no line has one."""
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
    smoothing: np.ndarray,
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
    values = parse_numbers(text.replace(b"/", b" "), np.int64)
    if values is None or len(values) != np.sum(slashes + 1) or np.any(slashes > 2):
        where.fail(_first_malformed_face(text, sizes), "f has something that is not v, v/vt, v//vn or v/vt/vn")
    offsets = np.cumsum(slashes + 1) - (slashes + 1)
    corners = np.zeros((len(starts), 3), dtype=np.int64)
    for column in range(3):
        present = slashes >= column
        corners[present, column] = values[offsets[present] + column]
    for column, kind in enumerate(WIDTHS):
        index = corners[:, column]
        # A negative index counts back from the last definition before the face
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
    pools.smoothing.append(smoothing)


def _first_malformed_face(text: bytes, sizes: np.ndarray) -> int:
    tokens = text.split()
    for row, end in enumerate(np.cumsum(sizes)):
        if not all(re.fullmatch(rb"[+-]?\d+(/[+-]?\d+){0,2}", token) for token in tokens[end - sizes[row] : end]):
            return row
    return 0


def _assemble(path: Path, pools: _Pools) -> tuple[TriangleMesh, np.ndarray]:
    """Return the mesh, and whether each vertex has no `vn`."""
    corners = np.concatenate(pools.corners) if pools.corners else np.zeros((0, 3), dtype=np.int64)
    sizes = np.concatenate(pools.sizes) if pools.sizes else np.zeros(0, dtype=np.int64)
    for column, (kind, count) in enumerate(pools.counts.items()):
        if len(corners) and corners[:, column].max() >= count:
            raise SceneError(f"{path}: a face uses {kind} {corners[:, column].max() + 1}, and there are only {count}")
    values = {kind: np.concatenate([np.zeros((0, WIDTHS[kind])), *rows]) for kind, rows in pools.values.items()}
    try:
        triangles = triangulate(sizes, values["v"][corners[:, 0]])
    except SceneError as error:
        raise SceneError(f"{path}: {error}") from error
    if not len(triangles):
        cloud = pools.counts["v"] and not len(sizes)
        raise SceneError(f"{path}: no triangles in the file" + (f". {POINT_CLOUD}" if cloud else ""))
    vertices, vertex_of_corner = unify_corners(corners)
    positions = stored_positions(values["v"])
    if not np.all(np.isfinite(positions)):
        raise SceneError(f"{path}: a vertex position is beyond the range of float32")
    indices = vertex_of_corner[triangles]
    v, vt, vn = vertices.T

    uvs = None
    if np.any(vt >= 0):
        uvs = np.zeros((len(vertices), 2), dtype=np.float32)
        with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, which is refused later
            uvs[vt >= 0] = values["vt"][vt[vt >= 0]]
    normals = np.zeros((len(vertices), 3))
    normals[vn >= 0] = values["vn"][vn[vn >= 0]]
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(normals, axis=1)
    absent = ~(np.isfinite(lengths) & (lengths > 0.0))
    normals[absent], lengths[absent] = 0.0, 1.0
    normals = (normals / lengths[:, None]).astype(np.float32)
    if np.any(absent):
        normals[absent] = smooth_normals(positions, v[indices])[v[absent]]
    colors = None
    if any(part is not None for part in pools.colors):
        parts = [
            np.ones_like(rows) if part is None else part
            for rows, part in zip(pools.values["v"], pools.colors, strict=True)
        ]
        colors = linear_colors([*decode_srgb(np.concatenate(parts)).T])[v]
    mesh = TriangleMesh(positions[v], indices.astype(np.int32), normals, uvs, colors, bool(np.all(absent)))
    return mesh, absent
