"""Groups and instances of Mitsuba scenes."""

from __future__ import annotations

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.instances import placed_shapes
from nrc_tracer.scene.model import Cube, Instance, Sphere
from nrc_tracer.scene.transforms import matrix

SENSOR = '<sensor type="perspective"/>'
GROUP = (
    '<shape type="shapegroup" id="pair"><shape type="cube" id="box"><transform name="to_world"><translate x="1"/></transform>'
    '</shape><shape type="sphere"><bsdf type="plastic"/></shape></shape>'
)


def instance(transform: str = "", held: str = '<ref id="pair"/>') -> str:
    """An instance with a transform."""
    return f'<shape type="instance">{held}<transform name="to_world">{transform}</transform></shape>'


def test_instances(read):
    """A group is read once, and its shapes have the places of Mitsuba's; a group can also be inside the instance."""
    description, warnings = read(
        SENSOR
        + instance('<scale value="2"/><rotate y="1" angle="30"/>')
        + GROUP
        + instance('<translate y="5"/>')
        + instance("", '<shape type="shapegroup"><shape type="cube"/></shape>')
    )
    assert warnings == ()
    assert [type(shape) for shape in description.shapes] == [Instance] * 3
    assert [len(group) for group in description.groups.values()] == [2, 1]
    assert [type(shape) for shape in description.groups["pair"]] == [Cube, Sphere]
    placed = list(placed_shapes(description))
    assert len(placed) == 5
    # the shape's own transform is applied first
    np.testing.assert_allclose(matrix(placed[0].shape.to_world) @ (0, 0, 0, 1), (3**0.5, 0, -1, 1), atol=1e-12)
    np.testing.assert_allclose(matrix(placed[2].shape.to_world) @ (0, 0, 0, 1), (1, 5, 0, 1))
    assert placed[0].prototype is placed[2].prototype


def test_places_of_instances_agree_with_mitsuba(read):
    """The bounding box of the instances is the same as in Mitsuba."""
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    cube = '<shape type="shapegroup" id="pair"><shape type="cube"><transform name="to_world"><rotate z="1" angle="20"/>'
    body = cube + '<translate x="3"/></transform></shape></shape>'
    body += instance('<scale x="2" y="1" z="0.5"/><rotate x="0.5" y="1" angle="70"/><translate z="4"/>')
    box = mi.load_string(f'<scene version="3.0.0">{body}</scene>').bbox()
    (placed,) = placed_shapes(read(SENSOR + body)[0])
    corners = np.array([(x, y, z, 1) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    points = (corners @ matrix(placed.shape.to_world).T)[:, :3]
    # Mitsuba's box is that of the transformed box around the group
    assert np.all(points.min(axis=0) >= np.array(box.min) - 1e-5)
    assert np.all(points.max(axis=0) <= np.array(box.max) + 1e-5)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (instance("", ""), 'must contain \\(or refer to\\) one shape "shapegroup"'),
        (instance("", '<shape type="cube"/>'), 'one shape "shapegroup" and nothing else'),
        (instance("", '<ref id="pair"/><bsdf type="diffuse"/>') + GROUP, "and nothing else"),
        (GROUP.replace('"sphere"', '"instance"'), 'cannot contain another shape "instance"'),
        (GROUP.replace('<bsdf type="plastic"/>', '<emitter type="area"/>'), "cannot contain an emitting shape"),
    ],
)
def test_impossible_groups_are_refused(read, body, message):
    """Groups that Mitsuba refuses are refused, with file and line."""
    with pytest.raises(SceneError, match=rf"scene\.xml:2: .*{message}"):
        read(SENSOR + body)


def test_other_elements_in_a_group_are_left_out(read):
    """Other elements in a group are left out with a warning."""
    description, warnings = read(
        SENSOR + GROUP.replace('<shape type="cube"', '<bsdf type="diffuse"/><shape type="cube"')
    )
    assert len(description.groups["pair"]) == 2
    assert 'bsdf "diffuse" cannot be part of shape "shapegroup"' in warnings[0]
