"""The vertices at which paths are cut, compared with the design's sum, computed from path vertices in plain Python."""

import functools

import numpy as np
import pytest

from nrc_tracer.cache.cut_policy import RENDER, TRAIN, VIEW
from nrc_tracer.cache.records import COMPLETE, IN_CACHE
from nrc_tracer.scene.model import (
    Conductor,
    Cube,
    Dielectric,
    Diffuse,
    LookAt,
    Mask,
    Perspective,
    Rectangle,
    Sphere,
    Translate,
)
from tests.tracer.cut_paths import cut_paths
from tests.tracer.tiny_scenes import scene

EYE = np.array([0.3, 0.2, 0.7])
INSIDE = Perspective(to_world=(LookAt(origin=tuple(EYE), target=(-0.5, 0.1, -0.6)),), fov=100.0)
MIRROR_Z, MASK_Z = -0.5, 0.2
SHELL = Cube(emission=0.2, flip_normals=True, material="grey")


# The oracle of footprints: vertices come from the records, everything else from geometry


def _room(*, mirror: bool, mask: bool):
    """A glowing cube of grey walls seen from inside; optionally its floor is a mirror, and a masked sheet hangs in it."""
    shapes = [SHELL]
    if mirror:
        shapes.append(Rectangle(to_world=(Translate((0, 0, MIRROR_Z)),), material="mirror"))
    if mask:
        shapes.append(Rectangle(to_world=(Translate((0, 0, MASK_Z)),), material="sheet"))
    materials = {"grey": Diffuse(reflectance=0.8), "mirror": Conductor(), "sheet": Mask(material="grey", opacity=0.4)}
    used = {"grey", *(name for name, there in (("mirror", mirror), ("sheet", mask)) if there)}
    chosen = {name: material for name, material in materials.items() if name in used}
    # Training paths use another roulette, so it is left out: all paths end with the same vertex
    return scene(*shapes, materials=chosen, camera=INSIDE, film=(16, 16), max_depth=40, rr_depth=10**6)


def _normal(p, mask):
    """Normal of the wall or sheet that contains a point."""
    planes = [(axis, value) for axis in range(3) for value in (-1.0, 1.0)]
    if mask:
        planes.append((2, MASK_Z))
    axis, value = min(planes, key=lambda plane: abs(p[plane[0]] - plane[1]))
    assert abs(p[axis] - value) < 1e-5
    return np.eye(3)[axis]


def _way(a, b, to_a, mirror):
    """The way of a path from a to b: the end of its first straight segment, its first direction, and its whole length."""
    ways = [(a, b, -to_a)]
    if mirror:
        image = a * [1.0, 1.0, -1.0] + [0.0, 0.0, 2.0 * MIRROR_Z]
        ways.append((image, image - to_a * (MIRROR_Z - image[2]) / -to_a[2], -to_a * [1.0, 1.0, -1.0]))

    def miss(way):
        return np.linalg.norm(b - way[0] + to_a * np.linalg.norm(b - way[0]))

    start, met, direction = min(ways, key=miss)
    length = np.linalg.norm(b - start)
    assert miss((start,)) < 1e-5 + 1e-3 * length  # near the poles angles have half of their digits
    return met, direction, length


def _footprints(positions, to_viewer, *, mirror, mask):
    """a_0, and the terms of the footprint's square root at the second and later vertices of one path."""
    normals = [_normal(p, mask) for p in positions]
    _, _, distance = _way(EYE, positions[0], to_viewer[0], mirror)
    a_0 = distance**2 / (4.0 * np.pi * abs(normals[0] @ to_viewer[0]))
    terms = [0.0]
    for i in range(1, len(positions)):
        a, b = positions[i - 1], positions[i]
        met, direction, _ = _way(a, b, to_viewer[i], mirror)
        pdf = abs(normals[i - 1] @ direction) / np.pi
        # The segment from the last vertex to the first surface hit, even a mirror; the mirror's own bounce adds nothing
        normal = normals[i] if met is b else np.array([0.0, 0.0, 1.0])
        terms.append(np.sqrt(np.sum((met - a) ** 2) / (pdf * max(abs(normal @ direction), 1e-4))))
    return a_0, terms


def _expected(a_0, terms, spread, suffix_spread):
    """Numbers of the cut and of the suffix's end, 0 for none, and the relative distance of the closest footprint to its limit."""
    cut = end = 0
    root, nearest = 0.0, 1.0
    for number, term in enumerate(terms, 1):
        root += term
        if number == 1:
            continue
        limit = (suffix_spread if cut else spread) * a_0
        nearest = min(nearest, abs(root * root / limit - 1.0))
        if root * root > limit:
            if cut:
                return cut, number, nearest
            cut, root = number, 0.0
    return cut, end, nearest


@functools.cache
def _whole_paths(mirror, mask):
    """All vertices of the room's paths, and a_0 and the terms of each path, None for paths without a vertex."""
    whole = cut_paths(_room(mirror=mirror, mask=mask), mode=TRAIN, go_on=1.0, capacity=200)
    assert whole.count.max() < 190
    footprints = [
        _footprints(whole.positions[i, :count], whole.to_viewer[i, :count], mirror=mirror, mask=mask) if count else None
        for i, count in enumerate(whole.count)
    ]
    return whole, footprints


