"""The header of PLY files: byte order, elements and their properties."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.polygons import POINT_CLOUD

MAX_HEADER = 1 << 16
"""Largest accepted size of a header [bytes]."""
TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2",
    "int": "i4", "uint": "u4", "float": "f4", "double": "f8",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2",
    "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8",
}  # fmt: skip
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}


@dataclass
class Property:
    """A property of an element: its name, its NumPy type, and the type of its length if it is a list."""

    name: str
    type: str
    count_type: str | None = None  # set for a list


@dataclass
class Element:
    """One kind of record: its name, the number of records, and the properties of each."""

    name: str
    count: int
    properties: list[Property] = field(default_factory=list)

    @property
    def lists(self) -> list[Property]:
        return [item for item in self.properties if item.count_type]


def read_header(path: Path, stream: BinaryIO) -> tuple[str, list[Element]]:
    """Return the byte order ("" for ASCII) and the elements; the stream is then at the beginning of the body."""
    if stream.readline(16).strip() != b"ply":
        raise SceneError(f'{path}: not a PLY file (it does not start with "ply")')
    order = None
    elements: list[Element] = []
    for number in itertools.count(2):
        raw = stream.readline(MAX_HEADER)
        if not raw or stream.tell() > MAX_HEADER:
            raise SceneError(f"{path}:{number}: the header has no end_header")
        words = raw.decode("ascii", "replace").split()
        match words:
            case ["end_header"]:
                break
            case [] | ["comment" | "obj_info", *_]:
                pass
            case ["format", name, _] if name in ORDERS:
                order = ORDERS[name]
            case ["element", name, count] if count.isdecimal():
                elements.append(Element(name, int(count)))
            case ["property", "list", count_type, kind, name] if (
                elements and TYPES.get(count_type, "f")[0] in "iu" and kind in TYPES
            ):
                elements[-1].properties.append(Property(name, TYPES[kind], TYPES[count_type]))
            case ["property", kind, name] if elements and kind in TYPES:
                elements[-1].properties.append(Property(name, TYPES[kind]))
            case _:
                text = raw.decode("utf-8", "replace").strip()
                raise SceneError(f'{path}:{number}: "{text[:80]}" is not a line of a PLY header')
    if order is None:
        raise SceneError(f"{path}: the header does not state a format (ascii, binary_little_endian, binary_big_endian)")
    for name in ("vertex", "face"):
        if sum(element.name == name for element in elements) != 1:
            cloud = name == "face" and not any(element.name == name for element in elements)
            raise SceneError(f'{path}: a mesh needs one element "{name}"' + (f". {POINT_CLOUD}" if cloud else ""))
    for element in elements:
        names = [item.name for item in element.properties]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise SceneError(f'{path}: "{element.name}" has the property "{repeated}" twice')
    return order, elements


def check_sizes(path: Path, order: str, elements: list[Element], available: int) -> None:
    """Check, before anything is allocated, that the file is long enough for its header."""
    needed = 0
    for element in elements:
        if order:
            record = sum(np.dtype(item.count_type or item.type).itemsize for item in element.properties)
        else:
            record = 2 * len(element.properties)  # at least a digit and a blank each
        needed += element.count * record
    if needed > available + (0 if order else 1):
        raise SceneError(f"{path}: truncated: its header promises at least {needed} bytes, and {available} follow")
