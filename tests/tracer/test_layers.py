"""Layers: the first surface that a camera sees, compared with scenes of simple geometry."""

import numpy as np
import pytest

from nrc_tracer.errors import NrcError
from nrc_tracer.scene.model import (
    Conductor,
    ConstantLight,
    Dielectric,
    Diffuse,
    Film,
    Instance,
    Mask,
    Orthographic,
    Perspective,
    Plastic,
    Principled,
    Rectangle,
    Rotate,
    Scale,
    Sphere,
    Translate,
)
from nrc_tracer.tracer import Renderer
from tests.tracer.tiny_scenes import FACING_X, rendered, scene

ORTHOGRAPHIC = Orthographic(to_world=(Scale((1.0, 1.0, 1.0)), *FACING_X))


def test_layers_of_a_plane_and_a_sphere():
    """A ball of radius 1 at the origin in front of a wall at z = -2, seen along -z from z = 4 by parallel rays."""
    described = scene(
        Rectangle(to_world=(Scale(9.0), Translate((0.0, 0.0, -2.0))), material="red"),
        Sphere(radius=0.8, material="blue"),
        materials={"red": Diffuse(reflectance=(0.8, 0.1, 0.2)), "blue": Diffuse(reflectance=(0.1, 0.2, 0.7))},
        lights=[ConstantLight()],
        camera=ORTHOGRAPHIC,
        film=(64, 64),
    )
    renderer = rendered(described, 64)
    found = renderer.layers()
    assert list(found) == ["albedo", "normal", "depth", "position", "shape", "material", "variance"]

    y, x = np.mgrid[0:64, 0:64]
    right, up = (x + 0.5) / 32 - 1, 1 - (y + 0.5) / 32
    radius = np.hypot(right, up)
    wall, ball = radius > 0.85, radius < 0.6
    assert np.all(found["shape"][wall] == 0)
    assert np.all(found["shape"][ball] == 1)
    assert np.all(found["material"][wall] == 1)
    assert np.all(found["material"][ball] == 2)
    np.testing.assert_allclose(found["albedo"][wall], np.broadcast_to([0.8, 0.1, 0.2], (wall.sum(), 3)), rtol=1e-5)
    np.testing.assert_allclose(found["albedo"][ball], np.broadcast_to([0.1, 0.2, 0.7], (ball.sum(), 3)), rtol=1e-5)
    np.testing.assert_allclose(found["depth"][wall], 6.0, rtol=1e-5)
    np.testing.assert_allclose(found["normal"][wall], np.broadcast_to([0, 0, 1], (wall.sum(), 3)), atol=1e-5)

    # The mean of 64 random points of a pixel is within four standard errors of its centre: 4 (1/32) / sqrt(12 * 64)
    spread = 4 * (1 / 32) / np.sqrt(12 * 64)
    np.testing.assert_allclose(found["position"][..., 0], right, atol=1.2 * spread)
    np.testing.assert_allclose(found["position"][..., 1], up, atol=1.2 * spread)
    z = np.sqrt(np.maximum(0.64 - radius**2, 0.0))
    np.testing.assert_allclose(found["depth"][ball], 4.0 - z[ball], atol=2 * spread)
    np.testing.assert_allclose(found["normal"][ball][:, 2], z[ball] / 0.8, atol=3 * spread)
    np.testing.assert_array_equal(found["variance"], renderer.moments()[1].astype(np.float32))


def test_layers_of_an_empty_scene():
    found = rendered(scene(lights=[ConstantLight()]), 4).layers()
    assert not found["albedo"].any()
    assert not found["normal"].any()
    assert not found["position"].any()
    assert np.all(np.isinf(found["depth"]))
    assert np.all(found["shape"] == -1)
    assert np.all(found["material"] == -1)


