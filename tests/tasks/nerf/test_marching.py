"""Marching rays through the grid, compared with plain Python in float64."""

import math

import numpy as np
import pytest
import torch

from nrc_tracer.device.torch_launcher import TorchLauncher
from nrc_tracer.tasks.nerf.marching import Marcher
from nrc_tracer.tasks.nerf.space import CELLS, CONE, MIN_STEP, NEVER, RESOLUTION, Space
from tests.tasks.nerf.analytic import rays_at_ball


def interleaved(cell):
    """Number of a cell in Morton order, computed bit by bit."""
    return sum((int(cell[axis]) >> bit & 1) << (3 * bit + axis) for bit in range(7) for axis in range(3))


def distance_of(number, cone):
    first = 1.0 / cone if cone else math.inf
    if number <= first:
        return number * MIN_STEP
    return first * MIN_STEP * math.exp((number - first) * math.log1p(cone))


def plain_march(space, occupied, origin, direction, jitter):
    """Distances of all samples of a ray, by looking up every point of the lattice."""
    half = 0.5 * space.extent
    found, number = [], 0
    while True:
        t = distance_of(number + jitter, space.cone)
        p = origin + t * direction
        number += 1
        reach = np.abs(p - 0.5).max()
        if t > 4.0 * space.extent + 4.0:
            return np.array(found)
        if t < space.near or reach > half:
            continue
        cascade = max(0, math.ceil(math.log2(max(reach, 0.25)) + 1.0))
        cell = np.floor((p - 0.5) * RESOLUTION / 2**cascade + RESOLUTION / 2).astype(int)
        if occupied[cascade * CELLS + interleaved(np.clip(cell, 0, RESOLUTION - 1))]:
            found.append(t)


def packed(occupied):
    """The grid's words."""
    bits = np.packbits(occupied.reshape(-1, 32), axis=1, bitorder="little")
    return torch.from_numpy(bits.view(np.int32).reshape(-1).copy())


