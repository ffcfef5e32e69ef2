"""Where a file has no light and its shapes shut out the sky that would be added, these shapes glow."""

import numpy as np
import pytest
from gltf_files import QUAD_INDICES, GltfFile, sphere

import nrc_tracer as nrc
from nrc_tracer.scene import enclosure
from nrc_tracer.scene.enclosure import _hits
from nrc_tracer.scene.fitted import SOFT_SKY, sky_pixels
from nrc_tracer.scene.load import load_scene

GREY = {"pbrMetallicRoughness": {"metallicFactor": 0}}
RED = {"pbrMetallicRoughness": {"metallicFactor": 0, "baseColorFactor": [0.8, 0.2, 0.1, 1]}}
SKY = float(sky_pixels(16).mean())
FLOOR = ((-1, -1, 1), (1, -1, 1), (1, -1, -1), (-1, -1, -1))


def dome(file: GltfFile, *, open_to: float = 2.0, inward: bool = True, **material) -> None:
    """Add a sphere of radius 3 without the triangles whose middle is higher than `open_to` radii."""
    positions, indices = sphere(12)
    keep = positions[indices].mean(axis=1)[:, 1] < open_to
    corners = indices[keep][:, ::-1] if inward else indices[keep]
    mesh = file.mesh(3.0 * positions, corners.ravel(), {"material": file.add("materials", name="sky", **material)})
    file.node(mesh=mesh, name="dome")


def floor(file: GltfFile) -> None:
    index = file.add("materials", name="floor", **GREY)
    file.node(mesh=file.mesh(FLOOR, QUAD_INDICES, {"material": index}), name="floor")


def camera(file: GltfFile, distance: float = 2.0, **lens) -> None:
    file.node(
        camera=file.add("cameras", type="perspective", perspective={"yfov": 0.7, "znear": 0.01, **lens}),
        translation=[0, 0, distance],
    )


def orthographic(file: GltfFile) -> None:
    lens = {"xmag": 0.5, "ymag": 0.5, "znear": 0.01, "zfar": 9}
    file.node(camera=file.add("cameras", type="orthographic", orthographic=lens), translation=[0, 0, 2])


def read(file: GltfFile, folder):
    """The scene, whether it has a sky, and the names of the shapes that glow."""
    scene = load_scene(file.write(folder))
    has_sky = SOFT_SKY in [getattr(light, "file", None) for light in scene.description.lights]
    return scene, has_sky, [shape.name for shape in scene.description.shapes if shape.emission is not None]


@pytest.mark.parametrize("inward", [True, False])
@pytest.mark.parametrize("look", [camera, orthographic])
def test_a_closed_dome_glows_in_its_own_colour(tmp_path, look, inward):
    """On the inside, whichever way its triangles face, and no sky is added that would reach nothing."""
    file = GltfFile()
    dome(file, inward=inward, **RED)
    floor(file)
    look(file)
    scene, has_sky, glowing = read(file, tmp_path)
    assert not has_sky
    assert glowing == ["dome"]
    assert scene.notes[-1].endswith('the shapes around it ("dome") glow in their own colours')
    pixels = nrc.render(scene, width=8, height=8, spp=16, max_depth=1, threads=1).rgb
    np.testing.assert_allclose(pixels[0, 4], SKY * np.array([0.8, 0.2, 0.1]), rtol=1e-4)


def test_a_painted_dome_glows_with_its_texture(tmp_path):
    """Above the horizon the texture is green, below it blue."""
    file = GltfFile()
    positions, indices = sphere(12)
    uvs = np.column_stack((np.zeros(len(positions)), 0.5 - 0.5 * positions[:, 1]))
    paint = file.image([[[0, 255, 0]], [[0, 0, 255]]], sampler=file.add("samplers", magFilter=9728))
    material = {"pbrMetallicRoughness": {"metallicFactor": 0, "baseColorTexture": {"index": paint}}}
    index = file.add("materials", **material)
    file.node(mesh=file.mesh(3.0 * positions, indices.ravel(), {"material": index}, TEXCOORD_0=uvs), name="dome")
    camera(file)
    scene, _, _ = read(file, tmp_path)
    pixels = nrc.render(scene, width=8, height=8, spp=4, max_depth=1, threads=1).rgb
    np.testing.assert_allclose(pixels[0, 4], (0, SKY, 0), atol=1e-4)
    np.testing.assert_allclose(pixels[-1, 4], (0, 0, SKY), atol=1e-4)


