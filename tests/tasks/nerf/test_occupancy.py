"""The occupancy grid: its cells after visits to a known field, and the cells it leaves out."""

import math

import numpy as np
import pytest
import torch

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tasks.nerf.frusta import frusta
from nrc_tracer.tasks.nerf.occupancy import UNSEEN, Frustum, OccupancyGrid, Visits, bits_of
from nrc_tracer.tasks.nerf.space import CELLS, MIN_STEP, Space
from tests.tasks.nerf.analytic import RADIUS, BallField, ball_photographs, cell_centers

FULL = Visits(warm_up=((10**6, 1),))


def visited(space, visits, updates, density=2000.0, seed=0, threads=2):
    field = BallField(density, extent=space.extent)
    grid = OccupancyGrid(space, TorchLauncher("cpu", threads=threads))
    for update in range(updates):
        grid.update(field.density, torch.Generator().manual_seed(seed + update), visits)
    return grid


@pytest.mark.parametrize("near", [0.0, 0.1])
def test_the_grid_starts_occupied_outside_smaller_cascades(near):
    """The first cascade covers the inner eighth of the second."""
    space = Space(2, near)
    grid = OccupancyGrid(space, TorchLauncher("cpu", threads=2))
    places, _ = cell_centers(space)
    covered = (np.arange(len(places)) >= CELLS) & (np.abs(places - 0.5).max(axis=1) < 0.5)
    assert grid.open_cells == CELLS + CELLS * 7 // 8
    assert torch.equal(grid.thickness == UNSEEN, torch.from_numpy(covered))
    points = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0)) * 2.0 - 0.5
    assert grid.occupied(points).all()


@pytest.mark.parametrize("extent", [1, 4])
def test_finds_a_ball(extent):
    """After visits to every cell, cells inside the ball are occupied and cells outside are empty."""
    space = Space(extent)
    grid = visited(space, FULL, 2)
    places, sizes = cell_centers(space)
    distance = np.linalg.norm(places - 0.5, axis=1)
    reach = 0.5 * math.sqrt(3.0) * sizes
    closed = (grid.thickness == UNSEEN).numpy()
    points = torch.from_numpy(places).float()
    found = grid.occupied(points).numpy()
    assert found[(distance + reach < RADIUS) & ~closed].all()
    assert not found[(distance - reach > RADIUS) & ~closed & (np.abs(places - 0.5).max(axis=1) < extent / 2)].any()
    inside = torch.from_numpy((distance + reach < RADIUS) & ~closed)
    expected = torch.full((int(inside.sum()),), 2000.0 * MIN_STEP).half()
    torch.testing.assert_close(grid.thickness[inside], expected, rtol=1e-3, atol=0.0)


def test_cells_fade_once_the_field_is_empty():
    """Once the field is empty, each visit multiplies a cell's value by `decay`."""
    space = Space(1)
    grid = visited(space, FULL, 1)
    before = grid.thickness.clone().float()
    empty = BallField(1e-6)
    grid.update(empty.density, torch.Generator().manual_seed(9), FULL)
    held = before > 1.0
    torch.testing.assert_close(grid.thickness[held].float(), 0.95 * before[held], rtol=1e-3, atol=0.0)


def test_later_visits_are_half_uniform_and_half_to_occupied_cells():
    """Half of an update's visits are spread over all cells, half over occupied ones; other cells stay unchanged."""
    space = Space(1)
    grid = visited(space, Visits(warm_up=((1, 1),), share=0.05), 1)
    before = grid.thickness.clone()
    occupied = int((before > grid.threshold).sum())
    field = BallField(4000.0)
    rows = []
    grid.update(
        lambda x: rows.append(len(x)) or field.density(x),
        torch.Generator().manual_seed(5),
        Visits(warm_up=(), share=0.05),
    )
    half = math.ceil(0.05 * CELLS) // 2
    # Two ranges that share a cell may both draw it
    assert 0.99 * half < rows[0] <= half
    assert 0.6 * min(half, occupied) < rows[1] <= min(half, occupied)
    changed = before != grid.thickness
    inside = int((changed & (before > 1.0)).sum())
    assert 0.9 * rows[1] < inside <= rows[1] + 1.3 * half * occupied / CELLS


def test_blocks_of_the_warm_up():
    """With blocks of 4^3 cells, all cells of a block get the density found at one point of it."""
    space = Space(1)
    grid = visited(space, Visits(warm_up=((5, 4),)), 1)
    blocks = grid.thickness.view(-1, 64)
    assert torch.equal(blocks.amin(dim=1), blocks.amax(dim=1))
    assert 0 < int((blocks[:, 0] > 1.0).sum()) < len(blocks)


