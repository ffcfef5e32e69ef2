"""Instances give the same picture, bit for bit, as their shapes written out one by one; lights, normals and memory."""

import msgspec
import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene import memory
from nrc_tracer.scene.instances import geometry_size, placed_shapes
from nrc_tracer.scene.memory import building_bytes, check_memory, geometry_bytes
from nrc_tracer.scene.model import (
    Bitmap,
    ConstantLight,
    Cube,
    Diffuse,
    Instance,
    Matrix,
    Mesh,
    Rectangle,
    Rotate,
    Scale,
    Sphere,
    Translate,
    TriangleMesh,
)
from nrc_tracer.tracer import Renderer
from tests.tracer.tiny_scenes import ACCELS, on_device, rendered, scene, triangles

RNG = np.random.default_rng(7)
SMOOTH = TriangleMesh(
    RNG.uniform(-0.6, 0.6, (12, 3)).astype(np.float32),
    RNG.permutation(36).reshape(12, 3).astype(np.int32) % 12,
    np.eye(3, dtype=np.float32)[RNG.integers(0, 3, 12)],
    RNG.uniform(0.0, 1.0, (12, 2)).astype(np.float32),
)
IMAGE = RNG.integers(0, 255, (8, 8, 3), dtype=np.uint8)
GROUP = (
    Mesh(file="blob", material="wood", to_world=(Rotate(axis=(1, 2, 0), angle=40),)),
    Cube(material="wood", to_world=(Scale(value=0.2), Translate(value=(0.5, 0.4, 0.0)))),
    Sphere(radius=0.3, center=(-0.4, 0.3, 0.2)),
    triangles([[0, 0, 0.5], [0.3, 0, 0.5], [0, 0.3, 0.5]], [[0, 1, 2]], emission=3.0, name="lamp"),
    Rectangle(to_world=(Scale(value=0.2), Translate(value=(0.0, -0.5, 0.3))), emission="picture"),
)
PLACES = (
    (Translate(value=(0.4, 0.0, 0.0)), Rotate(axis=(0, 1, 0), angle=30)),
    (
        Scale(value=(-0.7, 0.5, 1.3)),
        Translate(value=(-0.5, 0.5, -0.4)),
    ),  # mirrored and stretched: the sphere is an ellipsoid
    (Rotate(axis=(1, 0, 0), angle=90), Scale(value=0.4), Translate(value=(-0.3, -0.6, 0.1))),
)


def _scene(*shapes, groups=None, **options):
    described = scene(
        Cube(to_world=(Scale(value=(3.0, 3.0, 0.1)), Translate(value=(0.0, 0.0, -1.0)))),
        *shapes,
        materials={"wood": Diffuse(reflectance="picture")},
        textures={"picture": Bitmap(file="image")},
        images={"image": IMAGE},
        meshes={"blob": SMOOTH},
        film=(16, 16),
        max_depth=4,
        **options,
    )
    return msgspec_replace(described, groups=groups or {})


def msgspec_replace(described, **changes):
    """The loaded scene with its description changed."""
    description = msgspec.structs.replace(described.description, **changes)
    return type(described)(description, described.meshes, described.images)


def _written_out():
    return [msgspec.structs.replace(s, to_world=(*s.to_world, *place)) for place in PLACES for s in GROUP]


@ACCELS
def test_instances_equal_their_shapes_written_out(accel):
    """The shapes are textured, smooth, emissive, spheres and ellipsoids, and are rotated, mirrored and stretched."""
    instances = _scene(*(Instance(group="g", to_world=place) for place in PLACES), groups={"g": GROUP})
    written_out = _scene(*_written_out())
    pictures = [rendered(s, 4, accel=accel, seed=3).moments()[0] for s in (instances, written_out)]
    np.testing.assert_array_equal(*pictures)
    assert np.ptp(pictures[0]) > 0.1  # the picture is not blank
    unlike = rendered(_scene(Instance(group="g", to_world=PLACES[0]), groups={"g": GROUP}), 4, accel=accel, seed=3)
    assert np.any(unlike.moments()[0] != pictures[0])


def test_a_group_without_instances_is_invisible():
    pictures = [
        rendered(_scene(lights=(ConstantLight(),), groups=groups), 2).moments()[0] for groups in ({"g": GROUP}, {})
    ]
    np.testing.assert_array_equal(*pictures)


def test_a_lamp_in_a_group_emits_from_every_instance():
    lamp = Rectangle(emission=5.0)
    places = [(Translate(value=(x, 0.0, 2.0)),) for x in (-3.0, 0.0, 3.0)]
    described = _scene(*(Instance(group="lamps", to_world=place) for place in places), groups={"lamps": (lamp,)})
    device = on_device(described)
    records = device.record.lights.records.numpy()
    assert len(records) == 6  # two triangles each
    lit = {int(device.record.surfaces.triangles.numpy()[index]["shape"]) for index in records["index"]}
    assert lit == {1, 2, 3}
    np.testing.assert_allclose(records["probability"], 1.0 / 6.0, rtol=1e-6)


