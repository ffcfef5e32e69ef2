"""Images of glTF materials: small versions of Khronos' test cards, compared with the format's formulas."""

import math

import numpy as np
import pytest
from gltf_cards import BLACK, Cards, picture, turned
from gltf_files import QUAD_UV

MATTE = {"metallicFactor": 0, "roughnessFactor": 1}
NOT_SHINY = {"KHR_materials_specular": {"specularFactor": 0}}


# --- KHR_materials_emissive_strength


def test_emissive_strength_is_what_the_camera_sees(tmp_path):
    """Five squares in a row, twice as bright from one to the next."""
    cards, strengths = Cards(2.5, 5.0), (1, 2, 4, 8, 16)
    for i, strength in enumerate(strengths):
        material = {
            "pbrMetallicRoughness": BLACK,
            "emissiveFactor": [0.5, 0.25, 1.0],
            "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": strength}},
        }
        cards.card(material, node={"translation": [i - 2, 0, 0]})
    image = picture(cards.load(tmp_path), 40, 8, spp=4, max_depth=1)
    seen = image.reshape(8, 5, 8, 3).transpose(1, 0, 2, 3)
    expected = np.multiply.outer(strengths, (0.5, 0.25, 1.0))[:, None, None]
    np.testing.assert_allclose(seen, np.broadcast_to(expected, seen.shape), rtol=1e-6)


def test_emissive_strength_lights_a_wall(tmp_path):
    """A square lamp of side 1, parallel to a white diffuse wall at distance 1, compared with Hottel's form factor."""
    image = []
    for strength in (1, 8):
        cards = Cards(0.01)
        cards.card({"pbrMetallicRoughness": MATTE, "extensions": NOT_SHINY})
        material = {
            "emissiveFactor": [1, 1, 1],
            "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": strength}},
        }
        # The lamp is below the camera's line of sight, with its upper edge at the axis
        cards.card(material, node={"translation": [0, -0.51, 1], "rotation": turned((0, 1, 0), 180)})
        image.append(picture(cards.load(tmp_path), 4, 4, spp=4096, max_depth=2).mean())

    def corner(a, b):
        """Form factor from an element to a parallel rectangle a x b at distance 1, one corner above the element."""
        x, y = math.hypot(1, a), math.hypot(1, b)
        return (a / x * math.atan(b / x) + b / y * math.atan(a / y)) / (2 * math.pi)

    expected = 2 * (corner(0.5, 1.01) - corner(0.5, 0.01))
    assert image[0] == pytest.approx(expected, rel=0.01)
    assert image[1] == pytest.approx(8 * image[0], rel=1e-5)


# --- KHR_materials_transmission


