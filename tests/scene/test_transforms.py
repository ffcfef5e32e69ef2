"""Transforms compared with those of Mitsuba, and impossible ones."""

from __future__ import annotations

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import LookAt, Matrix, Rotate, Scale, Translate
from nrc_tracer.scene.transforms import matrix


def test_steps_apply_in_order():
    """The first step is applied first: a scale before a translation does not scale the translation."""
    point = np.array((1.0, 0.0, 0.0, 1.0))
    scaled_then_moved = matrix((Scale(value=2), Translate(value=(0, 0, 1))))
    moved_then_scaled = matrix((Translate(value=(0, 0, 1)), Scale(value=2)))
    np.testing.assert_array_equal(scaled_then_moved @ point, (2, 0, 1, 1))
    np.testing.assert_array_equal(moved_then_scaled @ point, (2, 0, 2, 1))
    np.testing.assert_array_equal(matrix(()), np.eye(4))


def test_rotation_is_counter_clockwise():
    """A quarter turn about z takes x to y, whatever the length of the axis."""
    np.testing.assert_allclose(
        matrix((Rotate(axis=(0, 0, 1e-200), angle=90),))[:3, :3] @ (1, 0, 0), (0, 1, 0), atol=1e-15
    )


@pytest.mark.parametrize("up", [(0, 1, 0), (1, 5, -2), (0, 0, 3)])
def test_look_at_agrees_with_mitsuba(up):
    """look_at equals that of Mitsuba; it looks along +z, with +x to the left."""
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    origin, target = (1.0, 2.0, 3.0), (-2.0, 0.5, 4.0)
    ours = matrix((LookAt(origin=origin, target=target, up=up),))
    theirs = mi.ScalarTransform4d().look_at(origin=list(origin), target=list(target), up=list(up)).matrix
    np.testing.assert_allclose(ours, np.array(theirs), atol=1e-12)
    forward = np.subtract(target, origin)
    np.testing.assert_allclose(ours[:3, 2], forward / np.linalg.norm(forward))
    assert np.dot(np.cross(up, forward), ours[:3, 0]) > 0


IDENTITY_ROWS = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))


def test_tiny_and_flat_scales_are_not_singular():
    """A map with small numbers is not singular."""
    tiny = matrix((Scale(value=1e-9),))
    flat = matrix((Scale(value=(1, 1e-9, 1)), Rotate(axis=(1, 1, 1), angle=20)))
    np.testing.assert_allclose(np.linalg.det([tiny, flat]), [1e-27, 1e-9], rtol=1e-6)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Rotate(axis=(0, 0, 0), angle=10), "axis is zero"),
        (LookAt(origin=(1, 2, 3), target=(1, 2, 3)), "target is the origin, 1 2 3"),
        (LookAt(origin=(0, 0, 0), target=(0, 2, 0)), "parallel"),
        (LookAt(origin=(0, 0, 0), target=(0, 0, 1), up=(0, 0, 0)), "up vector is zero"),
        (Scale(value=(1, 0, 1)), "singular"),
        (Scale(value=float("nan")), "not finite"),
        (Matrix(value=(*IDENTITY_ROWS, (0, 0, 1, 1))), "last row must be 0 0 0 1, not 0 0 1 1"),
        (Matrix(value=(IDENTITY_ROWS[0], IDENTITY_ROWS[0], IDENTITY_ROWS[2], (0, 0, 0, 1))), "singular"),
    ],
)
def test_impossible_steps_are_refused(step, message):
    """An impossible step is an error with the reason."""
    with pytest.raises(SceneError, match=message):
        matrix((step,))
