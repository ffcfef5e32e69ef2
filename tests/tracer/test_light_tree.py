"""The tree of local lights: its bounds, and the choices made by walking down."""

import time

import numpy as np
import pytest

from nrc_tracer.scene.model import ConstantLight, Instance, PointLight, Rotate, Sphere, SpotLight, Translate
from nrc_tracer.tracer import light_table
from nrc_tracer.tracer.light_bounds import LightBounds
from nrc_tracer.tracer.light_tree import build_light_tree, widen
from nrc_tracer.tracer.lights.tree import CHILDREN
from tests.tracer.chi_square import assert_counts
from tests.tracer.light_choices import choices, choices_by, probabilities
from tests.tracer.tiny_scenes import image_mean, on_device, rendered, scene, triangles


@pytest.fixture(autouse=True)
def always_a_tree(monkeypatch):
    """Few lights are chosen by the tree too."""
    monkeypatch.setattr(light_table, "FEW_LIGHTS", 0)


def random_directions(rng, count):
    """Unit vectors, uniform over the sphere."""
    w = rng.normal(size=(count, 3))
    return w / np.linalg.norm(w, axis=1, keepdims=True)


def random_triangles(rng, count, size=0.3):
    """Bounds of random triangles, whose corners and normals come with them."""
    corners = rng.normal(size=(count, 1, 3)) * 3.0 + rng.normal(size=(count, 3, 3)) * size
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return LightBounds.of_triangles(corners, normals, rng.random(count) + 0.01), corners, normals


def lights_below(tree):
    """The numbers of the lights below each node."""
    found = [[] for _ in tree.first]
    for node in reversed(range(len(tree.first))):
        first = tree.first[node]
        found[node] = [-1 - first] if first < 0 else found[first] + found[first + 1]
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 13, 300])
def test_nodes_bound_the_lights_below_them(count, rng):
    """Each light is one leaf; spheres, cones and intensities of all nodes hold those of their lights."""
    lights, corners, normals = random_triangles(rng, count)
    tree = build_light_tree(lights)
    below, bounds = lights_below(tree), tree.bounds
    assert sorted(below[0]) == list(range(count))
    for node, members in enumerate(below):
        distance = np.linalg.norm(corners[members] - bounds.center[node], axis=2)
        assert distance.max() <= bounds.radius[node] * (1.0 + 1e-12)
        angle = np.arccos(np.clip(normals[members] @ bounds.axis[node], -1.0, 1.0))
        assert angle.max() <= bounds.spread[node] + 1e-7
        assert bounds.intensity[node] == pytest.approx(lights.intensity[members].sum(), rel=1e-12)


@pytest.mark.parametrize("places", ["one place", "a line", "distances that double"])
def test_trails_lead_to_their_lights(places):
    """From the lowest bit on, a trail goes to first and second children, in degenerate scenes too."""
    count = 200
    x = {"one place": np.zeros(count), "a line": np.arange(count), "distances that double": 2.0 ** np.arange(count)}[
        places
    ]
    corners = np.zeros((count, 3, 3))
    corners[:, :, 0] = x[:, None]
    tree = build_light_tree(LightBounds.of_triangles(corners, np.zeros((count, 3)), np.ones(count)))
    for light, trail in enumerate(tree.trails.tolist()):
        node = 0
        while tree.first[node] >= 0:
            node, trail = tree.first[node] + (trail & 1), trail >> 1
        assert tree.first[node] == -1 - light
        assert trail == 0


