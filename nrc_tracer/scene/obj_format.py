"""Wavefront OBJ, read with array operations, so that a million triangles take only seconds.

The file is read in blocks of whole lines. In each block the numbers of all lines of one kind (v, vt, vn, f) are parsed at once.
The names of materials are kept; groups, lines and curves are skipped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import TriangleMesh
from nrc_tracer.scene.number_text import NUMBER, parse_numbers
from nrc_tracer.scene.obj_pools import WIDTHS, ObjMesh, ObjPools, assemble
from nrc_tracer.scene.obj_runs import Runs, read_runs

BLOCK = 1 << 25
"""Size of a block [bytes]. The memory in use is about ten times as large."""
BLANK = np.uint8(ord(" "))
SPACE = np.zeros(256, dtype=bool)
SPACE[list(b" \t\r\n\v\f\0")] = True
CONTINUED = b" \v"
"""Replacement for the end of a line that continues on the next: a blank that still counts as a line."""
KINDS = {"v": b"v ", "vt": b"vt", "vn": b"vn", "f": b"f "}
HASH = b"\x1f"
"""Replacement for a # inside a name, where it does not begin a comment."""
MAX_MATERIALS = 65536
"""Largest accepted number of materials named in a file."""
MAX_LIBRARIES = 256
"""Largest accepted number of material libraries named in a file."""


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
    pools = ObjPools()
    line = 1
    with path.open("rb") as stream:
        rest = b""
        while block := stream.read(BLOCK):
            block = rest + block
            end = block.rfind(b"\n") + 1
            block, rest = block[:end], block[end:]
            if block[-3:].rstrip(b"\r\n").endswith(b"\\"):  # the last line continues in the next block
                block, rest = b"", block + rest
            line = _read_block(path, block, line, pools)
        if rest:
            _read_block(path, rest + b"\n", line, pools)
    mesh, without_normal = assemble(path, pools)
    triangles = np.maximum(np.concatenate(pools.sizes) - 2, 0)
    material_of, smoothing = (np.repeat(np.concatenate(of), triangles) for of in (pools.material_of, pools.smoothing))
    return ObjMesh(mesh, tuple(pools.materials), material_of, pools.libraries, smoothing, without_normal)


def _read_block(path: Path, block: bytes, first_line: int, pools: ObjPools) -> int:
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
    if block:
        runs = read_runs(block)
        if runs is None:
            _read_tokens(path, block, first_line, pools)
        else:
            _add_runs(path, block, first_line, runs, pools)
    return next_line


def _add_runs(path: Path, block: bytes, first_line: int, runs: Runs, pools: ObjPools) -> None:
    """Add the definitions in a block that is parsed already."""
    data = np.frombuffer(block, dtype=np.uint8)
    first, second = data[runs.line_starts[runs.others]], data[runs.line_starts[runs.others] + 1]
    where = _Lines(path, block, runs.others, runs.line_starts, runs.line_ends, first_line)
    named = runs.others[(first == ord("u")) | (first == ord("m"))]
    changes = _read_changes(where, named, runs.others[(first == ord("s")) & SPACE[second]], pools)
    for kind, rows in runs.values.items():
        if not len(rows):
            continue
        kept = np.zeros((len(rows), WIDTHS[kind]))
        width = min(rows.shape[1], WIDTHS[kind])
        kept[:, :width] = rows[:, :width]
        pools.values[kind].append(kept)
        pools.counts[kind] += len(rows)
        if kind == "v":
            pools.colors.append(rows[:, 3:6].copy() if rows.shape[1] >= 6 else None)
    if len(runs.corners):
        pools.corners.append(runs.corners)
        pools.sizes.append(runs.sizes)
        pools.material_of.append(changes.materials(runs.face_lines))
        pools.smoothing.append(changes.smoothing(runs.face_lines))


@dataclass(frozen=True)
class _Changes:
    """Where the material and the smoothing group change in a block: lines, and the numbers before the first and after each."""

    switches: np.ndarray
    numbers: np.ndarray
    group_lines: np.ndarray
    groups: np.ndarray

    def materials(self, lines: np.ndarray) -> np.ndarray:
        """Number of the material of the faces in `lines`."""
        return self.numbers[np.searchsorted(self.switches, lines)]

    def smoothing(self, lines: np.ndarray) -> np.ndarray:
        """Smoothing group of the faces in `lines`."""
        return self.groups[np.searchsorted(self.group_lines, lines)]


def _read_changes(where: _Lines, named: np.ndarray, group_lines: np.ndarray, pools: ObjPools) -> _Changes:
    """Read the lines that begin with `usemtl` or `mtllib`, among others, and those that begin with `s`."""
    block, starts, ends = where.block, where.line_starts, where.line_ends
    switches, numbers = [], [pools.current]
    for row in named:
        words = block[starts[row] : ends[row]].split(maxsplit=1)
        name = words[1].strip().replace(HASH, b"#").decode("utf-8", "replace") if len(words) > 1 else ""
        if words[0] == b"mtllib" and name:
            if name not in pools.libraries:
                pools.libraries[name] = where.number(row)
            if len(pools.libraries) > MAX_LIBRARIES:
                raise SceneError(f"{where.path}: more than {MAX_LIBRARIES} material libraries are named; use fewer")
        elif words[0] == b"usemtl":
            switches.append(row)
            numbers.append(pools.materials.setdefault(name, len(pools.materials)) if name else -1)
            if len(pools.materials) > MAX_MATERIALS:
                raise SceneError(f"{where.path}: more than {MAX_MATERIALS} materials are named; use fewer")
    pools.current = numbers[-1]
    groups = [pools.group, *(_smoothing_group(block[starts[row] : ends[row]]) for row in group_lines)]
    pools.group = groups[-1]
    return _Changes(np.array(switches, np.int64), np.array(numbers, np.int32), group_lines, np.array(groups, np.int32))


def _read_tokens(path: Path, block: bytes, first_line: int, pools: ObjPools) -> None:
    """Add the definitions in a block of any form, of which every word is looked at."""
    data = np.frombuffer(block, dtype=np.uint8)
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

    named = line_of_first[long & ((second == ord("s")) | (second == ord("t")))]
    group_lines = line_of_first[code == ord("s") * 256 + ord(" ")]
    changes = _read_changes(_Lines(path, block, named, line_starts, line_ends, first_line), named, group_lines, pools)

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
            _read_faces(text, per_line, where, pools, face_rows, changes)
        else:
            face_rows[kind] = lines
            _read_rows(kind, text, per_line, where, pools)
    for kind in WIDTHS:
        pools.counts[kind] += len(face_rows[kind])


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


def _read_rows(kind: str, text: bytes, per_line: np.ndarray, where: _Lines, pools: ObjPools) -> None:
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
    pools: ObjPools,
    definitions: dict[str, np.ndarray],
    changes: _Changes,
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
    slashes = np.diff(np.searchsorted(np.flatnonzero(data == ord("/")), np.append(starts, len(data))))
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
    pools.material_of.append(changes.materials(where.lines))
    pools.smoothing.append(changes.smoothing(where.lines))


def _first_malformed_face(text: bytes, sizes: np.ndarray) -> int:
    tokens = text.split()
    for row, end in enumerate(np.cumsum(sizes)):
        if not all(re.fullmatch(rb"[+-]?\d+(/[+-]?\d+){0,2}", token) for token in tokens[end - sizes[row] : end]):
            return row
    return 0