GLASS = {"extensions": {"KHR_materials_transmission": {"transmissionFactor": 1}}}
VEIL = {"alphaMode": "BLEND", "pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 0.5]}}


@pytest.mark.parametrize(
    ("around", "looks"),
    [
        (dict(RED, open_to=0.7), 2.0),
        (GLASS, 2.0),
        (VEIL, 2.0),
        (RED, 9.0),
        (RED, None),
    ],
    ids=["opening", "glass", "veil", "outside", "no camera"],
)
def test_a_sky_that_is_seen_is_kept(tmp_path, around, looks):
    """Through an opening of the dome, through its glass, from outside, and by the camera that is added nothing else glows."""
    file = GltfFile()
    dome(file, **around)
    floor(file)
    if looks is not None:
        camera(file, looks)
    _, has_sky, glowing = read(file, tmp_path)
    assert (has_sky, glowing) == (True, [])


def rooms(file: GltfFile, walls: str, scale: list[int]) -> None:
    """Add spherical walls: a single skin, or an inner and an outer skin that face away from the wall, as one mesh or as two."""
    positions, indices = sphere(12)
    inner, outer = indices[:, ::-1], indices + len(positions)
    both = np.concatenate((2.0 * positions, 2.2 * positions))
    parts = {
        "thin": [inner],
        "outwards": [indices],
        "one mesh": [np.concatenate((inner, outer))],
        "two meshes": [outer, inner],
    }
    material = file.add("materials", **GREY)
    for part in parts[walls]:
        file.node(mesh=file.mesh(both, part.ravel(), {"material": material}), scale=scale)


@pytest.mark.parametrize("scale", [[1, 1, 1], [-1, 1, 1]], ids=["upright", "mirrored"])
@pytest.mark.parametrize("walls", ["thin", "outwards", "one mesh", "two meshes"])
def test_walls_glow_towards_the_camera(tmp_path, walls, scale):
    """Thick and mirrored walls glow with the skin that the camera sees."""
    file = GltfFile()
    rooms(file, walls, scale)
    floor(file)
    camera(file, 1.0)
    scene, has_sky, glowing = read(file, tmp_path)
    assert not has_sky
    assert len(glowing) == 1
    pixels = nrc.render(scene, width=8, height=8, spp=4, max_depth=1, threads=1).rgb
    np.testing.assert_allclose(pixels[0], SKY, rtol=1e-4)


def test_a_sky_is_added_where_only_hidden_shapes_could_glow(tmp_path, monkeypatch):
    """An outer skin alone would leave the room black."""
    monkeypatch.setattr(enclosure, "MOST_LAYERS", 1)
    file = GltfFile()
    rooms(file, "two meshes", [1, 1, 1])
    camera(file, 1.0)
    _, has_sky, glowing = read(file, tmp_path)
    assert (has_sky, glowing) == (True, [])


def test_little_is_tested_in_a_large_room():
    """Rays are tested against the triangles near them, and no longer than a limit allows."""
    positions, indices = sphere(400)
    rng = np.random.default_rng(1)
    corners = enclosure._grouped(positions[rng.permutation(indices)])
    directions = rng.normal(size=(64, 3))
    hits = _hits(np.zeros((64, 3)), directions, corners)
    tested = sum(len(rays) for _, rays in enclosure._blocks_met(np.zeros((64, 3)), directions, corners))
    assert hits.found.all()
    assert tested * enclosure.BLOCK < 0.02 * 64 * len(corners)
    tangle = rng.normal(size=(100_000, 3, 3))
    assert _hits(np.zeros((64, 3)), directions, tangle) is None


def test_rays_and_triangles_meet():
    """The nearest and the farthest triangle, against solving a 3 x 3 system for each pair."""
    rng = np.random.default_rng(3)
    corners = rng.normal(size=(9000, 3, 3))
    origins, directions = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    hits = _hits(origins, directions, corners)
    for i in range(5):
        edges = np.stack(
            (np.broadcast_to(-directions[i], (9000, 3)), corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        )
        t, u, v = np.linalg.solve(np.moveaxis(edges, 0, 2), (origins[i] - corners[:, 0])[..., None])[..., 0].T
        meets = (u >= 0.0) & (v >= 0.0) & (u + v <= 1.0) & (t > 0.0)
        distances = np.where(meets, t, np.nan)
        assert hits.found[i] == meets.any()
        assert (hits.first[i], hits.last[i]) == (np.nanargmin(distances), np.nanargmax(distances))
        np.testing.assert_allclose(hits.nearest[i], np.nanmin(distances), rtol=1e-9)
