"""glTF materials: their conversion, and the reading of their textures."""

import msgspec
import numpy as np
import pytest
from gltf_files import QUAD_UV, GltfFile

from nrc_tracer.scene.gltf import read_gltf
from nrc_tracer.scene.gltf.images import refine
from nrc_tracer.scene.load import load_scene
from nrc_tracer.scene.model import (
    Bitmap,
    Dielectric,
    Diffuse,
    Mask,
    NormalMap,
    Principled,
    ThinDielectric,
    VertexColor,
)
from nrc_tracer.scene.transforms import matrix

RGB = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
LAMBERT = {"metallicFactor": 0, "roughnessFactor": 1}
NOT_SHINY = {"KHR_materials_specular": {"specularFactor": 0}}


@pytest.fixture
def file():
    return GltfFile()


@pytest.fixture
def read(file, tmp_path):
    """Put a material on a textured quad; return the material on the shape, the scene and its emission."""

    def reader(**material):
        file.quad(name="paint", **material)
        scene = load_scene(file.write(tmp_path))
        shape = scene.description.shapes[0]
        return scene.description.materials[shape.material], scene, shape.emission

    return reader


def _texture(scene, name):
    return scene.description.textures[name]


def test_factors_give_a_principled_material(read):
    pbr = {"baseColorFactor": [0.1, 0.2, 0.3, 1], "metallicFactor": 0.25, "roughnessFactor": 0.75}
    material, scene, emission = read(pbrMetallicRoughness=pbr)
    assert material == Principled(base_color=(0.1, 0.2, 0.3), metallic=0.25, roughness=0.75, eta=1.5, diffuse="lambert")
    assert emission is None
    assert scene.warnings == ()


def test_a_missing_material_is_a_rough_white_metal(file, tmp_path):
    file.node(mesh=file.mesh())
    scene = read_gltf(file.write(tmp_path))
    assert scene.description.materials == {
        "glTF default": Principled(base_color=1.0, metallic=1.0, roughness=1.0, diffuse="lambert")
    }


def test_a_surface_without_specular_reflection_is_lambertian(read):
    material, _, _ = read(pbrMetallicRoughness={**LAMBERT, "baseColorFactor": [0.5, 0.5, 0.5, 1]}, extensions=NOT_SHINY)
    assert material == Diffuse(reflectance=0.5)


@pytest.mark.parametrize(
    ("extensions", "eta", "specular"),
    [
        ({}, 1.5, 0.5),
        ({"KHR_materials_ior": {"ior": 1.8}}, 1.8, 0.5),
        ({"KHR_materials_ior": {"ior": 1.0}}, None, 0.0),
        # F0 = 0.08 specular: half of 0.04, and a quarter of (0.8 / 2.8)^2
        ({"KHR_materials_specular": {"specularFactor": 0.5}}, None, 0.25),
        ({"KHR_materials_specular": {"specularFactor": 0.25}, "KHR_materials_ior": {"ior": 1.8}}, None, 0.04 / 0.1568),
    ],
)
def test_index_of_refraction_and_specular_factor(read, extensions, eta, specular):
    material, _, _ = read(pbrMetallicRoughness={**LAMBERT, "roughnessFactor": 0.5}, extensions=extensions)
    assert material.eta == eta
    assert material.specular == pytest.approx(specular)


def test_textures_are_read_by_channel_and_encoding(file, read):
    color, orm = file.image(RGB), file.image(RGB[::-1])
    pbr = {
        "baseColorTexture": {"index": color},
        "baseColorFactor": [1, 0.5, 0.25, 1],
        "metallicRoughnessTexture": {"index": orm},
        "roughnessFactor": 0.5,
    }
    material, scene, emission = read(
        pbrMetallicRoughness=pbr, emissiveTexture={"index": color}, emissiveFactor=[2, 2, 2],
        extensions={"KHR_materials_emissive_strength": {"emissiveStrength": 3}},
    )  # fmt: skip
    assert _texture(scene, material.base_color) == Bitmap(file="scene.glb#image0", factor=(1.0, 0.5, 0.25))
    assert _texture(scene, material.roughness) == Bitmap(file="scene.glb#image1", raw=True, channel="g", factor=0.5)
    assert _texture(scene, material.metallic) == Bitmap(file="scene.glb#image1", raw=True, channel="b")
    assert _texture(scene, emission) == Bitmap(file="scene.glb#image0", factor=6.0)
    np.testing.assert_array_equal(scene.images["scene.glb#image0"], RGB)
    np.testing.assert_array_equal(scene.images["scene.glb#image1"], RGB[::-1])


