"""Isosurfaces compared with closed forms, with scikit-image on the whole lattice, and with trimesh's test for closed meshes."""

import builtins
import math
import tracemalloc

import numpy as np
import pytest

from nrc_tracer.errors import DataError, OutputError
from nrc_tracer.scene.load import load_scene
from nrc_tracer.scene.mesh_files import load_mesh
from nrc_tracer.surfaces.isosurface import Isosurface, extract, write_surface
from nrc_tracer.surfaces.surface_mesh import collapsed

trimesh = pytest.importorskip("trimesh")
cKDTree = pytest.importorskip("scipy.spatial").cKDTree
marching_cubes = pytest.importorskip("skimage.measure").marching_cubes

BOX = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))


def sphere(points, radius=0.5):
    return np.linalg.norm(points, axis=1) - np.float32(radius)


def sphere_gradient(points):
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-20)


def torus(points):
    return np.hypot(np.hypot(points[:, 0], points[:, 1]) - 0.6, points[:, 2]) - 0.2


def two_balls(points):
    return np.minimum(sphere(points - np.float32([0.4, 0, 0]), 0.3), sphere(points + np.float32([0.4, 0, 0]), 0.3))


def half_ball(points):
    return sphere(points + np.float32([1.0, 0.0, 0.0]), 0.9)


def around_the_box(points):
    return sphere(points, 3.0)


def gyroid(points):
    x, y, z = 8.0 * points.T
    return np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x)


def cube(points):
    return np.abs(points).max(axis=1) - np.float32(0.5)


def noise(points):
    """Independent values at the corners of 20^3 cells, which cover all cases of marching cubes, including ambiguous ones."""
    values = np.random.default_rng(5).standard_normal((21, 21, 21)).astype(np.float32)
    return values[tuple(np.round((points + 1.0) * 10.0).astype(int).T)]


def as_trimesh(surface):
    return trimesh.Trimesh(surface.positions, surface.indices, process=False)


