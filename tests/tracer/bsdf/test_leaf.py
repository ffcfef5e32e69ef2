"""Masks, blends and maps: the choice of a material's leaf, and its normal."""

import numpy as np
import pytest
import warp as wp

from nrc_tracer.scene.model import (
    Bitmap,
    Blend,
    Bump,
    Conductor,
    ConstantLight,
    Dielectric,
    Diffuse,
    Mask,
    NormalMap,
    Rectangle,
    Scale,
    Sides,
    Sphere,
    VertexColor,
)
from nrc_tracer.tracer.bsdf.leaf import BLACK, NOTHING
from tests.tracer import kernels
from tests.tracer.tiny_scenes import assert_mean, on_device, rendered, scene, triangles

EPS = float(np.finfo(np.float32).eps)


def leaves(materials, u, *, name="m", shape=None, o=(0.3, 0.2, 3.0), d=(0.0, 0.0, -1.0), textures=None, images=None):
    """Codes and normals of the leaves chosen with the numbers `u` at one point of a rectangle in the xy plane."""
    described = scene(
        shape or Rectangle(material=name), materials=materials, textures=textures or {}, images=images or {}
    )
    on = on_device(described)
    count = len(u)
    codes, normals = kernels.zeros(count, wp.vec3i), kernels.zeros((count, 2), wp.vec3)
    o, d = (kernels.array(np.broadcast_to(np.float32(x), (count, 3)), wp.vec3) for x in (o, d))
    kernels.launch(kernels.leaf_kernel, count, [on.record, o, d, kernels.array(np.float32(u), float), codes, normals])
    return codes.numpy(), normals.numpy()


UNIFORM = (np.arange(20_000) + 0.5) / 20_000


def shares(codes):
    """Fraction of choices for each kind of lobe, with -1 for holes."""
    kinds, counts = np.unique(codes[:, 1], return_counts=True)
    return dict(zip(kinds.tolist(), (counts / len(codes)).tolist(), strict=True))


def kind(material):
    """The kind of lobe of a plain material."""
    codes, _ = leaves({"m": material}, [0.5])
    return int(codes[0, 1])


def test_leaves_are_chosen_by_the_product_of_their_weights():
    """In mask(blend(mask(a), b)) every leaf, holes included, has the product of the weights above it."""
    materials = {
        "m": Mask(material="blend", opacity=0.8),
        "blend": Blend(materials=("hole", "metal"), weight=0.3),
        "hole": Mask(material="grey", opacity=0.25),
        "grey": Diffuse(),
        "metal": Conductor(),
    }
    codes, _ = leaves(materials, UNIFORM)
    expected = {-1: 0.2 + 0.8 * 0.7 * 0.75, kind(Diffuse()): 0.8 * 0.7 * 0.25, kind(Conductor()): 0.8 * 0.3}
    found = shares(codes)
    assert found.keys() == expected.keys()
    for lobe, share in expected.items():
        assert found[lobe] == pytest.approx(share, abs=3.0 / len(UNIFORM))  # one grid step at each end of its intervals
    assert set(codes[codes[:, 1] == -1, 0]) == {int(NOTHING)}


def test_textured_weights():
    """A weight is the luminance of its texture; opacity combines `factor`, vertex colours and the image."""
    image = np.full((2, 2, 4), 255, np.uint8)
    image[..., 3] = 102
    textures = {
        "image": Bitmap(file="f", channel="a", factor=0.5),
        "both": VertexColor(channel="a", factor=0.9, texture="image"),
    }
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    mesh = triangles(
        corners,
        [[0, 1, 2], [0, 2, 3]],
        uvs=((0, 0), (1, 0), (1, 1), (0, 1)),
        colors=((1, 1, 1, 0.75),) * 4,
        material="m",
    )
    materials = {"m": Mask(material="grey", opacity="both"), "grey": Diffuse()}
    codes, _ = leaves(materials, UNIFORM, shape=mesh, textures=textures, images={"f": image})
    assert np.mean(codes[:, 1] >= 0) == pytest.approx(0.9 * 0.5 * 0.75 * 0.4, abs=2.0 / len(UNIFORM))


