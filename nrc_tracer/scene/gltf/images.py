"""Images of a glTF file: decoded from the file itself or from beside it, and cut to masks."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from nrc_tracer.errors import SceneError
from nrc_tracer.imaging import decode_image
from nrc_tracer.scene.gltf.document import Document
from nrc_tracer.scene.model import Wrap

MASK_TEXELS = 1 << 22
"""A mask is refined up to this many texels."""
MAX_REFINEMENT = 4


class ImageReader:
    """Decodes images, each once. `images` holds what was used, by the name that `Bitmap.file` has."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.images: dict[str, np.ndarray] = {}

    def read(self, index: int) -> str:
        """Decode an image and return its name: `scene.glb#image2`.

        Raises:
            SceneError: It is missing, damaged, or no PNG or JPEG.
        """
        name = f"{self.document.path.name}#image{index}"
        if name in self.images:
            return name
        entry = self.document.get("images", index)
        view = entry.reference("bufferView", "bufferViews")
        if view is not None:
            source: object = bytes(self.document.view(view).data)
        else:
            source = self.document.file(entry)
        try:
            self.images[name] = decode_image(source if isinstance(source, bytes) else source.read_bytes(), "the image")
        except OSError as error:
            entry.fail(f"{source}: cannot be read: {error.strerror or error}")
        except SceneError as error:
            entry.fail(f"{error}")
        return name

    def mask(self, name: str, factor: float, cutoff: float, wrap: tuple[Wrap, Wrap]) -> str:
        """Make an image that is 1 where the interpolated alpha of another, times `factor`, is >= `cutoff`, else 0.

        So that the edge runs where interpolated alpha meets the cutoff and not along texels, the mask is finer than the
        image, up to `MAX_REFINEMENT` times; it is meant to be looked up at the nearest texel.

        Args:
            name: An image that `read` returned, with an alpha channel.
            factor: What its alpha is multiplied with.
            cutoff: The least alpha that counts as there.
            wrap: How the image goes on beyond its edges, across and down.

        Returns:
            The mask's name: that of one channel, uint8.
        """
        key = f"{name}.alpha*{factor:g}>={cutoff:g},{wrap[0]},{wrap[1]}"
        if key not in self.images:
            pixels = self.images[name]
            alpha = pixels[:, :, 3].astype(np.float32) / np.iinfo(pixels.dtype).max
            refinement = max(1, min(MAX_REFINEMENT, math.isqrt(MASK_TEXELS // alpha.size)))
            fine = refine(refine(alpha, refinement, wrap[1]).T, refinement, wrap[0]).T
            # A texel's alpha in 8 bits may stand for the cutoff itself
            opaque = fine * np.float32(factor) >= cutoff - 1e-6
            self.images[key] = np.ascontiguousarray(opaque[:, :, None] * np.uint8(255))
        return key


def refine(rows: np.ndarray, factor: int, wrap: Literal["repeat", "mirror", "clamp"]) -> np.ndarray:
    """Interpolate an image linearly along its first axis at `factor` times as many points, texel centres aligned."""
    count = len(rows)
    position = (np.arange(count * factor) + 0.5) / factor - 0.5
    low = np.floor(position).astype(np.int64)
    weight = (position - low).astype(np.float32)[:, None]
    # Mirrored, the texel beyond an edge is the edge's own, as for clamp
    before, after = (index % count if wrap == "repeat" else np.clip(index, 0, count - 1) for index in (low, low + 1))
    return rows[before] * (1.0 - weight) + rows[after] * weight
