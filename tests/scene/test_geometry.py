"""Tessellated shapes compared with Mitsuba's exact ones: the same points, normals, texture coordinates and areas."""

from __future__ import annotations

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.geometry import SEGMENTS, smooth_normals, tessellate, transform_mesh, world_mesh, world_sphere
from nrc_tracer.scene.model import (
    Cube,
    Cylinder,
    Disk,
    Matrix,
    Mesh,
    Rectangle,
    Rotate,
    Scale,
    Sphere,
    Translate,
    TriangleMesh,
)
from nrc_tracer.scene.transforms import matrix

mi = pytest.importorskip("mitsuba")
mi.set_variant("scalar_rgb")

PLACED = (Scale(value=(0.5, 1.5, 0.8)), Rotate(axis=(1, 2, 3), angle=40), Translate(value=(1, -2, 0.5)))
RIGID = (Scale(value=0.7), Rotate(axis=(1, 2, 3), angle=40), Translate(value=(1, -2, 0.5)))
MIRROR = (Scale(value=(-1, 1, 1)),)
FACET = np.pi / SEGMENTS
"""Half the angle of a facet, the largest error of its texture coordinates and flat normal."""


def ray_hits(positions: np.ndarray, indices: np.ndarray, origin: np.ndarray, direction: np.ndarray):
    """Intersect a ray with all triangles by Cramer's rule: distance, triangle and barycentric coordinates, or None."""
    p0, p1, p2 = (positions[indices[:, k]].astype(np.float64) for k in range(3))
    columns = np.stack((p1 - p0, p2 - p0, np.broadcast_to(-direction, p0.shape)), axis=2)
    solvable = np.abs(np.linalg.det(columns)) > 1e-14
    solution = np.full((len(indices), 3), np.nan)
    solution[solvable] = np.linalg.solve(columns[solvable], (origin - p0)[solvable][:, :, None])[:, :, 0]
    b1, b2, distance = solution.T
    hit = (b1 >= -1e-9) & (b2 >= -1e-9) & (b1 + b2 <= 1 + 1e-9) & (distance > 1e-6)
    if not np.any(hit):
        return None
    nearest = np.flatnonzero(hit)[np.argmin(distance[hit])]
    return distance[nearest], nearest, np.array((1 - b1[nearest] - b2[nearest], b1[nearest], b2[nearest]))


def mitsuba_shape(shape, **extra):
    """The same shape in Mitsuba."""
    to_world = mi.ScalarTransform4f(matrix(shape.to_world))
    given = {"type": shape.__struct_config__.tag, "to_world": to_world, "flip_normals": shape.flip_normals}
    if isinstance(shape, Sphere):
        given |= {"center": list(shape.center), "radius": shape.radius}
    if isinstance(shape, Cylinder):
        given |= {"p0": list(shape.p0), "p1": list(shape.p1), "radius": shape.radius}
    return mi.load_dict({"type": "scene", "shape": given | extra})


def rays_at(mesh: TriangleMesh, count: int, seed: int):
    """Rays from around a mesh towards random points near its middle."""
    rng = np.random.default_rng(seed)
    low, high = mesh.positions.min(axis=0), mesh.positions.max(axis=0)
    center, size = (low + high) / 2, np.linalg.norm(high - low)
    for _ in range(count):
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        target = center + 0.5 * (high - low) * rng.uniform(-0.9, 0.9, size=3)
        yield target - 2 * size * direction, direction


def wrapped(difference: np.ndarray) -> np.ndarray:
    """Differences of texture coordinates modulo 1, as phi jumps from 1 to 0."""
    return difference - np.round(difference)


