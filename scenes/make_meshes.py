"""Make the meshes and the sky of the scenes in this folder: `python scenes/make_meshes.py`.

Numbers are rounded, so that the files are bit for bit the same on every machine. Lengths are in metres, y is up, and every object
stands on y = 0 around the y axis.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nrc_tracer.imaging import write_image

FOLDER = Path(__file__).resolve().parent
POSITION_DECIMALS = 5
NORMAL_DECIMALS = 4
"""Number of decimals of positions and normals."""
PHASE = 0.1
"""Angle of the first column of a surface of revolution [radians]. It is not a multiple of a right angle, so that no coordinate
is zero up to rounding errors."""


class Mesh(NamedTuple):
    """Triangles with vertex normals.

    Attributes:
        positions: Shape [vertex_count, 3].
        normals: Shape [vertex_count, 3], of any length, pointing out of the solid.
        indices: Shape [triangle_count, 3], counter-clockwise seen from outside.
    """

    positions: np.ndarray
    normals: np.ndarray
    indices: np.ndarray


# --- Building blocks


def smooth_curve(points: Sequence[Sequence[float]], samples_per_span: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample a uniform Catmull-Rom curve through points of any dimension.

    Returns:
        Points and tangents (not normalized), shape [(point_count - 1) * samples_per_span + 1, dimension] each.
    """
    knots = np.asarray(points, dtype=np.float64)
    before, after = 2.0 * knots[0] - knots[1], 2.0 * knots[-1] - knots[-2]
    if knots.shape[1] == 2:  # a profile that reaches the axis crosses it at a right angle
        before = knots[1] * (-1.0, 1.0) if knots[0, 0] == 0.0 else before
        after = knots[-2] * (-1.0, 1.0) if knots[-1, 0] == 0.0 else after
    knots = np.concatenate((before[None], knots, after[None]))
    places = np.arange((len(knots) - 3) * samples_per_span + 1) / samples_per_span
    span = np.minimum(places.astype(int), len(knots) - 4)
    t = (places - span)[:, None]
    p0, p1, p2, p3 = (knots[span + i] for i in range(4))
    a, b, c = 0.5 * (p2 - p0), p0 - 2.5 * p1 + 2.0 * p2 - 0.5 * p3, 1.5 * (p1 - p2) + 0.5 * (p3 - p0)
    return p1 + t * (a + t * (b + t * c)), a + t * (2.0 * b + 3.0 * t * c)


def grid(positions: np.ndarray, normals: np.ndarray, *, closed: bool = False) -> Mesh:
    """Connect closed rings of vertices with triangles.

    Args:
        positions: Shape [ring_count, vertices_per_ring, 3].
        normals: The same shape.
        closed: Whether the last ring is connected to the first.
    """
    rings, columns = positions.shape[:2]
    number = np.arange(rings * columns).reshape(rings, columns)
    upper = np.roll(number, -1, axis=0)
    if not closed:
        number, upper = number[:-1], upper[:-1]
    right, upper_right = np.roll(number, -1, axis=1), np.roll(upper, -1, axis=1)
    triangles = np.concatenate(
        (np.dstack((number, upper, upper_right)).reshape(-1, 3), np.dstack((number, upper_right, right)).reshape(-1, 3))
    )
    mesh = Mesh(positions.reshape(-1, 3), normals.reshape(-1, 3), triangles)
    corners = mesh.positions[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return mesh._replace(indices=triangles[area > 1e-12])


def merge(*parts: Mesh) -> Mesh:
    """Merge meshes into one."""
    starts = np.cumsum([0, *(len(part.positions) for part in parts[:-1])])
    return Mesh(
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.normals for part in parts]),
        np.concatenate([part.indices + start for part, start in zip(parts, starts, strict=True)]),
    )


def lathe(*runs: Sequence[tuple[float, float]], columns: int, samples_per_span: int) -> Mesh:
    """Rotate a profile about the y axis.

    Args:
        runs: Smooth pieces of the profile, with sharp edges between them, as points (radius, height). The solid lies to the left
            of the profile: outwards along the bottom, up outside, and down inside.
        columns: Number of vertices around the axis.
        samples_per_span: Number of rings from one point to the next.
    """
    angle = PHASE + 2.0 * np.pi * np.arange(columns) / columns
    around = np.column_stack((np.cos(angle), np.zeros(columns), -np.sin(angle)))
    parts = []
    for run in runs:
        points, tangents = smooth_curve(run, samples_per_span)
        up = np.array((0.0, 1.0, 0.0))
        positions = points[:, :1, None] * around + points[:, 1:, None] * up
        normals = tangents[:, 1:, None] * around - tangents[:, :1, None] * up
        parts.append(_turned(grid(positions, normals)))
    return merge(*parts)


