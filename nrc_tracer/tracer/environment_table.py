"""Converts an environment map to texels and sampling tables on a device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from nrc_tracer.errors import SceneError
from nrc_tracer.imaging.tonemap import decode_srgb
from nrc_tracer.scene.model import EnvironmentMap
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.tracer.lights.light import Environment
from nrc_tracer.tracer.texture_table import LUMINANCE, to_rgb


@dataclass(frozen=True)
class EnvironmentTable:
    """An environment map on the host.

    Attributes:
        pixels: Radiance of each texel before `scale`, shape [height, width, 3], float32.
        rotation: Matrix from directions of the map to world directions, shape [3, 3].
        scale: Factor of the radiance.
        row_cdf: Cumulative sums of the rows of patches, shape [height + 2].
        column_cdf: Cumulative sums of the columns of each row, shape [height + 1, width + 1].
        mean_luminance: Mean luminance over the sphere, before `scale`.
    """

    pixels: np.ndarray
    rotation: np.ndarray
    scale: float
    row_cdf: np.ndarray
    column_cdf: np.ndarray
    mean_luminance: float

    @classmethod
    def of(cls, light: EnvironmentMap, image: np.ndarray) -> EnvironmentTable:
        """Make the tables of a light from its image.

        Raises:
            SceneError: The light's transform is more than a rotation, a reflection and a uniform scale.
        """
        pixels = to_rgb(image)
        if pixels.dtype != np.float32:
            pixels = decode_srgb(pixels / np.iinfo(pixels.dtype).max)
        pixels = np.maximum(pixels, 0.0).astype(np.float32)
        rotation = matrix(light.to_world)[:3, :3]
        rotation = rotation / np.linalg.norm(rotation[:, 0])
        if not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-4):
            raise SceneError("an environment map can be rotated and mirrored, but not sheared or scaled unevenly")
        return cls(pixels, rotation, light.scale, *sampling_tables(pixels @ LUMINANCE))

    @classmethod
    def black(cls) -> EnvironmentTable:
        """The tables of a scene without an environment map."""
        return cls(np.zeros((1, 1, 3), np.float32), np.eye(3), 0.0, *sampling_tables(np.zeros((1, 1))))

    def upload(self, device: str) -> Environment:
        """Copy everything to a device."""
        luminance = np.nan_to_num(self.pixels @ LUMINANCE, nan=0.0, posinf=0.0, neginf=0.0)
        environment = Environment()
        environment.height, environment.width = luminance.shape
        environment.texels = wp.array(self.pixels.reshape(-1, 3), dtype=wp.vec3, device=device)
        environment.luminance = wp.array(luminance.astype(np.float32).ravel(), dtype=float, device=device)
        environment.row_cdf = wp.array(self.row_cdf, dtype=float, device=device)
        environment.column_cdf = wp.array(self.column_cdf.ravel(), dtype=float, device=device)
        environment.to_local = wp.mat33(*self.rotation.T.ravel())
        environment.scale = self.scale
        return environment


def sampling_tables(luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Cumulative sums of the sampling density over the patches of a lat-long image.

    Args:
        luminance: Luminance of each texel, shape [height, width]. Values that are not finite count as black.

    Returns:
        Cumulative sums of the rows, shape [height + 2], and of the columns of each row, shape [height + 1, width + 1]; and
        the mean luminance over the sphere.
    """
    luminance = np.nan_to_num(luminance, nan=0.0, posinf=0.0, neginf=0.0)
    height, width = luminance.shape
    rows = np.concatenate([luminance[:1], luminance, luminance[-1:]]).astype(np.float64)
    pairs = rows[:-1] + rows[1:]
    weights = 0.25 * (pairs + np.roll(pairs, 1, axis=1))
    edges = np.clip((np.arange(height + 2) - 0.5) / height, 0.0, 1.0)
    centres = 0.5 * (edges[:-1] + edges[1:])
    weights *= (np.diff(edges) * np.sin(np.pi * centres))[:, None]
    mean = weights.sum() / (np.diff(edges) * np.sin(np.pi * centres)).sum() / width
    if weights.sum() <= 0.0:
        weights[:] = 1.0
    row_sums = weights.sum(axis=1)
    columns = np.cumsum(np.where(row_sums[:, None] > 0.0, weights, 1.0), axis=1)
    columns = np.pad(columns / columns[:, -1:], ((0, 0), (1, 0)))
    cumulative = np.pad(np.cumsum(row_sums) / row_sums.sum(), (1, 0))
    return cumulative.astype(np.float32), columns.astype(np.float32), float(mean)
