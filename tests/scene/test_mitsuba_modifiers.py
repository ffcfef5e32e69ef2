"""Masks, blends, bump and normal maps and vertex colours of Mitsuba scene files."""

from __future__ import annotations

import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import Blend, Bump, Conductor, Dielectric, Diffuse, NormalMap, Plastic, Sides, VertexColor

SENSOR = '<sensor type="perspective"/>'
TEXTURE = '<texture type="bitmap" name="{}"><string name="filename" value="t.png"/></texture>'


def sphere(bsdf: str) -> str:
    """A sphere with a material."""
    return f'<shape type="sphere">{bsdf}</shape>'


def test_masks_and_blends(read):
    """Masks and blends refer to their nested materials by name."""
    description, warnings = read(
        SENSOR
        + sphere('<bsdf type="mask" id="m"><bsdf type="twosided"><bsdf type="plastic"/></bsdf></bsdf>')
        + sphere(f'<bsdf type="mask" id="n">{TEXTURE.format("opacity")}<bsdf type="diffuse" id="d"/></bsdf>')
        + sphere(
            '<bsdf type="blendbsdf" id="b"><float name="weight" value="0.25"/>'
            '<bsdf type="dielectric" id="g"/><bsdf type="conductor" id="c"/></bsdf>'
        )
    )
    assert warnings == ()
    materials = description.materials
    assert (materials[materials["m"].material], materials["m"].opacity) == (Plastic(), 0.5)
    assert (materials["n"].material, materials["n"].opacity in description.textures) == ("d", True)
    assert materials["d"] == Diffuse(two_sided=False)
    assert materials["b"] == Blend(materials=("g", "c"), weight=0.25)
    assert (type(materials["g"]), type(materials["c"])) == (Dielectric, Conductor)


def test_maps(read):
    """The texture of a bump map may have any name; a map inside `twosided` is applied to each side as to a front."""
    bump = (
        f'<bsdf type="bumpmap">{TEXTURE.format("anything")}<float name="scale" value="3"/><bsdf type="plastic"/></bsdf>'
    )
    normals = f'<bsdf type="normalmap" id="n">{TEXTURE.format("normalmap")}<bsdf type="diffuse" id="d"/></bsdf>'
    description, warnings = read(SENSOR + sphere(f'<bsdf type="twosided" id="t">{bump}</bsdf>') + sphere(normals))
    assert warnings == ()
    materials = description.materials
    sides = materials["t"]
    assert isinstance(sides, Sides)
    assert sides.front == sides.back
    front = materials[sides.front]
    assert isinstance(front, Bump)
    assert (front.scale, front.texture in description.textures) == (3.0, True)
    assert materials[front.material] == Plastic()
    assert isinstance(materials["n"], NormalMap)
    assert (materials["n"].material, materials["n"].texture in description.textures) == ("d", True)


def test_unsupported_maps_are_left_out(read):
    """With an unsupported texture the material has no map, and unsupported options give warnings."""
    volume = '<texture type="volume" name="x"/>'
    description, warnings = read(SENSOR + sphere(f'<bsdf type="bumpmap" id="b">{volume}<bsdf type="plastic"/></bsdf>'))
    assert description.materials["b"] == Plastic(two_sided=False)
    assert len(warnings) == 1
    assert 'texture "volume" is not supported yet' in warnings[0]
    option = '<boolean name="use_shadowing_function" value="false"/>'
    _, warnings = read(
        SENSOR + sphere(f'<bsdf type="normalmap">{option}{TEXTURE.format("normalmap")}<bsdf type="plastic"/></bsdf>')
    )
    assert len(warnings) == 1
    assert "use_shadowing_function cannot be turned off" in warnings[0]


def test_a_constant_normal_map(read):
    """A normal map of one colour is a texture of one texel, not an error; a bump map of constant height changes nothing."""
    normal = '<texture type="rawconstant" name="normalmap"><vector name="value" value="0.5, 0.5, 1"/></texture>'
    description, warnings = read(
        SENSOR + sphere(f'<bsdf type="normalmap" id="n">{normal}<bsdf type="plastic"/></bsdf>')
    )
    assert warnings == ()
    texture = description.textures[description.materials["n"].texture]
    assert (type(texture).__name__, texture.raw, texture.file[0]) == ("Bitmap", True, "#")
    height = '<texture type="rawconstant" name="a"><float name="value" value="0.5"/></texture>'
    description, warnings = read(SENSOR + sphere(f'<bsdf type="bumpmap" id="b">{height}<bsdf type="plastic"/></bsdf>'))
    assert warnings == ()
    assert description.materials["b"] == Plastic(two_sided=False)


def test_vertex_colors(read):
    """The attribute of a mesh that a material looks up becomes its colours; a sphere has none, which gives a warning."""
    xml = (
        '<bsdf type="diffuse" id="d"><texture type="mesh_attribute" name="reflectance" id="v">'
        '<string name="name" value="NAME"/><float name="scale" value="0.5"/></texture></bsdf>'
    )
    mesh = '<shape type="ply"><string name="filename" value="a.ply"/>{}</shape>'
    description, warnings = read(SENSOR + mesh.format(xml.replace("NAME", "vertex_color")))
    assert warnings == ()
    assert description.shapes[0].color_attribute == "vertex_color"
    assert description.textures == {"v": VertexColor(factor=0.5)}
    assert description.materials["d"].reflectance == "v"
    description, warnings = read(SENSOR + sphere(xml.replace("NAME", "face_heat")))
    assert description.materials["d"].reflectance == "v"
    assert len(warnings) == 1
    assert '"face_heat"' in warnings[0]


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ('<bsdf type="mask"/>', "must contain one bsdf, it contains 0"),
        ('<bsdf type="blendbsdf"><bsdf type="diffuse"/><bsdf type="diffuse"/></bsdf>', "needs weight"),
        (
            '<bsdf type="blendbsdf"><float name="weight" value="0.5"/><bsdf type="diffuse"/></bsdf>',
            "must contain 2 bsdfs, it contains 1",
        ),
        ('<bsdf type="bumpmap"><bsdf type="diffuse"/></bsdf>', "must contain one texture, it contains 0"),
        ('<bsdf type="normalmap"><bsdf type="diffuse"/></bsdf>', "needs the texture normalmap"),
        (
            '<bsdf type="twosided"><bsdf type="mask"><bsdf type="dielectric"/></bsdf></bsdf>',
            'cannot contain a bsdf "mask", which transmits light',
        ),
    ],
)
def test_malformed_modifiers_are_refused(read, xml, message):
    """A modifier with too few or wrong parts is an error."""
    with pytest.raises(SceneError, match=message):
        read(SENSOR + sphere(xml))
