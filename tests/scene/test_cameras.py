"""Choosing one of a scene's cameras, by name or number."""

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.cameras import choose_camera
from nrc_tracer.scene.model import Orthographic, Perspective, SceneDescription

FRONT, SIDE, SEVEN = Perspective(fov=30.0), Orthographic(), Perspective(fov=70.0)
SCENE = SceneDescription(camera=FRONT, cameras={"side": SIDE, "front": FRONT, "0": SEVEN})


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (None, FRONT),
        ("side", SIDE),
        (1, FRONT),
        ("1", FRONT),
        ("2", SEVEN),
        ("0", SEVEN),
        (0, SIDE),
        (SEVEN, SEVEN),
        (np.int64(1), FRONT),
    ],
)
def test_a_camera_name_precedes_its_number(which, expected):
    assert choose_camera(SCENE, which) is expected


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("sid", r'no camera "sid" \(did you mean "side"\? known: 0, front, side\)'),
        ("xyz", r'no camera "xyz" \(known: 0, front, side\)'),
        (3, r'no camera 3 \(known: 0 "side", 1 "front", 2 "0"\)'),
        ("-1", "no camera -1 "),
    ],
)
def test_an_unknown_camera_is_an_error_that_lists_the_cameras(which, message):
    with pytest.raises(SceneError, match=message):
        choose_camera(SCENE, which)


def test_a_scene_with_one_camera():
    scene = SceneDescription(camera=SIDE)
    assert choose_camera(scene, 0) is SIDE
    assert choose_camera(scene, "camera") is SIDE
    with pytest.raises(SceneError, match=r'no camera 1 \(known: 0 "camera"\)'):
        choose_camera(scene, 1)
