"""Cut paths carry the same light as whole paths, and their records agree with closed forms."""

import numpy as np
import pytest

from nrc_tracer.cache.cut_policy import RENDER, TRAIN, VIEW
from nrc_tracer.cache.records import BROKEN, COMPLETE, IN_CACHE
from nrc_tracer.scene.model import (
    Bitmap,
    Blend,
    Conductor,
    ConstantLight,
    Dielectric,
    Diffuse,
    LookAt,
    Mask,
    Orthographic,
    Perspective,
    Plastic,
    PointLight,
    Principled,
    Rectangle,
    Rotate,
    Scale,
    Sphere,
    Translate,
)
from tests.tracer.cut_paths import cut_paths, traced_samples
from tests.tracer.tiny_scenes import probe, scene

INSIDE = Perspective(to_world=(LookAt(origin=(0.3, 0.2, 0.7), target=(-0.5, 0.1, -0.6)),), fov=100.0)


# The same light


SKY = ConstantLight(radiance=(0.5, 0.7, 1.0))
LAMP = PointLight(position=(1.0, 1.5, 2.0), intensity=(4.0, 3.0, 2.0))


def _things(material, name="m", **materials):
    """A ball of the given material on a grey floor under a lamp and a sky, with a glowing ball beside it."""
    return {
        "shapes": (
            Sphere(center=(-0.3, 0.0, 0.0), radius=0.7, material=name),
            Rectangle(
                to_world=(Scale(5.0), Rotate(axis=(1, 0, 0), angle=-90.0), Translate((0, -0.7, 0))), material="grey"
            ),
            Sphere(center=(0.9, -0.2, 0.2), radius=0.3, emission=(3.0, 2.0, 1.0), material="grey"),
        ),
        "lights": [SKY, LAMP],
        "materials": {"grey": Diffuse(reflectance=0.6), name: material, **materials},
    }


THINGS = {
    "diffuse": _things(Diffuse(reflectance=(0.9, 0.4, 0.2))),
    "rough diffuse": _things(Diffuse(reflectance=(0.9, 0.4, 0.2), alpha=0.5)),
    "mirror": _things(Conductor(eta=0.2, k=3.0)),
    "rough metal": _things(Conductor(eta=0.2, k=3.0, alpha=0.3)),
    "glass": _things(Dielectric()),
    "rough glass": _things(Dielectric(alpha=0.2)),
    "rough plastic": _things(Plastic(alpha=0.2)),
    "plastic": _things(Plastic(diffuse_reflectance=(0.8, 0.3, 0.1))),
    "white plastic": _things(Plastic(diffuse_reflectance=0.9, nonlinear=True)),
    "principled": _things(Principled(base_color=(0.8, 0.5, 0.3), metallic=0.3, roughness=0.4, clearcoat=0.7)),
    "clear": _things(Principled(base_color=0.9, roughness=0.3, spec_trans=0.8)),
    "mask": _things(Mask(material="solid", opacity=0.5), solid=Diffuse(reflectance=0.8)),
    "blend": _things(Blend(materials=("solid", "coat"), weight=0.4), solid=Diffuse(reflectance=0.8), coat=Plastic()),
}
CHOOSING = ("plastic", "white plastic", "blend")
"""Names of scenes with smooth plastic: a cut path chooses its coat or its base, and samples lights for the base only."""
CUTS = {
    "render": {"mode": RENDER, "capacity": 1},
    "render late": {"mode": RENDER, "capacity": 1, "spread": 3.0},
    "view": {"mode": VIEW, "capacity": 1},
    "train": {"mode": TRAIN, "capacity": 64},
    "train full": {"mode": TRAIN, "capacity": 2},
}


@pytest.mark.parametrize("name", [name for name in THINGS if name not in CHOOSING])
def test_segments_of_a_cut_path_add_up_to_the_whole_path(name):
    """Wherever it is cut, a path has the radiance of the path tracer's path with the same random numbers."""
    things = THINGS[name]
    described = scene(
        *things["shapes"],
        lights=things["lights"],
        materials=things["materials"],
        film=(24, 24),
        max_depth=12,
        rr_depth=100,
    )
    traced = traced_samples(described, 2)
    for cuts, options in CUTS.items():
        paths = cut_paths(described, samples=2, go_on=1.0, **options)
        assert np.all(paths.status == int(COMPLETE))
        assert np.sum(paths.count > 0) >= 20, cuts
        got = paths.radiance()
        # Products rounded in another order may change a few paths
        same = np.all(np.abs(got - traced) <= 1e-4 * traced + 1e-6, axis=1)
        assert np.mean(same) > 0.995, cuts


