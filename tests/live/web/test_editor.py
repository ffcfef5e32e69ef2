"""Changing scenes from pages: undo, changes that the world refuses, moving by a gizmo."""

import numpy as np
import pytest
from msgspec.structs import replace

from nrc_tracer.errors import NrcError
from nrc_tracer.live.edits import MoveShape, SetEmission, SetMaterial
from nrc_tracer.live.web.editor import Editor
from nrc_tracer.live.web.move_panel import movable_names, moved
from nrc_tracer.live.web.scene_panel import _display, _powered
from nrc_tracer.scene.model import (
    Diffuse,
    DirectionalLight,
    PointLight,
    Rotate,
    Scale,
    SceneDescription,
    Sphere,
    SpotLight,
    Translate,
)
from nrc_tracer.scene.transforms import matrix

SCENE = SceneDescription(
    materials={"red": Diffuse(reflectance=0.5)},
    shapes=(
        Sphere(name="ball", material="red", to_world=(Scale(2.0), Translate((1.0, 0.0, 0.0)))),
        Sphere(emission=0.0),
    ),
    lights=(
        PointLight(position=(1.0, 0.0, 0.0)),
        SpotLight(to_world=(Translate((0.0, 3.0, 0.0)),)),
        DirectionalLight((1.0, 0.0, 0.0)),
    ),
)


def quarter_turn(shift):
    """A turn by 90 degrees about +z, and a shift."""
    motion = matrix((Rotate((0.0, 0.0, 1.0), 90.0),))
    motion[:3, 3] = shift
    return motion


def red(reflectance):
    return SetMaterial("red", Diffuse(reflectance=reflectance))


def test_changes_in_quick_succession_are_undone_together():
    time, made = [0.0], []
    editor = Editor(SCENE, made.append, lambda: time[0])
    for reflectance in (0.6, 0.7):
        editor.change(red(reflectance))
        time[0] += 0.1
    time[0] += 2.0
    editor.change(red(0.8))
    assert editor.undo()
    assert editor.description.materials["red"].reflectance == 0.7
    assert editor.undo()
    assert editor.description == SCENE
    assert made[-1] == red(0.5)
    assert not editor.undo()


def test_a_refused_change_leaves_the_editor_with_the_world():
    """Whether it is refused at once or by the world later."""

    def refuse(edit):
        raise NrcError("too many")

    editor = Editor(SCENE, refuse)
    with pytest.raises(NrcError, match="too many"):
        editor.change(red(0.6))
    assert editor.description == SCENE
    assert not editor.undo()

    editor = Editor(SCENE, lambda edit: None)
    editor.change(red(0.6))
    editor.follow(SCENE)
    assert editor.description == SCENE
    assert editor.undo()  # back to what the world has never left
    assert editor.description == SCENE


@pytest.mark.parametrize(
    ("kind", "index", "found"),
    [
        ("position", 0, lambda light: (light.position, (0.0, 2.0, 0.0))),
        ("pose", 1, lambda light: (matrix(light.to_world)[:3, 3], (-3.0, 1.0, 0.0))),
        ("direction", 2, lambda light: (light.direction, (0.0, 1.0, 0.0))),
    ],
)
def test_lights_follow_the_gizmo(kind, index, found):
    motion = quarter_turn((0.0, 1.0, 0.0))
    result, expected = found(moved(SCENE, kind, index, motion).light)
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_shapes_follow_the_gizmo():
    """Their own transform comes first."""
    edit = moved(SCENE, "shape", 0, quarter_turn((0.0, 1.0, 0.0)))
    assert isinstance(edit, MoveShape)
    place = matrix(edit.to_world)
    np.testing.assert_allclose(place[:3, 3], (0.0, 2.0, 0.0), atol=1e-12)
    np.testing.assert_allclose(place[:3, :3] @ (1.0, 0.0, 0.0), (0.0, 2.0, 0.0), atol=1e-12)


def test_what_can_be_moved_has_names_and_emitters_come_first():
    names = movable_names(SCENE)
    assert list(names) == ["light 0", "light 1", "light 2", "shape 1", "ball (0)"]
    assert names["ball (0)"] == ("shape", 0)


def test_a_light_that_is_off_can_be_switched_on():
    """It is white, and 0 stops stand for 1."""
    assert _display((0.0, 0.0, 0.0)) == (255, 255, 255)
    edit = _powered(SCENE, SCENE, "emission", 1, 2.0, (255, 255, 255), 0.0)
    assert edit == SetEmission(1, (2.0, 2.0, 2.0))
    edit = _powered(replace(SCENE), SCENE, "light", 0, 3.0, (0, 255, 0), 0.0)
    assert edit.light.intensity == (0.0, 3.0, 0.0)