def tube(centres: np.ndarray, sides: np.ndarray, radii: np.ndarray, *, columns: int, closed: bool = False) -> Mesh:
    """Sweep a circle along a curve.

    Args:
        centres: Points of the curve, shape [count, 3].
        sides: A direction at each point, not along the curve, at which the circle starts, shape [count, 3].
        radii: Radius of the circle at each point, shape [count].
        columns: Number of vertices of the circle.
        closed: Whether the curve is closed.
    """
    if closed:
        ahead, behind = np.roll(centres, -1, axis=0), np.roll(centres, 1, axis=0)
    else:
        ahead = np.concatenate((centres[1:], centres[-1:]))
        behind = np.concatenate((centres[:1], centres[:-1]))
    tangents = _unit(ahead - behind)
    u = _unit(sides - np.sum(sides * tangents, axis=1, keepdims=True) * tangents)
    v = np.cross(tangents, u)
    angle = PHASE + 2.0 * np.pi * np.arange(columns) / columns
    circle = u[:, None] * np.cos(angle)[:, None] + v[:, None] * np.sin(angle)[:, None]
    return _turned(grid(centres[:, None] + radii[:, None, None] * circle, circle, closed=closed))


def _turned(mesh: Mesh) -> Mesh:
    """Reverse all triangles if they face against the normals."""
    corners = mesh.positions[mesh.indices]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = np.sum(faces * mesh.normals[mesh.indices].sum(axis=1))
    return mesh if facing > 0.0 else mesh._replace(indices=mesh.indices[:, ::-1])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


# --- Objects


def vase() -> Mesh:
    """A vase of 0.32 m with a narrow neck and a turned-out lip."""
    bottom = [(0.0, 0.0), (0.03, 0.0), (0.05, 0.002)]
    outside = [(0.05, 0.002), (0.056, 0.012), (0.09, 0.07), (0.105, 0.14), (0.078, 0.21), (0.04, 0.255), (0.038, 0.29)]
    lip = [(0.056, 0.318), (0.06, 0.322), (0.056, 0.324)]
    inside = [(0.034, 0.292), (0.035, 0.25), (0.06, 0.2), (0.0, 0.14)]
    return lathe(bottom, [*outside, *lip, *inside], columns=28, samples_per_span=2)


def bowl() -> Mesh:
    """A bowl of 0.26 m across on a foot ring."""
    foot = [(0.0, 0.006), (0.04, 0.006), (0.045, 0.0), (0.05, 0.0)]
    outside = [(0.052, 0.006), (0.09, 0.025), (0.125, 0.08), (0.131, 0.094)]
    inside = [(0.128, 0.098), (0.124, 0.094), (0.115, 0.07), (0.085, 0.033), (0.0, 0.016)]
    return lathe([*foot, *outside, *inside], columns=28, samples_per_span=2)


def goblet() -> Mesh:
    """A goblet of 0.2 m with a solid stem."""
    bottom = [(0.0, 0.0), (0.025, 0.0), (0.038, 0.001)]
    stem = [(0.038, 0.001), (0.039, 0.004), (0.018, 0.01), (0.0065, 0.025), (0.0055, 0.055), (0.008, 0.09)]
    outside = [(0.03, 0.112), (0.042, 0.145), (0.0385, 0.195), (0.037, 0.2)]
    inside = [(0.0355, 0.195), (0.039, 0.146), (0.027, 0.115), (0.0, 0.1)]
    return lathe(bottom, [*stem, *outside, *inside], columns=24, samples_per_span=2)


