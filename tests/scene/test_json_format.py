"""The JSON format: written scenes are read back, and every mistake is reported with its place."""

import copy
import json
import math

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nrc_tracer.errors import OutputError, SceneError
from nrc_tracer.scene import model
from nrc_tracer.scene.json_format import encode, json_schema, read_json, write_json

SCENE = {
    "$schema": "scene.schema.json",
    "camera": {
        "type": "perspective",
        "fov": 30,
        "to_world": [{"type": "look_at", "origin": [0, 1, 5], "target": [0, 1, 0]}],
    },
    "cameras": {"top": {"type": "orthographic", "near": 1, "far": 9}, "side view": {"type": "perspective"}},
    "film": {"width": 64, "height": 48, "crop": [8, 8, 16, 16], "filter": "tent"},
    "sampler": {"type": "independent", "spp": 16},
    "integrator": {"max_depth": 5},
    "textures": {
        "wood": {"type": "bitmap", "file": "wood.jpg", "to_uv": [{"type": "scale", "value": 2}]},
        "tiles": {"type": "checkerboard", "color0": [0.1, 0.2, 0.3]},
    },
    "materials": {
        "my glass": {"type": "dielectric", "int_ior": 1.5, "alpha": ["tiles", 0.1]},
        "gold": {"type": "conductor", "eta": [0.2, 0.4, 1.4], "k": [3.9, 2.4, 1.6], "alpha": 0.1},
        "floor": {"type": "diffuse", "reflectance": "wood"},
        "both": {"type": "sides", "front": "gold", "back": "floor"},
    },
    "groups": {
        "two": [{"type": "cube", "material": "gold"}, {"type": "mesh", "file": "pot.ply", "emission": 2.5}],
    },
    "shapes": [
        {"type": "mesh", "name": "pot", "file": "pot.ply", "material": "both"},
        {"type": "sphere", "radius": 2, "material": "my glass"},
        {
            "type": "mesh",
            "positions": [[0, 0, 0], [1, 0, 0], [0, 1, 0]],
            "uvs": [[0, 0], [1, 0], [0, 1]],
            "colors": [[0, 0.5, 1, 1], [1, 0, 0, 0.5], [0, 1, 0, 0]],
            "indices": [[0, 1, 2]],
            "emission": "tiles",
        },
        {"type": "instance", "name": "again", "group": "two", "to_world": [{"type": "translate", "value": [1, 2, 3]}]},
    ],
    "lights": [{"type": "spot", "intensity": [1, 2, 3], "cutoff_angle": 30}, {"type": "constant"}],
}


def _read(folder, scene):
    path = folder / "scene.json"
    path.write_text(scene if isinstance(scene, str) else json.dumps(scene), encoding="utf-8")
    return read_json(path)


def _changed(*path, value):
    """A copy of SCENE with one value replaced."""
    scene = copy.deepcopy(SCENE)
    place = scene
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return scene


def test_a_complete_scene_is_read(tmp_path):
    scene = _read(tmp_path, SCENE)
    assert scene.film == model.Film(width=64, height=48, crop=(8, 8, 16, 16), filter="tent")
    assert scene.camera.to_world[0] == model.LookAt(origin=(0, 1, 5), target=(0, 1, 0))
    assert scene.materials["my glass"].alpha == ("tiles", 0.1)
    assert scene.shapes[2].positions[1] == (1.0, 0.0, 0.0)
    assert scene.lights[1] == model.ConstantLight()
    assert scene.cameras["top"] == model.Orthographic(near=1, far=9)
    assert scene.groups["two"] == (model.Cube(material="gold"), model.Mesh(file="pot.ply", emission=2.5))
    move = (model.Translate(value=(1, 2, 3)),)
    assert scene.shapes[3] == model.Instance(group="two", name="again", to_world=move)


def test_writing_and_reading_gives_the_same_scene(tmp_path):
    scene = _read(tmp_path, SCENE)
    write_json(scene, tmp_path / "copy.json")
    assert read_json(tmp_path / "copy.json") == scene
    assert '"positions": [\n        [0.0, 0.0, 0.0],' in encode(scene)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.json", "scene.json"]


def test_a_byte_order_mark_is_accepted(tmp_path):
    assert _read(tmp_path, "\ufeff" + json.dumps(SCENE)).film.width == 64