@pytest.mark.parametrize(
    ("material", "albedo"),
    [
        (Diffuse(reflectance=(0.1, 0.5, 0.9)), (0.1, 0.5, 0.9)),
        (Diffuse(reflectance=0.3, two_sided=False), (0.0, 0.0, 0.0)),
        (Conductor(), (1.0, 1.0, 1.0)),
        (Dielectric(), (1.0, 1.0, 1.0)),
        (Plastic(diffuse_reflectance=(0.2, 0.4, 0.6)), (0.2, 0.4, 0.6)),
        (Principled(base_color=(0.3, 0.6, 0.1), metallic=1.0), (0.3, 0.6, 0.1)),
        (Principled(base_color=(0.2, 0.2, 0.2), spec_trans=0.5), (0.6, 0.6, 0.6)),
    ],
)
def test_albedo_of_each_material_seen_from_behind(material, albedo):
    """The normal is that of the visible side, although the wall shows its back."""
    wall = Rectangle(to_world=(Scale(9.0), Rotate(axis=(0, 1, 0), angle=180.0)), material="m")
    found = rendered(scene(wall, materials={"m": material}, lights=[ConstantLight()]), 2).layers(["albedo", "normal"])
    np.testing.assert_allclose(found["albedo"], np.broadcast_to(albedo, (8, 8, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["normal"], np.broadcast_to([0, 0, 1], (8, 8, 3)), atol=1e-6)


def test_masks_show_the_surface_behind_them():
    """The albedo of a wall with opacity 1/4 in front of another wall is the mixture of both."""
    described = scene(
        Rectangle(to_world=(Scale(9.0),), material="grid"),
        Rectangle(to_world=(Scale(9.0), Translate((0.0, 0.0, -1.0))), material="white"),
        materials={
            "black": Diffuse(reflectance=0.0),
            "white": Diffuse(reflectance=1.0),
            "grid": Mask(material="black", opacity=0.25),
        },
        lights=[ConstantLight()],
    )
    albedo = rendered(described, 64).layers(["albedo"])["albedo"]
    standard_error = np.sqrt(0.25 * 0.75 / albedo[..., 0].size / 64)
    assert abs(albedo.mean() - 0.75) < 4 * standard_error


def test_instances_have_their_own_shape_numbers():
    described = scene(
        Instance(group="ball", to_world=(Translate((-0.7, 0.0, 0.0)),)),
        Instance(group="ball", to_world=(Translate((0.7, 0.0, 0.0)),)),
        lights=[ConstantLight()],
    )
    import msgspec

    groups = {"ball": (Sphere(radius=0.3),)}
    described = type(described)(msgspec.structs.replace(described.description, groups=groups))
    found = rendered(described, 1).layers(["shape", "material"])
    assert set(np.unique(found["shape"])) == {-1, 0, 1}
    assert set(np.unique(found["material"])) == {-1, 0}


@pytest.mark.parametrize("aperture", [0.0, 0.3])
def test_depth_is_along_the_axis_also_through_a_lens(aperture):
    camera = Perspective(to_world=FACING_X, fov=60.0, aperture_radius=aperture, focus_distance=4.0)
    wall = Rectangle(to_world=(Scale(9.0),))
    found = rendered(scene(wall, camera=camera, lights=[ConstantLight()]), 8).layers(["depth"])
    np.testing.assert_allclose(found["depth"], 4.0, rtol=1e-5)


def test_threads_blocks_and_crops_change_no_bit():
    def layers(crop=None, **options):
        described = scene(Sphere(radius=1.0), lights=[ConstantLight()], film=(12, 10), crop=crop)
        return rendered(described, 8, **options).layers()

    whole = layers(threads=1)
    for name, layer in layers(threads=2, block_size=7).items():
        np.testing.assert_array_equal(layer, whole[name])
    for name, layer in layers(crop=(3, 2, 6, 5)).items():
        np.testing.assert_array_equal(layer, whole[name][2:7, 3:9])


def test_layers_before_the_first_sample_and_unknown_layers():
    renderer = Renderer(scene(Sphere(), lights=[ConstantLight()]), device="cpu")
    assert renderer.layers(["shape"])["shape"].max() == 0
    assert renderer.samples == 0
    with pytest.raises(NrcError, match=r'no layer "albeda" \(did you mean "albedo"'):
        renderer.layers(["albeda"])
    assert Film().width  # the default film is not changed