def _assert_equal_means(a, b, correlated):
    """Means of independent samples agree within four standard errors; samples are paired if `correlated`."""
    difference = a.mean(axis=0) - b.mean(axis=0)
    variance = (a - b).var(axis=0) if correlated else a.var(axis=0) + b.var(axis=0)
    error = np.sqrt(variance / len(a))
    assert np.all(np.abs(difference) < 4.0 * error + 1e-5 * b.mean(axis=0)), (difference, error)
    assert np.all(error < 0.03 * b.mean(axis=0))


@pytest.mark.parametrize("rr_depth", [1, 5])
@pytest.mark.parametrize("name", THINGS)
def test_cut_paths_have_the_mean_of_whole_paths(name, rr_depth):
    """This includes roulette, which differs, and smooth plastic, which chooses between coat and base before light sampling."""
    things = THINGS[name]
    described = scene(
        *things["shapes"], lights=things["lights"], materials=things["materials"], film=(32, 32), rr_depth=rr_depth
    )
    traced = traced_samples(described, 12, seed=3)
    for number, options in enumerate((CUTS["render"], CUTS["train full"])):
        paths = cut_paths(described, samples=12, go_on=1.0, seed=1 + number, **options)
        radiance = paths.gathered[:, 0] + paths.throughput[:, 0] * _first(paths)
        _assert_equal_means(radiance, traced, correlated=False)


def _first(paths):
    """Light scattered at the first of up to two cuts, 0 for paths without a cut."""
    tail = np.where(paths.count[:, None] > 0, paths.gathered[:, 1], 0.0)
    if paths.features.shape[1] == 2:
        tail += np.where(paths.count[:, None] > 1, paths.throughput[:, 1] * paths.gathered[:, 2], 0.0)
    unused = paths.count[:, None] == 0
    return np.where(unused, 0.0, tail)


def test_continuations_share_their_beginning_and_their_mean():
    """Up to the cut they are equal bit for bit; beyond it their random numbers differ and their means agree."""
    things = THINGS["plastic"]
    described = scene(*things["shapes"], lights=things["lights"], materials=things["materials"], film=(32, 32))
    ways = [cut_paths(described, samples=12, go_on=1.0, continuation=number) for number in range(3)]
    for way in ways[1:]:
        for name in ("features", "throughput", "count", "depth"):
            np.testing.assert_array_equal(getattr(way, name), getattr(ways[0], name))
        np.testing.assert_array_equal(way.gathered[:, 0], ways[0].gathered[:, 0])
    cut = ways[0].count == 1
    assert cut.sum() > 2000
    for a, b in ((0, 1), (0, 2), (1, 2)):
        first, second = (ways[i].gathered[cut, 1] for i in (a, b))
        assert np.mean(np.any(first != second, axis=1)) > 0.9
        error = np.sqrt((first - second).var(axis=0) / cut.sum())
        assert np.all(np.abs((first - second).mean(axis=0)) < 4.0 * error)
        # Given the vertex they are independent, so they are only correlated through the shared part
        assert np.corrcoef(first[:, 0], second[:, 0])[0, 1] < 0.9


# Closed forms


ALBEDO, GLOW = np.array([0.8, 0.5, 0.1]), np.array([1.0, 2.0, 3.0])
SCATTERED = GLOW * ALBEDO / (1.0 - ALBEDO)


def _furnace(**options):
    """A sphere that glows inside with one albedo: all surfaces scatter E rho / (1 - rho) in all directions."""
    walls = Sphere(emission=tuple(GLOW), flip_normals=True, material="grey")
    material = {"grey": Diffuse(reflectance=tuple(ALBEDO))}
    return scene(walls, materials=material, camera=INSIDE, film=(24, 24), **options)


def _assert_mean(values, expected):
    values = np.asarray(values)
    error = values.std(axis=0) / np.sqrt(len(values))
    assert np.all(np.abs(values.mean(axis=0) - expected) < 4.0 * error + 2e-5 * expected), (values.mean(axis=0), error)
    assert np.all(error < 0.1 * expected)