@pytest.mark.parametrize("count", [1, 2, 8, 9, 300])
def test_wide_nodes_hold_what_lay_three_levels_below(count, rng):
    """Children bound the lights below them, intensities of siblings sum to their parent's, and trails lead to the lights."""
    lights, corners, _ = random_triangles(rng, count)
    tree = widen(build_light_tree(lights))
    bounds = {place: tree.bounds[slice(i, i + 1)] for i, place in enumerate(tree.place.tolist())}
    for light, trail in enumerate(tree.trails.tolist()):
        node = 0
        while node >= 0:
            child = CHILDREN * node + (trail & (CHILDREN - 1))
            distance = np.linalg.norm(corners[light] - bounds[child].center, axis=1)
            assert distance.max() <= bounds[child].radius[0] * (1.0 + 1e-12)
            assert np.all(corners[light] >= bounds[child].low - 1e-12)
            assert np.all(corners[light] <= bounds[child].high + 1e-12)
            node, trail = int(tree.children[child]), trail >> 3
        assert node == -1 - light
        assert trail == 0
    sums = np.bincount(tree.place // CHILDREN, tree.bounds.intensity)
    assert sums[0] == pytest.approx(lights.intensity.sum())
    for place, bound in bounds.items():
        if tree.children[place] >= 0:
            assert sums[tree.children[place]] == pytest.approx(bound.intensity[0])
    assert len(sums) <= 1 + count // 2


def many_lights(rng):
    """A scene with lights of all local kinds, instances among them, under a constant sky."""
    quad = triangles([[0, 0, 0], [0.2, 0, 0], [0, 0.2, 0]], [[0, 1, 2]], emission=(3.0, 2.0, 1.0))
    ball = Sphere(radius=0.1, emission=2.0)
    shapes = [
        Instance(
            group="lamp",
            to_world=(
                Rotate(axis=tuple(rng.normal(size=3)), angle=float(rng.uniform(0, 360))),
                Translate(tuple(rng.normal(size=3) * 2.0)),
            ),
        )
        for _ in range(40)
    ]
    lights = [PointLight(position=tuple(rng.normal(size=3) * 2.0), intensity=float(rng.random())) for _ in range(20)]
    lights += [
        SpotLight(
            to_world=(Rotate(axis=tuple(rng.normal(size=3)), angle=100.0), Translate(tuple(rng.normal(size=3)))),
            intensity=float(rng.random()),
            cutoff_angle=float(rng.uniform(5, 90)),
        )
        for _ in range(20)
    ]
    described = scene(*shapes, lights=[*lights, ConstantLight(radiance=0.05)])
    described.description.groups["lamp"] = (quad, ball)
    return on_device(described)


def test_choices_follow_their_probabilities(rng):
    """At random points with random normals and without, lights are chosen as often as stated.

    The probabilities sum to 1, less that of walks down the tree that end where no light can arrive.
    """
    on = many_lights(rng)
    count = 100_000
    normals = random_directions(rng, 8)
    normals[::4] = 0.0
    for p, n in zip(rng.normal(size=(8, 3)) * 2.0, normals, strict=True):
        expected = probabilities(on, p, n)
        numbers, chances = choices(on, p, n, count, rng)
        found = chances > 0.0
        nothing = 1.0 - expected.sum()
        assert nothing == pytest.approx(np.mean(~found), abs=1e-5 + 4.5 * np.sqrt(max(nothing, 0.0) / count))
        counts = np.bincount(numbers[found], minlength=len(expected))
        assert_counts(np.append(counts, np.sum(~found)), count * np.append(expected, max(nothing, 0.0)))
        np.testing.assert_array_equal(chances[found], expected[numbers[found]].astype(np.float32))


def test_every_light_that_can_contribute_can_be_chosen(rng):
    """Wherever one of random triangles shines on the upper side of a surface, its probability is positive."""
    _, corners, normals = random_triangles(rng, 100, size=1.0)
    mesh = triangles(corners.reshape(-1, 3), np.arange(300).reshape(-1, 3), emission=1.0)
    on = on_device(scene(mesh))
    lit = 0
    for p, n in zip(rng.normal(size=(200, 3)) * 3.0, random_directions(rng, 200), strict=True):
        shines = np.einsum("ij,ij->i", normals, p - corners[:, 0]) > 0.0
        shines &= ((corners - p) @ n).max(axis=1) > 0.0
        assert np.all(probabilities(on, p, n)[shines] > 0.0)
        lit += shines.sum()
    assert lit > 1000


def test_a_spot_shines_within_its_cone_alone(rng):
    """A spot is chosen before an equal one that shines away, and never where it is dark."""
    spots = [
        SpotLight(to_world=(Rotate(axis=(1.0, 0.0, 0.0), angle=angle), Translate((0.0, 0.0, 1.0))), cutoff_angle=30.0)
        for angle in (0.0, 180.0)
    ]
    on = on_device(scene(lights=spots))
    np.testing.assert_array_equal(probabilities(on, (0.1, 0.0, 2.0), (0.0, 0.0, 0.0)), [1.0, 0.0])
    np.testing.assert_array_equal(probabilities(on, (0.1, 0.0, 0.0), (0.0, 0.0, 0.0)), [0.0, 1.0])


@pytest.mark.parametrize("tilt", [0.0, 20.0])
def test_every_spot_of_a_row_can_be_chosen_where_it_shines(tilt, rng):
    """Flat groups of narrow cones: the points below a row of spots, its ends among them, and points anywhere around."""
    places = np.column_stack([(np.arange(64) - 31.5) * 1.25, np.zeros(64), np.full(64, 1.5)])
    angles = 180.0 + tilt * rng.uniform(-1.0, 1.0, 64)
    spots = [
        SpotLight(
            to_world=(Rotate(axis=(1.0, 0.0, 0.0), angle=float(angle)), Translate(tuple(place))),
            cutoff_angle=30.0,
            beam_width=0.0,
        )
        for place, angle in zip(places.tolist(), angles, strict=True)
    ]
    on = on_device(scene(lights=spots))
    turned = np.radians(angles)
    axes = np.column_stack([np.zeros(64), -np.sin(turned), np.cos(turned)])
    below = np.column_stack([rng.uniform(-41, 41, 100), rng.uniform(-0.8, 0.8, 100), np.zeros(100)])
    lit = 0
    for p in np.concatenate([below, rng.uniform((-45, -3, -3), (45, 3, 3), (100, 3))]):
        way = p - places
        cosine = np.einsum("ij,ij->i", axes, way) / np.linalg.norm(way, axis=1)
        shines = cosine > np.cos(np.radians(29.9))
        assert np.all(probabilities(on, p, (0.0, 0.0, 0.0))[shines] > 0.0)
        lit += shines.sum()
    assert lit > 100


def test_light_below_the_horizon_is_not_chosen(rng):
    """With equal lights above and below a point, a normal admits only that on its side; without one, both can be chosen."""
    on = on_device(scene(lights=[PointLight(position=(0.0, 0.0, z)) for z in (1.0, -1.0)]))
    np.testing.assert_array_equal(probabilities(on, (0.0, 0.0, 0.0), (0.0, 0.0, 1.0)), [1.0, 0.0])
    np.testing.assert_array_equal(probabilities(on, (0.0, 0.0, 0.0), (0.0, 0.0, -1.0)), [0.0, 1.0])
    np.testing.assert_array_equal(probabilities(on, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), [0.5, 0.5])


def test_stratified_numbers_give_stratified_lights():
    """The lights of increasing random numbers come in runs, one for each light, as wide as its probability."""
    rng = np.random.default_rng(5)
    on = on_device(scene(lights=[PointLight(position=tuple(rng.normal(size=3))) for _ in range(30)]))
    p, n = (0.2, 0.1, 0.0), (0.0, 0.0, 0.0)

    class Evenly:
        """Stands in for a generator: the first of two numbers is evenly spaced."""

        def integers(self, low, high, shape):
            return np.column_stack([np.arange(shape[0]) * (high // shape[0]), np.zeros(shape[0], int)])

    count = 1 << 14
    numbers, _ = choices(on, p, n, count, Evenly())
    expected = probabilities(on, p, n)
    assert np.count_nonzero(np.diff(numbers)) == np.count_nonzero(expected * count > 1.0) - 1
    np.testing.assert_allclose(np.bincount(numbers, minlength=30) / count, expected, atol=2.0 / count)


def street_lamps(rng):
    """A floor under forty small lamps of all local kinds."""
    floor = triangles([[-3, -3, 0], [3, -3, 0], [3, 3, 0], [-3, 3, 0]], [[0, 1, 2], [0, 2, 3]])
    shapes, lights = [floor], []
    for i in range(40):
        x, y, z = (float(v) for v in rng.uniform((-2, -2, 0.2), (2, 2, 1.5)))
        if i % 4 == 0:
            shapes.append(Sphere(center=(x, y, z), radius=0.05, emission=float(rng.uniform(1, 20))))
        elif i % 4 == 1:
            corners = [[x, y, z], [x, y + 0.1, z], [x + 0.1, y + 0.1, z], [x + 0.1, y, z]]
            shapes.append(triangles(corners, [[0, 1, 2], [0, 2, 3]], emission=float(rng.uniform(1, 20))))
        elif i % 4 == 2:
            lights.append(PointLight(position=(x, y, z), intensity=float(rng.uniform(0.01, 0.2))))
        else:
            down = (Rotate(axis=(1.0, 0.0, 0.0), angle=180.0), Translate((x, y, z)))
            lights.append(
                SpotLight(to_world=down, intensity=float(rng.uniform(0.1, 1.0)), cutoff_angle=40.0, beam_width=0.0)
            )
    return scene(*shapes, lights=[*lights, ConstantLight(radiance=0.02)], film=(24, 24), max_depth=4)


def test_images_are_those_of_choice_by_power(monkeypatch):
    """The mean of an image is that of choosing lights by power, within its noise; the noise is less."""
    described = street_lamps(np.random.default_rng(11))
    by_place = rendered(described, 64)
    monkeypatch.setattr(light_table, "FEW_LIGHTS", 1000)
    by_power = rendered(described, 64)
    (a, a_error), (b, b_error) = image_mean(by_place), image_mean(by_power)
    assert np.all(np.abs(a - b) < 4.5 * np.hypot(a_error, b_error))
    assert np.median(by_place.moments()[1]) < 0.5 * np.median(by_power.moments()[1])


def test_bits_do_not_depend_on_threads():
    """One thread and three render the same bits."""
    described = street_lamps(np.random.default_rng(12))
    one, three = (rendered(described, 4, threads=threads).moments()[0] for threads in (1, 3))
    np.testing.assert_array_equal(one, three)


@pytest.mark.slow
def test_half_a_million_emissive_triangles_load(rng, capsys):
    """A mesh of 500,000 emitting triangles becomes a tree that leads to each; the time is printed."""
    count = 500_000
    lights, *_ = random_triangles(rng, count)
    begin = time.perf_counter()
    tree = build_light_tree(lights)
    wide = widen(tree)
    with capsys.disabled():
        print(f" {time.perf_counter() - begin:.1f} s", end="")
    assert len(np.unique(wide.trails)) == count
    leaves = tree.first < 0
    np.testing.assert_array_equal(np.sort(-1 - tree.first[leaves]), np.arange(count))
    assert int(tree.trails.max()).bit_length() < 64
    assert tree.bounds.intensity[0] == pytest.approx(lights.intensity.sum())


@pytest.mark.parametrize("count", [1, 2, 37, 200])
def test_the_last_random_numbers_choose_a_light_of_the_scene(count, rng):
    """Rounding of numbers near 1 leads to no light beyond the last one."""
    on = on_device(scene(lights=[PointLight(position=tuple(rng.normal(size=3))) for _ in range(count)]))
    last = np.float32(1.0) - np.float32(2.0**-24)
    u = np.array([(a, b) for a in (last, np.float32(0.9999999), 0.5) for b in (last, 0.0)], np.float32)
    for p in rng.normal(size=(10, 3)) * 4.0:
        numbers, chances = choices_by(on, p, np.zeros(3), u)
        assert np.all((numbers >= 0) & (numbers < count))
        assert np.all(np.isfinite(chances))