@pytest.mark.parametrize(
    ("field", "options", "euler"),
    [
        (sphere, {}, 2),
        (sphere, {"lipschitz": 1.0, "refine": 3}, 2),
        (torus, {}, 0),
        (torus, {"lipschitz": 1.0, "refine": 3}, 0),
        (two_balls, {"lipschitz": 1.0}, 4),
        (cube, {}, 2),
        (gyroid, {"closed": True}, None),
        (noise, {"closed": True, "resolution": 20}, None),
        (half_ball, {"closed": True, "resolution": 48}, 2),
        (half_ball, {"closed": True, "resolution": 48, "lipschitz": 1.0, "refine": 3}, 2),
        (around_the_box, {"closed": True, "resolution": 48}, 2),
        (around_the_box, {"closed": True, "resolution": 48, "lipschitz": 1.0}, 2),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_closed_and_the_same_for_every_size_of_blocks(field, options, euler):
    options = {"resolution": 40, **options}
    surface = extract(field, *BOX, **options, block=64)
    mesh = as_trimesh(surface)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0.0
    assert euler is None or mesh.euler_number == euler
    for block in (4, 12, 16, 32):
        other = extract(field, *BOX, **options, block=block)
        np.testing.assert_array_equal(other.positions, surface.positions)
        np.testing.assert_array_equal(other.indices, surface.indices)
        assert other.evaluations == surface.evaluations  # corners that blocks share are evaluated once


def jagged(points):
    """Slopes far above 1 and jumps across planes, as a fitted distance has at openings of a mesh."""
    waves = np.sin(17.0 * points[:, 0]) * np.cos(13.0 * points[:, 1]) + np.sin(19.0 * points[:, 2])
    jump = np.where(points[:, 1] > 0.3 * np.sin(5.0 * points[:, 0]), 1.0, -1.0)
    return np.where(sphere(points, 0.7) < 0.0, 0.3 * waves + 0.5 * jump, 0.2 + 2.0 * sphere(points, 0.7))


def opened(points):
    """A ball by its winding number: half of its surface is missing, and the distance jumps across the opening."""
    below = points[:, 1] < 0.0
    distance = np.where(
        below, np.abs(sphere(points)), np.hypot(np.hypot(points[:, 0], points[:, 2]) - 0.5, points[:, 1])
    )
    return np.where(below & (sphere(points) < 0.0), -distance, distance)


@pytest.mark.parametrize("lipschitz", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("field", [noise, gyroid, jagged, opened, half_ball], ids=lambda field: field.__name__)
def test_no_holes_with_a_bound_that_is_wrong(field, lipschitz):
    """The surface is followed into cubes that the bound would skip; it does not depend on the blocks."""
    resolution = 20 if field is noise else 34
    surfaces = [
        extract(field, *BOX, resolution, closed=True, lipschitz=lipschitz, block=block) for block in (4, 16, 64)
    ]
    assert as_trimesh(surfaces[0]).is_watertight
    for other in surfaces[1:]:
        np.testing.assert_array_equal(other.positions, surfaces[0].positions)
        np.testing.assert_array_equal(other.indices, surfaces[0].indices)


def test_the_whole_surface_is_found_across_a_jump():
    """All of a surface in one piece is found, although its distance jumps where it is open."""
    every, far = (extract(opened, *BOX, 96, closed=True, lipschitz=steepest) for steepest in (None, 1.0))
    np.testing.assert_array_equal(far.positions, every.positions)
    np.testing.assert_array_equal(far.indices, every.indices)
    assert far.evaluations < 0.5 * every.evaluations


def test_open_where_the_surface_leaves_the_box():
    surface = extract(gyroid, *BOX, 24)
    mesh = as_trimesh(surface)
    assert not mesh.is_watertight
    edges, counts = np.unique(mesh.edges_sorted, axis=0, return_counts=True)
    border = surface.positions[edges[counts == 1]]
    on_side = np.any(np.all(np.abs(border) == 1.0, axis=1), axis=1)  # both ends lie on the same side of the box
    assert counts.max() == 2
    assert np.all(on_side)


@pytest.mark.parametrize("lipschitz", [None, 1.0])
def test_closing_cuts_the_surface_off_at_the_box(lipschitz):
    surface = extract(around_the_box, *BOX, 16, closed=True, lipschitz=lipschitz, block=4)
    mesh = as_trimesh(surface)
    assert mesh.is_watertight
    np.testing.assert_array_equal(mesh.bounds, [[-1.0] * 3, [1.0] * 3])
    # The volume of the box, minus half the cross-section of a cell along each of the 12 edges of length 2
    assert 8.0 - 12 * 2.0 * 0.5 * 0.125**2 < mesh.volume < 8.0


@pytest.mark.parametrize("field", [half_ball, around_the_box])
def test_skipping_distant_cells_does_not_change_a_closed_surface(field):
    every, far = (extract(field, *BOX, 48, closed=True, block=16, lipschitz=steepest) for steepest in (None, 1.0))
    np.testing.assert_array_equal(far.positions, every.positions)
    np.testing.assert_array_equal(far.indices, every.indices)
    assert far.evaluations < 0.5 * every.evaluations


@pytest.mark.parametrize("refine", [0, 3])
def test_area_and_volume_of_a_sphere_converge_at_second_order(refine):
    volume, area = 4.0 / 3.0 * math.pi * 0.5**3, 4.0 * math.pi * 0.5**2
    errors = []
    for resolution in (20, 40, 80):
        mesh = as_trimesh(extract(sphere, *BOX, resolution, refine=refine))
        errors.append((abs(mesh.volume / volume - 1.0), abs(mesh.area / area - 1.0)))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(np.abs(orders - 2.0) < 0.25), orders


def _by_edges(positions, triangles):
    """The sorted triangles; each is given by the edges of the unit lattice on which its corners lie."""
    off = np.abs(positions - np.round(positions)) > 1e-4  # positions are rounded to 32-bit floats
    key = np.concatenate([np.where(off, np.floor(positions), np.round(positions)), off], axis=1).astype(int).tolist()
    corners = [tuple(sorted(tuple(key[corner]) for corner in triangle)) for triangle in triangles]
    return sorted(corners)


@pytest.mark.parametrize(
    "field", [lambda p: torus(p + np.float32([0.012, 0.023, 0.031])), gyroid], ids=["torus", "gyroid"]
)
def test_triangles_agree_with_marching_cubes_of_the_whole_lattice(field):
    lower, upper = (-1.0, -1.0, -0.75), (1.0, 0.5, 0.75)
    cells = (30, 22, 19)
    surface = extract(field, lower, upper, cells, block=8)
    spacing = (np.array(upper) - lower) / cells
    corners = np.stack(np.meshgrid(*(np.arange(n + 1) for n in cells), indexing="ij"), axis=-1)
    values = field((lower + corners.reshape(-1, 3) * spacing).astype(np.float32)).reshape(corners.shape[:3])
    positions, triangles, _, _ = marching_cubes(values, 0.0)
    ours = (surface.positions - lower) / spacing
    assert len(ours) == len(positions)
    assert _by_edges(ours, surface.indices) == _by_edges(positions, triangles)
    distances, nearest = cKDTree(ours).query(positions)
    assert distances.max() < 1e-4
    assert len(np.unique(nearest)) == len(ours)


def test_far_from_the_surface_a_distance_is_not_evaluated():
    seen = []

    def counted(points):
        seen.append(points.copy())
        return torus(points)

    surface = extract(counted, *BOX, 96, lipschitz=1.0)
    everywhere = extract(torus, *BOX, 96)
    np.testing.assert_array_equal(surface.positions, everywhere.positions)
    np.testing.assert_array_equal(surface.indices, everywhere.indices)
    points = np.concatenate(seen)
    assert surface.evaluations == len(points) < 0.25 * everywhere.evaluations
    assert len(np.unique(points, axis=0)) > 0.9 * len(points)  # the centre of a brick may also be the corner of a cell


@pytest.mark.parametrize("lipschitz", [None, 1.0])
def test_refined_vertices_lie_on_the_surface(lipschitz):
    plain = extract(torus, *BOX, 32, lipschitz=lipschitz)
    refined = extract(torus, *BOX, 32, lipschitz=lipschitz, refine=8)
    cell = 2.0 / 32
    assert np.abs(torus(plain.positions)).max() > 1e-3
    # Vertices are moved towards a corner by at most 1e-4 of an edge
    assert np.abs(torus(refined.positions)).max() < 1.1e-4 * cell
    lattice = (refined.positions + 1.0) / cell
    off = np.abs(lattice - np.round(lattice)) > 1e-4
    assert np.all(off.sum(axis=1) <= 1)  # on edges: a torus has no vertices inside cells


def test_refinement_finds_the_roots_of_nonlinear_functions():
    surface = extract(lambda p: np.expm1(30.0 * sphere(p)), *BOX, 24, refine=10)
    assert np.abs(sphere(surface.positions)).max() < 1e-3 * 2.0 / 24


def test_corners_that_lie_on_the_surface_make_no_triangles_without_area():
    """All vertices of the cube lie on corners of the lattice: marching cubes alone makes hundreds of triangles without area."""
    surface = extract(cube, *BOX, 40)
    mesh = as_trimesh(surface)
    assert mesh.is_watertight
    assert len(np.unique(surface.positions, axis=0)) == len(surface.positions)
    assert mesh.area_faces.min() > 1e-4
    np.testing.assert_array_equal(mesh.bounds, [[-0.5] * 3, [0.5] * 3])


def test_collapsing_keeps_separate_surfaces_apart():
    """The edges (0, 1) and (4, 5) of two tetrahedra coincide. Collapsing each edge would leave no triangle of either tetrahedron,
    and joining all four vertices would connect two surfaces that no triangle connects, so the vertices stay apart.
    """
    tetrahedron = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], np.int32)
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    positions, indices = collapsed(
        np.concatenate([corners, corners]), np.concatenate([tetrahedron, tetrahedron + 4]).astype(np.int32)
    )
    assert len(positions) == 8
    assert len(indices) == 8
    flat = corners.copy()
    flat[1] = flat[0]  # without an edge between 0 and 1, a tetrahedron becomes two triangles back to back
    positions, indices = collapsed(
        np.concatenate([flat, corners]), np.concatenate([tetrahedron, tetrahedron + 4]).astype(np.int32)
    )
    assert len(positions) == len(indices) == 4
    mesh = trimesh.Trimesh(positions, indices, process=False)
    assert mesh.is_watertight


def test_normals_and_attributes():
    surface = extract(sphere, *BOX, 32, gradient=lambda p: 3.0 * sphere_gradient(p), attributes=lambda p: p[:, :2])
    outward = sphere_gradient(surface.positions)
    np.testing.assert_allclose(surface.normals, outward, atol=1e-6)
    np.testing.assert_array_equal(surface.attributes, surface.positions[:, :2])
    corners = surface.positions[surface.indices]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.all(np.sum(faces * corners.mean(axis=1), axis=1) > 0.0)


def test_normals_are_those_of_triangles_without_a_gradient():
    def gradient(points):
        rows = sphere_gradient(points)
        rows[points[:, 0] > 0.0] = 0.0
        rows[points[:, 0] < -0.3] = np.nan
        return rows

    surface = extract(sphere, *BOX, 32, gradient=gradient)
    outward = sphere_gradient(surface.positions)
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=1), 1.0, atol=1e-6)
    assert np.sum(surface.normals * outward, axis=1).min() > math.cos(0.1)