@pytest.mark.parametrize("capacity", [2, 4, 64])
@pytest.mark.parametrize("rr_depth", [1, 5])
def test_targets_in_a_furnace(capacity, rr_depth):
    """Targets have the right mean at all depths, with roulette, and where the last record includes all later light."""
    paths = cut_paths(_furnace(rr_depth=rr_depth), mode=TRAIN, go_on=1.0, capacity=capacity, samples=4)
    assert np.all(paths.status == int(COMPLETE))
    assert paths.count.max() <= capacity - 1  # one slot is reserved for an end
    scattered = paths.scattered()
    for depth in range(min(capacity - 1, 4)):
        values = [values[depth] for values in scattered if len(values) > depth]
        assert len(values) > 300
        _assert_mean(values, SCATTERED)
    _assert_mean(paths.radiance(), GLOW + SCATTERED)


@pytest.mark.parametrize("mode", [RENDER, TRAIN])
def test_a_perfect_cache_changes_no_mean(mode):
    """A cache that predicts the true radiance does not change the means of targets and image; darkness does."""
    paths = cut_paths(_furnace(), mode=mode, capacity=1 if mode == RENDER else 16, samples=4)
    ended = paths.status == int(IN_CACHE)
    assert np.mean(ended) > 0.5
    _assert_mean(paths.radiance(SCATTERED), GLOW + SCATTERED)
    _assert_mean([values[0] for values in paths.scattered(SCATTERED) if values], SCATTERED)
    assert paths.radiance()[:, 0].mean() < 0.9 * (GLOW + SCATTERED)[0]


def test_the_throughput_to_a_diffuse_vertex_is_the_albedo():
    """One bounce off a grey wall gives the albedo in every direction; roulette has not begun and does not divide it."""
    paths = cut_paths(_furnace(), spread=0.0)
    cut = paths.count == 1
    np.testing.assert_allclose(paths.throughput[cut, 0], np.broadcast_to(ALBEDO, (cut.sum(), 3)), rtol=1e-5)
    np.testing.assert_allclose(paths.features[cut, 0, 8:11], np.broadcast_to(ALBEDO, (cut.sum(), 3)), rtol=1e-5)


def _fresnel(cosine, eta):
    """Fresnel reflectance of unpolarized light at a smooth dielectric."""
    sine = np.sqrt(1.0 - cosine**2) / eta
    inner = np.sqrt(1.0 - sine**2)
    r_s = (cosine - eta * inner) / (cosine + eta * inner)
    r_p = (eta * cosine - inner) / (eta * cosine + inner)
    return 0.5 * (r_s**2 + r_p**2)


@pytest.mark.parametrize("origin", [(0.0, 0.0, 4.0), (3.0, 1.0, 1.5), (4.0, 0.0, 0.5)])
def test_queries_of_smooth_plastic_belong_to_its_base(origin):
    """White, lossless plastic under a white sky returns all light: F from its coat and 1 - F from its base.

    The cut belongs to the base alone, so the mean of its targets and its reflectance are 1 - F; the choice is compensated by
    the weight 1 / (1 - p).
    """
    plastic = Plastic(diffuse_reflectance=1.0, nonlinear=True)
    floor = Rectangle(to_world=(Scale(50.0),), material="plastic")
    described = scene(
        floor,
        lights=[ConstantLight(radiance=1.0)],
        materials={"plastic": plastic},
        camera=probe(origin=origin, size=1e-4),
        film=(32, 32),
    )
    cosine = origin[2] / np.linalg.norm(origin)
    base = 1.0 - _fresnel(cosine, plastic.int_ior / plastic.ext_ior)
    paths = cut_paths(described, mode=VIEW, go_on=1.0, samples=4)
    cut = paths.count == 1
    share = cut.mean()
    error = np.sqrt(share * (1.0 - share) / len(cut))
    weight = paths.throughput[cut, 0]
    assert np.ptp(weight) < 1e-4 * weight.mean()
    assert abs(share - 1.0 / weight.mean()) < 4.0 * error
    _assert_mean(paths.gathered[cut, 1], np.full(3, base))
    # The reflectance is an integral over the cosine inside, which the table gives to a few digits
    np.testing.assert_allclose(paths.features[cut, 0, 8:11], base, rtol=2e-3)
    np.testing.assert_array_equal(paths.features[cut, 0, 11:14], 0.0)
    # Light reflected by the coat comes from the paths that chose the coat
    assert np.all(paths.gathered[cut, 0] == 0.0)
    _assert_mean(paths.gathered[:, 0], np.full(3, 1.0 - base))


