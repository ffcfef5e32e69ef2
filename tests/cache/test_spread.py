"""Footprints worked out by hand. tests/tracer/test_cut_path.py compares whole paths with a slow tracer."""

import math

import numpy as np
import warp as wp

from nrc_tracer.cache.spread import clamped_cosine, has_spread, primary_area, spread_term


@wp.kernel(enable_backward=False)
def footprints(
    n: wp.array[wp.vec3], d: wp.array[wp.vec3], distance: wp.array[float], pdf: wp.array[float], out: wp.array2d[float]
):
    i = wp.tid()
    cosine = clamped_cosine(n[i], d[i])
    out[i, 0] = cosine
    out[i, 1] = primary_area(distance[i], cosine)
    out[i, 2] = spread_term(distance[i], pdf[i], cosine)


@wp.kernel(enable_backward=False)
def comparisons(root_area: wp.array[float], area: wp.array[float], c: wp.array[float], out: wp.array[int]):
    i = wp.tid()
    out[i] = wp.where(has_spread(root_area[i], area[i], c[i]), 1, 0)


def _footprints(n, d, distance, pdf):
    out = wp.zeros((len(n), 3), dtype=float, device="cpu")
    vectors = [wp.array(np.asarray(v, np.float32), dtype=wp.vec3, device="cpu") for v in (n, d)]
    numbers = [wp.array(np.asarray(v, np.float32), dtype=float, device="cpu") for v in (distance, pdf)]
    wp.launch(footprints, dim=len(n), inputs=[*vectors, *numbers, out], device="cpu")
    return out.numpy()


def test_known_footprints():
    """Parallel planes at distance h: a_0 = h^2 / 4 pi, and a diffuse bounce along the normal spreads over pi h^2."""
    down = (0.0, 0.0, -1.0)
    slanted = (math.sin(1.0), 0.0, math.cos(1.0))
    up = (0.0, 0.0, 1.0)
    grazing = (1.0, 0.0, 1e-6)
    got = _footprints(
        [up, up, up, up], [down, slanted, grazing, grazing], [2.0, 3.0, 5.0, 0.0], [1 / math.pi, 0.25, 4.0, 1.0]
    )
    np.testing.assert_allclose(got[0], [1.0, 4.0 / (4.0 * math.pi), math.sqrt(math.pi * 4.0)], rtol=1e-6)
    cosine = math.cos(1.0)
    np.testing.assert_allclose(
        got[1], [cosine, 9.0 / (4.0 * math.pi * cosine), 3.0 / math.sqrt(0.25 * cosine)], rtol=1e-6
    )
    # Cosines are at least 1e-4
    np.testing.assert_allclose(got[2], [1e-4, 25.0 / (4.0 * math.pi * 1e-4), 5.0 / math.sqrt(4.0 * 1e-4)], rtol=1e-6)
    np.testing.assert_array_equal(got[3, 1:], 0.0)


def test_a_path_has_spread_when_the_square_of_the_sum_is_more_than_c_a_0():
    """A spread of zero is not enough, even for c = 0, and the limit itself does not count."""
    cases = [
        (0.0, 1.0, 0.0, 0),
        (1e-3, 1.0, 0.0, 1),
        (2.0, 4.0, 1.0, 0),
        (2.01, 4.0, 1.0, 1),
        (0.5, 1.0, 0.3, 0),
        (0.5, 1.0, 0.2, 1),
    ]
    cases += [(1e10, 1.0, math.inf, 0)]
    columns = np.array(cases, np.float32).T
    out = wp.zeros(len(cases), dtype=int, device="cpu")
    arrays = [wp.array(column.copy(), dtype=float, device="cpu") for column in columns[:3]]
    wp.launch(comparisons, dim=len(cases), inputs=[*arrays, out], device="cpu")
    np.testing.assert_array_equal(out.numpy(), columns[3])
