"""Tiles of the film, each with one training path through a random pixel of it: how many there are, and of which shape.

The same functions run on the host and, in frames that do not wait for it, on the device.
"""

import warp as wp

PATHS_PER_RECORD = 1.1
"""Training paths that are started per path needed for the frame's records: their number of vertices is random."""


@wp.func
def square_tiles(count: int, width: int, height: int) -> wp.vec2i:
    """Divide a film of `width` x `height` pixels into at most `count` tiles, about as many, that are as square as possible.

    Returns:
        Tiles in each direction.
    """
    across = int(wp.rint(wp.sqrt(wp.float64(count) * wp.float64(width) / wp.float64(height))))
    across = wp.max(1, wp.min(across, count))
    return wp.vec2i(across, wp.max(1, count // across))


@wp.func
def next_path_count(paths: int, found: int, wanted: wp.float64, most: int) -> int:
    """Number of training paths of the next frame, at most `most`, if `paths` left `found` records and `wanted` are needed."""
    return int(wp.min(wanted * wp.float64(paths) / wp.float64(found), wp.float64(most)))


@wp.kernel(enable_backward=False)
def choose_tiles(
    base: int,
    width: int,
    height: int,
    wanted: wp.float64,
    most: int,
    found: wp.array[int],
    paths: wp.array[int],
    tiles: wp.array[int],
):
    """Choose number and shape of the next frame's tiles after a frame that left `found[0]` records; no record changes nothing."""
    n = found[base + wp.tid()]
    if n == 0:
        return
    paths[0] = next_path_count(tiles[0] * tiles[1], n, wanted, most)
    shape = square_tiles(paths[0], width, height)
    tiles[0] = shape[0]
    tiles[1] = shape[1]