MISTAKES = [
    (("materials", "gold", "int_iro"), 1.5, r"\$\.materials\.gold\.int_iro: unknown key \(known: .*alpha.*eta"),
    (("materials", "my glass", "int_iro"), 1, r'\$\.materials\["my glass"\]\.int_iro: .*did you mean "int_ior"'),
    (("shapes", 1, "radios"), 1, r'\$\.shapes\[1\]\.radios: unknown key \(did you mean "radius"'),
    (("film", "width"), "64", r'\$\.film\.width: expected an integer, got "64"'),
    (("film", "width"), 6.5, r"\$\.film\.width: expected an integer, got 6\.5"),
    (("film", "width"), True, r"\$\.film\.width: expected an integer, got true"),
    (("film", "height"), -5, r"\$\.film\.height: must be >= 1, not -5"),
    (("film", "height"), 0, r"\$\.film\.height: must be >= 1, not 0"),
    (("film", "filter"), "gausian", r'\$\.film\.filter: unknown value "gausian" \(did you mean "gaussian"'),
    (("film", "crop"), [60, 0, 16, 16], r"\$\.film\.crop: .*not inside the 64 x 48 film"),
    (("film", "crop"), [0, 0, 0, 4], r"\$\.film\.crop: .*not inside"),
    (("film", "crop"), [0, 0, 4], r"\$\.film\.crop: expected an array of 4 numbers, got an array of 3"),
    (("camera", "type"), "perspectiv", r'\$\.camera\.type: unknown type "perspectiv" \(did you mean "perspective"'),
    (("camera", "type"), 3, r"\$\.camera\.type: unknown type 3"),
    (("camera",), {"fov": 3}, r'\$\.camera: "type" is missing \(known: orthographic, perspective\)'),
    (("camera", "fov"), 180, r"\$\.camera\.fov: must be < 180, not 180"),
    (("camera", "far"), 0.0, r"\$\.camera\.far: must be > 0"),
    (("camera", "to_world", 0, "target"), [0, 1, 5], r"\$\.camera\.to_world: look_at"),
    (("camera", "to_world", 0, "up"), [0, 1], r"\$\.camera\.to_world\[0\]\.up: expected an array of 3 numbers"),
    (
        ("materials", "floor", "reflectance"),
        "wod",
        r'floor\.reflectance: there is no texture "wod" \(did you mean "wood"',
    ),
    (("materials", "floor", "reflectance"), [0, 1, 2], r"\$\.materials\.floor\.reflectance: must lie in \[0, 1\]"),
    (("materials", "floor", "reflectance"), None, r"reflectance: expected a number, an array of 3 numbers or a string"),
    (("materials", "my glass", "alpha"), ["x", 0.1], r'alpha: there is no texture "x"'),
    (
        ("materials", "both", "front"),
        "my glass",
        r'\$\.materials\.both\.front: a side must be opaque, and "my glass" \(dielectric\)',
    ),
    (("materials", "both", "back"), "both", r"\$\.materials\.both: the material contains itself: both -> both"),
    (("materials", "both", "back"), "flor", r'\$\.materials\.both\.back: .*did you mean "floor"'),
    (("shapes", 0, "material"), "bath", r'\$\.shapes\[0\] \("pot"\)\.material: .*did you mean "both"'),
    (("shapes", 0, "emission"), "tile", r'\$\.shapes\[0\] \("pot"\)\.emission: .*did you mean "tiles"'),
    (("shapes", 0, "emission"), -1, r"emission: must not be negative"),
    (("shapes", 0, "positions"), [[0, 0, 0]], r"positions: a mesh takes either a file or data in place"),
    (("shapes", 0, "file"), None, r"needs a file, or positions and indices"),
    (("shapes", 2, "indices"), [[0, 1, 3]], r"\$\.shapes\[2\]\.indices\[0\]: \[0, 1, 3\] is outside 0 to 2"),
    (("shapes", 2, "indices"), [], r"\$\.shapes\[2\]\.indices: the mesh has no triangles"),
    (("shapes", 2, "uvs"), [[0, 0]], r"\$\.shapes\[2\]\.uvs: has 1 entries for 3 positions"),
    (("shapes", 2, "positions", 1), [0, 1e39, 0], r"\$\.shapes\[2\]\.positions\[1\]: is not finite"),
    (("shapes", 1, "to_world"), [{"type": "scale", "value": 0}], r"\$\.shapes\[1\]\.to_world: "),
    (("lights", 0, "beam_width"), 31, r"\$\.lights\[0\]\.beam_width: must be <= cutoff_angle"),
    (("lights", 0), {"type": "constant"}, r"\$\.lights\[1\]: a scene takes only one"),
    (("sampler", "spp"), 10**12, r"\$\.sampler\.spp: must be <="),
    (("sampler", "spp"), 10**400, r"\$\.sampler\.spp: a huge integer is not a finite number"),
    (("integrator", "max_depth"), 2**31, r"\$\.integrator\.max_depth: must be <="),
    (("shapes", 1, "radius"), 1e39, r"\$\.shapes\[1\]\.radius: 1e\+39 is not a finite number \(in 32 bits\)"),
    (("light",), [], r'\$\.light: unknown key \(did you mean "lights"'),
    (("shapes",), {}, r"\$\.shapes: expected an array, got an object"),
]


