"""Results of the kernel for cut paths as NumPy arrays, and sums over them in plain Python."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import warp as wp

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cut_policy import RENDER, CutPolicy
from nrc_tracer.cache.features import FEATURES, SceneBox
from nrc_tracer.cache.records import IN_CACHE
from nrc_tracer.scene.model import Scene
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.cut_path import trace_cut_paths
from tests.tracer.tiny_scenes import path_inputs

LOW, SIZE = -8.0, 16.0
"""The low corner and the side of the cube in all these tests."""


@dataclass(frozen=True)
class Paths:
    """Paths in order, all pixels for each sample; arrays as in `RecordBuffers`, but float64."""

    features: np.ndarray
    throughput: np.ndarray
    gathered: np.ndarray
    count: np.ndarray
    status: np.ndarray
    length: np.ndarray
    depth: np.ndarray

    @property
    def positions(self) -> np.ndarray:
        """Positions of the cuts, [paths, capacity, 3]."""
        return self.features[:, :, :3] * SIZE + LOW

    @property
    def to_viewer(self) -> np.ndarray:
        """Directions from the cuts to the previous point of the path, [paths, capacity, 3]."""
        return _direction(self.features[:, :, 3:5])

    def scattered(self, ends: np.ndarray | float = 0.0) -> list[list[np.ndarray]]:
        """T of all cuts of each path, from the first to the last, by the recursion; `ends` is the cache's prediction, [3]."""
        found = []
        for i in range(len(self.count)):
            count = self.count[i]
            in_cache = self.status[i] == int(IN_CACHE)
            values: list[np.ndarray] = []
            for slot in reversed(range(count)):
                if slot == count - 1:
                    value = np.broadcast_to(ends, 3) if in_cache else self.gathered[i, count]
                else:
                    value = self.gathered[i, slot + 1] + self.throughput[i, slot + 1] * values[-1]
                values.append(np.asarray(value, float))
            found.append(values[::-1])
        return found

    def radiance(self, ends: np.ndarray | float = 0.0) -> np.ndarray:
        """Radiance that the camera receives along each path, [paths, 3]."""
        seen = self.gathered[:, 0].copy()
        for i, values in enumerate(self.scattered(ends)):
            if values:
                seen[i] += self.throughput[i, 0] * values[0]
        return seen


def _direction(angles: np.ndarray) -> np.ndarray:
    theta, phi = np.pi * angles[..., 0], 2.0 * np.pi * (angles[..., 1] - 0.5)
    return np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1)


def cut_paths(
    described: Scene,
    *,
    mode: int = RENDER,
    spread: float = 0.01,
    suffix_spread: float = 0.01,
    go_on: float = 0.0,
    capacity: int = 1,
    samples: int = 1,
    seed: int = 0,
    continuation: int = 0,
    tiles: tuple[int, int] = (0, 0),
    group: int = 1,
) -> Paths:
    """Trace `samples` paths through every pixel, or with `tiles`, `group` paths through one pixel of each tile."""
    inputs = path_inputs(described, seed=seed)
    width, height = inputs.size
    policy = CutPolicy()
    policy.mode, policy.spread, policy.suffix_spread = int(mode), spread, suffix_spread
    policy.continue_probability, policy.continuation = wp.array([go_on], dtype=float, device="cpu"), continuation
    policy.box = SceneBox()
    policy.box.low, policy.box.scale = wp.vec3(LOW), 1.0 / SIZE
    policy.tiles, policy.group = wp.array(tiles, dtype=int, device="cpu"), group
    policy.size = wp.vec2(float(width), float(height))
    paths = tiles[0] * tiles[1] * group if tiles[0] else width * height
    parts = []
    for sample in range(samples):
        buffers = RecordBuffers.allocate(paths, capacity, torch.device("cpu"))
        policy.sample = wp.array([sample], dtype=int, device="cpu")
        wp.launch(trace_cut_paths, dim=paths, inputs=[*inputs.records, policy, 0, buffers.record], device="cpu")
        parts.append(buffers)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name).numpy() for part in parts])

    floats = {name: joined(name).astype(np.float64) for name in ("features", "throughput", "gathered")}
    assert floats["features"].shape[2] == FEATURES
    return Paths(**floats, **{name: joined(name) for name in ("count", "status", "length", "depth")})


def traced_samples(described: Scene, samples: int, *, seed: int = 0) -> np.ndarray:
    """Single samples of ordinary path tracing, in the order of `cut_paths`, [samples * pixels, 3]."""
    renderer = Renderer(described, device="cpu", seed=seed)
    sums = [np.zeros((renderer.width * renderer.height, 3))]
    for number in range(samples):
        renderer.step()
        sums.append((number + 1) * renderer.moments()[0].reshape(-1, 3))
    assert renderer.dropped == 0
    return np.concatenate(np.diff(sums, axis=0))
