"""Mitsuba files with a single mistake, or of older versions, are read as by Mitsuba or the older version."""

import mitsuba as mi
import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import Blend, Conductor, Diffuse, Plastic

SENSOR = '<sensor type="perspective"/>'
LAMP = '<emitter type="area" id="lamp"><rgb name="radiance" value="5 4 3"/></emitter>'


def sphere(bsdf: str) -> str:
    return f'{SENSOR}<shape type="sphere">{bsdf}</shape>'


def material(read, bsdf: str, version: str = "3.0.0"):
    """The material of a sphere, all materials, and the warnings."""
    description, warnings = read(sphere(bsdf), version)
    return description.materials[description.shapes[0].material], description, warnings


@pytest.mark.parametrize("lamp_first", [False, True])
def test_an_area_emitter_can_be_used_by_several_shapes(read, lamp_first):
    """A top-level area emitter with an id emits from each shape that refers to it, and is no light by itself."""
    shapes = '<shape type="rectangle"><ref id="lamp"/></shape><shape type="disk"><ref id="lamp"/></shape>'
    description, warnings = read(SENSOR + (LAMP + shapes if lamp_first else shapes + LAMP))
    assert [shape.emission for shape in description.shapes] == [(5.0, 4.0, 3.0)] * 2
    assert description.lights == ()
    assert warnings == ()


def test_an_area_emitter_outside_of_shapes(read):
    """Without a reference it emits nothing, which gives a warning; without an id it cannot be referred to, which is an error."""
    description, warnings = read(SENSOR + LAMP)
    assert description.lights == ()
    assert warnings == ('scene.xml:2: emitter "area" "lamp" is in no shape and emits nothing; it is left out',)
    with pytest.raises(SceneError, match="must be inside the shape"):
        read(SENSOR + '<emitter type="area"/>')


def test_a_negative_index_of_refraction_loses_its_sign(read):
    """A negative component is corrected without changing the colour: Mitsuba's reflectance depends only on its square."""
    xml = '<bsdf type="conductor"><rgb name="eta" value="ETA"/><rgb name="k" value="K"/></bsdf>'
    found, _, warnings = material(read, xml.replace("ETA", "-0.5 4 4.5").replace("K", "2 -0.1 1"))
    assert found == Conductor(eta=(0.5, 4.0, 4.5), k=(2.0, 0.1, 1.0), two_sided=False)
    assert [warning.split(": ", 1)[1] for warning in warnings] == [
        'bsdf "conductor": eta is negative (-0.5 4 4.5); its absolute value is used',
        'bsdf "conductor": k is negative (2 -0.1 1); its absolute value is used',
    ]
    mi.set_variant("scalar_rgb")
    values = []
    for eta, k in (([-0.5, 4, 4.5], [2, -0.1, 1]), ([0.5, 4, 4.5], [2, 0.1, 1])):
        parts = {name: {"type": "rgb", "value": value} for name, value in (("eta", eta), ("k", k))}
        scene = mi.load_dict(
            {
                "type": "scene",
                "shape": {"type": "rectangle", "bsdf": {"type": "conductor", **parts}},
                "sky": {"type": "constant"},
                "integrator": {"type": "path"},
                "sensor": {
                    "type": "orthographic",
                    "to_world": mi.ScalarTransform4f().look_at([0, 0, 3], [0, 0, 0], [0, 1, 0]),
                    "film": {"type": "hdrfilm", "width": 1, "height": 1, "rfilter": {"type": "box"}},
                },
            }
        )
        values.append(np.array(mi.render(scene, spp=1)))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "expected", "problem"),
    [
        ("2", 1.0, "must not exceed 1, it is 2; it is clamped"),
        ("0 -1 0", (0.0, 0.0, 0.0), "must not be negative, it is 0 -1 0; it is clamped"),
        ("0.5 1.5 0", (0.5, 1.0, 0.0), "must not exceed 1, it is 0.5 1.5 0; it is clamped"),
    ],
)
def test_colours_out_of_range_are_clamped(read, value, expected, problem):
    """A colour out of range is no reason to refuse a scene."""
    found, _, warnings = material(read, f'<bsdf type="diffuse"><rgb name="reflectance" value="{value}"/></bsdf>')
    assert found == Diffuse(reflectance=expected, two_sided=False)
    assert warnings == (f'scene.xml:2: bsdf "diffuse": reflectance {problem}',)


def test_a_negative_spectrum_is_clamped(read):
    """A spectrum given as a plugin is clamped, too."""
    description, warnings = read(
        f'{SENSOR}<emitter type="constant"><spectrum type="rgb" name="radiance"><rgb name="color" value="1 -1 2"/>'
        "</spectrum></emitter>"
    )
    assert description.lights[0].radiance == (1.0, 0.0, 2.0)
    assert "must not be negative" in warnings[0]


def test_a_spectrum_of_three_numbers_is_rgb_in_old_formats(read):
    """Mitsuba 0.5 and 0.6, built for RGB, read three values of a <spectrum> as RGB; format 3 does not allow them."""
    xml = '<bsdf type="diffuse"><spectrum name="reflectance" value="0.5, 0, 0.25"/></bsdf>'
    for version in ("0.5.0", "0.6.0"):
        found, _, warnings = material(read, xml, version)
        assert found == Diffuse(reflectance=(0.5, 0.0, 0.25), two_sided=False)
        assert warnings == ()
    with pytest.raises(SceneError, match=r'"0\.5" is not a pair wavelength:value'):
        material(read, xml)


