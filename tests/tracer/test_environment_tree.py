"""The tree of cells from which the points of an environment map are drawn."""

import numpy as np
import pytest

from nrc_tracer.tracer.environment_table import quarter_corners
from nrc_tracer.tracer.environment_tree import EXCESS, EnvironmentTree, build_tree

STEPS = 16
"""Points per texel, across and down, at which densities are evaluated."""


def tree_of(luminance: np.ndarray, **options) -> EnvironmentTree:
    return build_tree(power(luminance), **options)


def power(luminance: np.ndarray) -> np.ndarray:
    """Luminance times the sine of the polar angle at the corners of the quarters of texels."""
    return quarter_corners(luminance) * np.sin(np.linspace(0.0, np.pi, 2 * len(luminance) + 1))[:, None]


def contrast(rng, height: int, width: int) -> np.ndarray:
    """Luminance over six orders of magnitude, with black texels."""
    return np.where(rng.random((height, width)) < 0.2, 0.0, 10.0 ** rng.uniform(-3.0, 3.0, (height, width)))


def density(tree: EnvironmentTree, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Density at points, whose coordinates are in texels, found by following the tree's description."""
    j, i = (np.floor(2.0 * at).astype(int) for at in (y, x))
    y_bits, x_bits = tree.block_bits
    node = (j >> y_bits) * (tree.column_cdf.shape[1] - 1) + (i >> x_bits)
    y_bit, x_bit = np.full_like(node, y_bits), np.full_like(node, x_bits)
    while np.any(is_cut := tree.codes[node] >= 0):
        across = tree.codes[node] & 1 == 1
        x_bit, y_bit = x_bit - (is_cut & across), y_bit - (is_cut & ~across)
        half = np.where(across, i >> x_bit, j >> y_bit) & 1
        node = np.where(is_cut, (tree.codes[node] >> 1) + half, node)
    found = tree.values[node].astype(np.float64)
    bilinear = tree.codes[node] < -1
    a, b, c, d = tree.corners[-2 - tree.codes[node][bilinear]].T.astype(np.float64)
    t, s = (2.0 * y - j)[bilinear], (2.0 * x - i)[bilinear]
    found[bilinear] *= (a * (1 - s) + b * s) * (1 - t) + (c * (1 - s) + d * s) * t
    return found


def everywhere(tree: EnvironmentTree, height: int, width: int) -> np.ndarray:
    """Density at `STEPS` x `STEPS` points of each texel."""
    return density(tree, *((np.indices((height * STEPS, width * STEPS)) + 0.5) / STEPS))


def interpolated(corners: np.ndarray) -> np.ndarray:
    """Bilinear interpolation between the corners of quarters at `STEPS` x `STEPS` points of each texel."""
    y, x = ((np.arange(n // 2 * STEPS) + 0.5) * 2 / STEPS for n in corners.shape)
    j, i = y.astype(int), x.astype(int)
    t, s = (y - j)[:, None], x - i
    rows = corners[j] * (1.0 - t) + corners[j + 1] * t
    return rows[:, i] * (1.0 - s) + rows[:, i + 1] * s


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 10), (45, 33), (33, 130)])
@pytest.mark.parametrize("max_cells", [1, 300, 1 << 16])
def test_density_is_normalized(size, max_cells, rng):
    """It integrates to 1 over the image, whatever the image's size and the number of cells."""
    tree = tree_of(contrast(rng, *size), max_cells=max_cells)
    assert everywhere(tree, *size).mean() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("size", [(6, 10), (45, 33)])
def test_variance_is_as_reported(size, rng):
    """Luminance over density has the relative variance that the tree names, which is the accepted one at most."""
    luminance = contrast(rng, *size)
    for excess in (0.1, 0.01):
        tree = tree_of(luminance, excess=excess)
        p = everywhere(tree, *size)
        f = interpolated(power(luminance))
        assert np.all(p[f > 0.0] > 0.0)
        measured = np.mean(f**2 / np.where(f > 0.0, p, 1.0)) / f.mean() ** 2 - 1.0
        assert tree.excess <= excess
        assert measured == pytest.approx(tree.excess, rel=0.1)


def test_a_sun_of_one_texel_is_followed_exactly():
    """A light of one texel that has most of the energy is sampled as it is interpolated, without many cells."""
    luminance = np.ones((64, 128))
    luminance[13, 40] = 1e6
    tree = tree_of(luminance)
    assert (tree.codes < 0).sum() < 64 * 64 + 100
    p = density(tree, np.full(3, 13.5), np.array([40.5, 41.0, 41.4]))
    np.testing.assert_allclose(p / p[0], [1.0, 0.5, 0.1], rtol=1e-4)
    assert density(tree, np.array([13.5]), np.array([9.0])) / p[0] == pytest.approx(1e-6, rel=0.01)


def test_a_limited_number_of_cells_is_spent_where_it_matters(rng):
    """Fewer cells leave more variance. The blocks are there in any case."""
    luminance = contrast(rng, 64, 128)
    trees = [tree_of(luminance, excess=0.0, max_cells=n) for n in (1, 6_000, 12_000)]
    assert [(tree.codes < 0).sum() for tree in trees] == [64 * 64, 6_000, 12_000]
    assert trees[0].excess > 1.5 * trees[1].excess > 3.0 * trees[2].excess > 0.0


def test_smooth_images_have_few_cells():
    """A constant sky needs no cells smaller than blocks."""
    tree = tree_of(np.ones((256, 512)))
    assert tree.excess <= EXCESS
    assert (tree.codes < 0).sum() <= 256 * 64


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (40, 70)])
def test_black_images_are_sampled_uniformly(size):
    """Without any light the density is that of a uniform image."""
    tree = tree_of(np.zeros(size))
    np.testing.assert_allclose(everywhere(tree, *size), 1.0, rtol=1e-5)
    assert tree.excess == 0.0


def test_tables_of_blocks_are_cumulative(rng):
    """They rise from 0 to 1, also for rows of blocks without light."""
    luminance = contrast(rng, 64, 128)
    luminance[:8] = 0.0
    tree = tree_of(luminance)
    for table in (tree.row_cdf, *tree.column_cdf):
        assert table[0] == 0.0
        assert table[-1] == 1.0
        assert np.all(np.diff(table) >= 0.0)


def test_luminance_at_the_corners_of_quarters(rng):
    """Corners are the bilinear image, which is clamped at the poles and wraps around."""
    luminance = rng.random((5, 7))
    corners = quarter_corners(luminance)
    assert corners.shape == (11, 15)
    np.testing.assert_allclose(corners[1::2, 1::2], luminance)
    np.testing.assert_allclose(corners[:, 0], corners[:, -1])
    np.testing.assert_allclose(corners[4, 3], luminance[1:3, 1].mean())
    np.testing.assert_allclose(corners[4, 4], luminance[1:3, 1:3].mean())
    np.testing.assert_allclose(corners[0], corners[1])
