"""Materials, colours and textures of Mitsuba scene files."""

from __future__ import annotations

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import (
    Bitmap,
    Checkerboard,
    Conductor,
    Dielectric,
    Diffuse,
    Plastic,
    Principled,
    Sides,
    ThinDielectric,
)
from nrc_tracer.scene.transforms import matrix

SENSOR = '<sensor type="perspective"/>'


def material(read, xml: str, version: str = "3.0.0"):
    """The material read from a bsdf, which must give no warnings."""
    description, warnings = read(f'<sensor type="perspective"/><shape type="sphere">{xml}</shape>', version)
    assert warnings == ()
    return description.materials[description.shapes[0].material]


def test_materials_and_their_defaults(read):
    """Missing parameters have Mitsuba's defaults, and a bsdf has one side unless it is inside `twosided`."""
    assert material(read, "") == Diffuse(reflectance=0.5, two_sided=False)
    assert material(read, '<bsdf type="diffuse"/>') == Diffuse(reflectance=0.5, two_sided=False)
    assert material(read, '<bsdf type="roughdiffuse"/>') == Diffuse(alpha=0.2, two_sided=False)
    assert material(read, '<bsdf type="conductor"/>') == Conductor(eta=0.0, k=1.0, two_sided=False)
    assert material(read, '<bsdf type="roughconductor"/>') == Conductor(
        alpha=0.1, distribution="beckmann", two_sided=False
    )
    assert material(read, '<bsdf type="dielectric"/>') == Dielectric(int_ior=1.5046, ext_ior=1.000277)
    assert material(read, '<bsdf type="thindielectric"/>') == ThinDielectric(int_ior=1.5046, ext_ior=1.000277)
    assert material(read, '<bsdf type="roughdielectric"/>') == Dielectric(alpha=0.1, distribution="beckmann")
    assert material(read, '<bsdf type="plastic"/>') == Plastic(int_ior=1.49, ext_ior=1.000277, two_sided=False)
    assert material(read, '<bsdf type="roughplastic"/>') == Plastic(alpha=0.1, distribution="beckmann", two_sided=False)
    assert material(read, '<bsdf type="twosided"><bsdf type="plastic"/></bsdf>') == Plastic(two_sided=True)
    assert material(read, '<bsdf type="null"/>') == ThinDielectric(int_ior=1.0, ext_ior=1.0)


def test_material_parameters(read):
    """Given parameters are read."""
    plaster = material(
        read,
        '<bsdf type="roughdiffuse"><rgb name="reflectance" value="0.1 0.2 0.3"/><float name="alpha" value="0.4"/>'
        '<boolean name="useFastApprox" value="true"/></bsdf>',
        "0.6.0",
    )
    assert plaster == Diffuse(reflectance=(0.1, 0.2, 0.3), alpha=0.4, qualitative=True, two_sided=False)
    rough = material(
        read,
        '<bsdf type="roughconductor"><float name="alpha_u" value="0.2"/><float name="alpha_v" value="0.3"/>'
        '<string name="distribution" value="ggx"/><rgb name="eta" value="1 2 3"/><rgb name="k" value="4, 5, 6"/>'
        '<rgb name="specular_reflectance" value="0.5"/><string name="material" value="none"/></bsdf>',
    )
    assert rough == Conductor(eta=(1, 2, 3), k=(4, 5, 6), specular_reflectance=0.5, alpha=(0.2, 0.3), two_sided=False)
    plastic = material(
        read,
        '<bsdf type="roughplastic"><string name="int_ior" value="Water"/><float name="ext_ior" value="1"/>'
        '<boolean name="nonlinear" value="true"/><rgb name="diffuse_reflectance" value="#ff0080"/>'
        '<integer name="alpha" value="0"/></bsdf>',
    )
    assert plastic.diffuse_reflectance == pytest.approx((1.0, 0.0, 0.2158605), abs=1e-6)
    assert (plastic.int_ior, plastic.ext_ior, plastic.nonlinear, plastic.alpha) == (1.333, 1.0, True, 0.0)