def test_the_reflectance_of_an_unknown_bsdf_is_kept(read):
    """The diffuse material that replaces it has the same colour or texture."""
    xml = '<bsdf type="hairy"><rgb name="reflectance" value="0.1 0.2 0.3"/></bsdf>'
    found, _, warnings = material(read, xml)
    assert found == Diffuse(reflectance=(0.1, 0.2, 0.3), two_sided=False)
    assert "a diffuse one with its reflectance is used" in warnings[0]
    xml = '<bsdf type="hairy"><texture type="checkerboard" name="diffuse_reflectance" id="c"/></bsdf>'
    found, description, _ = material(read, f'<bsdf type="twosided">{xml}</bsdf>')
    assert found == Diffuse(reflectance="c", two_sided=True)
    assert list(description.textures) == ["c"]


def test_the_bsdfs_in_an_unknown_one_are_kept(read):
    """A coating is replaced by the coated material; a mixture of three keeps its parts and weights."""
    found, _, warnings = material(read, '<bsdf type="coating"><bsdf type="plastic"/></bsdf>')
    assert found == Plastic(two_sided=False)
    assert 'the bsdf "plastic" in it is used' in warnings[0]
    part = '<bsdf type="diffuse" id="NAME"><rgb name="reflectance" value="NAME"/></bsdf>'
    parts = "".join(part.replace("NAME", name) for name in ("0.1", "0.2", "0.4"))
    for weights, expected in (('<string name="weights" value="0.5, 0.25, 0.25"/>', 0.2), ("", 0.7 / 3)):
        found, description, warnings = material(read, f'<bsdf type="mixturebsdf">{weights}{parts}</bsdf>')
        assert "the bsdfs in it are mixed" in warnings[0]

        def mean(part, materials=description.materials):
            if isinstance(part, Blend):
                first, second = (mean(materials[name]) for name in part.materials)
                return first * (1.0 - part.weight) + second * part.weight
            return part.reflectance

        assert mean(found) == pytest.approx(expected)


RED = '<rgb name="reflectance" value="1 0 0"/>'
GREEN = '<texture type="checkerboard" name="reflectance" id="squares"/>'


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (RED + '<rgb name="reflectance" value="0.5"/>', 0.5),
        (RED + GREEN, "squares"),
        (GREEN + RED, (1.0, 0.0, 0.0)),
        ('<texture type="checkerboard" name="reflectance" id="other"/>' + GREEN, "squares"),
        ('<ref name="reflectance" id="gone_later"/>' + RED, (1.0, 0.0, 0.0)),
        (RED + '<ref name="reflectance" id="gone_later"/>', "gone_later"),
    ],
)
def test_of_a_parameter_given_twice_the_last_value_is_used(read, given, expected):
    """The reader follows Mitsuba 0.6 here; later versions of Mitsuba refuse such a file."""
    top = '<texture type="checkerboard" id="gone_later"/>'
    description, warnings = read(top + sphere(f'<bsdf type="diffuse">{given}</bsdf>'))
    found = description.materials[description.shapes[0].material]
    assert found == Diffuse(reflectance=expected, two_sided=False)
    assert warnings == ('scene.xml:2: bsdf "diffuse" has "reflectance" twice (also in line 2); the last one is used',)


def test_nested_objects_may_share_a_name(read):
    """The materials of a mixture are no values of one parameter."""
    parts = '<bsdf type="diffuse" name="bsdf"/><bsdf type="plastic" name="bsdf"/>'
    found, _, _ = material(read, f'<bsdf type="blendbsdf"><float name="weight" value="0.5"/>{parts}</bsdf>')
    assert isinstance(found, Blend)
    assert len(set(found.materials)) == 2


@pytest.mark.parametrize("plugin", ["roughconductor", "roughdielectric", "roughplastic"])
@pytest.mark.parametrize("distribution", ["phong", "as"])
def test_distributions_of_older_formats_become_beckmann(read, plugin, distribution):
    """Their roughness was made to match that of Beckmann's distribution."""
    xml = f'<bsdf type="{plugin}"><string name="distribution" value="{distribution}"/><float name="alpha" value="0.2"/></bsdf>'
    found, _, warnings = material(read, xml, "0.6.0")
    assert (found.distribution, found.alpha) == ("beckmann", 0.2)
    assert warnings == (
        f'scene.xml:2: bsdf "{plugin}": distribution "{distribution}" is not supported; beckmann is used',
    )


def test_hints_have_no_empty_names(read):
    """The list of known names in a warning omits children without a name, such as a bump map's texture."""
    _, _, warnings = material(
        read,
        '<bsdf type="bumpmap"><bsdf type="diffuse"/><texture type="checkerboard"/><float name="zzz" value="1"/></bsdf>',
    )
    assert "zzz" in warnings[0]
    assert "known: ," not in warnings[0]
