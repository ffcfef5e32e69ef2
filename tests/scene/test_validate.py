"""`validate` for descriptions made in Python or by other readers, which have not been checked before.

Messages about JSON scenes are tested in `test_json_format.py`.
"""

import math

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene import model
from nrc_tracer.scene.model import SceneDescription
from nrc_tracer.scene.validate import validate

LIGHT = model.ConstantLight()
GREY = model.Diffuse()
TRIANGLE = {"positions": ((0, 0, 0), (1, 0, 0), (0, 1, 0)), "indices": ((0, 1, 2),)}


def _scene(**parts):
    return SceneDescription(**{"lights": (LIGHT,), **parts})


def test_a_valid_scene_passes():
    materials = {"red": model.Diffuse(reflectance=(1, 0, 0)), "both": model.Sides(front="red", back="red")}
    shapes = (model.Mesh(**TRIANGLE, material="both"), model.Disk(emission=5.0), model.Mesh(file="a.obj"))
    sound = _scene(materials=materials, shapes=shapes)
    assert validate(sound) is None
    # The smallest invalid change is found
    with pytest.raises(SceneError, match="both"):
        validate(_scene(materials={"red": materials["red"]}, shapes=shapes))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"shapes": (model.Sphere(radius=-1.0),)}, r"\$\.shapes\[0\]\.radius: must be > 0, not -1"),
        ({"shapes": (model.Sphere(radius=math.nan),)}, r"\$\.shapes\[0\]\.radius: NaN is not a finite number"),
        ({"shapes": (model.Sphere(center=(0, math.inf, 0)),)}, r"\$\.shapes\[0\]\.center\[1\]: Infinity is not"),
        ({"shapes": (model.Sphere(radius="big"),)}, r'\$\.shapes\[0\]\.radius: expected a number, got "big"'),
        ({"shapes": (model.Cylinder(p0=(0, 0, 1)),)}, r"\$\.shapes\[0\]\.p1: is the same point"),
        ({"shapes": (model.Mesh(name="a"),)}, r'\$\.shapes\[0\] \("a"\): a mesh needs a file, or'),
        ({"shapes": (model.Mesh(file="a.obj", **TRIANGLE),)}, "either a file or data in place"),
        (
            {"shapes": (model.Mesh(**TRIANGLE | {"positions": ((0, 0), (1, 0), (0, 1))}),)},
            "positions: not an array of 3",
        ),
        ({"shapes": (model.Mesh(**TRIANGLE | {"indices": ((0, 1, 1.5),)}),)}, "indices: not an array of 3 numbers"),
        ({"shapes": (model.Mesh(**TRIANGLE | {"indices": ((0, 1, -1),)}),)}, r"indices\[0\]: .* outside 0 to 2"),
        ({"shapes": (model.Mesh(**TRIANGLE, normals=((0, 0, math.nan),) * 3),)}, r"normals\[0\]: is not finite"),
        (
            {"shapes": (model.Mesh(**TRIANGLE, colors=((0, 0, 0),) * 2),)},
            r"\$\.shapes\[0\]\.colors: has 2 entries for 3 positions",
        ),
        (
            {"shapes": (model.Mesh(**TRIANGLE, colors=((0, 0, 0), (0, 0, 0, 1), (0, 0, 0))),)},
            r"\$\.shapes\[0\]\.colors: not an array of 3 numbers",
        ),
        (
            {"shapes": (model.Mesh(**TRIANGLE, colors=((0, 0, 0, 1), (0, 0, 0, math.inf), (0, 0, 0, 1))),)},
            r"\$\.shapes\[0\]\.colors\[1\]: is not finite",
        ),
        ({"shapes": (model.Mesh(file="a.obj", colors=((0, 0, 0),)),)}, "either a file or data in place"),
        (
            {"shapes": (model.Instance(group="tre", name="oak"),), "groups": {"tree": (model.Cube(),)}},
            r'\$\.shapes\[0\] \("oak"\)\.group: there is no group "tre" \(did you mean "tree"\?\)',
        ),
        ({"shapes": (model.Instance(group="g"),)}, r'no group "g" \(the scene has no groups\)'),
        (
            {"shapes": (model.Instance(group="g", to_world=(model.Scale(value=0.0),)),), "groups": {"g": ()}},
            r"\$\.shapes\[0\]\.to_world: the transform is singular",
        ),
        (
            {"groups": {"my tree": (model.Cube(), model.Cube(material="bark"))}},
            r'\$\.groups\["my tree"\]\[1\]\.material: there is no material "bark"',
        ),
        ({"groups": {"g": (model.Sphere(radius=-1.0),)}}, r"\$\.groups\.g\[0\]\.radius: must be > 0"),
        ({"groups": {"g": (model.Mesh(),)}}, r"\$\.groups\.g\[0\]: a mesh needs a file, or"),
        ({"groups": {"g": (model.Instance(group="g"),)}}, r'\$\.groups\.g\[0\]\.type: unknown type "instance"'),
        (
            {"cameras": {"top": model.Perspective(near=2.0, far=1.0)}},
            r"\$\.cameras\.top\.far: must be > near \(2\), not 1",
        ),
        ({"cameras": {"a b": model.Perspective(fov=0.0)}}, r'\$\.cameras\["a b"\]\.fov: must be > 0'),
        ({"film": model.Film(width=-3)}, r"\$\.film\.width: must be >= 1, not -3"),
        ({"film": model.Film(filter="lanczos")}, r'\$\.film\.filter: unknown value "lanczos"'),
        ({"camera": model.Perspective(near=2.0, far=1.0)}, r"\$\.camera\.far: must be > near \(2\), not 1"),
        ({"lights": (model.DirectionalLight(direction=(0, 0, 0)),)}, r"\$\.lights\[0\]\.direction: must not be zero"),
        ({"lights": (model.PointLight(intensity=-1.0),)}, r"\$\.lights\[0\]\.intensity: must not be negative"),
        ({"lights": (LIGHT, LIGHT)}, r"\$\.lights\[1\]: a scene takes only one"),
        (
            {"materials": {"a": model.Diffuse(reflectance="b")}},
            r'there is no texture "b" \(the scene has no textures\)',
        ),
        ({"materials": {"a": model.Principled(roughness=1.5)}}, r"\$\.materials\.a\.roughness: must lie in \[0, 1\]"),
        ({"materials": {"a": model.Principled(sheen="b")}}, r'\$\.materials\.a\.sheen: there is no texture "b"'),
        (
            {"materials": {"a": model.Principled(spec_trans=0.1), "b": model.Sides(front="a", back="a")}},
            r'\$\.materials\.b\.front: a side must be opaque, and "a" \(principled\) transmits light',
        ),
        ({"materials": {"a": model.Conductor(eta=-1.0)}}, r"\$\.materials\.a\.eta: must not be negative, not -1"),
        ({"textures": {"t": model.Checkerboard(color0=-1.0)}}, r"\$\.textures\.t\.color0: must not be negative"),
        ({"textures": {"t": model.Bitmap(file="a", to_uv=(model.Scale(value=0.0),))}}, r"\$\.textures\.t\.to_uv: "),
        ({"materials": {"a": model.Mask(material="b")}}, r'\$\.materials\.a\.material: there is no material "b"'),
        ({"materials": {"a": GREY, "b": model.Mask(material="a", opacity=1.5)}}, r"b\.opacity: must lie in \[0, 1\]"),
        (
            {"materials": {"a": GREY, "b": model.Blend(materials=("a", "c"))}},
            r"b\.materials\[1\]: there is no material",
        ),
        ({"materials": {"a": GREY, "b": model.Blend(materials=("a", "a"), weight=-1.0)}}, r"b\.weight: must lie in"),
        (
            {"materials": {"a": GREY, "b": model.Bump(material="a", texture="t")}},
            r'b\.texture: there is no texture "t"',
        ),
        (
            {
                "materials": {
                    "a": model.Mask(material="b"),
                    "b": model.Blend(materials=("d", "c")),
                    "c": model.Sides(front="d", back="a"),
                    "d": GREY,
                }
            },
            r"\$\.materials\.a: the material contains itself: a -> b -> c -> a",
        ),
        (
            {
                "materials": {
                    "g": model.Dielectric(),
                    "m": model.Mask(material="g"),
                    "s": model.Sides(front="m", back="m"),
                }
            },
            r'\$\.materials\.s\.front: a side must be opaque, and "g" \(dielectric\) transmits light',
        ),
        ({"materials": {"m0": GREY} | {f"m{i + 1}": model.Mask(material=f"m{i}") for i in range(70)}}, "more than 64"),
        ({"materials": {f"m{i}": model.Mask(material=f"m{i + 1}") for i in range(70)} | {"m70": GREY}}, "more than 64"),
        ({"textures": {"t": model.Bitmap(file="a", factor=(1, -1, 1))}}, r"t\.factor: must not be negative"),
        ({"textures": {"t": model.VertexColor(texture="u")}}, r't\.texture: there is no texture "u"'),
        (
            {"textures": {"t": model.VertexColor(texture="t")}},
            r"t\.texture: must name a bitmap or a checkerboard",
        ),
        (
            {"textures": {"t": model.VertexColor()}, "shapes": (model.Disk(emission="t"),)},
            r'\$\.shapes\[0\]\.emission: must name a bitmap or a checkerboard; "t" is a vertex_color',
        ),
        ({"lights": ()}, "the scene is empty"),
    ],
)
def test_mistakes_are_reported_with_their_place(parts, message):
    with pytest.raises(SceneError, match=message):
        validate(_scene(**parts))


def test_messages_begin_with_the_source():
    with pytest.raises(SceneError, match=r"^box\.xml: \$: the scene is empty"):
        validate(SceneDescription(), "box.xml")


def test_large_inline_meshes_are_checked_quickly():
    rng = np.random.default_rng(0)
    positions = tuple(map(tuple, rng.random((50_000, 3)).tolist()))
    indices = tuple(map(tuple, rng.integers(0, 50_000, (100_000, 3)).tolist()))
    validate(_scene(shapes=(model.Mesh(positions=positions, indices=indices),)))
    with pytest.raises(SceneError, match=r"indices\[99999\]"):
        validate(_scene(shapes=(model.Mesh(positions=positions, indices=(*indices[:-1], (0, 1, 50_000))),)))
