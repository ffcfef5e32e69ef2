"""Layers of an image that show a radiance cache: length of paths, where they end, predictions and targets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nrc_tracer.cache.buffers import RecordBuffers
from nrc_tracer.cache.cache import RadianceCache
from nrc_tracer.cache.cut_policy import RENDER, VIEW
from nrc_tracer.cache.held_out import HeldOut
from nrc_tracer.cache.path_source import PathSource, make_cuts
from nrc_tracer.device.torch_launcher import single_threaded_torch


def cache_layers(
    cache: RadianceCache, source: PathSource, training_density: Tensor, samples: int
) -> dict[str, np.ndarray]:
    """Layers that show the cache, as `nrc_tracer.tracer.image_layers` describes them, from the image's first `samples` samples.

    Args:
        cache: The cache, which has begun.
        source: What traces paths.
        training_density: Training paths through each pixel, [pixels].
        samples: Number of samples per pixel.

    Returns:
        The layers by name, float32 [height, width] or [height, width, 3].
    """
    pixels, device = source.width * source.height, source.launcher.torch_device
    buffers = RecordBuffers.allocate(pixels, 1, device)
    length, depth, cuts = (torch.zeros(pixels, device=device) for _ in range(3))
    prediction, target = (torch.zeros((pixels, 3), device=device) for _ in range(2))
    with single_threaded_torch(source.launcher):
        for sample in range(samples):
            source.trace(buffers, make_cuts(cache, source, RENDER, sample, 0.0))
            length += buffers.length
            depth += buffers.depth
            cuts += buffers.depth > 0
            source.trace(buffers, make_cuts(cache, source, VIEW, sample, 1.0))
            held = HeldOut.of(buffers, pixels)
            prediction += held.before + held.throughput * cache.predict(held.features)
            target += held.before + held.throughput * held.tail
    found = {
        "path_length": length / samples,
        "cache_depth": depth / cuts.clamp_min(1.0),
        "training_density": training_density.float(),
        "cache_prediction": prediction / samples,
        "cache_target": target / samples,
    }
    shape = (source.height, source.width, -1)
    return {name: layer.reshape(shape).squeeze(2).cpu().numpy() for name, layer in found.items()}