SHAPES = [Rectangle, Cube, Disk, Cylinder]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("to_world", [(), PLACED, PLACED + MIRROR], ids=["identity", "placed", "mirrored"])
@pytest.mark.parametrize("kind", SHAPES)
def test_ray_hits_agree_with_mitsuba(kind, to_world, flip):
    """Every hit has the distance, uv and shading normal of Mitsuba's shape, and the face is on the normal's side."""
    if kind is Cylinder:
        # Mitsuba's cylinder must not be stretched across its axis
        to_world = tuple(
            Scale(value=(0.7, 0.7, 1.3)) if isinstance(s, Scale) and s.value[0] > 0 else s for s in to_world
        )
    shape = kind(to_world=to_world, flip_normals=flip)
    mesh = world_mesh(shape)
    scene = mitsuba_shape(shape)
    hits = 0
    curved = kind in (Disk, Cylinder)
    for origin, direction in rays_at(mesh, 60, seed=1):
        expected = scene.ray_intersect(mi.Ray3f(list(origin), list(direction)))
        found = ray_hits(mesh.positions, mesh.indices, origin, direction)
        if found is None or not expected.is_valid():
            assert curved or (found is None) == (not expected.is_valid())
            continue
        distance, triangle, weights = found
        if curved and abs(distance - expected.t) > 1e-2:
            continue  # the ray passes the rim of one shape and hits the other
        hits += 1
        vertices = mesh.indices[triangle]
        normal = weights @ mesh.normals[vertices]
        uv = weights @ mesh.uvs[vertices]
        corners = mesh.positions[vertices].astype(np.float64)
        face = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        if kind is Cylinder:
            # at grazing angles the facet's offset of 1 - cos(facet) moves the hit far along the ray
            grazing = abs(np.dot(normal, direction))
            tolerance = 2 * FACET**2 / max(grazing, 1e-3) + 1e-4
        else:
            tolerance = 1e-5
        assert distance == pytest.approx(expected.t, abs=3 * tolerance)
        np.testing.assert_allclose(normal / np.linalg.norm(normal), expected.sh_frame.n, atol=FACET**2 + 10 * tolerance)
        assert np.dot(face, normal) > 0
        # near the centre of a disk phi is as coarse as its facets
        limit = (FACET / np.pi if kind is Disk else 2 * tolerance, 3 * tolerance)[:: -1 if kind is Disk else 1]
        assert np.all(np.abs(wrapped(uv - list(expected.uv))) < np.array(limit) + 1e-4)
    assert hits > 15


@pytest.mark.parametrize("kind", [*SHAPES, Sphere])
def test_the_emitting_side_agrees_with_mitsuba(kind):
    """Mitsuba's emitter emits towards a ray exactly if our normal faces the ray, even if mirrored, flipped or both."""
    for to_world in ((), MIRROR, (*MIRROR, Rotate(axis=(0, 1, 0), angle=180))):
        for flip in (False, True):
            shape = kind(to_world=to_world, flip_normals=flip)
            mesh = world_mesh(shape)
            scene = mitsuba_shape(shape, emitter={"type": "area"})
            direction = np.array((-1.0, 0.1, 0.05)) if kind is Cylinder else np.array((0.05, 0.1, -1.0))
            origin = -5 * direction + np.array((0.0, 0.0, mesh.positions.mean(axis=0)[2]))
            interaction = scene.ray_intersect(mi.Ray3f(list(origin), list(direction)))
            shines = scene.shapes()[0].emitter().eval(interaction)[0] > 0
            _, triangle, weights = ray_hits(mesh.positions, mesh.indices, origin, direction)
            assert (np.dot(weights @ mesh.normals[mesh.indices[triangle]], direction) < 0) == shines


def test_inverse_sphere_of_mitsuba():
    """world_sphere turns normals inwards in the same cases as Mitsuba."""
    for to_world in ((), RIGID, RIGID + MIRROR, (Scale(value=-2.0),)):
        for flip in (False, True):
            sphere = Sphere(center=(0.2, 0.1, -0.3), radius=0.6, to_world=to_world, flip_normals=flip)
            center, radius, inward = world_sphere(sphere)
            origin = center + np.array((0.0, 0.0, 3 * radius))
            hit = mitsuba_shape(sphere).ray_intersect(mi.Ray3f(list(origin), [0, 0, -1]))
            assert hit.t == pytest.approx(2 * radius, rel=1e-5)
            assert hit.n.z == pytest.approx(-1 if inward else 1, abs=1e-5)
    assert world_sphere(Sphere(to_world=(Scale(value=(1, 1, 1.01)),))) is None


def test_sphere_uvs_and_normals():
    """The tessellated sphere has Mitsuba's longitude and latitude as uv."""
    shape = Sphere(center=(0.1, 0.2, 0.3), radius=2.0)
    mesh, scene = tessellate(shape), mitsuba_shape(shape)
    for origin, direction in rays_at(mesh, 40, seed=2):
        found = ray_hits(mesh.positions, mesh.indices, origin, direction)
        expected = scene.ray_intersect(mi.Ray3f(list(origin), list(direction)))
        if found is None or not expected.is_valid() or abs(np.dot(expected.n, direction)) < 0.2:
            continue
        weights, vertices = found[2], mesh.indices[found[1]]
        np.testing.assert_allclose(weights @ mesh.normals[vertices], expected.n, atol=2e-3)
        u_tolerance = 1e-3 / np.sqrt(1 - expected.n.z**2)
        assert np.all(np.abs(wrapped(weights @ mesh.uvs[vertices] - list(expected.uv))) < (u_tolerance, 1e-3))


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (Rectangle(), 4.0),
        (Cube(), 24.0),
        (Disk(), np.pi),
        (Cylinder(p0=(1, 0, 0), p1=(1, 2, 2), radius=0.5), np.pi * np.sqrt(8)),
        (Sphere(radius=3.0), 36 * np.pi),
    ],
)
def test_area_agrees_with_the_exact_shape(shape, area):
    """Facets do not lose area, so an area light keeps its power."""
    mesh = tessellate(shape)
    p0, p1, p2 = (mesh.positions[mesh.indices[:, k]].astype(np.float64) for k in range(3))
    assert 0.5 * np.linalg.norm(np.cross(p1 - p0, p2 - p0), axis=1).sum() == pytest.approx(area, rel=1e-6)


