"""Training samples: stratified over a whole image, or drawn from a set of its tiles that changes from step to step."""

from __future__ import annotations

import math
import sys
from functools import lru_cache

import numpy as np
import torch
import warp as wp
from torch import Tensor

from nrc_tracer.device.arrays import as_warp
from nrc_tracer.device.launch import Launcher
from nrc_tracer.errors import DataError
from nrc_tracer.tasks.digests import digest64
from nrc_tracer.tasks.image import kernels
from nrc_tracer.tasks.image.pixels import Space
from nrc_tracer.tasks.image.source import Source

PER_ITEM = 1024
"""Samples per kernel item on the CPU."""
AT_ONCE, PER_PLACE = 1024, 128
"""Pixels looked up per launch, and per kernel item."""
POOL_TILE_PIXELS = 2**16
"""Pixels per pool tile of an image that is stored in whole rows, or in tiles that are too large."""
LARGEST_TILE_PIXELS = 2**19
"""Pixels of the largest tile of a tiled file that is used as a pool tile as it is."""
REUSE = 1.0
"""Mean number of times that a pixel is drawn before its tile is replaced."""


class _Samples:
    """What both samplers share: an image and the arrays of a batch."""

    def __init__(self, source: Source, space: Space, batch: int, launcher: Launcher) -> None:
        self.source = source
        self.batch = batch
        self.launcher = launcher
        self.device = torch.device(wp.device_to_torch(launcher.device))
        self.x = torch.empty(batch, 2, device=self.device)
        self.target = torch.empty(batch, source.channels, device=self.device)
        self.stretch = 1 if launcher.device.is_cuda else PER_ITEM
        self.layout = pixel_layout(source, space)

    def _run(self, kernel: wp.Kernel, arguments: list) -> tuple[Tensor, Tensor]:
        every = [*arguments, as_warp(self.x), as_warp(self.target)]
        items = -(-self.batch // self.stretch)
        self.launcher.run(kernel, items, lambda base: [base, self.batch, self.stretch, self.layout, *every])
        return self.x, self.target


class WholeImage(_Samples):
    """Stratified samples of the whole image: one in each cell of a lattice of about the image's shape.

    Args:
        source: The image, in memory or mapped.
        space: Colour space of the targets.
        batch: Number of samples, a power of two.
        launcher: Where samples are drawn; on CUDA the pixels are copied to the GPU.
        bilinear: Draw between pixels instead of at their centres.
    """

    def __init__(self, source: Source, space: Space, batch: int, launcher: Launcher, *, bilinear: bool = False) -> None:
        super().__init__(source, space, batch, launcher)
        self.across, self.down = lattice(source.width, source.height, batch)
        self.bilinear = bilinear
        self.offsets = wp.array(source.offsets.reshape(-1), dtype=wp.int64, device=launcher.device)
        self.buffer: Tensor | None = None
        if launcher.device.is_cuda:
            self.buffer = torch.from_numpy(np.array(source.buffer)).to(self.device)
            self.layout.address = self.buffer.data_ptr()

    def close(self) -> None:
        """Release the pages that were read for samples."""
        self.source.release()

    def draw(self, step: int, key: int) -> tuple[Tensor, Tensor]:
        """The batch of a step, drawn with a random key."""
        arguments = [self.offsets, wp.uint64(key), self.across, self.down, int(self.bilinear)]
        return self._run(kernels.draw_pixels, arguments)


class MovingTiles(_Samples):
    """Samples from a set of tiles in memory, some of which are replaced at every step.

    The tiles of the image form an endless sequence: all of them in random order, then all in another order, and so on. Step k
    uses the tiles from position k r on, where r is the number of tiles replaced per step. So every tile stays for equally many
    steps, and the tiles of a step depend only on the seed and the step. Every pixel of the set is equally likely.

    Args:
        source: The image, mapped.
        space: Colour space of the targets.
        batch: Number of samples.
        launcher: A launcher for the CPU.
        seed: Seed of the order of tiles.
        memory: Bytes for the set of tiles.
    """

    def __init__(self, source: Source, space: Space, batch: int, launcher: Launcher, *, seed: int, memory: int) -> None:
        super().__init__(source, space, batch, launcher)
        self.seed = seed
        self.rectangles = tiles(source)
        largest = int((self.rectangles[:, 2].astype(np.int64) * self.rectangles[:, 3]).max())
        self.slot_bytes = largest * source.channels * source.dtype.itemsize
        self.slots = min(len(self.rectangles), memory // self.slot_bytes)
        if self.slots < 1:
            raise DataError(
                f"{source.name}: a tile takes {self.slot_bytes:,} bytes, but only {memory:,} are left; give a larger --memory"
            )
        self.replaced = min(self.slots, math.ceil(batch / (REUSE * largest)))
        self.pool = np.empty((0, self.slot_bytes), np.uint8)
        self.held = np.zeros(self.slots, np.int64)
        self._numbers = np.full(self.slots, -1, np.int64)  # positions in the sequence of the tiles that are held
        self.layout.pixel_bytes = source.channels * source.dtype.itemsize
        self.layout.swapped = 0

    def describe(self) -> dict[str, int]:
        """What the batches depend on besides the seed."""
        return {"slots": self.slots, "replaced": self.replaced, "tiles": len(self.rectangles)}

    def close(self) -> None:
        """Free the tiles; they are read again when they are needed."""
        self.pool = np.empty((0, self.slot_bytes), np.uint8)
        self._numbers[:] = -1

    def draw(self, step: int, key: int) -> tuple[Tensor, Tensor]:
        """The batch of a step, drawn with a random key."""
        self.move_to(step)
        chosen = self.rectangles[self.held]
        order = np.lexsort((chosen[:, 0], chosen[:, 1]))
        chosen = np.ascontiguousarray(chosen[order])
        areas = chosen[:, 2].astype(np.int64) * chosen[:, 3]
        device = self.launcher.device
        arguments = [
            wp.array(chosen, dtype=wp.vec4i, device=device),
            wp.array(order.astype(np.int64) * self.slot_bytes, dtype=wp.int64, device=device),
            wp.array(np.cumsum(areas), dtype=wp.int64, device=device),
            wp.uint64(key),
        ]
        return self._run(kernels.draw_pool, arguments)

    def move_to(self, step: int) -> None:
        """Read the tiles of a step that are not held yet."""
        if not len(self.pool):
            self.pool = np.empty((self.slots, self.slot_bytes), np.uint8)
            self.layout.address = self.pool.ctypes.data
        numbers = step * self.replaced + np.arange(self.slots)
        wanted = np.empty(self.slots, np.int64)
        wanted[numbers % self.slots] = numbers
        changed = np.flatnonzero(wanted != self._numbers)
        for slot in changed:
            self.held[slot] = self._tile(int(wanted[slot]))
            x, y, width, height = (int(value) for value in self.rectangles[self.held[slot]])
            block = self.source.read(x, y, width, height).reshape(-1).view(np.uint8)
            self.pool[slot, : len(block)] = block
            self._numbers[slot] = wanted[slot]
        if len(changed):
            self.source.release()

    def _tile(self, number: int) -> int:
        """The tile at a position in the endless sequence."""
        turn, place = divmod(number, len(self.rectangles))
        return int(_shuffled(self.seed, turn, len(self.rectangles))[place])


@lru_cache(maxsize=3)
def _shuffled(seed: int, turn: int, count: int) -> np.ndarray:
    """The numbers below `count` in the random order of one pass over the tiles."""
    key = digest64(f"tiles/{seed}/{turn}".encode())
    return np.random.Generator(np.random.PCG64(key)).permutation(count)


class Places:
    """A fixed set of pixels of an image: inputs [n, 2] and targets [n, channels], on the CPU.

    Args:
        source: The image.
        space: Colour space of the targets.
        launcher: A launcher for the CPU.
        places: Columns and rows of the pixels, int32 [n, 2].
    """

    def __init__(self, source: Source, space: Space, launcher: Launcher, places: np.ndarray) -> None:
        self.x = torch.empty(len(places), 2)
        self.target = torch.empty(len(places), source.channels)
        offsets = wp.array(source.offsets.reshape(-1), dtype=wp.int64, device="cpu")
        picked = wp.array(places, dtype=int, device="cpu")
        layout = pixel_layout(source, space)
        arrays = [layout, offsets, picked, as_warp(self.x), as_warp(self.target)]
        # A few at a time: each may load dozens of pages of a mapped file
        for begin in range(0, len(places), AT_ONCE):
            end = min(begin + AT_ONCE, len(places))
            items = -(-(end - begin) // PER_PLACE)

            def arguments(base: int, begin: int = begin, end: int = end) -> list:
                return [base, begin, end, PER_PLACE, *arrays]

            launcher.run(kernels.take_pixels, items, arguments)
            source.release()


def pixel_layout(source: Source, space: Space) -> kernels.PixelLayout:
    """The layout of an image's pixels, for kernels."""
    found = kernels.PixelLayout()
    found.address = source.buffer.ctypes.data
    found.width, found.height = source.width, source.height
    found.tile_width, found.tile_height = source.tile_width, source.tile_height
    found.tiles_across = source.offsets.shape[1]
    found.pixel_bytes, found.sample_bytes = source.pixel_bytes, source.dtype.itemsize
    found.channels = source.channels
    order = source.dtype.byteorder
    little = order == "<" or (order in "=|" and sys.byteorder == "little")
    found.swapped = int(not little)
    found.floating = int(source.dtype.kind == "f")
    found.scale = 1.0 if found.floating else 1.0 / np.iinfo(source.dtype).max
    found.transfer = 0
    if source.linear and space == "srgb":
        found.transfer = int(kernels.ENCODE)
    elif not source.linear and space == "linear":
        found.transfer = int(kernels.DECODE)
    found.u_scale, found.v_scale = 1.0 / source.width, 1.0 / source.height
    return found


def lattice(width: int, height: int, batch: int) -> tuple[int, int]:
    """Columns and rows of a lattice of `batch` cells, a power of two, that are as nearly square as possible."""
    bits = batch.bit_length() - 1
    if batch != 1 << bits:
        raise DataError(f"batch: {batch} is not a power of two, such as {1 << bits}")
    half = round((bits + math.log2(width / height)) / 2)
    across = 1 << min(max(half, 0), bits)
    return across, batch // across


def tiles(source: Source) -> np.ndarray:
    """Left, top, width and height of the pool tiles of an image, in pixels, int32 [n, 4]."""
    width, height = source.tile_width, source.tile_height
    if width == source.width or width * height > LARGEST_TILE_PIXELS:
        width = min(source.width, 1024)
        height = max(1, min(source.height, POOL_TILE_PIXELS // width))
    left, top = np.arange(0, source.width, width), np.arange(0, source.height, height)
    corners = np.stack(np.meshgrid(left, top), axis=-1).reshape(-1, 2)
    sizes = np.minimum((width, height), np.array((source.width, source.height)) - corners)
    return np.concatenate((corners, sizes), axis=1).astype(np.int32)
