"""Views of a field known in closed form."""

import numpy as np
import pytest
import torch

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tasks.nerf.occupancy import OccupancyGrid
from nrc_tracer.tasks.nerf.rendering import Volume
from nrc_tracer.tasks.nerf.space import CONE, MIN_STEP, Space
from tests.tasks.nerf.analytic import RADIUS, BallField, cell_centers, chord, rays_at_ball


def ball_volume(density, extent, *, found=True, threads=2):
    """A ball, with a grid of exactly the cells that it touches, or of all cells."""
    field, space = BallField(density, extent=extent), Space(extent)
    grid = OccupancyGrid(space, TorchLauncher("cpu", threads=threads))
    if found:
        places, sizes = cell_centers(space)
        touched = np.linalg.norm(places - 0.5, axis=1) < RADIUS + 0.87 * sizes
        grid.restore(torch.where(grid.thickness < 0.0, grid.thickness, torch.from_numpy(touched).half()), 1)
    return Volume(field, space, grid, grid.launcher)


@pytest.mark.parametrize(("density", "extent"), [(3.0, 1), (40.0, 1), (3.0, 4)])
def test_a_ball_in_closed_form(density, extent):
    """Alpha is 1 - exp(-density chord), up to the one step by which a sum may be too long or too short."""
    volume = ball_volume(density, extent)
    origins, directions = rays_at_ball(400)
    seen = volume.render(origins, directions)
    enter, length = chord(origins.numpy(), directions.double().numpy())
    alpha = 1.0 - np.exp(-density * length)
    step = np.maximum(MIN_STEP, CONE * (enter + length)) if extent > 1 else MIN_STEP
    # Plus the transmittance at which rays end
    tolerance = np.exp(-density * length) * (1.2 * density * step) + 2e-4
    assert (np.abs(seen.alpha.numpy() - alpha) <= tolerance).all()
    assert alpha.max() > 0.7
    torch.testing.assert_close(seen.color, seen.alpha[:, None] * torch.tensor([0.8, 0.3, 0.1]), rtol=0.0, atol=1e-5)
    hit = length > 0.05
    mean = enter + 1.0 / density - length * np.exp(-density * length) / alpha.clip(1e-9)
    assert np.abs(seen.distance.numpy() - mean)[hit].max() < 2.0 * np.max(step)


class DoubleField(BallField):
    """The ball as a model of the reference backend gives it: its outputs are float64."""

    def density(self, x, *, averaged=True):
        return super().density(x, averaged=averaged).double()

    def __call__(self, x):
        return super().__call__(x).double()


def test_a_float64_model_gives_the_same_view():
    """The outputs of a model in float64 are converted for the kernels, which read float32."""
    origins, directions = rays_at_ball(200)
    volume = ball_volume(30.0, 1)
    expected = volume.render(origins, directions)
    volume.model = DoubleField(30.0, extent=1)
    seen = volume.render(origins, directions)
    for name in ("color", "alpha", "distance"):
        torch.testing.assert_close(getattr(seen, name), getattr(expected, name), rtol=1e-5, atol=1e-6)


def test_skipping_empty_space_changes_nothing():
    """A grid that has found the ball gives the same view as a fully occupied one, with a tenth of the samples."""
    origins, directions = rays_at_ball(300)
    whole, found = ball_volume(30.0, 2, found=False), ball_volume(30.0, 2)
    found.model.rows = 0
    for ours, theirs in zip(
        vars(found.render(origins, directions)).values(), vars(whole.render(origins, directions)).values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert found.model.rows < 0.25 * whole.model.rows


def test_rays_end_at_opaque_surfaces():
    """No samples are evaluated behind a surface: an opaque ball costs less than a thin one."""
    origins, directions = rays_at_ball(300)
    thin, opaque = ball_volume(6.0, 1), ball_volume(3e4, 1)
    for volume in (thin, opaque):
        volume.model.rows = 0
        volume.render(origins, directions)
    assert opaque.model.rows < 0.5 * thin.model.rows


def test_threads_and_blocks_do_not_change_bits():
    """Neither the number of threads nor other rays change the bits of a view."""
    origins, directions = rays_at_ball(500)
    one = ball_volume(30.0, 1, threads=1).render(origins, directions)
    three = ball_volume(30.0, 1, threads=3).render(origins, directions)
    half = ball_volume(30.0, 1).render(origins[:250], directions[:250])
    for name in ("color", "alpha", "distance"):
        assert torch.equal(getattr(one, name), getattr(three, name))
        assert torch.equal(getattr(one, name)[:250], getattr(half, name))


def test_rendering_without_rays_or_hits():
    """There are no rays, or the rays hit nothing."""
    volume = ball_volume(30.0, 1)
    assert volume.render(torch.zeros(0, 3), torch.zeros(0, 3)).color.shape == (0, 3)
    seen = volume.render(torch.tensor([[5.0, 5.0, 5.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    assert seen.over(1.0).tolist() == [[1.0, 1.0, 1.0]]
