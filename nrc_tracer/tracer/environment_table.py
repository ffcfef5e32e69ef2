"""Converts an environment map to texels and sampling tables on a device."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
import warp as wp

from nrc_tracer.device.structs import zero_structs
from nrc_tracer.errors import SceneError
from nrc_tracer.imaging.tonemap import decode_srgb
from nrc_tracer.scene.model import EnvironmentMap, Scene
from nrc_tracer.scene.transforms import matrix
from nrc_tracer.tracer.environment_tree import EnvironmentTree, build_tree, in_row_blocks
from nrc_tracer.tracer.lights.light import Environment, EnvironmentNode
from nrc_tracer.tracer.texture_table import LUMINANCE, to_rgb


@dataclass(frozen=True)
class EnvironmentTable:
    """An environment map on the host.

    Attributes:
        pixels: Radiance of each texel before `scale`, shape [height, width, 3], float32.
        rotation: Matrix from directions of the map to world directions, shape [3, 3].
        scale: Factor of the radiance.
        tree: Density of sampling.
        mean_luminance: Mean luminance over the sphere, before `scale`.
        pole_to_pole: Whether the first and the last row of texels lie at the poles.
    """

    pixels: np.ndarray
    rotation: np.ndarray
    scale: float
    tree: EnvironmentTree
    mean_luminance: float
    pole_to_pole: bool = False

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
        rotation = _rotation(light)
        pole_to_pole = light.rows == "pole_to_pole" and len(pixels) > 1  # a single row is constant either way
        if pole_to_pole and len(pixels) == 2:  # Mitsuba, whose rows these are, needs three and repeats the last
            pixels = np.concatenate((pixels, pixels[-1:]))
        return cls(pixels, rotation, light.scale, *_density(pixels, pole_to_pole), pole_to_pole)

    @classmethod
    def black(cls) -> EnvironmentTable:
        """The tables of a scene without an environment map."""
        pixels = np.zeros((1, 1, 3), np.float32)
        return cls(pixels, np.eye(3), 0.0, *_density(pixels))

    def upload(self, device: str) -> Environment:
        """Copy everything to a device."""
        tree = self.tree
        nodes = zero_structs(EnvironmentNode, len(tree.values))
        nodes["value"], nodes["code"] = tree.values, tree.codes
        environment = Environment()
        environment.height, environment.width = self.pixels.shape[:2]
        environment.bands = environment.height - self.pole_to_pole
        environment.row_shift = 1.0 if self.pole_to_pole else 0.5
        environment.texels = wp.array(self.pixels.reshape(-1, 3), dtype=wp.vec3, device=device)
        environment.rows, environment.columns = tree.column_cdf.shape[0], tree.column_cdf.shape[1] - 1
        environment.row_bits, environment.column_bits = tree.block_bits
        environment.row_cdf = wp.array(tree.row_cdf, dtype=float, device=device)
        environment.column_cdf = wp.array(tree.column_cdf.ravel(), dtype=float, device=device)
        environment.corners = wp.array(tree.corners, dtype=wp.vec4, device=device)
        environment.nodes = wp.array(nodes, dtype=EnvironmentNode, device=device)
        environment.to_local = wp.mat33(*self.rotation.T.ravel())
        environment.scale = self.scale
        return environment


@dataclass(frozen=True)
class UploadedEnvironment:
    """An environment map on a device, which lights with another rotation or scale can use.

    Attributes:
        image: The image it was made from.
        rows: The light's `rows`.
        mean_luminance: Mean luminance over the sphere, before `scale`.
        record: The map as kernels read it.
    """

    image: np.ndarray
    rows: str
    mean_luminance: float
    record: Environment

    def fits(self, light: EnvironmentMap, image: np.ndarray) -> bool:
        """Whether a light has this image, placed in the same way."""
        return image is self.image and light.rows == self.rows

    def turned(self, light: EnvironmentMap) -> UploadedEnvironment:
        """The same map in the same memory, with the rotation and the scale of a light that fits. Raises `SceneError`."""
        record = Environment()
        for name in _FIELDS:
            setattr(record, name, getattr(self.record, name))
        record.to_local, record.scale = wp.mat33(*_rotation(light).T.ravel()), light.scale
        return dataclasses.replace(self, record=record)


_FIELDS = (
    *("width", "height", "bands", "row_shift", "texels"),
    *("rows", "columns", "row_bits", "column_bits", "row_cdf", "column_cdf", "nodes", "corners"),
)
"""Fields of an environment's record that do not depend on its rotation and scale."""


def _rotation(light: EnvironmentMap) -> np.ndarray:
    """The matrix from directions of the map to world directions, shape [3, 3]. Raises `SceneError`."""
    rotation = matrix(light.to_world)[:3, :3]
    rotation = rotation / np.linalg.norm(rotation[:, 0])
    if not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-4):
        raise SceneError("an environment map can be rotated and mirrored, but not sheared or scaled unevenly")
    return rotation


def environment_beside(scene: Scene, pool: Executor) -> Future[EnvironmentTable] | None:
    """Begin to make the tables of a scene's environment map on another thread; None for a scene without one."""
    for light in scene.description.lights:
        if isinstance(light, EnvironmentMap):
            return pool.submit(EnvironmentTable.of, light, scene.images[light.file])
    return None


def _density(pixels: np.ndarray, pole_to_pole: bool = False) -> tuple[EnvironmentTree, float]:
    """The density of sampling a map, and its mean luminance over the sphere. Values that are not finite count as black."""
    luminance = np.empty(pixels.shape[:2])

    def take(begin: int, end: int) -> None:
        luminance[begin:end] = np.nan_to_num(pixels[begin:end] @ LUMINANCE, nan=0.0, posinf=0.0, neginf=0.0)

    in_row_blocks(take, len(pixels))
    corners = quarter_corners(luminance, pole_to_pole)
    corners *= np.sin(np.linspace(0.0, np.pi, len(corners)))[:, None]
    across = corners[:, :-1].mean(axis=1)  # the trapezoidal rule turns these into the mean over the sphere
    return build_tree(corners), float(across.sum() / np.sin(np.linspace(0.0, np.pi, len(corners))).sum())


def quarter_corners(luminance: np.ndarray, pole_to_pole: bool = False) -> np.ndarray:
    """Luminance at the corners of the quarters of texels, between which it is bilinear.

    Args:
        luminance: Luminance at the centres of texels, shape [height, width].
        pole_to_pole: Whether the first and the last of at least two rows lie at the poles, with a band between each two rows.

    Returns:
        Shape [2 bands + 1, 2 width + 1], with a band for each row unless they lie pole to pole. The image is clamped at the poles
        and wraps around.
    """
    height, width = luminance.shape
    corners = np.empty((2 * (height - pole_to_pole) + 1, 2 * width + 1))
    # Along the rows of texels, then between them
    rows = corners[::2] if pole_to_pole else corners[1::2]
    between = corners[1::2] if pole_to_pole else corners[2:-1:2]

    def across(begin: int, end: int) -> None:
        values, row = luminance[begin:end], rows[begin:end]
        row[:, 1::2] = values
        row[:, 2:-1:2] = 0.5 * (values[:, :-1] + values[:, 1:])
        row[:, 0] = row[:, -1] = 0.5 * (values[:, 0] + values[:, -1])

    def down(begin: int, end: int) -> None:
        np.multiply(0.5, rows[begin:end] + rows[begin + 1 : end + 1], out=between[begin:end])

    in_row_blocks(across, height)
    in_row_blocks(down, height - 1)
    corners[0], corners[-1] = rows[0], rows[-1]
    return corners
