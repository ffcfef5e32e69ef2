"""Split paths at their ends in the cache: the variance of the part that all continuations share."""

import numpy as np

from benchmarks.cache_figures import follow, split_variance
from nrc_tracer.scene.model import Diffuse, LookAt, Perspective, Sphere
from tests.tracer.cached_renders import cached, niche, uncached
from tests.tracer.tiny_scenes import scene


def test_split_variance_finds_the_shared_part():
    """Samples consist of a shared part of variance 4 and mean 3, and of separate parts of variance 9."""
    rng = np.random.default_rng(1)
    count, pixels, ways = 64, 4000, 3
    samples = 3.0 + 2.0 * rng.standard_normal((count, 1, pixels)) + 3.0 * rng.standard_normal((count, ways, pixels))
    shared, whole = split_variance(samples)
    for found, expected in ((shared, 4.0), (whole, 13.0)):
        assert abs(found.mean() - expected) < 4.0 * found.std(ddof=1) / np.sqrt(pixels)
    # With equal continuations the result is the plain variance of the samples, as computed by NumPy
    np.testing.assert_allclose(
        split_variance(np.repeat(samples[:, :1], 2, axis=1))[0], samples[:, 0].var(axis=0, ddof=1), rtol=1e-9
    )


def test_continuation_0_is_the_unsplit_path():
    """Continuation 0 changes no random number; without roulette, which rounding can tip, the sums are the plain kernel's."""
    described = niche(rr_depth=10**6)
    renderer = cached(described)
    renderer.compile()
    plain = uncached(described, 4)
    total = sum(follow(renderer, sample, 0)[0].astype(np.float64) for sample in range(4))
    np.testing.assert_allclose(total.reshape(plain.height, plain.width, 3) / 4, plain.moments()[0], rtol=1e-4)


def test_continuations_share_no_random_number_beyond_the_cut():
    """Inside an emitting sphere of uniform albedo, only roulette after the cut is random. So continuations share no variance."""
    inside = Perspective(to_world=(LookAt(origin=(0.0, 0.0, 0.2), target=(0.0, 0.0, -1.0)),), fov=60.0)
    walls = Sphere(emission=1.0, flip_normals=True, material="grey")
    described = scene(walls, materials={"grey": Diffuse(reflectance=0.7)}, camera=inside, film=(24, 24), rr_depth=4)
    renderer = cached(described, seed=3)
    renderer.compile()
    samples = []
    for sample in range(32):
        ways, depths = zip(*(follow(renderer, sample, way) for way in (1, 2)), strict=True)
        samples.append(np.stack(ways).astype(np.float64))
        for depth in depths:
            assert depth.min() > 0
            assert depth.max() < 4
    shared, whole = split_variance(samples)
    assert whole.mean() > 0.05
    assert abs(shared.mean()) < 4.0 * shared[:, 0].std() / np.sqrt(len(shared))
