"""Pictures of a fitted shape as if of clay: a key light with soft shadows, the sky, and less of it in creases."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nrc_tracer.tasks.sdf.shape import NeuralShape
from nrc_tracer.tasks.sdf.sphere_tracing import enter_box, trace, unoccluded

AZIMUTH, ELEVATION = 30.0, 18.0
FIELD_OF_VIEW = 30.0
FITTING = 0.95
"""Of the sphere around the mesh, how much must be seen: few shapes reach it."""
RAYS = 2**17
"""Traced at once."""

ALBEDO = (0.72, 0.66, 0.60)
KEY = (2.6, 2.45, 2.25)
KEY_FROM = (-0.55, 0.75, 0.65)
"""Direction to the light along the camera's axes: right, up, and backwards."""
KEY_SHARPNESS = 14.0
ZENITH, GROUND = (0.62, 0.72, 0.88), (0.24, 0.22, 0.20)
BACKGROUND = (0.62, 0.64, 0.67), (0.36, 0.38, 0.41)
"""At the top and at the bottom of the picture."""
OFFSET = 4e-3
"""Above the surface, in units of the cube, where shadow rays begin; as far again they do not look: nearer, distances are fitted
well enough for a surface, but not for shadows."""
REACH = (0.008, 0.02, 0.045, 0.09)
"""Heights above the surface, in units of the cube, at which the distance tells how open it is there."""
AMBIENT_STRENGTH = 0.6


@dataclass(frozen=True)
class Orbit:
    """A camera that looks at the middle of a shape.

    Attributes:
        azimuth: Degrees from the front (+z where y is up, -y where z is) to the right.
        elevation: Degrees above the horizon.
        up: The axis that is up in the picture, `y` or `z`.
        zoom: How much larger than fitted into the picture.
    """

    azimuth: float = AZIMUTH
    elevation: float = ELEVATION
    up: str = "y"
    zoom: float = 1.0

    def axes(self) -> np.ndarray:
        """Unit vectors to the right, up and backwards (to the camera), the rows of a float64 [3, 3]."""
        azimuth, elevation = math.radians(self.azimuth), math.radians(self.elevation)
        back = np.array(
            [
                math.cos(elevation) * math.sin(azimuth),
                math.sin(elevation),
                math.cos(elevation) * math.cos(azimuth),
            ]
        )
        right = np.array([math.cos(azimuth), 0.0, -math.sin(azimuth)])
        axes = np.stack([right, np.cross(back, right), back])
        return axes if self.up == "y" else axes[:, [0, 2, 1]] * np.array([1.0, -1.0, 1.0])


def render(
    shape: NeuralShape,
    *,
    width: int = 800,
    height: int = 800,
    orbit: Orbit | None = None,
    samples: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Draw a shape.

    Args:
        shape: The shape.
        width, height: Of the picture, in pixels.
        orbit: Where the camera is.
        samples: Rays along each side of a pixel.
        progress: Called with how many rays are done, and with their number.

    Returns:
        Linear RGB, float32 [height, width, 3].
    """
    device = shape.model.device
    axes = (orbit or Orbit()).axes()
    low, high = (shape.bounds - shape.center) * shape.scale + 0.5
    middle, radius = 0.5 * (low + high), 0.5 * float(np.linalg.norm(high - low))
    back = FITTING * radius / math.sin(math.radians(FIELD_OF_VIEW) / 2.0)
    tangent = math.tan(math.radians(FIELD_OF_VIEW) / 2.0) / (orbit.zoom if orbit else 1.0)

    across, down = width * samples, height * samples
    parts = []
    camera = torch.tensor(axes, dtype=torch.float32, device=device)
    eye = torch.tensor(middle + back * axes[2], dtype=torch.float32, device=device)
    rows = max(1, RAYS // (across * samples)) * samples
    for first in range(0, down, rows):
        ys, xs = torch.meshgrid(
            torch.arange(first, min(first + rows, down), device=device),
            torch.arange(across, device=device),
            indexing="ij",
        )
        xs, ys = xs.flatten(), ys.flatten()
        x = (2.0 * (xs + 0.5) - across) / min(across, down) * tangent
        y = (down - 2.0 * (ys + 0.5)) / min(across, down) * tangent
        directions = x[:, None] * camera[0] + y[:, None] * camera[1] - camera[2]
        directions = directions / directions.norm(dim=1, keepdim=True)
        level = ((ys + 0.5) / down)[:, None]
        top, bottom = (torch.tensor(colour, device=device) for colour in BACKGROUND)
        colours = top + (bottom - top) * level
        _shade(shape, eye.expand_as(directions), directions, camera, colours)
        parts.append(colours.reshape(-1, samples, width, samples, 3).mean(dim=(1, 3)))
        if progress is not None:
            progress(min(first + rows, down) * across, down * across)
    return torch.cat(parts).cpu().numpy()


def _shade(shape: NeuralShape, origins: Tensor, directions: Tensor, camera: Tensor, colours: Tensor) -> None:
    """Put the colours of what rays hit in place of the background's."""
    device = origins.device
    low, high = (torch.tensor(corner, dtype=torch.float32, device=device) for corner in shape.box)
    hits = trace(shape.distance, origins, directions, *enter_box(origins, directions, low, high))
    seen = torch.nonzero(torch.isfinite(hits)).flatten()
    if not len(seen):
        return
    points = origins[seen] + hits[seen, None] * directions[seen]
    normals = shape.normal(points)

    # The key light, as seen past what is in its way
    light = torch.tensor(KEY_FROM, device=device) @ camera
    light = (light / light.norm()).expand_as(points)
    facing = (normals * light).sum(dim=1)
    above = points + OFFSET * normals
    _, end = enter_box(above, light, low, high)
    begin = torch.where(facing > 0.0, torch.full_like(end, OFFSET), end)
    lit = facing.clamp_min(0.0) * unoccluded(shape.distance, above, light, begin, end, KEY_SHARPNESS)

    # The sky, by how high the normal points and how open it is there
    zenith, ground, key, albedo = (torch.tensor(c, device=device) for c in (ZENITH, GROUND, KEY, ALBEDO))
    sky = ground + (zenith - ground) * (0.5 + 0.5 * (normals @ camera[1]))[:, None]
    ambient = sky * openness(shape.distance, points, normals)[:, None]
    colours[seen] = albedo * (key / math.pi * lit[:, None] + AMBIENT_STRENGTH * ambient)


def openness(distance: Callable[[Tensor], Tensor], points: Tensor, normals: Tensor) -> Tensor:
    """How open the surface is at its points, from 0 to 1, [N]: how far the distance above it falls short of the height.

    Evans, *Fast Approximations for Global Illumination on Dynamic Scenes* (2006).
    """
    closed = torch.zeros(len(points), device=points.device)
    for height in REACH:
        there = distance((points + height * normals).clamp(0.0, 1.0))
        closed += (height - there).clamp(0.0, height) / height
    return (1.0 - closed / len(REACH)).clamp(0.0, 1.0)
