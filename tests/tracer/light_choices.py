"""Choices of lights at one point, and the probability of each light there, as kernels compute them."""

from __future__ import annotations

import numpy as np

from nrc_tracer.tracer.device_scene import DeviceScene
from tests.tracer import kernels
from tests.tracer.kernels import wp


def choices(on: DeviceScene, p, n, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of `count` lights chosen at `p` on the side of `n`, and the probability that came with each."""
    return choices_by(on, p, n, kernels.uniform(rng, count, 2))


def choices_by(on: DeviceScene, p, n, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for given pairs of random numbers, [count, 2]."""
    numbers, chances = kernels.zeros(len(u), int), kernels.zeros(len(u), float)
    inputs = [on.record, wp.vec3(*map(float, p)), wp.vec3(*map(float, n)), kernels.array(u, wp.vec2), numbers, chances]
    kernels.launch(kernels.choose_light_kernel, len(u), inputs)
    return numbers.numpy(), chances.numpy()


def probabilities(on: DeviceScene, p, n) -> np.ndarray:
    """The probability of choosing each light at `p` on the side of `n`, float64."""
    count = len(on.record.lights.records)
    found = kernels.zeros(count, float)
    inputs = [on.record, wp.vec3(*map(float, p)), wp.vec3(*map(float, n)), found]
    kernels.launch(kernels.light_probability_kernel, count, inputs)
    return found.numpy().astype(np.float64)