def test_cells_that_no_camera_sees_are_closed():
    """Cells whose centres are visible to a camera are open; those far outside of all pictures are not."""
    views = ball_photographs(count=3, test=0)
    space = Space(4)
    cameras = [view.camera for view in views.train]
    grid = OccupancyGrid(space, TorchLauncher("cpu", threads=2), frusta(cameras, 1.0, (0.0, 0.0, 0.0)))
    places, sizes = cell_centers(space)
    reach = np.abs(places - 0.5).max(axis=1)
    chosen = np.random.default_rng(0).choice(len(places), 20000, replace=False)
    chosen = chosen[(chosen < CELLS) | (reach[chosen] > 2.0 ** (chosen // CELLS) / 4)]
    margins = np.full(len(chosen), np.inf)
    for camera in cameras:
        pixels, depth = camera.project(places[chosen])
        outside = np.abs(pixels / camera.width - 0.5).max(axis=1) - 0.5
        # Distance at the cell's depth: beside the picture, or behind the camera
        beside = np.where(depth > 0.0, outside * camera.width / camera.fx * depth, np.inf)
        margins = np.fmin(margins, beside)
    open_cells = (grid.thickness != UNSEEN).numpy()[chosen]
    assert open_cells[margins <= 0.0].all()
    assert not open_cells[margins > 3.0 * sizes[chosen]].any()
    assert 0.02 < open_cells.mean() < 0.6


def test_near_is_a_distance_along_rays():
    """With a lens that sees everything in front of it, only cells behind it or within `near` of the camera are closed."""
    space = Space(1, 0.2)
    to_camera = torch.eye(4)
    to_camera[:3, 3] = -torch.tensor([0.5, 0.5, 0.25])
    everything = Frustum(to_camera, (-1e6, 1e6, -1e6, 1e6))
    grid = OccupancyGrid(space, TorchLauncher("cpu", threads=2), [everything])
    places, sizes = cell_centers(space)
    offset = places - np.array([0.5, 0.5, 0.25])
    distance, reach = np.linalg.norm(offset, axis=1), np.sqrt(0.75) * sizes
    open_cells = (grid.thickness != UNSEEN).numpy()
    assert open_cells[(offset[:, 2] > 0.0) & (distance > 0.2)].all()
    assert not open_cells[(distance < 0.2 - 1.01 * reach) | (offset[:, 2] < -1.01 * reach)].any()


def test_updates_only_depend_on_the_generator():
    """The number of threads does not change the bits; another seed does."""
    visits = Visits(warm_up=((1, 4),), share=0.02)
    first, second = (visited(Space(2), visits, 2, threads=threads) for threads in (1, 3))
    assert torch.equal(first.words, second.words)
    assert torch.equal(first.thickness, second.thickness)
    assert not torch.equal(first.thickness, visited(Space(2), visits, 2, seed=77).thickness)


def test_a_restored_grid_continues_with_the_same_bits():
    """The next update of a restored grid gives the same bits."""
    visits = Visits(warm_up=((1, 4),), share=0.02)
    grid = visited(Space(1), visits, 2)
    copy = OccupancyGrid(Space(1), TorchLauncher("cpu", threads=2))
    copy.restore(grid.thickness.clone(), grid.updates)
    assert torch.equal(copy.words, grid.words)
    for each in (grid, copy):
        each.update(BallField(50.0).density, torch.Generator().manual_seed(4), visits)
    assert torch.equal(copy.thickness, grid.thickness)


def test_a_field_that_is_not_finite_leaves_cells_empty():
    """NaN does not enter the grid."""
    grid = OccupancyGrid(Space(1), TorchLauncher("cpu", threads=1))
    grid.update(lambda x: torch.full((len(x),), torch.nan), torch.Generator().manual_seed(0), FULL)
    assert not grid.words.any()
    assert torch.isfinite(grid.thickness).all()


@pytest.mark.parametrize("threshold", [0.0, 1e-8, 6.1e-5, 0.01, float(np.float16(0.01)), 0.0099])
def test_bits_order_cells_as_their_values_do(threshold):
    """For all float16 that a cell may hold, a comparison of bits gives the same as one of values."""
    values = np.arange(-(2**15), 2**15).astype(np.int16).view(np.float16)
    values = values[(values >= 0.0) | (values == UNSEEN)]
    np.testing.assert_array_equal(values.view(np.int16) > bits_of(threshold), values.astype(np.float64) > threshold)
