"""Learnt shapes in a render: a network that has learnt a sphere, compared with the sphere within the network's error."""

import gc
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from nrc_tracer import nn
from nrc_tracer.errors import CheckpointError, SceneError
from nrc_tracer.scene.model import (
    ConstantLight,
    Diffuse,
    DirectionalLight,
    Instance,
    NeuralSdf,
    Rectangle,
    Rotate,
    Scale,
    Scene,
    Sphere,
    Translate,
)
from nrc_tracer.scene.neural_sdf import read_sdf_snapshot
from nrc_tracer.tracer import Renderer, neural_shapes
from nrc_tracer.tracer.neural_shapes import extract_shape, with_triangles
from tests.tracer.cached_renders import cached
from tests.tracer.learnt_spheres import SCALE, learn_sphere, sphere_distance, untrained
from tests.tracer.tiny_scenes import image_mean, probe, rendered, scene

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("skimage")

RESOLUTION = 64


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory) -> Path:
    """The snapshot of a network that has learnt the unit sphere."""
    return learn_sphere(tmp_path_factory.mktemp("learnt") / "sphere.safetensors")


@pytest.fixture(scope="module")
def mesh(snapshot):
    """The triangles of the learnt sphere."""
    return extract_shape(read_sdf_snapshot(snapshot), RESOLUTION, "cpu")


def with_snapshot(described: Scene, *paths: Path) -> Scene:
    """The scene with the headers of its snapshots, as `load_scene` reads them."""
    return replace(described, snapshots={path.name: read_sdf_snapshot(path) for path in paths})


def learnt(path: Path, **options) -> NeuralSdf:
    return NeuralSdf(**{"file": path.name, "resolution": RESOLUTION, **options})


def both(snapshot: Path, *others, shape: dict | None = None, **options) -> tuple[Scene, Scene]:
    """The same scene with the learnt sphere and with the analytic one."""
    neural = with_snapshot(scene(learnt(snapshot, **(shape or {})), *others, **options), snapshot)
    return neural, scene(Sphere(**(shape or {})), *others, **options)


def radial_error(mesh) -> float:
    """Largest distance of the triangles from the unit sphere: that of the vertices plus that of the middle of a cell's chord."""
    cell = 2.0 * 1.05 / RESOLUTION
    vertices = np.abs(np.linalg.norm(mesh.positions, axis=1) - 1.0).max()
    return float(vertices) + 3.0 * cell**2 / 8.0


def test_vertices_lie_where_the_network_is_zero_and_the_mesh_is_closed(snapshot, mesh):
    model = nn.load(snapshot, device="cpu")
    u = torch.from_numpy((mesh.positions * SCALE + 0.5).astype(np.float32))
    cell = (2.0 * SCALE + 0.02) / RESOLUTION
    values = model(u)[:, 0].abs()
    assert float(values.quantile(0.99)) < 1e-4 * cell
    assert float(values.max()) < 0.05 * cell  # across a kink of a ReLU
    # So the distance of vertices to the sphere is the network's own error
    errors = (model(u)[:, 0] - sphere_distance(u)).abs().numpy() / SCALE
    radii = np.linalg.norm(mesh.positions, axis=1)
    np.testing.assert_allclose(np.abs(radii - 1.0), errors, atol=0.05 * cell / SCALE)
    solid = trimesh.Trimesh(mesh.positions, mesh.indices, process=False)
    assert solid.is_watertight
    assert solid.volume == pytest.approx(4.0 / 3.0 * math.pi, rel=3.0 * radial_error(mesh))


def test_normals_are_the_gradient_of_the_network(snapshot, mesh):
    """The reference is finite differences of the network's values in float64."""
    model = nn.load(snapshot, device="cpu", backend="reference", precision="float64")
    rows = np.arange(0, len(mesh.positions), 97)
    u = torch.from_numpy((mesh.positions[rows] * SCALE + 0.5).astype(np.float32))
    sides = [torch.eye(3)[axis] * 2e-5 for axis in range(3)]
    ends = [(u + side, u - side) for side in sides]  # rounded, so that steps are not exactly equal
    steps = [(high.double() - low.double())[:, axis] for axis, (high, low) in enumerate(ends)]
    values = [(model(high) - model(low))[:, 0] / step for (high, low), step in zip(ends, steps, strict=True)]
    gradient = torch.stack(values, dim=1).numpy()
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    cosine = np.sum(gradient * mesh.normals[rows], axis=1)
    assert np.median(cosine) > 0.99999  # at a ReLU's kink, differences mix both sides
    assert np.mean(cosine > 0.999) > 0.97


