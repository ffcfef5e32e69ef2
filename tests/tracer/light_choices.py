"""Choices of lights at one point, and the probability of each light there, as kernels compute them."""

from __future__ import annotations

import numpy as np

from nrc_tracer.tracer.device_scene import DeviceScene
from tests.tracer import kernels
from tests.tracer.kernels import wp


def choices(on: DeviceScene, p, n, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of `count` lights chosen at `p` on the side of `n`, and the probability that came with each."""
    numbers, chances = kernels.zeros(count, int), kernels.zeros(count, float)
    u = kernels.array(kernels.uniform(rng, count, 2), wp.vec2)
    inputs = [on.record, wp.vec3(*map(float, p)), wp.vec3(*map(float, n)), u, numbers, chances]
    kernels.launch(kernels.choose_light_kernel, count, inputs)
    return numbers.numpy(), chances.numpy()


def probabilities(on: DeviceScene, p, n) -> np.ndarray:
    """The probability of choosing each light at `p` on the side of `n`, float64."""
    count = len(on.record.lights.records)
    found = kernels.zeros(count, float)
    inputs = [on.record, wp.vec3(*map(float, p)), wp.vec3(*map(float, n)), found]
    kernels.launch(kernels.light_probability_kernel, count, inputs)
    return found.numpy().astype(np.float64)
