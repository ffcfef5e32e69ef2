"""Scores of fields and surfaces with known errors."""

import numpy as np
import pytest
import torch

from nrc_tracer.surfaces.isosurface import Isosurface
from nrc_tracer.tasks.sdf.mesh import unit_mesh
from nrc_tracer.tasks.sdf.metrics import held_out, intersection_over_union, surface_scores
from nrc_tracer.tasks.sdf.sign import choose_sign

from .shapes import sphere

RADIUS = 0.45


@pytest.fixture(scope="module")
def ball(launcher):
    """A fine mesh of a ball of radius 0.45 at the centre of the cube."""
    return choose_sign(unit_mesh(*sphere(5)), launcher)


def test_intersection_over_union():
    a, b = torch.tensor([True, True, True, False]), torch.tensor([False, True, True, False])
    assert intersection_over_union(a, b) == 2 / 3
    assert intersection_over_union(a, a) == 1.0
    assert intersection_over_union(~a & a, ~b & b) == 1.0


def test_scores_of_a_ball_that_is_too_small(ball):
    field, sampler, choice = ball
    count, offset = 2**15, 0.005
    held = held_out(field, sampler, choice.method, count)
    scores = held.scores(lambda x: (x - 0.5).norm(dim=1) - (RADIUS - offset))
    assert scores["mae"] == pytest.approx(offset, rel=0.1)
    assert scores["band_mae"] == pytest.approx(offset, rel=0.1)
    # About n points lie inside the mesh; a fraction p of them lies inside the smaller ball as well
    corners = field.mesh.positions[field.mesh.indices].astype(float) - 0.5
    volume = np.linalg.det(corners).sum() / 6.0
    p = 4.0 / 3.0 * np.pi * (RADIUS - offset) ** 3 / volume
    n = count * volume / np.prod(np.diff(field.mesh.box, axis=0))
    assert scores["iou"] == pytest.approx(p, abs=4.0 * np.sqrt(p * (1.0 - p) / n))
    exact = held.scores(lambda x: (x - 0.5).norm(dim=1) - RADIUS)
    assert exact["iou"] > 0.998
    assert 0.3 < scores["band_iou"] < exact["band_iou"]
    assert exact["band_iou"] > 0.95


def test_scores_of_surfaces(ball):
    field, sampler, _ = ball
    positions, indices = sphere(5, RADIUS + 0.01, (0.5, 0.5, 0.5))
    surface = Isosurface(positions.astype(np.float32), indices.astype(np.int32))
    scores = surface_scores(surface, field, sampler, count=4096)
    assert scores["chamfer"] == pytest.approx(0.01, rel=0.03)
    assert scores["hausdorff"] == pytest.approx(0.01, rel=0.05)
    assert scores["normal_error"] < 2.0
    turned = Isosurface(surface.positions, surface.indices[:, ::-1].copy())
    assert surface_scores(turned, field, sampler, count=4096)["normal_error"] == pytest.approx(
        180.0 - scores["normal_error"], abs=1.0
    )


def test_a_missing_part_changes_the_scores(ball):
    """All of half a ball is close to the mesh, but parts of the mesh are far from it."""
    field, sampler, _ = ball
    positions, indices = sphere(5, RADIUS, (0.5, 0.5, 0.5))
    half = indices[(positions[indices][:, :, 0] > 0.5).all(axis=1)]
    surface = Isosurface(positions.astype(np.float32), half.astype(np.int32))
    scores = surface_scores(surface, field, sampler, count=4096)
    assert scores["chamfer"] > 0.05
    assert scores["hausdorff"] == pytest.approx(RADIUS * 2.0**0.5, rel=0.1)
