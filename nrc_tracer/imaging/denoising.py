"""Removing noise from an image with Intel's Open Image Denoise, where it is installed."""

from __future__ import annotations

import numpy as np

from nrc_tracer.errors import DeviceError, one_line


def check_denoiser() -> None:
    """Check, before a long render, that Open Image Denoise is installed. Raises `DeviceError`."""
    try:
        import pyoidn  # noqa: F401
    except (ImportError, OSError) as error:
        raise DeviceError(
            f'Open Image Denoise cannot be loaded ({one_line(error)}); pip install "nrc-tracer[denoise]" installs it'
        ) from error


def denoise(rgb: np.ndarray, *, albedo: np.ndarray | None = None, normal: np.ndarray | None = None) -> np.ndarray:
    """Return the image without its noise, as estimated by a network: biased, but pleasant to look at when samples are few.

    Args:
        rgb: Linear colour, shape [height, width, 3]; negative values count as 0.
        albedo: Colour of the surfaces in [0, 1], the same shape, which keeps textures sharp.
        normal: Normals of the surfaces, the same shape, which keep edges sharp. Needs `albedo`.

    Returns:
        Linear colour, the same shape, float32.

    Raises:
        DeviceError: Open Image Denoise is not installed, or fails.
    """
    check_denoiser()
    import pyoidn

    guides = {"albedo": None if albedo is None else np.clip(albedo, 0.0, 1.0), "normal": normal}
    guides = {name: np.ascontiguousarray(guide, np.float32) for name, guide in guides.items() if guide is not None}
    try:
        return pyoidn.denoise(np.ascontiguousarray(np.maximum(rgb, 0.0), np.float32), **guides, hdr=True)
    except RuntimeError as error:
        raise DeviceError(f"Open Image Denoise failed: {one_line(error)}") from error
