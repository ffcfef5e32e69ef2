"""Materials of OBJ files: statements of .mtl files give the closest material, and missing files give warnings."""

import math

import numpy as np
import pytest
from PIL import Image

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.convert import write_scene
from nrc_tracer.scene.fitted import SOFT_SKY
from nrc_tracer.scene.load import load_scene
from nrc_tracer.scene.model import (
    Bitmap,
    Bump,
    Conductor,
    Dielectric,
    Diffuse,
    Mask,
    NormalMap,
    Plastic,
    Principled,
    VertexColor,
)
from nrc_tracer.scene.summary import summarize
from nrc_tracer.scene.transforms import matrix

VERTICES = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"


@pytest.fixture
def load(tmp_path):
    """A function that loads a square with material `m` of a library, and further files by name."""

    def loader(mtl: str, obj: str = "mtllib a.mtl\nusemtl m\nf 1/1 2/2 3/3 4/4\n", *, strict: bool = True):
        (tmp_path / "a.mtl").write_text(mtl)
        (tmp_path / "a.obj").write_text(VERTICES + obj)
        return load_scene(tmp_path / "a.obj", strict=strict)

    return loader


def material(scene, name: str = "m"):
    return scene.description.materials[name]


def picture(path, mean, size: int = 4, mode: str = "RGB") -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new(mode, (size, size), mean).save(path)


def test_one_mesh_for_each_material_used(load):
    """Faces before the first usemtl are grey; negative indices and polygons keep their materials."""
    mtl = "newmtl red paint\nKd 1 0 0\nnewmtl m#2\nKd 0 1 0\nnewmtl unused\nKd 0 0 1\n"
    obj = (
        "f 1 2 3\nmtllib a.mtl\nusemtl red paint # wet\nf 1 2 3 4\nusemtl m#2\nf -4 -3 -2\nusemtl red paint\nf 2 3 4\n"
    )
    scene = load(mtl, obj)
    shapes = {shape.name: shape for shape in scene.description.shapes}
    assert {name: len(scene.meshes[shape.file].indices) for name, shape in shapes.items()} == {
        "surface": 1,
        "red paint": 3,
        "m#2": 1,
    }
    assert material(scene, "red paint") == Diffuse(reflectance=(1.0, 0.0, 0.0))
    assert material(scene, "m#2") == Diffuse(reflectance=(0.0, 1.0, 0.0))
    assert material(scene, "surface") == Diffuse(reflectance=0.5)
    assert "unused" not in scene.description.materials
    red = scene.meshes[shapes["red paint"].file]
    corners = {tuple(map(tuple, red.positions[t].tolist())) for t in red.indices}
    assert ((1, 0, 0), (1, 1, 0), (0, 1, 0)) in corners
    assert "it has 2 materials of its .mtl" in scene.notes[0]


def test_phong_gives_the_most_similar_material(load):
    alpha = math.sqrt(2.0 / 102.0)
    assert material(load("newmtl m\n")) == Diffuse(reflectance=0.5)
    assert material(load("newmtl m\nKd 0.2\nKs 1 1 1\nillum 1\n")) == Diffuse(reflectance=0.2)
    assert material(load("newmtl m\nKd .1 .2 .3\nKs 1 .5 0\nNs 100\nNi 1.3\nillum 2\n")) == Plastic(
        diffuse_reflectance=(0.1, 0.2, 0.3),
        specular_reflectance=(1.0, 0.5, 0.0),
        int_ior=1.3,
        ext_ior=1.0,
        alpha=pytest.approx(alpha),
        distribution="beckmann",
    )
    rough = Conductor(specular_reflectance=0.9, alpha=pytest.approx(alpha), distribution="beckmann")
    assert material(load("newmtl m\nKd 0 0 0\nKs .9 .9 .9\nNs 100\n")) == rough
    mirror = material(load("newmtl m\nKs .9 .9 .9\nNs 100\nillum 3\n"))
    assert (type(mirror), mirror.alpha, mirror.specular_reflectance) == (Conductor, None, 0.9)


