"""A given environment replaces the scene's own in every format, and other lights stay."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from gltf_files import GltfFile

import nrc_tracer as nrc
from nrc_tracer.cli import main
from nrc_tracer.errors import SceneError
from nrc_tracer.imaging import read_image, write_image
from nrc_tracer.scene.fitted import SOFT_SKY
from nrc_tracer.scene.model import ConstantLight, EnvironmentMap, PointLight
from nrc_tracer.scene.transforms import matrix

CAMERA = {"type": "perspective", "to_world": [{"type": "look_at", "origin": [0, 0, 5], "target": [0, 0, 0]}]}


@pytest.fixture(params=["scene.json", "scene.xml", "scene.glb", "scene.obj", "scene.stl"])
def path(request, tmp_path):
    """A small scene in each format, the first three with a camera at +z that sees the origin."""
    path = tmp_path / request.param
    match path.suffix:
        case ".json":
            path.write_text(json.dumps({"camera": CAMERA, "shapes": [{"type": "sphere", "radius": 0.5}]}))
        case ".xml":
            path.write_text(
                '<scene version="3.0.0"><sensor type="perspective"><transform name="to_world">'
                '<lookat origin="0,0,5" target="0,0,0" up="0,1,0"/></transform></sensor>'
                '<shape type="sphere"><float name="radius" value="0.5"/></shape></scene>'
            )
        case ".glb":
            file = GltfFile()
            file.node(mesh=file.mesh())
            file.write(tmp_path)
        case ".obj":
            path.write_text("v 0 0 0\nv 1 0 0\nv 0 2 0\nf 1 2 3\n")
        case ".stl":
            corners = "vertex 0 0 0\nvertex 1 0 0\nvertex 0 2 0\n"
            path.write_text(f"solid a\nfacet normal 0 0 1\nouter loop\n{corners}endloop\nendfacet\nendsolid a\n")
    return path


def test_every_format_accepts_every_environment(path):
    assert nrc.load_scene(path, environment="white:0.25").description.lights == (ConstantLight(radiance=0.25),)
    (sky,) = nrc.load_scene(path, environment="sky:2", strict=True).description.lights
    assert (sky.file, sky.scale) == (SOFT_SKY, 2.0)
    image = path.parent / "probe.exr"
    write_image(image, np.full((4, 8, 3), 3.0, np.float32))
    scene = nrc.load_scene(path, environment=image, strict=True)
    (light,) = scene.description.lights
    assert light.scale == 1.0
    np.testing.assert_array_equal(scene.images[light.file], 3.0)
    up = (0, 0, 1) if path.suffix == ".stl" else (0, 1, 0)
    np.testing.assert_allclose(matrix(light.to_world)[:3, 1], up, atol=1e-12)


def test_other_lights_stay_and_the_scenes_map_keeps_its_orientation(tmp_path):
    write_image(tmp_path / "own.exr", np.ones((2, 4, 3)))
    turned = {
        "type": "environment",
        "file": "own.exr",
        "to_world": [{"type": "rotate", "axis": [1, 0, 0], "angle": 90}],
    }
    text = {
        "camera": CAMERA,
        "shapes": [{"type": "sphere"}],
        "lights": [{"type": "point", "position": [0, 3, 0]}, turned],
    }
    (tmp_path / "a.json").write_text(json.dumps(text))
    own = nrc.load_scene(tmp_path / "a.json").description.lights[1]
    point, sky = nrc.load_scene(tmp_path / "a.json", environment="sky").description.lights
    assert isinstance(point, PointLight)
    assert isinstance(sky, EnvironmentMap)
    assert sky.to_world == own.to_world
    rotated = nrc.load_scene(tmp_path / "a.json", rotate_environment=90).description.lights[1]
    assert rotated.file == "own.exr"
    # Local +y stays the same, and local +z moves to where local +x was
    np.testing.assert_allclose(matrix(rotated.to_world)[:3, 1], matrix(own.to_world)[:3, 1], atol=1e-12)
    np.testing.assert_allclose(matrix(rotated.to_world)[:3, 2], matrix(own.to_world)[:3, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("environment", "message"),
    [("none.exr", "none.exr"), ("white:-1", "at least 0"), ("sky:inf", "finite"), ("sky:nan", "finite")],
)
def test_invalid_environments_are_refused(path, environment, message):
    with pytest.raises(SceneError, match=message):
        nrc.load_scene(path, environment=environment)


def test_rotation_without_an_environment_is_refused(tmp_path):
    text = {"camera": CAMERA, "shapes": [{"type": "sphere"}], "lights": [{"type": "point"}]}
    (tmp_path / "a.json").write_text(json.dumps(text))
    with pytest.raises(SceneError, match="no environment to rotate"):
        nrc.load_scene(tmp_path / "a.json", rotate_environment=10)


def test_the_command_line_renders_an_environment(tmp_path):
    """With a white environment the camera sees white beside a sphere."""
    text = {"camera": CAMERA, "shapes": [{"type": "sphere", "radius": 0.1}]}
    (tmp_path / "a.json").write_text(json.dumps(text))
    words = ["render", tmp_path / "a.json", "-o", tmp_path / "a.exr", "--width", 8, "--height", 8, "--spp", 1]
    result = CliRunner().invoke(main, [*map(str, words), "--environment", "white:0.5", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(read_image(tmp_path / "a.exr")[0, 0], 0.5, rtol=1e-3)


@pytest.mark.parametrize("command", ["render", "compare", "dataset", "info", "convert"])
def test_every_command_with_a_scene_has_the_options(command):
    assert "--environment FILE|white|sky[:STRENGTH]" in CliRunner().invoke(main, [command, "--help"]).output
