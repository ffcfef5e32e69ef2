"""Holes, orientation and degenerate triangles are counted."""

import numpy as np
import pytest

from nrc_tracer.tasks.sdf.mesh import FILL, unit_mesh
from nrc_tracer.tasks.sdf.soundness import check_soundness

from .shapes import box, flipped, joined, sphere, torus


def check(mesh):
    return check_soundness(unit_mesh(*mesh))


@pytest.mark.parametrize("mesh", [box(), sphere(3), torus()])
def test_closed_meshes_are_sound(mesh):
    found = check(mesh)
    assert (found.boundary_edges, found.non_manifold_edges, found.inconsistent_edges, found.degenerate) == (0, 0, 0, 0)
    assert found.closed
    assert found.consistent
    assert not found.inside_out


def test_volume():
    np.testing.assert_allclose(check(box((1.0, 0.5, 0.25))).volume, FILL**3 / 8.0, rtol=1e-6)


def test_a_mesh_reversed_as_a_whole_is_inside_out_but_consistent():
    found = check(flipped(sphere(3)))
    assert found.inside_out
    assert found.consistent


def test_flipped_triangles():
    """Two triangles that share no edge are reversed, each with three edges."""
    found = check(flipped(sphere(2), [0, 200]))
    assert found.inconsistent_edges == 6
    assert found.closed
    assert not found.inside_out


def test_holes():
    positions, indices = sphere(2)
    found = check((positions, indices[1:]))
    assert found.boundary_edges == 3
    assert not found.closed


def test_edges_of_more_than_two_triangles():
    """Two boxes share an edge."""
    positions, indices = box((1.0, 1.0, 1.0))
    found = check(joined((positions, indices), (positions + np.array([2.0, 2.0, 0.0]), indices)))
    assert found.non_manifold_edges == 1
    assert found.boundary_edges == 0


def test_triangles_without_area():
    positions, indices = box()
    found = check((positions, np.concatenate([indices, [[0, 0, 1], [2, 2, 2]]])))
    assert found.degenerate == 2
    assert found.closed
