"""An image of any size that needs no storage: a map of fractal hills, computed tile by tile, as an uncompressed BigTIFF.

python -m tests.tasks.image.big_map MAP.tif 20000 23466
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

TILE = 512
OCTAVES = 11
COARSEST = 2048.0
"""Size of the largest hills in pixels; each octave has half the size and 0.68 of the height."""
DECAY = 0.68
HEIGHTS = np.array([-1.0, -0.25, -0.02, 0.02, 0.3, 0.6, 1.0])
COLORS = np.array(
    [[5, 15, 60], [20, 70, 140], [60, 150, 170], [210, 200, 140], [60, 120, 50], [110, 90, 70], [245, 245, 250]], float
)


def tile(x: int, y: int, width: int, height: int, seed: int = 0) -> np.ndarray:
    """The map's pixels in a rectangle, uint8 [height, width, 3]; they do not depend on the rectangle."""
    ground = np.zeros((height, width), np.float32)
    for octave in range(OCTAVES):
        size = COARSEST / 2**octave
        ground += DECAY**octave * _noise(x, y, width, height, size, seed + octave)
    light = _slope(x, y, ground)
    colors = np.stack([np.interp(0.75 * ground, HEIGHTS, COLORS[:, c]) for c in range(3)], axis=2)
    return np.clip(colors * light[:, :, None] + 0.5, 0, 255).astype(np.uint8)


def write_map(path: Path, width: int, height: int, *, seed: int = 0, side: int = TILE) -> Path:
    """Write the map as a BigTIFF of uncompressed tiles, one after the other."""
    import tifffile

    def tiles() -> Iterator[np.ndarray]:
        for top in range(0, height, side):
            for left in range(0, width, side):
                full = np.zeros((side, side, 3), np.uint8)
                w, h = min(side, width - left), min(side, height - top)
                full[:h, :w] = tile(left, top, w, h, seed)
                yield full

    tifffile.imwrite(
        path, tiles(), shape=(height, width, 3), dtype=np.uint8, tile=(side, side), photometric="rgb", bigtiff=True
    )
    return path


def floor_psnr(path: Path) -> float:
    """PSNR in dB of the map with every 2 x 2 block of pixels replaced by its mean, computed tile by tile."""
    import tifffile

    total, count = 0.0, 0
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        for data, index, shape in page.segments(maxworkers=1):
            rows = min(shape[1], page.imagelength - index[2]) // 2 * 2
            columns = min(shape[2], page.imagewidth - index[3]) // 2 * 2
            block = data[0, :rows, :columns].astype(np.float32) / 255.0
            pairs = block.reshape(rows // 2, 2, columns // 2, 2, 3)
            total += float(np.square(pairs - pairs.mean(axis=(1, 3), keepdims=True)).sum(dtype=np.float64))
            count += block.size
    return 10.0 * float(np.log10(count / total))


def _noise(x: int, y: int, width: int, height: int, size: float, seed: int) -> np.ndarray:
    """Value noise in [-1, 1]: random numbers on a lattice, smoothly interpolated."""
    u, v = (x + np.arange(width)) / size, (y + np.arange(height)) / size
    left, top = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    columns, rows = np.arange(left[0], left[-1] + 2), np.arange(top[0], top[-1] + 2)
    values = _random(columns[None, :], rows[:, None], seed)
    wu, wv = _smooth(u - left), _smooth(v - top)
    i, j = left - left[0], top - top[0]
    along = values[:, i] * (1 - wu) + values[:, i + 1] * wu
    return (along[j] * (1 - wv)[:, None] + along[j + 1] * wv[:, None]).astype(np.float32)


def _smooth(t: np.ndarray) -> np.ndarray:
    return t * t * (3.0 - 2.0 * t)


def _random(column: np.ndarray, row: np.ndarray, seed: int) -> np.ndarray:
    mixed = column.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + row.astype(np.uint64) * np.uint64(
        0xC2B2AE3D27D4EB4F
    )
    mixed = mixed + np.uint64((seed * 0x165667B19E3779F9) & 0xFFFFFFFFFFFFFFFF)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0


def _slope(x: int, y: int, ground: np.ndarray) -> np.ndarray:
    """Shading by a ripple that depends on height and position: fine lines like contours."""
    contour = np.abs((8.0 * ground) % 1.0 - 0.5)
    return (0.85 + 0.3 * contour).astype(np.float32)


if __name__ == "__main__":
    written = write_map(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(f"{written}: {written.stat().st_size:,} bytes, 2 x 2 means have {floor_psnr(written):.2f} dB")
