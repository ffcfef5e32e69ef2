"""Warp kernels that draw training samples from pixels in memory or in a mapped file, for CPU and CUDA from one source.

A sample depends only on a key and its index.
"""

import warp as wp

from nrc_tracer.device.random_bits import GOLDEN, mix_bits

wp.set_module_options({"enable_backward": False})

ENCODE = wp.constant(1)
DECODE = wp.constant(2)
"""What is done to a sample: nothing (0), linear light to sRGB, or sRGB to linear light."""


@wp.struct
class PixelLayout:
    """Where and how the pixels of an image are stored.

    Attributes:
        address: Address of the first byte.
        width, height: Size of the image in pixels.
        tile_width, tile_height: Size of a tile in pixels.
        tiles_across: Number of tiles per row of tiles.
        pixel_bytes, sample_bytes: Bytes per pixel and per sample.
        channels: Number of samples to read from the start of a pixel.
        swapped: 1 if samples are not in the machine's byte order.
        floating: 1 if samples are floating-point.
        transfer: 0, ENCODE or DECODE.
        scale: Factor that brings a stored sample into [0, 1].
        u_scale, v_scale: Factors from pixel coordinates to the model's input.
    """

    address: wp.uint64
    width: wp.int32
    height: wp.int32
    tile_width: wp.int32
    tile_height: wp.int32
    tiles_across: wp.int32
    pixel_bytes: wp.int32
    sample_bytes: wp.int32
    channels: wp.int32
    swapped: wp.int32
    floating: wp.int32
    transfer: wp.int32
    scale: wp.float32
    u_scale: wp.float32
    v_scale: wp.float32


_LOAD = """
    const unsigned char* at = (const unsigned char*)(address + (unsigned long long)offset);
    unsigned bits = 0u;
    for (int k = 0; k < bytes; ++k) bits |= (unsigned)at[swapped ? bytes - 1 - k : k] << (8 * k);
    if (!floating) return (float)bits;
    float value;
    if (bytes == 2) {
        wp::half narrow;
        narrow.u = (unsigned short)bits;
        value = float(narrow);
    } else {
        union { unsigned u; float f; } wide;
        wide.u = bits;
        value = wide.f;
    }
    // NaN and infinity become 0
    return value - value == 0.0f ? value : 0.0f;
"""


@wp.func_native(_LOAD)
def load(address: wp.uint64, offset: wp.int64, bytes: int, swapped: int, floating: int) -> float:  # type: ignore[empty-body]
    """The sample of one, two or four bytes at an address; samples are stored little-endian unless `swapped`."""
    ...


@wp.func
def converted(layout: PixelLayout, raw: float) -> float:
    """A stored sample in the colour space of training."""
    value = raw * layout.scale
    if layout.transfer == ENCODE:
        value = wp.clamp(value, 0.0, 1.0)
        if value <= 0.0031308:
            return 12.92 * value
        return 1.055 * wp.pow(value, 1.0 / 2.4) - 0.055
    if layout.transfer == DECODE:
        if value <= 0.04045:
            return value / 12.92
        return wp.pow((value + 0.055) / 1.055, 2.4)
    return value


@wp.func
def pixel_offset(layout: PixelLayout, offsets: wp.array[wp.int64], x: int, y: int) -> wp.int64:
    """Byte offset of a pixel from the first byte."""
    row = y // layout.tile_height
    column = x // layout.tile_width
    inner = (y - row * layout.tile_height) * layout.tile_width + (x - column * layout.tile_width)
    # A tile may exceed 2^31 bytes
    return offsets[row * layout.tiles_across + column] + wp.int64(inner) * wp.int64(layout.pixel_bytes)


@wp.func
def sample(layout: PixelLayout, offset: wp.int64, channel: int) -> float:
    """One channel of the pixel at a byte offset."""
    place = offset + wp.int64(channel * layout.sample_bytes)
    return converted(layout, load(layout.address, place, layout.sample_bytes, layout.swapped, layout.floating))


@wp.func
def store_pixel(
    layout: PixelLayout,
    offset: wp.int64,
    column: int,
    row: int,
    i: int,
    x: wp.array2d[float],
    target: wp.array2d[float],
):
    """Write sample `i`: the centre of a pixel of the image, and the colour at a byte offset."""
    x[i, 0] = (float(column) + 0.5) * layout.u_scale
    x[i, 1] = (float(row) + 0.5) * layout.v_scale
    for c in range(layout.channels):
        target[i, c] = sample(layout, offset, c)


@wp.func
def uniform(key: wp.uint64, counter: int) -> wp.float64:
    """A uniform number in [0, 1) for a counter (SplitMix64)."""
    z = mix_bits(key + wp.uint64(counter + 1) * GOLDEN)
    return wp.float64(z >> wp.uint64(11)) * wp.float64(1.1102230246251565e-16)