def test_texture_coordinates_and_colours_are_stored_once():
    colored = TriangleMesh(SMOOTH.positions, SMOOTH.indices, SMOOTH.normals, SMOOTH.uvs, np.ones((12, 4), np.float32))
    described = _scene(*(Instance(group="g", to_world=place) for place in PLACES), groups={"g": GROUP[:1]})
    described.meshes["blob"] = colored
    surfaces = on_device(described).record.surfaces
    assert len(surfaces.normals) == 24 + 3 * 12
    assert len(surfaces.uvs) == 24 + 12
    assert len(surfaces.colors) == 12
    shapes, corners = surfaces.shapes.numpy(), surfaces.triangles.numpy()["corners"]
    for number in (1, 2, 3):
        first = shapes[number]["first_triangle"]
        indices = corners[first : first + 12]
        # The corners of a mirrored instance are in reverse order
        expected = SMOOTH.indices[:, ::-1] if number == 2 else SMOOTH.indices
        np.testing.assert_array_equal(indices + shapes[number]["uv_offset"], 24 + expected)
        np.testing.assert_array_equal(indices + shapes[number]["color_offset"], expected)


def test_normals_under_a_stretched_mirrored_instance():
    """A plane's normal is transformed by the inverse transpose and stays on its front side under a mirror."""
    tilted = TriangleMesh(
        np.array([[0, 0, 0], [1, 0, -1], [0, 1, 0], [1, 1, -1]], np.float32),
        np.array([[0, 1, 2], [2, 1, 3]], np.int32),
        np.tile(np.float32([1, 0, 1]) / np.float32(np.sqrt(2)), (4, 1)),
    )
    stretch = np.diag([-3.0, 1.0, 0.5, 1.0])
    # Two triangles whose vertex normals equal their own would count as flat
    bent = TriangleMesh(tilted.positions, tilted.indices, tilted.normals.copy())
    bent.normals[0] = (0, 0, 1)
    matrix = Matrix(value=tuple(map(tuple, stretch.tolist())))
    described = _scene(Instance(group="g", to_world=(matrix,)), groups={"g": (Mesh(file="blob"),)})
    described.meshes["blob"] = bent
    surfaces = on_device(described).record.surfaces
    expected = np.array([-1.0 / 3.0, 0.0, 2.0])  # (1, 0, 1) times the inverse transpose
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(surfaces.normals.numpy()[25:], np.tile(expected, (3, 1)), atol=1e-6)
    np.testing.assert_allclose(surfaces.triangles.numpy()["n"][12:], np.tile(expected, (2, 1)), atol=1e-6)


def test_sizes_are_counted_without_building_meshes():
    described = _scene(
        *(Instance(group="g", to_world=place) for place in PLACES), Mesh(file="blob"), groups={"g": GROUP}
    )
    size = geometry_size(described)
    ellipsoid = 256 * 254
    assert size.triangles == 12 + 3 * (12 + 12 + 1 + 2) + ellipsoid + 12
    assert size.shapes == 1 + 3 * 5 + 1
    assert size.spheres == 2
    surfaces = on_device(described).record.surfaces
    assert (len(surfaces.triangles), len(surfaces.normals)) == (size.triangles, size.vertices)
    # The blob counts once, by its name; the sphere is not made of triangles at its first place
    assert size.unique_triangles == 12 + 12 + 12 + 1 + 2
    assert len(list(placed_shapes(described.description))) == size.shapes


def test_too_many_instances_are_refused_before_they_are_built(monkeypatch):
    many = tuple(Instance(group="g", to_world=(Translate(value=(i, 0, 0)),)) for i in range(50))
    described = _scene(*many, groups={"g": GROUP[:2]})
    size = geometry_size(described)
    assert size.triangles == 12 + 50 * 24
    need = building_bytes(size)
    assert need > geometry_bytes(size) > 100 * size.triangles
    monkeypatch.setattr(memory, "available_memory", lambda: int(need / 0.8) - 10)
    with pytest.raises(SceneError, match=r"1,212 triangles \(36 before instancing\) need about .* GB .*NRC_MEMORY_GB"):
        Renderer(described, device="cpu", accel=None)
    monkeypatch.setattr(memory, "available_memory", lambda: int(2 * need / 0.8))
    Renderer(described, device="cpu")
    # The environment variable overrides the measured memory
    monkeypatch.setenv("NRC_MEMORY_GB", "1e-5")
    with pytest.raises(SceneError, match="1,212 triangles"):
        Renderer(described, device="cpu")
    monkeypatch.setenv("NRC_MEMORY_GB", "much")
    with pytest.raises(SceneError, match="must be a number of gigabytes"):
        Renderer(described, device="cpu")


def test_the_limit_of_a_gpu_is_its_own_memory(monkeypatch):
    size = geometry_size(_scene())
    monkeypatch.setattr(memory, "available_memory", lambda: 10**12)
    check_memory(size, "warp", "cuda:0", 10**6)
    with pytest.raises(SceneError, match=r"cuda:0 has 1e-06 GB free"):
        check_memory(size, "warp", "cuda:0", 10**3)


def test_more_triangles_than_kernels_can_count_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "MAX_COUNT", 11)
    with pytest.raises(SceneError, match="12 triangles after instancing, and at most 11"):
        Renderer(_scene(), device="cpu")


def test_available_memory_is_less_than_installed_memory():
    import os

    available = memory.available_memory()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < available <= total


def test_the_record_of_a_triangle_is_as_large_as_estimated():
    surfaces = on_device(_scene()).record.surfaces
    assert surfaces.triangles.strides[0] == memory.RECORD_BYTES


def test_an_error_in_a_group_names_the_instance():
    huge = (Scale(value=1e30), Scale(value=1e30))
    described = _scene(Instance(group="g", name="far", to_world=huge), groups={"g": (Cube(name="box"),)})
    with pytest.raises(SceneError, match=r'\$\.shapes\[1\] \("far"\) -> group g\[0\] \("box"\): .*beyond the range'):
        on_device(described)