def blobs(space, seed):
    """A grid with some blocks of occupied cells and some single ones."""
    generator = np.random.default_rng(seed)
    occupied = np.zeros(space.cascades * CELLS, bool)
    occupied[generator.integers(0, len(occupied), len(occupied) // 200)] = True
    for block in generator.integers(0, len(occupied) // 4096, space.cascades * 60):
        occupied[block * 4096 : block * 4096 + generator.integers(8, 4096)] = True
    return occupied


def march_all(space, words, origins, directions, jitter, **options):
    marcher = Marcher(space, TorchLauncher("cpu", threads=2))
    return marcher.march(words, origins, directions, jitter, limit=2048, **options)


@pytest.mark.parametrize(("extent", "near"), [(1, 0.0), (1, 1.9), (4, 0.2)])
def test_takes_the_samples_of_occupied_cells(extent, near):
    """The samples are those that a plain loop over the lattice finds, except for a few at walls of cells."""
    space = Space(extent, near)
    occupied = blobs(space, seed=extent)
    origins, directions = rays_at_ball(60, seed=1)
    jitter = torch.rand(60, generator=torch.Generator().manual_seed(0))
    samples = march_all(space, packed(occupied), origins, directions, jitter)
    begin, differing, total = 0, 0, 0
    for ray, end in enumerate(samples.ends.tolist()):
        ours = samples.t[begin:end].double().numpy()
        expected = plain_march(
            space, occupied, origins[ray].double().numpy(), directions[ray].double().numpy(), float(jitter[ray])
        )
        # float32 places a sample within 1e-6: those this close to a wall may be in either cell
        near_ours = np.abs(ours[:, None] - expected[None]).min(axis=1, initial=np.inf) if len(ours) else ours
        near_theirs = np.abs(ours[:, None] - expected[None]).min(axis=0, initial=np.inf) if len(expected) else expected
        differing += int((near_ours > 1e-5).sum() + (near_theirs > 1e-5).sum())
        total += len(expected)
        begin = end
    assert total > 1000
    assert differing <= 0.002 * total


def test_steps_and_positions():
    """Steps grow with distance in a large box and are equal in the unit cube; positions are the model's."""
    origins, directions = rays_at_ball(20, seed=2)
    jitter = torch.full((20,), 0.25)
    for extent in (1, 4):
        space = Space(extent)
        words = torch.full((space.cascades * CELLS // 32,), -1, dtype=torch.int32)
        samples = march_all(space, words, origins, directions, jitter)
        growth = torch.clamp(samples.t * CONE, min=MIN_STEP) if extent > 1 else torch.full_like(samples.t, MIN_STEP)
        torch.testing.assert_close(samples.steps, growth, rtol=1e-6, atol=0.0)
        counts = torch.diff(samples.ends.long(), prepend=torch.zeros(1, dtype=torch.long))
        ray = torch.repeat_interleave(torch.arange(20), counts)
        u = origins[ray] + samples.t[:, None] * directions[ray]
        torch.testing.assert_close(samples.x[:, :3], (u - 0.5) / extent + 0.5, rtol=0.0, atol=1e-6)
        torch.testing.assert_close(samples.x[:, 3:], 0.5 * directions[ray] + 0.5)
        # The steps of a ray fill its path through the box
        first, last = samples.ends.long() - counts, samples.ends.long() - 1
        way = samples.t[last] - samples.t[first]
        lengths = torch.zeros(20).index_add_(0, ray, samples.steps) - samples.steps[last]
        torch.testing.assert_close(lengths, way, rtol=2e-3, atol=0.0)


def test_marching_in_parts_gives_the_same_samples():
    """Marching in parts gives the same samples as marching at once."""
    space = Space(4, 0.1)
    words = packed(blobs(space, seed=9))
    origins, directions = rays_at_ball(50, seed=3)
    jitter = torch.rand(50, generator=torch.Generator().manual_seed(1))
    whole = march_all(space, words, origins, directions, jitter)
    marcher = Marcher(space, TorchLauncher("cpu", threads=1))
    numbers = torch.zeros(50)
    rays = torch.arange(50, dtype=torch.int32)
    found = [[] for _ in range(50)]
    while len(rays):
        part = marcher.march(words, origins, directions, jitter, limit=7, rays=rays, numbers=numbers)
        begin = 0
        for ray, end in zip(part.rays.tolist(), part.ends.tolist(), strict=True):
            found[ray] += part.t[begin:end].tolist()
            begin = end
        rays = rays[numbers[rays.long()] < 0.5 * NEVER]
    assert [t for ts in found for t in ts] == whole.t.tolist()


def test_rays_beyond_the_limit_of_samples_are_left_out_whole():
    """If there are too many samples, the first rays are kept with all their samples."""
    space = Space(1)
    words = torch.full((CELLS // 32,), -1, dtype=torch.int32)
    origins, directions = rays_at_ball(40, seed=4)
    every = march_all(space, words, origins, directions, torch.zeros(40))
    most = len(every) // 3
    some = march_all(space, words, origins, directions, torch.zeros(40), most=most)
    kept = len(some.rays)
    assert 0 < kept < 40
    assert len(some) == int(every.ends[kept - 1]) <= most < int(every.ends[kept])
    assert torch.equal(some.t, every.t[: len(some)])


def test_rays_that_miss_the_box_have_no_samples():
    """A ray beside the box, away from it, along one of its planes outside, or with NaN ends at once."""
    space = Space(1)
    words = torch.full((CELLS // 32,), -1, dtype=torch.int32)
    origins = torch.tensor([[2.0, 2.0, -1.0], [0.5, 0.5, -1.0], [-0.1, 0.5, -1.0], [0.5, 0.5, 0.5]])
    directions = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.0, 0.0, 1.0], [torch.nan, 0.0, 1.0]])
    samples = march_all(space, words, origins, directions, torch.zeros(4))
    assert samples.ends.tolist() == [0, 0, 0, 0]
    assert len(march_all(space, words, origins[:0], directions[:0], torch.zeros(0))) == 0