def teapot() -> Mesh:
    """A pot-bellied pot of 0.19 m with lid and knob, its spout towards +x and its handle towards -x."""
    bottom = [(0.0, 0.0), (0.035, 0.0), (0.055, 0.002)]
    belly = [(0.055, 0.002), (0.06, 0.012), (0.088, 0.05), (0.09, 0.085), (0.066, 0.125), (0.05, 0.135)]
    lid = [(0.05, 0.135), (0.048, 0.142), (0.03, 0.152), (0.01, 0.158)]
    knob = [(0.009, 0.165), (0.018, 0.178), (0.012, 0.19), (0.0, 0.192)]
    body = lathe(bottom, belly, [*lid, *knob], columns=28, samples_per_span=2)
    path, _ = smooth_curve([(0.07, 0.045, 0), (0.115, 0.06, 0), (0.135, 0.1, 0), (0.16, 0.135, 0)], 4)
    # The wall of the spout continues a little way down inside
    path = np.concatenate((path, path[-2:-4:-1]))
    radii = np.concatenate((np.linspace(0.026, 0.0105, len(path) - 2), [0.007, 0.008]))
    spout = _pipe(path, radii)
    path, _ = smooth_curve(
        [(-0.06, 0.12, 0), (-0.11, 0.132, 0), (-0.138, 0.1, 0), (-0.115, 0.05, 0), (-0.07, 0.035, 0)], 3
    )
    handle = tube(path, np.tile((0.0, 0.0, 1.0), (len(path), 1)), np.full(len(path), 0.008), columns=10)
    return merge(body, spout, handle)


def _pipe(path: np.ndarray, radii: np.ndarray) -> Mesh:
    """Return a tube along a path in the xy plane, whose last two rings lie inside it."""
    outside = tube(path[:-2], np.tile((0.0, 0.0, 1.0), (len(path) - 2, 1)), radii[:-2], columns=12)
    inner = np.concatenate((path[-3:-2], path[-2:]))
    inside = tube(inner, np.tile((0.0, 0.0, 1.0), (3, 1)), np.concatenate((radii[-3:-2], radii[-2:])), columns=12)
    return merge(outside, Mesh(inside.positions, -inside.normals, inside.indices[:, ::-1]))


def knot() -> Mesh:
    """A trefoil knot of 1 m, standing upright."""
    count = 80
    turn = 2.0 * np.pi * np.arange(count) / count + PHASE
    ring, width, thickness = 0.3, 0.13, 0.07
    outwards = np.column_stack(
        (np.cos(3 * turn) * np.cos(2 * turn), np.cos(3 * turn) * np.sin(2 * turn), np.sin(3 * turn))
    )
    circle = np.column_stack((np.cos(2 * turn), np.sin(2 * turn), np.zeros(count)))
    centres = (0.0, ring + width + thickness, 0.0) + ring * circle + width * outwards
    return tube(centres, outwards, np.full(count, thickness), columns=12, closed=True)


def arch() -> Mesh:
    """A round arch on two piers: 3 m wide and 3.4 m high over all, 0.4 m deep (z), the opening 2.2 m wide."""
    half, span, springing, top, depth = 1.5, 1.1, 2.0, 3.4, 0.2
    turn = np.linspace(0.0, np.pi, 25)
    inner = np.concatenate(
        ([(span, 0.0)], np.column_stack((span * np.cos(turn), springing + span * np.sin(turn))), [(-span, 0.0)])
    )
    # Find the point on the outer rectangle for each point of the opening
    reach = np.minimum(
        half / np.maximum(np.abs(np.cos(turn)), 1e-9), (top - springing) / np.maximum(np.sin(turn), 1e-9)
    )
    outer = np.column_stack((np.cos(turn) * reach, springing + np.sin(turn) * reach))
    corner = np.arctan2(top - springing, half)
    for angle, x in ((corner, half), (np.pi - corner, -half)):
        outer[np.argmin(np.abs(turn - angle))] = (x, top)
    outer = np.concatenate(([(half, 0.0)], outer, [(-half, 0.0)]))
    inwards = np.concatenate(([(-1.0, 0.0)], np.column_stack((-np.cos(turn), -np.sin(turn))), [(1.0, 0.0)]))

    def strip(first: np.ndarray, second: np.ndarray, z0: float, z1: float, normals: np.ndarray) -> Mesh:
        count = len(first)
        positions = np.concatenate(
            (np.column_stack((first, np.full(count, z0))), np.column_stack((second, np.full(count, z1))))
        )
        low = np.arange(count - 1)
        indices = np.concatenate(
            (np.column_stack((low, low + 1, low + count + 1)), np.column_stack((low, low + count + 1, low + count)))
        )
        return _turned(Mesh(positions, np.concatenate((normals, normals)), indices))

    def facing(x: float, y: float, z: float, count: int = len(inner)) -> np.ndarray:
        return np.tile((x, y, z), (count, 1))

    flat = np.column_stack((inwards, np.zeros(len(inwards))))
    box = [(half, 0.0), (half, top), (-half, top), (-half, 0.0)]
    sides = [
        strip(np.array(box[i : i + 2]), np.array(box[i : i + 2]), -depth, depth, facing(*normal, 2))
        for i, normal in enumerate([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)])
    ]
    return merge(
        strip(inner, inner, -depth, depth, flat),
        strip(inner, outer, depth, depth, facing(0.0, 0.0, 1.0)),
        strip(inner, outer, -depth, -depth, facing(0.0, 0.0, -1.0)),
        *sides,
    )