@pytest.mark.parametrize(("spread", "suffix_spread"), [(0.01, 0.01), (100.0, 300.0), (1000.0, 100.0), (400.0, 0.0)])
@pytest.mark.parametrize(("mirror", "mask"), [(False, False), (True, False), (False, True), (True, True)])
def test_paths_are_cut_where_they_have_spread(mirror, mask, spread, suffix_spread):
    """Paths and their training suffixes end where the design's sum, computed from the vertices, exceeds the limit."""
    whole, footprints = _whole_paths(mirror, mask)
    described, limits = _room(mirror=mirror, mask=mask), {"spread": spread, "suffix_spread": suffix_spread}
    short = cut_paths(described, mode=RENDER, **limits)
    training = cut_paths(described, mode=TRAIN, go_on=0.0, capacity=200, **limits)
    seen, unsure = set(), 0
    for i, count in enumerate(whole.count):
        if count == 0:
            assert short.count[i] == 0
            continue
        cut, end, nearest = _expected(*footprints[i], spread, max(suffix_spread, 1e-30))
        if nearest < 1e-3:  # positions and angles are rounded to float32
            unsure += 1
            continue
        assert (short.count[i], short.status[i]) == ((1, int(IN_CACHE)) if cut else (0, int(COMPLETE))), i
        if cut:
            np.testing.assert_array_equal(short.features[i, 0], whole.features[i, cut - 1])
            assert short.depth[i] == short.length[i] >= cut
            if not mirror and not mask:
                assert short.depth[i] == cut
        assert (training.count[i], training.status[i]) == ((end, int(IN_CACHE)) if end else (count, int(COMPLETE))), i
        np.testing.assert_array_equal(training.features[i, : training.count[i]], whole.features[i, : training.count[i]])
        seen.add((cut, end))
    assert unsure < 0.02 * len(whole.count)
    # The limits must give paths of different lengths, except for the smallest, which every path exceeds
    assert len(seen) >= (1 if spread < 1.0 else 6)


def test_with_a_spread_of_zero_paths_end_at_the_second_vertex():
    """With c = 0 a path ends at the second vertex that is not a delta function, never at the first; with infinite c never."""
    described = _room(mirror=False, mask=False)
    paths = cut_paths(described, spread=0.0)
    assert set(paths.depth[paths.count == 1]) == {2}
    assert np.all(paths.count[paths.length >= 2] == 1)
    assert np.all(cut_paths(described, spread=np.inf).count == 0)


def test_mode_view_ends_paths_at_the_first_vertex_that_is_not_a_delta_function():
    """The vertex is seen directly, in the mirror, or through holes of the sheet."""
    view = cut_paths(_room(mirror=True, mask=True), mode=VIEW)
    whole, _ = _whole_paths(True, True)
    assert np.mean(view.count == 1) > 0.99
    cut = view.count == 1
    assert np.all(view.status[cut] == int(IN_CACHE))
    np.testing.assert_array_equal(view.features[cut, 0], whole.features[cut, 0])
    np.testing.assert_array_equal(view.throughput[cut, 0], 1.0)  # a perfect mirror
    assert set(view.depth[cut]) >= {1, 2, 3}


@pytest.mark.parametrize("mode", [RENDER, VIEW, TRAIN])
def test_delta_functions_have_no_records(mode):
    """Among glass, a mirror and grey walls, no cut lies on glass or mirror."""
    described = scene(
        SHELL,
        Rectangle(to_world=(Translate((0, 0, MIRROR_Z)),), material="mirror"),
        Sphere(center=(-0.4, 0.1, 0.1), radius=0.4, material="glass"),
        materials={"grey": Diffuse(reflectance=0.8), "mirror": Conductor(), "glass": Dielectric()},
        camera=INSIDE,
        film=(24, 24),
    )
    paths = cut_paths(described, mode=mode, capacity=1 if mode != TRAIN else 64, go_on=0.5)
    is_cut = np.arange(paths.features.shape[1]) < paths.count[:, None]
    p = paths.positions[is_cut]
    assert len(p) > 400
    np.testing.assert_allclose(np.abs(p).max(axis=1), 1.0, atol=1e-5)
    assert np.abs(p[:, 2] - MIRROR_Z).min() > 1e-7
    np.testing.assert_allclose(paths.features[is_cut][:, 8:11], 0.8, atol=1e-6)
    np.testing.assert_array_equal(paths.features[is_cut][:, 11:14], 0.0)
    assert paths.length.sum() > 1.2 * paths.count.sum()  # paths did hit them


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("mode", [RENDER, VIEW, TRAIN])
def test_paths_continue_with_the_given_probability(mode, probability):
    """That fraction of paths continues beyond the cut, or has suffixes that only roulette ends; up to there nothing changes."""
    described = _room(mirror=False, mask=False)
    capacity = 64 if mode == TRAIN else 1
    ended = cut_paths(described, mode=mode, go_on=0.0, capacity=capacity, samples=8, spread=10.0, suffix_spread=10.0)
    some = cut_paths(
        described, mode=mode, go_on=probability, capacity=capacity, samples=8, spread=10.0, suffix_spread=10.0
    )
    could = ended.status == int(IN_CACHE)
    assert could.sum() > 1000
    share = np.mean(some.status[could] == int(COMPLETE))
    assert abs(share - probability) <= 4.0 * np.sqrt(probability * (1.0 - probability) / could.sum())
    np.testing.assert_array_equal(some.status[~could], int(COMPLETE))
    np.testing.assert_array_equal(some.features[:, 0], ended.features[:, 0])
    np.testing.assert_array_equal(some.gathered[:, 0], ended.gathered[:, 0])
    np.testing.assert_array_equal(some.depth, ended.depth)
