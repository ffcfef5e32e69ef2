"""Decoded surfaces of open and broken meshes, whose inside is told by the winding number, have no holes."""

import numpy as np
import pytest
import torch

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.surfaces.isosurface import extract
from nrc_tracer.tasks.sdf.distance import SignMethod
from nrc_tracer.tasks.sdf.mesh import unit_mesh
from nrc_tracer.tasks.sdf.sign import choose_sign

from .shapes import box, flipped, joined, sphere, torus

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("skimage")


def without(mesh, leave_out):
    """A mesh without the triangles whose centre, [N, 3], `leave_out` chooses."""
    positions, indices = mesh
    return positions, indices[~leave_out(positions[indices].mean(axis=1))]


def crumbled(mesh, fraction, seed):
    """A mesh without a random fraction of its triangles."""
    positions, indices = mesh
    return positions, indices[np.random.default_rng(seed).random(len(indices)) >= fraction]


def torn(mesh, amount, seed):
    """A mesh whose triangles are moved apart, each on its own."""
    positions, indices = mesh
    corners = positions[indices] + np.random.default_rng(seed).normal(0.0, amount, (len(indices), 1, 3))
    return corners.reshape(-1, 3), np.arange(3 * len(indices)).reshape(-1, 3)


MESHES = {
    "a bowl": without(sphere(3), lambda c: c[:, 1] > 0.3),
    "a ball with windows": without(sphere(3), lambda c: (np.abs(c) > 0.85).any(axis=1)),
    "a box without its lid": without(box(), lambda c: c[:, 1] > 0.69),
    "a tube": without(box(), lambda c: np.abs(c[:, 0]) > 0.99),
    "a ring that is cut": without(torus(around=64, across=24), lambda c: (c[:, 0] > 0.8) & (c[:, 2] > 0.0)),
    "a crumbled ball": crumbled(sphere(3), 0.2, 0),
    "a torn ring": torn(torus(around=48, across=16), 0.02, 1),
    "half of the triangles turned over": flipped(sphere(3), slice(None, None, 2)),
    "a bowl in a box": joined(box((1.3, 1.3, 1.3)), without(sphere(3), lambda c: c[:, 2] > 0.0)),
    "two bowls face to face": joined(
        without(sphere(3, 1.0, (0.0, 0.3, 0.0)), lambda c: c[:, 1] < 0.3),
        without(sphere(3, 0.9, (0.0, -0.3, 0.0)), lambda c: c[:, 1] > -0.3),
    ),
}


def open_edges(mesh, resolution, bound):
    """The number of edges that do not have two triangles, of the surface of a mesh's signed distance."""
    field, _, choice = choose_sign(unit_mesh(*mesh), TorchLauncher("cpu"))
    method = SignMethod.PARITY if choice.method == SignMethod.PARITY else SignMethod.WINDING
    surface = extract(
        lambda points: field.signed(torch.from_numpy(points), method).numpy(),
        *(tuple(corner.tolist()) for corner in field.mesh.box),
        resolution,
        lipschitz=bound,
        closed=True,
    )
    edges = np.sort(surface.indices[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert trimesh.Trimesh(surface.positions, surface.indices, process=False).is_winding_consistent
    return int((counts != 2).sum())


@pytest.mark.parametrize("name", ["a bowl", "a crumbled ball"])
def test_small_surfaces_have_no_holes(name):
    assert open_edges(MESHES[name], 40, 0.7) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", MESHES)
def test_surfaces_have_no_holes(name):
    """With a true bound of the slope where there is no jump, and with one that is too small everywhere."""
    for bound in (1.0, 0.4):
        assert open_edges(MESHES[name], 72, bound) == 0
