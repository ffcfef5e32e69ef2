"""Shadow rays reach up to a light: what stands close in front of it blocks it, and it does not block itself."""

import numpy as np
import pytest

from nrc_tracer.scene.model import Diffuse, PointLight, Rectangle, Rotate, Scale, Sphere, Translate
from tests.tracer.tiny_scenes import ACCELS, assert_mean, probe, rendered, scene

GREY = {"grey": Diffuse(reflectance=0.5), "black": Diffuse(reflectance=0.0)}
FLOOR = Rectangle(to_world=(Scale(1.0),), material="grey")
FAR = 266.0
"""Distance of a lamp, at which one part in 10,000 is 0.027."""


def facing_down(height: float, half: float, **options) -> Rectangle:
    """A square at some height above the floor that faces it."""
    turn = Rotate(axis=(1.0, 0.0, 0.0), angle=180.0)
    return Rectangle(to_world=(Scale(half), turn, Translate((0.0, 0.0, height))), **options)


LIGHTS = {
    "square": {"shapes": [facing_down(FAR, 5.0, emission=100.0, material="black")]},
    "sphere": {"shapes": [Sphere(center=(0.0, 0.0, FAR + 5.0), radius=5.0, emission=100.0, material="black")]},
    "point": {"lights": [PointLight(position=(0.0, 0.0, FAR), intensity=1e5)]},
}


@ACCELS
@pytest.mark.parametrize("gap", [0.02, 0.002])
@pytest.mark.parametrize("name", LIGHTS)
def test_a_wall_close_in_front_of_a_lamp_blocks_it(name, gap, accel):
    """A double-walled shade 266 units away, whose walls are a few millimetres apart, lets no light through."""
    light = LIGHTS[name]
    for shapes, dark in (([], False), ([facing_down(FAR - gap, 50.0, material="black")], True)):
        described = scene(
            FLOOR,
            *light.get("shapes", ()),
            *shapes,
            lights=light.get("lights", ()),
            materials=GREY,
            camera=probe(origin=(3.0, 0.0, 4.0)),
            max_depth=2,
        )
        image = rendered(described, 64, accel=accel).image().rgb
        assert (image.max() == 0.0) if dark else (image.min() > 0.0)


@ACCELS
@pytest.mark.parametrize(("distance", "cosine"), [(30.0, 0.5), (1000.0, 0.5), (1000.0, 0.01)])
@pytest.mark.parametrize("place", [0.0, 700.0])
def test_a_distant_lamp_does_not_block_itself(place, distance, cosine, accel):
    """The irradiance from a small square far away, seen at any angle, is L A cos / d^2: none of its light is lost."""
    half = 0.05
    tilt = Rotate(axis=(1.0, 0.0, 0.0), angle=180.0 - float(np.degrees(np.arccos(cosine))))
    floor = Rectangle(to_world=(Translate((place, 0.0, 0.0)),), material="grey")
    lamp = Rectangle(to_world=(Scale(half), tilt, Translate((place, 0.0, distance))), emission=1e6, material="black")
    camera = probe(origin=(place + 3.0, 0.0, 4.0), target=(place, 0.0, 0.0), size=1e-4)
    described = scene(floor, lamp, materials=GREY, camera=camera, max_depth=2)
    expected = 0.5 / np.pi * 1e6 * (2.0 * half) ** 2 * cosine / distance**2
    # The cosine at the lamp is off by the rounding of its vertices, 6e-8 of their coordinates over its size
    rounding = 2e-4 + 6e-8 * distance / half * np.sqrt(1.0 / cosine**2 - 1.0)
    assert_mean(rendered(described, 1024, accel=accel), expected, rounding=rounding)