def test_sides_and_one_sided_leaves():
    """The back of `sides` is the front of its second material; one-sided materials are black from behind, even in a blend."""
    materials = {
        "m": Mask(material="sides", opacity=0.5),
        "sides": Sides(front="grey", back="blend"),
        "blend": Blend(materials=("metal", "glassless"), weight=0.4),
        "grey": Diffuse(),
        "metal": Conductor(two_sided=False),
        "glassless": Diffuse(reflectance=0.1, two_sided=False),
    }
    behind = {"o": (0.3, 0.2, -3.0), "d": (0.0, 0.0, 1.0)}
    front, _ = leaves(materials, UNIFORM)
    assert shares(front) == pytest.approx({-1: 0.5, kind(Diffuse()): 0.5}, abs=1e-3)
    back, normals = leaves(materials, UNIFORM, **behind)
    assert shares(back) == pytest.approx({-1: 0.5, kind(Diffuse()): 0.2, kind(Conductor()): 0.3}, abs=1e-3)
    there = back[:, 0] >= 0
    assert np.all(back[there, 2] == 0)
    np.testing.assert_array_equal(normals[there, 0], np.broadcast_to([0.0, 0.0, -1.0], (there.sum(), 3)))
    black, _ = leaves(materials, UNIFORM, name="blend", **behind)
    assert set(black[:, 0]) == {int(BLACK)}


def test_trivial_trees_become_a_single_lobe():
    """Weights of 0 and 1 and blends of equal materials become a single lobe, which the path tracer evaluates without a tree."""
    materials = {
        "a": Diffuse(),
        "b": Conductor(),
        "full": Mask(material="a", opacity=1.0),
        "empty": Mask(material="a", opacity=0.0),
        "second": Blend(materials=("a", "b"), weight=1.0),
        "first": Blend(materials=("a", "b"), weight=0.0),
        "same": Blend(materials=("a", "full"), weight=0.5),
    }
    table = on_device(scene(Rectangle(material="a"), materials=materials)).record.materials.sides.numpy()
    rows = dict(zip([None, *materials], table.tolist(), strict=True))
    assert rows["full"] == rows["first"] == rows["same"] == rows["a"]
    assert rows["second"] == rows["b"]
    assert rows["empty"] == [int(NOTHING)] * 2


@pytest.mark.parametrize("behind", [False, True])
def test_normal_map(behind):
    """The normal is 2 colour - 1 along tangent, bitangent and normal, with x and y times `scale`; it is the same from behind."""
    color = np.array([0.7, 0.4, 0.9], np.float32)
    textures, images = {"n": Bitmap(file="f", raw=True)}, {"f": np.broadcast_to(color, (2, 2, 3)).copy()}
    materials = {"m": NormalMap(material="g", texture="n", scale=0.5), "g": Dielectric()}
    ray = {"o": (0.3, 0.2, -3.0), "d": (0.0, 0.0, 1.0)} if behind else {}
    codes, normals = leaves(materials, [0.5], textures=textures, images=images, **ray)
    expected = (2.0 * color.astype(np.float64) - 1.0) * [0.5, 0.5, 1.0]
    np.testing.assert_allclose(normals[0, 0], expected / np.linalg.norm(expected), atol=8 * EPS)
    np.testing.assert_array_equal(normals[0, 1], [0.0, 0.0, 1.0])
    assert codes[0, 2] == int(behind)


def test_normals_never_turn_away():
    """A mapped normal that faces away from the viewer is mirrored at the normal that it modifies."""
    color = np.array([1.0, 0.5, 0.6], np.float32)  # (1, 0, 0.2)
    textures, images = {"n": Bitmap(file="f", raw=True)}, {"f": np.broadcast_to(color, (2, 2, 3)).copy()}
    materials = {"m": NormalMap(material="g", texture="n"), "g": Diffuse()}
    d = np.array([0.8, 0.0, -0.6])  # the viewer is at -x
    _, normals = leaves(materials, [0.5], textures=textures, images=images, o=-3.0 * d, d=d)
    np.testing.assert_allclose(normals[0, 0], np.array([-1.0, 0.0, 0.2]) / np.hypot(1.0, 0.2), atol=4 * EPS)


