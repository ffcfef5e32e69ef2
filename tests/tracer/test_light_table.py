"""The choice of lights: the alias table, and the probabilities that it represents."""

import numpy as np
import pytest

from nrc_tracer.errors import SceneError
from nrc_tracer.scene.model import ConstantLight, DirectionalLight, PointLight, Sphere, SpotLight
from nrc_tracer.tracer.light_table import UNIFORM_SHARE, alias_table
from nrc_tracer.tracer.lights.light import LightRecord
from nrc_tracer.tracer.scene_record import SceneRecord
from tests.tracer import kernels
from tests.tracer.chi_square import assert_counts
from tests.tracer.tiny_scenes import on_device, scene, triangles


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_alias_table_reproduces_the_probabilities(n, rng):
    """Each cell's probabilities, summed for its own item and its alias, give the original probabilities to float64 rounding."""
    p = rng.random(n) ** 8
    p[n // 2] *= 0.0 if n > 2 else 1.0
    p /= p.sum()
    threshold, alias = alias_table(p)
    sums = threshold.copy()
    np.add.at(sums, alias, 1.0 - threshold)
    np.testing.assert_allclose(sums / n, p, atol=1e-15 * n)
    assert np.all((threshold >= 0.0) & (threshold <= 1.0))


def light_records(described):
    on = on_device(described)
    return on, on.record.lights.records.numpy()


def test_lights_are_chosen_with_their_probability(rng):
    """Each of nine lights is chosen as often as its stated probability says."""
    quad = triangles([[0, 0, 0], [3, 0, 0], [0, 1, 0], [0.1, 0, 1]], [[0, 1, 2], [0, 1, 3]], emission=(2.0, 1.0, 0.5))
    lights = [PointLight(intensity=i) for i in (0.1, 1.0, 30.0)]
    lights += [SpotLight(), DirectionalLight(direction=(0, 0, 1)), ConstantLight(radiance=0.3)]
    on, records = light_records(scene(quad, Sphere(emission=0.2), lights=lights))
    count = 400_000
    out = kernels.zeros(count, int)
    kernels.launch(
        kernels.choose_light_kernel,
        count,
        [on.record, kernels.array(kernels.uniform(rng, count, 2), kernels.wp.vec2), out],
    )
    assert records["probability"].sum() == pytest.approx(1.0, abs=1e-6)
    assert_counts(np.bincount(out.numpy(), minlength=len(records)), count * records["probability"].astype(np.float64))


def test_probability_follows_power_and_an_even_part():
    """3/4 of the probability follows power and 1/4 is even over emitters; a mesh is one emitter, divided by triangle areas."""
    quad = triangles([[0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 2], [0, 2, 3]], emission=3.0)
    _, records = light_records(scene(quad, lights=[PointLight(intensity=5.0), PointLight(intensity=0.0)]))
    areas = np.array([1.0, 0.5])
    powers = np.array([*(np.pi * 3.0 * areas), 4.0 * np.pi * 5.0])
    even = np.array([*(areas / areas.sum()), 1.0]) / 2.0
    expected = (1.0 - UNIFORM_SHARE) * powers / powers.sum() + UNIFORM_SHARE * even
    np.testing.assert_allclose(records["probability"], [*expected, 0.0], rtol=1e-6)
    np.testing.assert_allclose(records["area_density"][:2], expected[:2] / areas, rtol=1e-6)


def test_lights_without_power_are_equally_likely():
    """Without any power all lights are equally likely, with finite probabilities."""
    _, records = light_records(scene(lights=[PointLight(intensity=0.0), SpotLight(intensity=0.0)]))
    np.testing.assert_array_equal(records["probability"], 0.5)


def test_a_second_background_is_refused():
    """Two constant lights are an error instead of a silent choice."""
    with pytest.raises(SceneError, match="background"):
        on_device(scene(lights=[ConstantLight(), ConstantLight()]))


def test_choices_among_very_many_lights_are_unbiased(rng):
    """A light with half of the power among 200,000 others is chosen every second time."""
    n, count = 200_000, 1 << 20
    p = np.full(n, 0.5 / (n - 1))
    p[77] = 0.5
    records = np.zeros(n, LightRecord.numpy_dtype())
    records["threshold"], records["alias"] = alias_table(p)
    record = SceneRecord()
    record.lights.count, record.lights.records = n, kernels.array(records, LightRecord)
    out = kernels.zeros(count, int)
    kernels.launch(
        kernels.choose_light_kernel,
        count,
        [record, kernels.array(kernels.uniform(rng, count, 2), kernels.wp.vec2), out],
    )
    share = np.mean(out.numpy() == 77)
    assert abs(share - 0.5) < 4.0 * np.sqrt(0.25 / count)
