"""The commands `info` and `convert`."""

import json
import warnings

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from nrc_tracer.cli import main
from nrc_tracer.scene.load import load_scene

OBJ = "v 0 0 0\nv 2 0 0\nv 0 3 0\nv 2 3 0\nf 1 2 3\nf 2 4 3\n"
SCENE = {
    "camera": {"type": "perspective", "fov": 33},
    "cameras": {
        "front": {"type": "perspective", "fov": 33},
        "plan [1]": {"type": "orthographic", "to_world": [{"type": "translate", "value": [1, 2, 3]}]},
    },
    "film": {"width": 40, "height": 30},
    "sampler": {"spp": 7},
    "integrator": {"max_depth": 9},
    "textures": {"t": {"type": "bitmap", "file": "t.png"}, "u": {"type": "bitmap", "file": "t.png", "raw": True}},
    "materials": {"a": {"type": "diffuse", "reflectance": "t"}, "b": {"type": "diffuse"}, "c": {"type": "plastic"}},
    "groups": {"pair": [{"type": "mesh", "file": "quad.obj"}, {"type": "rectangle", "emission": 2}]},
    "shapes": [
        {"type": "instance", "group": "pair"},
        {"type": "instance", "group": "pair", "to_world": [{"type": "translate", "value": [10, 0, 5]}]},
        {"type": "mesh", "file": "quad.obj"},
        {"type": "sphere", "radius": 2, "center": [0, 0, -20]},
    ],
    "lights": [{"type": "point"}, {"type": "point"}, {"type": "environment", "file": "sky.png"}],
}


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quad.obj").write_text(OBJ)
    PIL.Image.fromarray(np.zeros((20, 50, 4), np.uint8)).save(tmp_path / "t.png")
    PIL.Image.fromarray(np.full((4, 8, 3), 9, np.uint8)).save(tmp_path / "sky.png")
    (tmp_path / "scene.json").write_text(json.dumps(SCENE))
    return tmp_path / "scene.json"