@pytest.mark.parametrize(("path", "value", "message"), MISTAKES)
def test_mistakes_are_reported_with_their_place(tmp_path, path, value, message):
    with pytest.raises(SceneError, match=message) as caught:
        _read(tmp_path, _changed(*path, value=value))
    assert str(caught.value).startswith(str(tmp_path / "scene.json") + ": ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"film": {\n  "width" 3}}', "line 2, column 11: Expecting ':' delimiter"),
        ("", "line 1, column 1"),
        ("[]", r"\$: expected an object, got an array of 0"),
        ('{"film": {"width": NaN}}', "NaN is not a JSON number"),
        ('{"camera": {"type": "perspective", "fov": 1e400}}', r"\$\.camera\.fov"),
        ('{"lights": [{"type": "constant", "radiance": 1e400}]}', r"\$\.lights\[0\]\.radiance: .*not a finite number"),
        ('{"film": {"width": 1' + "0" * 5000 + "}}", "number in the JSON cannot be read"),
        ("[" * 100_000, "nested too deeply"),
        ('{"film": {"width": 3, "width": 4}}', 'the key "width" appears twice'),
        ('{"shapes": [{"type": "mesh", "file": "\\ud800"}]}', "half of a surrogate pair"),
        ("{}", "the scene is empty"),
    ],
)
def test_text_that_is_not_a_scene_is_refused(tmp_path, text, message):
    with pytest.raises(SceneError, match=message):
        _read(tmp_path, text)


def test_unreadable_files_are_refused(tmp_path):
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    for path in (tmp_path / "none.json", tmp_path, tmp_path / "latin.json", tmp_path / "nul\0.json"):
        with pytest.raises(SceneError):
            read_json(path)


def test_writing_to_an_impossible_path_is_refused(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_json(model.SceneDescription(), tmp_path / "none" / "a.json")


def test_schema_accepts_the_scene_and_knows_every_class():
    schema = json_schema()
    classes = {
        name for name, value in vars(model).items() if isinstance(value, type) and hasattr(value, "__struct_fields__")
    }
    assert set(schema["$defs"]) == classes - {"Model", "ShapeModel"}
    scene = schema["$defs"]["SceneDescription"]
    assert set(scene["properties"]) == set(SCENE)
    assert scene["additionalProperties"] is False
    assert not [ref for ref in _references(schema) if ref not in schema["$defs"]]


def _references(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" or (key == "mapping" and isinstance(value, dict)):
                names = [value] if key == "$ref" else value.values()
                yield from (name.removeprefix("#/$defs/") for name in names)
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


# --- Any file gives a scene or a SceneError

_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_words = st.sampled_from(sorted(json.dumps(SCENE).replace('"', " ").split()))
_values = st.recursive(
    _scalars | _words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | _words, inner, max_size=4),
    max_leaves=8,
)


def _places(node, path=()):
    """Paths of all values in nested objects and arrays."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


_quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _check(folder, text):
    try:
        description = _read(folder, text)
    except SceneError:
        return
    assert all(math.isfinite(n) for n in _numbers(msgspec.to_builtins(description)))
    assert read_json(folder / "scene.json") == description


def _numbers(node):
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _numbers(item)
    elif isinstance(node, float):
        yield node


@_quick
@given(path=st.sampled_from(list(_places(SCENE))), value=_values)
def test_mutated_scenes(tmp_path, path, value):
    _check(tmp_path, json.dumps(_changed(*path, value=value)))


@_quick
@given(value=_values)
def test_random_json(tmp_path, value):
    _check(tmp_path, json.dumps(value))


@_quick
@given(data=st.data())
def test_damaged_text(tmp_path, data):
    text = json.dumps(SCENE)
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 20)))
    _check(tmp_path, text[:start] + data.draw(st.text(max_size=4)) + text[stop:])
