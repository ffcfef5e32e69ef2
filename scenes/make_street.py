"""Make a street at night: `python scenes/make_street.py [--lamps 100000] [--output FILE]`.

Both sides of a straight street have houses with lit windows, and garlands of small triangular lamps hang across it. The street is
one piece of 12 m, repeated by instances; with more lamps, the garlands have more and smaller ones, and as much light as before.
`street.json` has 10,000 lamps.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent
PIECES, LENGTH, HALF_WIDTH = 50, 12.0, 5.0
"""Number of pieces of the street, length of each, and half of the street's width [m]."""
LAMPS = 10_000
"""Number of lamps of `street.json`."""
FLOORS, COLUMNS = 3, 4
"""Windows of one house, from bottom to top and side by side; a third of them is dark."""
COLORS = ((1.0, 0.55, 0.2), (1.0, 0.2, 0.1), (0.2, 0.45, 1.0), (0.3, 1.0, 0.4))
"""Colours of the garlands' lamps."""
GARLANDS = 8
"""Number of garlands across one piece."""
GARLAND_POWER = 3.0
"""Radiance times area of all lamps of one colour in a piece [m^2]."""


def street(lamps: int) -> dict[str, Any]:
    """Describe the street with `lamps` lamps, a multiple of `PIECES`."""
    if lamps % PIECES or lamps < 100 * PIECES:
        raise SystemExit(f"--lamps must be a multiple of {PIECES} and at least {100 * PIECES}, not {lamps}")
    random = np.random.Generator(np.random.PCG64(11))
    windows = [window for side in (-1, 1) for window in _windows(random, side)]
    positions, indices = _joined(windows)
    piece = [
        *(_house(side, random) for side in (-1, 1)),
        _mesh(positions, indices, [2.2, 1.5, 0.8]),
        *_garlands(random, lamps // PIECES - len(windows)),
    ]
    return {
        "camera": {
            "type": "perspective",
            "to_world": [{"type": "look_at", "origin": [-1.2, 1.7, 5], "target": [0.3, 2.6, -20]}],
            "fov": 60,
        },
        "film": {"width": 640, "height": 400},
        "sampler": {"spp": 64},
        "integrator": {"max_depth": 8},
        "materials": {
            "asphalt": {"type": "plastic", "diffuse_reflectance": [0.12, 0.12, 0.13], "alpha": 0.2},
            "plaster": {"type": "diffuse", "reflectance": [0.6, 0.55, 0.48]},
            "black": {"type": "diffuse", "reflectance": 0.03},
        },
        "shapes": [
            {
                "type": "rectangle",
                "material": "asphalt",
                "to_world": [
                    {"type": "rotate", "axis": [1, 0, 0], "angle": -90},
                    {"type": "scale", "value": [30, 1, 700]},
                ],
            },
            *({"type": "instance", "group": "piece", "to_world": _moved([0, 0, -LENGTH * i])} for i in range(PIECES)),
        ],
        "groups": {"piece": piece},
        "lights": [{"type": "constant", "radiance": [0.002, 0.003, 0.006]}],
    }


def _moved(place: list[float]) -> list[dict[str, Any]]:
    return [{"type": "translate", "value": place}]


def _house(side: int, random: np.random.Generator) -> dict[str, Any]:
    """A house that fills most of the piece, some decimetres nearer to the street or farther from it."""
    depth, height = 4.0, 5.5
    place = [side * (HALF_WIDTH + depth), height, -0.5 * LENGTH]
    scale = {"type": "scale", "value": [depth, height, 0.5 * LENGTH - random.uniform(0.2, 0.6)]}
    return {"type": "cube", "material": "plaster", "to_world": [scale, *_moved(place)]}


def _windows(random: np.random.Generator, side: int) -> list[np.ndarray]:
    """The corners of the lit windows of a house, [4, 3] each, facing the street."""
    x, found = side * (HALF_WIDTH - 0.02), []
    lit = random.permutation(FLOORS * COLUMNS)[: FLOORS * COLUMNS * 2 // 3]
    for number in sorted(lit.tolist()):
        floor, column = divmod(number, COLUMNS)
        y, z = 1.2 + 3.2 * floor, -2.0 - 2.4 * column
        corners = np.array([[x, y, z], [x, y, z - 1.0], [x, y + 1.5, z - 1.0], [x, y + 1.5, z]])
        found.append(corners if side < 0 else corners[::-1])
    return found


def _garlands(random: np.random.Generator, count: int) -> list[dict[str, Any]]:
    """Lamps on garlands that sag between the houses, turned down and a little to all sides, a mesh for each colour."""
    t = (np.arange(count) // GARLANDS + random.uniform(0.2, 0.8, count)) / (count / GARLANDS)
    garland = np.arange(count) % GARLANDS
    x = HALF_WIDTH * (2.0 * t - 1.0)
    y = 6.5 - 1.6 * 4.0 * t * (1.0 - t) + random.normal(0.0, 0.05, count)
    z = -LENGTH * (garland + 0.5 + random.normal(0.0, 0.05, count)) / GARLANDS
    size = 0.06 / np.sqrt(count / 184)
    axis = np.array([0.0, -1.0, 0.0]) + random.normal(0.0, 0.3, (count, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    first = np.cross(axis, random.normal(size=(count, 3)))
    first *= size / np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(axis, first)
    turns = 2.0 * np.pi * np.arange(3) / 3
    corners = np.stack([x, y, z], axis=1)[:, None] + (
        np.cos(turns)[:, None] * first[:, None] + np.sin(turns)[:, None] * second[:, None]
    )
    area = 0.75 * np.sqrt(3.0) * size**2
    meshes = []
    for number, color in enumerate(COLORS):
        chosen = corners[number :: len(COLORS)]
        radiance = GARLAND_POWER / (area * len(chosen))
        meshes.append(_mesh(*_joined(list(chosen)), [float(f"{radiance * value:.3g}") for value in color]))
    return meshes


def _joined(parts: list[np.ndarray]) -> tuple[np.ndarray, list[list[int]]]:
    """The corners of triangles and quadrilaterals, and the triangles that they make."""
    indices, start = [], 0
    for part in parts:
        indices += [[start, start + k, start + k + 1] for k in range(1, len(part) - 1)]
        start += len(part)
    return np.concatenate(parts), indices


def _mesh(positions: np.ndarray, indices: list[list[int]], emission: list[float]) -> dict[str, Any]:
    rounded = [[_short(value) for value in position] for position in positions.tolist()]
    return {
        "type": "mesh",
        "material": "black",
        "emission": emission,
        "face_normals": True,
        "positions": rounded,
        "indices": indices,
    }


def _short(value: float) -> float | int:
    """A number with four decimals."""
    number = round(value, 4) + 0.0
    return int(number) if number.is_integer() else number


def text(scene: dict[str, Any]) -> str:
    """Encode a scene as JSON with a line for each shape."""

    def line(value: Any) -> str:
        return json.dumps(value, separators=(",", ":"))

    parts = []
    for key, value in scene.items():
        if key == "shapes":
            parts.append('"shapes":[\n' + ",\n".join(map(line, value)) + "\n]")
        elif key == "groups":
            groups = (f'"{name}":[\n' + ",\n".join(map(line, members)) + "\n]" for name, members in value.items())
            parts.append('"groups":{\n' + ",\n".join(groups) + "\n}")
        else:
            parts.append(f'"{key}":{line(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def write(path: Path, lamps: int = LAMPS) -> Path:
    """Write the street to a file."""
    path.write_text(text(street(lamps)), encoding="utf-8", newline="\n")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a street at night with many lamps.")
    parser.add_argument("--lamps", type=int, default=LAMPS, help=f"number of lamps (default: {LAMPS:,})")
    parser.add_argument("--output", type=Path, default=FOLDER / "street.json", help="the file (default: street.json)")
    arguments = parser.parse_args()
    print(write(arguments.output, arguments.lamps))
