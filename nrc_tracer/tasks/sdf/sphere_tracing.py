"""Where rays meet the surface of a distance field: sphere tracing of many rays at once.

Hart, *Sphere Tracing: A Geometric Method for the Antialiased Ray Tracing of Implicit Surfaces* (1996). A fitted distance is not
exact, so a ray does not stop near the surface. It continues in minimal steps until the distance is negative, and the surface is
where a line through the last two values is zero.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SAFETY = 0.95
"""Fraction of the distance that a ray advances at once."""
LEAST_STEP = 2.0**-11
"""Smallest step of a ray, in unit cubes."""
MAX_STEPS = 1024
BISECTIONS = 12

Distance = Callable[[Tensor], Tensor]
"""A function from points in the unit cube, float32 [N, 3], to distances [N]."""


def enter_box(origins: Tensor, directions: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Distances at which rays [N, 3] enter and leave a box, [N]; a ray misses it if the first is not below the second."""
    inverse = 1.0 / torch.where(directions.abs() < 1e-12, torch.full_like(directions, 1e-12), directions)
    a, b = (low - origins) * inverse, (high - origins) * inverse
    return torch.minimum(a, b).amax(dim=1).clamp_min(0.0), torch.maximum(a, b).amin(dim=1)


def trace(distance: Distance, origins: Tensor, directions: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """Distances along rays to the surface, [N]; infinite for rays that miss it.

    Args:
        distance: The distance field.
        origins: float32 [N, 3].
        directions: Unit vectors, [N, 3].
        begin, end: Range of distances to search, [N]; an empty range finds nothing.
    """
    hits = torch.full_like(begin, torch.inf)
    rays = torch.nonzero(begin < end).flatten()
    t = begin[rays]
    last_t, last = t.clone(), torch.full_like(t, torch.inf)
    found: list[tuple[Tensor, ...]] = []
    for _ in range(MAX_STEPS):
        if not len(rays):
            break
        values = distance(origins[rays] + t[:, None] * directions[rays])
        inside = values < 0.0
        if bool(inside.any()):
            found.append((rays[inside], last_t[inside], t[inside], last[inside], values[inside]))
        further = t + (SAFETY * values).clamp_min(LEAST_STEP)
        going = ~inside & (further < end[rays])
        rays, last_t, last, t = rays[going], t[going], values[going], further[going]
    if found:
        rays, near, far, at_near, at_far = (torch.cat(parts) for parts in zip(*found, strict=True))
        hits[rays] = _between(distance, origins[rays], directions[rays], near, far, at_near, at_far)
    return hits


def unoccluded(
    distance: Distance, origins: Tensor, directions: Tensor, begin: Tensor, end: Tensor, sharpness: float
) -> Tensor:
    """Visible fraction of a light of some size along rays, from 0 to 1, [N]: how far the rays stay from what they pass.

    Args:
        distance: The distance field.
        origins: float32 [N, 3].
        directions: Unit vectors towards the light, [N, 3].
        begin, end: Range of distances to search, [N].
        sharpness: One over the tangent of the angle by which a ray must clear the shape to be fully lit.
    """
    light = torch.ones_like(begin)
    rays = torch.nonzero(begin < end).flatten()
    t = begin[rays]
    for _ in range(MAX_STEPS):
        if not len(rays):
            break
        values = distance(origins[rays] + t[:, None] * directions[rays])
        light[rays] = torch.minimum(light[rays], (sharpness * values / t).clamp_min(0.0))
        t = t + (SAFETY * values).clamp_min(2.0 * LEAST_STEP)
        going = (values > 0.0) & (t < end[rays]) & (light[rays] > 0.01)
        rays, t = rays[going], t[going]
    return light


def _between(
    distance: Distance,
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    at_near: Tensor,
    at_far: Tensor,
) -> Tensor:
    """Where the distance is zero between points outside and inside, first narrowed by bisection to a minimal step."""
    at_near = torch.where(torch.isfinite(at_near), at_near, torch.zeros_like(near))  # a ray that starts inside
    for _ in range(BISECTIONS):
        wide = torch.nonzero(far - near > 1.01 * LEAST_STEP).flatten()
        if not len(wide):
            break
        middle = 0.5 * (near + far)[wide]
        values = distance(origins[wide] + middle[:, None] * directions[wide])
        inside = values < 0.0
        near[wide], at_near[wide] = torch.where(inside, near[wide], middle), torch.where(inside, at_near[wide], values)
        far[wide], at_far[wide] = torch.where(inside, middle, far[wide]), torch.where(inside, values, at_far[wide])
    # Stop at a minimal step: a fitted distance may be flat closer to the surface
    return near + at_near / (at_near - at_far) * (far - near)
