"""Renders with a radiance cache, small enough for tests, and caches that are wrong on purpose."""

from __future__ import annotations

from unittest import mock

import msgspec
import numpy as np
import torch
from torch import Tensor

from nrc_tracer.cache import RadianceCache, schedule
from nrc_tracer.cache.frames import CachedFrames
from nrc_tracer.cache.mode import CacheMode
from nrc_tracer.scene.model import Diffuse, LookAt, Perspective, Rectangle, Rotate, Scale, Scene, Sphere, Translate
from nrc_tracer.tracer import Renderer
from nrc_tracer.tracer.cut_tracer import CutTracer
from tests.agreement.statistics import Estimate
from tests.tracer.tiny_scenes import path_inputs, scene

NEVER = 2**31 - 1
"""A value of `train_every` with which there is hardly any training after the warm-up."""


class WrongCache(RadianceCache):
    """A cache that learns correctly but predicts `factor` times what it has learnt, plus `offset`."""

    factor, offset = 1.0, 0.0

    def predict(self, features: Tensor, *, trained: bool = False) -> Tensor:
        return self.factor * super().predict(features, trained=trained) + self.offset


def wrong_cache(factor: float, offset: float = 0.0, **settings) -> WrongCache:
    """A cache whose wrong predictions do not enter its own training targets."""
    cache = WrongCache(unbiased=1.0, warm_up_unbiased=1.0, **{"records": 1024, "train_frames": 4, **settings})
    cache.factor, cache.offset = factor, offset
    return cache


def cached(described: Scene, mode: str = "on", cache: RadianceCache | None = None, **options) -> Renderer:
    """A renderer for paths of any length with a cache of few records and a short warm-up, unless another cache is given."""
    cache = cache or RadianceCache(records=1024, train_frames=4)
    options = {"max_depth": -1, "sampler": "independent", **options}
    return Renderer(described, device="cpu", cache=cache, cache_mode=mode, **options)


def uncached(described: Scene, samples: int, **options) -> Renderer:
    """A renderer without a cache that has taken `samples` samples of paths of any length."""
    renderer = Renderer(described, device="cpu", **{"max_depth": -1, "sampler": "independent", **options})
    renderer.step(samples)
    return renderer


def freeze(renderer: Renderer) -> None:
    """Stop the training of the renderer's cache."""
    renderer.cache.options = msgspec.structs.replace(renderer.cache.options, freeze=True)


def warm_up(renderer: Renderer, probability: float) -> None:
    """Warm the cache up. In mode `unbiased` paths then continue beyond it with this probability, whatever is measured."""
    with mock.patch.object(schedule, "continue_probability", return_value=probability):
        assert renderer.warm_up()


def cut_tracer(described: Scene, *, seed: int = 0) -> CutTracer:
    """The tracer that follows paths of a scene for a cache."""
    return CutTracer(path_inputs(described, seed=seed), device="cpu", threads=2, block_size=1024)


def frames(described: Scene, mode: CacheMode, cache: RadianceCache) -> CachedFrames:
    """Frames with a cache that has begun but has not been warmed up."""
    inputs = path_inputs(described)
    cache.begin(*inputs.box, device=torch.device("cpu"), threads=2, seed=0)
    return CachedFrames(cache, mode, CutTracer(inputs, device="cpu", threads=2, block_size=1024))


def replicates(renderer: Renderer, count: int, samples: int) -> Estimate:
    """The mean of `count` images with `samples` samples and different seeds, and the variance between the images."""
    images = []
    for seed in range(count):
        renderer.reset(seed=1000 + seed)
        renderer.step(samples)
        assert renderer.dropped == 0
        images.append(renderer.moments()[0])
    return Estimate(np.mean(images, axis=0), np.var(images, axis=0, ddof=1), count)


def estimate(renderer: Renderer) -> Estimate:
    """The estimate from a renderer's independent samples."""
    assert renderer.dropped == 0
    return Estimate(*renderer.moments(), renderer.samples)


def blocks(image: np.ndarray, size: int = 8) -> np.ndarray:
    """Means of square blocks over all channels, shape [height / size, width / size]."""
    height, width = image.shape[0] // size, image.shape[1] // size
    return image[: height * size, : width * size].reshape(height, size, width, size, -1).mean(axis=(1, 3, 4))


def niche(size: float = 1.0, light: float = 1.0, *, film: tuple[int, int] = (24, 16), **options) -> Scene:
    """A box of coloured walls, 2 `size` wide and open towards the camera, with a ball of radiance 20 `light` in it.

    The ball is under a shelf, so the upper half only gets light that the walls reflect.
    """

    def wall(place, *turns, material="white", half=1.0):
        return Rectangle(
            material=material, to_world=(Scale(half * size), *turns, Translate(tuple(size * x for x in place)))
        )

    eye = (0.0, 0.0, 4.0 * size)
    return scene(
        wall((0.0, 0.0, -1.0)),
        wall((0.0, -1.0, 0.0), Rotate(axis=(1, 0, 0), angle=-90.0)),
        wall((0.0, 1.0, 0.0), Rotate(axis=(1, 0, 0), angle=90.0)),
        wall((-1.0, 0.0, 0.0), Rotate(axis=(0, 1, 0), angle=90.0), material="red"),
        wall((1.0, 0.0, 0.0), Rotate(axis=(0, 1, 0), angle=-90.0), material="green"),
        wall((0.0, 0.0, -0.2), Rotate(axis=(1, 0, 0), angle=90.0), half=0.7),
        Sphere(center=(0.0, -0.5 * size, 0.0), radius=0.15 * size, emission=20.0 * light),
        materials={
            "white": Diffuse(reflectance=0.75),
            "red": Diffuse(reflectance=(0.6, 0.1, 0.1)),
            "green": Diffuse(reflectance=(0.1, 0.5, 0.1)),
        },
        camera=Perspective(to_world=(LookAt(origin=eye, target=(0.0, 0.0, 0.0)),), fov=36.0),
        film=film,
        **options,
    )
