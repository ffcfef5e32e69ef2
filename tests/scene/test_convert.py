"""Any scene can be written as JSON with files next to it; the scene loaded again is the same, and renders the same bits."""

import json

import msgspec
import numpy as np
import PIL.Image
import pytest

from nrc_tracer.errors import OutputError, SceneError
from nrc_tracer.imaging import write_image
from nrc_tracer.scene import model
from nrc_tracer.scene.convert import write_scene
from nrc_tracer.scene.load import load_scene

STL = (
    "solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 2 0\nendloop\nendfacet\nendsolid a\n"
)
OBJ = "v 0 0 0\nv 1 0 0.1\nv 0 1 0.2\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\nf 2/2 4/1 3/3\n"


@pytest.fixture
def source(tmp_path):
    """A scene with every kind of mesh and image and with difficult names, in a separate folder."""
    folder = tmp_path / "in"
    (folder / "sub dir").mkdir(parents=True)
    (folder / "sub dir" / "thing.obj").write_text(OBJ)
    (folder / "THING.obj").write_text(OBJ.replace("0.2", "0.3"))
    (folder / "flat.stl").write_text(STL)
    rng = np.random.default_rng(2)
    PIL.Image.fromarray(rng.integers(0, 255, (4, 6, 3), dtype=np.uint8)).save(folder / "wood é.jpg")
    PIL.Image.fromarray(rng.integers(0, 255, (4, 6), dtype=np.uint8)).save(folder / "grey.png")
    write_image(folder / "sky.hdr", rng.uniform(0.0, 3.0, (8, 16, 3)))
    scene = {
        "camera": {
            "type": "perspective",
            "to_world": [{"type": "look_at", "origin": [0.5, 0.3, 4], "target": [0, 0, 0]}],
        },
        "cameras": {"top": {"type": "orthographic"}},
        "film": {"width": 16, "height": 12},
        "textures": {
            "wood": {"type": "bitmap", "file": "wood é.jpg", "wrap": ["mirror", "clamp"], "factor": 0.7},
            "grey": {"type": "bitmap", "file": "grey.png", "raw": True},
            "again": {"type": "bitmap", "file": "grey.png", "channel": "r"},
            "tiles": {"type": "checkerboard"},
        },
        "materials": {
            "a": {"type": "diffuse", "reflectance": "wood"},
            "b": {"type": "diffuse", "reflectance": "again"},
        },
        "groups": {"g": [{"type": "mesh", "file": "sub dir/thing.obj", "material": "a", "flip_v": True}]},
        "shapes": [
            {"type": "instance", "group": "g"},
            {"type": "instance", "group": "g", "to_world": [{"type": "translate", "value": [-0.9, 0.1, 0.3]}]},
            {
                "type": "mesh",
                "file": "THING.obj",
                "material": "b",
                "to_world": [{"type": "translate", "value": [0, -1, 0]}],
            },
            {"type": "mesh", "file": "flat.stl", "emission": 0.5},
            {"type": "sphere", "radius": 0.3, "center": [-1, -1, 0]},
            {"type": "mesh", "positions": [[0, 0, 1], [0.1, 0, 1], [0, 0.1, 1]], "indices": [[0, 1, 2]]},
        ],
        "lights": [{"type": "environment", "file": "sky.hdr"}],
    }
    (folder / "scene.json").write_text(json.dumps(scene))
    return folder / "scene.json"


def _assert_same(a, b):
    """Two loaded scenes are equal except for file names, and for the flag that keeps an STL file flat."""
    renamed = dict(zip(_files(a.description), _files(b.description), strict=True))
    assert len(set(renamed.values())) == len(renamed)
    for name, mesh in a.meshes.items():
        other = b.meshes[renamed[name]]
        for part in ("positions", "indices", "uvs", "colors", *(["normals"] if mesh.normals is not None else [])):
            np.testing.assert_array_equal(getattr(mesh, part), getattr(other, part), err_msg=f"{name} {part}")
    for name, image in a.images.items():
        assert image.dtype == b.images[renamed[name]].dtype
        np.testing.assert_array_equal(image, b.images[renamed[name]], err_msg=name)
    assert _without_files(a.description) == _without_files(b.description)