def test_phong_highlight_has_the_width_of_its_microfacets():
    """(N . H)^Ns and Beckmann's distribution of that alpha fall to half their height at the same angle, within 3 %."""
    for exponent in (50.0, 200.0, 1000.0):
        alpha2 = 2.0 / (exponent + 2.0)
        theta = np.linspace(0.0, 0.5, 200001)
        phong = np.cos(theta) ** exponent
        beckmann = np.exp(-(np.tan(theta) ** 2) / alpha2) / np.cos(theta) ** 4
        half = [theta[np.argmax(lobe < 0.5)] for lobe in (phong, beckmann)]
        assert half[0] == pytest.approx(half[1], rel=0.03)


@pytest.mark.parametrize("illum", [4, 6, 7, 9])
def test_refracting_materials_are_glass(load, illum):
    glass = material(load(f"newmtl m\nKd 0 0 0\nKs 1 1 1\nNi 1.33\nTf 0.25 1 1\nd 0.2\nillum {illum}\n"))
    assert glass == Dielectric(int_ior=1.33, ext_ior=1.0, specular_transmittance=(0.5, 1.0, 1.0))
    assert isinstance(material(load(f"newmtl m\nNi 1.0\nillum {illum}\n")), Diffuse)


def test_the_pbr_extension_gives_a_principled_material(load, tmp_path):
    picture(tmp_path / "r.png", 128, mode="L")
    scene = load("newmtl m\nKd .5 .4 .3\nNi 1.45\nmap_Pr r.png\nPm .25\nPs .1\nPc 1\nPcr .1\naniso .2\nillum 2\n")
    found = material(scene)
    assert isinstance(found, Principled)
    assert (found.base_color, found.metallic, found.sheen, found.clearcoat) == ((0.5, 0.4, 0.3), 0.25, 0.1, 1.0)
    assert (found.anisotropic, found.eta) == (0.2, 1.45)
    assert 0.1 + (0.001 - 0.1) * found.clearcoat_gloss == pytest.approx(0.1**2)
    bitmap = scene.description.textures[found.roughness]
    assert (bitmap.file, bitmap.raw, bitmap.factor) == ("r.png", True, 1.0)
    by_ns = material(load("newmtl m\nKd 1 1 1\nNs 100\nPm 1\n"))
    assert by_ns.roughness**2 == pytest.approx(math.sqrt(2.0 / 102.0))


def test_emissive_materials_replace_the_sky(load, tmp_path):
    scene = load("newmtl m\nKd 0 0 0\nKe 5 4 3\n")
    assert scene.description.shapes[0].emission == (5.0, 4.0, 3.0)
    assert scene.description.lights == ()
    picture(tmp_path / "e.png", (255, 0, 0))
    scene = load("newmtl m\nKe 0 0 0\nmap_Ke e.png\n")
    assert scene.description.textures[scene.description.shapes[0].emission].factor == 1.0
    dark = load("newmtl m\nKe 0 0 0\n")
    assert dark.description.shapes[0].emission is None
    assert SOFT_SKY in dark.images


def test_opacity(load, tmp_path):
    assert material(load("newmtl m\nd 0.25\n")).opacity == 0.25
    assert material(load("newmtl m\nTr 0.25\n")).opacity == 0.75
    assert isinstance(material(load("newmtl m\nd 1\nTr 1\n")), Diffuse)
    assert isinstance(material(load("newmtl m\nTr 1\n", strict=False)), Diffuse)
    picture(tmp_path / "grey.png", 100, mode="L")
    picture(tmp_path / "alpha.png", (1, 2, 3, 4), mode="RGBA")
    for file, channel in (("grey.png", "rgb"), ("alpha.png", "a"), ("-imfchan g alpha.png", "g")):
        scene = load(f"newmtl m\nmap_d {file}\n")
        mask = material(scene)
        assert isinstance(mask, Mask)
        assert isinstance(scene.description.materials[mask.material], Diffuse)
        texture = scene.description.textures[mask.opacity]
        assert (texture.raw, texture.channel) == (True, channel)


