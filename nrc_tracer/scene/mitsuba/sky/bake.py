"""The Hosek-Wilkie model of sun and sky as a latitude-longitude image.

Sources: L. Hosek and A. Wilkie, *An Analytic Model for Full Spectral Sky-Dome Radiance* (2012), and *Adding a Solar-Radiance
Function to the Hosek-Wilkie Skylight Model* (2013). `hosek_wilkie.npz` contains their coefficients as distributed with
Mitsuba 3 (see LICENSE in this folder): `sky`, shape [turbidity 10, albedo 2, control point 6, colour 3, 10], nine parameters
and the mean radiance; `sun`, shape [turbidity 10, elevation 30, colour 3], the irradiance of a surface that faces the sun,
for elevations from 2 to 89 degrees.
"""

from __future__ import annotations

import functools
import math
from importlib import resources

import numpy as np

SUN_APERTURE = 0.5358
"""Angular diameter of the sun [degrees]."""
HEIGHT, HEIGHT_WITH_SUN = 256, 1024
"""Height of the image without and with the sun, which is then three texels wide [pixels]."""
SUBSAMPLES = 8
"""Number of samples along each axis of a texel, to estimate how much of it the sun covers."""
_BEZIER = (1.0, 5.0, 10.0, 10.0, 5.0, 1.0)
"""Binomial coefficients of a quintic Bezier curve."""


def bake_sky(
    sun: np.ndarray,
    *,
    turbidity: float = 3.0,
    albedo: float | tuple[float, float, float] = 0.3,
    sky_scale: float = 1.0,
    sun_scale: float = 1.0,
    sun_aperture: float = SUN_APERTURE,
) -> np.ndarray:
    """Evaluate sky and sun for an `EnvironmentMap` whose local +y is up.

    Args:
        sun: Direction to the sun with +z up, of any length.
        turbidity: Haziness of the air, 1 to 10.
        albedo: Reflectance of the ground, 0 to 1.
        sky_scale: Factor on the radiance of the sky.
        sun_scale: Factor on the irradiance of the sun, independent of its size.
        sun_aperture: Angular diameter of the sun [degrees], in (0, 180).

    Returns:
        Radiance, shape [height, 2 * height, 3], float32; local x is the sky's x, local z its -y. Black below the
        horizon, and black everywhere with the sun below the horizon.
    """
    sun = np.asarray(sun, np.float64) / np.linalg.norm(sun)
    height = HEIGHT_WITH_SUN if sun_scale > 0.0 else HEIGHT
    image = np.zeros((height, 2 * height, 3))
    if sun[2] < 0.0:
        return image.astype(np.float32)
    upper = image[: height // 2]
    if sky_scale > 0.0:
        directions = _directions(np.arange(height // 2) + 0.5, np.arange(2 * height) + 0.5, height)
        upper += sky_scale * _sky(directions, sun, turbidity, np.broadcast_to(albedo, 3))
    if sun_scale > 0.0:
        half = math.radians(0.5 * sun_aperture)
        coverage = _disc(sun, half, height)[: height // 2, :, None]
        radiance = _sun_irradiance(turbidity, math.degrees(math.asin(min(sun[2], 1.0)))) / _solid_angle(half)
        upper += sun_scale * coverage * np.maximum(radiance, 0.0)
    return image.astype(np.float32)


@functools.cache
def _coefficients() -> dict[str, np.ndarray]:
    with resources.files(__package__).joinpath("hosek_wilkie.npz").open("rb") as file, np.load(file) as data:
        return {name: data[name].astype(np.float64) for name in data.files}


def _directions(rows: np.ndarray, columns: np.ndarray, height: int) -> np.ndarray:
    """Unit vectors with z up, shape [row_count, column_count, 3]."""
    theta, phi = np.pi * rows[:, None] / height, np.pi * columns[None, :] / height
    # The image's (x, y, z) is the sky's (x, z, -y), and u runs from -z over +x
    flat = np.sin(theta)
    return np.stack(np.broadcast_arrays(flat * np.sin(phi), flat * np.cos(phi), np.cos(theta)), axis=-1)


def _between(table: np.ndarray, place: float) -> np.ndarray:
    """Interpolate along the first axis."""
    place = min(max(place, 0.0), len(table) - 1.0)
    below = min(int(place), len(table) - 2)
    return table[below] + (place - below) * (table[below + 1] - table[below])


def _sky(directions: np.ndarray, sun: np.ndarray, turbidity: float, albedo: np.ndarray) -> np.ndarray:
    """Return the radiance of the sky in some directions."""
    table = _between(_coefficients()["sky"], turbidity - 1.0)  # [albedo, control point, colour, parameter]
    table = table[0] + albedo[:, None] * (table[1] - table[0])
    x = np.cbrt(2.0 * math.asin(min(sun[2], 1.0)) / math.pi)
    weights = np.array([factor * x**n * (1.0 - x) ** (5 - n) for n, factor in enumerate(_BEZIER)])
    a, b, c, d, e, f, g, h, i, mean = np.moveaxis(np.tensordot(weights, table, 1), -1, 0)  # each [colour]
    cos_theta = directions[..., 2:]
    cos_gamma = np.clip(directions @ sun, -1.0, 1.0)[..., None]
    forward = (1.0 + cos_gamma**2) / (1.0 + i**2 - 2.0 * i * cos_gamma) ** 1.5
    gradient = 1.0 + a * np.exp(b / (cos_theta + 0.01))
    glow = c + d * np.exp(e * np.arccos(cos_gamma)) + f * cos_gamma**2 + g * forward + h * np.sqrt(cos_theta)
    return np.maximum(gradient * glow * mean, 0.0)


def _sun_irradiance(turbidity: float, elevation: float) -> np.ndarray:
    """Return the irradiance of a surface that faces the sun at an elevation [degrees]."""
    return _between(_between(_coefficients()["sun"], turbidity - 1.0), (elevation - 2.0) / 3.0)


def _solid_angle(half: float) -> float:
    """Return the solid angle of a cone [sr], from its half angle [radians]."""
    return 4.0 * math.pi * math.sin(0.5 * half) ** 2


def _disc(sun: np.ndarray, half: float, height: int) -> np.ndarray:
    """Return the fraction of each texel that the sun covers, normalized to the sun's solid angle; shape [height, width]."""
    middle, reach = math.acos(min(sun[2], 1.0)) / math.pi * height, half / math.pi * height + 1.0
    first, last = max(int(middle - reach), 0), min(math.ceil(middle + reach), height)
    steps = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES
    covered = np.zeros((height, 2 * height))
    columns = (np.arange(2 * height)[:, None] + steps).ravel()
    for row in range(first, last):
        inside = _directions(row + steps, columns, height) @ sun >= math.cos(half)
        covered[row] = inside.reshape(SUBSAMPLES, 2 * height, SUBSAMPLES).mean(axis=(0, 2))
    edges = np.cos(np.pi * np.arange(height + 1) / height)
    texels = (edges[:-1] - edges[1:])[:, None] * np.pi / height
    total = float((covered * texels).sum())
    if total > 0.0:
        return covered * (_solid_angle(half) / total)
    nearest = min(int(middle), height - 1), int(math.atan2(sun[0], sun[1]) / math.pi * height) % (2 * height)
    covered[nearest] = _solid_angle(half) / texels[nearest[0], 0]
    return covered
