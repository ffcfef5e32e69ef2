"""`validate` on descriptions made in Python, as other readers make them: nothing has checked them before.

What it says about scenes out of JSON is tested in `test_json_format.py`.
"""

import math

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene import model
from nrc_tracer.scene.model import SceneDescription
from nrc_tracer.scene.validate import validate

LIGHT = model.ConstantLight()
TRIANGLE = {"positions": ((0, 0, 0), (1, 0, 0), (0, 1, 0)), "indices": ((0, 1, 2),)}


def _scene(**parts):
    return SceneDescription(**{"lights": (LIGHT,), **parts})


def test_a_sound_scene_passes():
    materials = {"red": model.Diffuse(reflectance=(1, 0, 0)), "both": model.Sides(front="red", back="red")}
    shapes = (model.Mesh(**TRIANGLE, material="both"), model.Disk(emission=5.0), model.Mesh(file="a.obj"))
    validate(_scene(materials=materials, shapes=shapes))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"shapes": (model.Sphere(radius=-1.0),)}, r"\$\.shapes\[0\]\.radius: must be > 0, not -1"),
        ({"shapes": (model.Sphere(radius=math.nan),)}, r"\$\.shapes\[0\]\.radius: NaN is not a finite number"),
        ({"shapes": (model.Sphere(center=(0, math.inf, 0)),)}, r"\$\.shapes\[0\]\.center\[1\]: Infinity is not"),
        ({"shapes": (model.Sphere(radius="big"),)}, r'\$\.shapes\[0\]\.radius: expected a number, got "big"'),
        ({"shapes": (model.Cylinder(p0=(0, 0, 1)),)}, r"\$\.shapes\[0\]\.p1: is the same point"),
        ({"shapes": (model.Mesh(name="a"),)}, r'\$\.shapes\[0\] \("a"\): a mesh needs a file, or'),
        ({"shapes": (model.Mesh(file="a.obj", **TRIANGLE),)}, "either a file or its data"),
        (
            {"shapes": (model.Mesh(**TRIANGLE | {"positions": ((0, 0), (1, 0), (0, 1))}),)},
            "positions: not an array of 3",
        ),
        ({"shapes": (model.Mesh(**TRIANGLE | {"indices": ((0, 1, 1.5),)}),)}, "indices: not an array of 3 numbers"),
        ({"shapes": (model.Mesh(**TRIANGLE | {"indices": ((0, 1, -1),)}),)}, r"indices\[0\]: .* outside 0 to 2"),
        ({"shapes": (model.Mesh(**TRIANGLE, normals=((0, 0, math.nan),) * 3),)}, r"normals\[0\]: is not finite"),
        ({"film": model.Film(width=-3)}, r"\$\.film\.width: must be >= 1, not -3"),
        ({"film": model.Film(filter="lanczos")}, r'\$\.film\.filter: unknown value "lanczos"'),
        ({"camera": model.Perspective(near=2.0, far=1.0)}, r"\$\.camera\.far: must be > near \(2\), not 1"),
        ({"lights": (model.DirectionalLight(direction=(0, 0, 0)),)}, r"\$\.lights\[0\]\.direction: must not be zero"),
        ({"lights": (model.PointLight(intensity=-1.0),)}, r"\$\.lights\[0\]\.intensity: must not be negative"),
        ({"lights": (LIGHT, LIGHT)}, r"\$\.lights\[1\]: a scene takes one"),
        (
            {"materials": {"a": model.Diffuse(reflectance="b")}},
            r'there is no texture "b" \(the scene has no textures\)',
        ),
        ({"materials": {"a": model.Conductor(eta=-1.0)}}, r"\$\.materials\.a\.eta: must not be negative, not -1"),
        ({"textures": {"t": model.Checkerboard(color0=-1.0)}}, r"\$\.textures\.t\.color0: must not be negative"),
        ({"textures": {"t": model.Bitmap(file="a", to_uv=(model.Scale(value=0.0),))}}, r"\$\.textures\.t\.to_uv: "),
        ({"lights": ()}, "nothing to see"),
    ],
)
def test_mistakes_are_told_with_their_place(parts, message):
    with pytest.raises(SceneError, match=message):
        validate(_scene(**parts))


def test_messages_begin_with_the_source():
    with pytest.raises(SceneError, match=r"^box\.xml: \$: there is nothing to see"):
        validate(SceneDescription(), "box.xml")


def test_large_meshes_in_place_are_checked_quickly():
    rng = np.random.default_rng(0)
    positions = tuple(map(tuple, rng.random((50_000, 3)).tolist()))
    indices = tuple(map(tuple, rng.integers(0, 50_000, (100_000, 3)).tolist()))
    validate(_scene(shapes=(model.Mesh(positions=positions, indices=indices),)))
    with pytest.raises(SceneError, match=r"indices\[99999\]"):
        validate(_scene(shapes=(model.Mesh(positions=positions, indices=(*indices[:-1], (0, 1, 50_000))),)))
