"""Warp kernels that draw training samples from pixels in memory or in a mapped file, on CPU and CUDA from one source.

A sample depends on a key and its number alone.
"""

import warp as wp

from nrc_tracer.device.random_bits import GOLDEN, mix_bits

wp.set_module_options({"enable_backward": False})

ENCODE = wp.constant(1)
DECODE = wp.constant(2)
"""What becomes of a sample: nothing, linear light to sRGB, sRGB to linear light."""


@wp.struct
class Picture:
    """Where the pixels of an image are.

    Attributes:
        address: Of the first byte.
        width, height: In pixels.
        tile_width, tile_height: Of the tiles, in pixels.
        tiles_across: Tiles in a row of them.
        pixel_bytes, sample_bytes: Of a pixel, and of one of its samples.
        channels: How many of a pixel's first samples are wanted.
        swapped: 1 if samples have the other byte order than the machine.
        floating: 1 if samples are floats.
        transfer: 0, ENCODE or DECODE.
        scale: What a sample is multiplied by.
        u_scale, v_scale: What coordinates in pixels are multiplied by for the model's input.
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
    // Of NaN and infinity, nothing
    return value - value == 0.0f ? value : 0.0f;
"""


@wp.func_native(_LOAD)
def load(address: wp.uint64, offset: wp.int64, bytes: int, swapped: int, floating: int) -> float:
    """The sample of one, two or four bytes at an address; samples are stored little-endian unless `swapped`."""
    ...


@wp.func
def converted(picture: Picture, raw: float) -> float:
    """A sample in the space that the model learns."""
    value = raw * picture.scale
    if picture.transfer == ENCODE:
        value = wp.clamp(value, 0.0, 1.0)
        if value <= 0.0031308:
            return 12.92 * value
        return 1.055 * wp.pow(value, 1.0 / 2.4) - 0.055
    if picture.transfer == DECODE:
        if value <= 0.04045:
            return value / 12.92
        return wp.pow((value + 0.055) / 1.055, 2.4)
    return value


@wp.func
def pixel_offset(picture: Picture, offsets: wp.array[wp.int64], x: int, y: int) -> wp.int64:
    """Where a pixel begins, counted from the first byte."""
    row = y // picture.tile_height
    column = x // picture.tile_width
    inner = (y - row * picture.tile_height) * picture.tile_width + (x - column * picture.tile_width)
    # A tile may have more than 2^31 bytes
    return offsets[row * picture.tiles_across + column] + wp.int64(inner) * wp.int64(picture.pixel_bytes)


@wp.func
def sample(picture: Picture, offset: wp.int64, channel: int) -> float:
    """A channel of the pixel at an offset."""
    place = offset + wp.int64(channel * picture.sample_bytes)
    return converted(picture, load(picture.address, place, picture.sample_bytes, picture.swapped, picture.floating))


@wp.func
def uniform(key: wp.uint64, counter: int) -> wp.float64:
    """A number in [0, 1) for a counter: SplitMix64."""
    z = mix_bits(key + wp.uint64(counter + 1) * GOLDEN)
    return wp.float64(z >> wp.uint64(11)) * wp.float64(1.1102230246251565e-16)