@wp.kernel
def draw_pixels(
    base: int,
    count: int,
    stretch: int,
    layout: PixelLayout,
    offsets: wp.array[wp.int64],
    key: wp.uint64,
    across: int,
    down: int,
    bilinear: int,
    x: wp.array2d[float],
    target: wp.array2d[float],
):
    """Draw one sample in each cell of a lattice of `across` x `down` cells over the image, at a pixel or between pixels."""
    first = (base + wp.tid()) * stretch
    for i in range(first, wp.min(first + stretch, count)):
        # Choose a point in the cell, in pixels
        row = i // across
        column = i - row * across
        px = (wp.float64(column) + uniform(key, 2 * i)) * wp.float64(layout.width) / wp.float64(across)
        py = (wp.float64(row) + uniform(key, 2 * i + 1)) * wp.float64(layout.height) / wp.float64(down)
        cx = wp.min(int(px), layout.width - 1)
        cy = wp.min(int(py), layout.height - 1)
        if bilinear == 0:
            # Take the pixel that holds the point
            store_pixel(layout, pixel_offset(layout, offsets, cx, cy), cx, cy, i, x, target)
        else:
            # Interpolate between the pixels around it; border pixels extend outwards
            x[i, 0] = float(px) * layout.u_scale
            x[i, 1] = float(py) * layout.v_scale
            lx = wp.floor(px - wp.float64(0.5))
            ly = wp.floor(py - wp.float64(0.5))
            wx = float(px - wp.float64(0.5) - lx)
            wy = float(py - wp.float64(0.5) - ly)
            x0 = wp.max(int(lx), 0)
            x1 = wp.min(int(lx) + 1, layout.width - 1)
            y0 = wp.max(int(ly), 0)
            y1 = wp.min(int(ly) + 1, layout.height - 1)
            o00 = pixel_offset(layout, offsets, x0, y0)
            o10 = pixel_offset(layout, offsets, x1, y0)
            o01 = pixel_offset(layout, offsets, x0, y1)
            o11 = pixel_offset(layout, offsets, x1, y1)
            for c in range(layout.channels):
                top = (1.0 - wx) * sample(layout, o00, c) + wx * sample(layout, o10, c)
                bottom = (1.0 - wx) * sample(layout, o01, c) + wx * sample(layout, o11, c)
                target[i, c] = (1.0 - wy) * top + wy * bottom


@wp.kernel
def draw_pool(
    base: int,
    count: int,
    stretch: int,
    layout: PixelLayout,
    rectangles: wp.array[wp.vec4i],
    begins: wp.array[wp.int64],
    ends: wp.array[wp.int64],
    key: wp.uint64,
    x: wp.array2d[float],
    target: wp.array2d[float],
):
    """Draw one sample from each of `count` equal ranges of the tiles' pixels, the tiles taken one after the other.

    Args:
        rectangles: Left, top, width and height of each tile in the image, in pixels.
        begins: Byte offset of each tile's pixels, which are stored row by row without padding.
        ends: Number of pixels in all tiles up to and including each.
    """
    first = (base + wp.tid()) * stretch
    tiles = ends.shape[0]
    total = wp.float64(ends[tiles - 1])
    for i in range(first, wp.min(first + stretch, count)):
        # Choose a pixel in the range
        place = wp.int64((wp.float64(i) + uniform(key, i)) * total / wp.float64(count))
        place = wp.min(place, ends[tiles - 1] - wp.int64(1))

        # Find its tile by bisection
        low = int(0)
        high = tiles - 1
        while low < high:
            middle = (low + high) // 2
            if ends[middle] > place:
                high = middle
            else:
                low = middle + 1
        rectangle = rectangles[low]
        inner = int(place - (ends[low] - wp.int64(rectangle[2]) * wp.int64(rectangle[3])))
        row = inner // rectangle[2]
        offset = begins[low] + wp.int64(inner) * wp.int64(layout.pixel_bytes)
        store_pixel(layout, offset, rectangle[0] + inner - row * rectangle[2], rectangle[1] + row, i, x, target)


@wp.kernel
def take_pixels(
    base: int,
    begin: int,
    end: int,
    stretch: int,
    layout: PixelLayout,
    offsets: wp.array[wp.int64],
    places: wp.array2d[int],
    x: wp.array2d[float],
    target: wp.array2d[float],
):
    """Read the pixels at `places` (column, row), from `begin` to `end` - 1."""
    first = begin + (base + wp.tid()) * stretch
    for i in range(first, wp.min(first + stretch, end)):
        column = places[i, 0]
        row = places[i, 1]
        store_pixel(layout, pixel_offset(layout, offsets, column, row), column, row, i, x, target)
