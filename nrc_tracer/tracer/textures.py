"""Textures on a device: every image in one of two flat buffers, looked up by record.

8-bit images are packed as RGBA8 words and decoded through a table *before* filtering; 16-bit and float images are stored as
linear float RGB. Material parameters are a constant times an optional texture (`Param`).
"""

import warp as wp

from nrc_tracer.tracer.vocabulary import REC709_LUMINANCE, TextureKind, WrapMode

LUMINANCE = wp.constant(wp.vec3(*REC709_LUMINANCE))
CHECKERBOARD = wp.constant(int(TextureKind.CHECKERBOARD))
PACKED = wp.constant(int(TextureKind.PACKED))
CLAMP = wp.constant(int(WrapMode.CLAMP))
MIRROR = wp.constant(int(WrapMode.MIRROR))


@wp.struct
class TextureRecord:
    """Where a texture's texels are and how they are looked up."""

    kind: int
    base: wp.int64  # first texel in its buffer
    width: int
    height: int
    wrap: int
    nearest: int
    decode: int  # first entry of the 8-bit decoding table: 0 sRGB, 256 linear
    to_u: wp.vec3  # u' = to_u . (u, v, 1)
    to_v: wp.vec3
    color0: wp.vec3
    color1: wp.vec3


@wp.struct
class Textures:
    """All textures of a scene."""

    records: wp.array[TextureRecord]
    packed: wp.array[wp.uint32]  # RGBA8, red in the lowest byte
    floats: wp.array[wp.vec3]
    decode: wp.array[float]  # [512]: 8-bit sRGB to linear, then 8-bit linear to linear


@wp.struct
class Param:
    """A material parameter: `value`, times the texture `texture` unless that is -1."""

    value: wp.vec3
    texture: int


@wp.func
def wrap_texel(i: int, size: int, mode: int) -> int:
    """Bring a texel coordinate into [0, size)."""
    if mode == CLAMP:
        return wp.clamp(i, 0, size - 1)
    if mode == MIRROR:
        j = i % (2 * size)
        if j < 0:
            j += 2 * size
        return wp.where(j < size, j, 2 * size - 1 - j)
    j = i % size
    return wp.where(j < 0, j + size, j)


@wp.func
def texel(textures: Textures, record: TextureRecord, x: int, y: int) -> wp.vec3:
    """The linear colour of one texel, its coordinates wrapped."""
    column = wrap_texel(x, record.width, record.wrap)
    row = wrap_texel(y, record.height, record.wrap)
    i = record.base + wp.int64(row) * wp.int64(record.width) + wp.int64(column)
    if record.kind == PACKED:
        word = textures.packed[i]
        r = record.decode + int(word & wp.uint32(255))
        g = record.decode + int((word >> wp.uint32(8)) & wp.uint32(255))
        b = record.decode + int((word >> wp.uint32(16)) & wp.uint32(255))
        return wp.vec3(textures.decode[r], textures.decode[g], textures.decode[b])
    return textures.floats[i]


@wp.func
def lookup(textures: Textures, index: int, uv: wp.vec2) -> wp.vec3:
    """The colour of texture `index` at `uv`."""
    record = textures.records[index]
    at = wp.vec3(uv[0], uv[1], 1.0)
    u = wp.dot(record.to_u, at)
    v = wp.dot(record.to_v, at)
    if record.kind == CHECKERBOARD:
        same = (u - wp.floor(u) > 0.5) == (v - wp.floor(v) > 0.5)
        return wp.where(same, record.color0, record.color1)
    x = u * float(record.width)
    y = v * float(record.height)
    if record.nearest != 0:
        return texel(textures, record, int(wp.floor(x)), int(wp.floor(y)))
    x -= 0.5
    y -= 0.5
    x0 = wp.floor(x)
    y0 = wp.floor(y)
    fx = x - x0
    fy = y - y0
    i = int(x0)
    j = int(y0)
    top = texel(textures, record, i, j) * (1.0 - fx) + texel(textures, record, i + 1, j) * fx
    bottom = texel(textures, record, i, j + 1) * (1.0 - fx) + texel(textures, record, i + 1, j + 1) * fx
    return top * (1.0 - fy) + bottom * fy


@wp.func
def evaluate(textures: Textures, param: Param, uv: wp.vec2) -> wp.vec3:
    """The value of a parameter at `uv`."""
    if param.texture < 0:
        return param.value
    return wp.cw_mul(param.value, lookup(textures, param.texture, uv))


@wp.func
def evaluate_scalar(textures: Textures, param: Param, uv: wp.vec2) -> float:
    """The value of a parameter that is one number: of a colour texture the luminance."""
    if param.texture < 0:
        return param.value[0]
    return wp.dot(lookup(textures, param.texture, uv), LUMINANCE)