def test_emission_is_multiplied_by_its_strength(read):
    _, _, emission = read(
        emissiveFactor=[1, 0.5, 0], extensions={"KHR_materials_emissive_strength": {"emissiveStrength": 17}}
    )
    assert emission == (17, 8.5, 0)


def test_a_normal_map_has_its_scale_and_is_not_decoded(file, read):
    material, scene, _ = read(normalTexture={"index": file.image(RGB), "scale": 0.5})
    assert isinstance(material, NormalMap)
    assert material.scale == 0.5
    assert _texture(scene, material.texture) == Bitmap(file="scene.glb#image0", raw=True)
    assert isinstance(scene.description.materials[material.material], Principled)


def test_samplers(file, read):
    sampler = file.add("samplers", wrapS=33071, wrapT=33648, magFilter=9728)
    texture = {"index": file.image(RGB, sampler=sampler)}
    material, scene, _ = read(pbrMetallicRoughness={"baseColorTexture": texture})
    bitmap = _texture(scene, material.base_color)
    assert (bitmap.wrap, bitmap.filter) == (("clamp", "mirror"), "nearest")


def test_texture_transform_as_in_the_extensions_own_example(file, read):
    """As the extension's README says, offset (0, 1), a quarter turn and scale 1/2 show the *lower left* quadrant of the image."""
    transform = {"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5]}
    texture = {"index": file.image(RGB), "extensions": {"KHR_texture_transform": transform}}
    material, scene, _ = read(pbrMetallicRoughness={"baseColorTexture": texture})
    to_uv = matrix(_texture(scene, material.base_color).to_uv)
    corners = np.array([(u, v, 0, 1) for u, v in ((0, 0), (1, 0), (0, 1), (1, 1))]) @ to_uv.T
    # v = 0 is the top row: lower left is u in [0, 1/2], v in [1/2, 1]
    np.testing.assert_allclose(corners[:, :2], [(0, 1), (0, 0.5), (0.5, 1), (0.5, 0.5)], atol=1e-12)


@pytest.mark.parametrize(
    ("extension", "expected"),
    [
        ({}, ThinDielectric(int_ior=1.5, ext_ior=1.0, specular_transmittance=(0.25, 0.81, 1.0))),
        (
            {"KHR_materials_volume": {"thicknessFactor": 1}, "KHR_materials_ior": {"ior": 1.3}},
            Dielectric(int_ior=1.3, ext_ior=1.0, specular_transmittance=(0.5, 0.9, 1.0)),
        ),
    ],
)
def test_clear_glass(read, extension, expected):
    """Together, the two boundaries of a solid have the tint of the base colour."""
    pbr = {"metallicFactor": 0, "roughnessFactor": 0, "baseColorFactor": [0.25, 0.81, 1, 1]}
    extensions = {"KHR_materials_transmission": {"transmissionFactor": 1}, **extension}
    material, _, _ = read(pbrMetallicRoughness=pbr, extensions=extensions)
    assert type(material) is type(expected)
    np.testing.assert_allclose(material.specular_transmittance, expected.specular_transmittance)
    assert (material.int_ior, material.ext_ior) == (expected.int_ior, expected.ext_ior)


def test_rough_glass_and_absorption(read):
    extensions = {
        "KHR_materials_transmission": {"transmissionFactor": 0.75},
        "KHR_materials_volume": {"thicknessFactor": 2, "attenuationDistance": 1, "attenuationColor": [1, 0.5, 0.5]},
    }
    material, scene, _ = read(pbrMetallicRoughness={"metallicFactor": 0, "roughnessFactor": 0.5}, extensions=extensions)
    assert (material.spec_trans, material.thin, material.eta, material.roughness) == (0.75, False, 1.5, 0.5)
    np.testing.assert_allclose(material.base_color, (1, 0.25, 0.25))
    assert "absorption along the ray is not supported" in scene.warnings[0]


def test_the_thickness_of_volumes(file, tmp_path):
    """A texture of the thickness, and the scale of a node around a mesh with a volume, are named where they would matter."""
    volume = {"thicknessFactor": 2, "attenuationDistance": 1, "attenuationColor": [1, 0.5, 0.5]}
    glass = {"KHR_materials_transmission": {"transmissionFactor": 1}, "KHR_materials_volume": volume}
    volume["thicknessTexture"] = {"index": 0}
    file.quad(name="glass", extensions=glass)
    file.root["nodes"][-1]["scale"] = [2, 2, 2]
    warnings = load_scene(file.write(tmp_path)).warnings
    assert any("thicknessTexture: is not supported; thicknessFactor is used everywhere" in text for text in warnings)
    assert any("the scale of 2 is not applied to the thickness of the volume in its mesh" in text for text in warnings)
    volume["attenuationColor"] = [1, 1, 1]  # without absorption neither makes a difference
    assert load_scene(file.write(tmp_path)).warnings == ()


def test_explicit_culling_is_named(read):
    """Back faces are shown; a warning says so where the file states `doubleSided: false`, which is also the default."""
    _, scene, _ = read()
    assert scene.warnings == ()
    _, scene, _ = read(doubleSided=False)
    assert len(scene.warnings) == 1
    assert "$.materials[1].doubleSided: back faces are not culled; they are shown" in scene.warnings[0]


def test_clearcoat(read):
    coat = {"clearcoatFactor": 0.5, "clearcoatRoughnessFactor": 0.2}
    material, _, _ = read(extensions={"KHR_materials_clearcoat": coat})
    assert material.clearcoat == 0.5
    # Burley's coat has alpha 0.1 (1 - g) + 0.001 g
    assert 0.1 + (0.001 - 0.1) * material.clearcoat_gloss == pytest.approx(0.04)


def test_unlit_materials_emit_their_base_colour(read):
    pbr = {"baseColorFactor": [0.5, 0.25, 0, 1]}
    material, _, emission = read(pbrMetallicRoughness=pbr, extensions={"KHR_materials_unlit": {}})
    assert material == Diffuse(reflectance=0.0)
    assert emission == (0.5, 0.25, 0.0)


# --- Opacity


def _with_alpha(alpha):
    return np.dstack([np.broadcast_to(np.uint8(200), (*alpha.shape, 3)), alpha]).astype(np.uint8)


def test_blend_is_a_mask_by_probability(file, read):
    texture = file.image(_with_alpha(np.array([[0, 255], [128, 64]])))
    pbr = {"baseColorTexture": {"index": texture}, "baseColorFactor": [1, 1, 1, 0.5]}
    material, scene, _ = read(pbrMetallicRoughness=pbr, alphaMode="BLEND")
    assert isinstance(material, Mask)
    bitmap = _texture(scene, material.opacity)
    assert bitmap == Bitmap(file="scene.glb#image0", raw=True, channel="a", factor=0.5)


@pytest.mark.parametrize(
    ("mode", "alpha", "opacity"),
    [("BLEND", 0.25, 0.25), ("BLEND", 1.0, None), ("MASK", 0.4, 0.0), ("MASK", 0.5, None), ("OPAQUE", 0.1, None)],
)
def test_opacity_without_a_texture(read, mode, alpha, opacity):
    material, _, _ = read(pbrMetallicRoughness={"baseColorFactor": [1, 1, 1, alpha]}, alphaMode=mode)
    assert (material.opacity if isinstance(material, Mask) else None) == opacity


def test_a_mask_ends_where_interpolated_alpha_equals_the_cutoff(file, read):
    """A ramp from 0 to 255 over two texels, repeated: between their centres alpha is linear."""
    texture = file.image(_with_alpha(np.array([[0, 255]] * 2)))
    pbr = {"baseColorTexture": {"index": texture}}
    material, scene, _ = read(pbrMetallicRoughness=pbr, alphaMode="MASK", alphaCutoff=0.25)
    bitmap = _texture(scene, material.opacity)
    assert (bitmap.filter, bitmap.channel, bitmap.raw) == ("nearest", "r", True)
    mask = scene.images[bitmap.file]
    # Centres of 8 fine texels lie at -3/8, -1/8, ... of a coarse texel from the first centre
    position = (np.arange(8) + 0.5) / 4 - 0.5
    alpha = np.abs(position)
    alpha = np.where(alpha > 1.0, 2.0 - alpha, alpha)
    np.testing.assert_array_equal(mask[:, :, 0], np.broadcast_to(np.where(alpha >= 0.25, 255, 0), (8, 8)))
    # The opaque fraction is that of the ramp: alpha >= 1/4 on 3/4 of it
    assert mask.mean() / 255 == 0.75


@pytest.mark.parametrize("mode", ["MASK", "BLEND"])
def test_opacity_keeps_the_texels_of_a_nearest_sampler(file, read, mode):
    """Texels are never blended: the image of opacities has the texture's own texels, looked up at the nearest one."""
    alpha = np.array([[0, 255, 0], [255, 255, 0]])
    sampler = file.add("samplers", magFilter=9728)
    pbr = {"baseColorTexture": {"index": file.image(_with_alpha(alpha), sampler=sampler)}}
    material, scene, _ = read(pbrMetallicRoughness=pbr, alphaMode=mode)
    bitmap = _texture(scene, material.opacity)
    assert bitmap.filter == "nearest"
    np.testing.assert_array_equal(scene.images[bitmap.file][:, :, -1], alpha)


def test_a_refined_image_keeps_a_ramp_and_its_edges():
    ramp = np.arange(4, dtype=np.float32)[:, None]
    np.testing.assert_allclose(refine(ramp, 2, "clamp")[:, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    np.testing.assert_allclose(refine(ramp, 2, "repeat")[[0, -1], 0], [0.75, 2.25])


def test_a_mask_over_a_normal_map(file, read):
    texture = file.image(_with_alpha(np.array([[0, 255]])))
    material, scene, _ = read(
        pbrMetallicRoughness={"baseColorTexture": {"index": texture}},
        normalTexture={"index": file.image(RGB)},
        alphaMode="MASK",
    )
    inner = scene.description.materials[material.material]
    assert isinstance(inner, NormalMap)
    assert isinstance(scene.description.materials[inner.material], Principled)


# --- Vertex colours and sets of texture coordinates


def test_vertex_colours_multiply_the_base_colour_and_the_opacity(file, tmp_path):
    texture = file.image(_with_alpha(np.array([[0, 255]])))
    pbr = {"baseColorTexture": {"index": texture}, "baseColorFactor": [0.5, 1, 1, 0.25]}
    index = file.add("materials", name="paint", pbrMetallicRoughness=pbr, alphaMode="BLEND")
    colors = [(1, 0, 0, 0.5)] * 4
    file.node(mesh=file.mesh(primitive={"material": index}, TEXCOORD_0=QUAD_UV, COLOR_0=colors))
    file.node(mesh=file.mesh(primitive={"material": index}, TEXCOORD_0=QUAD_UV))
    scene = load_scene(file.write(tmp_path))
    materials, textures = scene.description.materials, scene.description.textures
    colored, plain = (materials[shape.material] for shape in scene.description.shapes)
    base = textures[materials[colored.material].base_color]
    assert isinstance(base, VertexColor)
    assert base.factor == (0.5, 1, 1)
    assert textures[base.texture] == Bitmap(file="scene.glb#image0")
    opacity = textures[colored.opacity]
    assert opacity.channel == "a"
    assert textures[opacity.texture] == Bitmap(file="scene.glb#image0", raw=True, channel="a", factor=0.25)
    assert isinstance(textures[materials[plain.material].base_color], Bitmap)


def test_a_mesh_gets_the_texture_coordinates_of_its_material(file, tmp_path):
    pbr = {"baseColorTexture": {"index": file.image(RGB), "texCoord": 1}}
    index = file.add("materials", pbrMetallicRoughness=pbr)
    second = np.array(QUAD_UV) * 0.5
    file.node(mesh=file.mesh(primitive={"material": index}, TEXCOORD_0=QUAD_UV, TEXCOORD_1=second))
    scene = read_gltf(file.write(tmp_path))
    assert scene.meshes["scene.glb#mesh0.0"].uvs.tolist() == second.tolist()
    assert scene.warnings == ()


def test_two_sets_of_texture_coordinates_give_a_warning(file, read):
    texture = file.image(RGB)
    _, scene, _ = read(
        pbrMetallicRoughness={"baseColorTexture": {"index": texture}}, normalTexture={"index": texture, "texCoord": 1}
    )
    assert "$.materials[0].normalTexture: a second set of texture coordinates" in scene.warnings[0]


def test_unsupported_features_are_named(file, read):
    file.root["extensionsUsed"] = ["KHR_materials_iridescence"]
    _, scene, _ = read(extensions={"KHR_materials_iridescence": {}}, emissiveFactor=[1, 1, 1], doubleSided=True)
    text = "\n".join(scene.warnings)
    assert "$.extensionsUsed[0]: KHR_materials_iridescence is not supported" in text
    assert "$.materials[0]: KHR_materials_iridescence is not supported" in text
    assert "emission from both sides is not supported" in text


def test_published_leaves_and_glass(data_folder):
    scene = load_scene(data_folder / "scenes/glb/grey-white-room.glb")
    materials = scene.description.materials
    assert msgspec.structs.asdict(materials["Glass"])["int_ior"] == 1.5
    mask = scene.images[scene.description.textures[materials["Leaves"].opacity].file]
    assert set(np.unique(mask)) == {0, 255}
