"""Learnt shapes in scenes: the header of a snapshot is read, and any other file gives a one-line error."""

import json
import math

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner

from nrc_tracer.cli import main
from nrc_tracer.errors import SceneError
from nrc_tracer.scene.convert import write_scene
from nrc_tracer.scene.geometry import tessellate
from nrc_tracer.scene.json_format import encode, json_schema, read_json
from nrc_tracer.scene.load import load_scene
from nrc_tracer.scene.model import NeuralSdf, Scene
from nrc_tracer.scene.neural_sdf import cube_box, read_sdf_snapshot
from nrc_tracer.scene.summary import summarize
from nrc_tracer.scene.validate import validate_scene

SDF = {"center": [1.0, 2.0, 3.0], "scale": 0.25, "bounds": [[-1.0, 0.5, 2.0], [3.0, 3.5, 4.0]], "mesh": "pot.obj"}
HEADER = {
    "format": "nrc_tracer.nn",
    "version": 1,
    "n_input_dims": 3,
    "n_output_dims": 1,
    "metadata": {"task": "sdf", "sdf": SDF},
}


def write_header(path, header):
    """A snapshot file with only a header."""
    text = header if isinstance(header, str) else json.dumps(header)
    safetensors.numpy.save_file({"params": np.zeros(1, np.float32)}, path, {"nrc_tracer": text})
    return path


def with_sdf(**changes):
    return HEADER | {"metadata": {"task": "sdf", "sdf": {**SDF, **changes}}}


def scene_file(folder, *shapes, **more):
    path = folder / "scene.json"
    light = [{"type": "constant"}]
    path.write_text(json.dumps({"shapes": shapes or [{"type": "neural-sdf", "file": "a.st"}], "lights": light, **more}))
    return path


def test_the_header_gives_the_place_of_the_shape(tmp_path):
    snapshot = read_sdf_snapshot(write_header(tmp_path / "a.st", HEADER))
    np.testing.assert_array_equal(snapshot.center, SDF["center"])
    np.testing.assert_array_equal(snapshot.bounds, SDF["bounds"])
    assert snapshot.scale == 0.25
    # u = (x - center) scale + 1/2, with a margin of 0.01, inside the cube
    box = cube_box(snapshot.center, snapshot.scale, snapshot.bounds)
    np.testing.assert_allclose(box, [[0.0, 0.115, 0.24], [1.0, 0.885, 0.76]])


def test_a_scene_is_loaded_with_the_headers_of_its_snapshots(tmp_path):
    write_header(tmp_path / "a.st", HEADER)
    shape = {"type": "neural-sdf", "file": "a.st", "resolution": 64, "emission": 2.0}
    path = scene_file(tmp_path, {"type": "instance", "group": "g"}, shape, groups={"g": [shape]})
    scene = load_scene(path)
    assert list(scene.snapshots) == ["a.st"]
    assert scene.meshes == {}
    assert scene.description.shapes[1] == NeuralSdf(file="a.st", resolution=64, emission=2.0)
    assert encode(read_json(path)) == encode(scene.description)
    validate_scene(scene)
    with pytest.raises(SceneError, match=r'shapes\[1\]\.file: "a\.st" is not among the loaded files'):
        validate_scene(Scene(scene.description))


def test_info_reports_the_box_and_triangles_to_be_extracted(tmp_path):
    write_header(tmp_path / "a.st", HEADER)
    turn = [{"type": "rotate", "axis": [0, 0, 1], "angle": 90}, {"type": "translate", "value": [10, 0, 0]}]
    path = scene_file(
        tmp_path, {"type": "neural-sdf", "file": "a.st", "to_world": turn}, {"type": "rectangle"}, {"type": "sphere"}
    )
    summary = summarize(load_scene(path))
    # (x, y) -> (10 - y, x); the rectangle and the sphere reach down to -1
    np.testing.assert_allclose(summary["bounds"]["low"], [-1.0, -1.0, -1.0], atol=1e-12)
    np.testing.assert_allclose(summary["bounds"]["high"], [9.5, 3.0, 4.0], atol=1e-12)
    assert summary["geometry"]["neural"] == 1
    assert summary["geometry"]["spheres"] == 1
    assert summary["geometry"]["triangles"] == 2
    result = CliRunner().invoke(main, ["info", str(path)])
    assert result.exit_code == 0
    assert "2, 1 spheres, and those of 1 neural-sdf" in result.stdout