def test_a_mirror_keeps_its_colour_in_the_throughput():
    """The query of a wall seen in a metal at normal incidence has the reflectance ((n - 1)^2 + k^2) / ((n + 1)^2 + k^2)."""
    n, k = 0.2, 3.0
    described = scene(
        Rectangle(to_world=(Scale(3.0),), material="metal"),
        Rectangle(to_world=(Scale(50.0), Translate((0, 0, 7.0))), material="grey"),
        lights=[LAMP],
        materials={"metal": Conductor(eta=n, k=k), "grey": Diffuse(reflectance=0.5)},
        camera=probe(size=1e-4),
    )
    paths = cut_paths(described, mode=VIEW)
    np.testing.assert_array_equal(paths.count, 1)
    np.testing.assert_array_equal(paths.depth, 2)
    expected = ((n - 1) ** 2 + k**2) / ((n + 1) ** 2 + k**2)
    np.testing.assert_allclose(paths.throughput[:, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(paths.positions[:, 0, 2], 7.0, atol=1e-5)


# What ends a path


def test_a_texture_with_nan_breaks_paths():
    """A texture with NaN breaks the paths that reach it, and no others."""
    pixels = np.full((1, 2, 3), 0.5, np.float32)
    pixels[0, 1] = np.nan
    described = scene(
        Rectangle(to_world=(Scale(2.0),), material="half"),
        lights=[SKY],
        materials={"half": Diffuse(reflectance="image")},
        textures={"image": Bitmap(file="image", filter="nearest", raw=True)},
        images={"image": pixels},
        camera=Orthographic(to_world=(LookAt(origin=(0, 0, 4), target=(0, 0, 0)),)),
        film=(16, 16),
    )
    paths = cut_paths(described, mode=TRAIN, go_on=1.0, capacity=4)
    broken = (paths.status == int(BROKEN)).reshape(16, 16)
    assert broken.sum() == 128
    assert np.all(broken[:, :8]) != np.all(broken[:, 8:])
    assert np.all(np.isfinite(paths.radiance()[~broken.ravel()]))


@pytest.mark.parametrize("max_depth", [0, 1, 2, 3])
def test_max_depth_limits_cut_paths(max_depth):
    """No path is longer than the limit, and the paths add up to the terms of the series up to it."""
    paths = cut_paths(_furnace(max_depth=max_depth), mode=TRAIN, go_on=1.0, capacity=16)
    np.testing.assert_array_equal(paths.length, max_depth)
    np.testing.assert_array_equal(paths.count, max(max_depth - 1, 0))
    series = sum((ALBEDO**i for i in range(max_depth)), np.zeros(3)) * GLOW
    np.testing.assert_allclose(paths.radiance().mean(axis=0), series, rtol=0.05)


# Tiles


def test_training_paths_use_one_random_pixel_of_every_tile():
    """Two paths of a tile go through different points of one random pixel; other frames choose other pixels."""
    described = scene(
        Rectangle(to_world=(Scale(2.0),), material="grey"),
        lights=[SKY],
        materials={"grey": Diffuse()},
        camera=Orthographic(to_world=(LookAt(origin=(0, 0, 4), target=(0, 0, 0)),)),
        film=(24, 24),
    )
    across, down, frames = 5, 3, 60
    paths = cut_paths(described, mode=VIEW, tiles=(across, down), group=2, samples=frames)
    assert np.all(paths.count == 1)
    p = paths.positions[:, 0].reshape(frames, down, across, 2, 3)
    # Pixels of an image that spans [-1, 1], seen from +z with x to the right and y up
    x, y = 12.0 * (1.0 + p[..., 0]), 12.0 * (1.0 - p[..., 1])
    pixel_x, pixel_y = np.floor(x), np.floor(y)
    np.testing.assert_array_equal(pixel_x[..., 0], pixel_x[..., 1])
    np.testing.assert_array_equal(pixel_y[..., 0], pixel_y[..., 1])
    assert np.mean(x[..., 0] == x[..., 1]) < 0.01
    for row in range(down):
        for column in range(across):
            px, py = pixel_x[:, row, column, 0], pixel_y[:, row, column, 0]
            low, high = column * 24 / across, (column + 1) * 24 / across
            assert np.all((px >= np.floor(low)) & (px < high))
            assert np.all((py >= row * 8) & (py < row * 8 + 8))
            assert len(set(zip(px, py, strict=True))) > 15  # of 40 pixels, in 60 frames
    # All pixels are chosen equally often: the mean position is the image's centre
    assert abs(np.mean(pixel_x) + 0.5 - 12.0) < 4.0 * 24 / np.sqrt(12 * frames * across * down)
