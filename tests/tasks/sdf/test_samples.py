"""The positions and distances of training samples, which depend only on the seed and the step."""

import numpy as np
import pytest
import torch
from scipy import stats

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tasks.sdf.distance import MeshDistance, SignMethod
from nrc_tracer.tasks.sdf.mesh import unit_mesh
from nrc_tracer.tasks.sdf.samples import NEAR_WIDTH, SamplePool, SurfaceSampler, key

from .shapes import box, slow_distance, sphere, torus


def sampler(shape, launcher):
    mesh = unit_mesh(*shape)
    return mesh, SurfaceSampler(mesh.positions, mesh.indices, launcher)


def pool(launcher, *, batch=256, seed=1, method=SignMethod.NORMAL, shape=None):
    mesh = unit_mesh(*(shape or torus()))
    field = MeshDistance(mesh, launcher)
    return mesh, SamplePool(
        field, SurfaceSampler(mesh.positions, mesh.indices, launcher), method, batch=batch, seed=seed
    )


def test_triangles_are_chosen_by_area(launcher):
    """A chi-square test is made over triangles whose areas differ by orders of magnitude, including some without area."""
    random = np.random.default_rng(2)
    corners = random.random((60, 1, 3)) + random.normal(size=(60, 3, 3)) * 10.0 ** random.uniform(-2, 0, (60, 1, 1))
    corners[::9, 2] = corners[::9, 1]
    mesh, surface = sampler((corners.reshape(-1, 3), np.arange(180).reshape(-1, 3)), launcher)
    placed = mesh.positions[mesh.indices].astype(np.float64)
    area = np.linalg.norm(np.cross(placed[:, 1] - placed[:, 0], placed[:, 2] - placed[:, 0]), axis=1)
    expected = area / area.sum() * 100_000
    counts = np.bincount(surface.on_surface(key(1, "test"), 100_000)[1].numpy(), minlength=60)
    assert not counts[area == 0.0].any()
    frequent = expected > 10.0
    assert frequent.sum() > 20
    observed = np.append(counts[frequent], counts[~frequent].sum())
    wanted = np.append(expected[frequent], expected[~frequent].sum())
    assert stats.chisquare(observed[wanted > 0], wanted[wanted > 0]).pvalue > 1e-4


def test_points_are_uniform_on_a_box(launcher):
    mesh, surface = sampler(box(), launcher)
    points, _ = surface.on_surface(key(1, "test"), 20_000)
    exact = points.numpy().astype(np.float64)
    assert slow_distance(exact, mesh.positions, mesh.indices).max() < 8 * 2.0**-23
    # On the two largest faces both coordinates are uniform
    low, high = mesh.box
    on_face = np.abs(exact[:, 2] - high[2]) < 1e-6
    for axis in (0, 1):
        share = (exact[on_face, axis] - low[axis]) / (high - low)[axis]
        assert stats.kstest(share, "uniform").pvalue > 1e-4


def test_offsets(launcher):
    """Offsets are logistic near the surface and uniform in a band, with the requested scale, independently per axis."""
    _, surface = sampler(box(), launcher)
    name = key(1, "test")
    on = surface.on_surface(name, 20_000)[0].numpy().astype(np.float64)
    near = surface.near(name, 20_000, 0.01).numpy() - on
    band = surface.band(name, 20_000, 0.01).numpy() - on
    for axis in range(3):
        assert stats.kstest(near[:, axis] / 0.01, "logistic").pvalue > 1e-4
        assert stats.kstest(band[:, axis] / 0.02 + 0.5, "uniform").pvalue > 1e-4
    assert np.abs(np.corrcoef(near.T) - np.eye(3)).max() < 0.03


def test_box_points(launcher):
    _, surface = sampler(box(), launcher)
    low, high = np.array([0.1, 0.2, 0.3]), np.array([0.2, 0.9, 0.4])
    share = (surface.in_box(key(1, "test"), 20_000, low, high).numpy() - low) / (high - low)
    for axis in range(3):
        assert stats.kstest(share[:, axis], "uniform").pvalue > 1e-4


def test_a_batch_is_half_on_the_surface_and_mostly_near(launcher):
    mesh, samples = pool(launcher, batch=4096, shape=sphere(3))
    points, distances = samples.batch(0)
    exact = points.numpy().astype(np.float64)
    true = slow_distance(exact, mesh.positions, mesh.indices)
    inside = np.linalg.norm(exact - 0.5, axis=1) < 0.445
    outside = np.linalg.norm(exact - 0.5, axis=1) > 0.455
    found = distances[:, 0].numpy()
    np.testing.assert_allclose(np.abs(found), true, atol=8 * 2.0**-23)
    assert (found[inside] <= 0.0).all()
    assert (found[outside] >= 0.0).all()
    assert (found[:2048] == 0.0).all()
    assert points.min() >= 0.0
    assert points.max() <= 1.0
    # Mean of the logistic offsets along the normal of a flat surface; the sphere's triangles are far larger than the offsets
    width = NEAR_WIDTH * 0.5 * float(np.linalg.norm(mesh.box[1] - mesh.box[0]))
    near = np.abs(found[2048 : 2048 + 1536])
    standard_error = near.std() / np.sqrt(len(near))
    assert abs(near.mean() - _mean_along_a_normal(width)) < 5.0 * standard_error
    assert np.abs(found[2048 + 1536 :]).mean() > 0.1


def _mean_along_a_normal(width):
    """The mean of |n . offset| for normals of all directions."""
    random = np.random.default_rng(0)
    normals = random.normal(size=(400_000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return np.abs((normals * random.logistic(scale=width, size=normals.shape)).sum(axis=1)).mean()


@pytest.mark.parametrize("method", list(SignMethod))
def test_batches_only_depend_on_seed_and_step(launcher, method):
    """Starting at a late step gives the batches of a pool that existed from the beginning; threads change nothing."""
    _, whole = pool(launcher, method=method)
    steps = [whole.batch(number) for number in range(150)]
    _, late = pool(TorchLauncher("cpu", threads=1), method=method)
    for number in (100, 101, 149):
        for a, b in zip(late.batch(number), steps[number], strict=True):
            assert torch.equal(a, b)
    _, other = pool(launcher, method=method, seed=2)
    assert not torch.equal(other.batch(100)[0], steps[100][0])
    assert not torch.equal(steps[100][0], steps[101][0])


def test_the_pool_is_refreshed(launcher):
    """Batches far apart share no points near the surface."""
    _, samples = pool(launcher)
    early = {row.tobytes() for number in range(4) for row in samples.batch(number)[0][128:].numpy()}
    later = {row.tobytes() for number in range(600, 604) for row in samples.batch(number)[0][128:].numpy()}
    assert not early & later