def test_another_level_and_a_box_that_is_not_a_cube():
    surface = extract(sphere, (-1.0, -1.0, 0.0), (1.0, 1.0, 0.5), 64, level=0.25)
    radii = np.linalg.norm(surface.positions, axis=1)
    np.testing.assert_allclose(radii, 0.75, atol=(2.0 / 64) ** 2)
    assert surface.positions[:, 2].min() == 0.0
    assert surface.positions[:, 2].max() == 0.5


def test_memory_stays_below_that_of_all_values():
    tracemalloc.start()
    try:
        extract(torus, *BOX, 256)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 257**3


def test_progress_counts_blocks():
    calls = []
    extract(sphere, *BOX, 40, block=16, progress=lambda *call: calls.append(call))
    assert calls == [(number, 27) for number in range(1, 28)]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((lambda p: sphere(p) + 5.0, *BOX, 8), {}, r"no surface: .* \(-1, -1, -1\) to \(1, 1, 1\); .* between 4\.5"),
        ((sphere, *BOX, 8), {"level": 7.0}, "the value 7 nowhere .* between -0.5 and 1.23"),
        ((lambda p: sphere(p) + 5.0, *BOX, 8), {"lipschitz": 1.0}, "no surface"),
        ((lambda p: np.where(p[:, 0] > 0.4, np.nan, sphere(p)), *BOX, 8), {}, r"not finite at \(0\.\d+, "),
        ((lambda p: p, *BOX, 8), {}, r"shape \[729, 3\]|shape \[\d+, 3\] for points"),
        ((sphere, BOX[1], BOX[0], 8), {}, r"the box from \(1, 1, 1\)"),
        ((sphere, BOX[0], (1.0, 1.0, math.nan), 8), {}, "the box from"),
        ((sphere, *BOX, 0), {}, "resolution: must be from 1"),
        ((sphere, *BOX, 10**7), {}, "resolution: must be from 1"),
        ((sphere, *BOX, (4, 0, 4)), {}, "resolution: must be from 1"),
        ((sphere, *BOX, 8), {"block": 0}, "block: must be at least 1"),
        ((sphere, *BOX, 8), {"refine": -1}, "refine: must be at least 0"),
        ((sphere, *BOX, 8), {"lipschitz": 0.0}, "lipschitz: must be above 0"),
        ((sphere, *BOX, 8), {"gradient": lambda p: p[:, :2]}, r"gradient: returned shape \[\d+, 2\]"),
    ],
)
def test_errors_are_one_line(arguments, options, message):
    with pytest.raises(DataError, match=message) as caught:
        extract(*arguments, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("package", "call"), [("skimage", "extract"), ("trimesh", "write")])