@wp.kernel
def draw_pixels(
    base: int,
    count: int,
    stretch: int,
    picture: Picture,
    offsets: wp.array[wp.int64],
    key: wp.uint64,
    across: int,
    down: int,
    bilinear: int,
    x: wp.array2d[float],
    target: wp.array2d[float],
):
    """Sample each cell of a lattice of `across` x `down` over the image once: the pixel there, or a value between pixels."""
    first = (base + wp.tid()) * stretch
    for i in range(first, wp.min(first + stretch, count)):
        # Find a place in the cell, in pixels
        row = i // across
        column = i - row * across
        px = (wp.float64(column) + uniform(key, 2 * i)) * wp.float64(picture.width) / wp.float64(across)
        py = (wp.float64(row) + uniform(key, 2 * i + 1)) * wp.float64(picture.height) / wp.float64(down)
        cx = wp.min(int(px), picture.width - 1)
        cy = wp.min(int(py), picture.height - 1)
        if bilinear == 0:
            # Take the pixel that it is in
            x[i, 0] = (float(cx) + 0.5) * picture.u_scale
            x[i, 1] = (float(cy) + 0.5) * picture.v_scale
            offset = pixel_offset(picture, offsets, cx, cy)
            for c in range(picture.channels):
                target[i, c] = sample(picture, offset, c)
        else:
            # Interpolate the pixels around it; those at the border go on outside
            x[i, 0] = float(px) * picture.u_scale
            x[i, 1] = float(py) * picture.v_scale
            lx = wp.floor(px - wp.float64(0.5))
            ly = wp.floor(py - wp.float64(0.5))
            wx = float(px - wp.float64(0.5) - lx)
            wy = float(py - wp.float64(0.5) - ly)
            x0 = wp.max(int(lx), 0)
            x1 = wp.min(int(lx) + 1, picture.width - 1)
            y0 = wp.max(int(ly), 0)
            y1 = wp.min(int(ly) + 1, picture.height - 1)
            o00 = pixel_offset(picture, offsets, x0, y0)
            o10 = pixel_offset(picture, offsets, x1, y0)
            o01 = pixel_offset(picture, offsets, x0, y1)
            o11 = pixel_offset(picture, offsets, x1, y1)
            for c in range(picture.channels):
                top = (1.0 - wx) * sample(picture, o00, c) + wx * sample(picture, o10, c)
                bottom = (1.0 - wx) * sample(picture, o01, c) + wx * sample(picture, o11, c)
                target[i, c] = (1.0 - wy) * top + wy * bottom


@wp.kernel
def draw_pool(
    base: int,
    count: int,
    stretch: int,
    picture: Picture,
    rectangles: wp.array[wp.vec4i],
    begins: wp.array[wp.int64],
    ends: wp.array[wp.int64],
    key: wp.uint64,
    x: wp.array2d[float],
    target: wp.array2d[float],
):
    """Sample the pixels of tiles, one after the other: the i-th of `count` equal stretches of their pixels gives sample i.

    Args:
        rectangles: Left, top, width and height of each tile in the image.
        begins: Where each tile's pixels are, row by row without padding.
        ends: Pixels of all tiles up to and with each.
    """
    first = (base + wp.tid()) * stretch
    tiles = ends.shape[0]
    total = wp.float64(ends[tiles - 1])
    for i in range(first, wp.min(first + stretch, count)):
        # Find a pixel in the stretch
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
        x[i, 0] = (float(rectangle[0] + inner - row * rectangle[2]) + 0.5) * picture.u_scale
        x[i, 1] = (float(rectangle[1] + row) + 0.5) * picture.v_scale
        offset = begins[low] + wp.int64(inner) * wp.int64(picture.pixel_bytes)
        for c in range(picture.channels):
            target[i, c] = sample(picture, offset, c)


@wp.kernel
def take_pixels(
    base: int,
    begin: int,
    end: int,
    stretch: int,
    picture: Picture,
    offsets: wp.array[wp.int64],
    places: wp.array2d[int],
    x: wp.array2d[float],
    target: wp.array2d[float],
):
    """The pixels at the given places (column, row) begin .. end - 1."""
    first = begin + (base + wp.tid()) * stretch
    for i in range(first, wp.min(first + stretch, end)):
        x[i, 0] = (float(places[i, 0]) + 0.5) * picture.u_scale
        x[i, 1] = (float(places[i, 1]) + 0.5) * picture.v_scale
        offset = pixel_offset(picture, offsets, places[i, 0], places[i, 1])
        for c in range(picture.channels):
            target[i, c] = sample(picture, offset, c)