def test_conversion_copies_the_snapshot(tmp_path):
    source = write_header(tmp_path / "a.st", HEADER)
    path = scene_file(tmp_path, {"type": "neural-sdf", "file": "a.st", "resolution": 32})
    written = write_scene(load_scene(path), tmp_path / "out.json")
    copied = tmp_path / "out_files" / "a_st.safetensors"
    assert written == (tmp_path / "out.json", copied)
    assert copied.read_bytes() == source.read_bytes()
    again = load_scene(tmp_path / "out.json")
    assert again.description.shapes == (NeuralSdf(file="out_files/a_st.safetensors", resolution=32),)
    write_scene(again, tmp_path / "out.json")  # to the same file
    assert load_scene(tmp_path / "out.json").description.shapes[0].resolution == 32


def test_the_schema_contains_neural_sdf():
    definition = json_schema()["$defs"]["NeuralSdf"]
    assert definition["properties"]["type"]["enum"] == ["neural-sdf"]
    assert definition["required"] == ["type", "file"]
    assert definition["properties"]["resolution"]["minimum"] == 8


def test_triangles_are_only_extracted_for_rendering():
    with pytest.raises(SceneError, match="only for rendering"):
        tessellate(NeuralSdf(file="a.st"))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER | {"metadata": {"task": "image", "image": {}}}, "a snapshot of fit image; a neural-sdf needs"),
        (HEADER | {"metadata": {}}, "of a model that is not a fitted shape"),
        (HEADER | {"format": "other"}, "of a model that is not a fitted shape"),
        (HEADER | {"metadata": {"task": "sdf"}}, "malformed: Expected `object`, got `null`"),
        (with_sdf(scale=0.0), "no usable center, scale and bounds"),
        (with_sdf(scale="big"), r"malformed: Expected `float`, got `str` - at `\$\.scale`"),
        (with_sdf(bounds=[[1, 1, 1], [0, 0, 0]]), "no usable center, scale and bounds"),
        (with_sdf(bounds=[[1, 1, 1]]), "malformed: Expected `array` of length 2"),
        (HEADER | {"n_output_dims": 3}, "no usable center, scale and bounds"),
        ("[]", "a safetensors file, but not a snapshot of a fitted shape"),
        ("{", "a safetensors file, but not a snapshot of a fitted shape"),
        ("", "a safetensors file, but not a snapshot of a fitted shape"),
    ],
)
def test_snapshots_of_other_models_are_refused(tmp_path, header, message):
    write_header(tmp_path / "a.st", header)
    with pytest.raises(SceneError, match=message) as caught:
        load_scene(scene_file(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path / 'scene.json'}: $.shapes[0].file: {tmp_path / 'a.st'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "not a snapshot: a safetensors file begins in another way"),
        (b"ply\nformat ascii 1.0\n", "not a snapshot: a safetensors file begins in another way"),
        (b"\xff" * 8 + b"{}", "its header would have"),
        (b"\x09\0\0\0\0\0\0\0{not json", "not a snapshot, or damaged"),
        ("folder", "is not a file"),
    ],
)
def test_files_that_are_not_snapshots_are_refused(tmp_path, content, message):
    if content == "folder":
        (tmp_path / "a.st").mkdir()
    elif content is not None:
        (tmp_path / "a.st").write_bytes(content)
    with pytest.raises(SceneError, match=message) as caught:
        load_scene(scene_file(tmp_path))
    assert "$.shapes[0].file: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({}, r'shapes\[0\]: .*"file"'),
        ({"file": "a.st", "resolution": 4}, r"resolution: must be >= 8"),
        ({"file": "a.st", "resolution": 4096}, r"resolution: must be <= 2048"),
        ({"file": "a.st", "resolutoin": 64}, 'did you mean "resolution"'),
        ({"file": "a.st", "material": "gold"}, r"shapes\[0\]\.material: there is no material"),
    ],
)
def test_descriptions_are_checked(tmp_path, shape, message):
    write_header(tmp_path / "a.st", HEADER)
    with pytest.raises(SceneError, match=message):
        load_scene(scene_file(tmp_path, {"type": "neural-sdf", **shape}))


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    text = json.dumps(with_sdf(center=[math.nan, 0, 0]))
    write_header(tmp_path / "a.st", text)
    with pytest.raises(SceneError, match="not a snapshot of a fitted shape"):
        load_scene(scene_file(tmp_path))
