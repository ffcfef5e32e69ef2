"""A small scene, and cameras that move in it."""

from __future__ import annotations

import numpy as np

from nrc_tracer.live.view import View
from nrc_tracer.live.world import Budget
from nrc_tracer.scene.model import LookAt, Perspective
from tests.tracer.cached_renders import niche

WIDTH, HEIGHT = 64, 36


def room(**options):
    """The niche, in the tests' size."""
    return niche(film=(WIDTH, HEIGHT), **options)


def camera(step: float) -> Perspective:
    """A camera that moves sideways and forward."""
    place = (0.03 * step - 0.3, 0.1, 4.0 - 0.02 * step)
    return Perspective(to_world=(LookAt(origin=place, target=(0.0, 0.0, 0.0)),), fov=40.0)


def view(step: float = 0.0, **options) -> View:
    """A view of the moving camera."""
    return View(camera(step), WIDTH, HEIGHT, **options)


def moving(width: int = WIDTH, height: int = HEIGHT) -> Budget:
    """The budget of a moving frame of one sample per pixel."""
    return Budget(width, height, is_moving=True, seconds=0.0)


def still(samples: int) -> Budget:
    """The budget of a still frame with this many samples per pixel."""
    return Budget(WIDTH, HEIGHT, seconds=1e3, most_samples=samples)


def relative_error(image: np.ndarray, truth: np.ndarray) -> float:
    """Relative mean squared error."""
    return float(np.mean(np.square(image - truth) / (np.square(truth) + 0.01)))