def _run(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_info_counts_the_parts_of_a_scene(scene):
    result = _run("info", scene, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["geometry"] == {
        "shapes": 6,
        "instances": 2,
        "triangles": 2 * (2 + 2) + 2,
        "unique_triangles": 4,
        "vertices": 2 * (4 + 4) + 4,
        "spheres": 1,
        "neural": 0,
    }
    assert summary["lights"] == {"point": 2, "environment": 1, "shining_shape": 2, "shining_triangle": 4}
    assert summary["materials"] == {"diffuse": 2, "plastic": 1}
    assert summary["textures"] == {"bitmap": 2}
    assert summary["shapes"] == {"instance": 2, "mesh": 1, "sphere": 1}
    assert summary["groups"] == {"pair": 2}
    assert summary["bounds"] == {"low": [-2.0, -2.0, -22.0], "high": [12.0, 3.0, 5.0]}
    assert summary["film"] == {"width": 40, "height": 30, "crop": None}
    assert [camera["name"] for camera in summary["cameras"]] == ["front", "plan [1]"]
    assert [camera["used"] for camera in summary["cameras"]] == [True, False]
    assert summary["cameras"][1]["position"] == [1, 2, 3]
    texture, sky = summary["images"]
    assert (texture["file"], texture["width"], texture["height"], texture["channels"]) == ("t.png", 50, 20, 4)
    assert (texture["textures"], texture["environment"]) == (["t", "u"], False)
    assert texture["bytes"] == 50 * 20 * 4
    assert (sky["file"], sky["environment"]) == ("sky.png", True)
    assert summary["memory"]["total"] == summary["memory"]["geometry"] + texture["bytes"] + sky["bytes"]
    assert summary["warnings"] == []


def test_the_memory_of_images_is_that_of_their_arrays(scene):
    """The estimate agrees with the arrays that are actually allocated; for environment maps it is a bound."""
    from tests.tracer.tiny_scenes import on_device

    device = on_device(load_scene(scene))
    textures, environment = device.record.textures, device.record.lights.environment
    images = {image["file"]: image["bytes"] for image in json.loads(_run("info", scene, "--json").stdout)["images"]}
    assert textures.packed.capacity == images["t.png"]
    tables = (environment.nodes, environment.corners, environment.row_cdf, environment.column_cdf)
    assert environment.texels.capacity == 4 * 8 * 12
    allocated = environment.texels.capacity + sum(table.capacity for table in tables)
    assert 4 * 8 * 12 < allocated <= images["sky.png"] <= 4 * 8 * (12 + 128)


def test_info_prints_a_table(scene):
    result = _run("info", scene)
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for part in (
        "1 plan [1]: orthographic at (1, 2, 3)",
        "0 front: perspective at (0, 0, 0), 33 degrees (x) (default)",
        "40 x 30, 7 spp (sobol)",
        "2 points, 1 environment, 2 shining shapes, 4 shining triangles",
        "2 instances, 1 mesh, 1 sphere",
        "10 (4 before 2 instances), 1 spheres",
        "2 diffuse, 1 plastic",
        "t.png 50 x 20 4 x uint8",
        "(-2, -2, -22) to (12, 3, 5)",
    ):
        assert part in text


def test_info_notes_a_bare_mesh_and_refuses_a_broken_scene(scene):
    result = _run("info", scene.parent / "quad.obj", "--strict")
    assert result.exit_code == 0
    assert "note: quad.obj contains only a mesh" in result.output
    scene.write_text(json.dumps({"shapes": [{"type": "instance", "group": "par"}], "groups": {"pair": []}}))
    result = _run("info", scene)
    assert result.exit_code == 1
    assert result.stderr == (f'error: {scene}: $.shapes[0].group: there is no group "par" (did you mean "pair"?)\n')
    scene.write_text(json.dumps({"shapes": [{"type": "cube"}]}))
    assert (
        "warning: the scene has no light and no emitting shape; the image will be black" in _run("info", scene).output
    )
    assert _run("info", scene, "--strict").exit_code == 1


def test_a_scene_warning_is_printed_once_by_the_program(scene):
    scene.write_text(json.dumps({"shapes": [{"type": "cube"}]}))
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        output = _run("info", scene).output
    assert output.count("the image will be black") == 1
    assert not raised


def test_convert_writes_a_scene_that_loads(scene):
    result = _run("convert", scene, "copy.json")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("copy.json and 3 files in copy_files, ")
    before, after = (json.loads(_run("info", name, "--json").stdout) for name in (scene, "copy.json"))
    for key in ("geometry", "bounds", "lights", "materials", "memory", "cameras"):
        assert before[key] == after[key]
    assert _run("convert", scene, "copy.json", "--quiet").output == ""


def test_convert_refuses_impossible_outputs(scene):
    for output in ("copy.xml", "none/copy.json"):
        result = _run("convert", scene, output)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"error: {output}") or result.stderr.startswith("error: none/copy_files")
        assert len(result.stderr.splitlines()) == 1


def test_rendering_an_unknown_camera_is_refused(scene):
    result = _run("render", scene, "--camera", "side", "-o", "a.png", "--device", "cpu")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == 'error: there is no camera "side" (known: front, plan [1])'


def test_cameras_choose_the_picture(scene):
    """A camera can be chosen by name, number or object; all three give the same picture, which differs from the default one."""
    from nrc_tracer.tracer import Renderer

    loaded = load_scene(scene)
    pictures = []
    for camera in ("plan [1]", 1, loaded.description.cameras["plan [1]"], None, "front"):
        renderer = Renderer(loaded, device="cpu", camera=camera)
        renderer.step(1)
        pictures.append(renderer.moments()[0])
    for same in ((0, 1), (0, 2), (3, 4)):
        np.testing.assert_array_equal(pictures[same[0]], pictures[same[1]])
    assert np.any(pictures[0] != pictures[3])
    renderer.reset(camera="plan [1]")
    renderer.step(1)
    np.testing.assert_array_equal(renderer.moments()[0], pictures[0])