def test_missing_packages_are_named(monkeypatch, tmp_path, package, call):
    surface = extract(sphere, *BOX, 8)
    imported = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"nrc-tracer\[tasks\]"):
        extract(sphere, *BOX, 8) if call == "extract" else write_surface(surface, tmp_path / "a.ply")


@pytest.mark.parametrize("ending", [".ply", ".obj", ".glb", ".stl", ".PLY"])
def test_files_contain_the_extracted_surface(tmp_path, ending):
    colors = np.float32([0.2, 0.5, 1.0])
    surface = extract(sphere, *BOX, 16, gradient=sphere_gradient, attributes=lambda p: np.tile(colors, (len(p), 1)))
    path = write_surface(surface, tmp_path / f"sphere{ending}")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    mesh = trimesh.load_mesh(path, process=False)
    written = as_trimesh(surface)
    np.testing.assert_allclose(mesh.area, written.area, rtol=1e-5)
    np.testing.assert_allclose(mesh.volume, written.volume, rtol=1e-5)
    if ending == ".stl":
        return
    np.testing.assert_allclose(mesh.vertices, surface.positions, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, surface.indices)
    srgb = [124, 188, 255]  # IEC 61966-2-1 of 0.2, 0.5 and 1
    expected = [51, 128, 255] if ending == ".glb" else srgb
    np.testing.assert_allclose(mesh.visual.vertex_colors[0, :3], expected, atol=1)


