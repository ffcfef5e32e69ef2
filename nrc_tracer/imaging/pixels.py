"""Writing pixels without conversion, so that `read_image` returns the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nrc_tracer.errors import one_line
from nrc_tracer.files.atomic import replacing
from nrc_tracer.imaging import png16

CHANNELS = {1: "Y", 3: "RGB", 4: "RGBA"}
"""Names of the channels in an EXR, by their number."""


def pixel_extension(pixels: np.ndarray) -> str:
    """Return the extension of the format that keeps these pixels: `.png` for integers, `.exr` for floats."""
    return ".png" if pixels.dtype.kind == "u" else ".exr"


def write_pixels(path: Path, pixels: np.ndarray) -> None:
    """Write an image without any conversion. An existing file is replaced only when the new one is complete.

    Args:
        path: The file; its extension must be that of `pixel_extension`.
        pixels: Shape [height, width, 1 | 3 | 4], uint8 or uint16 (PNG), or float32 (EXR).

    Raises:
        OutputError: The file cannot be written.
        ValueError: Shape, type or extension is another one.
    """
    if pixels.ndim != 3 or pixels.shape[2] not in CHANNELS or pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise ValueError(f"not pixels: {pixels.dtype} of the shape {pixels.shape}")
    if path.suffix.lower() != pixel_extension(pixels):
        raise ValueError(f"{path.name} cannot hold {pixels.dtype}")
    with replacing(path) as temporary:
        if pixels.dtype == np.float32:
            _write_exr(temporary, pixels)
        elif pixels.dtype == np.uint16:
            temporary.write_bytes(png16.encode(pixels))
        else:
            import PIL.Image

            image = pixels[..., 0] if pixels.shape[2] == 1 else pixels
            PIL.Image.fromarray(np.ascontiguousarray(image)).save(temporary, format="PNG")


def _write_exr(path: Path, pixels: np.ndarray) -> None:
    import OpenEXR

    channels = {name: np.ascontiguousarray(pixels[..., i]) for i, name in enumerate(CHANNELS[pixels.shape[2]])}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    try:
        OpenEXR.File(header, channels).write(str(path))
    except RuntimeError as error:
        raise OSError(one_line(error)) from error