MESHES: dict[str, Callable[[], Mesh]] = {
    "arch": arch,
    "bowl": bowl,
    "goblet": goblet,
    "knot": knot,
    "teapot": teapot,
    "vase": vase,
}


# --- The sky


def sky(width: int = 128, height: int = 64) -> np.ndarray:
    """Return a clear sky with a soft sun over a grey-brown plain, as a latitude-longitude image of linear radiance.

    The blue becomes paler towards the horizon and around the sun. The sun is 38 degrees above the horizon, 40 degrees to the left
    of the image's centre column, and blurred to a disc with a radius of 1 to 5 degrees.

    Returns:
        Shape [height, width, 3].
    """
    theta = np.pi * (np.arange(height) + 0.5)[:, None] / height
    phi = 2.0 * np.pi * (np.arange(width) + 0.5) / width
    elevation = np.pi / 2.0 - theta
    sun_elevation, sun_phi = np.radians(38.0), np.pi - np.radians(40.0)
    cosine = np.sin(elevation) * np.sin(sun_elevation) + np.cos(elevation) * np.cos(sun_elevation) * np.cos(
        phi - sun_phi
    )
    distance = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))[..., None]

    zenith, horizon = np.array((0.2, 0.35, 0.68)), np.array((0.85, 0.86, 0.86))
    haze = np.exp(-np.maximum(elevation, 0.0) / 0.28)[..., None]
    above = zenith + (horizon - zenith) * haze + np.array((0.9, 0.78, 0.6)) * np.exp(-distance / 14.0)
    edge = np.clip((5.0 - distance) / 4.0, 0.0, 1.0)
    above = above + np.array((130.0, 108.0, 80.0)) * edge * edge * (3.0 - 2.0 * edge)
    ground = np.array((0.2, 0.19, 0.17))
    blend = np.clip(0.5 + elevation / np.radians(3.0), 0.0, 1.0)[..., None]
    return ground + (above - ground) * blend


# --- Files


def ply(mesh: Mesh) -> bytes:
    """Encode a mesh as binary PLY, with float32 vertices and 16-bit indices."""
    positions = np.round(mesh.positions, POSITION_DECIMALS) + 0.0  # without negative zeros
    normals = np.round(_unit(mesh.normals), NORMAL_DECIMALS) + 0.0
    if len(positions) > 2**16:
        raise ValueError(f"{len(positions)} vertices are too many for 16-bit indices")
    faces = np.empty(len(mesh.indices), dtype=[("count", "u1"), ("indices", "<u2", 3)])
    faces["count"] = 3
    faces["indices"] = mesh.indices
    names = [f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(positions)}", *names]
    header += [f"element face {len(faces)}", "property list uchar ushort vertex_indices", "end_header", ""]
    return "\n".join(header).encode() + np.hstack((positions, normals)).astype("<f4").tobytes() + faces.tobytes()


def write_all(folder: Path) -> list[Path]:
    """Write the meshes to `folder`/meshes and the sky to `folder`, and return the files."""
    (folder / "meshes").mkdir(parents=True, exist_ok=True)
    files = []
    for name, make in MESHES.items():
        path = folder / "meshes" / f"{name}.ply"
        path.write_bytes(ply(make()))
        files.append(path)
    files.append(write_image(folder / "sky.hdr", np.round(sky(), 4)))
    return files


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the meshes and the sky of the scenes.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=FOLDER, help="where to write (default: the folder of this script)"
    )
    for written in write_all(parser.parse_args().folder):
        print(f"{written}: {written.stat().st_size:,} bytes")