def test_bump_and_normal_maps(load, tmp_path):
    picture(tmp_path / "height.png", 100, mode="L")
    picture(tmp_path / "normals.png", (128, 128, 255))
    scene = load("newmtl m\nmap_Bump -bm 0.2 height.png\n")
    assert isinstance(material(scene), Bump)
    assert material(scene).scale == 0.2
    for line in ("norm -bm 0.5 normals.png", "bump -bm 0.5 normals.png", "norm -bm 0.5 normals.png\nbump height.png"):
        found = material(load(f"newmtl m\nd 0.5\n{line}\n"))
        inner = load(f"newmtl m\nd 0.5\n{line}\n").description.materials[found.material]
        assert isinstance(found, Mask)
        assert isinstance(inner, NormalMap)
        assert inner.scale == 0.5


def test_texture_options_and_paths(load, tmp_path):
    """u' = s u + o with v upwards; file names may contain blanks and backslashes."""
    picture(tmp_path / "my maps" / "a picture.png", (10, 20, 30))
    line = r"map_Kd -blendu on -s 2 3 1 -o 0.5 0.25 -clamp on my maps\a picture.png"
    scene = load(f"newmtl m\nKd .5 .5 1\n{line}\n")
    bitmap = scene.description.textures[material(scene).reflectance]
    assert isinstance(bitmap, Bitmap)
    assert (bitmap.file, bitmap.wrap, bitmap.factor) == ("my maps/a picture.png", "clamp", (0.5, 0.5, 1.0))
    assert scene.description.shapes[0].flip_v
    u, v = 0.3, 0.6
    found = matrix(bitmap.to_uv) @ (u, 1.0 - v, 0.0, 1.0)
    np.testing.assert_allclose(found[:2], (2 * u + 0.5, 1.0 - (3 * v + 0.25)), atol=1e-12)
    # A black or missing Kd leaves the texture unchanged; an image with the path of another machine is searched next to the
    # library
    picture(tmp_path / "b.png", (10, 20, 30))
    for lines in ("Kd 0 0 0\nmap_Kd C:\\art\\b.png", "map_Kd b.png"):
        scene = load(f"newmtl m\n{lines}\n")
        assert scene.description.textures[material(scene).reflectance].factor == 1.0


def test_several_libraries_and_one_with_blanks(load, tmp_path):
    (tmp_path / "b c.mtl").write_text("newmtl n\nKd 1 0 0\n")
    (tmp_path / "d.mtl").write_text("newmtl o\nKd 0 0 1\n")
    obj = "mtllib b c.mtl\nmtllib a.mtl d.mtl\n" + "".join(f"usemtl {name}\nf 1 2 3\n" for name in "mno")
    assert {"m", "n", "o"} <= set(load("newmtl m\n", obj).description.materials)


@pytest.mark.parametrize(
    ("mtl", "obj", "message"),
    [
        ("", "mtllib none.mtl\nusemtl m\nf 1/1 2/2 3/3\n", r"a.obj:9: there is no material library .*none.mtl"),
        ("newmtl n\n", None, 'the material "m" is not in the material library; a grey one is used'),
        ("", "usemtl m\nf 1/1 2/2 3/3\n", 'the material "m" is unknown without an mtllib; a grey one is used'),
        ("newmtl m\nmap_Kd none.png\n", None, r"a.mtl:2: there is no image .*none.png"),
        ("newmtl m\nmap_Kd a.mtl\n", None, r"a.mtl:2: .*a.mtl: .*left out"),
        ("newmtl m\nmap_Kd p.png\n", "mtllib a.mtl\nusemtl m\nf 1 2 3\n", "a.mtl:2: the mesh has no texture coordinates"),
        ("newmtl m\nmap_Kd -cc on p.png\n", None, "a.mtl:2: -cc is not supported"),
        ("newmtl m\nmap_Kd -s 0 1 p.png\n", None, "a.mtl:2: -s or -o is zero"),
        ("newmtl m\nrefl -type sphere p.png\n", None, "a.mtl:2: refl is not supported"),
        ("newmtl m\nKd 2 0 0\n", None, "Kd is outside 0 to 1; it is clamped"),
        ("newmtl m\nKd spectral x.rfl\n", None, "kd spectral is not supported"),
        ("newmtl m\nmap_Kdd p.png\n", None, r'a.mtl:2: "map_Kdd" is not known \(did you mean "map_kd"\?\)'),
        ("newmtl m\nd 0\n", None, "is invisible"),
        ("newmtl m\nTr 1\n", None, "Tr is 1, which some programs write for an opaque material and others for an invisible one"),
        ("Kd 1 1 1\nnewmtl m\n", None, "a.mtl:1: a statement before the first newmtl is left out"),
        ("newmtl m\nnewmtl m\n", None, 'a.mtl:2: there is a material "m" already'),
        ("newmtl m\nmap_Kd\n", None, "a.mtl:2: map_kd names no file"),
    ],
)  # fmt: skip
def test_missing_and_unsupported_parts_give_warnings(load, tmp_path, mtl, obj, message):
    """Each problem is a warning, and an error with `strict`; the scene is read nevertheless."""
    picture(tmp_path / "p.png", (10, 20, 30))
    given = (mtl, obj) if obj else (mtl,)
    scene = load(*given, strict=False)
    assert len(scene.warnings) == 1
    with pytest.raises(SceneError, match=message):
        load(*given)