@pytest.mark.parametrize("degrees", [0.0, 40.0])
@pytest.mark.parametrize("ior", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("roughness", [0.0, 0.05])
def test_transmission_shows_the_surface_behind(tmp_path, roughness, ior, degrees):
    """A thin coloured panel in front of an emitting wall shows the wall's radiance times base colour times transmittance.

    The format's panel is a single boundary with the transmittance 1 - F. A smooth one here has two, with (1 - F) / (1 + F).
    """
    color, wall = np.array([0.9, 0.5, 0.2]), np.array([0.4, 0.8, 0.6])
    cards = Cards(0.05)
    panel = {
        "pbrMetallicRoughness": {"baseColorFactor": [*color, 1], "metallicFactor": 0, "roughnessFactor": roughness},
        "extensions": {"KHR_materials_transmission": {"transmissionFactor": 1}, "KHR_materials_ior": {"ior": ior}},
    }
    cards.card(panel, node={"rotation": turned((0, 1, 0), degrees)})
    behind = {"pbrMetallicRoughness": BLACK, "emissiveFactor": wall.tolist(), "extensions": NOT_SHINY}
    cards.card(behind, node={"translation": [0, 0, -1], "scale": [20, 20, 1]})
    seen = picture(cards.load(tmp_path), 8, 8, spp=1024, max_depth=2).mean(axis=(0, 1))
    reflected = _fresnel(math.cos(math.radians(degrees)), ior)
    passed = (1 - reflected) / (1 + reflected) if roughness == 0.0 else 1 - reflected
    np.testing.assert_allclose(seen, wall * color * passed, rtol=0.01)


def _fresnel(cos_i, ior):
    """Reflectance of unpolarized light at a boundary."""
    cos_t = np.sqrt(1 - (1 - cos_i**2) / ior**2)
    s, p = (cos_i - ior * cos_t) / (cos_i + ior * cos_t), (ior * cos_i - cos_t) / (ior * cos_i + cos_t)
    return (s**2 + p**2) / 2


# --- Metallic-roughness: dielectrics (metals are in tests/agreement)


@pytest.mark.parametrize("degrees", [0.0, 50.0, 75.0])
@pytest.mark.parametrize("roughness", [0.4, 0.7, 1.0])
def test_dielectrics_agree_with_appendix_b(tmp_path, roughness, degrees):
    """The directional albedo under a white sky is the integral of the format's BRDF.

    With Fresnel's equations the two are equal except for noise; with Schlick's approximation, which the format allows, to 0.02.
    """
    base, cos_o = np.array([0.8, 0.3, 0.05]), math.cos(math.radians(degrees))
    cards = Cards(0.05)
    pbr = {"baseColorFactor": [*base, 1], "metallicFactor": 0, "roughnessFactor": roughness}
    cards.card({"pbrMetallicRoughness": pbr}, node={"rotation": turned((0, 1, 0), degrees)})
    seen = picture(cards.load(tmp_path, sky=1.0), 16, 16, spp=1024, max_depth=2).mean(axis=(0, 1))
    np.testing.assert_allclose(seen, _albedo(base, roughness, cos_o, _fresnel), rtol=3e-3)
    np.testing.assert_allclose(seen, _albedo(base, roughness, cos_o, _schlick), atol=0.02)


def _schlick(cos_i, _):
    return 0.04 + 0.96 * (1 - cos_i) ** 5


def _albedo(base, roughness, cos_o, fresnel, steps=1500):
    """Integral of the BRDF of glTF 2.0's appendix B over the hemisphere: Lambert's and GGX's, mixed by Fresnel."""
    z, phi = ((np.arange(steps) + 0.5) / steps, (np.arange(steps) + 0.5) / steps * 2 * np.pi)
    z, phi = np.meshgrid(z, phi)
    sine = np.sqrt(1 - z**2)
    v = np.array([math.sqrt(1 - cos_o**2), 0, cos_o])
    h = np.stack((sine * np.cos(phi) + v[0], sine * np.sin(phi), z + v[2]), axis=-1)
    h /= np.linalg.norm(h, axis=-1, keepdims=True)
    f, a2 = fresnel(h @ v, 1.5), roughness**4
    d = a2 / (np.pi * (h[..., 2] ** 2 * (a2 - 1) + 1) ** 2)
    visibility = 1 / (z + np.sqrt(a2 + (1 - a2) * z**2)) / (cos_o + np.sqrt(a2 + (1 - a2) * cos_o**2))
    measure = z * 2 * np.pi
    return base * np.mean((1 - f) / np.pi * measure) + np.mean(f * visibility * d * measure)


# --- Normal maps: one relief, whose texture is mapped to the square in different ways


LIGHT = (0.8, 0.6, 0.0), -50.0  # axis and angle that rotate a light from the viewer to the upper left
MIRRORED = ((1, 1), (0, 1), (0, 0), (1, 0))
# Texture coordinates of the lower left, lower right, upper right and upper left corner
LAYOUTS = {
    "mirrored": MIRRORED,
    "upside down": ((0, 0), (1, 0), (1, 1), (0, 1)),
    "turned": ((0, 0), (0, 1), (1, 1), (1, 0)),
    "turned back": ((1, 1), (1, 0), (0, 0), (0, 1)),
    "turned and mirrored": ((0, 1), (0, 0), (1, 0), (1, 1)),
}
# KHR_texture_transform: u' = 1 - u, v' = 1 - v, a quarter turn
TRANSFORMS = {
    "mirrored": {"scale": [-1, 1], "offset": [1, 0]},
    "upside down": {"scale": [1, -1], "offset": [0, 1]},
    "turned": {"rotation": math.pi / 2, "offset": [0, 1]},
}


def _transformed(uvs, offset=(0, 0), rotation=0.0, scale=(1, 1)):
    """KHR_texture_transform's matrices: translation x rotation x scale."""
    c, s = math.cos(rotation), math.sin(rotation)
    return np.asarray(uvs, float) @ (np.array(((c, s), (-s, c))) @ np.diag(scale)).T + offset


def _bump_normals(x, y):
    """Normals of bumps on the unit square."""
    n = np.stack((0.5 * np.cos(6.3 * (x + 0.3 * y)), 0.8 * np.sin(6.3 * (y - 0.4 * x)), np.ones_like(x)), axis=-1)
    return n / np.linalg.norm(n, axis=-1, keepdims=True)


def _normal_map(uvs):
    """The normal map of these bumps on a square with texture coordinates `uvs` at its corners.

    Red points to the right of the image and green to its top, wherever these are on the square.
    """
    origin, across, along = (np.asarray(uvs[i], float) for i in (0, 1, 3))
    to_square = np.linalg.inv(np.column_stack((across - origin, along - origin)))
    center = (np.arange(32) + 0.5) / 32
    u, v = np.meshgrid(center, center)
    x, y = np.moveaxis((np.stack((u, v), axis=-1) - origin) @ to_square.T, -1, 0)
    n = _bump_normals(x, y)
    right, top = to_square[:, 0], -to_square[:, 1]
    return np.round((np.dstack((n[..., :2] @ right, n[..., :2] @ top, n[..., 2])) + 1) * 127.5)


def _bumps(folder, seen_uvs, *, uvs=None, transform=None, node=None, **attributes):
    """The scene of the bumps: the mesh has coordinates `uvs`, and the map is made for `seen_uvs`, those after all transforms."""
    cards = Cards()
    texture = {"index": cards.image(_normal_map(seen_uvs))}
    if transform is not None:
        texture["extensions"] = {"KHR_texture_transform": transform}
    material = {"pbrMetallicRoughness": MATTE, "extensions": NOT_SHINY, "normalTexture": texture}
    cards.card(material, seen_uvs if uvs is None else uvs, node=node, **attributes)
    cards.light(rotation=turned(*LIGHT))
    return cards.load(folder)


@pytest.fixture(scope="module")
def bumps(tmp_path_factory):
    """The image of the bumps with plain texture coordinates."""
    return picture(_bumps(tmp_path_factory.mktemp("bumps"), QUAD_UV), 32, 32, max_depth=2)


def test_bumps_are_lit_from_the_direction_of_the_light(bumps):
    """The image is n . l of the bumps, except for shadowing at grazing angles."""
    (x, y, _), angle = LIGHT[0], math.radians(LIGHT[1])
    light = np.array([y * math.sin(angle), -x * math.sin(angle), math.cos(angle)])  # z rotated by Rodrigues' formula
    center = (np.arange(32) + 0.5) / 32
    cosine = np.maximum(_bump_normals(*np.meshgrid(center, 1 - center)) @ light, 0)
    assert light[0] < 0 < light[1]
    assert np.corrcoef(bumps[..., 0].ravel(), cosine.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bumps_do_not_depend_on_the_orientation_of_coordinates(tmp_path, bumps, layout):
    """Mirrored or rotated texture coordinates, with maps made for them, give the same image."""
    seen = picture(_bumps(tmp_path, LAYOUTS[layout]), 32, 32, max_depth=2)
    np.testing.assert_allclose(seen, bumps, atol=2e-4)


@pytest.mark.parametrize("layout", TRANSFORMS)
def test_bumps_are_the_same_through_a_texture_transform(tmp_path, bumps, layout):
    """As above, with coordinates mirrored or rotated by KHR_texture_transform."""
    seen_uvs = _transformed(QUAD_UV, **TRANSFORMS[layout])
    scene = _bumps(tmp_path, seen_uvs, uvs=QUAD_UV, transform=TRANSFORMS[layout])
    np.testing.assert_allclose(picture(scene, 32, 32, max_depth=2), bumps, atol=2e-4)


def test_bumps_are_the_same_on_a_mirrored_node(tmp_path, bumps):
    """A node of negative scale mirrors coordinates as it mirrors the square."""
    scene = _bumps(tmp_path, MIRRORED, uvs=QUAD_UV, node={"scale": [-1, 1, 1]})
    np.testing.assert_allclose(picture(scene, 32, 32, max_depth=2), bumps, atol=2e-4)


@pytest.mark.parametrize(
    ("uvs", "tangent", "warns"),
    [
        (QUAD_UV, (1, 0, 0, 1), False),
        (QUAD_UV, (1, 0, 0, -1), True),
        (QUAD_UV, (0, 1, 0, 1), True),
        (MIRRORED, (-1, 0, 0, -1), False),
        (MIRRORED, (-1, 0, 0, 1), True),
    ],
)
def test_tangents_of_the_file(tmp_path, uvs, tangent, warns):
    """A file's tangents are not used; a warning says so if they differ from those of its texture coordinates."""
    scene = _bumps(tmp_path, uvs, TANGENT=[tangent] * 4, NORMAL=[(0, 0, 1)] * 4)
    assert [warning.split(": ")[1] for warning in scene.warnings] == (
        ["$.meshes[0].primitives[0].attributes.TANGENT"] if warns else []
    )


# --- KHR_texture_transform


@pytest.mark.parametrize(
    "transform",
    [
        {},
        {"offset": [0.25, -0.5]},
        {"rotation": 0.5},
        {"scale": [2, 0.5]},
        {"scale": [-1, 1.5]},
        {"offset": [0.1, 0.7], "rotation": -1.2, "scale": [1.5, 0.8]},
    ],
)
def test_texture_transform_shows_the_texel_of_its_matrix(tmp_path, transform):
    """Every pixel that lies within one texel has the colour of that texel."""
    texels = np.random.default_rng(2).integers(1, 256, (4, 4, 3))
    cards = Cards()
    sampler = cards.add("samplers", magFilter=9728)
    texture = {"index": cards.image(texels, sampler=sampler), "extensions": {"KHR_texture_transform": transform}}
    cards.card({"pbrMetallicRoughness": BLACK, "emissiveFactor": [1, 1, 1], "emissiveTexture": texture})
    seen = picture(cards.load(tmp_path), 32, 32, spp=4, max_depth=1)
    x, y = np.meshgrid(np.arange(33) / 32, np.arange(33) / 32)
    inner = _transformed(np.stack((x + 1 / 64, y + 1 / 64), axis=-1), **transform)[:-1, :-1]
    column, row = np.moveaxis(np.floor(inner * 4).astype(int), -1, 0)
    edges = _transformed(np.stack((x, y), axis=-1), **transform)
    corners = np.stack([edges[i : 32 + i, j : 32 + j] for i in (0, 1) for j in (0, 1)])
    pulled = np.floor((corners * 0.999 + inner * 0.001) * 4).astype(int)
    whole = np.all(pulled == np.stack((column, row), axis=-1), axis=(0, -1))
    assert whole.mean() > 0.5
    encoded = texels[row % 4, column % 4] / 255
    expected = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(seen[whole], expected[whole], rtol=1e-5)