@pytest.mark.parametrize("ending", [".ply", ".obj", ".glb"])
def test_the_package_reads_its_normals_and_colours_back(tmp_path, ending):
    colors = np.float32([0.2, 0.5, 1.0])
    surface = extract(sphere, *BOX, 16, gradient=sphere_gradient, attributes=lambda p: np.tile(colors, (len(p), 1)))
    path = write_surface(surface, tmp_path / f"sphere{ending}")
    if ending == ".glb":
        (mesh,) = load_scene(path).meshes.values()
    else:
        mesh = load_mesh(path)
    np.testing.assert_allclose(mesh.positions[mesh.indices], surface.positions[surface.indices], atol=1e-6)
    np.testing.assert_allclose(mesh.colors[:, :3], np.tile(colors, (len(mesh.colors), 1)), atol=5e-3)
    np.testing.assert_allclose(mesh.normals[mesh.indices], surface.normals[surface.indices], atol=1e-5)


@pytest.mark.parametrize(("ending", "step"), [(".obj", 1e-8), (".ply", 0.25), (".stl", 0.25), (".glb", 0.25)])
def test_precision_of_positions_far_from_the_origin(tmp_path, ending, step):
    """OBJ keeps positions in float64; in the other formats they are off by half of float32's step, 0.5 at 5.5e6."""
    surface = extract(sphere, *BOX, 8)
    far = surface.positions + np.array([5e5, 5.5e6, 0.0])
    path = write_surface(Isosurface(far, surface.indices), tmp_path / f"far{ending}")
    if ending == ".obj":
        words = [line.split() for line in path.read_text().splitlines()]
        written = np.array([row[1:4] for row in words if row and row[0] == "v"], np.float64)
    else:
        written = trimesh.load_mesh(path, process=False).vertices
    expected = far[surface.indices.ravel()] if ending == ".stl" else far
    assert np.abs(written - expected).max() <= step


def test_unknown_formats_and_missing_folders_are_refused(tmp_path):
    surface = Isosurface(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32))
    with pytest.raises(OutputError, match=r'"\.plyy" is not a format .*"\.ply"'):
        write_surface(surface, tmp_path / "a.plyy")
    with pytest.raises(OutputError, match="there is no folder"):
        write_surface(surface, tmp_path / "nowhere" / "a.ply")