def _files(description):
    raw = json.loads(msgspec.json.encode(description))
    return [place["file"] for place in _objects(raw) if "file" in place]


def _without_files(description):
    # Convert both through JSON: a string that equals a default is only left out if it is the same object
    normal = msgspec.json.decode(msgspec.json.encode(description), type=model.SceneDescription)
    raw = json.loads(msgspec.json.encode(normal))
    for place in _objects(raw):
        place.pop("file", None)
        place.pop("face_normals", None)
    return raw


def _objects(node):
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _objects(child)


def _render(scene):
    from nrc_tracer.tracer import Renderer

    renderer = Renderer(scene, device="cpu", seed=5, width=24)
    renderer.step(2)
    return renderer.moments()[0]


def test_a_converted_scene_is_read_back_unchanged(source, tmp_path):
    scene = load_scene(source)
    files = write_scene(scene, tmp_path / "out.json")
    assert sorted(file.name for file in files[1:]) == [
        "THING.ply",
        "flat.ply",
        "grey.png",
        "sky.exr",
        "thing_2.ply",
        "wood.png",
    ]
    assert {file.parent for file in files[1:]} == {tmp_path / "out_files"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out.json", "out_files"]
    back = load_scene(tmp_path / "out.json", strict=True)
    _assert_same(scene, back)
    flat = next(shape for shape in back.description.shapes if getattr(shape, "file", "") == "out_files/flat.ply")
    assert flat.face_normals
    picture = _render(scene)
    np.testing.assert_array_equal(_render(back), picture)
    assert np.ptp(picture) > 0.1


def test_the_folder_can_be_moved_and_the_scene_written_over_itself(source, tmp_path):
    scene = load_scene(source)
    write_scene(scene, tmp_path / "out.json")
    (tmp_path / "elsewhere").mkdir()
    for name in ("out.json", "out_files"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    write_scene(load_scene(tmp_path / "elsewhere" / "out.json"), tmp_path / "elsewhere" / "out.json")
    _assert_same(scene, load_scene(tmp_path / "elsewhere" / "out.json"))


def test_the_sky_of_a_bare_mesh_is_written(source, tmp_path):
    scene = load_scene(source.parent / "flat.stl")
    files = write_scene(scene, tmp_path / "out.json")
    assert [file.name for file in files] == ["out.json", "flat.ply", "nrc_soft-sky.exr"]
    back = load_scene(tmp_path / "out.json")
    _assert_same(scene, back)
    np.testing.assert_array_equal(_render(back), _render(scene))


def test_a_scene_without_files_has_no_folder(tmp_path):
    scene = model.Scene(model.SceneDescription(lights=(model.ConstantLight(),)))
    assert write_scene(scene, tmp_path / "out.json") == (tmp_path / "out.json",)
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize("name", ["out.xml", "out", "none/out.json"])
def test_impossible_outputs_are_refused(source, tmp_path, name):
    with pytest.raises(OutputError):
        write_scene(load_scene(source), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_scene_that_is_not_loaded_is_refused(tmp_path):
    description = model.SceneDescription(shapes=(model.Mesh(file="a.obj"),))
    with pytest.raises(SceneError, match="not among the loaded files"):
        write_scene(model.Scene(description), tmp_path / "out.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "mitsuba/grey-white-room/scene.xml",
        "mitsuba/veach-mis/scene.xml",
        "glb/CesiumMilkTruck.glb",
        "glb/AlphaBlendModeTest.glb",
    ],
)
def test_published_scenes_render_to_the_same_bits(data_folder, tmp_path, name):
    scene = load_scene(data_folder / "scenes" / name)
    write_scene(scene, tmp_path / "out.json")
    back = load_scene(tmp_path / "out.json")
    _assert_same(scene, back)
    picture = _render(scene)
    np.testing.assert_array_equal(_render(back), picture)
    assert np.ptp(picture) > 0.01
