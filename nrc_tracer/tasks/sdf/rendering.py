"""Clay-like pictures of a fitted shape: a key light with soft shadows, and a sky that darkens in creases."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from nrc_tracer.tasks.sdf.sphere_tracing import enter_box, trace, unoccluded

AZIMUTH, ELEVATION = 30.0, 18.0
"""Default direction of the camera, in degrees."""
FIELD_OF_VIEW = 30.0
"""Angle of view across the shorter side of a picture, in degrees."""
FITTING = 0.95
"""Fraction of the mesh's bounding sphere that fits into the picture; few shapes reach the sphere."""
RAYS = 2**17
"""Rays traced at once."""

ALBEDO = (0.72, 0.66, 0.60)
KEY = (2.6, 2.45, 2.25)
"""Irradiance of the key light, linear RGB."""
KEY_FROM = (-0.55, 0.75, 0.65)
"""Direction to the key light along the camera's axes: right, up and backwards."""
KEY_SHARPNESS = 14.0
"""Sharpness of the key light's shadows, as for `unoccluded`."""
ZENITH, GROUND = (0.62, 0.72, 0.88), (0.24, 0.22, 0.20)
"""Radiance of the sky from above and from below, linear RGB."""
BACKGROUND = (0.62, 0.64, 0.67), (0.36, 0.38, 0.41)
"""Colours of the background at the top and at the bottom of the picture, linear RGB."""
OFFSET = 4e-3
"""Height above the surface at which shadow rays begin, and length of the part of them that is not tested, in unit cubes: closer
to the surface fitted distances are accurate enough for a surface, but not for shadows."""
REACH = (0.008, 0.02, 0.045, 0.09)
"""Heights above the surface [unit cubes] at which the distance shows how open the surroundings of a point are."""
AMBIENT_STRENGTH = 0.6
"""Factor of the sky's light."""


class DistanceField(Protocol):
    """A shape that can be rendered: a signed distance in the unit cube."""

    @property
    def device(self) -> torch.device:
        """Device on which distances are computed."""

    @property
    def extent(self) -> np.ndarray:
        """Bounding box of the shape, which is fitted into the picture, float64 [2, 3]."""

    @property
    def box(self) -> np.ndarray:
        """Box outside of which there is no surface, float64 [2, 3]."""

    def distance(self, points: Tensor) -> Tensor:
        """Distances [N] of points, float32 [N, 3]."""

    def normal(self, points: Tensor) -> Tensor:
        """Unit normals [N, 3] at points of the surface, [N, 3]."""


@dataclass(frozen=True)
class Orbit:
    """A camera that looks at the centre of a shape.

    Attributes:
        azimuth: Angle from the front (+z if y is up, -y if z is up) to the right, in degrees.
        elevation: Angle above the horizon, in degrees.
        up: Axis that is up in the picture, `y` or `z`.
        zoom: Magnification relative to the shape fitted into the picture.
    """

    azimuth: float = AZIMUTH
    elevation: float = ELEVATION
    up: str = "y"
    zoom: float = 1.0

    def axes(self) -> np.ndarray:
        """Unit vectors to the right, up and backwards (towards the camera), the rows of a float64 [3, 3]."""
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
    shape: DistanceField,
    *,
    width: int = 800,
    height: int = 800,
    orbit: Orbit | None = None,
    samples: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Render a shape.

    Args:
        shape: The shape.
        width, height: Size of the picture in pixels.
        orbit: The camera.
        samples: Rays along each side of a pixel.
        progress: Called with the number of rays done and the number of all rays.

    Returns:
        Linear RGB, float32 [height, width, 3].
    """
    device = shape.device
    axes = (orbit or Orbit()).axes()
    low, high = shape.extent
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
        colours = background((ys + 0.5) / down)
        shade(shape, eye.expand_as(directions), directions, camera, colours)
        parts.append(colours.reshape(-1, samples, width, samples, 3).mean(dim=(1, 3)))
        if progress is not None:
            progress(min(first + rows, down) * across, down * across)
    return torch.cat(parts).cpu().numpy()


def shade(
    shape: DistanceField,
    origins: Tensor,
    directions: Tensor,
    camera: Tensor,
    colours: Tensor,
    *,
    hits: Tensor | None = None,
    is_quick: bool = False,
) -> None:
    """Replace the background's colours by those of the surface points that rays hit.

    Args:
        shape: The shape.
        origins, directions: Rays in the unit cube's space, directions of length 1, float32 [N, 3].
        camera: Unit vectors to the right, up and backwards, [3, 3].
        colours: Linear RGB of the background, [N, 3]; changed.
        hits: Distances along the rays to the surface, infinite for rays that miss it, [N]; traced if None.
        is_quick: Whether to leave out shadows and the darkening of creases.
    """
    device = origins.device
    low, high = (torch.tensor(corner, dtype=torch.float32, device=device) for corner in shape.box)
    if hits is None:
        hits = trace(shape.distance, origins, directions, *enter_box(origins, directions, low, high))
    seen = torch.nonzero(torch.isfinite(hits)).flatten()
    if not len(seen):
        return
    points = origins[seen] + hits[seen, None] * directions[seen]
    normals = shape.normal(points)

    # Add the key light, with shadows
    light = torch.tensor(KEY_FROM, device=device) @ camera
    light = (light / light.norm()).expand_as(points)
    facing = (normals * light).sum(dim=1)
    lit = facing.clamp_min(0.0)
    if not is_quick:
        above = points + OFFSET * normals
        _, end = enter_box(above, light, low, high)
        begin = torch.where(facing > 0.0, torch.full_like(end, OFFSET), end)
        lit = lit * unoccluded(shape.distance, above, light, begin, end, KEY_SHARPNESS)

    # Add the sky, by how far up the normal points and how open the surface is there
    zenith, ground, key, albedo = (torch.tensor(c, device=device) for c in (ZENITH, GROUND, KEY, ALBEDO))
    sky = ground + (zenith - ground) * (0.5 + 0.5 * (normals @ camera[1]))[:, None]
    ambient = sky if is_quick else sky * openness(shape.distance, points, normals)[:, None]
    colours[seen] = albedo * (key / math.pi * lit[:, None] + AMBIENT_STRENGTH * ambient)


def background(levels: Tensor) -> Tensor:
    """Linear RGB of the background, [N, 3], at heights in the picture from 0, its top, to 1, [N]."""
    top, bottom = (torch.tensor(colour, device=levels.device) for colour in BACKGROUND)
    return top + (bottom - top) * levels[:, None]


def openness(distance: Callable[[Tensor], Tensor], points: Tensor, normals: Tensor) -> Tensor:
    """How open the surface is at its points, from 0 to 1, [N]: how far the distance above a point falls short of the height.

    Evans, *Fast Approximations for Global Illumination on Dynamic Scenes* (2006).
    """
    closed = torch.zeros(len(points), device=points.device)
    for height in REACH:
        there = distance((points + height * normals).clamp(0.0, 1.0))
        closed += (height - there).clamp(0.0, height) / height
    return (1.0 - closed / len(REACH)).clamp(0.0, 1.0)
