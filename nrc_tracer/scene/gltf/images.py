"""The images of a glTF file, inside it or beside it, and masks made from them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.files.reading import reading
from nrc_tracer.imaging import decode_image
from nrc_tracer.scene.gltf.document import Document
from nrc_tracer.scene.model import Wrap

MASK_TEXELS = 1 << 22
"""Largest number of texels to which a mask is refined."""
MAX_REFINEMENT = 4
"""Largest refinement of a mask along each axis."""


class ImageReader:
    """Decodes images, each of them once. `images` contains their pixels, by the name to use as `Bitmap.file`."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.images: dict[str, np.ndarray] = {}

    def read(self, index: int) -> str:
        """Decode an image and return its name: `scene.glb#image2`.

        Raises:
            SceneError: It is missing, damaged, or not a PNG or JPEG.
        """
        name = f"{self.document.path.name}#image{index}"
        if name in self.images:
            return name
        entry = self.document.get("images", index)
        view = entry.reference("bufferView", "bufferViews")
        source = self.document.file(entry) if view is None else bytes(self.document.view(view).data)
        try:
            if isinstance(source, Path):
                with reading(source, SceneError):
                    source = source.read_bytes()
            self.images[name] = decode_image(source, "the image")
        except SceneError as error:
            entry.fail(f"{error}")
        return name

    def mask(self, name: str, factor: float, cutoff: float, wrap: tuple[Wrap, Wrap], *, nearest: bool = False) -> str:
        """Make an image that is 1 where the alpha of another one, times `factor`, is at least `cutoff`, else 0.

        Unless `nearest` is set, the mask is up to `MAX_REFINEMENT` times finer than the image, so that its edges follow the
        interpolated alpha and not the texels. It is meant for lookups of the nearest texel.

        Args:
            name: Name of an image with an alpha channel, from `read`.
            factor: Factor on the alpha.
            cutoff: Smallest opaque alpha.
            wrap: Horizontal and vertical wrap mode of the image.
            nearest: Whether the alpha is that of the nearest texel, not interpolated.

        Returns:
            The name of the mask, an image of one channel, uint8.
        """
        sampling = "nearest" if nearest else f"{wrap[0]},{wrap[1]}"
        key = f"{name}.alpha*{factor:g}>={cutoff:g},{sampling}"
        if key not in self.images:
            pixels = self.images[name]
            alpha = pixels[:, :, 3].astype(np.float32) / np.iinfo(pixels.dtype).max
            fine = alpha
            if not nearest:
                refinement = max(1, min(MAX_REFINEMENT, math.isqrt(MASK_TEXELS // alpha.size)))
                fine = refine(refine(alpha, refinement, wrap[1]).T, refinement, wrap[0]).T
            # The tolerance allows for an alpha in 8 bits that is the rounded cutoff
            opaque = fine * np.float32(factor) >= cutoff - 1e-6
            self.images[key] = np.ascontiguousarray(opaque[:, :, None] * np.uint8(255))
        return key


def refine(rows: np.ndarray, factor: int, wrap: Wrap) -> np.ndarray:
    """Interpolate an image linearly along its first axis, at `factor` points per texel that are centred in it."""
    count = len(rows)
    position = (np.arange(count * factor) + 0.5) / factor - 0.5
    low = np.floor(position).astype(np.int64)
    weight = (position - low).astype(np.float32)[:, None]
    # The mirrored texel beyond an edge is that at the edge, as for clamp
    before, after = (index % count if wrap == "repeat" else np.clip(index, 0, count - 1) for index in (low, low + 1))
    return rows[before] * (1.0 - weight) + rows[after] * weight