@pytest.mark.parametrize(
    ("mtl", "message"),
    [
        ("newmtl m\nKd 1 x 1\n", 'a.mtl:2: kd needs a number, not "x"'),
        ("newmtl m\nKd 1 1\n", "a.mtl:2: kd needs three numbers"),
        ("newmtl m\n\nNs nan\n", "a.mtl:3: ns needs a finite number"),
        ("newmtl m\nd \\\n\nNi\n", "a.mtl:2: d needs a number"),
        ("newmtl\n", "a.mtl:1: newmtl needs a name"),
        ("newmtl m\nmap_Kd -s\n", "a.mtl:2: map_kd: -s needs a value"),
        ("#" * (1 << 24) + "\n", "a material library larger than 16 MiB is not accepted"),
    ],
)
def test_malformed_lines_are_refused(load, mtl, message):
    with pytest.raises(SceneError, match=message):
        load(mtl)


def test_faces_without_a_material_keep_vertex_colours(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 1 0 0\n")
    (tmp_path / "a.obj").write_text("v 0 0 0 1 0 0\nv 1 0 0\nv 0 1 0\nmtllib a.mtl\nf 1 2 3\nusemtl m\nf 3 2 1\n")
    description = load_scene(tmp_path / "a.obj").description
    assert description.textures[description.materials["surface"].reflectance] == VertexColor()
    assert description.materials["m"] == Diffuse(reflectance=(1.0, 0.0, 0.0))


def test_materials_survive_blocks(tmp_path, monkeypatch):
    """A material continues in the next block of the file, whatever the size of the blocks."""
    names = [f"m{i % 3}" for i in range(60)]
    text = (
        VERTICES
        + "mtllib a.mtl\n"
        + "".join(f"usemtl {n}\nf 1 2 3\n" * (i % 2) + "f 1 3 4\n" for i, n in enumerate(names))
    )
    (tmp_path / "a.obj").write_text(text)
    (tmp_path / "a.mtl").write_text("".join(f"newmtl m{i}\nKd {i / 10} 0 0\n" for i in range(3)))
    counts = []
    for size in (1 << 25, 37, 101):
        monkeypatch.setattr("nrc_tracer.scene.obj_format.BLOCK", size)
        scene = load_scene(tmp_path / "a.obj")
        counts.append({name: len(mesh.indices) for name, mesh in scene.meshes.items()})
    assert counts[0] == counts[1] == counts[2]
    assert sum(counts[0].values()) == 90


def test_info_and_convert(load, tmp_path):
    picture(tmp_path / "p.png", (10, 20, 30))
    obj = "mtllib a.mtl\nusemtl m\nf 1/1 2/2 3/3\nusemtl n\nf 1/1 3/3 4/4\n"
    scene = load("newmtl m\nmap_Kd p.png\nd 0.5\nnewmtl n\nKe 1 2 3\nPm 1\n", obj)
    assert summarize(scene)["materials"] == {"diffuse": 1, "mask": 1, "principled": 1}
    write_scene(scene, tmp_path / "b.json")
    again = load_scene(tmp_path / "b.json", strict=True)
    assert again.description.materials == scene.description.materials
    for before, after in zip(scene.description.shapes, again.description.shapes, strict=True):
        assert (after.material, after.emission, after.flip_v) == (before.material, before.emission, before.flip_v)
        np.testing.assert_array_equal(again.meshes[after.file].positions, scene.meshes[before.file].positions)
