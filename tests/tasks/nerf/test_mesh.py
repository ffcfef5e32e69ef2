"""The mesh of a field of one ball has its shape and colour, and empty cells are not evaluated."""

import numpy as np
import pytest
import torch

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.imaging.tonemap import decode_srgb
from nrc_tracer.tasks.nerf.neural_scene import NeuralScene
from nrc_tracer.tasks.nerf.occupancy import OccupancyGrid
from nrc_tracer.tasks.nerf.rendering import Volume
from nrc_tracer.tasks.nerf.space import Space
from tests.tasks.nerf.analytic import RADIUS, BallField, cell_centers

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("skimage")

COLOR = (0.8, 0.3, 0.1)


class Counted(BallField):
    """Records the points whose density is evaluated."""

    def __init__(self):
        super().__init__(300.0, COLOR)
        self.asked = []

    def density(self, x, **options):
        self.asked.append(x[:, :3].clone())
        return super().density(x, **options)


def test_the_mesh_of_a_ball():
    """If the cells with half of the ball are occupied, its mesh is closed there, and no other point is evaluated."""
    launcher, space = TorchLauncher("cpu", threads=2), Space(1)
    centers, _ = cell_centers(space)
    occupied = (np.linalg.norm(centers - 0.5, axis=1) < RADIUS + 0.02) & (centers[:, 0] < 0.5)
    grid, ball = OccupancyGrid(space, launcher), Counted()
    thickness = torch.from_numpy(np.where(occupied, 1.0, 0.0)).to(grid.thickness)
    grid.restore(thickness.view(grid.thickness.shape), 1)
    scene = NeuralScene(Volume(ball, space, grid, launcher), 2.0, (1.0, 0.0, 0.0), False, {}, {})
    surface = scene.surface(64)
    mesh = trimesh.Trimesh(surface.positions, surface.indices, process=False)
    assert mesh.is_watertight
    # In the data's units, u = 2 x + (1, 0, 0); the boundary of the grid is found to half a cell
    cell = 0.5 / 64
    low, high = np.array([0.5 - RADIUS, 0.5 - RADIUS, 0.5 - RADIUS]), np.array([0.5, 0.5 + RADIUS, 0.5 + RADIUS])
    np.testing.assert_allclose(mesh.bounds, (np.array([low, high]) - [1.0, 0.0, 0.0]) / 2.0, atol=cell)
    np.testing.assert_allclose(
        surface.attributes, np.tile(decode_srgb(np.array(COLOR)), (len(mesh.vertices), 1)), atol=1e-5
    )
    before = torch.cat(ball.asked[:-1])
    assert bool(grid.occupied(before).all())
    assert len(before) > 0.5 * np.mean(occupied) * 65**3