def test_triangles_of_a_snapshot_are_extracted_once(snapshot, monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments[1])
        return extract_shape(*arguments)

    monkeypatch.setattr(neural_shapes, "extract_shape", counted)
    gc.collect()  # no scene uses them any more
    shapes = (
        learnt(snapshot, name="a", resolution=16, emission=1.0, flip_normals=True),
        learnt(snapshot, resolution=16, to_world=(Scale(2.0),)),
        learnt(snapshot, resolution=24),
        Instance(group="g"),
    )
    described = scene(*shapes)
    groups = {"g": (learnt(snapshot, resolution=16, material="m"),)}
    description = msgspec.structs.replace(described.description, groups=groups, materials={"m": Diffuse()})
    described = with_snapshot(Scene(description), snapshot)
    made = with_triangles(described, "cpu")
    assert calls == [16, 24]
    assert len(made.meshes) == 2
    assert made.snapshots == {}
    first, second, third, _ = made.description.shapes
    assert (first.name, first.emission, first.flip_normals) == ("a", 1.0, True)
    assert second.to_world == (Scale(2.0),)
    assert first.file == second.file == made.description.groups["g"][0].file != third.file
    assert made.description.groups["g"][0].material == "m"
    again = with_triangles(described, "cpu")  # while another scene uses them
    assert calls == [16, 24]
    assert again.meshes[first.file] is made.meshes[first.file]
    del made, again
    with_triangles(described, "cpu")
    assert calls == [16, 24, 16, 24]
    plain = scene(Sphere())
    assert with_triangles(plain, "cpu") is plain


def test_triangles_do_not_depend_on_threads(snapshot, mesh):
    other = extract_shape(read_sdf_snapshot(snapshot), RESOLUTION, "cpu", threads=1)
    for name in ("positions", "indices", "normals"):
        np.testing.assert_array_equal(getattr(other, name), getattr(mesh, name))


def test_the_outline_is_that_of_the_sphere(snapshot, mesh):
    """The sphere is black in front of a white sky, so the missing light is its projected area."""
    options = {"materials": {"black": Diffuse(reflectance=0.0)}, "lights": (ConstantLight(),)}
    options |= {"camera": probe(size=1.25), "film": (64, 64), "sampler": "sobol"}
    neural, analytic = both(snapshot, shape={"material": "black"}, **options)
    areas = [(1.0 - rendered(each, 16).moments()[0].mean()) * 2.5**2 for each in (neural, analytic)]
    assert areas[1] == pytest.approx(math.pi, rel=1e-3)
    error = radial_error(mesh)
    assert math.pi * (1.0 - error) ** 2 < areas[0] < math.pi * (1.0 + error) ** 2


def test_it_is_lit_like_the_sphere(snapshot, mesh):
    """With light along the view and one bounce, a pixel is albedo / pi times the cosine, as wrong as its normal."""
    albedo = 0.8
    options = {"materials": {"grey": Diffuse(reflectance=albedo)}, "max_depth": 2}
    options |= {"lights": (DirectionalLight(direction=(0.0, 0.0, -1.0), irradiance=math.pi),)}
    options |= {"camera": probe(size=0.9), "film": (48, 48), "sampler": "sobol"}
    neural, analytic = both(snapshot, shape={"material": "grey"}, **options)
    images = [rendered(each, 16).moments()[0][..., 0] for each in (neural, analytic)]
    centers = (np.arange(48) + 0.5) / 24.0 - 1.0
    radius = 0.9 * np.hypot(*np.meshgrid(centers, centers))
    inside = radius < 0.85  # well away from the outline
    difference = np.abs(images[0] - images[1])[inside]
    outward = mesh.positions / np.linalg.norm(mesh.positions, axis=1, keepdims=True)
    front = mesh.positions[:, 2] > 0.5
    normals = np.linalg.norm(mesh.normals - outward, axis=1)[front]
    # Moved by `error` along the view, the surface has another normal there: at this radius by less than twice as much
    moved = 2.0 * radial_error(mesh)
    assert difference.max() < albedo * (normals.max() + moved)
    assert difference.mean() < albedo * (normals.mean() + moved)
    assert abs(np.mean(images[0][inside]) / np.mean(images[1][inside]) - 1.0) < normals.mean() ** 2 / 2.0 + moved
    assert difference.mean() > 0.0  # otherwise both would be the same sphere


