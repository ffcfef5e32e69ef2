"""Fields and photographs known in closed form."""

from __future__ import annotations

import math

import numpy as np
import torch

from nrc_tracer.tasks.nerf.camera import PhotoCamera
from nrc_tracer.tasks.nerf.scene_camera import looking_at
from nrc_tracer.tasks.nerf.space import CELLS, RESOLUTION, Space
from nrc_tracer.tasks.nerf.views import View, Views

RADIUS = 0.25
EMPTY = -20.0


class BallField:
    """A fake model: a ball of uniform density and colour at the centre of the unit cube, in a box of side `extent`."""

    def __init__(self, density: float, color: tuple[float, float, float] = (0.8, 0.3, 0.1), extent: int = 1) -> None:
        self.log_density = math.log(density)
        self.logits = torch.logit(torch.tensor(color))
        self.extent = extent
        self.rows = 0

    def density(self, x: torch.Tensor, *, averaged: bool = True) -> torch.Tensor:
        inside = ((x[:, :3] - 0.5) * self.extent).norm(dim=1) < RADIUS
        return torch.where(inside, self.log_density, EMPTY)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.rows += len(x)
        return torch.cat([self.logits.expand(len(x), 3), self.density(x)[:, None]], dim=1)


def cell_centers(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Centres of all cells in the order of their numbers, float64 [N, 3], and their sides, [N]."""
    numbers = np.arange(CELLS)
    axes = [sum(((numbers >> (3 * bit + axis)) & 1) << bit for bit in range(7)) for axis in range(3)]
    cells = np.stack(axes, axis=1)
    sizes = [2.0**k / RESOLUTION for k in range(space.cascades)]
    places = [(cells + 0.5 - RESOLUTION / 2) * size + 0.5 for size in sizes]
    return np.concatenate(places), np.repeat(sizes, CELLS)


def chord(origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances at which rays enter the ball, and lengths inside it; float64 [N], length 0 for rays that miss it."""
    center = np.asarray(origins, np.float64) - 0.5
    along = -np.sum(center * directions, axis=1)
    half = np.sqrt(np.maximum(RADIUS**2 - (np.sum(center**2, axis=1) - along**2), 0.0))
    return along - half, 2.0 * half


def rays_at_ball(count: int, seed: int = 0, distance: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays from all sides, most of which hit the ball."""
    generator = np.random.default_rng(seed)
    origins = generator.normal(size=(count, 3))
    origins = 0.5 + distance * origins / np.linalg.norm(origins, axis=1, keepdims=True)
    targets = 0.5 + generator.uniform(-0.25, 0.25, size=(count, 3))
    directions = targets - origins
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return torch.from_numpy(origins).float(), torch.from_numpy(directions).float()


def ball_photographs(count: int = 24, side: int = 32, *, alpha: bool = True, test: int = 4) -> Views:
    """Photographs of an opaque ball coloured by its normals, (n + 1) / 2, from all around; scale 1, offset 0."""
    views = []
    for index in range(count):
        height = 1.0 - 2.0 * (index + 0.5) / count
        turn = index * math.pi * (3.0 - math.sqrt(5.0))
        flat = math.sqrt(1.0 - height * height)
        place = 0.5 + 1.2 * np.array([flat * math.cos(turn), height, flat * math.sin(turn)])
        pose = looking_at(place, np.full(3, 0.5), np.array([0.1, 1.0, 0.2]))
        focal = 0.5 * side / math.tan(math.radians(18.0))
        camera = PhotoCamera(side, side, focal, focal, side / 2, side / 2, to_world=pose)
        columns, rows = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
        directions = camera.directions(np.stack([columns.ravel(), rows.ravel()], axis=1))
        enter, length = chord(np.broadcast_to(place, directions.shape), directions)
        normals = (place + enter[:, None] * directions - 0.5) / RADIUS
        color = np.where(length[:, None] > 0.0, 0.5 * normals + 0.5, 0.0)
        pixels = np.concatenate([color, (length > 0.0)[:, None]], axis=1) if alpha else color
        image = (np.clip(pixels, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8).reshape(side, side, -1)
        views.append(View(f"ball-{index}", camera, image, has_alpha=alpha))
    held_out = {(2 * k + 1) * count // (2 * test) for k in range(test)} if test else set()
    train = tuple(view for index, view in enumerate(views) if index not in held_out)
    return Views(
        train=train,
        test=tuple(views[index] for index in sorted(held_out)),
        scale=1.0,
        offset=(0.0, 0.0, 0.0),
        has_alpha=alpha,
    )