def test_bump(rng):
    """The normal is that of the displaced surface, whose slope is a finite difference of the bilinear height."""
    height = rng.random((5, 4, 1)).astype(np.float32)
    textures, images = {"h": Bitmap(file="f", raw=True)}, {"f": height}
    materials = {"m": Bump(material="g", texture="h", scale=0.7), "g": Diffuse()}
    x, y = 0.31, 0.17
    _, normals = leaves(materials, [0.5], textures=textures, images=images, o=(x, y, 3.0))

    def displacement(x, y):  # the rectangle's uv are (x + 1) / 2 and (y + 1) / 2
        s, t = (x + 1.0) / 2.0 * 4 - 0.5, (y + 1.0) / 2.0 * 5 - 0.5
        i, j = int(np.floor(s)), int(np.floor(t))
        rows = height[j : j + 2, i : i + 2, 0].astype(np.float64)
        return 0.7 * np.array([1 - (t - j), t - j]) @ rows @ np.array([1 - (s - i), s - i])

    step = 1e-4
    slope = [
        (displacement(x + step, y) - displacement(x - step, y)) / (2 * step),
        (displacement(x, y + step) - displacement(x, y - step)) / (2 * step),
    ]
    expected = np.array([-slope[0], -slope[1], 1.0])
    np.testing.assert_allclose(normals[0, 0], expected / np.linalg.norm(expected), atol=1e-5)


def test_map_shadowing():
    """The term of Conty Estevez in float64: 0 where the two normals put the light on different sides, 1 where they agree."""
    n0, n = np.array([0.0, 0.0, 1.0]), np.array([0.6, 0.0, 0.8])
    theta = np.radians([-80.0, -60.0, -20.0, 0.0, 50.0, 89.0])
    wi = np.column_stack([np.sin(theta), np.zeros(6), np.cos(theta)])
    out = kernels.zeros(6, float)
    kernels.launch(
        kernels.shadowing_kernel, 6, [wp.vec3(*n0), wp.vec3(*n), kernels.array(np.float32(wi), wp.vec3), out]
    )
    alpha2 = min(0.125 * (0.6 / 0.8) ** 2, 1.0)
    expected = np.where(wi @ n > 0.0, 2.0 / (1.0 + np.sqrt(1.0 + alpha2 * np.tan(theta) ** 2)), 0.0)
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-4)
    kernels.launch(
        kernels.shadowing_kernel, 6, [wp.vec3(*n0), wp.vec3(*n0), kernels.array(np.float32(wi), wp.vec3), out]
    )
    np.testing.assert_allclose(out.numpy(), 1.0, rtol=4 * EPS)


def test_a_mask_in_front_of_the_sky():
    """Behind a black board of opacity 0.3 the sky has 0.7 of its radiance, and behind two boards 0.7^2."""
    board = {"m": Mask(material="black", opacity=0.3), "black": Diffuse(reflectance=0.0)}
    one = scene(Rectangle(material="m", to_world=(Scale(2.0),)), materials=board, lights=(ConstantLight(radiance=2.0),))
    assert_mean(rendered(one, 4096), 1.4)
    ball = scene(Sphere(material="m", radius=3.0), materials=board, lights=(ConstantLight(radiance=2.0),))
    assert_mean(rendered(ball, 4096), 2.0 * 0.7**2)


def test_holes_are_segments():
    """As in Mitsuba, a hole counts as a segment: with `max_depth` 2, sky is seen through one board but not through two."""
    board = {"m": Mask(material="black", opacity=0.0), "black": Diffuse(reflectance=0.0)}
    one = scene(
        Rectangle(material="m", to_world=(Scale(2.0),)), materials=board, lights=(ConstantLight(),), max_depth=2
    )
    assert_mean(rendered(one, 16), 1.0)
    ball = scene(Sphere(material="m", radius=3.0), materials=board, lights=(ConstantLight(),), max_depth=2)
    assert_mean(rendered(ball, 16), 0.0)


def test_weights_that_are_not_finite_are_counted():
    """A NaN in the texture of a weight drops the sample, so that it is counted and reported."""
    image = np.full((2, 2, 1), np.nan, np.float32)
    described = scene(
        Rectangle(material="m", to_world=(Scale(2.0),)),
        materials={"m": Mask(material="g", opacity="t"), "g": Diffuse()},
        textures={"t": Bitmap(file="f")},
        images={"f": image},
        lights=(ConstantLight(),),
    )
    renderer = rendered(described, 4)
    assert renderer.dropped == 4 * 64
