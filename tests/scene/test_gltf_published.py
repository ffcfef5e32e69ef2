"""Published glTF files: their sizes, and agreement with the Mitsuba files that some were converted from."""

import numpy as np
import pytest

from nrc_tracer.imaging import read_image
from nrc_tracer.scene.geometry import world_mesh
from nrc_tracer.scene.instances import geometry_size
from nrc_tracer.scene.load import load_scene
from nrc_tracer.scene.model import EnvironmentMap
from nrc_tracer.scene.transforms import matrix


@pytest.mark.parametrize("name", ["classroom", "grey-white-room"])
def test_the_sky_of_published_scenes_has_the_orientation_of_their_mitsuba_files(data_folder, name):
    """The radiance from every direction is that of the Mitsuba scene's environment map, including its transform."""
    glb, xml = (load_scene(data_folder / "scenes" / p) for p in (f"glb/{name}.glb", f"mitsuba/{name}/scene.xml"))
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radiance = []
    for scene in (glb, xml):
        light = next(light for light in scene.description.lights if isinstance(light, EnvironmentMap))
        pixels = scene.images[light.file][..., :3] * light.scale
        local = directions @ matrix(light.to_world)[:3, :3]  # the inverse of a rotation, on row vectors
        u = np.arctan2(local[:, 0], -local[:, 2]) / (2 * np.pi) % 1.0
        v = np.arccos(np.clip(local[:, 1], -1, 1)) / np.pi
        height, width = pixels.shape[:2]
        radiance.append(
            pixels[(v * height).astype(int).clip(0, height - 1), (u * width).astype(int) % width].mean(axis=1)
        )
    logs = [np.log(np.maximum(values, 1e-3)) for values in radiance]
    assert np.corrcoef(*logs)[0, 1] > 0.95
    assert np.median(radiance[0]) == pytest.approx(np.median(radiance[1]), rel=0.05)


@pytest.mark.parametrize("name", ["cornell-box", "veach-ajar"])
def test_a_converted_scene_equals_its_mitsuba_scene(data_folder, name):
    """Triangles, camera and lamps (colour, power and side) are equal."""
    glb, xml = (load_scene(data_folder / "scenes" / p) for p in (f"glb/{name}.glb", f"mitsuba/{name}/scene.xml"))
    camera, expected = glb.description.camera, xml.description.camera
    np.testing.assert_allclose(matrix(camera.to_world), matrix(expected.to_world), atol=2e-6)
    aspect = glb.description.film.width / glb.description.film.height
    across = 2 * np.degrees(np.arctan(aspect * np.tan(np.radians(camera.fov) / 2)))
    assert (camera.fov_axis, expected.fov_axis) == ("y", "x")
    assert across == pytest.approx(expected.fov, rel=1e-6)
    areas, power = [], []
    for scene in (glb, xml):
        corners, light = [], []
        for shape in scene.description.shapes:
            mesh = world_mesh(shape, scene.meshes.get(getattr(shape, "file", None)))
            corners.append(mesh.positions[mesh.indices])
            if shape.emission is not None:
                normals = np.cross(*np.diff(corners[-1], axis=1).transpose(1, 0, 2))
                light.append(
                    (np.linalg.norm(normals, axis=1).sum() / 2 * np.array(shape.emission), normals.sum(axis=0))
                )
        areas.append(np.sort(np.concatenate(corners).mean(axis=1), axis=0))
        power.append(light)
    np.testing.assert_allclose(*areas, atol=2e-5)
    for (got, got_normal), (want, want_normal) in zip(*power, strict=True):
        np.testing.assert_allclose(np.broadcast_to(got, 3), np.broadcast_to(want, 3), rtol=1e-5)
        np.testing.assert_allclose(got_normal, want_normal, atol=1e-5)


def test_published_files_have_the_documented_triangle_counts(data_folder):
    """Counts after and before instancing are those given in the documentation of the scenes (INDEX.md)."""
    folder = data_folder / "scenes"
    sizes = {path.stem: geometry_size(load_scene(path)) for path in sorted((folder / "glb").glob("*.glb"))}
    assert sizes["cornell-box"].triangles == 36
    assert sizes["veach-ajar"].triangles == 382_690
    assert sizes["classroom"].triangles == 103_832
    assert sizes["grey-white-room"].triangles == 143_163
    assert round(sizes["open-chess-set"].triangles, -4) == 1_430_000
    assert sizes["open-chess-set"].unique_triangles < 330_000
    helmet = load_scene(folder / "gltf" / "FlightHelmet" / "FlightHelmet.gltf")
    assert geometry_size(helmet).triangles == 94_722
    assert {image.shape for image in helmet.images.values()} >= {
        read_image(folder / "gltf/FlightHelmet/FlightHelmet_Materials_LeatherPartsMat_Normal.png").shape
    }
