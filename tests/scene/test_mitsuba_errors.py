"""Malformed Mitsuba scene files give one-line errors with file and line number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.mitsuba import read_mitsuba

SENSOR = '<sensor type="perspective"/>'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            '<shape type="sphere"><ref id="wod"/></shape><bsdf type="diffuse" id="wood"/>',
            'no.*"wod" .did you mean "wood"',
        ),
        ('<shape type="obj"/>', 'shape "obj" needs filename'),
        ('<shape type="obj"><string name="file_name" value="a"/></shape>', 'needs filename .did you mean "file_name"'),
        ('<shape type="obj"><string name="filename" value="a.ply"/></shape>', "must end in .obj"),
        ("<shape/>", '<shape> needs the attribute "type"'),
        ('<shap type="sphere"/>', 'unknown element <shap> .did you mean "shape"'),
        ('<shape type="sphere" typ="x"/>', 'no attribute "typ" .did you mean "type"'),
        ('<shape type="sphere"><float name="radius" value="big"/></shape>', 'radius must be a number, not "big"'),
        ('<shape type="sphere"><float name="radius" value="nan"/></shape>', "radius must be a number"),
        ('<shape type="sphere"><float name="radius" value="0"/></shape>', "radius must be > 0"),
        ('<shape type="sphere"><float name="radius"/></shape>', '<float> needs the attribute "value"'),
        ('<shape type="sphere"><rgb name="radius" value="1"/></shape>', "radius must be a number, not a rgb"),
        ('<shape type="sphere"><point name="center" x="1"/></shape>', "center needs x, y and z"),
        ('<shape type="sphere"><point name="center" value="1 2"/></shape>', "must have 1 or 3 numbers, not 2"),
        ('<shape type="sphere"><boolean name="flip_normals" value="1"/></shape>', 'must be "true" or "false"'),
        ('<shape type="sphere" id="a"/><shape type="cube" id="a"/>', 'the id "a" is taken by'),
        ('<shape type="sphere"><transform name="to_world"><matrix value="1 2 3"/></transform></shape>', "not 3"),
        ('<shape type="sphere"><transform name="to_world"><scale value="0"/></transform></shape>', "singular"),
        ('<shape type="sphere"><transform name="to_world"><rotate angle="3"/></transform></shape>', "axis is zero"),
        (
            '<shape type="sphere"><transform name="to_world"><rotate x="1"/></transform></shape>',
            'needs the attribute "angle"',
        ),
        ('<shape type="sphere"><transform name="to_world"><shear x="1"/></transform></shape>', "<shear> is not a part"),
        (
            '<shape type="sphere"><transform name="to_world"><lookat origin="0 0 0" target="0 0 0"/></transform></shape>',
            "target is the origin",
        ),
        ('<bsdf type="diffuse" id="a"><rgb name="reflectance" value="1 2"/></bsdf>', "must have 1 or 3 numbers"),
        ('<bsdf type="diffuse" id="a"><rgb name="reflectance" value="#12345"/></bsdf>', "#rrggbb"),
        (
            '<bsdf type="diffuse" id="a"><spectrum name="reflectance" value="400:1 300:1"/></bsdf>',
            "must be in ascending order",
        ),
        (
            '<bsdf type="diffuse" id="a"><bsdf type="diffuse" name="reflectance"/></bsdf>',
            "must be a colour or a texture",
        ),
        ('<bsdf type="twosided" id="a"/>', "one or two bsdfs, it contains 0"),
        (
            '<bsdf type="twosided" id="a"><bsdf type="dielectric"/></bsdf>',
            "cannot contain a bsdf .*, which transmits light",
        ),
        ('<bsdf type="twosided" id="a"><ref id="a"/></bsdf>', "refers to itself"),
        ('<bsdf type="dielectric" id="a"><string name="int_ior" value="bk8"/></bsdf>', '"bk8" .did you mean "bk7"'),
        ('<bsdf type="roughconductor" id="a"><float name="alpha_u" value="1"/></bsdf>', "either alpha, or alpha_u"),
        ('<bsdf type="roughplastic" id="a"><string name="distribution" value="gx"/></bsdf>', 'did you mean "ggx"'),
        (
            '<bsdf type="diffuse" id="a"><texture type="bitmap" name="reflectance"/></bsdf>',
            'texture "bitmap" needs filename',
        ),
        ('<emitter type="area"/>', "must be inside the shape"),
        ('<emitter type="constant"/><emitter type="constant"/>', "takes only one constant light or environment map"),
        ('<emitter type="spot"><float name="cutoff_angle" value="100"/></emitter>', r"must lie in \(0, 90\]"),
        ('<sensor type="perspective"><float name="fov" value="180"/></sensor>', "fov must lie in"),
        (
            '<sensor type="perspective"><string name="focal_length" value="long"/></sensor>',
            "focal_length must be a length such as",
        ),
        ('<sensor type="thinlens"/>', "needs aperture_radius"),
        (
            '<sensor type="perspective"><film type="hdrfilm"><integer name="width" value="1.5"/></film></sensor>',
            'width must be an integer, not "1.5"',
        ),
        (
            '<sensor type="perspective"><film type="hdrfilm"><integer name="crop_width" value="9999"/></film></sensor>',
            "crop window .* is not inside 768 x 576",
        ),
        ('<integrator type="path"><integer name="max_depth" value="-2"/></integrator>', "max_depth must be -1"),
        ('<shape type="sphere" id="$spq"/><default name="spp" value="1"/>', 'parameter "\\$spq" has no value'),
        ('<include filename="gone.xml"/>', 'there is no file "gone.xml"'),
        ('<include filename="scene.xml"/>', "files include each other"),
        ('<path value="gone"/>', 'there is no folder "gone"'),
        ('<alias id="gone" as="b"/>', 'nothing with the id "gone"'),
        ('<float name="x" value="1"><rgb name="y" value="1"/></float>', "cannot contain other elements"),
        ("<shape type='sphere'>", "not well-formed XML"),
    ],
)
def test_errors_name_file_and_line(read, body, message):
    """Every error in line 3 gives a one-line message with scene.xml:3 and the problem."""
    with pytest.raises(SceneError, match=message) as error:
        read("\n" + body if "not well-formed" not in message else body)
    text = str(error.value)
    assert "\n" not in text
    assert ("scene.xml:3:" if "not well-formed" not in message else "scene.xml:") in text


def test_errors_of_the_whole_file(tmp_path, read):
    """Versions, document types, unused parameters and missing files are checked."""
    path = tmp_path / "scene.xml"
    for text, message in (
        ("<scene/>", "needs the attribute .version."),
        ('<scene version="new"/>', "not a version"),
        ('<shape version="3.0.0" type="sphere"/>', "contains a <shape>, not a <scene>"),
        ('<!DOCTYPE s [<!ENTITY e "x">]><scene version="3.0.0"/>', "document type"),
        ("", "not well-formed"),
        ("\0\1\2", "not well-formed"),
    ):
        path.write_text(text)
        with pytest.raises(SceneError, match=message):
            read_mitsuba(path)
    with pytest.raises(SceneError, match=r'no parameter "\$sp" \(did you mean "spp"\?\)'):
        read(f'{SENSOR}<default name="spp" value="4"/>', sp="5")
    with pytest.raises(SceneError, match=r"gone\.xml: cannot be read"):
        read_mitsuba(Path(tmp_path / "gone.xml"))


def test_entities_are_not_expanded(tmp_path):
    """An entity never reads a file or the network, whatever the encoding."""
    path = tmp_path / "scene.xml"
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE s [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    path.write_bytes((text + '<scene version="3.0.0"><shape type="sphere" id="a">&e;</shape></scene>').encode("utf-16"))
    with pytest.raises(SceneError, match="document type"):
        read_mitsuba(path)


WORDS = (
    "",
    "0",
    "-1",
    "nan",
    "1e999",
    "$x",
    "#fff",
    "1 2",
    "400:1",
    "obj",
    "9" * 30,
    "twosided",
    "to_world",
    "rgb",
    "float",
    "x" * 300,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(WORDS)), max_size=4))
def test_edited_scenes_are_read_or_refused(tmp_path, edits):
    """Replacing any word of a scene gives a description, or a one-line SceneError with the file's name."""
    text = (
        '<scene version="3.0.0"><default name="x" value="4"/><integrator type="path"><integer name="max_depth" value="$x"/>'
        '</integrator><sensor type="thinlens"><float name="aperture_radius" value="0.1"/><film type="hdrfilm">'
        '<integer name="width" value="32"/><rfilter type="tent"/></film></sensor><bsdf type="twosided" id="a">'
        '<bsdf type="roughconductor"><texture type="checkerboard" name="alpha"><rgb name="color0" value="1 2 3"/></texture>'
        '<spectrum name="eta" value="400:1, 700:2"/></bsdf></bsdf><shape type="obj"><string name="filename" value="a.obj"/>'
        '<transform name="to_world"><lookat origin="0 0 0" target="1 0 0" up="0 1 0"/><scale value="2"/></transform>'
        '<ref id="a"/><emitter type="area"><rgb name="radiance" value="1"/></emitter></shape></scene>'
    )
    words = re.split(r"(\w+|\"[^\"]*\")", text)
    for place, word in edits:
        place = 2 * (place % (len(words) // 2)) + 1
        words[place] = f'"{word}"' if words[place].startswith('"') else word
    path = tmp_path / "scene.xml"
    path.write_text("".join(words))
    problem = None
    try:
        read_mitsuba(path)
    except SceneError as error:
        problem = str(error)
    if problem is not None:
        assert problem.startswith(str(path))
        assert "\n" not in problem