def test_principled_materials(read):
    """All parameters of both plugins are read, sampling rates are ignored, and a thin surface's diff_trans goes up to 2."""
    assert material(read, '<bsdf type="principled"/>') == Principled(two_sided=False)
    assert material(read, '<bsdf type="principledthin"/>') == Principled(thin=True, two_sided=False)
    names = ["metallic", "roughness", "anisotropic", "spec_tint", "spec_trans", "flatness", "sheen", "sheen_tint"]
    values = {name: round(0.1 + 0.05 * i, 2) for i, name in enumerate([*names, "clearcoat", "clearcoat_gloss"])}
    floats = "".join(f'<float name="{name}" value="{value}"/>' for name, value in values.items())
    color = '<rgb name="base_color" value="0.1 0.2 0.3"/>'
    rate = '<float name="diffuse_reflectance_sampling_rate" value="2"/>'
    solid = f'<bsdf type="principled">{color}{floats}<float name="{{}}" value="{{}}"/>{rate}</bsdf>'
    expected = {"base_color": (0.1, 0.2, 0.3), "two_sided": False, **values}
    assert material(read, solid.format("specular", 0.7)) == Principled(**expected, specular=0.7)
    assert material(read, solid.format("eta", 1.2)) == Principled(**expected, eta=1.2)
    thin = '<bsdf type="principledthin"><float name="diff_trans" value="1.5"/><float name="eta" value="1.3"/></bsdf>'
    assert material(read, thin) == Principled(thin=True, diff_trans=0.75, eta=1.3, two_sided=False)
    assert material(read, f'<bsdf type="twosided"><bsdf type="principled">{color}</bsdf></bsdf>').two_sided


def test_textured_diff_trans_is_halved(read):
    """In Mitsuba, too, the texture's values go up to 2."""
    board = '<texture type="checkerboard" name="diff_trans" id="board"><float name="color0" value="0.8"/></texture>'
    description, warnings = read(f'{SENSOR}<shape type="sphere"><bsdf type="principledthin">{board}</bsdf></shape>')
    assert warnings == ()
    (thin,) = description.materials.values()
    texture = description.textures[thin.diff_trans]
    assert (texture.color1, texture.color0) == (0.4, 0.1)  # for numbers the checkerboard's fields are exchanged


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ('principled"><float name="metallic" value="1.5"/>', r"metallic must lie in \[0, 1\], it is 1.5"),
        ('principled"><float name="specular" value="-1"/>', r"specular must lie in \[0, 1\], it is -1"),
        ('principledthin"><float name="diff_trans" value="2.5"/>', r"diff_trans must lie in \[0, 2\], it is 2.5"),
        ('principled"><float name="eta" value="0"/>', "eta must be > 0, it is 0"),
        ('principled"><float name="eta" value="1"/><float name="specular" value="1"/>', "either eta or specular"),
    ],
)
def test_malformed_principled_materials_are_refused(read, xml, message):
    """A value out of range is reported with its place."""
    with pytest.raises(SceneError, match=rf'scene\.xml:3: bsdf "principled.*{message}'):
        read(f'{SENSOR}\n<shape type="sphere"><bsdf type="{xml}</bsdf></shape>')


def test_transmissive_principled_inside_twosided_is_refused(read):
    """Glass cannot be inside `twosided`, which would mirror one side to the other."""
    glass = '<bsdf type="principled"><float name="spec_trans" value="0.5"/></bsdf>'
    with pytest.raises(SceneError, match="which transmits light"):
        read(f'{SENSOR}<shape type="sphere"><bsdf type="twosided">{glass}</bsdf></shape>')


def test_two_different_sides(read):
    """`twosided` with two bsdfs gives one to each side."""
    description, _ = read(
        SENSOR
        + '<shape type="sphere"><bsdf type="twosided" id="t"><bsdf type="diffuse"/><bsdf type="plastic"/></bsdf></shape>'
    )
    sides = description.materials["t"]
    assert isinstance(sides, Sides)
    assert description.materials[sides.front] == Diffuse()
    assert description.materials[sides.back] == Plastic()


@pytest.mark.parametrize(
    ("xml", "expected", "warning"),
    [
        (
            '<bsdf type="ruffplastic"/>',
            Diffuse(two_sided=False),
            'bsdf "ruffplastic" is not supported (did you mean "roughplastic"?); a grey diffuse one is used',
        ),
        (
            '<bsdf type="diffuse"><rgb name="reflectence" value="0.2"/></bsdf>',
            Diffuse(two_sided=False),
            'bsdf "diffuse" has no parameter "reflectence" (did you mean "reflectance"?); it is ignored',
        ),
        (
            '<bsdf type="diffuse"><texture type="volume" name="reflectance"/></bsdf>',
            Diffuse(two_sided=False),
            'texture "volume" is not supported yet; 0.5 is used',
        ),
    ],
)
def test_unsupported_materials(read, xml, expected, warning):
    """An unsupported plugin is reported with its line, and replaced by a similar one."""
    description, warnings = read(f'{SENSOR}\n<shape type="sphere">\n{xml}</shape>')
    assert description.materials[description.shapes[0].material] == expected
    assert warnings == (f"scene.xml:4: {warning}",)