@pytest.mark.parametrize(
    "to_world", [(), (Scale((0.5, 1.0, 1.5)), Rotate((0.0, 0.0, 1.0), 30.0), Translate((0.2, 0.0, 0.0)))]
)
def test_it_shines_like_the_sphere(snapshot, mesh, to_world):
    """The sphere is an area light over a floor, and is also seen directly."""
    floor = Rectangle(
        material="grey", to_world=(Scale(3.0), Rotate((1.0, 0.0, 0.0), -90.0), Translate((0.0, -1.6, 0.0)))
    )
    options = {"materials": {"grey": Diffuse(reflectance=0.5)}, "max_depth": 2, "film": (24, 24)}
    neural, analytic = both(snapshot, floor, shape={"emission": 2.0, "to_world": to_world}, **options)
    means = [image_mean(rendered(each, 64)) for each in (neural, analytic)]
    direct = [rendered(each, 16, max_depth=1).moments()[0] for each in (neural, analytic)]
    # Its solid angle changes with the square of its size, and its distance to the floor changes too
    tolerance = 4.0 * radial_error(mesh) * means[1][0] + 4.0 * (means[0][1] + means[1][1])
    assert np.all(np.abs(means[0][0] - means[1][0]) < tolerance)
    assert np.all(direct[0].max(axis=(0, 1)) == 2.0)
    assert abs(direct[0].mean() / direct[1].mean() - 1.0) < 4.0 * radial_error(mesh)


def room(snapshot: Path, **shape) -> Scene:
    """The learnt sphere on a floor under a sky."""
    floor = Rectangle(
        material="grey", to_world=(Rotate((1.0, 0.0, 0.0), -90.0), Scale(3.0), Translate((0.0, -1.0, 0.0)))
    )
    described = scene(
        learnt(snapshot, **{"resolution": 24, "material": "grey", **shape}),
        floor,
        materials={"grey": Diffuse(reflectance=0.7)},
        lights=(ConstantLight(),),
        film=(24, 16),
    )
    return with_snapshot(described, snapshot)


def test_a_resumed_render_has_the_same_bits(snapshot, tmp_path):
    whole = rendered(room(snapshot), 6, threads=1).image()
    rendered(room(snapshot), 2).save_checkpoint(tmp_path / "a")
    gc.collect()  # no scene uses the triangles any more, so they are extracted again, as in another process
    going_on = Renderer(room(snapshot), device="cpu", threads=2)
    going_on.load_checkpoint(tmp_path / "a")
    going_on.step(4)
    np.testing.assert_array_equal(going_on.image().rgb, whole.rgb)


def test_a_checkpoint_with_another_snapshot_or_resolution_is_refused(snapshot, tmp_path):
    rendered(room(snapshot), 1).save_checkpoint(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"2 of the mesh files differ .*sphere\.safetensors \(24 cells\)"):
        rendered(room(snapshot, resolution=32), 1).load_checkpoint(tmp_path / "a")
    (tmp_path / "other").mkdir()
    other = learn_sphere(tmp_path / "other" / snapshot.name, steps=40)
    with pytest.raises(CheckpointError, match="1 of the mesh files differs"):
        rendered(room(other), 1).load_checkpoint(tmp_path / "a")


def test_a_renderer_continues_with_a_moved_shape(snapshot):
    """The renderer continues with the sphere at another place."""
    renderer = rendered(room(snapshot), 2)
    moved = room(snapshot, to_world=(Translate((0.5, 0.0, 0.0)),))
    assert renderer.update(moved) is None
    renderer.step(2)
    np.testing.assert_array_equal(renderer.image().rgb, rendered(moved, 2).image().rgb)


def test_with_a_radiance_cache(snapshot):
    """Paths end in the cache on the learnt sphere as on other shapes, and the image keeps its brightness."""
    renderer = cached(room(snapshot))
    renderer.step(24)
    image = renderer.moments()[0]
    plain = rendered(room(snapshot), 64, max_depth=-1).moments()[0]
    assert renderer.dropped == 0
    assert renderer.cache_report()["queries_per_path"] > 0.1
    assert image.mean() == pytest.approx(plain.mean(), rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("gone", "sphere.safetensors: cannot be read: No such file"),
        ("cut", "not a snapshot, or damaged"),
        ("elsewhere", "no surface: the function has the value 0 nowhere in the box"),
    ],
)
def test_errors_of_a_snapshot_are_one_line(tmp_path, change, message):
    """These errors only appear after the header was read, from the network's parameters."""
    output = "Sigmoid" if change == "elsewhere" else "None"  # 1/2 everywhere
    path = untrained(tmp_path / "sphere.safetensors", output_activation=output)
    described = room(path, name="ball")
    if change == "gone":
        path.unlink()
    elif change == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SceneError, match=message) as caught:
        Renderer(described, device="cpu")
    assert str(caught.value).startswith('$.shapes[0] ("ball").file: ')
    assert "\n" not in str(caught.value)
