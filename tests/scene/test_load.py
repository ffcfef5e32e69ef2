"""`load_scene`: formats, files next to the scene, and warnings."""

import json
import warnings

import numpy as np
import PIL.Image
import pytest

from nrc_tracer.errors import SceneError, SceneWarning
from nrc_tracer.imaging import write_image
from nrc_tracer.scene import load
from nrc_tracer.scene.load import load_scene

OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


@pytest.fixture
def folder(tmp_path):
    """A scene with a mesh used twice, a texture and an environment, and a function that writes a changed version of it."""
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "tri.obj").write_text(OBJ)
    PIL.Image.fromarray(np.zeros((2, 3, 3), dtype=np.uint8)).save(tmp_path / "wood.png")
    write_image(tmp_path / "sky.exr", np.ones((4, 8, 3)))
    return tmp_path


def _scene(folder, **changes):
    scene = {
        "textures": {"wood": {"type": "bitmap", "file": "wood.png"}},
        "shapes": [{"type": "mesh", "name": name, "file": "meshes/tri.obj"} for name in "ab"],
        "lights": [{"type": "environment", "file": "sky.exr"}],
    }
    path = folder / "scene.json"
    path.write_text(json.dumps(scene | changes))
    return path


def test_files_next_to_the_scene_are_found_and_read_once(folder, monkeypatch):
    calls = []
    load_mesh = load.load_mesh
    monkeypatch.setattr(load, "load_mesh", lambda path, *rest: calls.append(path) or load_mesh(path, *rest))
    scene = load_scene(_scene(folder))
    assert scene.source == folder / "scene.json"
    assert scene.meshes["meshes/tri.obj"].indices.tolist() == [[0, 1, 2]]
    assert {name: image.shape for name, image in scene.images.items()} == {"wood.png": (2, 3, 3), "sky.exr": (4, 8, 3)}
    assert calls == [folder / "meshes/tri.obj"]
    assert scene.warnings == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": [{"type": "mesh", "name": "pot", "file": "pot.ply"}]}, r'shapes\[0\] \("pot"\)\.file: .*pot\.ply'),
        ({"textures": {"my wood": {"type": "bitmap", "file": "no.png"}}}, r'textures\["my wood"\]\.file: .*no\.png'),
        (
            {"lights": [{"type": "environment", "file": "no.exr"}]},
            r"lights\[0\]\.file: .*no\.exr: there is no such file",
        ),
        ({"lights": [{"type": "environment", "file": "meshes"}]}, r"lights\[0\]\.file: .*meshes: cannot be read"),
        ({"lights": [{"type": "environment", "file": "a\0b"}]}, r"lights\[0\]\.file: "),
        ({"lights": [{"type": "environment", "file": "x" * 5000}]}, r"lights\[0\]\.file: "),
        ({"lights": [{"type": "environment", "file": ""}]}, r"lights\[0\]\.file: "),
        ({"shapes": [{"type": "mesh", "file": "wood.png"}]}, r"shapes\[0\]\.file: .*wood\.png"),
    ],
)
def test_a_missing_file_is_reported_with_its_place(folder, changes, message):
    with pytest.raises(SceneError, match=message) as caught:
        load_scene(_scene(folder, **changes))
    assert str(folder / "scene.json") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.json", "there is no such file"),
        ("none.xml", "there is no such file"),
        ("scene.gltf", "there is no such file"),
        ("mesh.OBJ", "there is no such file"),
        ("scene.usd", r'unknown scene format ".usd" \(supported: .json, .xml, .*\)'),
        ("folder.json", "is a folder"),
    ],
)
def test_unknown_formats_and_missing_files_are_refused(tmp_path, name, message):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(SceneError, match=message):
        load_scene(tmp_path / name)


def test_parameters_are_only_accepted_for_mitsuba_files(folder):
    with pytest.raises(SceneError, match="only Mitsuba XML files have parameters"):
        load_scene(_scene(folder), parameters={"spp": "4"})


def test_unsupported_features_give_a_python_warning_at_the_call(tmp_path):
    path = tmp_path / "scene.xml"
    path.write_text(
        '<scene version="3.0.0"><sensor type="perspective"/><emitter type="constant"/>'
        '<shape type="cube"><bsdf type="velvet"/></shape><shape type="hair"/></scene>'
    )
    with pytest.warns(SceneWarning) as raised:
        scene = load_scene(path)
    assert tuple(str(warning.message) for warning in raised) == scene.warnings
    assert len(scene.warnings) == 2
    assert scene.warnings[0].endswith("a grey diffuse one is used")
    assert {warning.filename for warning in raised} == {__file__}


def test_a_scene_without_problems_gives_no_python_warning(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_scene(_scene(folder))


def test_a_scene_without_light_gives_a_warning_or_with_strict_an_error(folder):
    path = _scene(folder, lights=[])
    message = "the scene has no light and no emitting shape; the image will be black"
    with pytest.warns(SceneWarning, match=message):
        assert load_scene(path).warnings == (message,)
    with pytest.raises(SceneError, match=message):
        load_scene(path, strict=True)
