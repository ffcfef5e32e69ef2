"""The scenes of this repository: they load and render, match their descriptions, and equal the output of their scripts."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import nrc_tracer as nrc

SCENES = Path(__file__).resolve().parents[2] / "scenes"
NAMES = ("cornell-box", "door-ajar", "many-lights", "material-spheres", "street", "window-room")
LUMINANCE = np.array((0.2126, 0.7152, 0.0722))


def _renderer(name, **options):
    return nrc.Renderer(nrc.load_scene(SCENES / f"{name}.json", strict=True), device="cpu", **options)


def _moments(name, samples, **options):
    renderer = _renderer(name, **options)
    renderer.step(samples)
    assert renderer.dropped == 0
    return renderer.moments()


def _script(name):
    spec = importlib.util.spec_from_file_location(f"scenes_{name}", SCENES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_scene_is_listed_and_has_a_picture():
    assert tuple(sorted(path.stem for path in SCENES.glob("*.json"))) == NAMES
    readme = (SCENES / "README.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"pictures/{name}.png" in readme
        assert (SCENES / "pictures" / f"{name}.png").is_file()


def test_the_script_of_the_tasks_stops_when_the_program_fails(tmp_path):
    with pytest.raises(SystemExit) as caught:
        _script("make_tasks_picture").run("info", tmp_path / "missing.json")
    assert caught.value.code == 1


@pytest.mark.parametrize("name", NAMES)
def test_scene_renders_well_exposed_and_without_lost_samples(name):
    mean, _ = _moments(name, 8, width=64)
    assert np.all(np.isfinite(mean))
    # A night scene is the darkest, a sunlit one the brightest
    assert 0.02 < (mean @ LUMINANCE).mean() < 1.0


def test_surfaces_of_the_cornell_box_at_coordinate_zero_are_lit():
    """The floor lies at y = 0 and the green wall at x = 0; rays that leave them must not intersect them again."""
    mean, _ = _moments("cornell-box", 16, width=32)
    floor, green = mean[29:31, 3:13], mean[12:20, 30]
    assert (floor @ LUMINANCE).min() > 0.02
    assert green.mean(axis=0).argmax() == 1
    assert green.mean() > 0.02


def test_no_visible_surface_in_door_ajar_is_a_light_or_lit_directly():
    """Depth 1 shows lights and depth 2 adds surfaces lit by them; the camera sees neither."""
    mean = _moments("door-ajar", 16, width=80)[0].mean()
    assert _moments("door-ajar", 4, width=160, max_depth=1)[0].max() == 0.0
    assert _moments("door-ajar", 16, width=160, max_depth=2)[0].mean() < 0.01 * mean


def test_door_ajar_has_a_relative_variance_that_tests_can_afford():
    mean, variance = _moments("door-ajar", 96, width=80, sampler="independent")
    assert (variance @ LUMINANCE).mean() / (mean @ LUMINANCE).mean() ** 2 < 30.0


def test_meshes_and_sky_equal_the_output_of_the_script(tmp_path):
    for made in _script("make_meshes").write_all(tmp_path):
        assert made.read_bytes() == (SCENES / made.relative_to(tmp_path)).read_bytes(), made.name


def test_generated_scenes_equal_the_output_of_the_script(tmp_path):
    for made in _script("make_scenes").write_all(tmp_path):
        assert made.read_bytes() == (SCENES / made.name).read_bytes(), made.name


@pytest.mark.parametrize("name", ["arch", "bowl", "goblet", "knot", "teapot", "vase"])
def test_meshes_face_outwards(name):
    """Faces agree with the normals of their vertices, and solids of revolution and tubes enclose a positive volume."""
    mesh = _script("make_meshes").MESHES[name]()
    corners = mesh.positions[mesh.indices]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    agreement = np.sum(faces * mesh.normals[mesh.indices].sum(axis=1), axis=1)
    assert np.mean(agreement > 0.0) > 0.99
    assert np.sum(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))) > 0.0


def test_many_lights_has_many_lights_of_very_different_power():
    description = nrc.load_scene(SCENES / "many-lights.json").description
    powers = [
        max(shape.emission) * (shape.radius**2 if hasattr(shape, "radius") else shape.to_world[0].value ** 2)
        for shape in description.shapes
        if shape.emission is not None
    ]
    assert 200 <= len(powers) <= 400
    assert max(powers) > 1000.0 * min(powers)


def test_the_street_equals_the_output_of_its_script(tmp_path):
    street = _script("make_street")
    assert street.write(tmp_path / "street.json").read_bytes() == (SCENES / "street.json").read_bytes()


@pytest.mark.parametrize("lamps", [10_000, 100_000])
def test_the_street_has_as_many_lamps_as_asked_for(lamps, tmp_path):
    """Each window, of two triangles, and each triangle of a garland is a lamp; garlands of more lamps are as bright."""
    street = _script("make_street")
    path = street.write(tmp_path / "street.json", lamps)
    description = nrc.load_scene(path, strict=True).description
    windows, *garlands = (shape for shape in description.groups["piece"] if shape.emission is not None)
    count = len(windows.indices) // 2 + sum(len(garland.indices) for garland in garlands)
    assert count * sum(hasattr(shape, "group") for shape in description.shapes) == lamps
    for garland, color in zip(garlands, street.COLORS, strict=True):
        corners = np.array(garland.positions)[np.array(garland.indices)]
        areas = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        np.testing.assert_allclose(
            areas.sum() * np.array(garland.emission), street.GARLAND_POWER * np.array(color), rtol=0.02
        )


def test_numbers_of_lamps_that_do_not_divide_are_refused():
    with pytest.raises(SystemExit, match="multiple of 50"):
        _script("make_street").street(10_001)


def test_the_folder_stays_small():
    """This counts scenes, their scripts and pictures; the examples are separate scripts."""
    left_out = {"__pycache__", "examples"}
    files = [path for path in SCENES.rglob("*") if path.is_file() and not left_out & set(path.parts)]
    pictures = [path for path in files if path.suffix == ".png"]
    assert (
        sum(path.stat().st_size for path in files if path not in pictures) < 335_000
    )  # 30,000 of them for ten thousand lamps
    assert max(path.stat().st_size for path in pictures) < 250_000
