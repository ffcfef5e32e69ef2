"""Probabilities of choosing lights by constant ones, and what they leave to the tree of local lights."""

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import ConstantLight, DirectionalLight, PointLight, Sphere, SpotLight
from nrc_tracer.tracer import light_table
from nrc_tracer.tracer.light_table import UNIFORM_SHARE
from tests.tracer.chi_square import assert_counts
from tests.tracer.light_choices import choices, probabilities
from tests.tracer.tiny_scenes import on_device, scene, triangles


@pytest.mark.parametrize("few", [0, 20])
def test_lights_are_chosen_with_their_probability(few, rng, monkeypatch):
    """Each of nine lights of all kinds is chosen as often as its stated probability says, with a tree and without."""
    monkeypatch.setattr(light_table, "FEW_LIGHTS", few)
    quad = triangles([[0, 0, 0], [3, 0, 0], [0, 1, 0], [0.1, 0, 1]], [[0, 1, 2], [0, 1, 3]], emission=(2.0, 1.0, 0.5))
    lights = [PointLight(position=(i, 2.0, 0.0), intensity=i) for i in (0.1, 1.0, 30.0)]
    lights += [SpotLight(), DirectionalLight(direction=(0, 0, 1)), ConstantLight(radiance=0.3)]
    on = on_device(scene(quad, Sphere(emission=0.2), lights=lights))
    p, n, count = (0.5, 0.7, 3.0), (0.0, 0.0, -1.0), 400_000
    expected = probabilities(on, p, n)
    assert expected.sum() == pytest.approx(1.0, abs=1e-6)
    numbers, chances = choices(on, p, n, count, rng)
    assert_counts(np.bincount(numbers, minlength=len(expected)), count * expected)
    np.testing.assert_array_equal(chances, expected[numbers].astype(np.float32))


def test_share_of_lights_at_infinity_follows_power_and_an_even_part():
    """3/4 of the probability follows power and 1/4 is even over emitters; a mesh is one emitter."""
    quad = triangles([[0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 2], [0, 2, 3]], emission=3.0)
    on = on_device(
        scene(quad, lights=[PointLight(intensity=0.0), DirectionalLight(direction=(1, 0, 0), irradiance=5.0)])
    )
    radius2 = 0.25 * (4.0 + 1.0 + 1.0)  # of the sphere around the mesh
    powers = np.pi * np.array([3.0 * 1.5, 5.0 * radius2])
    expected = (1.0 - UNIFORM_SHARE) * powers / powers.sum() + UNIFORM_SHARE / 2.0
    found = probabilities(on, (0.0, 0.0, 5.0), (0.0, 0.0, 0.0))
    np.testing.assert_allclose([found[:2].sum(), found[3]], expected, rtol=1e-6)
    assert found[2] == 0.0


def test_lights_without_power_are_not_chosen():
    """Without any power nothing is sampled, and nothing fails."""
    on = on_device(scene(lights=[PointLight(intensity=0.0), SpotLight(intensity=0.0), ConstantLight(radiance=0.0)]))
    assert on.record.lights.count == 0
    assert not probabilities(on, (0.0, 0.0, 1.0), (0.0, 0.0, 1.0)).any()


def test_a_second_background_is_refused():
    """Two constant lights are an error instead of a silent choice."""
    with pytest.raises(SceneError, match="background"):
        on_device(scene(lights=[ConstantLight(), ConstantLight()]))