def test_cylinder_frame():
    """Texture coordinates start at the same place around a slanting cylinder."""
    shape = Cylinder(p0=(0.5, 0, 1), p1=(-1, 2, -0.5), radius=0.4)
    mesh, scene = tessellate(shape), mitsuba_shape(shape)
    checked = 0
    for origin, direction in rays_at(mesh, 80, seed=3):
        found = ray_hits(mesh.positions, mesh.indices, origin, direction)
        expected = scene.ray_intersect(mi.Ray3f(list(origin), list(direction)))
        if (
            found
            and expected.is_valid()
            and abs(np.dot(expected.n, direction)) > 0.3
            and abs(found[0] - expected.t) < 1e-2
        ):
            checked += 1
            uv = found[2] @ mesh.uvs[mesh.indices[found[1]]]
            assert np.all(np.abs(wrapped(uv - list(expected.uv))) < 1e-3)
    assert checked > 10


def test_smooth_normals_of_a_cube_corner():
    """The weights are angles: a cube's corner normal is the diagonal, however its faces are triangulated."""
    positions = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float32)
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    indices = np.array([triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))])
    np.testing.assert_allclose(smooth_normals(positions, indices), positions / np.sqrt(3), atol=1e-6)


def test_normals_stay_perpendicular():
    """A shear transforms normals by the inverse transpose, not by the matrix."""
    shear = ((1.0, 0.5, 0.2, 0.0), (0.0, 1.0, 0.7, 0.0), (0.1, 0.0, 2.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    mesh = world_mesh(Cube(to_world=(Matrix(value=shear),)))
    corners = mesh.positions[mesh.indices].astype(np.float64)
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    for corner in range(3):
        np.testing.assert_allclose(mesh.normals[mesh.indices[:, corner]], faces, atol=1e-6)


def test_inline_mesh():
    """A mesh given by arrays keeps its data, gets smooth normals unless it has face_normals, and inverts v if it has flip_v."""
    given = {
        "positions": ((0, 0, 0), (1, 0, 0), (0, 1, 0)),
        "indices": ((0, 1, 2),),
        "uvs": ((0, 0.25), (1, 0), (0, 1)),
    }
    mesh = tessellate(Mesh(**given, flip_v=True))
    assert mesh.indices.dtype == np.int32
    np.testing.assert_array_equal(mesh.normals, np.tile((0, 0, 1), (3, 1)))
    np.testing.assert_array_equal(mesh.uvs, ((0, 0.75), (1, 1), (0, 0)))
    assert tessellate(Mesh(**given, face_normals=True)).normals is None
    flipped = transform_mesh(tessellate(Mesh(**given, face_normals=True)), np.eye(4), flip_normals=True)
    np.testing.assert_array_equal(flipped.indices, ((2, 1, 0),))


def test_options_apply_to_meshes_from_files():
    """face_normals and flip_v also work on triangles that come from a file."""
    loaded = tessellate(Rectangle())
    mesh = tessellate(Mesh(file="a.obj", face_normals=True, flip_v=True), loaded)
    assert mesh.normals is None
    np.testing.assert_array_equal(mesh.uvs[:, 1], 1 - loaded.uvs[:, 1])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (Mesh(positions=((0, 0, 0),), indices=((0, 0, 1),)), "outside the 1 positions"),
        (Mesh(positions=((0, 0, 0),), indices=((0, 0, -1),)), "outside the 1 positions"),
        (Mesh(positions=((0, 0, 0),)), "needs both positions and indices"),
        (Mesh(positions=((0, 0, float("nan")),), indices=((0, 0, 0),)), "not finite"),
        (Mesh(positions=((0, 0, 0),), indices=((0, 0, 0),), uvs=((0, 0), (1, 1))), "2 uvs for 1 positions"),
        (Mesh(name="m", file="gone.obj"), 'mesh "m".*"gone.obj" is not loaded'),
        (Cylinder(name="c", p0=(1, 1, 1), p1=(1, 1, 1)), 'cylinder "c": p0 and p1 are the same point'),
    ],
)
def test_impossible_shapes_are_refused(shape, message):
    """A shape that cannot be triangulated is refused with a reason."""
    with pytest.raises(SceneError, match=message):
        tessellate(shape)