@pytest.mark.parametrize(
    "xml",
    [
        '<rgb name="radiance" value="1 2 3"/>',
        '<rgb name="radiance" value="2"/>',
        '<float name="radiance" value="2.5"/>',
        '<spectrum name="radiance" value="2.5"/>',
        '<spectrum name="radiance" value="360:2, 830:2"/>',
        '<spectrum name="radiance" value="400:1, 500:5, 600:2, 700:3"/>',
        "",
    ],
)
def test_emitted_colors_agree_with_mitsuba(read, xml):
    """Light given as RGB, number or spectrum has Mitsuba's colour: a flat spectrum is not white."""
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    emitter = f'<emitter type="constant">{xml}</emitter>'
    scene = mi.load_string(f'<scene version="3.0.0">{emitter}</scene>')
    expected = list(scene.environment().eval(mi.SurfaceInteraction3f()))
    description, _ = read(SENSOR + emitter)
    # Mitsuba computes in float32
    np.testing.assert_allclose(np.broadcast_to(description.lights[0].radiance, 3), expected, rtol=1e-5)


@pytest.mark.parametrize("pairs", ["400:.1, 500:.5, 700:.3", "400:.4, 700:.4", "380:0.9, 550:0.2, 780:0.6"])
def test_reflected_colors_agree_with_mitsuba(read, pairs):
    """A reflectance given by wavelengths has Mitsuba's colour."""
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    xml = f'<spectrum name="reflectance" value="{pairs}"/>'
    bsdf = mi.load_string(f'<bsdf version="3.0.0" type="diffuse">{xml}</bsdf>')
    expected = list(bsdf.eval_diffuse_reflectance(mi.SurfaceInteraction3f()))
    description, _ = read(f'{SENSOR}<shape type="sphere"><bsdf type="diffuse">{xml}</bsdf></shape>')
    (diffuse,) = description.materials.values()
    np.testing.assert_allclose(np.broadcast_to(diffuse.reflectance, 3), expected, rtol=1e-5)


def test_bitmap(read, tmp_path):
    """All parameters of a bitmap are read; names are unique even without ids."""
    (tmp_path / "a.png").write_text("")
    texture = '<texture type="bitmap" name="reflectance"><string name="filename" value="a.png"/>{}</texture>'
    more = (
        '<string name="filter_type" value="nearest"/><string name="wrap_mode" value="clamp"/>'
        '<boolean name="raw" value="true"/><transform name="to_uv"><scale x="2" y="3"/></transform>'
    )
    shapes = "".join(
        f'<shape type="sphere"><bsdf type="diffuse">{texture.format(inner)}</bsdf></shape>' for inner in (more, "")
    )
    description, warnings = read(SENSOR + shapes)
    assert warnings == ()
    first, second = (description.materials[shape.material].reflectance for shape in description.shapes)
    texture = description.textures[first]
    assert (texture.file, texture.filter, texture.wrap, texture.raw) == ("a.png", "nearest", "clamp", True)
    np.testing.assert_array_equal(np.diag(matrix(texture.to_uv)), (2, 3, 1, 1))
    assert description.textures[second] == Bitmap(file="a.png")


def test_checkerboard_fields_agree_with_mitsuba(read):
    """color0 is in Mitsuba's fields, both for colours and for numbers such as roughness, where Mitsuba exchanges the two."""
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    colors = '<float name="color0" value="0.1"/><float name="color1" value="0.9"/>'
    theirs = mi.load_string(f'<texture version="3.0.0" type="checkerboard">{colors}</texture>')
    description, _ = read(
        f'{SENSOR}<texture type="checkerboard" id="board">{colors}</texture>'
        '<shape type="sphere"><bsdf type="roughconductor"><ref name="alpha" id="board"/>'
        '<ref name="specular_reflectance" id="board"/></bsdf></shape>'
    )
    (conductor,) = description.materials.values()
    interaction = mi.SurfaceInteraction3f()
    for uv in ((0.2, 0.3), (0.7, 0.3), (-0.2, 0.3), (0.7, 1.8)):
        interaction.uv = uv
        same = (uv[0] % 1 > 0.5) == (uv[1] % 1 > 0.5)
        for name, value in (
            (conductor.specular_reflectance, theirs.eval(interaction)[0]),
            (conductor.alpha, theirs.eval_1(interaction)),
        ):
            board = description.textures[name]
            assert isinstance(board, Checkerboard)
            assert (board.color0 if same else board.color1) == pytest.approx(value)
