"""Rays against fields whose hits have a closed form."""

import math

import numpy as np
import pytest
import torch

from nrc_tracer.tasks.sdf.rendering import Orbit
from nrc_tracer.tasks.sdf.sphere_tracing import enter_box, trace, unoccluded

MIDDLE = torch.full((3,), 0.5)
LOW, HIGH = torch.zeros(3), torch.ones(3)


def ball(x, radius=0.3):
    return (x - MIDDLE).norm(dim=1) - radius


def rays(count=5000, seed=0):
    """Rays from outside the cube to points in it."""
    generator = torch.Generator().manual_seed(seed)
    origins = MIDDLE + 2.0 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    towards = torch.rand(count, 3, generator=generator)
    return origins, torch.nn.functional.normalize(towards - origins, dim=1)


def exact_hits(origins, directions, radius=0.3):
    o, d = (origins - MIDDLE).double(), directions.double()
    b = (o * d).sum(dim=1)
    discriminant = b * b - (o * o).sum(dim=1) + radius**2
    return torch.where(discriminant > 0.0, -b - discriminant.clamp_min(0.0).sqrt(), torch.inf), discriminant


@pytest.mark.parametrize("factor", [1.0, 0.5, 1.3])
def test_ball(factor):
    """The hits are found even if distances are too small or too large by a factor, as those of fitted models are."""
    origins, directions = rays()
    found = trace(lambda x: factor * ball(x), origins, directions, *enter_box(origins, directions, LOW, HIGH))
    exact, discriminant = exact_hits(origins, directions)
    clear = discriminant.abs() > 1e-3
    assert torch.equal(torch.isfinite(found)[clear], torch.isfinite(exact)[clear])
    seen = clear & torch.isfinite(exact)
    assert seen.sum() > 500
    # Below a tenth of the smallest step: linear interpolation has an error of about the step's square over the radius
    np.testing.assert_allclose(found[seen], exact[seen], atol=5e-5)


def test_flat_field_around_the_surface():
    """Noise of up to 2e-4 near the surface does not hide the hit."""

    def flat(x):
        d = ball(x)
        return torch.sign(d) * (d.abs() - 2e-4).clamp_min(1e-9)

    origins, directions = rays(1000)
    found = trace(flat, origins, directions, *enter_box(origins, directions, LOW, HIGH))
    exact, discriminant = exact_hits(origins, directions)
    steep = discriminant > 0.04
    assert steep.sum() > 100
    np.testing.assert_allclose(found[steep], exact[steep], atol=6e-4)


def test_rays_that_miss_hit_nothing():
    origins, directions = rays(100)
    assert torch.isinf(
        trace(lambda x: ball(x, -1.0), origins, directions, *enter_box(origins, directions, LOW, HIGH))
    ).all()


def test_box():
    origins = torch.tensor([[-1.0, 0.5, 0.5], [0.5, 0.5, 0.5], [-1.0, 2.0, 0.5]])
    begin, end = enter_box(origins, torch.tensor([[1.0, 0.0, 0.0]]).expand(3, 3), LOW, HIGH)
    np.testing.assert_allclose(begin[:2], [1.0, 0.0])
    np.testing.assert_allclose(end[:2], [2.0, 0.5])
    assert begin[2] >= end[2]


def test_shadow_is_soft():
    """The light is full far from the ball, zero behind it, and follows the angle to its edge in between."""
    up = torch.tensor([[0.0, 1.0, 0.0]])
    x = torch.linspace(0.5, 0.99, 50)
    origins = torch.stack([x, torch.zeros(50), torch.full((50,), 0.5)], dim=1)
    directions = up.expand(50, 3).contiguous()
    light = unoccluded(ball, origins, directions, torch.full((50,), 0.01), torch.ones(50), 10.0)
    assert (light[x < 0.79] < 0.02).all()
    assert (light[x > 0.9] == 1.0).all()
    # At 0.82 the ray passes 0.02 beside the ball, half a unit away
    assert float(light[(x - 0.82).abs().argmin()]) == pytest.approx(10.0 * 0.02 / 0.5, rel=0.15)
    assert (light.diff() >= -0.02).all()


@pytest.mark.parametrize("up", ["y", "z"])
def test_orbit(up):
    axes = Orbit(azimuth=0.0, elevation=0.0, up=up).axes()
    np.testing.assert_allclose(axes[1], [0, 1, 0] if up == "y" else [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(axes[2], [0, 0, 1] if up == "y" else [0, -1, 0], atol=1e-12)
    for azimuth, elevation in ((30.0, 18.0), (200.0, -40.0)):
        axes = Orbit(azimuth=azimuth, elevation=elevation, up=up).axes()
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(np.cross(axes[0], axes[1]), axes[2], atol=1e-12)
        height = axes[2][1 if up == "y" else 2]
        assert height == pytest.approx(math.sin(math.radians(elevation)))
